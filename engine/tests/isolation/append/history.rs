//! What clients did and were told.

/// A list that is appended to.
pub(super) type Key = u32;
/// What is appended: never twice in a history.
pub(super) type Value = u64;

/// A step of a transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Op {
    Append(Key, Value),
    Read(Key, Vec<Value>),
}

/// How a transaction ended, as far as its client knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum End {
    Committed,
    Aborted,
    /// The connection was lost at its commit.
    Unknown,
}

/// A transaction.
#[derive(Debug, Clone)]
pub(super) struct Txn {
    pub(super) ops: Vec<Op>,
    pub(super) end: End,
    /// When it was begun and when its end was known, on one clock.
    pub(super) invoked: u64,
    pub(super) completed: u64,
}

/// Levels that a history can be held against.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Level {
    ReadCommitted,
    RepeatableRead,
    Serializable,
}

/// Something that a level forbids.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Anomaly {
    pub(super) name: &'static str,
    pub(super) what: String,
}

impl Anomaly {
    pub(super) fn new(name: &'static str, what: String) -> Anomaly {
        Anomaly { name, what }
    }
}
