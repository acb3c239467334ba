//! Mini-transactions (MTRs): changes of several pages that storage, readers and recovery see together or not at all.
//!
//! Changes are **staged**: patches are recorded, the pages stay as they are until commit. Commit appends the records to
//! the log, applies the same encoded patches to the latched frames with redo's own code, stamps the page LSNs and lets
//! go of the latches: a cached page equals what storage makes of its records by construction. Dropping an MTR
//! changes nothing.
//!
//! Latch order, so that MTRs do not wait for each other in a circle: pages of a tree from leaf to root and left to right,
//! then other pages, the control page last. It is a matter of speed, not of safety: whoever holds a latch waits for the
//! next one only for some milliseconds, then lets go of all and starts over ([`Stop::Contended`]).

use std::cell::RefCell;
use std::ops::Deref;

use sextant_redo::patch::{Patch, Patches};
use sextant_redo::record::{MAX_RECORD, MAX_RECORD_OVERHEAD};
use sextant_redo::{Lsn, Mtr, PAGE_SIZE, PageId, page};

use crate::buffer::{BufferPool, Exclusive, LogSpace, ReadGuard, Step, Stop, StorageError, Wait};
use crate::space::{self, Space};

/// Most bytes of patches in one record.
const MAX_PATCHES: usize = MAX_RECORD - MAX_RECORD_OVERHEAD;

thread_local! {
    /// Buffers of finished MTRs: a step in steady state allocates nothing for its patches.
    static SPARE: RefCell<Vec<Buffers>> = const { RefCell::new(Vec::new()) };
}

#[derive(Default)]
struct Buffers {
    redo: Mtr,
    scratch: Vec<u8>,
}

/// A page latched by a [`MiniTxn`]; means something in that one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHandle(usize);

/// A latched page.
struct Held<'a> {
    page: PageId,
    /// None once let go of.
    latch: Option<Exclusive<'a>>,
    /// Its change in the redo MTR, if it has one.
    record: Option<usize>,
    /// The page with the staged patches applied, kept when someone asked for it.
    current: Option<Box<[u8; PAGE_SIZE]>>,
}

/// A mini-transaction under construction. Not `Send`: it lives inside one synchronous step.
pub struct MiniTxn<'a> {
    pool: &'a BufferPool,
    buffers: Buffers,
    held: Vec<Held<'a>>,
    pub(crate) space: Option<Space>,
}

/// A page seen from inside an MTR: one of its own, or one that is latched for this look only.
pub(crate) enum View<'v> {
    Own(&'v [u8; PAGE_SIZE]),
    Other(ReadGuard<'v>),
}

impl Deref for View<'_> {
    type Target = [u8; PAGE_SIZE];

    fn deref(&self) -> &Self::Target {
        match self {
            View::Own(bytes) => bytes,
            View::Other(guard) => guard,
        }
    }
}

impl<'a> MiniTxn<'a> {
    pub(crate) fn new(pool: &'a BufferPool) -> MiniTxn<'a> {
        let buffers = SPARE.with_borrow_mut(Vec::pop).unwrap_or_default();
        MiniTxn { pool, buffers, held: Vec::with_capacity(8), space: None }
    }

    /// The cache that it works on.
    #[must_use]
    pub fn pool(&self) -> &'a BufferPool {
        self.pool
    }

    /// Latches a page exclusively until commit or drop. A page that this MTR has latched already gives the same handle.
    pub fn latch(&mut self, page: PageId) -> Step<PageHandle> {
        Ok(self.latch_fresh(page)?.0)
    }

    /// As [`MiniTxn::latch`]; also says whether it was latched only now.
    pub(crate) fn latch_fresh(&mut self, page: PageId) -> Step<(PageHandle, bool)> {
        self.latch_waiting(page, self.wait())
    }

    /// As [`MiniTxn::latch`], but without waiting at all.
    pub(crate) fn try_latch(&mut self, page: PageId) -> Step<(PageHandle, bool)> {
        self.latch_waiting(page, Wait::Never)
    }

