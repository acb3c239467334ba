//! `sextant-fire`: a cluster of real processes under fire, and the oracle's verdict. Exit code 0 when nothing was found, 1
//! when something was, 2 when there is no verdict.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use sextant_fire::{Limit, Wish};

/// Runs a cluster of real processes under fire while a bank works on it, and tells what was lost
#[derive(Debug, Parser)]
#[command(name = "sextant-fire", version)]
struct Arguments {
    /// How long faults strike; starting and verifying come on top
    #[arg(long, default_value_t = 60, conflicts_with = "kills")]
    seconds: u64,
    /// Faults strike until so many processes were killed; everything at once counts as one
    #[arg(long)]
    kills: Option<u64>,
    /// What faults are drawn from. Timing is the machine's, so a seed gives the same kinds of faults, not the same run
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The program under test. Default: the one built beside this program
    #[arg(long, value_name = "PATH")]
    sextant: Option<PathBuf>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let limit = match arguments.kills {
        Some(kills) => Limit::Kills(kills),
        None => Limit::Time(Duration::from_secs(arguments.seconds)),
    };
    let wish = Wish { sextant: arguments.sextant.unwrap_or_else(beside), limit, seed: arguments.seed };
    match sextant_fire::run(&wish) {
        Ok(report) => {
            println!("\n{report}");
            if report.is_clean() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
        }
        Err(error) => {
            eprintln!("sextant-fire: {error}");
            ExitCode::from(2)
        }
    }
}

/// `sextant` in the folder of this program.
fn beside() -> PathBuf {
    std::env::current_exe().map_or_else(|_| "sextant".into(), |own| own.with_file_name("sextant"))
}
