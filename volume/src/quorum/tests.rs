//! Quorums by the papers' examples, and every pair of quorums that must meet.

use proptest::prelude::*;
use sextant_redo::Segments;

use super::*;

fn at_least(needed: usize, members: impl IntoIterator<Item = usize>) -> Quorum {
    Quorum::AtLeast { needed, of: members.into_iter().collect() }
}

const BOTH: [Segments; 2] = [Segments::Full, Segments::FullTail];

/// Seats 0 to 5 of six full segments; of each whether it is being replaced, and by whom.
fn seats(successors: &[(usize, usize)]) -> Vec<Seat> {
    seats_of(Segments::Full, successors)
}

/// The same of either mix; two in a row share a zone, and of full segments and tails the even ones are full.
pub(crate) fn seats_of(segments: Segments, successors: &[(usize, usize)]) -> Vec<Seat> {
    let successor = |seat: usize| successors.iter().find(|(old, _)| *old == seat).map(|(_, new)| *new);
    let kind = |seat: usize| match segments {
        Segments::FullTail if seat % 2 == 1 => SegmentKind::Tail,
        _ => SegmentKind::Full,
    };
    (0..COPIES).map(|holder| Seat { holder, successor: successor(holder), kind: kind(holder) }).collect()
}

fn set(members: impl IntoIterator<Item = usize>) -> MemberSet {
    members.into_iter().collect()
}

/// No two disjoint sets satisfy them. Both are monotone, so it is enough to look at each set and all the others.
pub(crate) fn meet(a: &Quorum, b: &Quorum) -> bool {
    let all = a.members().0 | b.members().0;
    let mut set = all;
    loop {
        if a.met(MemberSet(set)) && b.met(MemberSet(all & !set)) {
            return false;
        }
        if set == 0 {
            return true;
        }
        set = (set - 1) & all;
    }
}

fn assert_meet(a: &QuorumSet, b: &QuorumSet) {
    assert!(meet(&a.write, &b.write), "two writes of {a:?} and {b:?}");
    assert!(meet(&a.read, &b.write), "a read of {a:?} and a write of {b:?}");
    assert!(meet(&b.read, &a.write), "a read of {b:?} and a write of {a:?}");
}

/// F = 5 is being replaced by G = 6 and, meanwhile, E = 4 by H = 7 (P18 section 4.1).
#[test]
fn the_four_healthy_members_satisfy_a_double_change() {
    let sets = [[0, 1, 2, 3, 4, 5], [0, 1, 2, 3, 4, 6], [0, 1, 2, 3, 5, 7], [0, 1, 2, 3, 6, 7]];
    let printed = Quorum::All(sets.into_iter().map(|s| at_least(4, s)).collect());
    let QuorumSet { write, read } = QuorumSet::of_seats(&seats(&[(5, 6), (4, 7)]));
    for set in (0..256).map(MemberSet) {
        assert_eq!(write.met(set), printed.met(set), "{set:?}");
    }
    assert!(write.met(MemberSet::first(4)) && read.met(MemberSet::first(3)));
    assert!(!write.met([0, 1, 2, 4, 5].into_iter().collect()));
    assert_eq!(write.size(), 4);
}

#[test]
fn a_read_of_either_choice_would_miss_what_the_epoch_before_wrote() {
    let either = Quorum::Any(vec![at_least(3, 0..6), at_least(3, [0, 1, 2, 3, 4, 6])]);
    assert!(!meet(&either, &QuorumSet::four_of_six().write));
}

/// Whichever members are healthy, four of them are enough, and three to read (with a full one among them), as long as no
/// more than two are replaced.
#[test]
fn those_who_are_not_replaced_are_enough() {
    for segments in BOTH {
        for (first, second) in (0..6).flat_map(|a| (0..6).map(move |b| (a, b))) {
            let changes = if first == second { vec![(first, 6)] } else { vec![(first, 6), (second, 7)] };
            let seats = seats_of(segments, &changes);
            let quorums = QuorumSet::of_seats(&seats);
            let mut healthy: Vec<usize> = (0..6).filter(|m| *m != first && *m != second).collect();
            healthy.sort_by_key(|member| !seats[*member].kind.is_full());
            assert!(quorums.write.met(set(healthy[..4].iter().copied())));
            assert!(quorums.read.met(set(healthy[..3].iter().copied())));
        }
    }
}

