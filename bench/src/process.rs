//! Processes as `/proc` shows them.

use std::fs;
use std::time::Duration;

/// Clock ticks a second in `/proc`: fixed by the kernel's interface on every architecture that we run on.
pub(crate) const TICKS: f64 = 100.0;

/// A process at one moment. Times are in ticks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Stat {
    pub(crate) pid: u32,
    pub(crate) parent: u32,
    /// False when it has ended and nobody has asked for its end yet.
    pub(crate) alive: bool,
    /// Processor time of its own.
    pub(crate) own: f64,
    /// Processor time of children that it has waited for.
    pub(crate) children: f64,
    /// When it started, since the machine did.
    started: f64,
}

/// All there are.
pub(crate) fn all() -> Vec<Stat> {
    let Ok(folder) = fs::read_dir("/proc") else { return Vec::new() };
    let pids = folder.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<u32>().ok());
    pids.filter_map(of).collect()
}

/// One, while it is there.
pub(crate) fn of(pid: u32) -> Option<Stat> {
    parse(pid, &fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
}

/// How long ago it started, to a hundredth of a second.
pub(crate) fn age(pid: u32) -> Option<Duration> {
    let stat = of(pid).filter(|stat| stat.alive)?;
    let uptime: f64 = fs::read_to_string("/proc/uptime").ok()?.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_secs_f64((uptime - stat.started / TICKS).max(0.0)))
}

/// A process and all below it.
pub(crate) fn tree(pid: u32) -> Vec<u32> {
    let stats = all();
    let mut found = vec![pid];
    let mut at = 0;
    while let Some(parent) = found.get(at).copied() {
        found.extend(stats.iter().filter(|stat| stat.parent == parent).map(|stat| stat.pid));
        at += 1;
    }
    found
}

/// Fields behind the name in parentheses, which may hold anything: state, parent, ...; 11 to 14 are the times.
fn parse(pid: u32, stat: &str) -> Option<Stat> {
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = |at: usize| fields.get(at)?.parse::<f64>().ok();
    Some(Stat {
        pid,
        parent: fields.get(1)?.parse().ok()?,
        alive: !matches!(*fields.first()?, "Z" | "X"),
        own: ticks(11)? + ticks(12)?,
        children: ticks(13)? + ticks(14)?,
        started: ticks(19)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stat_line_is_read_whatever_the_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 150 50 30 20 20 0 1 0 12345";
        let stat = parse(42, line).expect("complete");
        let read = Stat { pid: 42, parent: 7, alive: true, own: 200.0, children: 50.0, started: 12345.0 };
        assert_eq!(stat, read);
        assert!(!parse(42, &line.replace(" S ", " Z ")).expect("complete").alive);
    }

    #[test]
    fn a_child_is_below_its_parent_and_young() {
        let mut child = std::process::Command::new("sleep").arg("60").spawn().expect("sleep");
        let (tree, age) = (tree(std::process::id()), age(child.id()));
        child.kill().and_then(|()| child.wait()).expect("killed");
        assert!(tree.contains(&child.id()) && tree.first() == Some(&std::process::id()), "{tree:?}");
        assert!(age.is_some_and(|age| age < Duration::from_secs(30)), "{age:?}");
    }
}
