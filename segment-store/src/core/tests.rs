//! The segment against a naive model: whatever the order in which batches, duplicates and truncations arrive, chain and
//! records are what the log's rules say.

use proptest::prelude::*;
use sextant_redo::wire::{Epochs, Reply, Request, SegmentError, SegmentState};
use sextant_redo::{Batch, Lsn, MembershipEpoch, PageId, SegmentKind, TruncationRange, VolumeEpoch};

use super::*;
use crate::testing::{NOBODY, SEGMENT, Writer, append, create, epochs};

/// A store whose log is durable at once.
#[derive(Default)]
struct Bench {
    store: Store,
    offset: u32,
}

impl Bench {
    fn send(&mut self, request: Request) -> Reply {
        let mut actions = Vec::new();
        self.store.on_request(NOBODY, request, &mut actions);
        let mut reply = None;
        for action in actions {
            match action {
                Action::Write(entry, answer) => {
                    if let Some(entry) = entry {
                        let at = LogAddress::new(1, self.offset);
                        self.offset += entry.encoded_len() as u32;
                        self.store.on_durable(&entry, at, &mut |_, _, _| {}).expect("admitted entries apply");
                    }
                    reply = reply.or(answer.map(|(_, answer)| self.store.answer(answer)));
                }
                Action::Reply(_, now) => reply = Some(now),
                other => panic!("no read was asked for: {other:?}"),
            }
        }
        self.store.check_invariants();
        reply.expect("every request is answered")
    }

    fn scl(&self) -> Lsn {
        self.store.segments()[&SEGMENT].segment.scl()
    }

    /// LSNs of all pending records.
    fn records(&self, pages: u64) -> Vec<Lsn> {
        let index = &self.store.segments()[&SEGMENT].pages;
        let mut all: Vec<Lsn> =
            (0..pages).flat_map(|p| index.plan(PageId(p), Lsn::MAX).records).map(|r| r.lsn).collect();
        all.sort();
        all
    }
}

fn truncate(epoch: u64, ranges: Vec<TruncationRange>) -> Request {
    Request::Truncate { segment: SEGMENT, epochs: epochs(epoch), ranges }
}

fn open(epoch: u64) -> Request {
    Request::OpenSegment { segment: SEGMENT, epochs: epochs(epoch) }
}

fn error(reply: Reply) -> SegmentError {
    match reply {
        Reply::Error(error) => error,
        other => panic!("{other:?} is no error"),
    }
}

#[test]
fn a_lower_epoch_is_fenced_and_a_higher_one_must_open_first() {
    let (mut bench, mut writer) = (Bench::default(), Writer::new(3));
    assert!(matches!(
        error(bench.send(append(3, writer.clone().batch(&[(1, 1)])))),
        SegmentError::UnknownSegment { .. }
    ));
    bench.send(create(3));
    let first = writer.batch(&[(1, 1)]);
    assert!(
        matches!(bench.send(append(3, first.clone())), Reply::Appended { scl, .. } if scl == writer.last)
    );
    let mut other = writer.clone();
    other.epoch = 4;
    assert!(matches!(error(bench.send(append(4, other.batch(&[(1, 2)])))), SegmentError::BadRequest { .. }));
    bench.send(open(4));
    assert_eq!(error(bench.send(append(3, first))), SegmentError::Fenced { current: VolumeEpoch(4) });
    assert_eq!(error(bench.send(open(3))), SegmentError::Fenced { current: VolumeEpoch(4) });
    assert_eq!(error(bench.send(create(3))), SegmentError::Fenced { current: VolumeEpoch(4) });
    let stale = Request::OpenSegment { segment: SEGMENT, epochs: sextant_redo::wire::Epochs::default() };
    assert!(matches!(error(bench.send(stale)), SegmentError::Fenced { .. }));
}

fn at_membership(mut request: Request, membership: u64) -> Request {
    match &mut request {
        Request::Append(append) => append.epochs.membership.0 = membership,
        Request::OpenSegment { epochs, .. } | Request::ReadLog { epochs, .. } => {
            epochs.membership.0 = membership;
        }
        other => panic!("{other:?}"),
    }
    request
}

