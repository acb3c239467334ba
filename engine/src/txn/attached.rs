//! What a layer above keeps with a transaction: the catalog its changes, for one.

use std::any::Any;

use sextant_redo::Lsn;

/// Kept by [`super::Transaction::attach`] until the transaction ends.
pub trait Attached: Any + Send + Sync {
    /// The commit record is appended at `lsn`, not yet durable; the transaction's locks are still held. Not called on
    /// rollback: then it is just dropped.
    fn committed(&mut self, lsn: Lsn);

    /// Where a savepoint is set now.
    fn mark(&self) -> usize;

    /// Takes back what was done since [`Attached::mark`] gave `mark`.
    fn rollback_to(&mut self, mark: usize);
}
