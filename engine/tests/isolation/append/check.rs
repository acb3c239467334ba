//! Which anomalies a level forbids, and the self-test that each planted one is found.
//!
//! Under READ COMMITTED whoever reads or overwrites comes behind the commit of what it reads or overwrites, and so does
//! whoever begins after it was answered: a cycle of such edges (G0, G1c) cannot be. Under REPEATABLE READ, which is snapshot
//! isolation, these edges lead from a commit to a snapshot at or above it, and a missed write (rw) from a snapshot to a
//! commit above it: a cycle needs two missed writes in a row. SERIALIZABLE has no cycles.

use super::graph::{Graph, Kind};
use super::history::{Anomaly, Level, Txn};
use super::lists::Lists;

/// What `level` forbids and the history shows.
pub(super) fn check(txns: &[Txn], level: Level) -> Vec<Anomaly> {
    let mut anomalies = Vec::new();
    let lists = Lists::of(txns, &mut anomalies);
    lists.check_reads(txns, level, &mut anomalies);
    let graph = Graph::of(txns, &lists);
    // The worst first.
    let cycle = graph
        .cycle(|_, next| next != Kind::Rw)
        .or_else(|| above(level, Level::ReadCommitted).then(|| graph.cycle(apart))?)
        .or_else(|| above(level, Level::RepeatableRead).then(|| graph.cycle(|_, _| true))?);
    if let Some(cycle) = cycle {
        anomalies.push(Anomaly::new(name(&cycle), describe(&cycle, txns)));
    }
    anomalies
}

fn above(level: Level, other: Level) -> bool {
    level as u8 > other as u8
}

/// No two missed writes in a row.
fn apart(before: Kind, next: Kind) -> bool {
    !(before == Kind::Rw && next == Kind::Rw)
}

fn name(cycle: &[(usize, Kind)]) -> &'static str {
    let has = |kind| cycle.iter().any(|(_, k)| *k == kind);
    let kinds = cycle.iter().map(|(_, kind)| *kind);
    let in_a_row = kinds.clone().zip(kinds.clone().cycle().skip(1)).any(|(a, b)| !apart(a, b));
    match kinds.filter(|kind| *kind == Kind::Rw).count() {
        0 if !has(Kind::Wr) => "G0",
        0 => "G1c",
        1 => "G-single",
        _ if in_a_row => "G2",
        _ => "G-nonadjacent",
    }
}

fn describe(cycle: &[(usize, Kind)], txns: &[Txn]) -> String {
    let mut out = String::new();
    for (n, kind) in cycle {
        if let Some(txn) = txns.get(*n) {
            out.push_str(&format!("T{n} {:?} -{kind:?}-> ", txn.ops));
        }
    }
    out + "the first"
}

mod self_test {
    use super::super::history::{End, Op};
    use super::*;
    use Level::{ReadCommitted as RC, RepeatableRead as RR, Serializable as SER};

    fn a(key: u32, value: u64) -> Op {
        Op::Append(key, value)
    }

    fn r(key: u32, list: &[u64]) -> Op {
        Op::Read(key, list.to_vec())
    }

    /// All at the same time.
    fn together(txns: &[(&[Op], End)]) -> Vec<Txn> {
        let txn =
            |(ops, end): &(&[Op], End)| Txn { ops: ops.to_vec(), end: *end, invoked: 0, completed: 100 };
        txns.iter().map(txn).collect()
    }

    fn committed(txns: &[&[Op]]) -> Vec<Txn> {
        together(&txns.iter().map(|ops| (*ops, End::Committed)).collect::<Vec<_>>())
    }

