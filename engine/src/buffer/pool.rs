//! The pool: finding, pinning and latching resident pages, and making room.
//!
//! Eviction is CLOCK. A victim is unpinned (so unlatched), and its page LSN is at or below the VDL: storage has all of
//! its changes, so it is simply dropped (P17 section 4.2.3, with the comparison the right way round). Everything else
//! stays. It happens under the lock of the page's shard, so nobody finds the page between the decision and the deed.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use sextant_redo::{Lsn, PAGE_SIZE, PageId, page};
use sextant_volume::LogStore;

use super::frame::{self, Arena, Claimed, Exclusive, Pinned, Shared};
use super::hints::FrameHints;
use super::table::PageTable;
use super::{PoolStats, Step, Stop, StorageError, metrics};
use crate::sync::{AtomicU64, AtomicUsize, Ordering};

/// Fewest frames: what one mini-transaction that splits a tree's pages up to the root may need at once, and some more.
const MIN_FRAMES: usize = 32;

/// The page cache of one volume.
pub struct BufferPool {
    pub(super) store: Arc<dyn LogStore>,
    pub(super) arena: Arena,
    pub(super) table: PageTable,
    hints: FrameHints,
    hand: AtomicUsize,
    /// Every page below has a protection group.
    ensured: AtomicU64,
    /// Bounded waits for latches so far.
    waits: AtomicU64,
    pub(super) counters: Counters,
}

/// What is counted outside the shards.
#[derive(Default)]
pub(super) struct Counters {
    pub(super) evictions: AtomicU64,
    pub(super) undurable_skips: AtomicU64,
    pub(super) full_waits: AtomicU64,
    pub(super) contended: AtomicU64,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// Keeps a page resident, unlatched. May be held across an await.
pub struct Pin<'a> {
    _pinned: Pinned<'a>,
}

impl<'a> Pin<'a> {
    pub(super) fn new(pinned: Pinned<'a>) -> Pin<'a> {
        Pin { _pinned: pinned }
    }
}

/// A page under a shared latch. Not `Send`, so that it cannot be held across an await. Whoever holds one must not read
/// the same page again: a writer that waits in between would block both for ever.
pub struct ReadGuard<'a> {
    shared: Shared<'a>,
}

impl ReadGuard<'_> {
    /// Where this page is.
    pub(crate) fn spot(&self, page: PageId) -> Spot {
        Spot { page, frame: self.shared.frame() }
    }
}

impl Deref for ReadGuard<'_> {
    type Target = [u8; PAGE_SIZE];

    fn deref(&self) -> &Self::Target {
        &self.shared
    }
}

/// A page and the frame that it was in: it most likely still is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Spot {
    pub(crate) page: PageId,
    frame: u32,
}

/// How long to wait for a latch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wait {
    /// As long as it takes: for who holds no other latch.
    Forever,
    /// A few milliseconds.
    Bounded,
    /// Not at all.
    Never,
}

/// What a search for a victim found.
pub(super) enum Sweep<'a> {
    /// A frame to use.
    Found(Claimed<'a>),
    /// None; the lowest page LSN above the VDL among the frames passed over.
    Undurable(Lsn),
    /// None: all are pinned.
    Pinned,
}

impl BufferPool {
    /// A cache over `store` whose pages take at most `capacity_bytes` (but never fewer than a handful of frames).
    pub fn new(store: Arc<dyn LogStore>, capacity_bytes: usize) -> Result<Arc<BufferPool>, StorageError> {
        BufferPool::with_frames(store, (capacity_bytes / PAGE_SIZE).max(MIN_FRAMES))
    }

    /// As [`BufferPool::new`], with so many frames and not one more.
    pub(crate) fn with_frames(
        store: Arc<dyn LogStore>,
        frames: usize,
    ) -> Result<Arc<BufferPool>, StorageError> {
        let pool = Arc::new(BufferPool {
            store,
            arena: Arena::new(frames)?,
            table: PageTable::new(),
            hints: FrameHints::new(frames),
            hand: AtomicUsize::new(0),
            ensured: AtomicU64::new(0),
            waits: AtomicU64::new(0),
            counters: Counters::default(),
        });
        metrics::watch(&pool);
        Ok(pool)
    }

