//! Frames: the mapped arena that holds the pages, and who may touch which of its bytes. All `unsafe` of the page cache
//! is in this file.
//!
//! Frame `n` is the 8 KiB at `n * PAGE_SIZE` of one mapping; its descriptor (pin count, latch, page id, reference bit) is
//! in a separate array, so that looking for a victim touches no page. A page says itself which page it is and how new
//! (page id and page LSN in its header), so the whole cache can be found again from the arena alone: that is
//! what lets the arena become a file in memory that outlives the engine. It then needs, in front of the frames,
//! a header that names the volume, and a mark per frame that is set while a commit changes it.
//!
//! What must hold:
//! - A frame's bytes are reached in three ways only: under its shared latch ([`Shared`]: read), under its exclusive
//!   latch ([`Exclusive`]: read and write), or while claimed ([`Claimed`]: read and write).
//! - A latch is only taken and held by someone who also holds a pin; a claim needs a pin count of zero and makes it
//!   [`CLAIMED`], under which no pin is granted. So claim and latch exclude each other.
//! - A frame that is neither free nor claimed holds the page that it says, and no other frame does.

use std::marker::PhantomData;
use std::ops::Deref;
use std::time::Duration;

use memmap2::{Advice, MmapMut};
use parking_lot::lock_api::{RawRwLock as _, RawRwLockTimed as _};
use sextant_redo::{PAGE_SIZE, PageId};

use super::StorageError;
use crate::sync::{AtomicBool, AtomicU32, AtomicU64, Mutex, Ordering, RawRwLock};

/// Pin count of a claimed frame: far above what real pins reach.
const CLAIMED: u32 = 1 << 31;
/// Page id of a frame that holds no page.
const NO_PAGE: u64 = u64::MAX;

/// What is known of one frame, in half a line of the processor's cache.
#[repr(align(32))]
struct Frame {
    latch: RawRwLock,
    pins: AtomicU32,
    referenced: AtomicBool,
    page: AtomicU64,
    /// How often it was pinned for a page that it held.
    hits: AtomicU64,
}

/// All frames.
pub(super) struct Arena {
    /// Keeps the mapping alive; its bytes are reached through `base` only.
    _map: MmapMut,
    base: *mut u8,
    frames: Box<[Frame]>,
    /// Frames that hold no page and are not claimed.
    free: Mutex<Vec<u32>>,
}

// SAFETY: `base` points into the mapping that the arena owns; which thread may touch which bytes is decided by latches
// and claims (see the module), not by the thread.
unsafe impl Send for Arena {}
// SAFETY: as above.
unsafe impl Sync for Arena {}

impl Arena {
    /// Maps `frames` frames. The system gives memory to a frame when it is first used.
    pub(super) fn new(frames: usize) -> Result<Arena, StorageError> {
        let bytes = frames.saturating_mul(PAGE_SIZE);
        let refused = |reason: String| StorageError::Arena { bytes, reason };
        let count = u32::try_from(frames).map_err(|_| refused("too many frames".into()))?;
        let mut map = MmapMut::map_anon(bytes).map_err(|e| refused(e.to_string()))?;
        // Random look-ups in gigabytes of 4 KiB pages miss the processor's address cache more often than not. A hint only:
        // a system without large pages works as well, but slower.
        #[cfg(target_os = "linux")]
        if let Err(error) = map.advise(Advice::HugePage) {
            tracing::debug!(%error, "the page cache does without large pages");
        }
        let descriptors = (0..frames).map(|_| Frame {
            latch: RawRwLock::INIT,
            pins: AtomicU32::new(0),
            referenced: AtomicBool::new(false),
            page: AtomicU64::new(NO_PAGE),
            hits: AtomicU64::new(0),
        });
        Ok(Arena {
            base: map.as_mut_ptr(),
            _map: map,
            frames: descriptors.collect(),
            free: Mutex::new((0..count).rev().collect()),
        })
    }

    /// How many frames there are.
    pub(super) fn len(&self) -> usize {
        self.frames.len()
    }

    /// How many frames hold a page, or are about to.
    pub(super) fn used(&self) -> usize {
        self.len() - self.free.lock().len()
    }

    /// Pins so far.
    pub(super) fn hits(&self) -> u64 {
        self.frames.iter().map(|frame| frame.hits.load(Ordering::Relaxed)).sum()
    }

    fn frame(&self, n: u32) -> &Frame {
        &self.frames[n as usize]
    }

    fn at(&self, n: u32) -> *mut [u8; PAGE_SIZE] {
        debug_assert!((n as usize) < self.len());
        // SAFETY: every `n` in use indexes `frames`, and the mapping is `frames.len() * PAGE_SIZE` bytes long.
        unsafe { self.base.add(n as usize * PAGE_SIZE).cast() }
    }

