//! The machine that everything runs on, and how much of it others were using when the benchmark began.

use std::fs;
use std::time::Duration;

use serde::Serialize;

/// How long is looked.
const LOOK: Duration = Duration::from_secs(1);
/// Above this share of the processors in others' use figures are marked as taken on a noisy machine.
const NOISY: f64 = 0.10;

/// See the module.
#[derive(Debug, Clone, Serialize)]
pub struct Machine {
    /// Processors.
    pub cores: usize,
    /// The kernel's release.
    pub kernel: String,
    /// Share of the processors that was in use, or taken away by the host, before anything of ours ran.
    pub busy_before: f64,
}

impl Machine {
    /// Looks for a second, in which nothing of ours runs.
    #[must_use]
    pub fn look() -> Machine {
        let before = times();
        std::thread::sleep(LOOK);
        let busy_before = before.zip(times()).map_or(0.0, |(before, after)| busy(before, after));
        let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Machine { cores, kernel: kernel.trim().to_owned(), busy_before }
    }

    /// One line, with a warning where there is reason for one.
    #[must_use]
    pub fn line(&self) -> String {
        let Machine { cores, kernel, busy_before } = self;
        let busy = busy_before * 100.0;
        let noisy = if *busy_before > NOISY { "; NOISY: figures are worth little" } else { "" };
        format!("{cores} processors, Linux {kernel}, {busy:.0} % in use by others before the start{noisy}")
    }
}

/// Ticks of all processors since the machine started: idle ones, and all.
fn times() -> Option<(f64, f64)> {
    parse(&fs::read_to_string("/proc/stat").ok()?)
}

/// `cpu user nice system idle iowait irq softirq steal ...`; what comes after is contained in the first two.
fn parse(stat: &str) -> Option<(f64, f64)> {
    let fields = stat.lines().next()?.strip_prefix("cpu ")?.split_whitespace();
    let ticks: Vec<f64> = fields.take(8).filter_map(|field| field.parse().ok()).collect();
    Some((ticks.get(3)? + ticks.get(4)?, ticks.iter().sum()))
}

fn busy(before: (f64, f64), after: (f64, f64)) -> f64 {
    let (idle, all) = (after.0 - before.0, after.1 - before.1);
    if all > 0.0 { (1.0 - idle / all).clamp(0.0, 1.0) } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn use_by_others_is_seen() {
        let before = parse("cpu  100 0 50 800 50 0 0 0 0 0\ncpu0 1 2\n").expect("complete");
        let after = parse("cpu  130 0 60 840 50 0 0 20 7 0\n").expect("complete");
        assert_eq!(busy(before, after), 0.6);
        assert_eq!((parse("intr 1 2"), busy(before, before)), (None, 0.0));
    }

    #[test]
    fn a_noisy_machine_is_called_so() {
        let machine = |busy_before| Machine { cores: 2, kernel: "6".into(), busy_before };
        assert!(machine(0.5).line().contains("NOISY") && !machine(0.05).line().contains("NOISY"));
    }
}
