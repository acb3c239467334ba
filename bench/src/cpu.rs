//! Where the processor's time goes: the seconds that processes have used, by role, read from `/proc` around a run.

use std::collections::BTreeMap;
use std::fs;

/// Clock ticks a second in `/proc`: fixed by the kernel's interface on every architecture that we run on.
const TICKS: f64 = 100.0;
/// The load generators: this process and its children that have been waited for.
const CLIENT: &str = "client";

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
    let stats: Vec<Stat> = all_stats();
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

#[derive(Debug, Clone, Copy)]
struct Stat {
    pid: u32,
    parent: u32,
    /// Ticks of its own.
    own: f64,
    /// Ticks of children that it has waited for.
    children: f64,
}

fn tree(stats: &[Stat], pid: u32) -> f64 {
    let own = stats.iter().find(|stat| stat.pid == pid);
    let below: f64 = stats.iter().filter(|stat| stat.parent == pid).map(|stat| tree(stats, stat.pid)).sum();
    below + own.map_or(0.0, |stat| (stat.own + stat.children) / TICKS)
}

fn all_stats() -> Vec<Stat> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(|pid| parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)).collect()
}

/// Fields behind the name in parentheses, which may hold anything: state, parent, ...; 11 to 14 are the times.
fn parse(pid: u32, stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Stat {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        own: ticks(11)? + ticks(12)?,
        children: ticks(13)? + ticks(14)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 30 20 20 0 1 0 12345";
        let stat = parse(42, line).expect("complete");
        assert_eq!((stat.pid, stat.parent, stat.own, stat.children), (42, 7, 200.0, 50.0));
    }

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
