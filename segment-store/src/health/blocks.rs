//! A block of the page map that went bad while it was not in memory: nobody knows any more which images its pages have. A
//! peer sends images of all of them, and a new block names these. The old images' slots are free at the next start.
//!
//! What must hold: an image that comes has every record that is not pending here. Such records lie at or below
//! [`Segment::last_collected`], so that is the point which the peer is asked for.
//!
//! [`Segment::last_collected`]: crate::core::Segment::last_collected

use std::rc::Rc;

use sextant_redo::wire::{Epochs, SegmentError};
use sextant_redo::{Lsn, NodeId, PageId, SegmentId};

use super::{Failed, Health, copy, wrong};
use crate::core::{BLOCK_PAGES, MapBlock, PageBase};
use crate::metrics::METRICS;
use crate::pages::{blocks as map, images};

/// Page images asked for at a time.
const PART_BYTES: u32 = 1 << 20;

/// Puts a new block in the place of a lost one, with the help of the first peer that can.
pub(super) async fn rebuild(health: &Rc<Health>, segment: SegmentId, lost: MapBlock) -> Result<(), Failed> {
    let first = PageId(lost.number.saturating_mul(BLOCK_PAGES));
    if map::load(&health.node, segment, first).await.is_ok() {
        // The device gave it at the second try.
        return Ok(());
    }
    let key = (segment, lost.number);
    if !health.rebuilding.borrow_mut().insert(key) {
        let what = format!("block {} of the page map is being rebuilt", lost.number);
        return Err(Failed::Own(SegmentError::Damaged { what }));
    }
    let rebuilt = from_peers(health, segment, lost).await;
    health.rebuilding.borrow_mut().remove(&key);
    rebuilt
}

async fn from_peers(health: &Rc<Health>, segment: SegmentId, lost: MapBlock) -> Result<(), Failed> {
    let mut failed = Failed::Own(SegmentError::Damaged { what: "there is no peer to ask".into() });
    for peer in health.full_in_turn(segment) {
        let mut images = Vec::new();
        let got = images_of(health, segment, lost, peer, &mut images).await;
        if got.is_ok() && install(health, segment, lost, &images) {
            METRICS.scrub_repaired.with_label_values(&["map"]).inc();
            tracing::warn!(
                ?segment, number = lost.number, pages = images.len(), %peer,
                "a lost block of the page map was rebuilt with a peer's pages"
            );
            return Ok(());
        }
        let slots = images.into_iter().map(|(_, base)| base.slot);
        health.node.background.pages.borrow_mut().release(slots);
        match got {
            // Somebody else was faster.
            Ok(()) => return Ok(()),
            Err(error) => failed = error,
        }
    }
    Err(failed)
}

/// Writes the peer's image of every page of the block that was ever written.
async fn images_of(
    health: &Rc<Health>,
    segment: SegmentId,
    lost: MapBlock,
    peer: NodeId,
    images: &mut Vec<(PageId, PageBase)>,
) -> Result<(), Failed> {
    let (epochs, at) = point(health, segment)?;
    let first = lost.number.saturating_mul(BLOCK_PAGES);
    let end = first.saturating_add(BLOCK_PAGES);
    let mut next = Some(PageId(first));
    while let Some(from) = next.filter(|from| from.0 < end) {
        let (came, pages) = copy::ask(health, peer, (segment, epochs), (at, from), PART_BYTES).await?;
        if came.point != at {
            return Err(wrong(peer, "a copy as of another point"));
        }
        copy::learn(health, segment, &came);
        for (number, image) in pages.into_iter().filter(|(number, _)| number.0 < end) {
            match images::write_image(&health.node, &image).await {
                Ok(Some(slot)) => images.push((number, PageBase { lsn: image.lsn(), slot })),
                Ok(None) => return Err(Failed::NoSpace),
                Err(error) => {
                    health.node.fail(error);
                    return Err(Failed::Stopping);
                }
            }
        }
        let pause = Health::pace(came.images.len(), health.options.copy_bytes_per_s);
        health.node.host.sleep(pause).await;
        next = came.next;
    }
    Ok(())
}

/// Under which epochs, and as of which LSN, images are asked for.
fn point(health: &Health, segment: SegmentId) -> Result<(Epochs, Lsn), Failed> {
    let store = health.node.store.borrow();
    let slot = store.segments().get(&segment).ok_or(SegmentError::UnknownSegment { segment })?;
    Ok((slot.segment.state().epochs, slot.segment.last_collected()))
}

fn install(health: &Health, segment: SegmentId, lost: MapBlock, images: &[(PageId, PageBase)]) -> bool {
    let mut store = health.node.store.borrow_mut();
    let rebuilt = store.segment_mut(segment).is_some_and(|slot| slot.pages.rebuild(lost, images));
    if rebuilt {
        health.node.background.mended_block(segment, lost.number);
    }
    rebuilt
}