#[test]
fn a_newer_membership_is_taken_over_and_an_older_one_refused() {
    let (mut bench, mut writer) = (Bench::default(), Writer::new(3));
    bench.send(create(3));
    let (first, second) = (writer.batch(&[(1, 1)]), writer.batch(&[(1, 2)]));
    let taken = bench.send(at_membership(append(3, first), 2));
    assert!(matches!(taken, Reply::Appended { .. }), "{taken:?}");
    assert_eq!(bench.store.segments()[&SEGMENT].segment.state().epochs.membership.0, 2, "durably");
    let stale = |reply| matches!(error(reply), SegmentError::StaleMembership { current } if current.0 == 2);
    assert!(stale(bench.send(append(3, second.clone()))));
    assert!(stale(bench.send(open(4))), "nor does a newer opener who knows an older membership come in");
    let (after, up_to, max_bytes) = (Lsn::ZERO, Lsn::MAX, 100);
    let read = Request::ReadLog { segment: SEGMENT, epochs: epochs(3), after, up_to, max_bytes };
    assert!(stale(bench.send(read)));
    assert!(matches!(bench.send(at_membership(open(4), 3)), Reply::State(_)));
    let of_the_fenced = bench.send(at_membership(append(3, second), 9));
    assert!(matches!(error(of_the_fenced), SegmentError::Fenced { .. }));
    assert_eq!(bench.store.segments()[&SEGMENT].segment.state().epochs.membership.0, 3);
}

#[test]
fn an_older_membership_is_refused_before_the_newer_one_is_durable() {
    let (mut store, mut actions, mut writer) = (Store::default(), Vec::new(), Writer::new(3));
    store
        .on_durable(
            &Entry::Created(SEGMENT, epochs(3), SegmentKind::Full),
            LogAddress::default(),
            &mut |_, _, _| {},
        )
        .expect("applies");
    let (first, second) = (writer.batch(&[(1, 1)]), writer.batch(&[(1, 2)]));
    store.on_request(NOBODY, at_membership(append(3, first), 2), &mut actions);
    let [
        Action::Write(Some(Entry::Epochs(_, recorded)), None),
        Action::Write(Some(Entry::Batch(_)), Some(_)),
    ] = &actions[..]
    else {
        panic!("the newer epoch, then the batch: {actions:?}")
    };
    assert_eq!(recorded.membership.0, 2);
    actions.clear();
    store.on_request(NOBODY, append(3, second), &mut actions);
    assert!(matches!(actions[..], [Action::Reply(_, Reply::Error(SegmentError::StaleMembership { .. }))]));
}

#[test]
fn the_door_closes_before_the_epoch_is_durable() {
    let mut store = Store::default();
    let mut actions = Vec::new();
    store
        .on_durable(
            &Entry::Created(SEGMENT, epochs(3), SegmentKind::Full),
            LogAddress::default(),
            &mut |_, _, _| {},
        )
        .expect("applies");
    store.on_request(NOBODY, open(4), &mut actions);
    assert!(matches!(actions[..], [Action::Write(Some(Entry::Epochs(..)), Some(_))]));
    actions.clear();
    store.on_request(NOBODY, append(3, Writer::new(3).batch(&[(1, 1)])), &mut actions);
    assert!(matches!(actions[..], [Action::Reply(_, Reply::Error(SegmentError::Fenced { .. }))]));
    // Asked again before it is durable, it is written again: nobody may be told of what a crash would forget.
    actions.clear();
    store.on_request(NOBODY, open(4), &mut actions);
    assert!(matches!(actions[..], [Action::Write(Some(_), Some(_))]));
}

