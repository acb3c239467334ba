//! I8, membership: one member set per membership epoch; old and new quorum both hold during a change. Source: P18
//! section 4.1, protocol.md "Membership change".
//!
//! Quorums are monotone, so whether two of them always meet is decided by one question per subset of the nodes: does the
//! subset satisfy one, and the rest the other? A group and its successors are ten nodes at most, so all are tried.
//!
//! On a live cluster: [`is_sound`] over the metadata service's view, [`step_is_sound`] over two views in order,
//! [`copy_is_not_ahead`] over a copy's answer to `Status`.

use std::collections::BTreeSet;

use sextant_meta::PgInfo;
use sextant_redo::wire::SegmentState;
use sextant_redo::{AzId, MembershipEpoch, NodeId, PgId};
use sextant_volume::quorum::{MAX_MEMBERS, MemberSet, Quorum, QuorumSet};

use super::{Checked, check};

/// A group's members under one membership epoch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// Which group.
    pub pg: PgId,
    /// Since when.
    pub epoch: MembershipEpoch,
    /// Nodes with their zones; the quorums name them by their place here.
    pub members: Vec<(NodeId, AzId)>,
    /// Who is enough.
    pub quorums: QuorumSet,
}

impl Membership {
    /// As the metadata service says.
    #[must_use]
    pub fn of(info: &PgInfo) -> Membership {
        let place = |node| info.members.iter().position(|member| member.node == node);
        Membership {
            pg: info.pg,
            epoch: info.membership,
            members: info.members.iter().map(|member| (member.node, member.az)).collect(),
            quorums: QuorumSet::of_group(info, |node| place(node).unwrap_or(MAX_MEMBERS - 1)),
        }
    }

    fn nodes(&self) -> BTreeSet<NodeId> {
        self.members.iter().map(|(node, _)| *node).collect()
    }

    fn met(&self, quorum: &Quorum, by: &BTreeSet<NodeId>) -> bool {
        let place = |(n, (node, _)): (usize, &(NodeId, AzId))| by.contains(node).then_some(n);
        quorum.met(self.members.iter().enumerate().filter_map(place).collect::<MemberSet>())
    }
}

/// Two sets of nodes that satisfy one quorum each and have no node in common.
fn apart(
    (a, one): (&Membership, &Quorum),
    (b, other): (&Membership, &Quorum),
) -> Option<(BTreeSet<NodeId>, BTreeSet<NodeId>)> {
    let all: Vec<NodeId> = a.nodes().union(&b.nodes()).copied().collect();
    (0u32..1 << all.len()).find_map(|bits| {
        let side = |inside: bool| -> BTreeSet<NodeId> {
            (0..all.len()).filter(|n| (bits & 1 << n != 0) == inside).map(|n| all[n]).collect()
        };
        let (here, rest) = (side(true), side(false));
        (a.met(one, &here) && b.met(other, &rest)).then_some((here, rest))
    })
}

/// A group as it is: distinct nodes; two write quorums meet, and so do a write and a read quorum; without any one zone
/// it can be written, without a zone and one more node it can be read.
pub fn is_sound(group: &Membership) -> Checked {
    let nodes = group.nodes();
    check("I8", nodes.len() == group.members.len(), || format!("a node is a member twice: {group:?}"))?;
    for quorum in [&group.quorums.write, &group.quorums.read] {
        let apart = apart((group, &group.quorums.write), (group, quorum));
        check("I8", apart.is_none(), || format!("quorums of {group:?} that do not meet: {apart:?}"))?;
    }
    let zones: BTreeSet<AzId> = group.members.iter().map(|(_, az)| *az).collect();
    for zone in zones {
        let others = group.members.iter().filter(|(_, az)| *az != zone).map(|(node, _)| *node);
        let others: BTreeSet<NodeId> = others.collect();
        check("I8", group.met(&group.quorums.write, &others), || {
            format!("the loss of zone {zone} stops writes to {group:?}")
        })?;
        let unreadable = others.iter().find(|node| {
            let rest = others.iter().copied().filter(|other| other != *node).collect();
            !group.met(&group.quorums.read, &rest)
        });
        check("I8", unreadable.is_none(), || {
            format!("the loss of zone {zone} and node {unreadable:?} stops reads of {group:?}")
        })?;
    }
    Ok(())
}

