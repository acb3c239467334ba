//! A segment in memory that keeps the rules of the wire protocol.

use std::collections::HashMap;

use bytes::{Bytes, BytesMut};
use sextant_redo::batch::cut_after;
use sextant_redo::wire::{Append, Epochs, SegmentError, SegmentState};
use sextant_redo::{
    Batch, Lsn, Page, PageId, RecordLinks, SegmentId, TruncationRange, VolumeEpoch, apply, page,
};

#[derive(Clone)]
struct Stored {
    links: RecordLinks,
    epoch: VolumeEpoch,
    page: PageId,
    batch: Batch,
}

pub(crate) struct Segment {
    id: SegmentId,
    epochs: Epochs,
    /// By segment chain link.
    records: HashMap<Lsn, Vec<Stored>>,
    chain: Vec<Stored>,
    ranges: Vec<TruncationRange>,
    highest: Lsn,
    vdl: Lsn,
    pub(crate) pgmrpl: Lsn,
}

fn bad(what: &str) -> SegmentError {
    SegmentError::BadRequest { what: what.to_owned() }
}

impl Segment {
    pub(crate) fn new(id: SegmentId, epochs: Epochs) -> Segment {
        Segment {
            id,
            epochs,
            records: HashMap::new(),
            chain: Vec::new(),
            ranges: Vec::new(),
            highest: Lsn::ZERO,
            vdl: Lsn::ZERO,
            pgmrpl: Lsn::ZERO,
        }
    }

    pub(crate) fn scl(&self) -> Lsn {
        self.chain.last().map_or(Lsn::ZERO, |r| r.links.lsn)
    }

    pub(crate) fn state(&self) -> SegmentState {
        SegmentState {
            segment: self.id,
            epochs: self.epochs,
            scl: self.scl(),
            highest: self.highest,
            vdl: self.vdl,
            log_start: Lsn::ZERO,
            truncations: self.ranges.clone(),
        }
    }

    fn check(&self, epochs: Epochs) -> Result<(), SegmentError> {
        if epochs.volume < self.epochs.volume {
            return Err(SegmentError::Fenced { current: self.epochs.volume });
        }
        if epochs.volume > self.epochs.volume {
            return Err(bad("the epoch was never recorded here"));
        }
        self.check_membership(epochs)
    }

    fn check_membership(&self, epochs: Epochs) -> Result<(), SegmentError> {
        let current = self.epochs.membership;
        match epochs.membership < current {
            true => Err(SegmentError::StaleMembership { current }),
            false => Ok(()),
        }
    }

    pub(crate) fn open(&mut self, epochs: Epochs) -> Result<SegmentState, SegmentError> {
        if epochs.volume < self.epochs.volume {
            return Err(SegmentError::Fenced { current: self.epochs.volume });
        }
        self.check_membership(epochs)?;
        self.epochs = epochs;
        Ok(self.state())
    }

    pub(crate) fn truncate(
        &mut self,
        epochs: Epochs,
        ranges: Vec<TruncationRange>,
    ) -> Result<SegmentState, SegmentError> {
        self.check(epochs)?;
        self.ranges = ranges;
        let void =
            |r: &Stored, ranges: &[TruncationRange]| ranges.iter().any(|t| t.voids(r.epoch, r.links.lsn));
        for stored in self.records.values_mut() {
            stored.retain(|r| !void(r, &self.ranges));
        }
        self.chain.clear();
        self.extend();
        Ok(self.state())
    }

    fn extend(&mut self) {
        while let Some(next) = self.records.get(&self.scl()).and_then(|r| r.first()) {
            self.chain.push(next.clone());
        }
    }

    pub(crate) fn append(&mut self, append: &Append) -> Result<Lsn, SegmentError> {
        self.check(append.epochs)?;
        self.epochs.membership = append.epochs.membership;
        if !self.ranges.iter().any(|r| r.epoch == self.epochs.volume) {
            return Err(bad("the truncation range is not recorded here: send Truncate first"));
        }
        let batch = Batch::decode(&append.batch).map_err(|e| bad(&e.to_string()))?;
        for located in batch.records() {
            let (_, record) = located.map_err(|e| bad(&e.to_string()))?;
            let epoch = batch.header().epoch;
            let stored = Stored { links: record.links, epoch, page: record.page, batch: batch.clone() };
            if self.ranges.iter().any(|t| t.voids(epoch, record.links.lsn)) {
                continue;
            }
            let same = self.records.entry(record.links.prev_pg).or_default();
            if same.iter().all(|r| r.links.lsn != record.links.lsn) {
                assert!(
                    same.is_empty(),
                    "two live records follow one: {:?} {:?}",
                    same[0].links,
                    record.links
                );
                same.push(stored);
            }
            self.highest = self.highest.max(record.links.lsn);
        }
        self.vdl = self.vdl.max(batch.header().vdl);
        self.pgmrpl = self.pgmrpl.max(batch.header().pgmrpl);
        self.extend();
        Ok(self.scl())
    }

    pub(crate) fn read_page(
        &self,
        epochs: Epochs,
        wanted: PageId,
        read_point: Lsn,
        required_scl: Lsn,
    ) -> Result<Bytes, SegmentError> {
        self.check(epochs)?;
        if required_scl > read_point {
            return Err(bad("required SCL above the read point"));
        }
        if self.scl() < required_scl {
            return Err(SegmentError::NotComplete { scl: self.scl() });
        }
        let mut image = Page::zero();
        for stored in self.chain.iter().filter(|r| r.page == wanted && r.links.lsn <= read_point) {
            let mut records = stored.batch.records().flatten().map(|(_, record)| record);
            let record = records.find(|r| r.links == stored.links).expect("it came from there");
            apply(&record, &mut image.0).expect("the page chain is kept");
        }
        page::seal(&mut image.0);
        Ok(Bytes::copy_from_slice(&image.0[..]))
    }

    pub(crate) fn read_chain(
        &self,
        epochs: Epochs,
        after: Lsn,
        max: usize,
    ) -> Result<(Vec<RecordLinks>, bool), SegmentError> {
        self.check(epochs)?;
        let links: Vec<RecordLinks> =
            self.chain.iter().map(|r| r.links).filter(|l| l.lsn > after).take(max.min(7)).collect();
        let complete = links.last().is_none_or(|l| l.lsn == self.scl());
        Ok((links, complete))
    }

    pub(crate) fn read_log(
        &self,
        epochs: Epochs,
        after: Lsn,
        up_to: Lsn,
        max_bytes: usize,
    ) -> Result<(Bytes, Lsn), SegmentError> {
        self.check(epochs)?;
        let (mut out, mut last) = (BytesMut::new(), after);
        for stored in self.chain.iter().filter(|r| r.links.lsn > after && r.links.lsn <= up_to) {
            if stored.links.lsn <= last {
                continue;
            }
            if out.len() >= max_bytes {
                break;
            }
            let header = stored.batch.header();
            if header.last <= up_to {
                out.extend_from_slice(stored.batch.bytes());
                last = header.last;
            } else {
                out.extend_from_slice(&cut_after(&stored.batch, up_to).expect("a record is below"));
                last = up_to;
            }
        }
        Ok((out.freeze(), last))
    }
}