#[test]
fn a_new_epoch_needs_its_truncation_range_first() {
    let (mut bench, mut writer) = (Bench::default(), Writer::new(1));
    bench.send(create(1));
    bench.send(append(1, writer.batch(&[(1, 1), (2, 2), (3, 3)])));
    let vdl = Lsn(writer.last.0 - 1);
    let range = writer.reopen(2, vdl, 1000);
    bench.send(open(2));
    let next = writer.batch(&[(1, 5)]);
    assert!(matches!(error(bench.send(append(2, next.clone()))), SegmentError::BadRequest { .. }));
    assert!(
        matches!(bench.send(truncate(2, vec![range])), Reply::State(state) if state.truncations == [range])
    );
    assert_eq!(bench.records(9).len(), 2, "the third record was cut off");
    assert!(matches!(bench.send(append(2, next)), Reply::Appended { scl, .. } if scl == writer.last));
    assert!(matches!(bench.send(truncate(2, vec![range])), Reply::State(_)), "twice is the same as once");
    let other = TruncationRange { to: Lsn(9999), ..range };
    assert!(matches!(error(bench.send(truncate(2, vec![other]))), SegmentError::BadRequest { .. }));
}

#[test]
fn a_batch_is_cut_in_the_middle_and_the_scl_is_a_record() {
    let (mut bench, mut writer) = (Bench::default(), Writer::new(1));
    bench.send(create(1));
    let batch = writer.batch(&[(1, 1), (2, 2), (3, 3)]);
    let lsns: Vec<Lsn> =
        Batch::decode(&batch).expect("valid").records().flatten().map(|r| r.1.links.lsn).collect();
    bench.send(append(1, batch));
    let range = writer.reopen(2, Lsn(lsns[1].0 + 1), 1000);
    bench.send(open(2));
    bench.send(truncate(2, vec![range]));
    assert_eq!(bench.scl(), lsns[1]);
    assert_eq!(bench.records(9), &lsns[..2]);
}

#[test]
fn what_was_durable_is_never_truncated() {
    let (mut bench, mut writer) = (Bench::default(), Writer::new(1));
    bench.send(create(1));
    bench.send(append(1, writer.batch(&[(1, 1)])));
    writer.vdl = writer.last;
    bench.send(append(1, writer.batch(&[(1, 2)])));
    bench.send(open(2));
    let range = TruncationRange { epoch: VolumeEpoch(2), from: Lsn(0), to: Lsn(5000) };
    assert!(matches!(error(bench.send(truncate(2, vec![range]))), SegmentError::BadRequest { .. }));
    assert_eq!(bench.scl(), writer.last);
}

#[test]
fn void_batches_that_arrive_late_change_nothing() {
    let (mut bench, mut writer) = (Bench::default(), Writer::new(1));
    bench.send(create(1));
    bench.send(append(1, writer.batch(&[(1, 1)])));
    let mut old = writer.clone();
    let late = old.batch(&[(1, 7)]);
    let range = writer.reopen(2, writer.last, 1000);
    bench.send(open(2));
    bench.send(truncate(2, vec![range]));
    let before = bench.scl();
    // Brought by the new writer from another copy, which did not know better.
    assert!(matches!(bench.send(append(2, late)), Reply::Appended { scl, .. } if scl == before));
    assert_eq!((bench.scl(), bench.records(9).len()), (before, 1));
}

#[test]
fn a_list_replaces_the_one_before_and_forgotten_ranges_void_nothing() {
    let (mut bench, mut writer) = (Bench::default(), Writer::new(1));
    bench.send(create(1));
    bench.send(append(1, writer.batch(&[(1, 1)])));
    let low = writer.last;
    let second = writer.batch(&[(1, 2)]);
    bench.send(append(1, second.clone()));
    // An opening that saw less, and died: its range voids the second record here.
    bench.send(open(2));
    let stale = TruncationRange { epoch: VolumeEpoch(2), from: low, to: Lsn(9000) };
    bench.send(truncate(2, vec![stale]));
    assert_eq!(bench.scl(), low);
    // The next one saw the second record at a quorum and kept it.
    let kept = writer.last;
    let range = writer.reopen(3, kept, 1000);
    bench.send(open(3));
    assert!(
        matches!(bench.send(truncate(3, vec![range])), Reply::State(state) if state.truncations == [range])
    );
    assert!(matches!(bench.send(append(3, second)), Reply::Appended { scl, .. } if scl == kept));
    assert_eq!(bench.records(3).len(), 2);
    assert!(
        matches!(bench.send(append(3, writer.batch(&[(1, 3)]))), Reply::Appended { scl, .. } if scl == writer.last)
    );
}

