//! The segment chain of one segment: which batches its log holds, how far the chain is whole, and what truncation
//! ranges cut off.
//!
//! What must hold:
//! - the SCL is the LSN of a live record (or zero), also after a range cut a batch in two;
//! - nothing at or below the known VDL is ever cut: a range that tries contradicts the protocol and is refused;
//! - the LSNs of single records are kept only above the known VDL, where a cut can still fall: one allocation a batch.

use std::collections::BTreeMap;

use sextant_redo::{Lsn, RecordAt, TruncationRange, Truncations, VolumeEpoch};

use super::{Coverage, LogAddress};

/// A batch that the hot log holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StoredBatch {
    /// Segment chain link of its first record.
    pub prev: Lsn,
    /// LSN of its first record.
    pub first: Lsn,
    /// LSN of its last record that is not void.
    pub last: Lsn,
    /// The writer's volume epoch.
    pub epoch: VolumeEpoch,
    /// Where its bytes start.
    pub at: LogAddress,
    /// How many bytes.
    pub len: u32,
}

/// What a truncation range left of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cut {
    /// Which batch.
    pub at: LogAddress,
    /// Its records above this LSN are void.
    pub keep: Lsn,
}

/// Truncation ranges contradict what the writer declared durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("record {lsn} of epoch {epoch} would become void, but everything at or below {vdl} was durable")]
pub struct ChainError {
    lsn: Lsn,
    epoch: VolumeEpoch,
    vdl: Lsn,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Chain {
    coverage: Coverage,
    batches: BTreeMap<Lsn, StoredBatch>,
    /// LSNs of the live records of each batch that ends above the known VDL, by the batch's first LSN.
    fresh: BTreeMap<Lsn, Box<[Lsn]>>,
    log_start: Lsn,
}

impl Chain {
    /// The chain that a checkpoint describes; its batches come back with the log.
    #[must_use]
    pub fn restore(coverage: Coverage, log_start: Lsn) -> Chain {
        Chain { coverage, log_start, ..Chain::default() }
    }

    /// Segment complete LSN.
    #[must_use]
    pub fn scl(&self) -> Lsn {
        self.coverage.complete_to()
    }

    /// Highest LSN received.
    #[must_use]
    pub fn highest(&self) -> Lsn {
        self.coverage.highest()
    }

    /// What is covered.
    #[must_use]
    pub fn coverage(&self) -> &Coverage {
        &self.coverage
    }

    /// Every live record above it is in the log.
    #[must_use]
    pub fn log_start(&self) -> Lsn {
        self.log_start
    }

    /// Adds a batch of which the records `live` are live (a prefix, not empty). True unless a copy with more live records
    /// is known: then that one counts. Of equal copies the newest counts, so that log can be moved.
    pub fn insert(&mut self, batch: StoredBatch, live: &[RecordAt], vdl: Lsn) -> bool {
        self.coverage.insert(batch.prev, batch.last);
        if batch.last <= self.log_start {
            return true;
        }
        if self.batches.get(&batch.first).is_some_and(|known| known.last > batch.last) {
            return false;
        }
        self.batches.insert(batch.first, batch);
        if batch.last > vdl {
            self.fresh.insert(batch.first, live.iter().map(|record| record.lsn).collect());
        }
        true
    }

    /// The VDL has moved: the LSNs of single records at or below it are forgotten.
    pub fn vdl_moved(&mut self, vdl: Lsn) {
        while let Some(entry) = self.fresh.first_entry()
            && entry.get().last().is_none_or(|last| *last <= vdl)
        {
            entry.remove();
        }
    }

    /// How many records of the batch at `first` stay live, and the LSNs known of it: none at or below the VDL, where
    /// the batch can only be live or void as a whole.
    fn live_under<'a>(&'a self, batch: &'a StoredBatch, ranges: &Truncations) -> (usize, &'a [Lsn]) {
        let lsns = self.fresh.get(&batch.first).map_or(std::slice::from_ref(&batch.last), |l| &l[..]);
        let live = lsns.iter().take_while(|lsn| !ranges.voids(batch.epoch, **lsn)).count();
        (live, lsns)
    }

    /// Fails when `ranges` would void a live record at or below `vdl`.
    pub fn check_ranges(&self, ranges: &Truncations, vdl: Lsn) -> Result<(), ChainError> {
        for batch in self.batches.values() {
            let (live, lsns) = self.live_under(batch, ranges);
            if let Some(lsn) = lsns.get(live).copied().filter(|lsn| *lsn <= vdl) {
                return Err(ChainError { lsn, epoch: batch.epoch, vdl });
            }
        }
        Ok(())
    }

    /// Cuts off what `ranges` void and says what was cut. `added` are those of them that are new here;
    /// [`Chain::check_ranges`] must have passed.
    pub fn truncate(&mut self, ranges: &Truncations, added: &[TruncationRange]) -> Vec<Cut> {
        let mut cuts = Vec::new();
        let all: Vec<StoredBatch> = self.batches.values().copied().collect();
        for batch in all {
            let (live, lsns) = self.live_under(&batch, ranges);
            if live == lsns.len() {
                continue;
            }
            let kept: Box<[Lsn]> = lsns[..live].into();
            let keep = kept.last().copied().unwrap_or(batch.prev);
            cuts.push(Cut { at: batch.at, keep });
            if kept.is_empty() {
                self.batches.remove(&batch.first);
                self.fresh.remove(&batch.first);
            } else {
                self.batches.insert(batch.first, StoredBatch { last: keep, ..batch });
                self.fresh.insert(batch.first, kept);
            }
        }
        added.iter().for_each(|range| self.uncover(*range));
        cuts
    }

