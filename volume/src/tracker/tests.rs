//! The tracker against the protocol's examples and against a naive model that knows every record.

use proptest::prelude::*;

use super::*;
use crate::quorum::{Quorum, Seat};

const MEMBERS: usize = 6;

fn tracker(groups: usize, vdl: u64) -> Tracker {
    let mut tracker = Tracker::new(Lsn(vdl));
    for _ in 0..groups {
        tracker.add_group(QuorumSet::four_of_six(), MEMBERS, Lsn(vdl));
    }
    tracker
}

fn one(group: usize, lsn: u64, cpl_before: u64) -> SealedBatch {
    SealedBatch {
        group,
        first: Lsn(lsn),
        prev_volume: Lsn(lsn - 1),
        cpl_before: Lsn(cpl_before),
        last: Lsn(lsn),
    }
}

fn ack_by(tracker: &mut Tracker, group: usize, members: std::ops::Range<usize>, scl: u64) {
    for member in members {
        tracker.ack(group, member, Lsn(scl));
    }
}

/// P18 figure 3: odd LSNs in one group, even ones in the other; PGCL 103 and 104 give VCL 104, not 103.
#[test]
fn vcl_is_not_the_lowest_pgcl() {
    let mut t = tracker(2, 100);
    for lsn in 101..=106 {
        t.sealed(one((lsn % 2 == 0).into(), lsn, lsn - 1));
        t.round_end(Lsn(lsn));
    }
    ack_by(&mut t, 0, 0..4, 103);
    ack_by(&mut t, 0, 0..3, 105);
    ack_by(&mut t, 1, 0..4, 104);
    assert_eq!((t.pgcl(0), t.pgcl(1)), (Lsn(103), Lsn(104)));
    assert_eq!(t.vcl(), Lsn(104));
}

/// P17 section 4.1: complete to 1007 with consistency points 900, 1000 and 1100 is durable to 1000.
#[test]
fn vdl_is_the_highest_consistency_point_at_or_below_the_vcl() {
    let mut t = tracker(1, 800);
    for (first, last, cpl_before) in
        [(801, 900, 800), (901, 1000, 900), (1001, 1007, 1000), (1008, 1100, 1000)]
    {
        t.sealed(SealedBatch {
            group: 0,
            first: Lsn(first),
            prev_volume: Lsn(first - 1),
            cpl_before: Lsn(cpl_before),
            last: Lsn(last),
        });
    }
    t.round_end(Lsn(1100));
    ack_by(&mut t, 0, 1..5, 1007);
    assert_eq!((t.vcl(), t.vdl()), (Lsn(1007), Lsn(1000)));
    assert_eq!(t.required_scl(0), Lsn(1000));
    ack_by(&mut t, 0, 2..6, 1100);
    assert_eq!((t.vcl(), t.vdl()), (Lsn(1100), Lsn(1100)));
}

#[test]
fn an_idle_group_never_holds_the_volume_back() {
    let mut t = tracker(3, 100);
    t.sealed(one(1, 101, 100));
    t.round_end(Lsn(101));
    ack_by(&mut t, 1, 0..4, 101);
    assert_eq!(t.vdl(), Lsn(101));
    assert_eq!(t.required_scl(0), Lsn(100));
}

#[test]
fn three_of_six_are_not_enough_and_a_repeated_ack_counts_once() {
    let mut t = tracker(1, 0);
    t.sealed(one(0, 1, 0));
    t.round_end(Lsn(1));
    for _ in 0..4 {
        ack_by(&mut t, 0, 0..3, 1);
    }
    assert_eq!(t.vdl(), Lsn::ZERO);
    assert!(t.ack(0, 5, Lsn(1)));
    assert_eq!(t.vdl(), Lsn(1));
}

/// Every record of the volume, in order.
#[derive(Debug, Clone, Copy)]
struct NaiveRecord {
    lsn: Lsn,
    group: usize,
    is_cpl: bool,
}

/// What the points are by their definitions.
fn naive(records: &[NaiveRecord], scls: &[Vec<Lsn>], write: &Quorum) -> (Lsn, Lsn) {
    let (mut vcl, mut vdl) = (Lsn::ZERO, Lsn::ZERO);
    for record in records {
        let have = (0..MEMBERS).filter(|m| scls[record.group][*m] >= record.lsn).collect();
        if !write.met(have) {
            break;
        }
        vcl = record.lsn;
        if record.is_cpl {
            vdl = record.lsn;
        }
    }
    (vcl, vdl)
}