    /// The page in frame `n`, if any. A hint: it may change at once unless the page's shard is locked.
    pub(super) fn page_of(&self, n: u32) -> Option<PageId> {
        match self.frame(n).page.load(Ordering::Relaxed) {
            NO_PAGE => None,
            page => Some(PageId(page)),
        }
    }

    /// True when the frame was neither pinned nor used since the clock hand came by last; takes the reference bit.
    pub(super) fn is_idle(&self, n: u32) -> bool {
        let frame = self.frame(n);
        frame.pins.load(Ordering::Relaxed) == 0 && !frame.referenced.swap(false, Ordering::Relaxed)
    }

    /// Pins frame `n`. The caller holds the lock of the shard that maps a page to it, so it is not claimed.
    pub(super) fn pin(&self, n: u32) -> Pinned<'_> {
        let frame = self.frame(n);
        let before = frame.pins.fetch_add(1, Ordering::Acquire);
        assert!(before < CLAIMED - 1, "a claimed frame is not pinned");
        frame.used();
        Pinned { arena: self, frame: n }
    }

    /// Pins frame `n` without its shard's lock, unless it is claimed or holds no page; says which page it holds.
    pub(super) fn pin_unmapped(&self, n: u32) -> Option<(PageId, Pinned<'_>)> {
        let frame = self.frames.get(n as usize)?;
        let mut pins = frame.pins.load(Ordering::Relaxed);
        loop {
            if pins >= CLAIMED - 1 {
                return None;
            }
            // Acquire: the page was written before the claim ended that put it here.
            match frame.pins.compare_exchange_weak(pins, pins + 1, Ordering::Acquire, Ordering::Relaxed) {
                Ok(_) => break,
                Err(now) => pins = now,
            }
        }
        let pinned = Pinned { arena: self, frame: n };
        // Asked only now: pinned it keeps its page, and a free one stays free.
        let page = self.page_of(n)?;
        frame.used();
        Some((page, pinned))
    }

    /// Has the processor fetch what is known of frame `n`, and the beginning of its page.
    pub(super) fn prefetch(&self, n: u32) {
        if let Some(frame) = self.frames.get(n as usize) {
            prefetch(std::ptr::from_ref(frame).cast());
            let page = self.at(n).cast::<u8>();
            prefetch(page);
            prefetch(page.wrapping_add(LINE));
        }
    }

    /// Claims a frame that holds no page.
    pub(super) fn claim_free(&self) -> Option<Claimed<'_>> {
        let n = self.free.lock().pop()?;
        let claimed = self.claim(n);
        if claimed.is_none() {
            // Somebody follows a hint to it, and is about to see that it holds no page.
            self.free.lock().push(n);
        }
        claimed
    }

    /// Claims frame `n` if nobody has it pinned. The caller holds the lock of the shard of the frame's page.
    pub(super) fn claim(&self, n: u32) -> Option<Claimed<'_>> {
        let pins = &self.frame(n).pins;
        // Acquire: what the last holder of a pin wrote is seen.
        pins.compare_exchange(0, CLAIMED, Ordering::Acquire, Ordering::Relaxed).ok()?;
        Some(Claimed { arena: self, frame: n })
    }
}

impl Frame {
    fn used(&self) {
        self.hits.fetch_add(1, Ordering::Relaxed);
        if !self.referenced.load(Ordering::Relaxed) {
            self.referenced.store(true, Ordering::Relaxed);
        }
    }
}

/// Bytes of a line of the processor's cache.
const LINE: usize = 64;

/// Has the processor fetch the line of its cache with this address, which may be any.
pub(super) fn prefetch(address: *const u8) {
    // SAFETY: a prefetch reads nothing that the program sees, and faults at no address.
    #[cfg(target_arch = "x86_64")]
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(address.cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = address;
}

/// A pin: the frame keeps its page. No right to touch its bytes.
pub(super) struct Pinned<'a> {
    arena: &'a Arena,
    frame: u32,
}

impl Drop for Pinned<'_> {
    fn drop(&mut self) {
        // Release: pairs with the claim's acquire.
        self.arena.frame(self.frame).pins.fetch_sub(1, Ordering::Release);
    }
}

