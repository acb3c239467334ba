//! Quorums as boolean expressions over member sets (P18 sections 4.1 and 4.2). Today every group writes to 4 of 6 and
//! reads from 3 of 6; a membership change is a conjunction of two such sets, full and tail segments are a disjunction.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use sextant_redo::Lsn;

/// Most members that a group may have while its membership changes.
pub const MAX_MEMBERS: usize = 32;

/// A set of members of one protection group, by their index in its member list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Hash)]
pub struct MemberSet(u32);

impl MemberSet {
    /// Nobody.
    pub const EMPTY: MemberSet = MemberSet(0);

    /// Members 0 to `n` - 1.
    #[must_use]
    pub fn first(n: usize) -> MemberSet {
        MemberSet((1u64 << n.min(MAX_MEMBERS)).wrapping_sub(1) as u32)
    }

    /// Adds one.
    pub fn insert(&mut self, member: usize) {
        self.0 |= 1 << member;
    }

    /// True when `member` is in it.
    #[must_use]
    pub fn contains(self, member: usize) -> bool {
        member < MAX_MEMBERS && self.0 & 1 << member != 0
    }

    /// How many.
    #[must_use]
    pub fn len(self) -> usize {
        self.0.count_ones() as usize
    }

    /// True when there is nobody in it.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those in both.
    #[must_use]
    pub fn and(self, other: MemberSet) -> MemberSet {
        MemberSet(self.0 & other.0)
    }

    /// The members in rising order.
    pub fn iter(self) -> impl Iterator<Item = usize> {
        (0..MAX_MEMBERS).filter(move |m| self.contains(*m))
    }
}

impl FromIterator<usize> for MemberSet {
    fn from_iter<I: IntoIterator<Item = usize>>(members: I) -> MemberSet {
        let mut set = MemberSet::EMPTY;
        members.into_iter().for_each(|m| set.insert(m));
        set
    }
}

/// When enough members agree.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Quorum {
    /// So many of these.
    AtLeast {
        /// How many.
        needed: usize,
        /// Of whom.
        of: MemberSet,
    },
    /// Every one of these quorums.
    All(Vec<Quorum>),
    /// Any one of these quorums.
    Any(Vec<Quorum>),
}

impl Quorum {
    /// True when the members in `by` are enough.
    #[must_use]
    pub fn met(&self, by: MemberSet) -> bool {
        match self {
            Quorum::AtLeast { needed, of } => by.and(*of).len() >= *needed,
            Quorum::All(parts) => parts.iter().all(|q| q.met(by)),
            Quorum::Any(parts) => parts.iter().any(|q| q.met(by)),
        }
    }

    /// The highest LSN at or above which a quorum of the members stands, given where each stands.
    #[must_use]
    pub fn point(&self, scls: &[Lsn]) -> Lsn {
        match self {
            Quorum::AtLeast { needed: 0, .. } => Lsn::MAX,
            Quorum::AtLeast { needed, of } => {
                let mut standing = [Lsn::ZERO; MAX_MEMBERS];
                let mut count = 0;
                for (_, scl) in scls.iter().enumerate().filter(|(m, _)| of.contains(*m)) {
                    standing[count] = *scl;
                    count += 1;
                }
                let standing = &mut standing[..count];
                standing.sort_unstable_by(|a, b| b.cmp(a));
                standing.get(needed - 1).copied().unwrap_or(Lsn::ZERO)
            }
            Quorum::All(parts) => parts.iter().map(|q| q.point(scls)).min().unwrap_or(Lsn::MAX),
            Quorum::Any(parts) => parts.iter().map(|q| q.point(scls)).max().unwrap_or(Lsn::ZERO),
        }
    }

    /// Members that are needed at the least.
    #[must_use]
    pub fn size(&self) -> usize {
        match self {
            Quorum::AtLeast { needed, .. } => *needed,
            Quorum::All(parts) => parts.iter().map(Quorum::size).max().unwrap_or(0),
            Quorum::Any(parts) => parts.iter().map(Quorum::size).min().unwrap_or(usize::MAX),
        }
    }
}

/// The two quorums of one protection group. Every read quorum meets every write quorum, and two write quorums meet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct QuorumSet {
    /// Whose acknowledgement makes a record durable.
    pub write: Quorum,
    /// Whose answers are enough to know what is durable.
    pub read: Quorum,
}

impl QuorumSet {
    /// Write 4/6, read 3/6 (P17 section 2.1).
    #[must_use]
    pub fn four_of_six() -> QuorumSet {
        let of = MemberSet::first(6);
        QuorumSet { write: Quorum::AtLeast { needed: 4, of }, read: Quorum::AtLeast { needed: 3, of } }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn at_least(needed: usize, members: impl IntoIterator<Item = usize>) -> Quorum {
        Quorum::AtLeast { needed, of: members.into_iter().collect() }
    }

    #[test]
    fn the_four_healthy_members_satisfy_a_double_change() {
        // F = 5 is being replaced by G = 6 and, meanwhile, E = 4 by H = 7 (P18 section 4.1).
        let sets = [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 6], [0, 1, 2, 3, 5, 7], [0, 1, 2, 3, 6, 7]];
        let quorum = Quorum::All(sets.into_iter().map(|s| at_least(4, s)).collect());
        assert!(quorum.met(MemberSet::first(4)));
        assert!(!quorum.met([0, 1, 2, 4, 5].into_iter().collect()));
        assert_eq!(quorum.size(), 4);
    }

    #[test]
    fn full_and_tail_segments() {
        let write = Quorum::Any(vec![at_least(4, 0..6), at_least(3, [0, 2, 4])]);
        assert!(write.met([0, 2, 4].into_iter().collect()));
        assert!(!write.met([0, 1, 2].into_iter().collect()));
        assert_eq!(write.point(&[9, 1, 8, 1, 7, 1].map(Lsn)), Lsn(7));
    }

    fn quorums() -> impl Strategy<Value = Quorum> {
        let leaf = (1usize..5, any::<u8>())
            .prop_map(|(needed, bits)| at_least(needed, (0..8).filter(move |m| bits & 1 << m != 0)));
        leaf.prop_recursive(2, 8, 3, |inner| {
            prop_oneof![
                proptest::collection::vec(inner.clone(), 1..4).prop_map(Quorum::All),
                proptest::collection::vec(inner, 1..4).prop_map(Quorum::Any),
            ]
        })
    }

    proptest! {
        /// The point is the highest LSN such that those who stand at or above it form a quorum.
        #[test]
        fn point_agrees_with_met(quorum in quorums(), scls in proptest::collection::vec(0u64..20, 8)) {
            let scls: Vec<Lsn> = scls.into_iter().map(Lsn).collect();
            let naive = (0..=20).rev().map(Lsn)
                .find(|p| quorum.met((0..8).filter(|m| scls[*m] >= *p).collect()))
                .unwrap_or(Lsn::ZERO);
            prop_assert_eq!(quorum.point(&scls), naive);
        }

        #[test]
        fn quorums_of_a_set_meet(a in 0u32..64, b in 0u32..64) {
            let q = QuorumSet::four_of_six();
            let (a, b) = (MemberSet(a), MemberSet(b));
            if q.write.met(a) && (q.write.met(b) || q.read.met(b)) {
                prop_assert!(!a.and(b).is_empty());
            }
        }
    }
}
