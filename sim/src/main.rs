//! `sextant-sim`: runs seeds, replays one, tries the mutants.

use std::io::{IsTerminal, Write};
use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Instant;

use clap::Parser;
use sextant_sim::mutant::Mutant;
use sextant_sim::stats::Stats;
use sextant_sim::{Run, run};

/// Deterministic simulator of the Sextant protocol.
#[derive(Parser)]
#[command(name = "sextant-sim")]
struct Arguments {
    /// Seeds to run, as FROM..TO.
    #[arg(long, value_parser = range, default_value = "0..200")]
    seeds: (u64, u64),
    /// Run this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Print the events of the seed.
    #[arg(long)]
    trace: bool,
    /// Run with this bug put back.
    #[arg(long)]
    mutant: Option<Mutant>,
    /// Try every mutant until a seed catches it; fails when one survives.
    #[arg(long)]
    mutants: bool,
    /// Threads; each runs seeds of its own.
    #[arg(long, default_value_t = std::thread::available_parallelism().map_or(1, |n| n.get()))]
    jobs: usize,
}

fn range(text: &str) -> Result<(u64, u64), String> {
    let (from, to) = text.split_once("..").ok_or("expected FROM..TO, as in 0..200")?;
    let number = |text: &str| text.parse::<u64>().map_err(|error| format!("{text:?}: {error}"));
    let (from, to) = (number(from)?, number(to)?);
    if from < to { Ok((from, to)) } else { Err("the range is empty".to_owned()) }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // A panic is a finding, reported with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let clean = match arguments.seed {
        Some(seed) => one(seed, arguments.mutant, arguments.trace),
        None if arguments.mutants => mutants(arguments.seeds),
        None => many(arguments.seeds, arguments.mutant, arguments.jobs),
    };
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn replay(seed: u64, mutant: Option<Mutant>) -> String {
    let mutant = mutant.map_or_else(String::new, |mutant| format!(" --mutant {}", mutant.name()));
    format!("cargo run --release -p sextant-sim -- --seed {seed} --trace{mutant}")
}

fn report(seed: u64, mutant: Option<Mutant>, found: &Run) {
    let Some(failure) = &found.failure else { return };
    println!("seed {seed} FAILED at {} us: {}", failure.at, failure.violation);
    let traced = run(seed, mutant, true);
    let last = traced.trace.len().saturating_sub(40);
    println!("last events:");
    traced.trace[last..].iter().for_each(|line| println!("  {line}"));
    println!("replay: {}", replay(seed, mutant));
}

fn one(seed: u64, mutant: Option<Mutant>, trace: bool) -> bool {
    let found = run(seed, mutant, trace);
    let mut out = std::io::stdout().lock();
    for line in &found.trace {
        if writeln!(out, "{line}").is_err() {
            break; // whoever reads has seen enough
        }
    }
    drop(out);
    println!("seed {seed}, trace hash {:016x}\n{}", found.hash, found.stats);
    match &found.failure {
        Some(failure) => println!("FAILED at {} us: {}", failure.at, failure.violation),
        None => println!("clean"),
    }
    found.failure.is_none()
}

fn many((from, to): (u64, u64), mutant: Option<Mutant>, jobs: usize) -> bool {
    let started = Instant::now();
    let next = AtomicU64::new(from);
    let failed = AtomicBool::new(false);
    let total = Mutex::new(Stats::default());
    let progress = std::io::stderr().is_terminal();
    let work = || loop {
        let seed = next.fetch_add(1, Relaxed);
        if seed >= to {
            return;
        }
        let found = run(seed, mutant, false);
        if let Ok(mut total) = total.lock() {
            total.add(&found.stats);
            let done = total.seeds;
            if found.failure.is_some() {
                failed.store(true, Relaxed);
                report(seed, mutant, &found);
            }
            if progress || done.is_multiple_of(100) {
                let end = if progress { "\r" } else { "\n" };
                eprint!("{done} of {} seeds, {} commits{end}", to - from, total.acked);
            }
        }
    };
    std::thread::scope(|scope| (0..jobs.max(1)).for_each(|_| drop(scope.spawn(work))));
    let seconds = started.elapsed().as_secs_f64();
    if let Ok(total) = total.lock() {
        println!("\n{total}");
        println!("{:.1} s, {:.1} seeds/s", seconds, total.seeds as f64 / seconds);
    }
    let clean = !failed.load(Relaxed);
    println!("{}", if clean { "all seeds clean" } else { "FAILED" });
    clean
}

fn mutants((from, to): (u64, u64)) -> bool {
    let mut all = true;
    for mutant in Mutant::ALL {
        let caught = (from..to).find_map(|seed| run(seed, Some(*mutant), false).failure.map(|f| (seed, f)));
        match caught {
            Some((seed, failure)) => {
                let what: String = failure.violation.to_string().chars().take(90).collect();
                println!("{:<26} seed {seed:<4} {what}", mutant.name());
            }
            None => {
                println!("{:<26} SURVIVED seeds {from}..{to}", mutant.name());
                all = false;
            }
        }
    }
    all
}