impl<'a> Pinned<'a> {
    fn latch(&self) -> &'a RawRwLock {
        &self.arena.frame(self.frame).latch
    }

    /// Latches for reading, waiting as long as it takes.
    pub(super) fn read(self) -> Shared<'a> {
        self.latch().lock_shared();
        Shared { pinned: self, not_send: PhantomData }
    }

    /// Latches for reading if that works at once.
    pub(super) fn try_read(self) -> Option<Shared<'a>> {
        let got = self.latch().try_lock_shared();
        got.then(|| Shared { pinned: self, not_send: PhantomData })
    }

    /// Latches for reading if that works in time; `patience` is asked for only if it does not work at once.
    pub(super) fn read_within(self, patience: impl FnOnce() -> Duration) -> Option<Shared<'a>> {
        let got = self.latch().try_lock_shared() || self.latch().try_lock_shared_for(patience());
        got.then(|| Shared { pinned: self, not_send: PhantomData })
    }

    /// Latches for writing, waiting as long as it takes.
    pub(super) fn write(self) -> Exclusive<'a> {
        self.latch().lock_exclusive();
        Exclusive { pinned: self, not_send: PhantomData }
    }

    /// Latches for writing if that works at once.
    pub(super) fn try_write(self) -> Option<Exclusive<'a>> {
        let got = self.latch().try_lock_exclusive();
        got.then(|| Exclusive { pinned: self, not_send: PhantomData })
    }

    /// Latches for writing if that works in time; `patience` is asked for only if it does not work at once.
    pub(super) fn write_within(self, patience: impl FnOnce() -> Duration) -> Option<Exclusive<'a>> {
        let got = self.latch().try_lock_exclusive() || self.latch().try_lock_exclusive_for(patience());
        got.then(|| Exclusive { pinned: self, not_send: PhantomData })
    }
}

/// A page under a shared latch.
pub(super) struct Shared<'a> {
    pinned: Pinned<'a>,
    not_send: PhantomData<*const ()>,
}

impl Shared<'_> {
    /// Which frame.
    pub(super) fn frame(&self) -> u32 {
        self.pinned.frame
    }
}

impl Deref for Shared<'_> {
    type Target = [u8; PAGE_SIZE];

    fn deref(&self) -> &Self::Target {
        // SAFETY: the shared latch is held until `self` is dropped, and so is the pin: nobody writes (see the module).
        unsafe { &*self.pinned.arena.at(self.pinned.frame) }
    }
}

impl Drop for Shared<'_> {
    fn drop(&mut self) {
        // SAFETY: `self` is proof that the shared latch is held, by this thread, and it is given up once.
        unsafe { self.pinned.latch().unlock_shared() }
    }
}

/// A page under an exclusive latch.
pub(crate) struct Exclusive<'a> {
    pinned: Pinned<'a>,
    not_send: PhantomData<*const ()>,
}

impl Exclusive<'_> {
    /// The page.
    pub(crate) fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: the exclusive latch and the pin are held until `self` is dropped; writing needs `&mut self`.
        unsafe { &*self.pinned.arena.at(self.pinned.frame) }
    }

    /// The page, to change.
    pub(crate) fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: the exclusive latch and the pin are held until `self` is dropped, and `self` is borrowed for as long.
        unsafe { &mut *self.pinned.arena.at(self.pinned.frame) }
    }
}

impl Drop for Exclusive<'_> {
    fn drop(&mut self) {
        // SAFETY: `self` is proof that the exclusive latch is held, by this thread, and it is given up once.
        unsafe { self.pinned.latch().unlock_exclusive() }
    }
}

/// A frame that nobody else can reach. Dropped, it becomes a free frame.
pub(super) struct Claimed<'a> {
    arena: &'a Arena,
    frame: u32,
}

impl<'a> Claimed<'a> {
    /// Which frame.
    pub(super) fn number(&self) -> u32 {
        self.frame
    }

    /// What the frame holds.
    pub(super) fn bytes(&self) -> &[u8; PAGE_SIZE] {
        // SAFETY: the claim excludes every latch and every other claim until `self` is gone; writing needs `&mut self`.
        unsafe { &*self.arena.at(self.frame) }
    }

    /// What the frame holds, to change.
    pub(super) fn bytes_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        // SAFETY: as for `bytes`, and `self` is borrowed for as long.
        unsafe { &mut *self.arena.at(self.frame) }
    }

    /// The frame keeps its page: nobody evicts it after all.
    pub(super) fn keep(self) {
        self.end(0);
        std::mem::forget(self);
    }

    /// The frame now holds `page`, with one pin. The caller then maps the page to it.
    pub(super) fn holds(self, page: PageId) -> Pinned<'a> {
        let (arena, frame) = (self.arena, self.frame);
        arena.frame(frame).page.store(page.0, Ordering::Relaxed);
        arena.frame(frame).referenced.store(true, Ordering::Relaxed);
        self.end(1);
        std::mem::forget(self);
        Pinned { arena, frame }
    }

    fn end(&self, pins: u32) {
        // Release: what was written under the claim is seen by whoever pins or claims next.
        self.arena.frame(self.frame).pins.store(pins, Ordering::Release);
    }
}

impl Drop for Claimed<'_> {
    fn drop(&mut self) {
        self.arena.frame(self.frame).page.store(NO_PAGE, Ordering::Relaxed);
        self.end(0);
        self.arena.free.lock().push(self.frame);
    }
}
