//! The recovery machine against model segments: openings that fail, crash and race with older writers that still send,
//! over members that change meanwhile.

use std::collections::BTreeMap;

use proptest::prelude::*;
use sextant_redo::wire::Epochs;
use sextant_redo::{MembershipEpoch, PgId, SegmentId, Segments, VolumeId};

use super::*;
use crate::quorum::Seat;
use crate::quorum::tests::seats_of;

const MEMBERS: usize = 6;
const LAL: u64 = 1000;

/// A small generator: which of the many orders and failures happen is drawn from one seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n.max(1) as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }
}

#[derive(Clone, Default)]
struct Segment {
    epoch: VolumeEpoch,
    records: Vec<(RecordLinks, VolumeEpoch)>,
    ranges: Vec<TruncationRange>,
    vdl: Lsn,
}

impl Segment {
    fn put(&mut self, record: (RecordLinks, VolumeEpoch)) {
        if !self.records.contains(&record) {
            self.records.push(record);
        }
    }

    /// The valid chain.
    fn chain(&self) -> Vec<(RecordLinks, VolumeEpoch)> {
        let void = |r: &(RecordLinks, VolumeEpoch)| self.ranges.iter().any(|t| t.voids(r.1, r.0.lsn));
        let mut chain: Vec<(RecordLinks, VolumeEpoch)> = Vec::new();
        loop {
            let at = chain.last().map_or(Lsn::ZERO, |r| r.0.lsn);
            match self.records.iter().find(|r| r.0.prev_pg == at && !void(r)) {
                Some(next) => chain.push(*next),
                None => return chain,
            }
        }
    }

    fn scl(&self) -> Lsn {
        self.chain().last().map_or(Lsn::ZERO, |r| r.0.lsn)
    }

    fn state(&self, group: usize) -> SegmentState {
        let segment = SegmentId { volume: VolumeId(1), pg: PgId(group as u32) };
        SegmentState {
            segment,
            epochs: Epochs { volume: self.epoch, membership: MembershipEpoch(1) },
            scl: self.scl(),
            highest: self.scl(),
            vdl: self.vdl,
            log_start: Lsn::ZERO,
            truncations: self.ranges.clone(),
        }
    }
}

/// A writer: current, or a zombie that does not know yet that it is fenced.
struct Writer {
    epoch: VolumeEpoch,
    log: Vec<(usize, RecordLinks)>,
    /// The VDL that its opening found.
    found: Lsn,
    /// End of its truncation range: new LSNs start above.
    base: Lsn,
    scls: Vec<Vec<Lsn>>,
    /// Its groups' members, which it keeps for life.
    seats: Vec<Vec<Seat>>,
    quorums: Vec<QuorumSet>,
    /// Members that have its truncation list: it sends to no other.
    joined: Vec<MemberSet>,
    undelivered: Vec<(Place, RecordLinks)>,
}

impl Writer {
    /// What a member of the group must have to hold all that is durable there.
    fn needed(&self, group: usize) -> Lsn {
        let vdl = self.vdl();
        let durable = self.log.iter().filter(|(g, links)| *g == group && links.lsn <= vdl);
        durable.map(|(_, links)| links.lsn).max().unwrap_or(Lsn::ZERO)
    }

    /// The VDL as acknowledgements tell it.
    fn vdl(&self) -> Lsn {
        let mut vdl = self.found;
        for (group, links) in self.log.iter().filter(|(_, l)| l.lsn > self.found) {
            let have = (0..self.scls[*group].len()).filter(|m| self.scls[*group][*m] >= links.lsn).collect();
            if !self.quorums[*group].write.met(have) {
                break;
            }
            if links.is_cpl {
                vdl = links.lsn;
            }
        }
        vdl
    }
}

struct World {
    dice: Dice,
    segments: Vec<Vec<Segment>>,
    /// Of each group, as the metadata service has it.
    seats: Vec<Vec<Seat>>,
    writers: Vec<Writer>,
    /// Records that some writer told its clients to be durable.
    acked: BTreeMap<Lsn, (usize, RecordLinks)>,
    epoch: u64,
}

