//! Where the processor's time goes: the seconds that processes have used, by role, read from `/proc` around a run.

use std::collections::BTreeMap;

use crate::process::{self, Stat, TICKS};

/// The load generators: this process and its children that have been waited for.
pub(crate) const CLIENT: &str = "client";

/// A process and what it is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Process {
    /// Its role in the system under test.
    pub role: String,
    /// Its id.
    pub pid: u32,
}

/// Processor seconds by role.
pub type Seconds = BTreeMap<String, f64>;

/// What the processes, their descendants (PostgreSQL forks a backend a connection) and this process with its finished
/// children have used so far.
#[must_use]
pub fn used(processes: &[Process]) -> Seconds {
    let stats = process::all();
    let mut seconds = Seconds::new();
    for process in processes {
        *seconds.entry(process.role.clone()).or_default() += tree(&stats, process.pid);
    }
    let own = stats.iter().find(|stat| stat.pid == std::process::id());
    seconds.insert(CLIENT.to_owned(), own.map_or(0.0, |stat| (stat.own + stat.children) / TICKS));
    seconds
}

/// `after` less `before`.
#[must_use]
pub fn between(before: &Seconds, after: &Seconds) -> Seconds {
    let less = |(role, used): (&String, &f64)| {
        (role.clone(), (used - before.get(role).copied().unwrap_or(0.0)).max(0.0))
    };
    after.iter().map(less).collect()
}

fn tree(stats: &[Stat], pid: u32) -> f64 {
    let own = stats.iter().find(|stat| stat.pid == pid);
    let below: f64 = stats.iter().filter(|stat| stat.parent == pid).map(|stat| tree(stats, stat.pid)).sum();
    below + own.map_or(0.0, |stat| (stat.own + stat.children) / TICKS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn work_is_seen() {
        let me = [Process { role: "me".into(), pid: std::process::id() }];
        let before = used(&me);
        let started = std::time::Instant::now();
        let mut x = 1u64;
        while started.elapsed().as_millis() < 120 {
            x = std::hint::black_box(x.wrapping_mul(3));
        }
        let work = between(&before, &used(&me));
        assert!(work["me"] > 0.05 && work["me"] < 5.0, "{work:?}");
    }
}
