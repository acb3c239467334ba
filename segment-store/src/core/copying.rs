//! A copy of a segment's pages from peers, for a copy that is so far behind that no peer's log reaches back to it.
//!
//! The peer that is asked first names a *point*: the last record that is durable for the volume, complete there, and below
//! which nobody reads. Every image that comes holds all records of its page at or below the point, perhaps newer ones too,
//! never one above the sender's PGMRPL. Images replace the pages they are of as they come; until all are there nothing
//! is served. Then everything at or below the point is in images, and the log above it fills the rest.
//!
//! What must hold:
//! - nothing at or below the point can ever become void: it was declared durable, so a copy goes on under later epochs;
//! - progress is recorded ([`Copied`]) only behind a durable checkpoint that names the images it speaks of: a crash leaves
//!   the old state, or a copy that goes on from the last record of it;
//! - once the copy is complete its PGMRPL is at or above every image, so no read can see a page that is too new.

use sextant_redo::wire::Epochs;
use sextant_redo::{Lsn, PAGE_SIZE, PageId, SegmentId};

use super::{MapBlock, PagePlan, SegmentSlot};

/// A copy that is under way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copying {
    /// All records at or below it are in the images that come.
    pub point: Lsn,
    /// Pages in front of this one are there.
    pub next: PageId,
}

/// The durable progress of a copy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Copied {
    /// The copy's point.
    pub point: Lsn,
    /// Highest VDL that the peers told.
    pub vdl: Lsn,
    /// Highest PGMRPL that they told.
    pub pgmrpl: Lsn,
    /// The first page that is missing; `None` when the copy is complete.
    pub next: Option<PageId>,
}

/// Most pages in one reply: 2 MiB.
const PAGES_MAX: usize = 256;

/// Which page images are asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CopyWanted {
    /// Of which segment.
    pub segment: SegmentId,
    /// Under which epochs.
    pub epochs: Epochs,
    /// The copy's point; zero asks for one.
    pub at: Lsn,
    /// The first page.
    pub from: PageId,
    /// So much at most, but one page at least.
    pub max_bytes: u32,
}

/// What answers a `CopyPages`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyPlan {
    /// The copy's point.
    pub point: Lsn,
    /// Highest VDL seen here.
    pub vdl: Lsn,
    /// No image is newer.
    pub pgmrpl: Lsn,
    /// How each page is made.
    pub pages: Vec<PagePlan>,
    /// Where the next part starts.
    pub next: Option<PageId>,
}

impl CopyPlan {
    /// The pages from `from` on, as many as `max_bytes` asks for, one at least, of one block of the page map at most. Fails
    /// where that block must be loaded first.
    pub fn new(slot: &SegmentSlot, point: Lsn, from: PageId, max_bytes: u32) -> Result<CopyPlan, MapBlock> {
        let limit = (max_bytes as usize / PAGE_SIZE).clamp(1, PAGES_MAX);
        let (pages, next) = slot.pages.pages_from(from, limit)?;
        let plans = pages.into_iter().map(|page| slot.pages.plan(page, point));
        // A page that is younger than the point is made by the log above it.
        let pages = plans.filter(|plan| plan.base.is_some() || !plan.records.is_empty()).collect();
        let (vdl, pgmrpl) = (slot.segment.vdl(), slot.segment.pgmrpl());
        Ok(CopyPlan { point, vdl, pgmrpl, pages, next })
    }
}
