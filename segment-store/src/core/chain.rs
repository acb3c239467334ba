//! The segment chain of one segment: which batches its log holds, how far the chain is whole, and what truncation
//! ranges cut off.
//!
//! What must hold:
//! - the SCL is the LSN of a live record (or zero), also after a range cut a batch in two;
//! - nothing at or below the known VDL is ever cut: a range that tries contradicts the protocol and is refused;
//! - the LSNs of single records are kept only above the known VDL, where a cut can still fall: one allocation a batch.

use std::collections::BTreeMap;

use sextant_redo::{Lsn, TruncationRange, VolumeEpoch};

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

/// A truncation range contradicts what the writer declared durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("range ({from}, {to}] of epoch {epoch} would void records at or below {vdl}, which were durable")]
pub struct ChainError {
    from: Lsn,
    to: Lsn,
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

    /// Adds a batch of which the records `lsns` are live (a prefix, not empty).
    pub fn insert(&mut self, batch: StoredBatch, lsns: &[Lsn], vdl: Lsn) {
        self.coverage.insert(batch.prev, batch.last);
        let longer = self.batches.get(&batch.first).is_none_or(|known| known.last < batch.last);
        if batch.last <= self.log_start || !longer {
            return;
        }
        self.batches.insert(batch.first, batch);
        if batch.last > vdl {
            self.fresh.insert(batch.first, lsns.into());
        }
    }

    /// The VDL has moved: the LSNs of single records at or below it are forgotten.
    pub fn vdl_moved(&mut self, vdl: Lsn) {
        while let Some(entry) = self.fresh.first_entry()
            && entry.get().last().is_none_or(|last| *last <= vdl)
        {
            entry.remove();
        }
    }

    /// Fails when `range` would void a live record at or below `vdl`.
    pub fn check_range(&self, range: TruncationRange, vdl: Lsn) -> Result<(), ChainError> {
        let contradicted = range.from < vdl
            && self.batches.values().any(|batch| {
                let voided_first = self
                    .fresh
                    .get(&batch.first)
                    .and_then(|lsns| lsns.iter().copied().find(|lsn| range.voids(batch.epoch, *lsn)))
                    .unwrap_or(batch.last);
                range.voids(batch.epoch, voided_first) && voided_first <= vdl
            });
        if contradicted {
            let TruncationRange { epoch, from, to } = range;
            return Err(ChainError { from, to, epoch, vdl });
        }
        Ok(())
    }

    /// Cuts off what `range` voids and says what was cut. [`Chain::check_range`] must have passed.
    pub fn truncate(&mut self, range: TruncationRange) -> Vec<Cut> {
        let mut cuts = Vec::new();
        let hit: Vec<Lsn> = self
            .batches
            .values()
            .filter(|b| b.epoch < range.epoch && b.last > range.from && b.first <= range.to)
            .map(|b| b.first)
            .collect();
        for first in hit {
            let Some(batch) = self.batches.get_mut(&first) else {
                continue;
            };
            let lsns = self.fresh.get(&first).map_or(&[][..], |l| &l[..]);
            let live = lsns.iter().take_while(|lsn| !range.voids(batch.epoch, **lsn)).count();
            if live == lsns.len() && !lsns.is_empty() {
                continue;
            }
            let keep = live.checked_sub(1).map_or(batch.prev, |at| lsns[at]);
            cuts.push(Cut { at: batch.at, keep });
            if live == 0 {
                self.batches.remove(&first);
                self.fresh.remove(&first);
            } else {
                batch.last = keep;
                let kept: Box<[Lsn]> = lsns[..live].into();
                self.fresh.insert(first, kept);
            }
        }
        self.uncover(range);
        cuts
    }

    /// Takes the range out of the coverage, then adds back what the remaining batches cover.
    fn uncover(&mut self, range: TruncationRange) {
        let mut coverage = Coverage::default();
        for (from, to) in self.coverage.spans() {
            if to <= range.from || from >= range.to {
                coverage.insert(from, to);
            } else if from < range.from {
                coverage.insert(from, self.last_live_record(from, range.from));
            }
        }
        for batch in self.batches.values() {
            coverage.insert(batch.prev, batch.last);
        }
        self.coverage = coverage;
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
        self.log_start = start;
        self.batches.retain(|_, batch| batch.last > start);
        self.fresh.retain(|first, _| self.batches.contains_key(first));
        start
    }

    /// The highest LSN among batches whose bytes start below `floor`.
    #[must_use]
    pub fn highest_below(&self, floor: LogAddress) -> Lsn {
        let below = self.batches.values().filter(|batch| batch.at < floor);
        below.map(|batch| batch.last).max().unwrap_or(Lsn::ZERO)
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
