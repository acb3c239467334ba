//! When a tail segment may give up log, and where it may begin when no peer's log reaches back to it: at or below a point
//! that *every* full segment of its group is complete to and that nothing can void (decision 23).
//!
//! What must hold:
//! - what a full segment said counts only if it was said under the tail's own epochs and truncation list, and as far as the
//!   VDL: then both mean the same records, and the full segment has them for ever;
//! - it counts only as long as the membership epoch stays: under another one the node may hold another copy. Under the same
//!   one it stays true, whatever openings come.

use std::collections::BTreeMap;

use sextant_redo::wire::SegmentState;
use sextant_redo::{Lsn, MembershipEpoch, NodeId};

use super::gossip::Standing;

/// What a peer has for sure.
#[derive(Debug, Clone, Copy, Default)]
struct Has {
    /// Everything at or below.
    safe: Lsn,
    /// In log above this LSN.
    log_start: Lsn,
}

/// What a tail has heard of its peers. See the module.
#[derive(Debug, Clone, Default)]
pub struct Heard {
    membership: MembershipEpoch,
    vdl: Lsn,
    peers: BTreeMap<NodeId, Has>,
}

impl Heard {
    /// A peer has told where it stands.
    pub fn hear(&mut self, mine: &Standing, peer: NodeId, theirs: &SegmentState) {
        let ours = &mine.state;
        let alike = theirs.epochs == ours.epochs && theirs.truncations == ours.truncations;
        if !alike || !mine.cleared {
            return;
        }
        if self.membership != ours.epochs.membership {
            *self = Heard { membership: ours.epochs.membership, ..Heard::default() };
        }
        self.vdl = self.vdl.max(ours.vdl).max(theirs.vdl);
        let known = self.peers.entry(peer).or_default();
        known.safe = known.safe.max(theirs.scl.min(self.vdl));
        known.log_start = known.log_start.max(theirs.log_start);
    }

    /// The highest VDL heard of.
    #[must_use]
    pub fn vdl(&self) -> Lsn {
        self.vdl
    }

    /// Every one of the `full` members of that membership has everything at or below this.
    #[must_use]
    pub fn safe(&self, membership: MembershipEpoch, full: &[NodeId]) -> Lsn {
        if membership != self.membership {
            return Lsn::ZERO;
        }
        let safe = |node: &NodeId| self.peers.get(node).map_or(Lsn::ZERO, |has| has.safe);
        full.iter().map(safe).min().unwrap_or(Lsn::ZERO)
    }

    /// Where a tail may begin that is complete to `reach` and finds no log from there on: as far on as may be, and where the
    /// log of a full member goes on.
    #[must_use]
    pub fn beginning(&self, membership: MembershipEpoch, full: &[NodeId], reach: Lsn) -> Option<Lsn> {
        let safe = self.safe(membership, full);
        let starts = full.iter().filter_map(|node| self.peers.get(node)).map(|has| has.log_start);
        starts.filter(|start| *start > reach && *start <= safe).max()
    }
}

#[cfg(test)]
mod tests {
    use sextant_redo::wire::Epochs;
    use sextant_redo::{SegmentKind, TruncationRange, VolumeEpoch};

    use super::*;
    use crate::testing::{SEGMENT, epochs};

    const FULL: [NodeId; 3] = [NodeId(1), NodeId(3), NodeId(5)];
    const M: MembershipEpoch = MembershipEpoch(1);

    fn state(scl: u64, vdl: u64, log_start: u64) -> SegmentState {
        SegmentState {
            segment: SEGMENT,
            epochs: epochs(1),
            scl: Lsn(scl),
            highest: Lsn(scl),
            vdl: Lsn(vdl),
            log_start: Lsn(log_start),
            truncations: Vec::new(),
        }
    }

    fn mine(state: SegmentState) -> Standing {
        let reach = state.scl;
        Standing { kind: SegmentKind::Tail, state, cleared: true, copying: None, reach, holes: 0 }
    }

    fn heard(told: &[(u64, SegmentState)]) -> Heard {
        let mut heard = Heard::default();
        for (node, theirs) in told {
            heard.hear(&mine(state(90, 90, 0)), NodeId(*node), theirs);
        }
        heard
    }

    #[test]
    fn the_full_segment_that_is_furthest_behind_decides() {
        let all = [(1, state(80, 70, 0)), (3, state(60, 60, 0)), (5, state(90, 90, 0)), (2, state(10, 0, 0))];
        assert_eq!(heard(&all).safe(M, &FULL), Lsn(60), "another tail does not matter");
        assert_eq!(heard(&all[..2]).safe(M, &FULL), Lsn::ZERO, "one was not heard");
        assert_eq!(heard(&all).safe(M, &[]), Lsn::ZERO, "nobody knows who is full");
    }

    #[test]
    fn nothing_above_the_vdl_is_safe() {
        let mut heard = Heard::default();
        for node in FULL {
            heard.hear(&mine(state(90, 50, 0)), node, &state(90, 40, 0));
        }
        assert_eq!(heard.safe(M, &FULL), Lsn(50));
    }

    #[test]
    fn what_was_said_under_other_epochs_or_lists_does_not_count() {
        let mut other = state(90, 90, 0);
        other.epochs.volume = VolumeEpoch(2);
        let mut list = state(90, 90, 0);
        list.truncations.push(TruncationRange { epoch: VolumeEpoch(1), from: Lsn(1), to: Lsn(2) });
        for theirs in [other, list] {
            let all = [(1, theirs), (3, state(90, 90, 0)), (5, state(90, 90, 0))];
            assert_eq!(heard(&all).safe(M, &FULL), Lsn::ZERO);
        }
        let uncleared = Standing { cleared: false, ..mine(state(90, 90, 0)) };
        let mut heard = Heard::default();
        FULL.into_iter().for_each(|node| heard.hear(&uncleared, node, &state(90, 90, 0)));
        assert_eq!(heard.safe(M, &FULL), Lsn::ZERO);
    }

    /// A node that left and came back holds a new copy, and what it said before is about the old one.
    #[test]
    fn another_membership_begins_with_nothing_heard() {
        let mut heard = heard(&FULL.map(|node| (node.0, state(90, 90, 0))));
        assert_eq!(heard.safe(M, &FULL), Lsn(90));
        let next = MembershipEpoch(2);
        assert_eq!(heard.safe(next, &FULL), Lsn::ZERO);
        let under = |state: SegmentState| SegmentState {
            epochs: Epochs { membership: next, ..state.epochs },
            ..state
        };
        heard.hear(&mine(under(state(90, 90, 0))), FULL[0], &under(state(20, 20, 0)));
        assert_eq!((heard.safe(next, &FULL), heard.safe(M, &FULL)), (Lsn::ZERO, Lsn::ZERO));
        FULL[1..]
            .iter()
            .for_each(|node| heard.hear(&mine(under(state(90, 90, 0))), *node, &under(state(90, 90, 0))));
        assert_eq!(heard.safe(next, &FULL), Lsn(20));
    }

    #[test]
    fn a_tail_begins_where_a_full_segment_has_log_and_all_have_the_rest() {
        let told = [(1, state(80, 70, 60)), (3, state(75, 70, 55)), (5, state(90, 90, 85))];
        let heard = heard(&told);
        assert_eq!(heard.beginning(M, &FULL, Lsn(10)), Some(Lsn(60)), "85 is more than two of them have");
        assert_eq!(heard.beginning(M, &FULL, Lsn(60)), None, "the log reaches back to there");
        assert_eq!(heard.beginning(M, &FULL[..2], Lsn(10)), Some(Lsn(60)));
    }
}