/// Every step that there is: begin, finish and revert, alone and while another replacement is under way.
#[test]
fn quorums_of_neighbouring_epochs_meet() {
    for segments in BOTH {
        for (first, second) in (0..6).flat_map(|a| (0..6).map(move |b| (a, b))).filter(|(a, b)| a != b) {
            let plain = QuorumSet::of_seats(&seats_of(segments, &[]));
            let one = QuorumSet::of_seats(&seats_of(segments, &[(first, 6)]));
            let both = QuorumSet::of_seats(&seats_of(segments, &[(first, 6), (second, 7)]));
            let mut finished = seats_of(segments, &[(second, 7)]);
            finished[first] = finished[first].taken_by(6);
            let rest = QuorumSet::of_seats(&finished);
            finished[second] = finished[second].taken_by(second);
            let alone = QuorumSet::of_seats(&finished);
            for (before, after) in
                [(&plain, &one), (&one, &both), (&both, &rest), (&one, &alone), (&alone, &rest)]
            {
                assert_meet(before, after);
                assert_meet(after, after);
            }
        }
    }
}

#[test]
fn two_replacements_at_once_would_break_it() {
    let mut after = seats(&[]);
    (after[4], after[5]) = (Seat::held_by(6), Seat::held_by(7));
    assert!(!meet(&QuorumSet::of_seats(&after).write, &QuorumSet::four_of_six().write));
}

#[test]
fn a_group_without_change_has_the_plain_quorums() {
    let of = MemberSet::first(6);
    let plain =
        QuorumSet { write: Quorum::AtLeast { needed: 4, of }, read: Quorum::AtLeast { needed: 3, of } };
    assert_eq!(QuorumSet::four_of_six(), plain);
    assert_eq!(plain.and(&plain), plain);
}

/// P18 section 4.2, word by word, for each of the 64 sets of members.
#[test]
fn full_and_tail_segments() {
    let QuorumSet { write, read } = QuorumSet::of_seats(&seats_of(Segments::FullTail, &[]));
    for set in (0..64).map(MemberSet) {
        let full = set.iter().filter(|member| member % 2 == 0).count();
        assert_eq!(write.met(set), set.len() >= 4 || full == 3, "{set:?}");
        assert_eq!(read.met(set), set.len() >= 3 && full >= 1, "{set:?}");
    }
    assert_eq!(write.point(&[9, 1, 8, 1, 7, 1].map(Lsn)), Lsn(7), "three full ones");
    assert_eq!(write.point(&[9, 3, 1, 3, 1, 3].map(Lsn)), Lsn(3), "four of six");
    assert_eq!(write.size(), 3);
}

/// What a volume of tails still promises: a zone may be lost and it is written, another node as well and it is read.
#[test]
fn a_zone_and_one_more_may_be_lost() {
    for segments in BOTH {
        let QuorumSet { write, read } = QuorumSet::of_seats(&seats_of(segments, &[]));
        for zone in 0..3 {
            let left: Vec<usize> = (0..6).filter(|member| member / 2 != zone).collect();
            assert!(write.met(set(left.iter().copied())));
            for lost in &left {
                assert!(read.met(set(left.iter().copied().filter(|member| member != lost))));
            }
        }
    }
}

/// Why a tail counts less than a full segment: three tails and a full one wrote, three others would not know it.
#[test]
fn tails_that_count_as_full_would_miss_writes() {
    let QuorumSet { write, read } = QuorumSet::of_seats(&seats_of(Segments::FullTail, &[]));
    let three_tails = Quorum::Any(vec![write.clone(), at_least(3, [1, 3, 5])]);
    assert!(!meet(&three_tails, &write) && !meet(&three_tails, &read));
    let no_full_one = at_least(3, 0..6);
    assert!(!meet(&no_full_one, &write));
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

    /// A writer that is about to be fenced may be told of any number of steps more than its successor knew when it
    /// opened, except one: a replacement that was begun after that is not finished, since only the current writer says
    /// that a member is hydrated. Their quorums meet.
    #[test]
    fn an_opener_meets_a_writer_that_knows_newer_steps(
        began in proptest::collection::btree_set(0usize..6, 0..3),
        steps in proptest::collection::vec((0usize..6, any::<bool>()), 0..12),
        segments in prop_oneof![Just(Segments::Full), Just(Segments::FullTail)],
    ) {
        let mut next = 6;
        let mut fresh = || { next += 1; next - 1 };
        let mut seats = seats_of(segments, &[]);
        began.iter().for_each(|seat| seats[*seat].successor = Some(fresh()));
        let opener = QuorumSet::of_seats(&seats);
        let mut may_finish = began;
        for (seat, finish) in steps {
            let under_way = seats.iter().filter(|seat| seat.successor.is_some()).count();
            match seats[seat].successor {
                None if under_way < 2 => seats[seat].successor = Some(fresh()),
                Some(new) if finish && may_finish.remove(&seat) => seats[seat] = seats[seat].taken_by(new),
                Some(_) if !finish => {
                    may_finish.remove(&seat);
                    seats[seat].successor = None;
                }
                _ => {}
            }
        }
        let writer = QuorumSet::of_seats(&seats);
        prop_assert!(meet(&opener.write, &writer.write));
    }
}
