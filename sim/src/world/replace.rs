//! An operator who replaces members while faults strike, in clusters that have spare nodes. He draws from a stream of his
//! own: what a seed means for everything else does not depend on him.

use std::collections::BTreeSet;

use sextant_redo::NodeId;

use super::phases::Phase;
use super::{Event, World};
use crate::invariants::Checked;
use crate::meta::MetaRequest;
use crate::rng::Rng;
use crate::schedule::SECOND;

/// Steps that take a replacement back, in a hundred.
const REVERTED: u64 = 25;

impl World {
    /// Draws a step, and the time of the next one.
    pub(super) fn replace(&mut self) -> Checked {
        if self.phase != Phase::Faults {
            return Ok(());
        }
        let after = SECOND / 4 + self.operator.exponential(SECOND);
        self.schedule.after(after, Event::Replace);
        if let Some(step) = step(self.meta.info(), &mut self.operator).filter(|_| !self.meta_away) {
            self.operate(&step);
        }
        self.memberships_are_sound()
    }

    /// Asks for a step. Without a node that may succeed it is refused.
    pub(super) fn operate(&mut self, step: &MetaRequest) {
        let up = (0..self.nodes.len()).filter(|node| self.nodes[*node].up);
        let alive: BTreeSet<NodeId> = up.map(|node| self.meta.nodes[node]).collect();
        if self.meta.on(self.schedule.now(), step, alive).is_ok() {
            self.note(|_| format!("OPERATOR {step:?}"));
            self.stats.fault(if self.is_dropped() { "volume dropped" } else { "member replaced" });
        }
    }
}

fn step(info: Option<sextant_meta::VolumeInfo>, rng: &mut Rng) -> Option<MetaRequest> {
    let pgs = info?.pgs;
    // None in a volume that was never opened.
    let group = pgs.get(rng.index(pgs.len()))?;
    let (pg, membership) = (group.pg, group.membership);
    let old = group.members[rng.index(group.members.len())].node;
    Some(match group.replacements.first() {
        Some(under_way) if rng.percent(REVERTED) => {
            MetaRequest::RevertReplacement { pg, membership, old: under_way.old, new: under_way.new }
        }
        _ => MetaRequest::BeginReplacement { pg, membership, old },
    })
}
