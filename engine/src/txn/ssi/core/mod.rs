//! Who read what, who missed whose write, and who must give way. A function of its calls: no clock, lock or randomness.
//!
//! A read is a range of keys of a relation, of row ids in a table and of entries in an index: a row, a gap, all of it. Too
//! many ranges are promoted to fewer that are wider ([`Limits`]), which can refuse more than is needed and never less.
//!
//! What must hold: `kept` has exactly the committed, but for the summary, and `running` all others; an edge is entered at
//! both of its ends; `ranges` counts the ranges of all reads.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod danger;
mod entry;
mod forget;
mod ranges;
mod safe;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};

use sextant_redo::Lsn;

use self::entry::{Entry, Phase};
pub(crate) use self::ranges::KeyRange;
use self::ranges::RangeSet;
use self::safe::Judged;
pub(crate) use self::safe::{Deferred, Safety};
use crate::txn::TxId;

/// A serializable transaction.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Sxact(u64);

impl Sxact {
    /// What stands for those that committed long ago.
    const SUMMARY: Sxact = Sxact(0);
}

/// The transaction has to be rolled back (40001).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Refused;

/// What bounds memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Ranges of one transaction in one relation; above it they are merged with their neighbours.
    pub(crate) ranges_of_relation: usize,
    /// Ranges of everybody; above it whoever reads in ranges reads the whole relation instead.
    pub(crate) ranges: usize,
    /// Committed transactions; above it the oldest are summed up.
    pub(crate) kept: usize,
}

