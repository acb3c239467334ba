//! What a transaction still has to ask of its deferrable constraints, and what SET CONSTRAINTS said.
//!
//! It is kept with the transaction as a list that a savepoint cuts. What is asked at the end of each statement is taken out
//! then; the rest waits for COMMIT or for SET CONSTRAINTS IMMEDIATE.

use std::collections::BTreeSet;
use std::sync::Arc;

use sextant_redo::Lsn;

use super::bind::Link;
use crate::catalog::ConstraintTiming;
use crate::table::RowId;
use crate::txn::{Attached, Transaction};
use crate::types::Datum;

/// Something to ask.
#[derive(Debug, Clone)]
pub(crate) enum Check {
    /// That no other row has the key of this one.
    Unique { table: u32, index: u32, row: RowId },
    /// That a key of the child's is there, if a row still refers to it.
    Refers(Arc<Link>, Vec<Datum>),
    /// That nothing refers to a key of the parent's any more.
    Gone(Arc<Link>, Vec<Datum>),
}

impl Check {
    fn constraint(&self) -> u32 {
        match self {
            // A key's constraint has its index's OID.
            Check::Unique { index, .. } => *index,
            Check::Refers(link, _) | Check::Gone(link, _) => link.key.oid,
        }
    }

    /// The table whose change is asked about.
    fn table(&self) -> u32 {
        match self {
            Check::Unique { table, .. } => *table,
            Check::Refers(link, _) => link.child.oid,
            Check::Gone(link, _) => link.parent.oid,
        }
    }
}

enum Entry {
    Ask(Check, ConstraintTiming),
    /// The entry there was asked.
    Asked(usize),
    /// Of a constraint, or of all: deferred or immediate from here on.
    Set(Option<u32>, bool),
}

/// See the module.
#[derive(Default)]
pub(crate) struct Deferred {
    entries: Vec<Entry>,
    /// Where there is an `Entry::Set`.
    settings: Vec<usize>,
    /// Entries before this one are of statements that have ended.
    ended: usize,
}

impl Attached for Deferred {
    fn committed(&mut self, _: Lsn) {}

    fn mark(&self) -> usize {
        self.entries.len()
    }

    fn rollback_to(&mut self, mark: usize) {
        self.entries.truncate(mark);
        self.settings.retain(|at| *at < mark);
        self.ended = self.ended.min(mark);
    }
}

impl Deferred {
    /// The transaction's.
    pub(crate) fn of(txn: &mut Transaction) -> &mut Deferred {
        if txn.attached::<Deferred>().is_none() {
            txn.attach(Box::<Deferred>::default());
        }
        txn.attached_mut().expect("it was just attached")
    }

    pub(crate) fn ask(&mut self, check: Check, timing: ConstraintTiming) {
        self.entries.push(Entry::Ask(check, timing));
    }

    /// SET CONSTRAINTS.
    pub(crate) fn set(&mut self, constraint: Option<u32>, deferred: bool) {
        self.settings.push(self.entries.len());
        self.entries.push(Entry::Set(constraint, deferred));
    }

    /// Whether a constraint waits for COMMIT now.
    pub(crate) fn waits(&self, constraint: u32, timing: ConstraintTiming) -> bool {
        let said = self.settings.iter().rev().find_map(|at| match self.entries[*at] {
            Entry::Set(of, deferred) if of.is_none_or(|of| of == constraint) => Some(deferred),
            _ => None,
        });
        timing.is_deferrable() && said.unwrap_or(timing.is_deferred())
    }

    /// A statement ends: takes out what it has to ask now.
    pub(crate) fn end_statement(&mut self) -> Vec<Check> {
        let mut now = Vec::new();
        for entry in self.entries.split_off(self.ended) {
            match entry {
                Entry::Ask(check, timing) if !self.waits(check.constraint(), timing) => now.push(check),
                other => self.entries.push(other),
            }
        }
        self.ended = self.entries.len();
        now
    }

    /// What waits and is not to wait any longer, by the settings of now; of COMMIT, all. It counts as asked.
    pub(crate) fn due(&mut self, at_commit: bool) -> Vec<Check> {
        let asked: BTreeSet<usize> = self
            .entries
            .iter()
            .filter_map(|entry| match entry {
                Entry::Asked(at) => Some(*at),
                _ => None,
            })
            .collect();
        let mut due = Vec::new();
        let mut places = Vec::new();
        for (at, entry) in self.entries.iter().enumerate() {
            if let Entry::Ask(check, timing) = entry
                && !asked.contains(&at)
                && (at_commit || !self.waits(check.constraint(), *timing))
            {
                due.push(check.clone());
                places.push(at);
            }
        }
        self.entries.extend(places.into_iter().map(Entry::Asked));
        self.ended = self.entries.len();
        due
    }

    /// Whether a change of the table is still to be asked about.
    pub(crate) fn concerns(&self, table: u32) -> bool {
        let asked = |n: usize| self.entries.iter().any(|entry| matches!(entry, Entry::Asked(at) if *at == n));
        let mut entries = self.entries.iter().enumerate();
        entries
            .any(|(at, entry)| matches!(entry, Entry::Ask(check, _) if check.table() == table) && !asked(at))
    }
}
