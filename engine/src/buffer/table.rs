//! The page table: which page is in which frame, and which are being fetched. Sharded by page id; a shard's lock is
//! held for a look-up or a change of the map, never across a latch, a copy or an await.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

use sextant_redo::PageId;
use tokio::sync::watch;

use super::StorageError;
use crate::sync::{Mutex, MutexGuard};

/// Spreads page numbers, which come in runs, over the bits that the map uses.
#[derive(Default)]
pub(super) struct PageHasher(u64);

impl Hasher for PageHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.write_u64(u64::from(*byte));
        }
    }

    fn write_u64(&mut self, n: u64) {
        self.0 = spread(self.0 ^ n);
    }
}

/// Multiplication by the odd number next to 2^64 / golden ratio, high bits folded down.
fn spread(n: u64) -> u64 {
    let product = n.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    product ^ (product >> 32)
}

type PageMap<V> = HashMap<PageId, V, BuildHasherDefault<PageHasher>>;

/// How a fetch ended, for those who wait for it: nothing yet, or the error. A success drops the sender.
pub(super) type Outcome = Option<StorageError>;

/// One part of the table.
#[derive(Default)]
pub(super) struct Shard {
    /// Resident pages.
    pub(super) frames: PageMap<u32>,
    /// Pages that are being fetched. While a page is in here only its fetcher may make it resident.
    pub(super) loading: PageMap<watch::Sender<Outcome>>,
    /// Look-ups that did not find their page. Counted under the lock, which is cheaper than a shared counter.
    pub(super) misses: u64,
}

/// All shards.
pub(super) struct PageTable {
    shards: Box<[Mutex<Shard>]>,
}

/// More than twice the threads that a machine of today runs at once; a power of two.
const SHARDS: usize = 128;

impl PageTable {
    pub(super) fn new() -> PageTable {
        PageTable { shards: (0..SHARDS).map(|_| Mutex::default()).collect() }
    }

    /// Locks the shard of `page`.
    pub(super) fn shard(&self, page: PageId) -> MutexGuard<'_, Shard> {
        // Other bits than the map inside the shard uses.
        let at = (spread(page.0) >> 20) as usize % SHARDS;
        self.shards[at].lock()
    }

    /// Misses so far.
    pub(super) fn misses(&self) -> u64 {
        self.shards.iter().map(|shard| shard.lock().misses).sum()
    }
}