/// A group at two moments in order. In one epoch it is the same; from one epoch to the next every two write quorums
/// meet. That is what fencing rests on: an opening waits for a write quorum, so from then on a writer that still counts
/// on the members of the epoch before, or already on those of the next, completes nothing.
pub fn step_is_sound(before: &Membership, now: &Membership) -> Checked {
    check("I8", before.pg == now.pg && before.epoch <= now.epoch, || {
        format!("the membership went back from {before:?} to {now:?}")
    })?;
    if before.epoch == now.epoch {
        return check("I8", before == now, || {
            format!("two member sets under one membership epoch: {before:?} and {now:?}")
        });
    }
    if now.epoch.0 > before.epoch.0 + 1 {
        return Ok(()); // the steps between were not seen
    }
    let apart = apart((before, &before.quorums.write), (now, &now.quorums.write));
    check("I8", apart.is_none(), || {
        format!("write quorums before and after a step that do not meet: {apart:?} of {before:?} and {now:?}")
    })
}

/// The copy on `node` has answered; afterwards the metadata service said that its group is `group`.
pub fn copy_is_not_ahead(group: &Membership, node: NodeId, copy: &SegmentState) -> Checked {
    check("I8", copy.epochs.membership <= group.epoch, || {
        format!("the copy on node {node} is of a membership that was never decided: {copy:?}, {group:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_least(needed: usize, of: impl IntoIterator<Item = usize>) -> Quorum {
        Quorum::AtLeast { needed, of: of.into_iter().collect() }
    }

    /// Two nodes in each of three zones, then successors in the zone of the sixth.
    fn group(epoch: u64, nodes: &[u64], quorums: QuorumSet) -> Membership {
        let az = |n: usize| AzId((n / 2).min(2) as u16);
        let members = nodes.iter().enumerate().map(|(n, node)| (NodeId(*node), az(n))).collect();
        Membership { pg: PgId(0), epoch: MembershipEpoch(epoch), members, quorums }
    }

    /// Node 6 is being replaced by node 7.
    fn changing() -> Membership {
        let sets = || [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 6]].into_iter();
        let quorums = QuorumSet {
            write: Quorum::All(sets().map(|set| at_least(4, set)).collect()),
            read: Quorum::Any(sets().map(|set| at_least(3, set)).collect()),
        };
        group(2, &[1, 2, 3, 4, 5, 6, 7], quorums)
    }

    #[test]
    fn a_replacement_step_by_step_is_sound() {
        let before = group(1, &[1, 2, 3, 4, 5, 6], QuorumSet::four_of_six());
        let after = group(3, &[1, 2, 3, 4, 5, 7], QuorumSet::four_of_six());
        let back = group(3, &[1, 2, 3, 4, 5, 6], QuorumSet::four_of_six());
        for membership in [&before, &changing(), &after, &back] {
            assert_eq!(is_sound(membership), Ok(()));
        }
        for (a, b) in [(&before, &changing()), (&changing(), &after), (&changing(), &back)] {
            assert_eq!(step_is_sound(a, b), Ok(()));
        }
    }

    #[test]
    fn two_sets_under_one_epoch_and_two_members_at_a_time_are_seen() {
        let before = group(1, &[1, 2, 3, 4, 5, 6], QuorumSet::four_of_six());
        let same_epoch = group(1, &[1, 2, 3, 4, 5, 7], QuorumSet::four_of_six());
        assert!(step_is_sound(&before, &same_epoch).is_err());
        // {1, 2, 3, 4} and {5, 6, 7, 8} have nobody in common.
        let leap = group(2, &[3, 5, 6, 7, 8, 9], QuorumSet::four_of_six());
        assert!(step_is_sound(&before, &leap).is_err());
    }

    #[test]
    fn a_quorum_too_small_is_seen() {
        let mut group = group(1, &[1, 2, 3, 4, 5, 6], QuorumSet::four_of_six());
        group.quorums.write = at_least(3, 0..6);
        assert!(is_sound(&group).is_err());
    }
}
