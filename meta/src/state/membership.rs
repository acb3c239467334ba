//! Replacing a member of a protection group, one step a membership epoch (protocol.md, "Membership change"; P18 section
//! 4.1). From the first step to the last both the old member and its successor are members, and writes need a quorum of
//! either choice, so each step can be undone and nothing stops meanwhile.
//!
//! What must hold:
//! - a step names the membership epoch that it was decided on, and raises it by one;
//! - a step that was taken already is answered, not taken again: its answer may have been lost;
//! - a successor is of its predecessor's kind, full or tail, so that each choice of members is three and three;
//! - a successor is never a node that may hold a copy of the group from before; it says itself when that is gone; nor
//!   one that left under this volume epoch: its writer may have missed that;
//! - a replacement is finished only when the writer *of the current volume epoch* has said that the successor has all
//!   durable log. Whoever was superseded cannot say so, hence a writer's quorum and an opener's always have one choice
//!   of members in common, and so meet (decision 11);
//! - at most two members are being replaced: the other four alone satisfy every quorum.

use std::collections::{BTreeMap, BTreeSet};

use sextant_redo::{MembershipEpoch, NodeId, PgId, VolumeEpoch, VolumeId};

use super::{Applied, MetaState, PgMember, PgRecord, check_epoch};
use crate::{MetaError, Replacement, Result};

/// Members of a group that may be under replacement at a time.
pub const REPLACEMENTS_MAX: usize = 2;

impl PgRecord {
    /// A new group.
    pub(super) fn new(members: Vec<PgMember>) -> PgRecord {
        let (replacements, former, left) = (Vec::new(), BTreeSet::new(), BTreeMap::new());
        PgRecord { membership: MembershipEpoch(1), members, replacements, former, left }
    }

    fn has(&self, node: NodeId) -> bool {
        self.members.iter().any(|member| member.node == node)
    }

    /// The replacement of `old`, if one is under way.
    #[must_use]
    pub fn replacement_of(&self, old: NodeId) -> Option<&Replacement> {
        self.replacements.iter().find(|replacement| replacement.old == old)
    }

    fn is_successor(&self, node: NodeId) -> bool {
        self.replacements.iter().any(|replacement| replacement.new == node)
    }

    pub(super) fn check_membership(&self, membership: MembershipEpoch) -> Result<()> {
        let current = self.membership;
        if membership == current { Ok(()) } else { Err(MetaError::StaleMembership { current }) }
    }

    fn raise(&mut self) {
        self.membership.0 += 1;
    }

    /// Takes the pair out of those under way.
    fn end(&mut self, old: NodeId, new: NodeId) -> Option<Replacement> {
        let at = self.replacements.iter().position(|r| (r.old, r.new) == (old, new))?;
        Some(self.replacements.remove(at))
    }

    /// A node is no member any more. Its copy stays until the node has dropped it.
    fn leaves(&mut self, member: PgMember, epoch: VolumeEpoch) {
        // Where no segment was made, the writer has nothing to confuse with what may be made there later. Where there are
        // tails it has: the same node with a segment of another kind.
        if member.created || self.members.iter().any(|other| other.kind != member.kind) {
            self.left.insert(member.node, epoch);
            self.former.insert(member.node);
        }
    }
}

impl MetaState {
    pub(super) fn begin_replacement(
        &mut self,
        at: (VolumeId, PgId),
        membership: MembershipEpoch,
        old: NodeId,
        automatic: bool,
        alive: &BTreeSet<NodeId>,
    ) -> Result<Applied> {
        let group = self.group(at)?;
        if group.replacement_of(old).is_none() {
            group.check_membership(membership)?;
            let new = self.successor(at, old, alive)?;
            let group = self.group_mut(at)?;
            group.raise();
            let kind = group.members.iter().find(|member| member.node == old).map(|member| member.kind);
            let kind = kind.unwrap_or_default();
            group.members.push(PgMember { node: new, created: false, since: group.membership, kind });
            group.replacements.push(Replacement { old, new, hydrated: false, automatic });
        }
        self.volume_info(at.0).map(Applied::Volume)
    }

