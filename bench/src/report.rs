//! What a load on several sides leaves behind: text for people, `result NAME VALUE UNIT` lines for scripts, JSON for
//! both.

use serde::Serialize;

use crate::cpu::Seconds;
use crate::peer::Peer;
use crate::rounds::Series;
use crate::workload::{Measured, percentile_ms};

/// Above this spread between rounds a figure is marked as taken on a noisy machine.
const NOISY: f64 = 0.25;

/// One round of one side.
#[derive(Debug, Clone, Serialize)]
pub struct Round {
    /// What the load generator reported.
    pub measured: Measured,
    /// Processor microseconds a transaction, by role of process.
    pub cpu_us: Seconds,
    /// Bytes of log a transaction.
    pub log_bytes: f64,
    /// Requests to each copy a transaction, where the system counts them.
    pub requests: Option<f64>,
}

/// One side of a comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub configuration: String,
    /// In the order measured.
    pub rounds: Vec<Round>,
}

impl Side {
    /// A side that was not measured yet.
    #[must_use]
    pub fn of(peer: &dyn Peer) -> Side {
        Side { name: peer.name().to_owned(), configuration: peer.configuration(), rounds: Vec::new() }
    }

    fn series(&self, of: impl Fn(&Round) -> f64) -> Series {
        Series { values: self.rounds.iter().map(of).collect() }
    }

    /// Transactions a second.
    #[must_use]
    pub fn tps(&self) -> Series {
        self.series(|round| round.measured.tps)
    }

    /// What the side is compared by; see [`Measured::rate`].
    #[must_use]
    pub fn rate(&self) -> Series {
        self.series(|round| round.measured.rate())
    }

    /// A line for each kind of transaction, where there are several, and one for what was aborted.
    fn details(&self) -> Vec<String> {
        let first = self.rounds.first().map_or(&[][..], |round| &round.measured.parts);
        let line = |(n, name): (usize, &'static str)| {
            let of = |figure: &dyn Fn(&crate::workload::Part) -> f64| {
                self.series(|round| round.measured.parts.get(n).map_or(0.0, figure)).median()
            };
            let [p50, p90, p99] =
                [0.5, 0.9, 0.99].map(|share| of(&|part| percentile_ms(&part.latencies, share)));
            let per_min = of(&|part| part.per_s * 60.0);
            format!("{}, {name}: {per_min:.0} a minute, p50 {p50:.1} p90 {p90:.1} p99 {p99:.1} ms", self.name)
        };
        let mut lines: Vec<String> = first.iter().map(|part| part.name).enumerate().map(line).collect();
        let mut aborts = std::collections::BTreeMap::new();
        for (code, count) in self.rounds.iter().flat_map(|round| &round.measured.aborts) {
            *aborts.entry(code).or_insert(0) += count;
        }
        if !aborts.is_empty() {
            let counts: Vec<String> = aborts.iter().map(|(code, count)| format!("{code} {count}")).collect();
            lines.push(format!("{}, aborted and tried again, by SQLSTATE: {}", self.name, counts.join(", ")));
        }
        lines
    }

    /// Median over the rounds of the latency that `share` of the transactions did not exceed.
    #[must_use]
    pub fn percentile_ms(&self, share: f64) -> f64 {
        self.series(|round| round.measured.percentile_ms(share)).median()
    }

    /// Median processor microseconds a transaction, by role.
    #[must_use]
    pub fn cpu_us(&self) -> Seconds {
        let roles = self.rounds.iter().flat_map(|round| round.cpu_us.keys());
        let median =
            |role: &String| self.series(|round| round.cpu_us.get(role).copied().unwrap_or(0.0)).median();
        roles.map(|role| (role.clone(), median(role))).collect()
    }

    /// Median bytes of log a transaction.
    #[must_use]
    pub fn log_bytes(&self) -> f64 {
        self.series(|round| round.log_bytes).median()
    }

    /// Median requests to each copy a transaction, where they are counted.
    #[must_use]
    pub fn requests(&self) -> Option<f64> {
        let counted: Vec<f64> = self.rounds.iter().filter_map(|round| round.requests).collect();
        (!counted.is_empty()).then(|| Series { values: counted }.median())
    }
}

/// One figure of the summary.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Its fixed name.
    pub name: String,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
}

impl Figure {
    /// A figure.
    #[must_use]
    pub fn new(name: impl Into<String>, value: f64, unit: &'static str) -> Figure {
        Figure { name: name.into(), value, unit }
    }
}

/// One load on all sides.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The load's short name.
    pub name: &'static str,
    /// What was run.
    pub title: String,
    /// Ours first.
    pub sides: Vec<Side>,
    /// What was found when the load was over, by side.
    pub checks: Vec<String>,
    /// The summary.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Lines below the table: kinds of transactions, aborts, checks, and what makes the figures doubtful.
    #[must_use]
    pub fn remarks(&self) -> Vec<String> {
        let details = self.sides.iter().flat_map(Side::details);
        let noisy =
            self.sides.iter().filter(|side| side.tps().spread() > NOISY).map(|side| {
                format!("noisy: rounds of {} differ by more than {:.0} %", side.name, NOISY * 100.0)
            });
        details.chain(self.checks.iter().cloned()).chain(noisy).collect()
    }

    /// Prints the table, warnings, and the result lines.
    pub fn print(&self) {
        println!("\n{}", self.title);
        for side in &self.sides {
            println!("  {}", side.configuration);
        }
        println!(
            "\n  {:<24} {:>10} {:>8} {:>8} {:>8} {:>10} {:>10}",
            "", "median tps", "p50 ms", "p99 ms", "spread", "cpu us/txn", "log B/txn"
        );
        for side in &self.sides {
            let (tps, cpu): (Series, f64) = (side.tps(), side.cpu_us().values().sum());
            println!(
                "  {:<24} {:>10.0} {:>8.2} {:>8.2} {:>7.0}% {:>10.0} {:>10.0}",
                side.name,
                tps.median(),
                side.percentile_ms(0.5),
                side.percentile_ms(0.99),
                tps.spread() * 100.0,
                cpu,
                side.log_bytes()
            );
        }
        for side in &self.sides {
            let parts: Vec<String> =
                side.cpu_us().iter().map(|(role, us)| format!("{role} {us:.0}")).collect();
            println!("  processor us a transaction, {}: {}", side.name, parts.join(", "));
        }
        self.remarks().iter().for_each(|line| println!("  {line}"));
        println!();
        for figure in &self.figures {
            println!("result {} {:.3} {}", figure.name, figure.value, figure.unit);
        }
    }
}