    fn latch_waiting(&mut self, page: PageId, wait: Wait) -> Step<(PageHandle, bool)> {
        if let Some(h) = self.find(page) {
            return Ok((h, false));
        }
        let latch = self.pool.latch(page, wait)?;
        Ok((self.hold(page, latch), true))
    }

    /// Latches a page that was never written.
    pub(crate) fn latch_new(&mut self, page: PageId) -> Step<PageHandle> {
        if let Some(h) = self.find(page) {
            return Ok(h);
        }
        let latch = self.pool.latch_new(page, self.wait())?;
        Ok(self.hold(page, latch))
    }

    fn wait(&self) -> Wait {
        let holds = self.held.iter().any(|h| h.latch.is_some());
        if holds { Wait::Bounded } else { Wait::Forever }
    }

    fn find(&self, page: PageId) -> Option<PageHandle> {
        let at = self.held.iter().position(|h| h.page == page && h.latch.is_some())?;
        Some(PageHandle(at))
    }

    fn hold(&mut self, page: PageId, latch: Exclusive<'a>) -> PageHandle {
        self.held.push(Held { page, latch: Some(latch), record: None, current: None });
        PageHandle(self.held.len() - 1)
    }

    /// Lets go of a page that was latched in vain. A page with staged changes stays latched.
    pub(crate) fn release(&mut self, h: PageHandle) {
        if self.held[h.0].record.is_none() {
            self.held[h.0].latch = None;
        }
    }

