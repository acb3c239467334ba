//! Loads: unmodified programs that everybody has and one that follows a standard, and what they report.
//!
//! | module | idea |
//! | --- | --- |
//! | [`pgbench`] | TPC-B and select-only of PostgreSQL's own pgbench |
//! | [`sysbench`] | the `oltp_*` and `select_random_*` scripts of sysbench |
//! | [`tpcc`] | the five transactions of TPC-C |

pub mod pgbench;
pub mod sysbench;
pub mod tpcc;

use std::collections::BTreeMap;

use serde::Serialize;

use crate::{BenchArgs, BenchError, BenchName};

/// Where a server listens.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Role to log in as.
    pub user: String,
    /// Database.
    pub database: String,
}

/// What one run of a load measured.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Measured {
    /// Transactions a second over the whole run.
    pub tps: f64,
    /// Mean latency in milliseconds.
    pub latency_ms: f64,
    /// Transactions that failed for good.
    pub failed: u64,
    /// Transactions a second, one figure a second.
    pub by_second: Vec<f64>,
    /// Latencies: upper bound in milliseconds, transactions up to it and above the bound before. Perhaps a sample.
    pub latencies: Vec<(f64, u64)>,
    /// Its kinds of transactions, where it has several. The first is the one by which it is compared.
    pub parts: Vec<Part>,
    /// Transactions that were aborted and tried again, by SQLSTATE, where the load counts them.
    pub aborts: BTreeMap<String, u64>,
}

/// One kind of transaction of a load that has several.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Part {
    /// How it is called.
    pub name: &'static str,
    /// So many a second.
    pub per_s: f64,
    /// As those of the load.
    pub latencies: Vec<(f64, u64)>,
}

impl Measured {
    /// The latency that `share` of the transactions did not exceed, in milliseconds.
    #[must_use]
    pub fn percentile_ms(&self, share: f64) -> f64 {
        percentile_ms(&self.latencies, share)
    }

    /// What it is compared by: its first kind of transactions a second, or all of them.
    #[must_use]
    pub fn rate(&self) -> f64 {
        self.parts.first().map_or(self.tps, |part| part.per_s)
    }
}

/// The latency that `share` of those in the buckets did not exceed.
pub(crate) fn percentile_ms(latencies: &[(f64, u64)], share: f64) -> f64 {
    let total: u64 = latencies.iter().map(|(_, count)| count).sum();
    let wanted = (total as f64 * share).ceil() as u64;
    let mut seen = 0;
    let reached = latencies.iter().find(|(_, count)| {
        seen += count;
        seen >= wanted
    });
    reached.map_or(0.0, |(bound, _)| *bound)
}

/// A load that can be put on any server that speaks PostgreSQL's protocol.
pub trait Workload {
    /// One line for the report.
    fn title(&self) -> String;
    /// Makes and fills its tables; they may be there from an earlier load.
    fn load(&self, target: &Target) -> Result<(), BenchError>;
    /// Runs it for so many seconds.
    fn run(&self, target: &Target, seconds: u32) -> Result<Measured, BenchError>;
    /// After the last round: whether the database is as it must be after such a load, where the load can tell.
    fn check(&self, _: &Target) -> Result<Option<String>, BenchError> {
        Ok(None)
    }
}

/// The load that `name` stands for.
pub fn of(name: BenchName, args: &BenchArgs) -> Result<Box<dyn Workload>, BenchError> {
    use pgbench::Script;
    Ok(match name {
        BenchName::Tpcb => Box::new(pgbench::Pgbench::new(Script::TpcB, args)?),
        BenchName::Select => Box::new(pgbench::Pgbench::new(Script::SelectOnly, args)?),
        BenchName::Tpcc => Box::new(tpcc::Tpcc::new(args)),
        script => Box::new(sysbench::Sysbench::new(script, args)?),
    })
}

/// Counts latencies, in milliseconds, into buckets whose bounds grow by a tenth.
pub(crate) fn buckets(latencies_ms: impl IntoIterator<Item = f64>) -> Vec<(f64, u64)> {
    let mut counts = std::collections::BTreeMap::new();
    for latency in latencies_ms {
        let bucket = (latency.max(0.001).ln() / 1.1f64.ln()).ceil() as i32;
        *counts.entry(bucket).or_insert(0u64) += 1;
    }
    counts.into_iter().map(|(bucket, count)| (1.1f64.powi(bucket), count)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_come_from_buckets() {
        let latencies = buckets((1..=100).map(f64::from));
        let measured = Measured { latencies, ..Measured::default() };
        let (median, high) = (measured.percentile_ms(0.5), measured.percentile_ms(0.99));
        assert!((50.0..56.0).contains(&median), "{median}");
        assert!((99.0..110.0).contains(&high), "{high}");
        assert_eq!(Measured::default().percentile_ms(0.5), 0.0);
    }
}
