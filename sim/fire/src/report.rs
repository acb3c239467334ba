//! What a run did and what the oracle says: the summary, and the verdict as a whole.

use std::collections::BTreeMap;
use std::fmt;
use std::time::Duration;

use crate::bank::{Reads, Verdict};

/// Notes kept; what happens a hundred times needs no hundred lines.
const NOTES_MAX: usize = 10;

/// See the module.
#[derive(Debug, Default)]
pub struct Report {
    /// What the plan was drawn from.
    pub seed: u64,
    /// How long faults struck.
    pub lasted: Duration,
    /// Faults by kind.
    pub faults: BTreeMap<String, u64>,
    /// Processes killed, alone or with their zone.
    pub kills: u64,
    /// Times that every process was killed at once.
    pub whole_kills: u64,
    /// Bits flipped on the way.
    pub flips: u64,
    /// Connections through the proxies, and those that the proxies reset.
    pub connections: (u64, u64),
    /// Other things that happened, and how often.
    pub events: BTreeMap<String, u64>,
    /// Longest time from the end of a fault until its victims were like their peers.
    pub longest_recovery: Duration,
    /// Longest time without a commit.
    pub longest_stall: Duration,
    /// Longest time without a commit while at most two storage nodes were impaired.
    pub longest_due_stall: Duration,
    /// Errors that engines answered, by SQLSTATE.
    pub refused: BTreeMap<String, u64>,
    /// What the readers saw.
    pub reads: Reads,
    /// The bank after the faults, and again after the last kill of everything.
    pub verdicts: Vec<Verdict>,
    /// What `sextant verify` said, each time.
    pub verified: Vec<String>,
    /// Worth knowing, and not wrong.
    pub notes: Vec<String>,
    /// What must not be.
    pub findings: Vec<String>,
}

impl Report {
    /// Nothing was found that must not be.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.findings.is_empty()
            && self.reads.wrong_sums == 0
            && self.reads.stale == 0
            && !self.verdicts.is_empty()
            && self.verdicts.iter().all(Verdict::is_clean)
    }

    pub(crate) fn fault(&mut self, kind: String) {
        *self.faults.entry(kind).or_default() += 1;
    }

    pub(crate) fn event(&mut self, what: &str) {
        self.events(what, 1);
    }

    pub(crate) fn events(&mut self, what: &str, times: u64) {
        *self.events.entry(what.to_owned()).or_default() += times;
    }

    pub(crate) fn recovered(&mut self, after: Duration) {
        self.longest_recovery = self.longest_recovery.max(after);
    }

    pub(crate) fn note(&mut self, what: String) {
        if self.notes.len() < NOTES_MAX && !self.notes.contains(&what) {
            self.notes.push(what);
        }
    }

    pub(crate) fn finding(&mut self, what: String) {
        println!("FINDING: {what}");
        self.findings.push(what);
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let list = |counts: &BTreeMap<String, u64>| {
            let all: Vec<String> = counts.iter().map(|(what, times)| format!("{what} {times}")).collect();
            if all.is_empty() { "none".to_owned() } else { all.join(", ") }
        };
        writeln!(f, "seed {}, {:.0} s under fire", self.seed, self.lasted.as_secs_f64())?;
        writeln!(
            f,
            "kills        {} processes, and everything at once {} times",
            self.kills, self.whole_kills
        )?;
        writeln!(f, "faults       {}", list(&self.faults))?;
        let (connections, resets) = self.connections;
        writeln!(f, "network      {} bits flipped, {resets} of {connections} connections reset", self.flips)?;
        writeln!(f, "events       {}", list(&self.events))?;
        writeln!(
            f,
            "no commit    for {:.1} s at longest; {:.1} s while at most two storage nodes were impaired",
            self.longest_stall.as_secs_f64(),
            self.longest_due_stall.as_secs_f64()
        )?;
        writeln!(f, "recovery     {:.1} s at longest", self.longest_recovery.as_secs_f64())?;
        writeln!(f, "errors       {}", list(&self.refused))?;
        let Reads { snapshots, wrong_sums, stale, examples } = &self.reads;
        writeln!(f, "reads        {snapshots} snapshots, wrong sums {wrong_sums}, stale {stale}")?;
        examples.iter().try_for_each(|example| writeln!(f, "             {example}"))?;
        for verdict in &self.verdicts {
            writeln!(f, "bank         {verdict}")?;
        }
        for verified in &self.verified {
            writeln!(f, "verify       {verified}")?;
        }
        self.notes.iter().try_for_each(|note| writeln!(f, "note         {note}"))?;
        self.findings.iter().try_for_each(|finding| writeln!(f, "FINDING      {finding}"))?;
        f.write_str(if self.is_clean() { "verdict      clean" } else { "verdict      NOT CLEAN" })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_wrong_thing_is_enough() {
        let clean = || Report { verdicts: vec![Verdict::default()], ..Report::default() };
        assert!(clean().is_clean());
        assert!(!Report::default().is_clean(), "a bank that was never looked at");
        let mut report = clean();
        report.reads.stale = 1;
        assert!(!report.is_clean());
        let mut report = clean();
        report.verdicts[0].lost.push((3, 14));
        assert!(!report.is_clean());
        assert!(report.to_string().contains("lost 1 (first: client 3, number 14)"), "{report}");
        let mut report = clean();
        report.finding("odd".to_owned());
        assert!(!report.is_clean());
        assert!(report.to_string().ends_with("NOT CLEAN"));
    }
}
