//! The members of one protection group, as a writer knows them while they change (protocol.md, "Membership change";
//! P18 section 4.1). A pure core: what the metadata service says and what segments have recorded in, quorums out.
//!
//! A writer that learns of a newer membership sends the newer epoch with everything at once, and for as long as that is
//! not recorded at a write quorum of the newer membership it counts by the quorums it had *and* the newer ones. Then
//! the newer ones alone hold.
//!
//! What must hold:
//! - nothing is ever counted by less than the newest recorded quorum;
//! - a newer quorum takes over only once whoever knows only an older membership is refused by a write quorum of it; as
//!   quorums of neighbouring epochs meet, nobody can complete anything by the older one then;
//! - a member keeps its index as long as it is one, so that nothing that waits for an answer has to be told; an index
//!   is given to another member only when no quorum speaks of it and nobody uses it.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use sextant_meta::{PgInfo, Replacement};
use sextant_redo::{MembershipEpoch, NodeId};

use crate::quorum::{MAX_MEMBERS, MemberSet, QuorumSet};

#[derive(Debug, Clone)]
struct Slot {
    node: NodeId,
    /// It is a member now.
    present: bool,
    /// Newest membership epoch that its segment has recorded, as told by itself.
    recorded: MembershipEpoch,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Membership {
    epoch: MembershipEpoch,
    slots: Vec<Slot>,
    replacements: Vec<Replacement>,
    /// What is counted by.
    quorums: QuorumSet,
    /// What will be, once this is recorded at its write quorum.
    next: Option<QuorumSet>,
}

/// What a newer membership changes for the one who sends.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Change {
    /// Indices of new members. One may have been another member's before.
    pub joined: Vec<usize>,
    /// Indices of those who are no members any more.
    pub left: Vec<usize>,
}

impl Membership {
    /// The members that an opening begins with. It records their epoch at a write quorum itself.
    #[must_use]
    pub fn new(info: &PgInfo) -> Membership {
        let slot = |member: &sextant_meta::Member| Slot {
            node: member.node,
            present: true,
            recorded: MembershipEpoch(0),
        };
        let mut membership = Membership {
            epoch: info.membership,
            slots: info.members.iter().map(slot).collect(),
            replacements: info.replacements.clone(),
            quorums: QuorumSet::four_of_six(),
            next: None,
        };
        membership.quorums = membership.quorums_of(info);
        membership
    }

    fn quorums_of(&self, info: &PgInfo) -> QuorumSet {
        QuorumSet::of_group(info, |node| self.index_of(node).unwrap_or(MAX_MEMBERS - 1))
    }

    /// Takes over a newer membership; `busy` says whose index something still waits on. `None` when it is not newer, or
    /// when there is no free index for a new member: to be tried again.
    pub fn learn(&mut self, info: &PgInfo, busy: impl Fn(usize) -> bool) -> Option<Change> {
        if info.membership == self.epoch {
            // No step, but a successor may be hydrated since.
            self.replacements.clone_from(&info.replacements);
        }
        if info.membership <= self.epoch {
            return None;
        }
        let is_member = |node: NodeId| info.members.iter().any(|member| member.node == node);
        let mut slots = self.slots.clone();
        let mut change = Change::default();
        for (index, slot) in slots.iter_mut().enumerate().filter(|(_, slot)| slot.present) {
            if !is_member(slot.node) {
                slot.present = false;
                change.left.push(index);
            }
        }
        let counted = self.quorums.members();
        for member in &info.members {
            if slots.iter().any(|slot| slot.present && slot.node == member.node) {
                continue;
            }
            let slot = Slot { node: member.node, present: true, recorded: MembershipEpoch(0) };
            let free = |index: &usize| !slots[*index].present && !counted.contains(*index) && !busy(*index);
            let index = match (0..slots.len()).find(free) {
                Some(index) => {
                    slots[index] = slot;
                    index
                }
                None if slots.len() < MAX_MEMBERS => {
                    slots.push(slot);
                    slots.len() - 1
                }
                None => return None,
            };
            change.joined.push(index);
        }
        self.slots = slots;
        self.epoch = info.membership;
        self.replacements.clone_from(&info.replacements);
        let next = self.quorums_of(info);
        self.quorums = self.quorums.and(&next);
        self.next = Some(next);
        Some(change)
    }

    /// A member's segment has durably recorded a membership epoch. True when that changes the quorums.
    pub fn recorded(&mut self, member: usize, epoch: MembershipEpoch) -> bool {
        let slot = &mut self.slots[member];
        slot.recorded = slot.recorded.max(epoch);
        let told: MemberSet = self.members().filter(|m| self.slots[*m].recorded >= self.epoch).collect();
        match self.next.take_if(|next| next.write.met(told)) {
            Some(next) => {
                self.quorums = next;
                true
            }
            None => false,
        }
    }

    /// The newest membership epoch known; sent with everything.
    #[must_use]
    pub fn epoch(&self) -> MembershipEpoch {
        self.epoch
    }

    /// What is counted by.
    #[must_use]
    pub fn quorums(&self) -> &QuorumSet {
        &self.quorums
    }

    /// True when the newest membership is recorded at its write quorum.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.next.is_none()
    }

    /// True when the member's segment has recorded the newest membership epoch.
    #[must_use]
    pub fn has_recorded(&self, index: usize) -> bool {
        self.slots.get(index).is_some_and(|slot| slot.recorded >= self.epoch)
    }

    /// Indices of the members.
    pub fn members(&self) -> impl Iterator<Item = usize> + '_ {
        (0..self.slots.len()).filter(|index| self.slots[*index].present)
    }

    /// True when the index is a member's.
    #[must_use]
    pub fn is_member(&self, index: usize) -> bool {
        self.slots.get(index).is_some_and(|slot| slot.present)
    }

    /// The index of the member on a node.
    #[must_use]
    pub fn index_of(&self, node: NodeId) -> Option<usize> {
        self.slots.iter().position(|slot| slot.present && slot.node == node)
    }

    /// One above the highest index ever used.
    #[must_use]
    pub fn indices(&self) -> usize {
        self.slots.len()
    }

    /// Replacements under way.
    #[must_use]
    pub fn replacements(&self) -> &[Replacement] {
        &self.replacements
    }
}

#[cfg(test)]
mod tests;