    fn names(txns: &[Txn], level: Level) -> Vec<&'static str> {
        check(txns, level).into_iter().map(|anomaly| anomaly.name).collect()
    }

    /// The anomaly is found at the levels that forbid it, and only there.
    fn planted(txns: &[Txn], name: &'static str, levels: &[Level]) {
        for level in [RC, RR, SER] {
            let wanted: &[&str] = if levels.contains(&level) { &[name] } else { &[] };
            assert_eq!(names(txns, level), wanted, "{level:?} {txns:?}");
        }
    }

    #[test]
    fn a_serial_history_is_clean() {
        let mut txns =
            committed(&[&[a(1, 1), r(1, &[1])], &[r(1, &[1]), a(1, 2), r(1, &[1, 2])], &[r(1, &[1, 2])]]);
        for (n, txn) in txns.iter_mut().enumerate() {
            (txn.invoked, txn.completed) = (10 * n as u64, 10 * n as u64 + 5);
        }
        planted(&txns, "", &[]);
    }

    #[test]
    fn dirty_writes_are_found() {
        let txns = committed(&[&[a(1, 1), a(2, 1)], &[a(1, 2), a(2, 2)], &[r(1, &[1, 2]), r(2, &[2, 1])]]);
        planted(&txns, "G0", &[RC, RR, SER]);
    }

    #[test]
    fn aborted_and_intermediate_reads_are_found() {
        let txns = together(&[(&[a(1, 1)], End::Aborted), (&[r(1, &[1])], End::Committed)]);
        planted(&txns, "G1a", &[RC, RR, SER]);
        let txns = committed(&[&[a(1, 1), a(1, 2)], &[r(1, &[1])], &[r(1, &[1, 2])]]);
        for level in [RC, RR, SER] {
            assert!(names(&txns, level).contains(&"G1b"));
        }
        let txns = committed(&[&[r(1, &[7])]]);
        planted(&txns, "garbage-read", &[RC, RR, SER]);
    }

    #[test]
    fn circular_information_flow_is_found() {
        let txns = committed(&[&[a(1, 1), r(2, &[2])], &[a(2, 2), r(1, &[1])]]);
        planted(&txns, "G1c", &[RC, RR, SER]);
    }

    #[test]
    fn read_skew_is_found_above_read_committed() {
        let txns = committed(&[&[r(1, &[]), r(2, &[1])], &[a(1, 1), a(2, 1)], &[r(1, &[1])]]);
        planted(&txns, "G-single", &[RR, SER]);
    }

    #[test]
    fn a_lost_update_is_found_above_read_committed() {
        let txns = committed(&[&[r(1, &[]), a(1, 1)], &[r(1, &[]), a(1, 2)], &[r(1, &[1, 2])]]);
        planted(&txns, "G-single", &[RR, SER]);
    }

    #[test]
    fn write_skew_is_found_at_serializable_only() {
        let txns = committed(&[
            &[r(1, &[]), r(2, &[]), a(1, 1)],
            &[r(1, &[]), r(2, &[]), a(2, 1)],
            &[r(1, &[1]), r(2, &[1])],
        ]);
        planted(&txns, "G2", &[SER]);
    }

    #[test]
    fn a_long_fork_is_found_above_read_committed() {
        let txns = committed(&[&[a(1, 1)], &[a(2, 1)], &[r(1, &[1]), r(2, &[])], &[r(1, &[]), r(2, &[1])]]);
        planted(&txns, "G-nonadjacent", &[RR, SER]);
    }

    #[test]
    fn a_stale_read_is_found_by_the_clock() {
        let mut txns = committed(&[&[a(1, 1)], &[r(1, &[])], &[r(1, &[1])]]);
        (txns[0].invoked, txns[0].completed) = (0, 10);
        for txn in &mut txns[1..] {
            (txn.invoked, txn.completed) = (20, 30);
        }
        planted(&txns, "G-single", &[RR, SER]);
        txns[1].invoked = 5;
        planted(&txns, "", &[]);
    }

    #[test]
    fn orders_that_do_not_fit_are_found() {
        let txns = committed(&[&[a(1, 1)], &[a(1, 2)], &[r(1, &[1, 2])], &[r(1, &[2])]]);
        for level in [RC, RR, SER] {
            assert!(names(&txns, level).contains(&"incompatible-order"));
        }
        let txns = committed(&[&[a(1, 1)], &[r(1, &[1, 1])]]);
        assert!(names(&txns, RC).contains(&"duplicate"));
    }

    #[test]
    fn reads_against_ones_own_steps_are_found() {
        planted(&committed(&[&[a(1, 1), r(1, &[])]]), "internal", &[RC, RR, SER]);
        let txns = committed(&[&[r(1, &[]), r(1, &[1])], &[a(1, 1)]]);
        for level in [RR, SER] {
            assert!(names(&txns, level).contains(&"internal"));
        }
        assert!(names(&txns, RC).is_empty());
    }

    #[test]
    fn what_is_unknown_counts_when_it_was_seen() {
        let txns = together(&[
            (&[a(1, 1), r(2, &[])], End::Unknown),
            (&[a(2, 1), r(1, &[1])], End::Committed),
            (&[r(1, &[1]), r(2, &[1])], End::Committed),
        ]);
        planted(&txns, "", &[]);
        let txns = together(&[(&[a(1, 1)], End::Unknown), (&[r(1, &[])], End::Committed)]);
        planted(&txns, "", &[]);
    }
}
