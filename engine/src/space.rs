//! The control page, page allocation, roots.

use crate::buffer::{BufferPool, Step, StorageError};
use crate::mtr::MiniTxn;

/// Named root slots of the control page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Roots;

impl Roots {
    /// The catalog's bootstrap root.
    pub const CATALOG: usize = 0;
    /// The commit table's directory.
    pub const COMMIT_TABLE: usize = 1;
    /// No transaction id at or above it was handed out.
    pub const TXID_HIGH_WATER: usize = 2;
    /// Undo.
    pub const UNDO: usize = 3;
    /// How many slots there are.
    pub const COUNT: usize = 32;

    /// Reads a slot; 0 when never set.
    pub fn get(pool: &BufferPool, slot: usize) -> Step<u64> {
        let _ = (pool, slot);
        todo!()
    }
    /// Sets a slot.
    pub fn set(mtr: &mut MiniTxn<'_>, slot: usize, value: u64) -> Step<()> {
        let _ = (mtr, slot, value);
        todo!()
    }
}

/// Formats the control page of a new volume; checks it otherwise. True when it was new.
pub async fn format_if_new(pool: &BufferPool) -> Result<bool, StorageError> {
    let _ = pool;
    todo!()
}