#[test]
fn reads_need_the_log_and_the_epoch() {
    let (mut bench, mut writer) = (Bench::default(), Writer::new(1));
    bench.send(create(1));
    bench.send(append(1, writer.batch(&[(1, 1)])));
    let scl = bench.scl();
    let segment = &bench.store.segments()[&SEGMENT].segment;
    assert_eq!(segment.admit_read(epochs(1), Lsn(900), scl), Ok(()), "an idle group serves any read point");
    let missing = segment.admit_read(epochs(1), Lsn(900), Lsn(scl.0 + 1));
    assert_eq!(missing, Err(SegmentError::NotComplete { scl }));
    assert_eq!(segment.admit_read(epochs(2), scl, scl), Err(SegmentError::NotComplete { scl }));
    assert!(matches!(segment.admit_read(epochs(0), scl, scl), Err(SegmentError::Fenced { .. })));
}

#[test]
fn gossip_and_copies_of_another_epoch_are_refused() {
    let (mut bench, mut writer) = (Bench::default(), Writer::new(3));
    bench.send(create(3));
    bench.send(append(3, writer.batch(&[(1, 1)])));
    bench.send(open(4));
    let gossip = |epochs| Request::Gossip { segment: SEGMENT, epochs };
    let copy = |epochs| {
        let (at, from, max_bytes) = (Lsn::ZERO, PageId(0), 1 << 20);
        Request::CopyPages { segment: SEGMENT, epochs, at, from, max_bytes }
    };
    let fenced = SegmentError::Fenced { current: VolumeEpoch(4) };
    assert_eq!(error(bench.send(gossip(epochs(3)))), fenced);
    assert_eq!(error(bench.send(copy(epochs(3)))), fenced);
    let unchanged = bench.store.segments()[&SEGMENT].segment.state();

    let member = |membership| Epochs { membership: MembershipEpoch(membership), ..epochs(4) };
    let Reply::State(state) = bench.send(gossip(member(2))) else { panic!("no state") };
    assert_eq!(
        state,
        SegmentState { epochs: member(2), ..unchanged },
        "a higher epoch is recorded, and nothing else"
    );
    let stale = SegmentError::StaleMembership { current: MembershipEpoch(2) };
    assert_eq!(error(bench.send(gossip(member(1)))), stale);
    assert_eq!(error(bench.send(copy(member(1)))), stale);
    // Not truncated under this epoch yet: nobody knows which of its log is void.
    assert!(matches!(error(bench.send(copy(member(2)))), SegmentError::NotComplete { .. }));
}

#[test]
fn while_pages_are_copied_none_is_served_and_then_the_chain_is_whole_to_the_point() {
    let (mut bench, mut writer) = (Bench::default(), Writer::new(3));
    bench.send(create(3));
    bench.send(append(3, writer.batch(&[(1, 1)])));
    let missed = writer.batch(&[(2, 2), (3, 3)]);
    let point = writer.last;
    (writer.vdl, writer.pgmrpl) = (point, point);
    let above = writer.batch(&[(1, 4)]);
    bench.send(append(3, above));
    let copied = |bench: &mut Bench, next| {
        let copied = Copied { point, vdl: point, pgmrpl: point, next };
        let entry = Entry::Copied(SEGMENT, copied);
        bench.store.on_durable(&entry, LogAddress::new(2, 0), &mut |_, _, _| {}).expect("applies");
        bench.store.check_invariants();
    };
    let ask = |bench: &mut Bench, read_point| {
        let (segment, epochs, page) = (SEGMENT, epochs(3), PageId(1));
        let mut actions = Vec::new();
        let ask = Request::ReadPage { segment, epochs, page, read_point, required_scl: Lsn(1) };
        bench.store.on_request(NOBODY, ask, &mut actions);
        actions.remove(0)
    };
    copied(&mut bench, Some(PageId(2)));
    assert!(matches!(
        ask(&mut bench, Lsn::MAX),
        Action::Reply(_, Reply::Error(SegmentError::NotComplete { .. }))
    ));
    assert!(bench.scl() < point);
    copied(&mut bench, None);
    assert_eq!(bench.scl(), writer.last, "the log above joins on");
    assert!(matches!(ask(&mut bench, Lsn::MAX), Action::ReadPage(..)));
    assert!(matches!(
        ask(&mut bench, Lsn(1)),
        Action::Reply(_, Reply::Error(SegmentError::ReadPointTooOld { pgmrpl })) if pgmrpl == point
    ));
    assert_eq!(bench.store.segments()[&SEGMENT].segment.chain().log_start(), point);
    drop(missed);
}

