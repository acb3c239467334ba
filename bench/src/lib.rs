//! Benchmarks: each starts what it needs (our cluster, peers), runs all sides in alternating rounds of one run, and
//! prints medians and ratios. Machines are shared and noisy, so only the ratio of one run means something.
//!
//! | module | idea |
//! | --- | --- |
//! | [`peer`] | systems under test: a Sextant cluster, PostgreSQL with the same quorum, PostgreSQL alone |
//! | [`workload`] | the loads: pgbench and sysbench, unmodified; TPC-C's transactions, our own |
//! | `sql` | the client of our own loads |
//! | [`compare`] | one load on all peers, round about |
//! | `device` | one storage node beside fio on its device: appends, pages, restart |
//! | [`cpu`] | where the processor's time goes, by role of process |
//! | `restart` | crashes under load: time to the first commit, beside PostgreSQL's |
//! | `growth` | the same working set in more and more data |
//! | `drop` | a large table is dropped beside commits |
//! | [`machine`] | what it all runs on, and whether others use it |
//! | `process` | processes as `/proc` shows them |
//! | [`rounds`] | medians, spread, paired ratios |
//! | [`report`], [`table`] | the text on the terminal, `result NAME VALUE UNIT` lines |
//! | [`run`](mod@run) | one call: benchmarks one after the other, then the JSON file |
//! | [`html`] | the same with plots, in one file |

mod command;
pub mod compare;
pub mod cpu;
mod device;
mod drops;
mod growth;
pub mod html;
pub mod machine;
mod name;
pub mod peer;
mod process;
pub mod report;
mod restart;
pub mod rounds;
pub mod run;
mod sql;
pub mod table;
pub mod workload;

use std::path::PathBuf;

pub use command::BenchError;
pub use name::BenchName;
pub use run::run;
use sextant_redo::Segments;

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
    /// Tables of sysbench.
    #[arg(long, default_value_t = 4)]
    pub tables: u32,
    /// Rows of each. Default 100,000; `all --quick` 25,000.
    #[arg(long)]
    pub rows: Option<u32>,
    /// Warehouses of tpcc.
    #[arg(long, default_value_t = 1)]
    pub warehouses: u32,
    /// Fewer items than the 100,000 of the standard; the report says so.
    #[arg(long)]
    pub items: Option<u32>,
    /// Fewer customers of a district than the 3,000 of the standard; the report says so.
    #[arg(long)]
    pub customers: Option<u32>,
    /// Rounds of each load on each side. Default 5, with --quick 3.
    #[arg(long)]
    pub rounds: Option<u32>,
    /// Seconds of each round of a load. Default 20, with --quick 5, `all --quick` 2.
    #[arg(long)]
    pub round_seconds: Option<u32>,
    /// Seconds of updates over which `pages` measures write and space amplification. Default 600, with --quick 20.
    #[arg(long)]
    pub seconds: Option<u32>,
    /// GiB of pages with which `node_restart` starts a node. Default 10, with --quick 1.
    #[arg(long)]
    pub gib: Option<u32>,
    /// Sizes in MiB, with commas between them. restart: log written before the kill (default 64,1024; --quick 8,32).
    /// growth: data beside the working set (default 1024,4096; --quick 64,256). drop: of the table (default 1024; --quick 128).
    #[arg(long, value_delimiter = ',')]
    pub mib: Vec<u32>,
    /// What the segments of Sextant's volumes are, as for `sextant dev`: with full-tail, pages lie on three nodes instead of
    /// six, and data twice as large fits the disk. The report says so.
    #[arg(long, value_name = "KIND", default_value_t)]
    pub segments: Segments,
    /// Writes configuration and every round as JSON.
    #[arg(long, value_name = "FILE")]
    pub json: Option<PathBuf>,
    /// Writes the same with plots as one HTML file.
    #[arg(long, value_name = "FILE")]
    pub html: Option<PathBuf>,
}

impl BenchArgs {
    /// Rows of a table of sysbench: `all --quick` loads forty tables on each of three servers.
    fn rows(&self) -> u32 {
        let all = self.quick && self.name == BenchName::All;
        self.rows.unwrap_or(if all { 25_000 } else { 100_000 })
    }

    /// How many rounds of a load, and how many seconds each.
    fn rounds(&self) -> (u32, u32) {
        let (rounds, seconds) = match (self.quick, self.name) {
            (true, BenchName::All) => (3, 2),
            (true, _) => (3, 5),
            (false, _) => (5, 20),
        };
        (self.rounds.unwrap_or(rounds).max(1), self.round_seconds.unwrap_or(seconds).max(1))
    }
}
