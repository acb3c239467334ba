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

/// Oids below belong to the catalog's own tables, as in PostgreSQL.
pub const FIRST_USER_OID: u32 = 16_384;

/// How a transaction sees others.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[non_exhaustive]
pub enum Isolation {
    /// Each statement sees what was committed when it began.
    #[default]
    ReadCommitted,
    /// Each statement sees what was committed when the first statement began; a write to a row that someone changed
    /// since fails with 40001.
    RepeatableRead,
    /// As REPEATABLE READ, and what is committed is as if transactions had run one after another: what would not be fails
    /// with 40001.
    Serializable,
}

impl Isolation {
    /// Whether one snapshot serves the whole transaction.
    #[must_use]
    pub fn keeps_snapshot(self) -> bool {
        self != Isolation::ReadCommitted
    }
}

/// Who holds or awaits locks: a transaction from its first step on, whether it writes or not. Not durable.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Owner(pub u64);
