//! Changes of members by example and over random histories.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sextant_meta::Member;
use sextant_redo::{AzId, PgId, SegmentKind, Segments};

use super::*;
use crate::quorum::Seat;
use crate::quorum::tests::{meet, seats_of};

const NEVER: fn(usize) -> bool = |_| false;

/// A group as the metadata service tells it: six seats, each with its successor.
fn info(epoch: u64, seats: &[(u64, Option<u64>)]) -> PgInfo {
    info_of(Segments::Full, epoch, seats)
}

/// The same of either mix of segments.
fn info_of(segments: Segments, epoch: u64, seats: &[(u64, Option<u64>)]) -> PgInfo {
    let kinds = seats_of(segments, &[]);
    let holders = seats.iter().zip(&kinds).map(|((old, _), seat)| (*old, seat.kind));
    let successors = seats.iter().zip(&kinds).filter_map(|((_, new), seat)| Some(((*new)?, seat.kind)));
    let member = |(node, kind): (u64, SegmentKind)| Member {
        node: NodeId(node),
        az: AzId(0),
        addr: ([127, 0, 0, 1], 1).into(),
        created: true,
        kind,
    };
    let replacement = |(old, new): &(u64, Option<u64>)| {
        let (old, new) = (NodeId(*old), NodeId((*new)?));
        Some(Replacement { old, new, hydrated: false, automatic: false })
    };
    PgInfo {
        pg: PgId(0),
        membership: MembershipEpoch(epoch),
        members: holders.chain(successors).map(member).collect(),
        replacements: seats.iter().filter_map(replacement).collect(),
        former: Vec::new(),
    }
}

fn plain() -> Vec<(u64, Option<u64>)> {
    (0..6).map(|node| (node, None)).collect()
}

fn record(membership: &mut Membership, members: impl IntoIterator<Item = usize>, epoch: u64) -> bool {
    members.into_iter().filter(|m| membership.recorded(*m, MembershipEpoch(epoch))).count() > 0
}

#[test]
fn a_replacement_from_begin_to_finish() {
    let mut membership = Membership::new(&info(1, &plain()));
    assert_eq!(*membership.quorums(), QuorumSet::four_of_six());
    let mut seats = plain();
    seats[5].1 = Some(9);
    let change = membership.learn(&info(2, &seats), NEVER).expect("newer");
    assert_eq!(change, Change { joined: vec![6], left: vec![] });
    assert_eq!(membership.epoch(), MembershipEpoch(2));
    let both = |set: &[usize]| membership.quorums().write.met(set.iter().copied().collect());
    assert!(both(&[0, 1, 2, 3]) && !both(&[0, 1, 2, 5]) && both(&[0, 1, 2, 5, 6]));
    assert!(!record(&mut membership, [0, 1, 5], 2) && !membership.is_settled());
    assert!(record(&mut membership, [2, 6], 2) && membership.is_settled());
    seats[5] = (9, None);
    let change = membership.learn(&info(3, &seats), NEVER).expect("newer");
    assert_eq!(change, Change { joined: vec![], left: vec![5] });
    assert!(!membership.quorums().write.met([0, 1, 2, 6].into_iter().collect()), "not recorded yet");
    assert!(record(&mut membership, [0, 1, 2, 6], 3));
    let mut finished: Vec<Seat> = (0..6).map(Seat::held_by).collect();
    finished[5] = Seat::held_by(6);
    assert_eq!(*membership.quorums(), QuorumSet::of_seats(&finished));
    assert_eq!(membership.members().collect::<Vec<_>>(), [0, 1, 2, 3, 4, 6]);
}

/// With D and E gone too, F back, and the successor gone: only the way back is open, and it is.
#[test]
fn a_reverted_change_needs_nobody_but_the_old_members() {
    let mut membership = Membership::new(&info(1, &plain()));
    let mut seats = plain();
    seats[5].1 = Some(9);
    membership.learn(&info(2, &seats), NEVER).expect("newer");
    record(&mut membership, [0, 1, 2, 5], 2);
    assert!(!membership.is_settled());
    membership.learn(&info(3, &plain()), NEVER).expect("newer");
    assert!(record(&mut membership, [0, 1, 2, 5], 3));
    assert_eq!(*membership.quorums(), QuorumSet::four_of_six());
}

