//! Pages from a peer: for a whole segment whose log is gone everywhere, part by part.

use std::rc::Rc;

use sextant_redo::wire::{Epochs, PagesReply, Reply, Request};
use sextant_redo::{Lsn, NodeId, PAGE_SIZE, Page, PageId, SegmentId, page};

use super::{Failed, Health, other_answer, wrong};
use crate::core::gossip::Standing;
use crate::core::{Copied, Copying, LogAddress};
use crate::metrics::METRICS;
use crate::pages::{images, keeper};

/// Page images asked for at a time.
const PART_BYTES: u32 = 1 << 20;
/// Progress is made durable this often: what a crash makes us copy again.
const RECORD_BYTES: usize = 64 << 20;

/// How far a copy has come since its progress was last made durable.
#[derive(Debug, Clone, Copy)]
pub(super) struct Progress {
    copying: Copying,
    bytes: usize,
}

/// Where the copy really is, ahead of what is durable of it.
pub(super) fn with_progress(health: &Health, segment: SegmentId, mine: Standing) -> Standing {
    let copies = health.copies.borrow();
    let ahead =
        mine.copying.zip(copies.get(&segment)).filter(|(known, ahead)| known.point == ahead.copying.point);
    Standing { copying: ahead.map(|(_, ahead)| ahead.copying).or(mine.copying), ..mine }
}

/// Copies one part of the pages; the bytes that came.
pub(super) async fn part(
    health: &Rc<Health>,
    segment: SegmentId,
    epochs: Epochs,
    peer: NodeId,
    (at, from): (Lsn, PageId),
) -> Result<usize, Failed> {
    let born = health.birth(segment)?;
    let (came, images) = ask(health, peer, (segment, epochs), (at, from), PART_BYTES).await?;
    if at == Lsn::ZERO {
        tracing::info!(?segment, point = %came.point, %peer, "no peer's log reaches back: copying pages");
        METRICS.copies_begun.inc();
        health.copies.borrow_mut().remove(&segment);
        // From here on nothing is served: pages are about to be newer than the chain tells.
        record(health, (segment, born), &came, Some(PageId(0))).await?;
    } else if came.point != at {
        return Err(wrong(peer, "a copy as of another point"));
    }
    let bytes = came.images.len();
    put(health, segment, &came, images).await?;
    METRICS.copied_bytes.inc_by(bytes as u64);
    let done = {
        let mut copies = health.copies.borrow_mut();
        let start = Progress { copying: Copying { point: came.point, next: from }, bytes: 0 };
        let progress = copies.entry(segment).or_insert(start);
        progress.bytes += bytes;
        progress.copying = Copying { point: came.point, next: came.next.unwrap_or(progress.copying.next) };
        progress.bytes
    };
    if came.next.is_none() || done >= RECORD_BYTES {
        // What the record speaks of must be found again after a crash.
        if !keeper::checkpointed(&health.node).await {
            return Err(Failed::NoSpace);
        }
        record(health, (segment, born), &came, came.next).await?;
        health.copies.borrow_mut().remove(&segment);
    }
    if came.next.is_none() {
        tracing::info!(?segment, point = %came.point, "all pages are copied");
        METRICS.copies_done.inc();
    }
    Ok(bytes)
}

/// Has a peer send images with every record at or below `at`, from one page on.
pub(super) async fn ask(
    health: &Health,
    peer: NodeId,
    (segment, epochs): (SegmentId, Epochs),
    (at, from): (Lsn, PageId),
    max_bytes: u32,
) -> Result<(PagesReply, Vec<(PageId, Page)>), Failed> {
    let ask = Request::CopyPages { segment, epochs, at, from, max_bytes };
    let Reply::Pages(came) = health.call(peer, ask).await? else {
        return Err(other_answer(peer));
    };
    let images = checked(&came, from).map_err(|what| wrong(peer, what))?;
    Ok((came, images))
}

async fn record(
    health: &Health,
    copy: (SegmentId, LogAddress),
    came: &PagesReply,
    next: Option<PageId>,
) -> Result<(), Failed> {
    let PagesReply { point, vdl, pgmrpl, .. } = *came;
    health.record_copied(copy, Copied { point, vdl, pgmrpl, next }).await
}

/// The pages of a part, if it is what was asked for: whole images, in order, none newer than the sender says.
fn checked(came: &PagesReply, from: PageId) -> Result<Vec<(PageId, Page)>, String> {
    let mut expected = from;
    let mut pages = Vec::with_capacity(came.images.len() / PAGE_SIZE);
    for bytes in came.images.chunks_exact(PAGE_SIZE) {
        let mut image = Page::zero();
        image.0.copy_from_slice(bytes);
        let number = page::id(&image.0);
        page::verify(&image.0, number).map_err(|error| error.to_string())?;
        let behind = came.next.is_some_and(|next| number >= next);
        if number < expected || behind || image.lsn() == Lsn::ZERO || image.lsn() > came.pgmrpl {
            return Err(format!("{image:?} does not belong into this part of a copy as of {}", came.point));
        }
        expected = PageId(number.0 + 1);
        pages.push((number, image));
    }
    if came.point > came.pgmrpl || came.next.is_some_and(|next| next < expected || next <= from) {
        return Err("a copy as of a point that may still change, or that goes backwards".into());
    }
    Ok(pages)
}

/// Takes what the sender knows of the volume, before any of its images is put in place.
pub(super) fn learn(health: &Health, segment: SegmentId, came: &PagesReply) {
    if let Some(slot) = health.node.store.borrow_mut().segment_mut(segment) {
        slot.segment.learn(came.vdl, came.pgmrpl);
    }
}

/// Puts images in place. Behind this, nothing below the sender's PGMRPL is read here: a page may be as new.
pub(super) async fn put(
    health: &Health,
    segment: SegmentId,
    came: &PagesReply,
    images: Vec<(PageId, Page)>,
) -> Result<(), Failed> {
    learn(health, segment, came);
    for (number, image) in images {
        match images::put_image(&health.node, segment, number, &image).await {
            Ok(put) => put?,
            Err(error) => {
                health.node.fail(error);
                return Err(Failed::Stopping);
            }
        }
    }
    Ok(())
}