    /// Takes the range out of the coverage, then adds back what the remaining batches cover. What was collected from
    /// the log was durable and stays.
    fn uncover(&mut self, range: TruncationRange) {
        let start = range.from.max(self.log_start);
        let mut coverage = Coverage::default();
        for (from, to) in self.coverage.spans() {
            if to <= start || from >= range.to {
                coverage.insert(from, to);
            } else if from < start {
                coverage.insert(from, self.last_live_record(from, start));
            }
        }
        for batch in self.batches.values() {
            coverage.insert(batch.prev, batch.last);
        }
        self.coverage = coverage;
    }

    /// Every record at or below `point` is in page images now, wherever its log went.
    pub fn copied(&mut self, point: Lsn) {
        self.coverage.insert(Lsn::ZERO, point);
        self.start_above(self.log_start.max(point));
    }

    /// The last live record at or below `to` whose LSN is known here.
    #[must_use]
    pub fn last_record(&self, to: Lsn) -> Lsn {
        self.last_live_record(Lsn::ZERO, to)
    }

    /// The last live record in `(from, to]`, or `from`.
    fn last_live_record(&self, from: Lsn, to: Lsn) -> Lsn {
        let in_log = self
            .batches
            .range(..=to)
            .map(|(_, b)| b.last)
            .filter(|last| *last <= to)
            .max()
            .unwrap_or(Lsn::ZERO);
        let collected = if self.log_start <= to { self.log_start } else { Lsn::ZERO };
        from.max(in_log).max(collected)
    }

    /// The batches that hold the unbroken chain above `after`, in order, up to the SCL.
    pub fn above(&self, after: Lsn) -> impl Iterator<Item = &StoredBatch> + '_ {
        let scl = self.scl();
        let start = self.batches.range(..=after).next_back().map_or(Lsn::ZERO, |(first, _)| *first);
        let mut reached = after;
        self.batches
            .range(start..)
            .map(|(_, batch)| batch)
            .take_while(move |batch| batch.first <= scl)
            .filter(move |batch| {
                let wanted = batch.last > reached;
                reached = reached.max(batch.last);
                wanted
            })
    }

    /// The log below `floor` is about to be freed: forgets the batches there. Says how far records are gone now.
    pub fn forget_below(&mut self, floor: LogAddress) -> Lsn {
        let mut start = self.log_start;
        self.batches.retain(|_, batch| {
            let gone = batch.at < floor;
            if gone {
                start = start.max(batch.last);
            }
            !gone
        });
        self.start_above(start);
        start
    }

    /// The log at or below `point` is not needed any more, wherever it lies.
    pub fn give_up(&mut self, point: Lsn) {
        if point > self.log_start {
            self.start_above(point);
        }
    }

    fn start_above(&mut self, start: Lsn) {
        self.log_start = start;
        self.batches.retain(|_, batch| batch.last > start);
        self.fresh.retain(|first, _| self.batches.contains_key(first));
    }

    /// The highest LSN among batches whose bytes start below `floor`.
    #[must_use]
    pub fn highest_below(&self, floor: LogAddress) -> Lsn {
        let below = self.batches.values().filter(|batch| batch.at < floor);
        below.map(|batch| batch.last).max().unwrap_or(Lsn::ZERO)
    }

    /// All batches that the log holds, in order, with the LSNs of the live records of those that end above the known VDL.
    pub fn stored(&self) -> impl Iterator<Item = (&StoredBatch, &[Lsn])> + '_ {
        let fresh = |batch: &StoredBatch| self.fresh.get(&batch.first).map_or(&[][..], |lsns| &lsns[..]);
        self.batches.values().map(move |batch| (batch, fresh(batch)))
    }

    /// Puts a batch back that [`Chain::stored`] gave; the coverage is there already.
    pub fn put_back(&mut self, batch: StoredBatch, fresh: Vec<Lsn>) {
        if batch.last <= self.log_start {
            return;
        }
        if !fresh.is_empty() {
            self.fresh.insert(batch.first, fresh.into());
        }
        self.batches.insert(batch.first, batch);
    }

    /// The batches that the log holds.
    pub fn batches(&self) -> impl Iterator<Item = &StoredBatch> + '_ {
        self.batches.values()
    }

    /// How many batches the log holds.
    #[must_use]
    pub fn batch_count(&self) -> usize {
        self.batches.len()
    }

    /// Panics when a rule of the module is broken.
    pub fn check_invariants(&self) {
        self.coverage.check_invariants();
        for (first, batch) in &self.batches {
            assert_eq!(*first, batch.first);
            assert!(batch.prev < batch.first && batch.first <= batch.last);
            assert!(self.coverage.contains(batch.prev, batch.last), "{batch:?} is not covered");
            assert!(batch.last > self.log_start);
            if let Some(lsns) = self.fresh.get(first) {
                assert_eq!(lsns.last(), Some(&batch.last));
                assert_eq!(lsns.first(), Some(first));
            }
        }
        assert!(self.fresh.keys().all(|first| self.batches.contains_key(first)));
    }
}
