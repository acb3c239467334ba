//! Row ids: handed out in order from a counter in memory, seeded from the table's last row.

use std::sync::atomic::{AtomicU64, Ordering};

use super::values::end_of_rows;
use crate::btree::Tree;
use crate::buffer::{BufferPool, StorageError};

/// A row's name in its table, for as long as the row exists. Starts at 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct RowId(pub u64);

/// A row's key in its table's tree.
#[must_use]
pub(crate) fn row_key(row: u64) -> [u8; 8] {
    row.to_be_bytes()
}

/// The counter of one table; 0 until it is seeded.
#[derive(Debug, Default)]
pub(crate) struct RowIds(AtomicU64);

impl RowIds {
    /// At least the number of rows, if the counter was used; else 0.
    pub(crate) fn so_far(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }

    /// The next ids: the first of `count` in a row.
    pub(crate) async fn next(&self, pool: &BufferPool, tree: &Tree, count: u64) -> Result<u64, StorageError> {
        self.seed(pool, tree).await?;
        Ok(self.0.fetch_add(count, Ordering::AcqRel))
    }

    /// Afterwards the counter is in use.
    pub(crate) async fn seed(&self, pool: &BufferPool, tree: &Tree) -> Result<(), StorageError> {
        if self.0.load(Ordering::Acquire) == 0 {
            let last = pool.run(|| tree.last_key_below(pool, &end_of_rows())).await?;
            let last = last.and_then(|key| key.try_into().ok()).map_or(0, u64::from_be_bytes);
            // Who comes second finds it seeded: nobody inserts before.
            let _ = self.0.compare_exchange(0, last + 1, Ordering::AcqRel, Ordering::Acquire);
        }
        Ok(())
    }
}
