//! What is remembered is bounded, and forgotten in time.

use sextant_redo::Lsn;

use super::super::{KeyRange, Limits, Ssi};
use crate::txn::TxId;

const LIMITS: Limits = Limits { ranges_of_relation: 16, ranges: 100, kept: 20 };

fn row(n: u64) -> KeyRange {
    KeyRange::numbers(n..n + 1)
}

/// A transaction that reads every other row of a table, writes something, and commits at `lsn`.
fn passes(ssi: &mut Ssi, snapshot: u64, lsn: u64, table: u32) {
    let me = ssi.begin(Lsn(snapshot), false).expect("it writes");
    for n in 0..100 {
        ssi.read(me, table, &row(2 * n)).unwrap();
    }
    ssi.writes_as(me, TxId(lsn));
    ssi.wrote(me, 30_000, &row(lsn)).unwrap();
    ssi.prepare(me).unwrap();
    ssi.committed(me, Some(Lsn(lsn)));
}

#[test]
fn nothing_is_kept_when_nobody_runs() {
    let mut ssi = Ssi::new(LIMITS);
    for n in 1..100 {
        passes(&mut ssi, n * 10, n * 10 + 5, 20_000);
        assert!(ssi.len() <= 1, "the newest commit is not durable yet");
    }
    let last = ssi.begin(Lsn(2_000), false).expect("it writes");
    ssi.rolled_back(last);
    assert_eq!((ssi.len(), ssi.ranges, ssi.ids.len()), (0, 0, 0));
}

#[test]
fn a_transaction_that_stays_costs_no_more_than_the_limits() {
    let mut ssi = Ssi::new(LIMITS);
    let stays = ssi.begin(Lsn(1), false).expect("it writes");
    for n in 1..1_000 {
        passes(&mut ssi, n * 10, n * 10 + 5, 20_000 + (n % 3) as u32);
        assert!(ssi.len() <= LIMITS.kept + 2);
        // One more for every relation of everybody that is known.
        assert!(ssi.ranges <= LIMITS.ranges + LIMITS.ranges_of_relation + 4 * ssi.len(), "{}", ssi.ranges);
        assert!(ssi.ids.len() <= LIMITS.kept + 1 && ssi.summed_ids.len() <= LIMITS.ranges_of_relation);
        let counted: usize =
            ssi.txns.values().flat_map(|entry| entry.reads.values()).map(|set| set.len()).sum();
        assert_eq!(counted, ssi.ranges);
    }
    // What the oldest of them read is not forgotten: whoever misses a write of theirs is told.
    ssi.missed(stays, TxId(15)).unwrap();
    ssi.wrote(stays, 20_001, &row(0)).unwrap_err();
    ssi.rolled_back(stays);
    let last = ssi.begin(Lsn(20_000), false).expect("it writes");
    assert_eq!(ssi.len(), 1);
    ssi.rolled_back(last);
    assert_eq!((ssi.ranges, ssi.ids.len(), ssi.summed_ids.len()), (0, 0, 0));
}

#[test]
fn rows_are_promoted_to_wider_ranges_before_the_whole_table() {
    let mut ssi = Ssi::new(LIMITS);
    let reader = ssi.begin(Lsn(1), false).expect("it writes");
    for n in 0..20 {
        ssi.read(reader, 20_000, &row(10 * n)).unwrap();
    }
    let touches = |ssi: &mut Ssi, n: u64| {
        let writer = ssi.begin(Lsn(1), false).expect("it writes");
        ssi.wrote(writer, 20_000, &row(n)).unwrap();
        let missed = ssi.txns[&reader].missed.contains(&writer);
        ssi.rolled_back(writer);
        missed
    };
    assert!((0..20).all(|n| touches(&mut ssi, 10 * n)));
    assert!(touches(&mut ssi, 5), "a gap between neighbours");
    assert!(!touches(&mut ssi, 1_000), "far away");
}

#[test]
fn what_was_read_in_an_index_that_goes_was_read_in_its_table() {
    let mut ssi = Ssi::new(LIMITS);
    let reader = ssi.begin(Lsn(1), false).expect("it writes");
    ssi.read(reader, 20_001, &KeyRange::key(b"a")).unwrap();
    ssi.index_goes(20_001, 20_000);
    let writer = ssi.begin(Lsn(1), false).expect("it writes");
    ssi.wrote(writer, 20_000, &row(77)).unwrap();
    assert!(ssi.txns[&reader].missed.contains(&writer));
    assert_eq!(ssi.ranges, 1);
}
