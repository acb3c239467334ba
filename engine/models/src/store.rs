//! The volume below the cache: that of `sextant_volume::memory`, whose reads take their time and may fail. It checks what
//! the cache owes it.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};

use parking_lot::Mutex;
use sextant_redo::{Lsn, Mtr, Page, PageId};
use sextant_volume::memory::MemoryStore;
use sextant_volume::{BoxFuture, LogStore, Reservation, VolumeError};

use crate::sync::{drawn, point, yield_now};

/// See the module. Its own state is not the scheduler's: a look at it is no place to switch.
pub(crate) struct ModelStore {
    pub(crate) memory: Arc<MemoryStore>,
    /// Reads of pages may fail from now on.
    pub(crate) failing: AtomicBool,
    /// Reads begun.
    pub(crate) reads: AtomicU64,
    under_way: Mutex<BTreeSet<PageId>>,
    reserved: AtomicI64,
}

/// A read that is under way, until it is answered or dropped.
struct UnderWay<'a>(&'a ModelStore, PageId);

impl Drop for UnderWay<'_> {
    fn drop(&mut self) {
        self.0.under_way.lock().remove(&self.1);
    }
}

impl ModelStore {
    pub(crate) fn new() -> Arc<ModelStore> {
        Arc::new(ModelStore {
            memory: MemoryStore::new(),
            failing: AtomicBool::new(false),
            reads: AtomicU64::new(0),
            under_way: Mutex::new(BTreeSet::new()),
            reserved: AtomicI64::new(0),
        })
    }

    /// What must hold when all is over.
    pub(crate) fn check_ended(&self) {
        assert_eq!(self.reserved.load(Ordering::Relaxed), 0, "log space was lost, or given back twice");
        assert!(self.under_way.lock().is_empty(), "a read is still under way");
    }

    fn begin(&self, page: PageId) -> UnderWay<'_> {
        assert!(self.under_way.lock().insert(page), "{page:?} is read twice at once");
        self.reads.fetch_add(1, Ordering::Relaxed);
        UnderWay(self, page)
    }

    async fn read(&self, page: PageId) -> Result<Page, VolumeError> {
        let _under_way = self.begin(page);
        yield_now().await;
        if self.failing.load(Ordering::Relaxed) && drawn(3) {
            return Err(VolumeError::Closed);
        }
        let image = self.memory.read_page(page).await;
        // The image may be old by the time it arrives.
        yield_now().await;
        image
    }
}

impl LogStore for ModelStore {
    fn vdl(&self) -> Lsn {
        self.memory.vdl()
    }

    fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        if drawn(4) {
            return None;
        }
        self.reserved.fetch_add(bytes as i64, Ordering::Relaxed);
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
        self.reserved.fetch_sub(reservation.bytes as i64, Ordering::Relaxed);
        let lsn = self.memory.append(reservation, mtr, on_lsn);
        // The record is in the log, the cached pages are not changed yet.
        point();
        lsn
    }

    fn durable(&self, lsn: Lsn) -> BoxFuture<'_, Result<(), VolumeError>> {
        self.memory.durable(lsn)
    }

    fn read_page(&self, page: PageId) -> BoxFuture<'_, Result<Page, VolumeError>> {
        Box::pin(self.read(page))
    }

    fn ensure_pages(&self, last: PageId) -> BoxFuture<'_, Result<(), VolumeError>> {
        self.memory.ensure_pages(last)
    }

    fn set_read_floor(&self, lsn: Lsn) {
        self.memory.set_read_floor(lsn);
    }

    fn lost(&self) -> BoxFuture<'_, VolumeError> {
        self.memory.lost()
    }
}
