//! Quorums as boolean expressions over member sets (P18 sections 4.1 and 4.2). A group writes to 4 of 6 and reads from 3
//! of 6. Where three of the six are full and three are tails (log alone), the three full ones are enough to write as well, and
//! a read needs a full one among its three. While members are being replaced all of that holds in *every* choice between old
//! and new: a conjunction.
//!
//! P18 lets a read during a change take 3 of 6 of *either* choice. That does not meet the writes of the epoch before:
//! with F being replaced by G, {A, B, G} is such a read, and {C, D, E, F} wrote. So reads too need every choice here.
//! Nothing is lost by it: any three of the members that are not being replaced satisfy all of them.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use sextant_meta::PgInfo;
use sextant_redo::{Lsn, NodeId, SegmentKind};

/// Copies of a group (P17 2.1: V = 6).
pub const COPIES: usize = 6;
/// Copies that make a write durable (P17 2.1: Vw = 4).
pub const WRITE: usize = 4;
/// Copies that know all that is durable (P17 2.1: Vr = 3).
pub const READ: usize = 3;

/// Full copies that make a write durable by themselves, where there are tails (P18 4.2).
pub const FULL: usize = 3;

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
    pub fn iter(self) -> impl Iterator<Item = usize> + use<> {
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

    /// Everybody whom it speaks of.
    #[must_use]
    pub fn members(&self) -> MemberSet {
        match self {
            Quorum::AtLeast { of, .. } => *of,
            Quorum::All(parts) | Quorum::Any(parts) => {
                parts.iter().flat_map(|q| q.members().iter()).collect()
            }
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
        QuorumSet::of_seats(&(0..COPIES).map(Seat::held_by).collect::<Vec<_>>())
    }

    /// The quorums of a group as the metadata service tells it; `index` says which member a node is.
    #[must_use]
    pub fn of_group(info: &PgInfo, index: impl Fn(NodeId) -> usize) -> QuorumSet {
        let successor = |old: NodeId| info.replacements.iter().find(|r| r.old == old).map(|r| index(r.new));
        let succeeds = |node: NodeId| info.replacements.iter().any(|r| r.new == node);
        let holders = info.members.iter().map(|member| member.node).filter(|node| !succeeds(*node));
        let kind = |node| info.members.iter().find(|m| m.node == node).map_or(SegmentKind::Full, |m| m.kind);
        let seat = |node| Seat { holder: index(node), successor: successor(node), kind: kind(node) };
        QuorumSet::of_seats(&holders.map(seat).collect::<Vec<_>>())
    }

    /// Write 4/6 and read 3/6 of every choice between holders and successors; with tails among them write also 3/3 of the
    /// full ones, and read not without one of these.
    #[must_use]
    pub fn of_seats(seats: &[Seat]) -> QuorumSet {
        let mut choices = vec![Choice::default()];
        for seat in seats {
            let with = |member: usize| choices.iter().map(move |choice| choice.with(member, seat.kind));
            choices = with(seat.holder).chain(seat.successor.into_iter().flat_map(with)).collect();
        }
        let every = |quorum: fn(&Choice) -> Quorum| all(choices.iter().map(quorum).collect());
        QuorumSet { write: every(Choice::write), read: every(Choice::read) }
    }

    /// Everybody whom they speak of.
    #[must_use]
    pub fn members(&self) -> MemberSet {
        [&self.write, &self.read].into_iter().flat_map(|q| q.members().iter()).collect()
    }

    /// What satisfies both.
    #[must_use]
    pub fn and(&self, other: &QuorumSet) -> QuorumSet {
        let both = |a: &Quorum, b: &Quorum| if a == b { a.clone() } else { all(vec![a.clone(), b.clone()]) };
        QuorumSet { write: both(&self.write, &other.write), read: both(&self.read, &other.read) }
    }
}

fn all(mut parts: Vec<Quorum>) -> Quorum {
    match parts.len() {
        1 => parts.remove(0),
        _ => Quorum::All(parts),
    }
}

/// One member of each seat.
#[derive(Debug, Clone, Copy, Default)]
struct Choice {
    members: MemberSet,
    full: MemberSet,
}

impl Choice {
    fn with(mut self, member: usize, kind: SegmentKind) -> Choice {
        self.members.insert(member);
        if kind.is_full() {
            self.full.insert(member);
        }
        self
    }

    fn has_tails(&self) -> bool {
        self.full != self.members
    }

    fn write(&self) -> Quorum {
        let four = Quorum::AtLeast { needed: WRITE, of: self.members };
        match self.has_tails() {
            // Never fewer than the three that P18 has: two full ones and a read that knows the third would not meet.
            true => {
                Quorum::Any(vec![four, Quorum::AtLeast { needed: self.full.len().max(FULL), of: self.full }])
            }
            false => four,
        }
    }

    fn read(&self) -> Quorum {
        let three = Quorum::AtLeast { needed: READ, of: self.members };
        match self.has_tails() {
            true => Quorum::All(vec![three, Quorum::AtLeast { needed: 1, of: self.full }]),
            false => three,
        }
    }
}

/// One of the six places of a group: the member that holds it and, while it is being replaced, its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Seat {
    /// Index of the member.
    pub holder: usize,
    /// Index of its successor.
    pub successor: Option<usize>,
    /// What both of them keep: a successor is of its predecessor's kind.
    pub kind: SegmentKind,
}

impl Seat {
    /// A full segment whom nobody is to succeed.
    #[must_use]
    pub fn held_by(holder: usize) -> Seat {
        Seat { holder, successor: None, kind: SegmentKind::Full }
    }

    /// The same seat in other hands.
    #[must_use]
    pub fn taken_by(self, holder: usize) -> Seat {
        Seat { holder, successor: None, ..self }
    }
}

#[cfg(test)]
pub(crate) mod tests;
