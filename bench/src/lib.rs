//! Benchmarks: each starts what it needs (our cluster, peers), runs both sides in alternating rounds of one run, and
//! prints medians and ratios. Machines are shared and noisy, so only the ratio of one run means something.
//!
//! | module | idea |
//! | --- | --- |
//! | [`peer`] | systems under test: a Sextant cluster, PostgreSQL with the same quorum, PostgreSQL alone |
//! | [`pgbench`] | the load: PostgreSQL's own pgbench, unmodified, and what it reports |
//! | [`rounds`] | alternating rounds, medians, spread |
//! | [`report`] | the text on the terminal, `result NAME VALUE UNIT` lines, the JSON file |
//! | [`tpcb`] | the TPC-B comparison |

mod command;
pub mod peer;
pub mod pgbench;
pub mod report;
pub mod rounds;
pub mod tpcb;

use std::path::PathBuf;

pub use command::BenchError;

/// What to measure and where to write it.
#[derive(Debug, Clone, clap::Args)]
pub struct BenchArgs {
    /// Which benchmark.
    #[arg(value_enum)]
    pub name: BenchName,
    /// Shorter rounds: a first look, not a figure to publish.
    #[arg(long)]
    pub quick: bool,
    /// Concurrent client connections.
    #[arg(long, default_value_t = 16)]
    pub clients: u32,
    /// pgbench scale factor: 100,000 accounts each.
    #[arg(long, default_value_t = 10)]
    pub scale: u32,
    /// Writes configuration and every round as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
}

/// The benchmarks there are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum BenchName {
    /// pgbench's TPC-B script against PostgreSQL with the same 4-of-6 quorum and against PostgreSQL alone.
    Tpcb,
}

/// Runs one benchmark to its end. `sextant` is the binary that runs the cluster.
pub fn run(args: &BenchArgs, sextant: &std::path::Path) -> Result<(), BenchError> {
    match args.name {
        BenchName::Tpcb => tpcb::run(args, sextant),
    }
}