/// Mini-transactions (a list of groups each), where rounds end, and acknowledgements.
#[derive(Debug, Clone)]
enum Step {
    Mtr(Vec<usize>),
    Round,
    Ack { group: usize, member: usize, share: u8 },
}

fn steps(groups: usize) -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        3 => proptest::collection::vec(0..groups, 1..5).prop_map(Step::Mtr),
        1 => Just(Step::Round),
        6 => (0..groups, 0..MEMBERS, any::<u8>())
            .prop_map(|(group, member, share)| Step::Ack { group, member, share }),
    ];
    proptest::collection::vec(step, 1..120)
}

/// Drives a tracker and the naive model side by side. A segment acknowledges whole batches, as real ones do.
struct Pair {
    tracker: Tracker,
    records: Vec<NaiveRecord>,
    open: Vec<Option<SealedBatch>>,
    /// Last LSNs of the announced batches of each group.
    batches: Vec<Vec<Lsn>>,
    scls: Vec<Vec<Lsn>>,
    next: u64,
    last_cpl: Lsn,
}

impl Pair {
    fn new(groups: usize) -> Pair {
        Pair {
            tracker: tracker(groups, 0),
            records: Vec::new(),
            open: vec![None; groups],
            batches: vec![Vec::new(); groups],
            scls: vec![vec![Lsn::ZERO; MEMBERS]; groups],
            next: 10,
            last_cpl: Lsn::ZERO,
        }
    }

    fn mtr(&mut self, groups: &[usize]) {
        for (n, &group) in groups.iter().enumerate() {
            let lsn = Lsn(self.next);
            self.next += 7;
            let prev_volume = self.records.last().map_or(Lsn::ZERO, |r| r.lsn);
            let cpl_before = self.last_cpl;
            let open = self.open[group].get_or_insert(SealedBatch {
                group,
                first: lsn,
                prev_volume,
                cpl_before,
                last: lsn,
            });
            open.last = lsn;
            let is_cpl = n + 1 == groups.len();
            self.records.push(NaiveRecord { lsn, group, is_cpl });
        }
        self.last_cpl = self.records.last().map_or(Lsn::ZERO, |r| r.lsn);
    }

    fn round(&mut self) {
        let mut sealed: Vec<SealedBatch> = self.open.iter_mut().filter_map(Option::take).collect();
        sealed.sort_by_key(|b| b.first);
        for batch in sealed {
            self.batches[batch.group].push(batch.last);
            self.tracker.sealed(batch);
        }
        self.tracker.round_end(self.last_cpl);
    }

