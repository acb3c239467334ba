//! A copy that is of no use to anybody any more is dropped, and its space comes back: on a node that was replaced, or whose
//! replacement was taken back; and everywhere, once the volume was dropped.
//!
//! What must hold:
//! - a copy is dropped only when the metadata service has named the members under an epoch that is not below the one that
//!   the copy goes by, and this node is none of them; that epoch never comes back, so the copy is counted by nobody. Or when
//!   it has said in so many words that the volume was dropped: that it does not name a volume says nothing;
//! - a member's kind, full or tail, never changes. So a copy of another kind than this node's seat was not made for that seat,
//!   but by a request of a writer long superseded that came late, and stands in its way: it is dropped, too;
//! - this node says that a copy is gone only when it has none. Should it become a member again, it is as a new one, under a
//!   higher epoch and with a new copy.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use sextant_redo::{SegmentId, VolumeId};

use super::Health;
use crate::metrics::METRICS;

/// Between two looks.
const LOOK: Duration = Duration::from_secs(1);

/// Looks until the node fails.
pub(super) async fn keep(health: Rc<Health>) {
    while !health.node.has_failed() {
        health.node.host.sleep(LOOK).await;
        for segment in health.segments() {
            if let Some(why) = is_over(&health, segment) {
                leave(&health, segment, why).await;
            }
        }
        leave_dropped_volumes(&health).await;
        tell_what_is_gone(&health).await;
    }
}

/// Why the copy is counted by nobody, if it is so.
fn is_over(health: &Health, segment: SegmentId) -> Option<&'static str> {
    let store = health.node.store.borrow();
    let (copy, told) = (&store.segments().get(&segment)?.segment, health.peers.members(segment)?);
    let me = health.node.identity.node;
    if told.epoch < copy.door().membership {
        None
    } else if !told.members.contains(&me) {
        Some("this node is no member of the group any more")
    } else if told.full.contains(&me) != copy.kind().is_full() {
        Some("it is of another kind than this node is to hold, made by a request that came late")
    } else {
        None
    }
}

async fn leave_dropped_volumes(health: &Health) {
    let unknown = |segment: &SegmentId| health.peers.members(*segment).is_none();
    let volumes: BTreeSet<VolumeId> =
        health.segments().into_iter().filter(unknown).map(|segment| segment.volume).collect();
    if volumes.is_empty() {
        return;
    }
    let dropped = health.peers.dropped(volumes.into_iter().collect()).await;
    for segment in health.segments() {
        if dropped.contains(&segment.volume) {
            leave(health, segment, "the volume was dropped").await;
        }
    }
}

async fn tell_what_is_gone(health: &Health) {
    let me = health.node.identity.node;
    for (segment, epoch) in health.peers.left(me) {
        if !health.node.store.borrow().segments().contains_key(&segment) {
            health.peers.copy_is_gone(me, segment, epoch).await;
        }
    }
}

async fn leave(health: &Health, segment: SegmentId, why: &str) {
    let entry = health.node.store.borrow_mut().drop_segment(segment);
    let Some(entry) = entry else { return };
    // The answer is that there is no such segment any more, or no space to write that.
    let _ = health.own.write(&health.node, entry).await;
    if health.node.store.borrow().segments().contains_key(&segment) {
        return;
    }
    health.gossip.borrow_mut().remove(&segment);
    health.copies.borrow_mut().remove(&segment);
    health.heard.borrow_mut().remove(&segment);
    let held = health.node.store.borrow().oldest_file_held();
    let held = held.unwrap_or_else(|| health.node.log.borrow().position().file);
    health.node.background.forget(segment, held);
    METRICS.segments_dropped.inc();
    tracing::info!(?segment, why, "a copy was dropped; its space is being freed");
}
