//! What a transaction can fail with, and what the caller can do about it.

use crate::buffer::StorageError;
use crate::txn::TxId;

/// An error of the transaction layer. After one, the transaction can only be rolled back.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum TxnError {
    /// Pages could not be read or written. Nothing of this transaction is committed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The row was changed by a transaction that this one's snapshot does not see.
    #[error("could not serialize access due to concurrent update")]
    Serialization,
    /// SERIALIZABLE: committing it could leave something that no serial order gives.
    #[error("could not serialize access due to read/write dependencies among transactions")]
    Dependencies,
    /// Waiting would close a cycle of transactions that wait for each other.
    #[error(
        "deadlock detected: this transaction waits for one that waits for it; it was chosen as the victim"
    )]
    Deadlock,
    /// Another live row has the same key.
    #[error("duplicate key value violates unique constraint (index {index}, row {row})")]
    UniqueViolation {
        /// The index's oid.
        index: u32,
        /// The row that has the key.
        row: u64,
    },
    /// `lock_timeout` ran out.
    #[error("canceling statement due to lock timeout")]
    LockTimeout,
    /// NOWAIT, and somebody else has the lock.
    #[error("could not obtain lock: another transaction holds it")]
    LockNotAvailable,
    /// The commit record was appended, but the volume was lost before it was known to be durable. Whether the
    /// transaction is committed is decided by the next writer: look before doing it again.
    #[error("the outcome of the transaction is unknown: {0}")]
    CommitUnknown(StorageError),
    /// A caller wrote a row that it had not locked: a bug above this layer. Nothing was changed.
    #[error(
        "row {row} of table {table} is being changed by {by:?}, and was not locked before it was written"
    )]
    NotLocked {
        /// The table's oid.
        table: u32,
        /// The row.
        row: u64,
        /// The transaction that has it.
        by: TxId,
    },
    /// A caller wrote a row that no longer exists: a bug above this layer. Nothing was changed.
    #[error("row {row} of table {table} is gone and cannot be written")]
    RowGone {
        /// The table's oid.
        table: u32,
        /// The row.
        row: u64,
    },
}

impl TxnError {
    /// PostgreSQL's code for it.
    #[must_use]
    pub fn sqlstate(&self) -> &'static str {
        match self {
            TxnError::Storage(
                StorageError::ValueTooLarge { .. }
                | StorageError::KeyTooLarge { .. }
                | StorageError::KeySourceTooLarge { .. },
            ) => "54000",
            TxnError::Storage(StorageError::CacheFull { .. }) => "53200",
            TxnError::Storage(StorageError::Corrupt { .. }) => "XX001",
            TxnError::Storage(_) => "58030",
            TxnError::Serialization | TxnError::Dependencies => "40001",
            TxnError::Deadlock => "40P01",
            TxnError::UniqueViolation { .. } => "23505",
            TxnError::LockTimeout | TxnError::LockNotAvailable => "55P03",
            TxnError::CommitUnknown(_) => "08007",
            TxnError::NotLocked { .. } | TxnError::RowGone { .. } => "XX000",
        }
    }

    /// True when the same transaction, begun anew, may succeed.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            TxnError::Serialization
                | TxnError::Dependencies
                | TxnError::Deadlock
                | TxnError::LockTimeout
                | TxnError::LockNotAvailable
        )
    }
}