    /// A page for one look: as this MTR will leave it when it has latched it, else under a shared latch.
    pub(crate) fn peek(&mut self, page: PageId) -> Step<View<'_>> {
        if let Some(h) = self.find(page) {
            self.refresh(h);
            return Ok(View::Own(self.bytes(h)));
        }
        Ok(View::Other(match self.wait() {
            Wait::Forever => self.pool.read(page)?,
            _ => self.pool.read_impatiently(page)?,
        }))
    }

    fn latched(&self, h: PageHandle) -> &Exclusive<'a> {
        let latch = self.held[h.0].latch.as_ref();
        latch.expect("a handle is not used after its page was let go of")
    }

    /// Which page this is.
    #[must_use]
    pub fn page(&self, h: PageHandle) -> PageId {
        self.held[h.0].page
    }

    /// Its page LSN: that of the last MTR that changed it.
    #[must_use]
    pub fn page_lsn(&self, h: PageHandle) -> Lsn {
        page::lsn(self.latched(h).bytes())
    }

    /// The page's content: as it was when it was latched, without what this MTR has staged since (but see
    /// [`MiniTxn::refresh`]).
    #[must_use]
    pub fn bytes(&self, h: PageHandle) -> &[u8; PAGE_SIZE] {
        match &self.held[h.0].current {
            Some(current) => current,
            None => self.latched(h).bytes(),
        }
    }

    /// From now on [`MiniTxn::bytes`] of this page shows what is staged, too (a stamped LSN shows as zero). It costs a
    /// copy of the page: for steps that change a page twice.
    pub fn refresh(&mut self, h: PageHandle) {
        if self.held[h.0].record.is_some() {
            self.follow(h);
        }
    }

    /// As [`MiniTxn::refresh`], also when nothing is staged yet.
    pub(crate) fn follow(&mut self, h: PageHandle) {
        if self.held[h.0].current.is_some() {
            return;
        }
        let mut copy = page::Page::copy_of(self.latched(h).bytes()).0;
        if let Some(record) = self.held[h.0].record {
            for patch in Patches::new(&self.buffers.redo.changes()[record].patches).flatten() {
                patch.apply(&mut copy, Lsn::ZERO);
            }
        }
        self.held[h.0].current = Some(copy);
    }

    /// Stages: overwrite bytes from `offset` (of the page) on.
    ///
    /// # Panics
    /// As all staging calls, when the patch reaches outside the page's body: such a record would be refused by every
    /// storage node, so it must not get into the log.
    pub fn set(&mut self, h: PageHandle, offset: usize, bytes: &[u8]) {
        self.stage(h, Patch::Set { offset, bytes });
    }

    /// Stages: copy `len` bytes inside the page; the ranges may overlap.
    pub fn copy_within(&mut self, h: PageHandle, from: usize, to: usize, len: usize) {
        let (offset, source) = (to, from);
        self.stage(h, Patch::Move { offset, source, len });
    }

    /// Stages: write one byte `len` times.
    pub fn fill(&mut self, h: PageHandle, offset: usize, len: usize, byte: u8) {
        self.stage(h, Patch::Fill { offset, len, byte });
    }

    /// Stages: replace the body; behind `body` it becomes zero.
    pub fn image(&mut self, h: PageHandle, body: &[u8]) {
        self.stage(h, Patch::Image { body });
    }

    /// Stages: write the LSN of the page's own record, 8 bytes LE, at `offset`.
    pub fn stamp_lsn(&mut self, h: PageHandle, offset: usize) {
        self.stage(h, Patch::Stamp { offset });
    }

    fn stage(&mut self, h: PageHandle, patch: Patch<'_>) {
        assert!(patch.check().is_ok(), "a patch stays inside the page's body");
        let record = match self.held[h.0].record {
            Some(record) => record,
            None => {
                let before = self.page_lsn(h);
                let record = self.buffers.redo.add_page(self.held[h.0].page, before);
                self.held[h.0].record = Some(record);
                record
            }
        };
        self.buffers.redo.patch(record, patch);
        if let Some(current) = &mut self.held[h.0].current {
            patch.apply(current, Lsn::ZERO);
        }
    }

    /// A page of one's own, latched. What it holds is left over from an earlier use or zero: its first change must be an
    /// image. The control page stays latched until commit, so allocate after everything else is latched.
    pub fn allocate(&mut self) -> Step<PageHandle> {
        space::allocate(self)
    }

    /// Gives a page back. Nobody must be able to find it any more, or must recognise that it is dead.
    pub fn free(&mut self, page: PageId) -> Step<()> {
        space::free(self, page)
    }

    /// A buffer to copy a value into; give it back with [`MiniTxn::return_scratch`].
    pub(crate) fn take_scratch(&mut self) -> Vec<u8> {
        let mut scratch = std::mem::take(&mut self.buffers.scratch);
        scratch.clear();
        scratch
    }

    pub(crate) fn return_scratch(&mut self, scratch: Vec<u8>) {
        self.buffers.scratch = scratch;
    }

    /// Appends what was staged, applies it and lets go of all latches. Nothing is changed when it fails.
    pub(crate) fn commit(mut self, log: LogSpace<'_>, on_lsn: &mut dyn FnMut(Lsn)) -> Step<Lsn> {
        space::finish(&mut self);
        if self.buffers.redo.is_empty() {
            return Ok(Lsn::ZERO);
        }
        self.check_sizes()?;
        let needed = self.buffers.redo.max_log_bytes() as u64;
        if needed > log.bytes() {
            return Err(Stop::NeedLog(needed));
        }
        let store = self.pool.store();
        let Some(reservation) = log.take() else {
            return Err(Stop::NeedLog(needed));
        };
        let lsn = store.append(reservation, &mut self.buffers.redo, on_lsn);
        self.apply();
        // Dropping `self` lets go of the latches: every page is changed before the first one can be seen.
        Ok(lsn)
    }

    fn check_sizes(&self) -> Result<(), StorageError> {
        for change in self.buffers.redo.changes() {
            let (page, bytes) = (change.page, change.patches.len());
            if bytes > MAX_PATCHES {
                return Err(StorageError::RecordTooLarge { page, bytes });
            }
        }
        Ok(())
    }

    fn apply(&mut self) {
        for held in &mut self.held {
            let (Some(record), Some(latch)) = (held.record, &mut held.latch) else {
                continue;
            };
            let change = &self.buffers.redo.changes()[record];
            let target = latch.bytes_mut();
            for patch in Patches::new(&change.patches).flatten() {
                patch.apply(target, change.lsn);
            }
            page::stamp(target, change.page, change.lsn);
        }
    }
}

impl Drop for MiniTxn<'_> {
    fn drop(&mut self) {
        let mut buffers = std::mem::take(&mut self.buffers);
        buffers.redo.clear();
        SPARE.with_borrow_mut(|spare| {
            if spare.len() < 4 {
                spare.push(buffers);
            }
        });
    }
}
