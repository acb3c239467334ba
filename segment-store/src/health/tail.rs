//! Tails: what they hear of their peers lets them give up log, or begin where the full segments have the rest.

use sextant_redo::wire::SegmentState;
use sextant_redo::{NodeId, SegmentId};

use super::{Failed, Health};
use crate::core::Copied;
use crate::core::gossip::Standing;
use crate::metrics::METRICS;
use crate::peers::Membership;

/// The members as this copy and the metadata service agree on them.
fn agreed(health: &Health, segment: SegmentId, mine: &Standing) -> Option<Membership> {
    let told = health.peers.members(segment)?;
    (told.epoch == mine.state.epochs.membership).then_some(told)
}

/// A peer has told where it stands; a tail gives up what it need not keep any more. The files are freed when the node needs
/// room.
pub(super) fn hear(
    health: &Health,
    segment: SegmentId,
    mine: &Standing,
    peer: NodeId,
    theirs: &SegmentState,
) {
    if mine.kind.is_full() {
        return;
    }
    let mut heard = health.heard.borrow_mut();
    let heard = heard.entry(segment).or_default();
    heard.hear(mine, peer, theirs);
    if let Some(members) = agreed(health, segment, mine)
        && let Some(slot) = health.node.store.borrow_mut().segment_mut(segment)
    {
        slot.segment.give_up(heard.safe(members.epoch, &members.full));
    }
}

/// A tail that no peer's log reaches begins further on. False when it is not known yet that the full segments have what lies
/// in front.
pub(super) async fn begin(health: &Health, segment: SegmentId, mine: &Standing) -> Result<bool, Failed> {
    let beginning = {
        let (heard, members) = (health.heard.borrow(), agreed(health, segment, mine));
        heard.get(&segment).zip(members).and_then(|(heard, members)| {
            let point = heard.beginning(members.epoch, &members.full, mine.reach)?;
            Some((point, heard.vdl()))
        })
    };
    let Some((point, vdl)) = beginning else { return Ok(false) };
    tracing::info!(?segment, %point, "no peer's log reaches back: a tail begins where the full segments have the rest");
    // PGMRPL says which pages can be read, of which there are none here.
    let copied = Copied { point, vdl, pgmrpl: sextant_redo::Lsn::ZERO, next: None };
    health.record_copied((segment, health.birth(segment)?), copied).await?;
    METRICS.tails_begun.inc();
    Ok(true)
}
