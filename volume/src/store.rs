//! The contract between a paged engine and its storage.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use sextant_redo::{Lsn, Mtr, Page, PageId};

use crate::VolumeError;

/// A boxed future, for the calls that may wait.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// The right to append so many bytes of log without exceeding the LSN allocation limit (LAL). Taken before any page is
/// latched, so that an append never waits; given to [`LogStore::append`], or back to [`LogStore::release`].
#[derive(Debug)]
#[must_use = "an unused reservation goes back with `release`, or log space leaks"]
pub struct Reservation {
    /// Bytes of log.
    pub bytes: u64,
}

/// Says that a transaction is open, until it is dropped: when the transaction ends, or begins to wait to be durable.
#[derive(Debug, Default)]
pub struct OpenTransaction(Option<Arc<AtomicUsize>>);

impl OpenTransaction {
    /// One more of those that `open` counts.
    pub(crate) fn count(open: &Arc<AtomicUsize>) -> OpenTransaction {
        open.fetch_add(1, Relaxed);
        OpenTransaction(Some(Arc::clone(open)))
    }
}

impl Drop for OpenTransaction {
    fn drop(&mut self) {
        if let Some(open) = &self.0 {
            open.fetch_sub(1, Relaxed);
        }
    }
}

/// A volume as a paged engine sees it: a log to append to, and pages that storage makes from that log.
pub trait LogStore: Send + Sync + 'static {
    /// Volume durable LSN: every mini-transaction at or below it is durable for ever. Never regresses.
    fn vdl(&self) -> Lsn;

    /// Takes log space if there is some at once.
    fn try_reserve(&self, bytes: u64) -> Option<Reservation>;

    /// Takes log space, waiting while VDL + LAL is used up.
    fn reserve(&self, bytes: u64) -> BoxFuture<'_, Result<Reservation, VolumeError>>;

    /// Gives back a reservation that was not needed.
    fn release(&self, reservation: Reservation);

    /// Allocates LSNs for the changes of `mtr` (stored in each [`sextant_redo::PageChange`]), links them into the
    /// volume, group and page chains, and queues the records for sending. Returns the LSN of the last record, the MTR's
    /// consistency point. Never waits. `on_lsn` runs with that LSN before any other append gets one and before the VDL
    /// can reach it: what it publishes is seen by whoever sees that VDL.
    ///
    /// The caller holds the exclusive latch of every page of the MTR and stamps the pages with the LSNs before it lets
    /// go, so a page's records are appended in the order of its page chain.
    fn append(&self, reservation: Reservation, mtr: &mut Mtr, on_lsn: &mut dyn FnMut(Lsn)) -> Lsn;

    /// Tells of a transaction that may commit. While some are open, one that waits in [`LogStore::durable`] may be kept a
    /// moment for their company. Counts nothing where that plays no role.
    fn open_transaction(&self) -> OpenTransaction {
        OpenTransaction::default()
    }

    /// Resolves when `lsn` <= VDL, or fails when it never will be (fenced, volume lost).
    fn durable(&self, lsn: Lsn) -> BoxFuture<'_, Result<(), VolumeError>>;

    /// The newest image of `page` at or below the current VDL; the zero page if it was never written. Only for pages
    /// that are not cached: a dirty page may leave the cache only once its page LSN <= VDL.
    fn read_page(&self, page: PageId) -> BoxFuture<'_, Result<Page, VolumeError>>;

    /// Makes sure that every page up to and including `last` has a protection group, adding groups as needed.
    fn ensure_pages(&self, last: PageId) -> BoxFuture<'_, Result<(), VolumeError>>;

    /// Says the lowest LSN that this instance may still read (for the PGMRPL).
    fn set_read_floor(&self, lsn: Lsn);

    /// Resolves when the volume is lost to this instance: fenced by a newer writer, or its lease is gone and cannot be
    /// had back. The engine must stop.
    fn lost(&self) -> BoxFuture<'_, VolumeError>;
}
