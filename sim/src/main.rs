//! `sextant-sim`: runs seeds, replays one, plays scenarios, tries the mutants.

mod report;

use std::process::ExitCode;

use clap::Parser;
use report::Options;
use sextant_sim::mutant::Mutant;
use sextant_sim::scenario::{self, Scenario};

/// Deterministic simulator of the Sextant protocol.
#[derive(Parser)]
#[command(name = "sextant-sim", version)]
struct Arguments {
    /// Seeds to run, as FROM..TO.
    #[arg(long, value_parser = range, default_value = "0..200")]
    seeds: (u64, u64),
    /// Run this seed alone.
    #[arg(long)]
    seed: Option<u64>,
    /// Play this scenario alone.
    #[arg(long, value_parser = named)]
    scenario: Option<&'static Scenario>,
    /// Play all scenarios.
    #[arg(long)]
    scenarios: bool,
    /// Print the events of the seed or scenario.
    #[arg(long)]
    trace: bool,
    /// Run with this bug put back.
    #[arg(long)]
    mutant: Option<Mutant>,
    /// Try every mutant on the seeds and then on the scenarios until one catches it; fails when one survives.
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

fn named(name: &str) -> Result<&'static Scenario, String> {
    scenario::named(name).ok_or_else(|| {
        let all: Vec<&str> = scenario::ALL.iter().map(|scenario| scenario.name).collect();
        format!("there are {}", all.join(", "))
    })
}

fn main() -> ExitCode {
    let Arguments { seeds, seed, scenario, scenarios, trace, mutant, mutants, jobs } = Arguments::parse();
    // A panic is a finding, reported with its seed.
    std::panic::set_hook(Box::new(|_| {}));
    let options = Options { mutant, trace, jobs: jobs.max(1) };
    let clean = match (seed, scenario) {
        (Some(seed), _) => report::one(report::Plan::Seed(seed), options),
        (None, Some(scenario)) => report::one(report::Plan::Scenario(scenario), options),
        (None, None) if scenarios => report::scenarios(options),
        (None, None) if mutants => report::mutants(seeds, options),
        (None, None) => report::many(seeds, options),
    };
    if clean { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