#[test]
fn what_is_not_newer_changes_nothing() {
    let mut membership = Membership::new(&info(2, &plain()));
    let mut seats = plain();
    seats[0].1 = Some(9);
    assert_eq!(membership.learn(&info(2, &seats), NEVER), None);
    assert_eq!(membership.learn(&info(1, &seats), NEVER), None);
    assert!(membership.is_settled());
}

/// Replacing one seat again and again: indices are used again, but never one that is busy or counted.
#[test]
fn indices_never_run_out() {
    let mut membership = Membership::new(&info(1, &plain()));
    let (mut seats, mut epoch) = (plain(), 1);
    for node in 100..300 {
        seats[5].1 = Some(node);
        epoch += 1;
        let change = membership.learn(&info(epoch, &seats), |index| index == 6).expect("there is room");
        assert!(change.joined.iter().all(|index| *index < 10 && (*index != 6 || node == 100)));
        record(&mut membership, 0..4, epoch);
        seats[5] = (node, None);
        epoch += 1;
        membership.learn(&info(epoch, &seats), |index| index == 6).expect("nobody joins");
        record(&mut membership, 0..4, epoch);
    }
}

/// What may happen: a step of the metadata service, the writer learning of all so far, a member recording what it was
/// sent.
#[derive(Debug, Clone)]
enum Step {
    Begin(usize),
    End(usize, bool),
    Learn,
    Record(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        2 => (0usize..6).prop_map(Step::Begin),
        2 => (0usize..6, any::<bool>()).prop_map(|(seat, finish)| Step::End(seat, finish)),
        3 => Just(Step::Learn),
        8 => (0usize..12).prop_map(Step::Record),
    ];
    proptest::collection::vec(step, 1..80)
}

proptest! {
    /// At any time what the writer counts by meets the quorums of the membership that the metadata service has, and of
    /// every one since the newest that is recorded: whoever opens now learns of everything that was acknowledged.
    #[test]
    fn the_writer_meets_whoever_opens(
        steps in steps(),
        segments in prop_oneof![Just(Segments::Full), Just(Segments::FullTail)],
    ) {
        let info = |epoch, seats: &[(u64, Option<u64>)]| info_of(segments, epoch, seats);
        let (mut seats, mut epoch, mut next_node) = (plain(), 1, 6);
        let mut membership = Membership::new(&info(1, &seats));
        // What the metadata service has said since, by epoch; members as indices of the writer where it knows them.
        let mut said = BTreeMap::from([(1, seats.clone())]);
        let mut may_finish = BTreeSet::new();
        for step in steps {
            match step {
                Step::Begin(seat) => {
                    let pending = seats.iter().filter(|seat| seat.1.is_some()).count();
                    if pending == 2 || seats[seat].1.is_some() {
                        continue;
                    }
                    seats[seat].1 = Some(next_node);
                    next_node += 1;
                }
                Step::End(seat, finish) => match seats[seat].1 {
                    Some(new) if finish && may_finish.contains(&new) => seats[seat] = (new, None),
                    Some(_) if !finish => seats[seat].1 = None,
                    _ => continue,
                },
                Step::Learn => {
                    membership.learn(&info(epoch, &seats), NEVER);
                    continue;
                }
                Step::Record(member) => {
                    if membership.is_member(member) {
                        let now = membership.epoch();
                        membership.recorded(member, now);
                    }
                    // The writer may say that a successor is hydrated once the change is settled.
                    if membership.is_settled() {
                        may_finish.extend(membership.replacements().iter().map(|r| r.new.0));
                    }
                    continue;
                }
            }
            epoch += 1;
            said.insert(epoch, seats.clone());
            // Nodes as members: enough for the expressions of one short history.
            if next_node >= 30 {
                break;
            }
            let by_node = |node: NodeId| node.0 as usize;
            let opener = QuorumSet::of_group(&info(epoch, &seats), by_node);
            // The writer's quorums over node numbers: what the newest epoch it learnt asks for at the least.
            let known = QuorumSet::of_group(&info(membership.epoch().0, &said[&membership.epoch().0]), by_node);
            prop_assert!(meet(&opener.write, &known.write), "{:?} {:?}", opener, known);
        }
    }
}
