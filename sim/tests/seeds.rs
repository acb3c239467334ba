//! Short runs of the simulator: some seeds are clean, a seed means one run, and bugs that are put back are caught. What
//! was found is pinned by scenarios: a seed means another run whenever a draw changes.

use sextant_sim::mutant::Mutant;
use sextant_sim::run;

fn assert_clean(seed: u64) {
    let found = run(seed, None, false);
    assert!(found.failure.is_none(), "seed {seed}: {:?}", found.failure);
    assert!(found.stats.acked > 0 && found.stats.pages > 0, "seed {seed} did nothing: {}", found.stats);
}

#[test]
fn seeds_are_clean() {
    (0..20).for_each(assert_clean);
}

#[test]
fn a_seed_is_one_run() {
    for seed in [3, 7, 11] {
        let (a, b) = (run(seed, None, false), run(seed, None, true));
        assert_eq!(a.hash, b.hash, "seed {seed}");
        assert_eq!(a.stats, b.stats, "seed {seed}");
        assert!(!b.trace.is_empty());
    }
    assert_ne!(run(3, None, false).hash, run(4, None, false).hash);
}

/// The background of storage nodes is part of what seeds try.
#[test]
fn nodes_make_pages_and_use_their_log_again() {
    let mut total = sextant_sim::stats::Stats::default();
    (0..20).for_each(|seed| total.add(&run(seed, None, false).stats));
    assert!(total.images > 1_000 && total.checkpoints > 200 && total.log_files_freed > 200, "{total}");
}

fn assert_caught(mutant: Mutant, seeds: std::ops::Range<u64>) {
    let caught = seeds.clone().any(|seed| run(seed, Some(mutant), false).failure.is_some());
    assert!(caught, "{} survives seeds {seeds:?}", mutant.name());
}

#[test]
fn bugs_put_back_are_caught() {
    use Mutant::*;
    let quick = [AckAtThree, AckAtPgcl, VdlInsideMtr, ReplyBeforeFlush, AckHighest, ShortRange];
    quick.into_iter().for_each(|mutant| assert_caught(mutant, 0..20));
    [PageUnchecked, PagesNotFlushed, CheckpointNotDurable]
        .into_iter()
        .for_each(|mutant| assert_caught(mutant, 0..20));
    assert_caught(ServeUnchecked, 20..40);
    [ReadAnywhere, FloorIgnoresSnapshots, EpochNotDurable]
        .into_iter()
        .for_each(|mutant| assert_caught(mutant, 0..20));
}
