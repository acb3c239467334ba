//! The stories that the rules were made for, one by one, and who has to give way.

use sextant_redo::Lsn;

use super::super::{Limits, Safety};
use super::model::Step::{Begin, Commit, Durable, Read, Rollback, Scan, Write};
use super::model::{Step, World};

const RW: Step = Begin { read_only: false };
const RO: Step = Begin { read_only: true };

/// Plays the steps; who is refused at which of them.
fn refusals(steps: &[(usize, Step)]) -> Vec<usize> {
    let mut world = World::new(Limits::default(), true);
    let mut refused = Vec::new();
    for (n, (session, step)) in steps.iter().enumerate() {
        let before = world.refused;
        world.step(*session, *step);
        refused.extend((world.refused > before).then_some(n));
        world.step(9, Durable);
    }
    assert!(world.ends_serializable());
    refused
}

#[test]
fn write_skew_refuses_who_commits_last() {
    let steps = [
        (0, RW),
        (1, RW),
        (0, Read(1)),
        (0, Read(2)),
        (1, Read(1)),
        (1, Read(2)),
        (0, Write(1)),
        (1, Write(2)),
    ];
    let ends = |first: usize, second: usize| [&steps[..], &[(first, Commit), (second, Commit)]].concat();
    assert_eq!(refusals(&ends(0, 1)), [9]);
    assert_eq!(refusals(&ends(1, 0)), [9]);
}

#[test]
fn a_phantom_counts_as_a_write_that_was_missed() {
    let steps =
        [(0, RW), (1, RW), (0, Scan(0, 3)), (1, Scan(0, 3)), (0, Write(1)), (1, Write(2)), (0, Commit)];
    assert_eq!(refusals(&[&steps[..], &[(1, Commit)]].concat()), [7]);
}

/// Fekete, O'Neil, O'Neil, "A read-only transaction anomaly under snapshot isolation" (2004): without the reader the other
/// two are serializable, with it they are not.
#[test]
fn the_read_only_anomaly_is_refused_and_only_with_its_reader() {
    // 1 is checking, 2 is savings: session 0 withdraws, session 1 deposits, session 2 reports.
    let head = [(0, RW), (0, Read(1)), (0, Read(2)), (1, RW), (1, Read(2)), (1, Write(2)), (1, Commit)];
    let tail = [(0, Write(1)), (0, Commit)];
    for begin in [RW, RO] {
        let reader = [(2, begin), (2, Read(1)), (2, Read(2)), (2, Commit)];
        assert_eq!(refusals(&[&head[..], &reader, &tail].concat()), [11], "the withdrawal");
        // It reported before the deposit was there: nothing is wrong.
        let early = [&[(2, begin), (2, Read(1)), (2, Read(2))][..], &head, &[(2, Commit)], &tail].concat();
        let none: [usize; 0] = [];
        assert_eq!(refusals(&early), none);
    }
    let none: [usize; 0] = [];
    assert_eq!(refusals(&[&head[..], &tail].concat()), none);
}

#[test]
fn one_edge_is_no_harm() {
    let none: [usize; 0] = [];
    let steps = [(0, RW), (1, RW), (0, Read(1)), (0, Write(2)), (1, Write(1)), (1, Commit), (0, Commit)];
    assert_eq!(refusals(&steps), none);
    // A chain of two whose last one does not commit first.
    let chain =
        [(0, RW), (1, RW), (2, RW), (0, Read(1)), (1, Write(1)), (1, Read(2)), (2, Write(2)), (0, Write(0))];
    assert_eq!(refusals(&[&chain[..], &[(0, Commit), (1, Commit), (2, Commit)]].concat()), none);
    assert_eq!(refusals(&[&chain[..], &[(2, Commit), (1, Commit), (0, Commit)]].concat()), [9]);
}

#[test]
fn who_only_reads_beside_nobody_is_not_tracked() {
    let mut world = World::new(Limits::default(), true);
    world.step(0, RO);
    assert_eq!(world.ssi.len(), 0);
    world.step(1, RW);
    world.step(2, RO);
    assert_eq!(world.ssi.len(), 2);
}

/// The read-only anomaly again, with a report that can wait: what becomes of its snapshot when the withdrawal ends so.
fn report_beside(end: Step) -> (Safety, Safety, Safety) {
    let mut world = World::new(Limits::default(), true);
    for step in [(0, RW), (0, Read(1)), (0, Read(2)), (1, RW), (1, Write(2)), (1, Commit), (1, Durable)] {
        world.step(step.0, step.1);
    }
    let first = world.ssi.defer(Lsn(10));
    let before = world.ssi.safety(first);
    world.step(0, Write(1));
    world.step(0, end);
    let after = world.ssi.safety(first);
    world.ssi.judge_no_more(first);
    world.step(9, Durable);
    let second = world.ssi.defer(Lsn(20));
    let next = world.ssi.safety(second);
    world.ssi.judge_no_more(second);
    (before, after, next)
}

#[test]
fn a_snapshot_is_safe_unless_somebody_it_misses_has_missed_somebody_it_sees() {
    let spoiled = Safety::Unsafe { until: Lsn(20) };
    assert_eq!(report_beside(Commit), (Safety::Open, spoiled, Safety::Safe));
    assert_eq!(report_beside(Rollback), (Safety::Open, Safety::Safe, Safety::Safe));
}

#[test]
fn a_commit_that_is_not_durable_yet_is_missed_and_judged_at_once() {
    let mut world = World::new(Limits::default(), true);
    for step in [(0, RW), (0, Read(1)), (1, RW), (1, Write(1)), (1, Commit), (1, Durable)] {
        world.step(step.0, step.1);
    }
    world.step(0, Write(2));
    world.step(0, Commit);
    // Another one has nothing to do with either.
    world.step(2, RW);
    world.step(2, Write(3));
    let judged = world.ssi.defer(Lsn(10));
    assert_eq!(world.ssi.safety(judged), Safety::Unsafe { until: Lsn(20) });
    world.ssi.judge_no_more(judged);
    world.step(9, Durable);
    let judged = world.ssi.defer(Lsn(20));
    assert_eq!(world.ssi.safety(judged), Safety::Open);
    world.step(2, Commit);
    assert_eq!(world.ssi.safety(judged), Safety::Safe);
}