proptest! {
    #[test]
    fn any_order_of_arrival_gives_the_same_segment(
        sizes in proptest::collection::vec(1usize..4, 1..12),
        order in proptest::collection::vec(any::<prop::sample::Index>(), 0..40),
        cut in any::<prop::sample::Index>(),
        reopen in any::<bool>(),
        fill in any::<bool>(),
    ) {
        let (mut bench, mut writer) = (Bench::default(), Writer::new(1));
        bench.send(create(1));
        let mut page = 0;
        let batches: Vec<_> = sizes.iter().map(|n| {
            let changes: Vec<(u64, u8)> = (0..*n).map(|_| { page += 1; (page % 5, page as u8 % 100) }).collect();
            writer.batch(&changes)
        }).collect();
        let decoded: Vec<Batch> = batches.iter().map(|b| Batch::decode(b).expect("valid")).collect();
        let mut arrived = vec![false; batches.len()];
        for index in &order {
            let n = index.index(batches.len());
            arrived[n] = true;
            bench.send(append(1, batches[n].clone()));
        }
        let all: Vec<Lsn> = decoded.iter().flat_map(|b| b.records().flatten().map(|r| r.1.links.lsn).collect::<Vec<_>>()).collect();
        let mut limit = Lsn::MAX;
        if reopen {
            limit = all[cut.index(all.len())];
            let range = writer.reopen(2, limit, 100_000);
            bench.send(open(2));
            bench.send(truncate(2, vec![range]));
            if fill {
                for (n, batch) in batches.iter().enumerate() {
                    arrived[n] = true;
                    bench.send(append(2, batch.clone()));
                }
            }
        }
        let live = |batch: &Batch| batch.records().flatten().map(|r| r.1.links.lsn).filter(|l| *l <= limit).collect::<Vec<_>>();
        let expected: Vec<Lsn> = decoded.iter().zip(&arrived).filter(|(_, a)| **a).flat_map(|(b, _)| live(b)).collect();
        prop_assert_eq!(bench.records(5), expected);
        let complete: Vec<Lsn> = decoded.iter().zip(&arrived).take_while(|(_, a)| **a).flat_map(|(b, _)| live(b)).collect();
        prop_assert_eq!(bench.scl(), complete.last().copied().unwrap_or(Lsn::ZERO));
        if reopen && (fill || arrived.iter().all(|a| *a)) {
            bench.send(append(2, writer.batch(&[(3, 101)])));
            prop_assert_eq!(bench.scl(), writer.last);
        }
    }

    #[test]
    fn entries_round_trip_and_any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..120)) {
        let _ = Entry::decode(&bytes::Bytes::from(bytes), 0);
        let range = TruncationRange { epoch: VolumeEpoch(4), from: Lsn(1), to: Lsn(2) };
        let batch = Batch::decode(&Writer::new(1).batch(&[(1, 1)])).expect("valid");
        let copied = |next| Copied { point: Lsn(3), vdl: Lsn(4), pgmrpl: Lsn(5), next };
        for entry in [
            Entry::Batch(batch),
            Entry::Created(SEGMENT, epochs(1), SegmentKind::Full),
            Entry::Created(SEGMENT, epochs(1), SegmentKind::Tail),
            Entry::Epochs(SEGMENT, epochs(2)),
            Entry::Truncations(SEGMENT, vec![range, range]),
            Entry::Copied(SEGMENT, copied(Some(PageId(0)))),
            Entry::Copied(SEGMENT, copied(None)),
            Entry::Dropped(SEGMENT),
        ] {
            let mut out = Vec::new();
            entry.encode(&mut |part| out.extend_from_slice(part));
            prop_assert_eq!(out.len(), entry.encoded_len());
            let end = out.len();
            prop_assert_eq!(Entry::decode(&bytes::Bytes::from(out), 0), Ok((entry, end)));
        }
    }
}
