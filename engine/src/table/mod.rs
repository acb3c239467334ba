//! Tables and indexes: versioned rows in B+trees.
//!
//! A table is a tree: row id (u64 BE) -> version header and row bytes, opaque to this layer, but for the list of the values
//! that were too large for the row; these lie behind the rows (`values`). An index, the one of the
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
mod values;

#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use batch::RowBatch;
pub use build::BuildError;
pub use cleaner::{Cleanable, Tables};
pub(crate) use garbage::Shared;
pub use index::{Index, IndexKey, KeyOf};
pub use index_scan::IndexScan;
pub use modify::LockOutcome;
pub use row_id::RowId;
pub(crate) use row_id::{RowIds, row_key};
pub use scan::TableScan;
pub use vacuum::VacuumReport;
pub use values::MAX_KEY_SOURCE;

use crate::btree::{Tree, max_value};
use crate::txn::version::HEADER;

/// Longest row, in bytes: two fit a page. What is longer has to give its largest values away
/// ([`TransactionSystem::put_value`]).
///
/// [`TransactionSystem::put_value`]: crate::txn::TransactionSystem::put_value
pub const MAX_ROW: usize = max_value(8) - HEADER;

/// A row to write.
#[derive(Clone, Copy, Debug)]
pub struct RowBytes<'a> {
    /// Its bytes.
    pub bytes: &'a [u8],
    /// It ends with a list of values that lie elsewhere ([`crate::types::large`]).
    pub large: bool,
}

impl<'a, B: AsRef<[u8]> + ?Sized> From<&'a B> for RowBytes<'a> {
    fn from(bytes: &'a B) -> RowBytes<'a> {
        RowBytes { bytes: bytes.as_ref(), large: false }
    }
}

/// A table. Made by [`crate::txn::TransactionSystem::table`].
#[derive(Clone, Debug)]
pub struct Table {
    /// Its oid: what row and table locks go by.
    pub oid: u32,
    /// Its rows.
    pub tree: Tree,
    pub(crate) shared: Arc<Shared>,
}
