//! Names of transactions and their levels of isolation.

use std::fmt;

/// A transaction that has written. Handed out in order, never twice in the life of a volume; 0 is nobody.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct TxId(pub u64);

impl fmt::Debug for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "tx:{}", self.0)
    }
}

impl fmt::Display for TxId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0)
    }
}

/// How a transaction sees others. SERIALIZABLE is missing on purpose: a level that is not implemented is refused by the
/// session, never given under another's name.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// Each statement sees what was committed when it began.
    #[default]
    ReadCommitted,
    /// Each statement sees what was committed when the first statement began; a write to a row that someone changed
    /// since fails with 40001.
    RepeatableRead,
}

/// Who holds or awaits locks: a transaction from its first step on, whether it writes or not. Not durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Owner(pub u64);
