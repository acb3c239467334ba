//! Six copies that gossip while writers come and go: openings that die at any step, zombies that go on writing, log that
//! was fetched long ago and arrives now. Nothing acknowledged is lost, nothing void comes back, and with the last
//! writer dead the copies become equal by gossip alone.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use sextant_redo::batch::cut_after;
use sextant_redo::wire::{Append, Epochs, Reply, Request, SegmentError, SegmentState};
use sextant_redo::{Batch, BatchHeader, Lsn, PageId, SegmentKind, TruncationRange, VolumeEpoch};

use super::super::*;
use super::{Gossip, SOON, Standing, Step, WELL};
use crate::testing::{NOBODY, SEGMENT, Writer, create, epochs};

const COPIES: usize = 6;
const QUORUM: usize = 4;
const LAL: u64 = 10_000;
const PAGES: u64 = 4;

/// One copy, whose log is durable at once.
struct Copy {
    store: Store,
    log: BTreeMap<LogAddress, Bytes>,
    gossip: Gossip,
    offset: u32,
}

impl Copy {
    fn new(seed: usize) -> Copy {
        let mut copy =
            Copy { store: Store::default(), log: BTreeMap::new(), gossip: Gossip::new(seed), offset: 0 };
        copy.send(create(1));
        copy
    }

    fn send(&mut self, request: Request) -> Reply {
        let mut actions = Vec::new();
        self.store.on_request(NOBODY, request, &mut actions);
        let mut replies = actions.into_iter().map(|action| match action {
            Action::Write(entry, answer) => {
                if let Some(entry) = entry {
                    let at = LogAddress::new(1, self.offset);
                    self.offset += entry.encoded_len() as u32;
                    if let Entry::Batch(batch) = &entry {
                        self.log.insert(at, batch.bytes().clone());
                    }
                    self.store.on_durable(&entry, at, &mut |_, _, _| {}).expect("admitted entries apply");
                }
                self.store.answer(answer.expect("somebody waits").1)
            }
            Action::Reply(_, now) => now,
            Action::ReadLog(_, plan) => {
                let mut batches = Vec::new();
                for stored in &plan.batches {
                    let batch = Batch::decode(&self.log[&stored.at]).expect("whole");
                    let last = stored.last.min(plan.up_to);
                    let part = if last >= batch.header().last {
                        Some(batch.bytes().clone())
                    } else {
                        cut_after(&batch, last)
                    };
                    batches.extend(part.into_iter().flatten());
                }
                Reply::Log { batches: Bytes::from(batches), last: plan.up_to }
            }
            other => panic!("not asked for: {other:?}"),
        });
        let reply = replies.next().expect("an answer");
        drop(replies);
        self.store.check_invariants();
        reply
    }

    fn segment(&self) -> &Segment {
        &self.store.segments()[&SEGMENT].segment
    }

    fn state(&self) -> SegmentState {
        self.segment().state()
    }

    fn records(&self) -> BTreeSet<Lsn> {
        let index = &self.store.segments()[&SEGMENT].pages;
        (0..PAGES).flat_map(|p| index.plan(PageId(p), Lsn::MAX).records).map(|r| r.lsn).collect()
    }
}

/// A writer as it knows itself: it may be a zombie.
struct Session {
    writer: Writer,
    sent: Vec<Bytes>,
    scls: [Lsn; COPIES],
}

struct World {
    copies: Vec<Copy>,
    sessions: Vec<Session>,
    acked: Lsn,
    epoch: u64,
    /// Log that was fetched and has not arrived yet.
    on_its_way: Vec<(usize, Epochs, Bytes)>,
    chance: u64,
}

fn parts(mut batches: Bytes) -> Vec<Bytes> {
    let mut out = Vec::new();
    while !batches.is_empty() {
        let len = BatchHeader::decode(&batches).expect("a batch").total_len();
        out.push(batches.split_to(len));
    }
    out
}