impl World {
    fn new(seed: u64, groups: usize, segments: Segments) -> World {
        World {
            dice: Dice(seed | 1),
            segments: vec![vec![Segment::default(); MEMBERS]; groups],
            seats: vec![seats_of(segments, &[]); groups],
            writers: Vec::new(),
            acked: BTreeMap::new(),
            epoch: 0,
        }
    }

    /// A step of a replacement. It is finished only when the newest writer knows both members and sees that the successor
    /// has what is durable.
    fn change_members(&mut self) {
        let group = self.dice.below(self.segments.len());
        let seat = self.dice.below(MEMBERS);
        let pending = self.seats[group].iter().filter(|seat| seat.successor.is_some()).count();
        match self.seats[group][seat].successor {
            None if pending < 2 && self.segments[group].len() < 12 => {
                self.segments[group].push(Segment::default());
                self.seats[group][seat].successor = Some(self.segments[group].len() - 1);
            }
            Some(new) => {
                let newest = self.writers.last().filter(|w| w.epoch.0 == self.epoch);
                let hydrated = newest.is_some_and(|writer| {
                    let known = writer.seats[group][seat].successor == Some(new);
                    known && writer.scls[group][new] >= writer.needed(group)
                });
                if hydrated {
                    self.seats[group][seat] = self.seats[group][seat].taken_by(new);
                } else if self.dice.one_in(2) {
                    self.seats[group][seat].successor = None;
                }
            }
            None => {}
        }
    }

    fn is_member(&self, group: usize, member: usize) -> bool {
        self.seats[group].iter().any(|seat| seat.holder == member || seat.successor == Some(member))
    }

    /// One message of one writer arrives, if its epoch is not over there.
    fn deliver(&mut self) {
        if self.writers.is_empty() {
            return;
        }
        let at = self.dice.below(self.writers.len());
        let writer = &mut self.writers[at];
        if writer.undelivered.is_empty() {
            return;
        }
        let message = self.dice.below(writer.undelivered.len());
        let (place, links) = writer.undelivered.swap_remove(message);
        let vdl = writer.vdl();
        let segment = &mut self.segments[place.group][place.member];
        if segment.epoch > writer.epoch {
            return;
        }
        segment.put((links, writer.epoch));
        segment.vdl = segment.vdl.max(vdl);
        let slot = &mut writer.scls[place.group][place.member];
        *slot = (*slot).max(segment.scl());
        let vdl = writer.vdl();
        for (group, links) in writer.log.iter().filter(|(_, l)| l.lsn <= vdl) {
            self.acked.insert(links.lsn, (*group, *links));
        }
    }

    fn write(&mut self) {
        let groups = self.segments.len();
        let Some(writer) = self.writers.last_mut() else { return };
        let mut next = writer.log.last().map_or(Lsn::ZERO, |(_, l)| l.lsn).max(writer.base);
        for _ in 0..self.dice.below(6) {
            let records = 1 + self.dice.below(4);
            for n in 0..records {
                let group = self.dice.below(groups);
                next = next.advance(1);
                let prev_pg =
                    writer.log.iter().rev().find(|(g, _)| *g == group).map_or(Lsn::ZERO, |(_, l)| l.lsn);
                let prev_volume = writer.log.last().map_or(Lsn::ZERO, |(_, l)| l.lsn);
                let links = RecordLinks { lsn: next, prev_volume, prev_pg, is_cpl: n + 1 == records };
                writer.log.push((group, links));
                for member in writer.joined[group].iter() {
                    writer.undelivered.push((Place { group, member }, links));
                }
            }
        }
        for _ in 0..self.dice.below(60) {
            self.deliver();
        }
    }