    /// The volume.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn LogStore> {
        &self.store
    }

    /// Counts since the start.
    #[must_use]
    pub fn stats(&self) -> PoolStats {
        let load = |n: &AtomicU64| n.load(Ordering::Relaxed);
        PoolStats {
            hits: self.arena.hits(),
            misses: self.table.misses(),
            evictions: load(&self.counters.evictions),
            undurable_skips: load(&self.counters.undurable_skips),
            full_waits: load(&self.counters.full_waits),
            contended: load(&self.counters.contended),
            frames: self.arena.len() as u64,
            frames_used: self.arena.used() as u64,
        }
    }

    /// The page under a shared latch, or [`Stop::Missing`].
    pub fn read(&self, page: PageId) -> Step<ReadGuard<'_>> {
        let shared = self.pin(page)?.read();
        Ok(ReadGuard { shared })
    }

    /// The same at the spot where the page was; `None` when it is not there any more.
    pub(crate) fn read_at(&self, spot: Spot) -> Option<ReadGuard<'_>> {
        let (page, pinned) = self.arena.pin_unmapped(spot.frame)?;
        (page == spot.page).then(|| ReadGuard { shared: pinned.read() })
    }

    /// The same for who knows another way where the page is not resident.
    pub(crate) fn read_resident(&self, page: PageId) -> Option<ReadGuard<'_>> {
        let shared = self.pin_resident(page)?.read();
        Some(ReadGuard { shared })
    }

    /// The page in which a search with this hash ended, if it is still there and its latch is free: whoever asks may hold
    /// that of the page that came in its place.
    pub(crate) fn read_hinted(&self, hash: u64) -> Option<(PageId, ReadGuard<'_>)> {
        let (page, pinned) = self.arena.pin_unmapped(self.hints.get(hash)?)?;
        Some((page, ReadGuard { shared: pinned.try_read()? }))
    }

    /// Which page that is. It may have left by the time that it is looked up.
    pub(crate) fn hinted(&self, hash: u64) -> Option<PageId> {
        self.arena.page_of(self.hints.get(hash)?)
    }

    /// A search with this hash ended at `page`. Whoever says so keeps the page's tree from being freed.
    pub(crate) fn leave_hint(&self, hash: u64, page: &ReadGuard<'_>) {
        self.hints.set(hash, page.shared.frame());
    }

    /// A root is about to be freed: there are no hints to any tree's pages any more.
    pub(crate) fn forget_hints(&self) {
        self.hints.clear();
    }

    /// Has the processor fetch what tells where the search with this hash ended.
    pub(crate) fn prefetch_hint(&self, hash: u64) {
        frame::prefetch(self.hints.address(hash));
    }

    /// Has the processor fetch the beginning of the page where it ended.
    pub(crate) fn prefetch_hinted(&self, hash: u64) {
        if let Some(frame) = self.hints.get(hash) {
            self.arena.prefetch(frame);
        }
    }

    /// As [`BufferPool::read`] for someone who holds latches already and so must not wait for ever.
    pub(crate) fn read_impatiently(&self, page: PageId) -> Step<ReadGuard<'_>> {
        let shared = self.pin(page)?.read_within(|| self.patience());
        Ok(ReadGuard { shared: shared.ok_or_else(|| self.contended(page))? })
    }

    /// The page under an exclusive latch.
    pub(crate) fn latch(&self, page: PageId, wait: Wait) -> Step<Exclusive<'_>> {
        self.latch_pinned(page, self.pin(page)?, wait)
    }

    /// As [`BufferPool::latch`], for a page that was never written: no need to ask storage for its zeros.
    pub(crate) fn latch_new(&self, page: PageId, wait: Wait) -> Step<Exclusive<'_>> {
        let pinned = match self.pin_resident(page) {
            Some(pinned) => pinned,
            None => self.pin_zero(page)?,
        };
        self.latch_pinned(page, pinned, wait)
    }

    fn latch_pinned<'a>(&'a self, page: PageId, pinned: Pinned<'a>, wait: Wait) -> Step<Exclusive<'a>> {
        let latched = match wait {
            Wait::Forever => return Ok(pinned.write()),
            Wait::Bounded => pinned.write_within(|| self.patience()),
            Wait::Never => pinned.try_write(),
        };
        latched.ok_or_else(|| self.contended(page))
    }

    /// How long to wait for a latch while holding others. Never twice in a row the same, so that of two who wait for each
    /// other one gives way, and the other goes on.
    fn patience(&self) -> Duration {
        let n = self.waits.fetch_add(1, Ordering::Relaxed);
        Duration::from_micros(2000 + 700 * (n * 5 % 16))
    }

    fn contended(&self, page: PageId) -> Stop {
        Counters::add(&self.counters.contended, 1);
        Stop::Contended(page)
    }

    fn pin(&self, page: PageId) -> Step<Pinned<'_>> {
        self.pin_resident(page).ok_or(Stop::Missing(page))
    }

    fn pin_resident(&self, page: PageId) -> Option<Pinned<'_>> {
        let shard = self.table.shard(page);
        Some(self.arena.pin(*shard.frames.get(&page)?))
    }

    /// Makes the zero page resident. `Missing` when there is no room, or someone is fetching it: a fetch then waits.
    fn pin_zero(&self, page: PageId) -> Step<Pinned<'_>> {
        let Sweep::Found(mut claimed) = self.sweep() else {
            return Err(Stop::Missing(page));
        };
        claimed.bytes_mut().fill(0);
        let mut shard = self.table.shard(page);
        if shard.frames.contains_key(&page) || shard.loading.contains_key(&page) {
            return Err(Stop::Missing(page));
        }
        shard.frames.insert(page, claimed.number());
        Ok(claimed.holds(page))
    }

    /// Finds a frame to use: a free one, or one whose page may leave.
    pub(super) fn sweep(&self) -> Sweep<'_> {
        if let Some(claimed) = self.arena.claim_free() {
            return Sweep::Found(claimed);
        }
        let vdl = self.store.vdl();
        let mut lowest = Lsn::MAX;
        // Once around to take the reference bits, once more to find what was not used since.
        for _ in 0..2 * self.arena.len() {
            let frame = (self.hand.fetch_add(1, Ordering::Relaxed) % self.arena.len()) as u32;
            if !self.arena.is_idle(frame) {
                continue;
            }
            match self.try_evict(frame, vdl) {
                Ok(Some(claimed)) => return Sweep::Found(claimed),
                Ok(None) => {}
                Err(lsn) => lowest = lowest.min(lsn),
            }
        }
        if lowest == Lsn::MAX { Sweep::Pinned } else { Sweep::Undurable(lowest) }
    }

    /// Drops the page in `frame` if it may go. An error is its page LSN when that is not durable yet.
    fn try_evict(&self, frame: u32, vdl: Lsn) -> Result<Option<Claimed<'_>>, Lsn> {
        let Some(id) = self.arena.page_of(frame) else {
            return Ok(None);
        };
        let mut shard = self.table.shard(id);
        if shard.frames.get(&id) != Some(&frame) {
            return Ok(None);
        }
        let Some(claimed) = self.arena.claim(frame) else {
            return Ok(None);
        };
        let lsn = page::lsn(claimed.bytes());
        if lsn > vdl {
            claimed.keep();
            Counters::add(&self.counters.undurable_skips, 1);
            return Err(lsn);
        }
        shard.frames.remove(&id);
        Counters::add(&self.counters.evictions, 1);
        Ok(Some(claimed))
    }

    /// Fails with [`Stop::NeedPages`] unless `page` is known to have a protection group.
    pub(crate) fn check_ensured(&self, page: PageId) -> Step<()> {
        if page.0 < self.ensured.load(Ordering::Relaxed) { Ok(()) } else { Err(Stop::NeedPages(page)) }
    }

    /// Remembers that every page up to `last` has a protection group.
    pub(super) fn set_ensured(&self, last: PageId) {
        self.ensured.fetch_max(last.0 + 1, Ordering::Relaxed);
    }
}
