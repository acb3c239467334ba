//! What can be locked, how strongly, and what conflicts with what: PostgreSQL's tables 13.2 and 13.3.

/// What is locked.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) enum LockKey {
    /// A table by oid.
    Table(u32),
    /// A row: table oid, row id.
    Row(u32, u64),
    /// A number of the application's; true for one made of two.
    Advisory(bool, u64),
}

/// How a row is locked, from weakest to strongest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum RowLock {
    /// FOR KEY SHARE: the key stays (a foreign key points at it).
    KeyShare,
    /// FOR SHARE: the row stays.
    Share,
    /// FOR NO KEY UPDATE, and an UPDATE that leaves the key columns alone.
    NoKeyUpdate,
    /// FOR UPDATE, DELETE, and an UPDATE of a key column.
    Update,
}

/// How a table is locked, from weakest to strongest.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum TableLock {
    /// SELECT.
    AccessShare,
    /// SELECT FOR ...
    RowShare,
    /// INSERT, UPDATE, DELETE.
    RowExclusive,
    /// VACUUM, CREATE INDEX CONCURRENTLY.
    ShareUpdateExclusive,
    /// CREATE INDEX.
    Share,
    /// CREATE TRIGGER.
    ShareRowExclusive,
    /// REFRESH MATERIALIZED VIEW CONCURRENTLY.
    Exclusive,
    /// ALTER TABLE, DROP, TRUNCATE.
    AccessExclusive,
}

/// What to do when somebody else has it.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum LockWait {
    /// Wait, at most for the transaction's lock timeout.
    #[default]
    Block,
    /// Fail at once with [`crate::txn::TxnError::LockNotAvailable`] (NOWAIT; SKIP LOCKED takes the error as "skip").
    NoWait,
}

/// A mode of either kind: its bit, and the bits that it conflicts with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Mode {
    /// One bit.
    pub(crate) bit: u8,
    /// Modes of others that it cannot stand beside.
    pub(crate) conflicts: u8,
    /// Modes that give at least as much.
    pub(crate) implied_by: u8,
}

impl Mode {
    /// An advisory lock. One mode does not stand for the other: each is given back by itself.
    pub(crate) fn advisory(shared: bool) -> Mode {
        match shared {
            true => Mode { bit: 0b01, conflicts: 0b10, implied_by: 0b01 },
            false => Mode { bit: 0b10, conflicts: 0b11, implied_by: 0b10 },
        }
    }
}

impl From<RowLock> for Mode {
    fn from(lock: RowLock) -> Mode {
        let n = lock as u8;
        let conflicts = match lock {
            RowLock::KeyShare => 0b1000,
            RowLock::Share => 0b1100,
            RowLock::NoKeyUpdate => 0b1110,
            RowLock::Update => 0b1111,
        };
        Mode { bit: 1 << n, conflicts, implied_by: 0b1111 & !((1 << n) - 1) }
    }
}

impl From<TableLock> for Mode {
    fn from(lock: TableLock) -> Mode {
        let n = lock as u8;
        let conflicts = match lock {
            TableLock::AccessShare => 0b1000_0000,
            TableLock::RowShare => 0b1100_0000,
            TableLock::RowExclusive => 0b1111_0000,
            TableLock::ShareUpdateExclusive => 0b1111_1000,
            TableLock::Share => 0b1110_1100,
            TableLock::ShareRowExclusive => 0b1111_1100,
            TableLock::Exclusive => 0b1111_1110,
            TableLock::AccessExclusive => 0b1111_1111,
        };
        Mode {
            bit: 1 << n,
            conflicts,
            // The strongest holds everything; elsewhere a mode stands for itself.
            implied_by: 1 << n | 0b1000_0000,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn symmetric(modes: &[Mode]) {
        for a in modes {
            for b in modes {
                assert_eq!(a.conflicts & b.bit != 0, b.conflicts & a.bit != 0, "{a:?} against {b:?}");
            }
        }
    }

    #[test]
    fn conflicts_are_mutual() {
        use RowLock::{KeyShare, NoKeyUpdate, Share, Update};
        symmetric(&[KeyShare, Share, NoKeyUpdate, Update].map(Mode::from));
        use TableLock::{
            AccessExclusive, AccessShare, Exclusive, RowExclusive, RowShare, Share as TableShare,
            ShareRowExclusive, ShareUpdateExclusive,
        };
        let tables = [
            AccessShare,
            RowShare,
            RowExclusive,
            ShareUpdateExclusive,
            TableShare,
            ShareRowExclusive,
            Exclusive,
            AccessExclusive,
        ];
        symmetric(&tables.map(Mode::from));
    }

    #[test]
    fn a_foreign_key_check_does_not_stop_an_update_of_other_columns() {
        let (share, update) = (Mode::from(RowLock::KeyShare), Mode::from(RowLock::NoKeyUpdate));
        assert_eq!(share.conflicts & update.bit, 0);
        assert_ne!(Mode::from(RowLock::Update).conflicts & share.bit, 0);
    }
}
