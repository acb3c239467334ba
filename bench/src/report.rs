//! What a benchmark leaves behind: text for people, `result NAME VALUE UNIT` lines for scripts, JSON for both.

use std::path::Path;

use serde::Serialize;

use crate::BenchError;
use crate::rounds::Series;

/// Above this spread between rounds a figure is marked as taken on a noisy machine.
const NOISY: f64 = 0.25;

/// One side of a comparison.
#[derive(Debug, Clone, Serialize)]
pub struct Side {
    /// Its name.
    pub name: String,
    /// Its configuration.
    pub configuration: String,
    /// Transactions a second, one figure a round.
    pub tps: Series,
    /// Mean latency in milliseconds, one figure a round.
    pub latency_ms: Series,
}

/// One figure of the summary.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// Its fixed name.
    pub name: &'static str,
    /// Its value.
    pub value: f64,
    /// Its unit.
    pub unit: &'static str,
}

/// A whole run.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// What was run.
    pub title: String,
    /// Processors of the machine.
    pub cores: usize,
    /// Both sides and more.
    pub sides: Vec<Side>,
    /// The summary.
    pub figures: Vec<Figure>,
}

impl Report {
    /// Prints the table, warnings, and the result lines.
    pub fn print(&self) {
        println!("\n{} ({} cores)", self.title, self.cores);
        for side in &self.sides {
            println!("  {}", side.configuration);
        }
        println!("\n  {:<24} {:>12} {:>12} {:>8}", "", "median tps", "latency ms", "spread");
        for side in &self.sides {
            let (tps, latency, spread) = (side.tps.median(), side.latency_ms.median(), side.tps.spread());
            println!("  {:<24} {tps:>12.0} {latency:>12.2} {:>7.0}%", side.name, spread * 100.0);
        }
        for side in self.sides.iter().filter(|s| s.tps.spread() > NOISY) {
            println!("  noisy: rounds of {} differ by more than {:.0} %", side.name, NOISY * 100.0);
        }
        println!();
        for figure in &self.figures {
            println!("result {} {:.3} {}", figure.name, figure.value, figure.unit);
        }
    }

    /// Writes the run as JSON.
    pub fn write_json(&self, file: &Path) -> Result<(), BenchError> {
        let what = format!("cannot write {}", file.display());
        let text = serde_json::to_string_pretty(self).map_err(|e| BenchError::Peer(e.to_string()))?;
        std::fs::write(file, text + "\n").map_err(BenchError::io(what))
    }
}