    fn perform(&mut self, action: &Action) -> Option<Event> {
        let epoch = VolumeEpoch(self.epoch);
        let Place { group, member } = action.place();
        let source = match action {
            Action::Copy { from, .. } => Some(self.segments[from.group][from.member].chain()),
            _ => None,
        };
        let segment = &mut self.segments[group][member];
        Some(match action {
            Action::Open(place) => {
                segment.epoch = epoch;
                Event::State(*place, segment.state(group))
            }
            Action::Truncate(place, ranges) => {
                segment.ranges.clone_from(ranges);
                Event::State(*place, segment.state(group))
            }
            Action::ReadChain { from, after } => {
                let after_all = segment.chain().into_iter().map(|r| r.0).filter(|l| l.lsn > *after);
                let links: Vec<RecordLinks> = after_all.take(3).collect();
                let complete = links.last().is_none_or(|l| l.lsn == segment.scl());
                Event::Chain { from: *from, after: *after, links, complete }
            }
            Action::Copy { to, after, up_to, .. } => {
                let wanted = |r: &(RecordLinks, VolumeEpoch)| r.0.lsn > *after && r.0.lsn <= *up_to;
                source?.into_iter().filter(wanted).for_each(|record| segment.put(record));
                Event::Copied { to: *to, scl: segment.scl() }
            }
        })
    }

    /// One opening; `None` when it crashed on the way.
    fn open(&mut self) -> Option<Outcome> {
        self.epoch += 1;
        let groups = self.segments.len();
        let quorums =
            (0..groups).map(|g| (QuorumSet::of_seats(&self.seats[g]), self.segments[g].len())).collect();
        let mut recovery = Recovery::new(VolumeEpoch(self.epoch), LAL, quorums);
        let crash_after = if self.dice.one_in(2) { self.dice.below(60) } else { usize::MAX };
        let away: Vec<MemberSet> = (0..groups)
            .map(|group| {
                let members = self.segments[group].len();
                let left = (0..members).filter(|m| !self.is_member(group, *m)).collect::<Vec<_>>();
                (0..2).map(|_| self.dice.below(members)).chain(left).collect()
            })
            .collect();
        let mut waiting: Vec<Action> = Vec::new();
        for step in 0..10_000 {
            if let Some(outcome) = recovery.outcome() {
                let joined = (0..groups).map(|group| {
                    let has = |m: &usize| self.segments[group][*m].ranges == outcome.ranges;
                    (0..self.segments[group].len()).filter(has).collect()
                });
                self.start_writer(&outcome, joined.collect());
                return Some(outcome);
            }
            if step == crash_after {
                return None;
            }
            waiting.extend(
                recovery.actions().into_iter().filter(|a| !away[a.place().group].contains(a.place().member)),
            );
            if self.dice.one_in(4) {
                self.deliver();
            }
            if waiting.is_empty() {
                continue;
            }
            let pick = self.dice.below(waiting.len());
            let action = waiting.swap_remove(pick);
            let lost_answer = self.dice.one_in(12);
            let event = match self.perform(&action) {
                Some(event) if !lost_answer => event,
                _ => {
                    if let Action::Copy { from, .. } = action {
                        recovery.on(Event::Suspect(from)).expect("no answer, no conflict");
                    }
                    Event::Failed(action.place())
                }
            };
            recovery.on(event).expect("no two lists from one opening");
        }
        panic!("an opening with a write quorum of every group comes to an end");
    }

