//! Random small histories: whatever commits is serializable, and not because nothing does.

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::super::Limits;
use super::model::{KEYS, Step, World};

const SESSIONS: usize = 4;
/// So tight that everything is promoted, and all but one of the committed summed up.
const TIGHT: Limits = Limits { ranges_of_relation: 1, ranges: 3, kept: 1 };

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => Just(Step::Begin { read_only: true }),
        8 => (0..KEYS).prop_map(Step::Read),
        2 => (0..KEYS, 0..KEYS).prop_map(|(a, b)| Step::Scan(a.min(b), a.max(b))),
        6 => (0..KEYS).prop_map(Step::Write),
        1 => Just(Step::Prepare),
        1 => Just(Step::Append),
        1 => Just(Step::Finish),
        4 => Just(Step::Commit),
        1 => Just(Step::Rollback),
        3 => Just(Step::Durable),
    ]
}

fn steps() -> impl Strategy<Value = Vec<(usize, Step)>> {
    prop::collection::vec((0..SESSIONS, step()), 10..70)
}

/// The same, with reports that wait for safe snapshots.
fn with_reports() -> impl Strategy<Value = Vec<(usize, Step)>> {
    let step = prop_oneof![8 => step(), 1 => Just(Step::Report)];
    prop::collection::vec((0..SESSIONS, step), 10..70)
}

fn play(steps: &[(usize, Step)], limits: Limits, obeys: bool) -> World {
    let mut world = World::new(limits, obeys);
    for (session, step) in steps {
        world.step(*session, *step);
    }
    world
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn what_is_committed_is_serializable(steps in steps()) {
        prop_assert!(play(&steps, Limits::default(), true).ends_serializable());
    }

    #[test]
    fn what_is_committed_is_serializable_however_little_is_remembered(steps in steps()) {
        prop_assert!(play(&steps, TIGHT, true).ends_serializable());
    }

    #[test]
    fn a_report_with_a_safe_snapshot_is_part_of_no_cycle(steps in with_reports()) {
        prop_assert!(play(&steps, Limits::default(), true).ends_serializable());
        prop_assert!(play(&steps, TIGHT, true).ends_serializable());
    }
}

/// What reports would do with any snapshot, and how many snapshots are given up, among the same 2,000 histories.
#[test]
fn reports_wait_for_a_reason() {
    let mut runner = TestRunner::deterministic();
    let (mut wrong, mut reports, mut spoiled) = (0, 0, 0);
    for _ in 0..2_000 {
        let steps = with_reports().new_tree(&mut runner).expect("drawn").current();
        let mut trusting = World::new(Limits::default(), true);
        trusting.trusts = true;
        steps.iter().for_each(|(session, step)| trusting.step(*session, *step));
        wrong += usize::from(!trusting.ends_serializable());
        let mut waiting = play(&steps, Limits::default(), true);
        assert!(waiting.ends_serializable());
        (reports, spoiled) = (reports + waiting.reports, spoiled + waiting.spoiled);
    }
    println!(
        "{wrong} of 2000 not serializable with any snapshot; {reports} reports, {spoiled} snapshots given up"
    );
    assert!(wrong > 0, "a report is never part of a cycle here: this says too little");
    assert!(reports > 10 * spoiled && spoiled > 0, "{reports} reports, {spoiled} snapshots given up");
}

/// What would be refused, or not be serializable, among the same 2,000 histories.
#[test]
fn refusals_are_needed_and_few() {
    let mut runner = TestRunner::deterministic();
    let (mut wrong, mut begun, mut committed, mut refused, mut in_vain) = (0, 0, 0, 0, 0);
    for _ in 0..2_000 {
        let steps = steps().new_tree(&mut runner).expect("drawn").current();
        let mut plain = play(&steps, Limits::default(), false);
        let is_right = plain.ends_serializable();
        wrong += usize::from(!is_right);
        let mut obeying = play(&steps, Limits::default(), true);
        assert!(obeying.ends_serializable());
        in_vain += usize::from(is_right && obeying.refused > 0);
        refused += obeying.refused;
        committed += obeying.committed.len();
        begun += obeying.committed.len() + obeying.refused;
    }
    println!(
        "{wrong} of 2000 not serializable; {committed} of {begun} committed, {refused} refused, {in_vain} in vain"
    );
    assert!(wrong > 100, "snapshot isolation alone fails often enough: {wrong}");
    assert!(committed > 5 * refused, "{committed} committed, {refused} refused");
}
