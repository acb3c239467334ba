//! A log store for tests: that of `sextant_volume::memory` with latency, faults and bookkeeping.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use sextant_redo::{Lsn, Mtr, Page, PageId};
use sextant_volume::memory::MemoryStore;
use sextant_volume::{BoxFuture, LogStore, Reservation, VolumeError};
use tokio::sync::Semaphore;

/// See the module.
pub(crate) struct TestStore {
    pub(crate) memory: Arc<MemoryStore>,
    /// Reads begun.
    pub(crate) reads: AtomicU64,
    /// A read takes a permit and gives it back: with none, reads hang.
    pub(crate) gate: Semaphore,
    /// What the next read answers instead of the page.
    pub(crate) next_read: Mutex<Option<Result<Page, VolumeError>>>,
    /// Which reads no copy answers.
    pub(crate) failing: Mutex<Failing>,
    /// Reads that no copy has answered.
    pub(crate) failed: AtomicU64,
    /// Bytes reserved and neither released nor used.
    pub(crate) reserved: AtomicI64,
    /// One more than the last page that was made sure of.
    pub(crate) ensured: AtomicU64,
}

/// Which reads fail.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Failing {
    Never,
    /// The one behind so many, once.
    After(u64),
    /// About one in so many.
    OneIn(u64),
}

impl Failing {
    /// Whether read number `n` fails.
    fn strikes(&mut self, n: u64) -> bool {
        match self {
            Failing::Never => false,
            Failing::After(0) => {
                *self = Failing::Never;
                true
            }
            Failing::After(left) => {
                *left -= 1;
                false
            }
            // Fibonacci hashing: no read in step with anything fails always.
            Failing::OneIn(many) => (n.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 32).is_multiple_of(*many),
        }
    }
}

impl TestStore {
    pub(crate) fn new() -> Arc<TestStore> {
        TestStore::over(MemoryStore::new())
    }

    /// Over a volume that there is.
    pub(crate) fn over(memory: Arc<MemoryStore>) -> Arc<TestStore> {
        Arc::new(TestStore {
            memory,
            reads: AtomicU64::new(0),
            gate: Semaphore::new(Semaphore::MAX_PERMITS),
            next_read: Mutex::new(None),
            failing: Mutex::new(Failing::Never),
            failed: AtomicU64::new(0),
            reserved: AtomicI64::new(0),
            ensured: AtomicU64::new(0),
        })
    }
}

impl LogStore for TestStore {
    fn vdl(&self) -> Lsn {
        self.memory.vdl()
    }

    fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        // Every third time there is none at once.
        if self.reserved.fetch_add(bytes as i64, Ordering::Relaxed) % 3 == 0 {
            self.reserved.fetch_sub(bytes as i64, Ordering::Relaxed);
            return None;
        }
        self.memory.try_reserve(bytes)
    }

    fn reserve(&self, bytes: u64) -> BoxFuture<'_, Result<Reservation, VolumeError>> {
        self.reserved.fetch_add(bytes as i64, Ordering::Relaxed);
        self.memory.reserve(bytes)
    }

    fn release(&self, reservation: Reservation) {
        self.reserved.fetch_sub(reservation.bytes as i64, Ordering::Relaxed);
        self.memory.release(reservation);
    }

    fn append(&self, reservation: Reservation, mtr: &mut Mtr, on_lsn: &mut dyn FnMut(Lsn)) -> Lsn {
        for change in mtr.changes() {
            assert!(change.page.0 < self.ensured.load(Ordering::Relaxed), "{:?} has no group", change.page);
        }
        self.reserved.fetch_sub(reservation.bytes as i64, Ordering::Relaxed);
        self.memory.append(reservation, mtr, on_lsn)
    }

    fn durable(&self, lsn: Lsn) -> BoxFuture<'_, Result<(), VolumeError>> {
        self.memory.durable(lsn)
    }

    fn read_page(&self, page: PageId) -> BoxFuture<'_, Result<Page, VolumeError>> {
        let n = self.reads.fetch_add(1, Ordering::Relaxed);
        let fails = self.failing.lock().strikes(n);
        Box::pin(async move {
            let _permit = self.gate.acquire().await.expect("the gate is never closed");
            for _ in 0..n % 5 {
                tokio::task::yield_now().await;
            }
            if fails {
                self.failed.fetch_add(1, Ordering::Relaxed);
                return Err(VolumeError::Unreadable { page, last: "planted".to_owned() });
            }
            let planted = self.next_read.lock().take();
            let image = match planted {
                Some(answer) => answer,
                None => self.memory.read_page(page).await,
            };
            for _ in 0..n % 7 {
                tokio::task::yield_now().await;
            }
            image
        })
    }

    fn ensure_pages(&self, last: PageId) -> BoxFuture<'_, Result<(), VolumeError>> {
        self.ensured.fetch_max(last.0 + 1, Ordering::Relaxed);
        self.memory.ensure_pages(last)
    }

    fn set_read_floor(&self, lsn: Lsn) {
        self.memory.set_read_floor(lsn);
    }

    fn lost(&self) -> BoxFuture<'_, VolumeError> {
        self.memory.lost()
    }
}
