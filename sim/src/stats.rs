//! What a run did, and sums over runs.

use std::collections::BTreeMap;
use std::fmt;

use crate::schedule::Time;

/// Counts of one run or of many.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Runs.
    pub seeds: u64,
    /// Events dispatched.
    pub events: u64,
    /// Virtual microseconds.
    pub time: Time,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Volume openings that came through.
    pub openings: u64,
    /// Writer processes started.
    pub writers: u64,
    /// Storage processes that recovered their log.
    pub restarts: u64,
    /// Page images written by storage nodes.
    pub images: u64,
    /// Checkpoints written by storage nodes.
    pub checkpoints: u64,
    /// Log files used again or deleted.
    pub log_files_freed: u64,
    /// Page images that nodes got from one another.
    pub pages_given: u64,
    /// Bytes of log that they got from one another.
    pub log_given: u64,
    /// Mini-transactions logged.
    pub logged: u64,
    /// Commits acknowledged.
    pub acked: u64,
    /// Pages read and compared.
    pub pages: u64,
    /// Longest time without an acknowledgement, in microseconds.
    pub stall: Time,
    /// Longest time from healing to the first new commit.
    pub first_commit: Time,
    /// Longest time from healing to equal copies.
    pub converged: Time,
}

impl Stats {
    /// Counts a fault.
    pub fn fault(&mut self, kind: &'static str) {
        self.faults_add(kind, 1);
    }

    /// Counts faults.
    pub fn faults_add(&mut self, kind: &'static str, count: u64) {
        if count > 0 {
            *self.faults.entry(kind).or_default() += count;
        }
    }

    /// Adds another run's counts.
    pub fn add(&mut self, other: &Stats) {
        self.seeds += other.seeds;
        self.events += other.events;
        self.time += other.time;
        other.faults.iter().for_each(|(kind, count)| self.faults_add(kind, *count));
        self.openings += other.openings;
        self.writers += other.writers;
        self.restarts += other.restarts;
        self.images += other.images;
        self.checkpoints += other.checkpoints;
        self.log_files_freed += other.log_files_freed;
        self.pages_given += other.pages_given;
        self.log_given += other.log_given;
        self.logged += other.logged;
        self.acked += other.acked;
        self.pages += other.pages;
        self.stall = self.stall.max(other.stall);
        self.first_commit = self.first_commit.max(other.first_commit);
        self.converged = self.converged.max(other.converged);
    }
}

impl fmt::Display for Stats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ms = |time: Time| time / 1000;
        writeln!(f, "seeds {}, events {}, virtual time {} s", self.seeds, self.events, ms(self.time) / 1000)?;
        writeln!(
            f,
            "mini-transactions logged {}, commits acknowledged {}, pages compared {}",
            self.logged, self.acked, self.pages
        )?;
        writeln!(
            f,
            "writers started {}, openings through {}, storage recoveries {}",
            self.writers, self.openings, self.restarts
        )?;
        writeln!(
            f,
            "page images {}, checkpoints {}, log files freed {}",
            self.images, self.checkpoints, self.log_files_freed
        )?;
        writeln!(
            f,
            "storage nodes from one another: {} page images, {} bytes of log",
            self.pages_given, self.log_given
        )?;
        writeln!(
            f,
            "longest stall under faults {} ms; after healing: first commit {} ms, equal copies {} ms at most",
            ms(self.stall),
            ms(self.first_commit),
            ms(self.converged)
        )?;
        write!(f, "faults:")?;
        for (n, (kind, count)) in self.faults.iter().enumerate() {
            write!(f, "{} {kind} {count}", if n == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}