    /// Who would succeed `old`: a living node of the same zone that holds no copy of the group, not even one of before, and
    /// that the volume's writer never knew as a member, the least loaded first; among equals the lower id.
    pub fn successor(
        &self,
        (volume, pg): (VolumeId, PgId),
        old: NodeId,
        alive: &BTreeSet<NodeId>,
    ) -> Result<NodeId> {
        let group = self.group((volume, pg))?;
        if !group.has(old) || group.is_successor(old) {
            return Err(MetaError::refused(format!(
                "node {old} is none of the six members of protection group {pg}; a successor is given up by reverting \
                 its replacement"
            )));
        }
        if group.replacement_of(old).is_some() || group.replacements.len() == REPLACEMENTS_MAX {
            return Err(MetaError::refused(format!(
                "{} of the members of protection group {pg} are being replaced; finish or revert that first",
                group.replacements.len()
            )));
        }
        let az = self.nodes.get(&old).ok_or(MetaError::UnknownNode { node: old })?.az;
        let load = self.segments_per_node();
        let in_zone = || self.nodes.iter().filter(|(_, node)| node.az == az).map(|(id, _)| *id);
        let epoch = self.volume(volume)?.epoch;
        let left_long_ago = |node: &NodeId| group.left.get(node).is_none_or(|left| *left < epoch);
        let fresh = |node: &NodeId| !group.has(*node) && !group.former.contains(node) && left_long_ago(node);
        let able = in_zone().filter(|node| fresh(node) && alive.contains(node));
        able.min_by_key(|node| (load.get(node).copied().unwrap_or(0), *node)).ok_or_else(|| {
            let living = in_zone().filter(|node| alive.contains(node)).count();
            MetaError::NotEnoughNodes {
                needed: format!(
                    "a living storage node in zone {az} that holds no copy of protection group {pg}, to succeed \
                     node {old}"
                ),
                have: format!("of the {living} alive there none is free"),
            }
        })
    }

    pub(super) fn mark_hydrated(
        &mut self,
        at: (VolumeId, PgId),
        epoch: VolumeEpoch,
        new: NodeId,
    ) -> Result<Applied> {
        check_epoch(self.volume(at.0)?, epoch)?;
        let group = self.group_mut(at)?;
        let member = group.members.iter().find(|member| member.node == new).copied();
        match group.replacements.iter_mut().find(|replacement| replacement.new == new) {
            Some(replacement) if member.is_some_and(|member| member.created) => replacement.hydrated = true,
            Some(_) => {
                return Err(MetaError::refused(format!("the segment on node {new} was never created")));
            }
            // The replacement was finished, and the answer lost.
            None if member.is_some() => {}
            None => return Err(not_under_way(at.1)),
        }
        self.volume_info(at.0).map(Applied::Volume)
    }

    pub(super) fn finish_replacement(
        &mut self,
        at: (VolumeId, PgId),
        membership: MembershipEpoch,
        old: NodeId,
        new: NodeId,
    ) -> Result<Applied> {
        let epoch = self.volume(at.0)?.epoch;
        let group = self.group_mut(at)?;
        let pending = group.replacements.iter().find(|r| (r.old, r.new) == (old, new));
        match pending.map(|replacement| replacement.hydrated) {
            Some(true) => {
                group.check_membership(membership)?;
                group.end(old, new);
                let successor = group.members.iter().position(|member| member.node == new);
                let successor = successor.map(|at| group.members.remove(at));
                let seat = group.members.iter_mut().find(|member| member.node == old);
                if let (Some(seat), Some(successor)) = (seat, successor) {
                    let left = std::mem::replace(seat, successor);
                    group.leaves(left, epoch);
                }
                group.raise();
            }
            Some(false) => {
                return Err(MetaError::refused(format!(
                    "the segment on node {new} is not hydrated: a writer brings it up to date and reports it"
                )));
            }
            None if group.has(new) && !group.has(old) && !group.is_successor(new) => {}
            None => return Err(not_under_way(at.1)),
        }
        self.volume_info(at.0).map(Applied::Volume)
    }

    pub(super) fn revert_replacement(
        &mut self,
        at: (VolumeId, PgId),
        membership: MembershipEpoch,
        old: NodeId,
        new: NodeId,
    ) -> Result<Applied> {
        let epoch = self.volume(at.0)?.epoch;
        let group = self.group_mut(at)?;
        if group.replacement_of(old).is_some_and(|replacement| replacement.new == new) {
            group.check_membership(membership)?;
            group.end(old, new);
            if let Some(at) = group.members.iter().position(|member| member.node == new) {
                let member = group.members.remove(at);
                group.leaves(member, epoch);
            }
            group.raise();
        } else if !group.has(old) || group.has(new) {
            return Err(not_under_way(at.1));
        }
        self.volume_info(at.0).map(Applied::Volume)
    }
}

fn not_under_way(pg: PgId) -> MetaError {
    MetaError::refused(format!("no such replacement is under way in protection group {pg}"))
}