    fn start_writer(&mut self, outcome: &Outcome, joined: Vec<MemberSet>) {
        let vdl = outcome.points.vdl;
        let mut log = BTreeMap::new();
        for (group, members) in self.segments.iter().enumerate() {
            let has = |s: &Segment| s.scl() >= outcome.points.last[group] && s.ranges == outcome.ranges;
            let holders: MemberSet = (0..members.len()).filter(|m| has(&members[*m])).collect();
            let quorums = QuorumSet::of_seats(&self.seats[group]);
            assert!(quorums.write.met(holders), "a write quorum has the log");
            let chains: Vec<Vec<_>> = holders
                .iter()
                .map(|m| members[m].chain().into_iter().map(|r| r.0).filter(|l| l.lsn <= vdl).collect())
                .collect();
            assert!(chains.iter().all(|c| *c == chains[0]), "and it is the same log");
            log.extend(chains[0].iter().map(|l: &RecordLinks| (l.lsn, (group, *l))));
        }
        for (lsn, record) in &self.acked {
            assert_eq!(log.get(lsn), Some(record), "what was acknowledged is there");
        }
        self.writers.push(Writer {
            epoch: VolumeEpoch(self.epoch),
            log: log.into_values().collect(),
            found: vdl,
            base: outcome.base(),
            scls: self.segments.iter().map(|group| vec![Lsn::ZERO; group.len()]).collect(),
            seats: self.seats.clone(),
            quorums: self.seats.iter().map(|seats| QuorumSet::of_seats(seats)).collect(),
            joined,
            undelivered: Vec::new(),
        });
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever fails, crashes or arrives late: nothing acknowledged is lost, the VDL never falls, and opening again
    /// without a write in between finds the same.
    #[test]
    fn openings_lose_nothing(
        seed in any::<u64>(),
        groups in 1usize..4,
        changes in any::<bool>(),
        segments in prop_oneof![Just(Segments::Full), Just(Segments::FullTail)],
    ) {
        let mut world = World::new(seed, groups, segments);
        let mut last: Option<Outcome> = None;
        for _ in 0..8 {
            let quiet = world.dice.one_in(3);
            if !quiet {
                world.write();
            }
            if quiet {
                world.writers.clear();
            }
            let steps = if changes { world.dice.below(4) } else { 0 };
            (0..steps).for_each(|_| world.change_members());
            let Some(outcome) = world.open() else { continue };
            let newest = world.acked.keys().next_back().copied().unwrap_or(Lsn::ZERO);
            prop_assert!(outcome.points.vdl >= newest);
            if let Some(before) = &last {
                prop_assert!(outcome.points.vdl >= before.points.vdl);
                prop_assert!(outcome.base() > before.base());
            }
            last = Some(outcome);
        }
    }
}

#[test]
fn opening_twice_without_a_write_changes_nothing() {
    for seed in 1..200 {
        let segments = if seed % 2 == 0 { Segments::Full } else { Segments::FullTail };
        let mut world = World::new(seed * 7919, 2, segments);
        while world.open().is_none() {}
        world.write();
        let first = loop {
            if let Some(outcome) = world.open() {
                break outcome;
            }
        };
        world.writers.clear();
        let again = loop {
            if let Some(outcome) = world.open() {
                break outcome;
            }
        };
        assert_eq!(first.points.vdl, again.points.vdl, "seed {seed}");
        assert_eq!(first.points.last, again.points.last, "seed {seed}");
        assert_eq!(first.ranges.len(), again.ranges.len(), "seed {seed}");
    }
}

/// Full segments have freed log that a tail still keeps: what lags is copied from the tail.
#[test]
fn log_is_copied_from_whom_has_it() {
    let quorums = QuorumSet::of_seats(&seats_of(Segments::FullTail, &[]));
    let mut recovery = Recovery::new(VolumeEpoch(1), LAL, vec![(quorums, MEMBERS)]);
    let state = |ranges: &[TruncationRange], scl: u64, log_start: u64| SegmentState {
        segment: SegmentId { volume: VolumeId(1), pg: PgId(0) },
        epochs: Epochs { volume: VolumeEpoch(1), membership: MembershipEpoch(1) },
        scl: Lsn(scl),
        highest: Lsn(scl),
        vdl: Lsn(90),
        log_start: Lsn(log_start),
        truncations: ranges.to_vec(),
    };
    // Members 0 (full) and 1 (a tail) are complete; 2 (full) and 3 (a tail) lag.
    let stands = [(90, 80), (90, 40), (50, 0), (50, 0)];
    let tell = |recovery: &mut Recovery, member: usize, ranges: &[TruncationRange]| {
        let (scl, log_start) = stands[member];
        let event = Event::State(Place { group: 0, member }, state(ranges, scl, log_start));
        recovery.on(event).expect("no conflict");
    };
    recovery.actions();
    (0..4).for_each(|member| tell(&mut recovery, member, &[]));
    let ranges = recovery.actions().into_iter().find_map(|action| match action {
        Action::Truncate(_, ranges) => Some(ranges),
        _ => None,
    });
    let ranges = ranges.expect("the own range");
    (0..4).for_each(|member| tell(&mut recovery, member, &ranges));
    let copies: Vec<(usize, usize)> = recovery
        .actions()
        .into_iter()
        .filter_map(|action| match action {
            Action::Copy { from, to, .. } => Some((from.member, to.member)),
            _ => None,
        })
        .collect();
    assert_eq!(copies, [(1, 2), (1, 3)]);
}