    fn ack(&mut self, group: usize, member: usize, share: u8) {
        let known = &self.batches[group];
        if known.is_empty() {
            return;
        }
        let scl = known[usize::from(share) * known.len() / 256];
        self.tracker.ack(group, member, scl);
        let slot = &mut self.scls[group][member];
        *slot = scl.max(*slot);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    /// By-batch points are never above the true ones, never regress, and equal them where the true VCL ends at a batch
    /// boundary of the volume; the required SCL covers the group's records at or below the VDL, and a quorum has it.
    #[test]
    fn the_tracker_agrees_with_the_definitions(steps in steps(4)) {
        let write = QuorumSet::four_of_six().write;
        let mut pair = Pair::new(4);
        let mut before = (Lsn::ZERO, Lsn::ZERO);
        for step in steps {
            match step {
                Step::Mtr(groups) => pair.mtr(&groups),
                Step::Round => pair.round(),
                Step::Ack { group, member, share } => pair.ack(group, member, share),
            }
            let (vcl, vdl) = naive(&pair.records, &pair.scls, &write);
            let now = (pair.tracker.vcl(), pair.tracker.vdl());
            prop_assert!(now.0 >= before.0 && now.1 >= before.1, "{before:?} -> {now:?}");
            // Acknowledgements cover whole batches, so the first incomplete record is the first of its batch, and
            // by-batch bookkeeping loses nothing.
            prop_assert_eq!(now, (vcl, vdl));
            for group in 0..4 {
                let required = pair.tracker.required_scl(group);
                let newest = pair.records.iter().rev().find(|r| r.group == group && r.lsn <= vdl);
                prop_assert!(newest.is_none_or(|r| required >= r.lsn) && required <= vdl.max(Lsn::ZERO));
                prop_assert!(write.met((0..MEMBERS).filter(|m| pair.scls[group][*m] >= required).collect()));
            }
            before = now;
        }
    }
}

/// F = 5 is replaced by G = 6: what was durable stays so, and what was not needs both quorums.
#[test]
fn a_change_of_members_moves_no_point_back() {
    let mut t = tracker(1, 0);
    t.sealed(one(0, 1, 0));
    t.round_end(Lsn(1));
    for member in [0, 1, 2, 5] {
        t.ack(0, member, Lsn(1));
    }
    assert_eq!(t.vdl(), Lsn(1));
    t.sealed(one(0, 2, 1));
    t.round_end(Lsn(2));
    ack_by(&mut t, 0, 0..3, 2);
    assert!(!t.set_quorums(0, changing(&[(5, 6)]), 7));
    assert_eq!((t.pgcl(0), t.vdl()), (Lsn(1), Lsn(1)));
    assert!(!t.ack(0, 5, Lsn(2)), "four of the old six are not enough");
    assert_eq!(t.required_scl(0), Lsn(1));
    assert!(t.ack(0, 6, Lsn(2)), "with four of the new six they are");
    assert_eq!(t.vdl(), Lsn(2));
}

#[test]
fn the_end_of_a_change_may_make_more_durable() {
    let mut t = tracker(1, 0);
    t.set_quorums(0, changing(&[(5, 6)]), 7);
    t.sealed(one(0, 1, 0));
    t.round_end(Lsn(1));
    ack_by(&mut t, 0, 0..3, 1);
    assert!(!t.ack(0, 6, Lsn(1)));
    let mut finished: Vec<Seat> = (0..MEMBERS).map(Seat::held_by).collect();
    finished[5] = Seat::held_by(6);
    assert!(t.set_quorums(0, QuorumSet::of_seats(&finished), 7));
    assert_eq!(t.vdl(), Lsn(1));
}

fn changing(successors: &[(usize, usize)]) -> QuorumSet {
    let successor = |seat| successors.iter().find(|(old, _)| *old == seat).map(|(_, new)| *new);
    let seats: Vec<Seat> =
        (0..MEMBERS).map(|holder| Seat { successor: successor(holder), ..Seat::held_by(holder) }).collect();
    QuorumSet::of_seats(&seats)
}

proptest! {
    /// Acknowledgements and changes of members in any order: points never regress, and a record counts from the moment
    /// on at which a quorum of the day had it.
    #[test]
    fn points_stand_while_members_change(steps in proptest::collection::vec((0usize..10, 0u64..40), 1..120)) {
        let mut t = tracker(1, 0);
        for lsn in 1..=40 {
            t.sealed(one(0, lsn, lsn - 1));
            t.round_end(Lsn(lsn));
        }
        let sets = [changing(&[]), changing(&[(5, 6)]), changing(&[(4, 7)]), changing(&[(5, 6), (4, 7)])];
        let (mut quorums, mut scls, mut durable) = (changing(&[]), [Lsn::ZERO; 8], Lsn::ZERO);
        for (what, value) in steps {
            match what {
                member @ 0..8 => {
                    if quorums == sets[0] && member > 5 {
                        continue;
                    }
                    scls[member] = scls[member].max(Lsn(value));
                    t.set_quorums(0, quorums.clone(), 8);
                    t.ack(0, member, Lsn(value));
                }
                _ => {
                    quorums.clone_from(&sets[value as usize % 4]);
                    t.set_quorums(0, quorums.clone(), 8);
                }
            }
            let met = |lsn: &u64| quorums.write.met((0..8).filter(|m| scls[*m] >= Lsn(*lsn)).collect());
            durable = durable.max(Lsn((1..=40).rev().find(met).unwrap_or(0)));
            prop_assert_eq!((t.pgcl(0), t.vdl()), (durable, durable));
        }
    }
}
