//! Where the six copies of a protection group go: two in each of three zones, on distinct nodes, the least loaded
//! first (P17 2.2: six copies, two per zone; an AZ plus one more may fail without loss). Where the volume has tails, one of
//! the two is a tail, so that a zone and one more node may fail without the last full one (P18 4.2).

use std::collections::{BTreeMap, BTreeSet};

use sextant_redo::{AzId, MembershipEpoch, NodeId, SegmentKind, Segments};

use super::{MetaState, PgMember};
use crate::{MetaError, Result};

/// Availability zones.
pub const AZS: usize = 3;
/// Copies in each.
pub const COPIES_PER_AZ: usize = 2;
/// Copies that make a write quorum (P17 2.1: Vw = 4 of V = 6).
const WRITE_QUORUM: usize = 4;

/// Which nodes may be used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Need {
    /// Six living ones: a new volume.
    AllAlive,
    /// Living ones first, but a write quorum of them is enough: a volume that must grow while a zone is down. The
    /// others get their segments when they return.
    WriteQuorumAlive,
}

impl MetaState {
    /// Six members, zone by zone; among equals the lower id, so every replica of the state decides alike.
    pub(super) fn place(
        &self,
        segments: Segments,
        alive: &BTreeSet<NodeId>,
        need: Need,
    ) -> Result<Vec<PgMember>> {
        let load = self.segments_per_node();
        let mut members = Vec::with_capacity(AZS * COPIES_PER_AZ);
        for az in 0..AZS {
            let mut candidates: Vec<(bool, usize, NodeId)> = self
                .nodes
                .iter()
                .filter(|(_, node)| usize::from(node.az.0) == az)
                .map(|(id, _)| (!alive.contains(id), load.get(id).copied().unwrap_or(0), *id))
                .filter(|(dead, ..)| !dead || need == Need::WriteQuorumAlive)
                .collect();
            candidates.sort_unstable();
            let chosen: Vec<NodeId> =
                candidates.iter().take(COPIES_PER_AZ).map(|(_, _, node)| *node).collect();
            let tail = match segments {
                Segments::Full => None,
                Segments::FullTail => self.tail_of(&chosen, alive),
            };
            members.extend(chosen.iter().map(|node| PgMember {
                node: *node,
                created: false,
                since: MembershipEpoch(1),
                kind: if Some(*node) == tail { SegmentKind::Tail } else { SegmentKind::Full },
            }));
        }
        let living = members.iter().filter(|member| alive.contains(&member.node)).count();
        if members.len() < AZS * COPIES_PER_AZ || living < WRITE_QUORUM {
            return Err(self.not_enough(alive, need));
        }
        Ok(members)
    }

    /// Which of these is to keep log alone: one that is away, since somebody has to serve pages now; else the one that has
    /// more full segments already, which cost more; among equals the higher id.
    fn tail_of(&self, chosen: &[NodeId], alive: &BTreeSet<NodeId>) -> Option<NodeId> {
        let members = || self.volumes.values().flat_map(|volume| &volume.pgs).flat_map(|pg| &pg.members);
        let full = |node: NodeId| members().filter(|m| m.node == node && m.kind.is_full()).count();
        chosen.iter().copied().max_by_key(|node| (!alive.contains(node), full(*node), *node))
    }

    /// Segments on each node that has any.
    pub(super) fn segments_per_node(&self) -> BTreeMap<NodeId, usize> {
        let mut load = BTreeMap::new();
        for volume in self.volumes.values() {
            for member in volume.pgs.iter().flat_map(|pg| &pg.members) {
                *load.entry(member.node).or_insert(0) += 1;
            }
        }
        load
    }

    fn not_enough(&self, alive: &BTreeSet<NodeId>, need: Need) -> MetaError {
        let count = |az: AzId| {
            let in_az = || self.nodes.iter().filter(|(_, node)| node.az == az);
            let living = in_az().filter(|(id, _)| alive.contains(id)).count();
            format!("{living} of {} alive in zone {az}", in_az().count())
        };
        let have: Vec<String> = (0..AZS as u16).map(|az| count(AzId(az))).collect();
        let needed = match need {
            Need::AllAlive => "two living storage nodes in each of three zones".to_owned(),
            Need::WriteQuorumAlive => {
                format!("two storage nodes in each of three zones, {WRITE_QUORUM} of them alive")
            }
        };
        MetaError::NotEnoughNodes { needed, have: format!("there are {}", have.join(", ")) }
    }
}
