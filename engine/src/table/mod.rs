//! Tables and indexes: versioned rows in B+trees.
//!
//! A table is a tree: row id (u64 BE) -> version header and row bytes, opaque to this layer. An index, the one of the
//! primary key included, is a tree: memcmp-encoded columns ++ row id (u64 BE) -> nothing. Row ids are never used twice
//! while anybody remembers them.
//!
//! What must hold:
//! - The row is written first, its index entries behind it: vacuum takes an entry whose row has no version with that
//!   key for garbage.
//! - An index entry is a hint. It stays while any version of the row that somebody may see has its key, so who follows
//!   one fetches the row, and checks visibility and key.
//! - Changing a row needs its row lock ([`crate::txn::RowLock`]) from before the change to the end of the transaction.

mod batch;
mod build;
mod cleaner;
mod garbage;
mod index;
mod index_scan;
mod key_share;
mod modify;
mod row_id;
mod rows;
mod scan;
mod sweep;
mod unique;
mod vacuum;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use batch::RowBatch;
pub use cleaner::{Cleanable, Tables};
pub(crate) use garbage::Shared;
pub use index::{Index, IndexKey, KeyOf};
pub use index_scan::IndexScan;
pub use modify::LockOutcome;
pub use row_id::RowId;
pub(crate) use row_id::{RowIds, row_key};
pub use scan::TableScan;
pub use vacuum::VacuumReport;

use crate::btree::Tree;

/// A table. Made by [`crate::txn::TransactionSystem::table`].
#[derive(Clone, Debug)]
pub struct Table {
    /// Its oid: what row and table locks go by.
    pub oid: u32,
    /// Its rows.
    pub tree: Tree,
    pub(crate) shared: Arc<Shared>,
}