impl Default for Limits {
    /// About 200 bytes a range: 20 MB.
    fn default() -> Limits {
        Limits { ranges_of_relation: 512, ranges: 100_000, kept: 1_000 }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Ssi {
    limits: Limits,
    txns: BTreeMap<Sxact, Entry>,
    /// Who writes, or wrote, under an id.
    ids: BTreeMap<TxId, Sxact>,
    /// At least the ids of those that are summed up.
    summed_ids: RangeSet,
    /// Those that have not committed, by snapshot.
    running: BTreeSet<(Lsn, Sxact)>,
    /// Those that have, by the LSN at which they were over.
    kept: BTreeSet<(Lsn, Sxact)>,
    /// Snapshots that are being judged.
    deferred: BTreeMap<Deferred, Judged>,
    /// The newest snapshot so far: none below will be taken.
    newest: Lsn,
    last: u64,
    order: u64,
    ranges: usize,
}

/// Enters a read.
fn add_read(
    reads: &mut BTreeMap<u32, RangeSet>,
    relation: u32,
    range: &KeyRange,
    all: &mut usize,
    limits: Limits,
) {
    let set = reads.entry(relation).or_default();
    let before = set.len();
    set.insert(range);
    if set.len() > before && *all >= limits.ranges {
        set.fill();
    } else if set.len() > limits.ranges_of_relation {
        set.coarsen();
    }
    *all = *all + set.len() - before;
}

impl Ssi {
    pub(crate) fn new(limits: Limits) -> Ssi {
        Ssi { limits, ..Ssi::default() }
    }

    /// A transaction begins, with a snapshot that is not below any before. `None` when nothing can come of it: it only
    /// reads, and everybody who writes was over before.
    pub(crate) fn begin(&mut self, snapshot: Lsn, read_only: bool) -> Option<Sxact> {
        self.newest = self.newest.max(snapshot);
        self.forget();
        let is_over = |entry: &Entry| entry.read_only || entry.is_over_at(snapshot);
        if read_only && self.txns.values().all(is_over) {
            return None;
        }
        self.last += 1;
        let id = Sxact(self.last);
        self.txns.insert(id, Entry::new(snapshot, read_only, Phase::Active));
        self.running.insert((snapshot, id));
        Some(id)
    }

    /// `me` will write under `id`.
    pub(crate) fn writes_as(&mut self, me: Sxact, id: TxId) {
        if let Some(entry) = self.txns.get_mut(&me) {
            entry.ids.push(id);
            self.ids.insert(id, me);
        }
    }

    fn go_on(&self, me: Sxact) -> Result<(), Refused> {
        if self.txns.get(&me).is_some_and(Entry::is_doomed) { Err(Refused) } else { Ok(()) }
    }

    /// `me` is about to read what there is in a range of a relation.
    pub(crate) fn read(&mut self, me: Sxact, relation: u32, range: &KeyRange) -> Result<(), Refused> {
        self.go_on(me)?;
        if let Some(entry) = self.txns.get_mut(&me) {
            add_read(&mut entry.reads, relation, range, &mut self.ranges, self.limits);
        }
        Ok(())
    }

    /// `me` passed over a version that was written under `by`, and which is newer than its snapshot.
    pub(crate) fn missed(&mut self, me: Sxact, by: TxId) -> Result<(), Refused> {
        self.go_on(me)?;
        let summed =
            || self.summed_ids.overlaps(&KeyRange::numbers(by.0..by.0 + 1)).then_some(Sxact::SUMMARY);
        let Some(writer) = self.ids.get(&by).copied().or_else(summed).filter(|writer| *writer != me) else {
            return Ok(());
        };
        let (Some(reader), Some(w)) = (self.txns.get(&me), self.txns.get(&writer)) else { return Ok(()) };
        // Who only reads is over at its snapshot: who began no earlier comes behind it.
        let behind = reader.read_only && writer != Sxact::SUMMARY && w.snapshot >= reader.snapshot;
        if behind || w.is_doomed() || w.is_over_at(reader.snapshot) {
            return Ok(());
        }
        self.conflict(me, writer, me)
    }

    /// `me` has written something in a range of a relation.
    pub(crate) fn wrote(&mut self, me: Sxact, relation: u32, range: &KeyRange) -> Result<(), Refused> {
        self.go_on(me)?;
        let Some(snapshot) = self.txns.get(&me).map(|entry| entry.snapshot) else { return Ok(()) };
        let has_read = |entry: &Entry| entry.reads.get(&relation).is_some_and(|set| set.overlaps(range));
        let readers: Vec<Sxact> = self
            .txns
            .iter()
            .filter(|(id, entry)| **id != me && !entry.is_doomed() && !entry.is_over_at(snapshot))
            .filter(|(_, entry)| has_read(entry))
            .map(|(id, _)| *id)
            .collect();
        readers.into_iter().try_for_each(|reader| self.conflict(reader, me, me))
    }

    /// `me` is about to commit. If that may be, it will not be refused later.
    pub(crate) fn prepare(&mut self, me: Sxact) -> Result<(), Refused> {
        self.go_on(me)?;
        self.refuse_pivots(me)?;
        self.order += 1;
        if let Some(entry) = self.txns.get_mut(&me) {
            entry.phase = Phase::Prepared { order: self.order };
        }
        Ok(())
    }

    /// `me` has committed, what it wrote at this LSN; `None` when it wrote nothing.
    pub(crate) fn committed(&mut self, me: Sxact, wrote: Option<Lsn>) {
        let Some(entry) = self.txns.get_mut(&me) else { return };
        self.order += 1;
        let prepared = entry.prepared().unwrap_or(self.order);
        entry.read_only |= wrote.is_none();
        let lsn = wrote.unwrap_or(entry.snapshot);
        entry.phase = Phase::Committed { prepared, order: self.order, first: lsn, last: lsn };
        self.running.remove(&(entry.snapshot, me));
        self.kept.insert((lsn, me));
        self.decide(me, wrote);
        self.forget();
    }

    /// `me` was rolled back: it is as if it had never been.
    pub(crate) fn rolled_back(&mut self, me: Sxact) {
        self.decide(me, None);
        // Who missed its writes missed nothing.
        for other in
            self.txns.get_mut(&me).map(|entry| std::mem::take(&mut entry.missed_by)).unwrap_or_default()
        {
            if let Some(other) = self.txns.get_mut(&other) {
                other.missed.remove(&me);
            }
        }
        if let Some(entry) = self.drop_entry(me) {
            self.running.remove(&(entry.snapshot, me));
            self.forget();
        }
    }

    /// An index goes: who read in it counts as having read the whole table.
    pub(crate) fn index_goes(&mut self, index: u32, table: u32) {
        for entry in self.txns.values_mut() {
            if let Some(set) = entry.reads.remove(&index) {
                self.ranges -= set.len();
                add_read(&mut entry.reads, table, &KeyRange::all(), &mut self.ranges, self.limits);
            }
        }
    }

    /// Transactions that are known.
    pub(crate) fn len(&self) -> usize {
        self.txns.len()
    }
}
