//! A copy on a node that was replaced, or whose replacement was taken back, is of no use to anybody: it is dropped, and its
//! space comes back.
//!
//! What must hold: a copy is dropped only when the metadata service has named the members under an epoch that is not below
//! the one that the copy goes by, and this node is none of them. That epoch never comes back, so the copy is counted by nobody;
//! should the node become a member again, it is as a new one, under a higher epoch and with a new copy.

use std::rc::Rc;
use std::time::Duration;

use sextant_redo::SegmentId;

use super::Health;
use crate::metrics::METRICS;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Looks until the node fails.
pub(super) async fn keep(health: Rc<Health>) {
    while !health.node.has_failed() {
        health.node.host.sleep(LOOK).await;
        let segments: Vec<SegmentId> = health.node.store.borrow().segments().keys().copied().collect();
        for segment in segments {
            if is_over(&health, segment) {
                leave(&health, segment).await;
            }
        }
    }
}

fn is_over(health: &Health, segment: SegmentId) -> bool {
    let store = health.node.store.borrow();
    let known = store.segments().get(&segment).zip(health.peers.members(segment));
    known.is_some_and(|(slot, told)| {
        told.epoch >= slot.segment.door().membership && !told.members.contains(&health.node.identity.node)
    })
}

async fn leave(health: &Health, segment: SegmentId) {
    let entry = health.node.store.borrow_mut().drop_segment(segment);
    let Some(entry) = entry else { return };
    // The answer is that there is no such segment any more, or no space to write that.
    let _ = health.own.write(&health.node, entry).await;
    if health.node.store.borrow().segments().contains_key(&segment) {
        return;
    }
    health.gossip.borrow_mut().remove(&segment);
    health.copies.borrow_mut().remove(&segment);
    health.node.background.forget(segment);
    METRICS.segments_dropped.inc();
    tracing::info!(?segment, "this node is no member of the group any more: its copy was dropped");
}
