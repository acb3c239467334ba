//! Running and telling: one plan with its events, many seeds with a summary, mutants with a table.

use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sextant_sim::mutant::Mutant;
use sextant_sim::scenario::{ALL, Scenario};
use sextant_sim::stats::Stats;
use sextant_sim::{Run, play, run};

/// Seeds of each range that are run twice: equal seeds must give equal runs.
const TWICE: u64 = 5;
/// Last events told of a failure.
const EVENTS_TOLD: usize = 40;
/// Between two words of progress where nobody sits at a terminal.
const PROGRESS: Duration = Duration::from_secs(10);

/// How to run.
#[derive(Clone, Copy)]
pub(crate) struct Options {
    pub(crate) mutant: Option<Mutant>,
    pub(crate) trace: bool,
    pub(crate) jobs: usize,
}

/// What to run.
#[derive(Clone, Copy)]
pub(crate) enum Plan {
    Seed(u64),
    Scenario(&'static Scenario),
}

impl Plan {
    fn run(self, mutant: Option<Mutant>, trace: bool) -> Run {
        match self {
            Plan::Seed(seed) => run(seed, mutant, trace),
            Plan::Scenario(scenario) => play(scenario, mutant, trace),
        }
    }

    fn option(self) -> String {
        match self {
            Plan::Seed(seed) => format!("--seed {seed}"),
            Plan::Scenario(scenario) => format!("--scenario {}", scenario.name),
        }
    }
}

impl std::fmt::Display for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Plan::Seed(seed) => write!(f, "seed {seed}"),
            Plan::Scenario(scenario) => write!(f, "scenario {}", scenario.name),
        }
    }
}

/// Tells of a failure: where, what, the last events, and how to see all of them.
fn tell_failure(plan: Plan, mutant: Option<Mutant>, found: &Run) {
    let Some(failure) = &found.failure else { return };
    println!("{plan} FAILED at {} us, sextant-sim {}", failure.at, env!("CARGO_PKG_VERSION"));
    println!("  {}", failure.violation);
    let traced = plan.run(mutant, true);
    let last = traced.trace.len().saturating_sub(EVENTS_TOLD);
    println!("last events:");
    traced.trace[last..].iter().for_each(|line| println!("  {line}"));
    let mutant = mutant.map_or_else(String::new, |mutant| format!(" --mutant {}", mutant.name()));
    println!("replay: cargo run --release -p sextant-sim -- {} --trace{mutant}", plan.option());
}

/// Runs one plan.
pub(crate) fn one(plan: Plan, options: Options) -> bool {
    let found = plan.run(options.mutant, options.trace);
    let mut out = std::io::stdout().lock();
    for line in &found.trace {
        if writeln!(out, "{line}").is_err() {
            break; // whoever reads has seen enough
        }
    }
    drop(out);
    println!("{plan}, trace hash {:016x}\n{}", found.hash, found.stats);
    match &found.failure {
        Some(failure) => println!("FAILED at {} us: {}", failure.at, failure.violation),
        None => println!("clean"),
    }
    found.failure.is_none()
}

/// Plays all scenarios.
pub(crate) fn scenarios(options: Options) -> bool {
    let mut clean = true;
    for scenario in ALL {
        let plan = Plan::Scenario(scenario);
        let found = plan.run(options.mutant, false);
        match &found.failure {
            None => println!("{:<22} clean: {}", scenario.name, scenario.shows),
            Some(_) => tell_failure(plan, options.mutant, &found),
        }
        clean &= found.failure.is_none();
    }
    clean
}

/// Says now and then how far a run of many seeds has come.
struct Progress {
    terminal: bool,
    last: Instant,
}

impl Progress {
    fn tell(&mut self, of: u64, total: &Stats) {
        if !self.terminal && self.last.elapsed() < PROGRESS && total.seeds < of {
            return;
        }
        self.last = Instant::now();
        let end = if self.terminal && total.seeds < of { "\r" } else { "\n" };
        eprint!("{} of {of} seeds, {} events, {} commits{end}", total.seeds, total.events, total.acked);
    }
}

/// Runs a seed, the first ones twice; false when the second run was another one.
fn run_seed(seed: u64, from: u64, mutant: Option<Mutant>) -> (Run, bool) {
    let found = run(seed, mutant, false);
    let again = (seed < from + TWICE).then(|| run(seed, mutant, false));
    let equal = again.is_none_or(|again| (again.hash, &again.stats) == (found.hash, &found.stats));
    (found, equal)
}

/// Runs many seeds.
pub(crate) fn many((from, to): (u64, u64), options: Options) -> bool {
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let failed = AtomicU64::new(0);
    let unequal = AtomicBool::new(false);
    let progress = Progress { terminal: std::io::stderr().is_terminal(), last: started };
    let total = Mutex::new((Stats::default(), progress));
    let work = || loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= to {
            return;
        }
        let (found, equal) = run_seed(seed, from, options.mutant);
        let Ok(mut total) = total.lock() else { return };
        let (stats, progress) = &mut *total;
        stats.add(&found.stats);
        progress.tell(to - from, stats);
        if found.failure.is_some() {
            failed.fetch_add(1, Relaxed);
            tell_failure(Plan::Seed(seed), options.mutant, &found);
        }
        if !equal {
            unequal.store(true, Relaxed);
            println!("seed {seed} FAILED: it was run twice, and the runs differ");
        }
    };
    std::thread::scope(|scope| (0..options.jobs).for_each(|_| drop(scope.spawn(work))));
    let seconds = started.elapsed().as_secs_f64();
    let (failed, unequal) = (failed.into_inner(), unequal.into_inner());
    if let Ok(total) = total.lock() {
        println!("\n{}", total.0);
        println!("{seconds:.1} s, {:.1} seeds/s", total.0.seeds as f64 / seconds);
    }
    let twice = TWICE.min(to - from);
    println!("first {twice} seeds run twice: {}", if unequal { "NOT EQUAL" } else { "equal" });
    match failed {
        0 => println!("all seeds clean"),
        _ => println!("{failed} seeds FAILED"),
    }
    failed == 0 && !unequal
}

/// Tries all mutants, and prints the table of docs/testing.md.
pub(crate) fn mutants((from, to): (u64, u64), options: Options) -> bool {
    let next = AtomicUsize::new(0);
    let rows: Vec<Mutex<Option<(Plan, &'static str)>>> =
        Mutant::ALL.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        while let Some(mutant) = Mutant::ALL.get(next.fetch_add(1, Relaxed)) {
            let mut plans =
                (from..to).map(Plan::Seed).chain(ALL.iter().map(|scenario| Plan::Scenario(scenario)));
            let caught = plans.find_map(|plan| {
                let failure = plan.run(Some(*mutant), false).failure?;
                Some((plan, failure.violation.invariant))
            });
            eprintln!(
                "{}: {}",
                mutant.name(),
                caught.map_or("SURVIVES".into(), |(plan, _)| plan.to_string())
            );
            if let Ok(mut row) = rows[*mutant as usize].lock() {
                *row = caught;
            }
        }
    };
    std::thread::scope(|scope| (0..options.jobs).for_each(|_| drop(scope.spawn(work))));
    println!("| mutant | caught by | invariant |\n| --- | --- | --- |");
    let mut all = true;
    for (mutant, row) in Mutant::ALL.iter().zip(rows) {
        match row.into_inner().ok().flatten() {
            Some((plan, invariant)) => println!("| {} | {plan} | {invariant} |", mutant.name()),
            None => {
                println!("| {} | SURVIVES | |", mutant.name());
                all = false;
            }
        }
    }
    all
}