impl World {
    fn new(seed: u64) -> World {
        let copies = (0..COPIES).map(Copy::new).collect();
        let session = Session { writer: Writer::new(1), sent: Vec::new(), scls: [Lsn::ZERO; COPIES] };
        World {
            copies,
            sessions: vec![session],
            acked: Lsn::ZERO,
            epoch: 1,
            on_its_way: Vec::new(),
            chance: seed | 1,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        self.chance ^= self.chance << 13;
        self.chance ^= self.chance >> 7;
        self.chance ^= self.chance << 17;
        self.chance % below
    }

    /// A subset; each copy is in with three chances of four.
    fn some(&mut self) -> Vec<usize> {
        (0..COPIES).filter(|_| self.draw(4) > 0).collect()
    }

    fn deliver(&mut self, session: usize, copy: usize, batch: Bytes) {
        let epoch = self.sessions[session].writer.epoch;
        let request = Request::Append(Append { segment: SEGMENT, epochs: epochs(epoch), batch });
        if let Reply::Appended { scl, .. } = self.copies[copy].send(request) {
            let session = &mut self.sessions[session];
            session.scls[copy] = session.scls[copy].max(scl);
            let mut sorted = session.scls;
            sorted.sort();
            let durable = sorted[COPIES - QUORUM].min(session.writer.last);
            session.writer.vdl = session.writer.vdl.max(durable);
            self.acked = self.acked.max(durable);
        }
    }

    fn write(&mut self, session: usize) {
        let changes: Vec<(u64, u8)> =
            (0..=self.draw(2)).map(|n| ((n + self.chance) % PAGES, n as u8)).collect();
        let batch = self.sessions[session].writer.batch(&changes);
        self.sessions[session].sent.push(batch.clone());
        for copy in self.some() {
            self.deliver(session, copy, batch.clone());
        }
    }

    /// An old batch of somebody arrives again, or for the first time.
    fn late(&mut self) {
        let session = self.draw(self.sessions.len() as u64) as usize;
        let sent = self.sessions[session].sent.len() as u64;
        if sent > 0 {
            let (batch, copy) = (self.draw(sent) as usize, self.draw(COPIES as u64) as usize);
            let batch = self.sessions[session].sent[batch].clone();
            self.deliver(session, copy, batch);
        }
    }

    /// One copy asks one peer; what it fetches may be on its way for long. True when there was something to do.
    fn gossip(&mut self, copy: usize, peer: usize, at_once: bool) -> bool {
        let mine = Standing::of(self.copies[copy].segment());
        let asked = mine.state.epochs;
        let step = match self.copies[peer].send(Request::Gossip { segment: SEGMENT, epochs: asked }) {
            Reply::State(theirs) => {
                self.copies[copy].gossip.on_state(&mine, &theirs, SegmentKind::Full, COPIES - 1)
            }
            Reply::Error(SegmentError::Fenced { current }) => {
                Step::Record(Epochs { volume: current, ..asked })
            }
            other => panic!("{other:?}"),
        };
        match step {
            Step::Rest => return false,
            Step::Record(epochs) => {
                self.copies[copy].send(Request::Gossip { segment: SEGMENT, epochs });
            }
            Step::TakeList(ranges) => {
                let reply =
                    self.copies[copy].send(Request::Truncate { segment: SEGMENT, epochs: asked, ranges });
                assert!(matches!(reply, Reply::State(_)), "{reply:?}");
            }
            Step::Fetch { after, up_to } => {
                let ask =
                    Request::ReadLog { segment: SEGMENT, epochs: asked, after, up_to, max_bytes: 1 << 20 };
                if let Reply::Log { batches, .. } = self.copies[peer].send(ask) {
                    let came = parts(batches).into_iter().map(|batch| (copy, asked, batch));
                    self.on_its_way.extend(came);
                }
                while at_once && !self.on_its_way.is_empty() {
                    self.arrive(0);
                }
            }
            Step::Copy { .. } | Step::Begin => panic!("no log is ever freed here"),
        }
        true
    }

    fn arrive(&mut self, at: usize) {
        let (copy, epochs, batch) = self.on_its_way.remove(at);
        self.copies[copy].send(Request::Append(Append { segment: SEGMENT, epochs, batch }));
    }

    fn chatter(&mut self) {
        for _ in 0..self.draw(6) {
            let (copy, peer) = (self.draw(COPIES as u64) as usize, self.draw(COPIES as u64) as usize);
            if copy != peer {
                self.gossip(copy, peer, false);
            }
            if self.draw(2) == 0 && !self.on_its_way.is_empty() {
                let at = self.draw(self.on_its_way.len() as u64) as usize;
                self.arrive(at);
            }
        }
    }

    /// An opening over `reachable`, which dies before `dies` of its steps are done. True when it became the writer.
    fn open(&mut self, reachable: &[usize], dies: usize) -> bool {
        self.epoch += 1;
        let (epoch, mut steps) = (self.epoch, 0..dies);
        let mut states: BTreeMap<usize, SegmentState> = BTreeMap::new();
        for copy in reachable {
            if steps.next().is_none() {
                return false;
            }
            let open = Request::OpenSegment { segment: SEGMENT, epochs: epochs(epoch) };
            if let Reply::State(state) = self.copies[*copy].send(open) {
                states.insert(*copy, state);
            }
            self.chatter();
        }
        let newest = states.values().map(|s| s.truncations.clone()).max_by_key(|list| super::newest(list));
        let list = newest.unwrap_or_default();
        self.tell(&mut states, &list, &mut steps);
        if steps.is_empty() || states.len() < QUORUM {
            return false;
        }
        let (source, vdl) =
            states.iter().map(|(copy, s)| (*copy, s.scl)).max_by_key(|(_, scl)| *scl).expect("a quorum");
        let base = list.iter().map(|r| r.to).max().unwrap_or(vdl).max(vdl);
        let own = TruncationRange { epoch: VolumeEpoch(epoch), from: vdl, to: base.advance(LAL) };
        let mut full: Vec<TruncationRange> =
            list.into_iter().filter(|r| r.from < own.from || r.to > own.to).collect();
        full.push(own);
        self.tell(&mut states, &full, &mut steps);
        for copy in reachable {
            let after = self.copies[*copy].state().scl;
            if steps.next().is_some() && after < vdl && *copy != source {
                let (epochs, up_to) = (epochs(epoch), vdl);
                let ask = Request::ReadLog { segment: SEGMENT, epochs, after, up_to, max_bytes: 1 << 20 };
                if let Reply::Log { batches, .. } = self.copies[source].send(ask) {
                    for batch in parts(batches) {
                        self.copies[*copy].send(Request::Append(Append { segment: SEGMENT, epochs, batch }));
                    }
                }
                self.chatter();
            }
        }
        let holds = |copy: &Copy| {
            let state = copy.state();
            state.truncations == full && state.epochs == epochs(epoch) && state.scl >= vdl
        };
        if reachable.iter().filter(|copy| holds(&self.copies[**copy])).count() < QUORUM {
            return false;
        }
        assert!(vdl >= self.acked, "{} was acknowledged, {vdl} was found", self.acked);
        let mut writer = Writer::new(epoch);
        // Its own history is what the copies have.
        (writer.last, writer.vdl, writer.next) = (vdl, vdl, own.to.advance(1));
        self.sessions.push(Session { writer, sent: Vec::new(), scls: [Lsn::ZERO; COPIES] });
        true
    }

    fn tell(
        &mut self,
        states: &mut BTreeMap<usize, SegmentState>,
        list: &[TruncationRange],
        steps: &mut std::ops::Range<usize>,
    ) {
        let (epochs, ranges) = (epochs(self.epoch), list.to_vec());
        for copy in states.keys().copied().collect::<Vec<_>>() {
            if steps.next().is_none() {
                return;
            }
            let truncate = Request::Truncate { segment: SEGMENT, epochs, ranges: ranges.clone() };
            match self.copies[copy].send(truncate) {
                Reply::State(state) => states.insert(copy, state),
                _ => states.remove(&copy),
            };
            self.chatter();
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]
    #[test]
    fn copies_become_equal_and_keep_what_was_acknowledged(
        seed in any::<u64>(),
        moves in proptest::collection::vec(0u8..10, 1..60),
    ) {
        let mut world = World::new(seed);
        for step in moves {
            match step {
                0..4 => world.write(world.sessions.len() - 1),
                4 => {
                    let session = world.draw(world.sessions.len() as u64) as usize;
                    world.write(session);
                }
                5 => world.late(),
                6 => {
                    let (reachable, dies) = (world.some(), world.draw(30) as usize);
                    world.open(&reachable, dies);
                }
                _ => world.chatter(),
            }
        }
        // Two copies are out of the last opener's reach; then it is dead, and so is everybody else.
        let start = world.draw(COPIES as u64) as usize;
        let reachable: Vec<usize> = (0..QUORUM).map(|n| (start + n) % COPIES).collect();
        let mut tries = 0;
        while !world.open(&reachable, usize::MAX) {
            tries += 1;
            prop_assert!(tries < 5, "the volume cannot be opened");
        }
        let last = world.sessions.len() - 1;
        world.write(last);
        let mut busy = true;
        let mut rounds = 0;
        while busy {
            busy = false;
            for copy in 0..COPIES {
                for peer in (0..COPIES).filter(|peer| *peer != copy) {
                    // The second time: something seen ahead once may be on its way from the writer.
                    busy |= world.gossip(copy, peer, true) | world.gossip(copy, peer, true);
                }
            }
            rounds += 1;
            prop_assert!(rounds < 50, "gossip does not come to an end");
        }
        let first = world.copies[0].state();
        for copy in &world.copies {
            let state = copy.state();
            prop_assert_eq!((&state.epochs, &state.truncations), (&first.epochs, &first.truncations));
            prop_assert_eq!((state.scl, state.highest), (first.scl, first.scl));
            prop_assert_eq!(copy.records(), world.copies[0].records());
        }
        prop_assert!(first.scl >= world.acked);
    }
}

#[test]
fn an_older_list_is_not_taken_under_a_newer_epoch() {
    let range = |epoch, from, to| TruncationRange { epoch: VolumeEpoch(epoch), from: Lsn(from), to: Lsn(to) };
    let mut copies = [Copy::new(0), Copy::new(1)];
    for copy in &mut copies {
        copy.send(Request::OpenSegment { segment: SEGMENT, epochs: epochs(2) });
    }
    let ranges = vec![range(2, 0, 100)];
    copies[1].send(Request::Truncate { segment: SEGMENT, epochs: epochs(2), ranges: ranges.clone() });
    let ask = |copies: &mut [Copy; 2]| {
        let mine = Standing::of(copies[0].segment());
        let theirs = copies[1].state();
        copies[0].gossip.on_state(&mine, &theirs, SegmentKind::Full, 1)
    };
    assert_eq!(ask(&mut copies), Step::TakeList(ranges));
    for copy in &mut copies {
        copy.send(Request::OpenSegment { segment: SEGMENT, epochs: epochs(3) });
    }
    assert_eq!(ask(&mut copies), Step::Rest, "the opener of epoch 3 will say itself what is void");
}

/// Seed 2099: of five peers, none of which had the log, one could not give its pages, and was asked for them each time.
#[test]
fn a_peer_that_cannot_give_its_pages_is_not_the_only_one_asked() {
    let state = |scl, log_start| SegmentState {
        segment: SEGMENT,
        epochs: epochs(1),
        scl: Lsn(scl),
        highest: Lsn(scl),
        vdl: Lsn(scl),
        log_start: Lsn(log_start),
        truncations: Vec::new(),
    };
    let mine = Standing {
        kind: SegmentKind::Full,
        state: state(10, 0),
        cleared: true,
        copying: None,
        reach: Lsn(10),
        holes: 0,
    };
    let (mut gossip, mut asked) = (Gossip::new(0), BTreeSet::new());
    for _ in 0..2 * COPIES {
        let peer = gossip.peer(COPIES - 1);
        if let Step::Copy { at: Lsn::ZERO, .. } =
            gossip.on_state(&mine, &state(90, 50), SegmentKind::Full, COPIES - 1)
        {
            asked.insert(peer);
        }
        gossip.on_rest(Duration::ZERO);
    }
    assert_eq!(asked.len(), COPIES - 1, "{asked:?}");
}

fn told(scl: u64, log_start: u64) -> SegmentState {
    let (scl, log_start) = (Lsn(scl), Lsn(log_start));
    SegmentState {
        segment: SEGMENT,
        epochs: epochs(1),
        scl,
        highest: scl,
        vdl: Lsn(90),
        log_start,
        truncations: Vec::new(),
    }
}

fn standing(kind: SegmentKind, scl: u64) -> Standing {
    let state = told(scl, 0);
    Standing { kind, reach: state.scl, state, cleared: true, copying: None, holes: 0 }
}

/// Three of five peers are no further on and two have no log from there on: pages are asked for as soon as each was asked.
#[test]
fn peers_that_are_no_further_on_count_as_asked() {
    let (mut gossip, mine) = (Gossip::new(0), standing(SegmentKind::Full, 10));
    let peers = [told(90, 50), told(10, 0), told(10, 0), told(90, 60), told(10, 0)];
    let mut step = |n: usize| gossip.on_state(&mine, &peers[n % 5], SegmentKind::Full, 5);
    for n in 0..5 {
        assert_eq!(step(n), Step::Rest, "answer {n}");
    }
    assert!(matches!(step(5), Step::Copy { at: Lsn::ZERO, .. }));
}

/// Seed 656: of five peers one said that it had the log, which was damaged there, and the others had freed it.
#[test]
fn log_that_nobody_can_give_is_not_waited_for() {
    let (mut gossip, mine) = (Gossip::new(0), standing(SegmentKind::Full, 10));
    let peers = [told(90, 50), told(90, 60), told(90, 5), told(90, 70), told(90, 50)];
    let mut step = |n: usize, comes: bool| {
        let step = gossip.on_state(&mine, &peers[n % 5], SegmentKind::Full, 5);
        match step {
            Step::Fetch { .. } if comes => gossip.on_progress(Duration::ZERO, Duration::ZERO),
            _ => gossip.on_rest(Duration::ZERO),
        }
        step
    };
    let fetch = Step::Fetch { after: Lsn(10), up_to: Lsn(90) };
    let rest = Step::Rest;
    let answers: Vec<Step> = (0..5).map(|n| step(n, false)).collect();
    assert_eq!(answers, [&rest, &rest, &fetch, &rest, &rest].map(Clone::clone));
    assert!(matches!(step(5, false), Step::Copy { at: Lsn::ZERO, .. }));
    // Where it comes after all, it is log that is waited for.
    assert_eq!(step(7, true), fetch);
    assert_eq!(step(8, true), rest);
}

/// One peer had a little log, and others are far ahead without any: that it has been fetched does not mean that all is well.
#[test]
fn whoever_got_a_part_goes_on_asking_soon() {
    let mut gossip = Gossip::new(0);
    let step = |gossip: &mut Gossip, scl, theirs: &SegmentState| {
        gossip.on_state(&standing(SegmentKind::Full, scl), theirs, SegmentKind::Full, 5)
    };
    assert_eq!(step(&mut gossip, 10, &told(90, 50)), Step::Rest);
    assert_eq!(step(&mut gossip, 10, &told(20, 0)), Step::Fetch { after: Lsn(10), up_to: Lsn(20) });
    gossip.on_progress(Duration::ZERO, Duration::ZERO);
    assert_eq!(step(&mut gossip, 20, &told(20, 0)), Step::Rest);
    gossip.on_rest(Duration::ZERO);
    assert!(gossip.is_due(SOON, &standing(SegmentKind::Full, 20)));
    // Whoever was ahead has left meanwhile: behind a round without it nobody is waited for.
    for _ in 0..5 {
        assert_eq!(step(&mut gossip, 20, &told(20, 0)), Step::Rest);
    }
    gossip.on_rest(Duration::ZERO);
    assert!(!gossip.is_due(SOON, &standing(SegmentKind::Full, 20)));
    assert!(gossip.is_due(WELL, &standing(SegmentKind::Full, 20)));
}

/// Of three full peers and two tails, none of which has the log, only full ones are asked for pages; a tail asks for none.
#[test]
fn pages_come_from_full_segments_only() {
    let ahead = told(90, 50);
    let kinds =
        [SegmentKind::Tail, SegmentKind::Full, SegmentKind::Tail, SegmentKind::Full, SegmentKind::Tail];
    let steps = |mine: SegmentKind| {
        let (mut gossip, mine) = (Gossip::new(0), standing(mine, 10));
        let mut step = |n: usize| (n, gossip.on_state(&mine, &ahead, kinds[n % 5], 5));
        (0..10).map(&mut step).filter(|(_, step)| *step != Step::Rest).collect::<Vec<_>>()
    };
    let copies = steps(SegmentKind::Full);
    assert_eq!(copies.iter().map(|(n, _)| *n).collect::<Vec<_>>(), [6, 8], "{copies:?}");
    assert!(copies.iter().all(|(_, step)| matches!(step, Step::Copy { at: Lsn::ZERO, .. })));
    let begins = steps(SegmentKind::Tail);
    assert_eq!(begins.len(), 6, "from the fifth answer on: {begins:?}");
    assert!(begins.iter().all(|(_, step)| *step == Step::Begin));
}
