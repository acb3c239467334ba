//! One copy of one protection group: its epochs, its chain, its truncation ranges, its pages.
//!
//! What must hold:
//! - epochs never go down, and nothing with a lower one is admitted once a higher one was seen, durable or not;
//! - a higher membership epoch is taken over from whoever holds the volume epoch, in front of what it came with; a higher
//!   volume epoch only from `OpenSegment`;
//! - batches are admitted only from a sender of exactly the segment's volume epoch, and only when the segment knows
//!   that opening's truncation range (or was created under that epoch). Without the range, void records of an older
//!   writer would look like live ones below the new writer's first batch;
//! - a truncation list takes the place of the one before: a range that the opener did not learn of belongs to an opening
//!   that never completed, and what it voided may have been found durable since;
//! - the VDL and PGMRPL that batches carry only go up;
//! - a tail has no pages, serves none and makes none; its log goes only up to where every full segment has it
//!   ([`super::tail`]).

use sextant_redo::wire::{Epochs, SegmentError, SegmentState};
use sextant_redo::{
    Batch, BatchHeader, Lsn, MembershipEpoch, RecordAt, SegmentId, SegmentKind, TruncationRange, Truncations,
    VolumeEpoch,
};

use super::{Chain, Copied, Copying, Coverage, Cut, LogAddress, StoredBatch};

/// Most ranges in one list: one an opening, and a list must fit a group of the log.
const RANGES_MAX: usize = 64 * 1024;

/// What to do with an admitted append.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// Write it to the log.
    Write,
    /// The log already holds all of it durably: answer at once.
    Known,
}

/// Everything about a segment that a checkpoint keeps besides its pages.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SegmentParts {
    /// What it keeps.
    pub kind: SegmentKind,
    /// Volume epoch at creation.
    pub created: VolumeEpoch,
    /// Durable epochs.
    pub epochs: Epochs,
    /// Known truncation ranges.
    pub truncations: Truncations,
    /// Highest VDL seen.
    pub vdl: Lsn,
    /// Highest PGMRPL seen.
    pub pgmrpl: Lsn,
    /// Every live record above it is in the log.
    pub log_start: Lsn,
    /// What of the chain is known.
    pub coverage: Coverage,
    /// A copy of pages that is under way.
    pub copying: Option<Copying>,
}

/// See the module.
#[derive(Debug, Clone)]
pub struct Segment {
    id: SegmentId,
    kind: SegmentKind,
    created: VolumeEpoch,
    epochs: Epochs,
    truncations: Truncations,
    vdl: Lsn,
    pgmrpl: Lsn,
    chain: Chain,
    copying: Option<Copying>,
    /// Epochs including what waits to become durable: what is admitted by.
    door: Epochs,
    /// The truncation list that waits to become durable.
    waiting: Option<Truncations>,
}

impl Segment {
    /// A new, empty segment.
    #[must_use]
    pub fn create(id: SegmentId, epochs: Epochs, kind: SegmentKind) -> Segment {
        let parts = SegmentParts { kind, created: epochs.volume, epochs, ..SegmentParts::default() };
        Segment::restore(id, parts)
    }

    /// The segment that a checkpoint describes.
    #[must_use]
    pub fn restore(id: SegmentId, parts: SegmentParts) -> Segment {
        Segment {
            id,
            kind: parts.kind,
            created: parts.created,
            epochs: parts.epochs,
            truncations: parts.truncations,
            vdl: parts.vdl,
            pgmrpl: parts.pgmrpl,
            chain: Chain::restore(parts.coverage, parts.log_start),
            copying: parts.copying,
            door: parts.epochs,
            waiting: None,
        }
    }

    /// What a checkpoint keeps. `log_start` is what it will be once the log below `floor` is freed.
    #[must_use]
    pub fn parts(&self, floor: LogAddress) -> SegmentParts {
        SegmentParts {
            kind: self.kind,
            created: self.created,
            epochs: self.epochs,
            truncations: self.truncations.clone(),
            vdl: self.vdl,
            pgmrpl: self.pgmrpl,
            log_start: self.chain.log_start().max(self.chain.highest_below(floor)),
            coverage: self.chain.coverage().clone(),
            copying: self.copying,
        }
    }

    /// What it keeps.
    #[must_use]
    pub fn kind(&self) -> SegmentKind {
        self.kind
    }

    fn check_has_pages(&self) -> Result<(), SegmentError> {
        match self.kind {
            SegmentKind::Full => Ok(()),
            SegmentKind::Tail => Err(SegmentError::BadRequest {
                what: "this segment is a tail: it has log and no pages; ask a full one".into(),
            }),
        }
    }

    /// Every full segment of the group has what lies at or below `safe`, and nothing there can be voided: a tail keeps its
    /// log only above that. Not above its own VDL either, from which an opening reads its chain.
    pub fn give_up(&mut self, safe: Lsn) {
        if self.kind == SegmentKind::Tail {
            let point = self.chain.last_record(safe.min(self.vdl).min(self.scl()));
            self.chain.give_up(point);
        }
    }

    /// The chain.
    #[must_use]
    pub fn chain(&self) -> &Chain {
        &self.chain
    }

    /// Puts a batch back that the list of a checkpoint names. One that is not covered was cut off since.
    pub fn put_back(&mut self, batch: StoredBatch, fresh: Vec<Lsn>) {
        if self.chain.coverage().contains(batch.prev, batch.last) {
            self.chain.put_back(batch, fresh);
            self.chain.vdl_moved(self.vdl);
        }
    }

    /// Segment complete LSN.
    #[must_use]
    pub fn scl(&self) -> Lsn {
        self.chain.scl()
    }

    /// What is admitted by: the recorded epochs, or higher ones that wait to become durable.
    #[must_use]
    pub fn door(&self) -> Epochs {
        self.door
    }

    /// Highest VDL seen.
    #[must_use]
    pub fn vdl(&self) -> Lsn {
        self.vdl
    }

    /// Lowest LSN that can still be read.
    #[must_use]
    pub fn pgmrpl(&self) -> Lsn {
        self.pgmrpl
    }

    /// Up to here records may go into page images: they are durable for the volume, complete here, and nobody reads
    /// an older version.
    #[must_use]
    pub fn materialise_cap(&self) -> Lsn {
        self.vdl.min(self.pgmrpl).min(self.scl())
    }

    /// The log of no record above it was given up here for a page image, neither of one made here nor of a peer's.
    #[must_use]
    pub fn last_collected(&self) -> Lsn {
        let known = self.chain.last_record(self.vdl.min(self.pgmrpl));
        self.copying.map_or(known, |copying| known.max(copying.point))
    }

    /// Where the segment stands, durably.
    #[must_use]
    pub fn state(&self) -> SegmentState {
        SegmentState {
            segment: self.id,
            epochs: self.epochs,
            scl: self.scl(),
            highest: self.chain.highest(),
            vdl: self.vdl,
            log_start: self.chain.log_start(),
            truncations: self.truncations.ranges().to_vec(),
        }
    }

    fn check_membership(&self, membership: MembershipEpoch) -> Result<(), SegmentError> {
        let current = self.door.membership;
        if membership >= current { Ok(()) } else { Err(SegmentError::StaleMembership { current }) }
    }

    fn check_not_fenced(&self, epoch: VolumeEpoch) -> Result<(), SegmentError> {
        let current = self.door.volume;
        if epoch < current { Err(SegmentError::Fenced { current }) } else { Ok(()) }
    }

    /// Epochs to record when the sender holds the volume epoch and knows a newer membership. The door closes for the
    /// older one at once.
    pub fn take_over(&mut self, epochs: Epochs) -> Option<Epochs> {
        if epochs.volume != self.door.volume || epochs.membership <= self.door.membership {
            return None;
        }
        self.door.membership = epochs.membership;
        Some(self.door)
    }

    /// Requests that come from the volume's current opener: the volume epoch must be the segment's own, the membership
    /// epoch no older.
    pub fn check_current(&self, epochs: Epochs) -> Result<(), SegmentError> {
        self.check_not_fenced(epochs.volume)?;
        if epochs.volume > self.door.volume {
            let what = format!(
                "volume epoch {} was never recorded here (the segment is at {}): send OpenSegment first",
                epochs.volume, self.door.volume
            );
            return Err(SegmentError::BadRequest { what });
        }
        self.check_membership(epochs.membership)
    }

    /// True when the current opening's truncation range is known here, or on its way into the log.
    fn knows_range(&self) -> bool {
        let epoch = self.door.volume;
        let list = self.waiting.as_ref().unwrap_or(&self.truncations);
        list.ranges().iter().any(|range| range.epoch == epoch)
    }

    /// True when live records can be told from void ones here: what two such copies with equal epochs and equal lists
    /// count as live is the same.
    #[must_use]
    pub fn is_cleared(&self) -> bool {
        self.is_cleared_for(self.door.volume)
    }

    /// True when a batch of `epoch` can be told from void ones: a segment born under the current epoch holds nothing
    /// older, so that epoch's own batches need no range.
    fn is_cleared_for(&self, epoch: VolumeEpoch) -> bool {
        self.knows_range() || (epoch == self.door.volume && epoch == self.created)
    }

    /// Decides on a batch. `epochs` are the sender's; the batch may have been written under an older epoch, when a
    /// later writer brings this copy up to date from another one.
    pub fn admit_append(&self, epochs: Epochs, header: &BatchHeader) -> Result<Admission, SegmentError> {
        self.check_current(epochs)?;
        let volume = self.door.volume;
        if header.epoch > volume {
            let what = format!("a batch of volume epoch {} from a sender of epoch {volume}", header.epoch);
            return Err(SegmentError::BadRequest { what });
        }
        if !self.is_cleared_for(header.epoch) {
            let what = format!(
                "the truncation range of volume epoch {volume} is not recorded here: send Truncate first"
            );
            return Err(SegmentError::BadRequest { what });
        }
        let known = self.chain.coverage().contains(header.prev_pg, header.last)
            || self.truncations.voids(header.epoch, header.first);
        Ok(if known { Admission::Known } else { Admission::Write })
    }

    /// Decides on recording `epochs`; true when there is something to write. The door closes for older epochs at once.
    pub fn admit_open(&mut self, epochs: Epochs) -> Result<bool, SegmentError> {
        self.check_not_fenced(epochs.volume)?;
        if epochs.membership < self.door.membership {
            let current = self.door.membership;
            return Err(SegmentError::StaleMembership { current });
        }
        self.door = epochs;
        Ok(self.epochs != epochs)
    }

    /// Decides on a truncation list, which takes the place of the one here; true when there is something to write.
    pub fn admit_truncate(
        &mut self,
        epochs: Epochs,
        ranges: &[TruncationRange],
    ) -> Result<bool, SegmentError> {
        self.check_current(epochs)?;
        let bad = |what: String| SegmentError::BadRequest { what };
        if ranges.len() > RANGES_MAX {
            return Err(bad(format!("{} truncation ranges are more than {RANGES_MAX}", ranges.len())));
        }
        if let Some(range) = ranges.iter().find(|r| r.epoch > epochs.volume || r.from > r.to) {
            return Err(bad(format!("impossible truncation range {range:?}")));
        }
        // An opening decides its range once.
        let mut known = self.truncations.clone();
        ranges
            .iter()
            .try_for_each(|range| known.insert(*range).map(|_| ()))
            .map_err(|e| bad(e.to_string()))?;
        let list = Truncations::from_list(ranges).map_err(|e| bad(e.to_string()))?;
        self.chain.check_ranges(&list, self.vdl).map_err(|e| bad(e.to_string()))?;
        if self.waiting.is_none() && self.truncations == list {
            return Ok(false);
        }
        self.waiting = Some(list);
        Ok(true)
    }

    /// Decides on a page read.
    pub fn admit_read(&self, epochs: Epochs, read_point: Lsn, required: Lsn) -> Result<(), SegmentError> {
        self.check_not_fenced(epochs.volume)?;
        self.check_membership(epochs.membership)?;
        self.check_has_pages()?;
        let scl = self.scl();
        // A newer opener is not known here yet, so neither is what it truncated: another copy must answer.
        let unknown = epochs.volume > self.epochs.volume || !self.is_cleared();
        // In the middle of a copy some pages are newer than the SCL tells.
        if unknown || self.copying.is_some() || scl < required {
            return Err(SegmentError::NotComplete { scl });
        }
        if read_point < self.pgmrpl {
            let pgmrpl = self.pgmrpl;
            return Err(SegmentError::ReadPointTooOld { pgmrpl });
        }
        Ok(())
    }

    /// Decides on a request for log or links above `after`.
    pub fn admit_log_read(&self, epochs: Epochs, after: Lsn) -> Result<(), SegmentError> {
        self.check_current(epochs)?;
        let start = self.chain.log_start();
        if after < start {
            return Err(SegmentError::ReadPointTooOld { pgmrpl: start });
        }
        Ok(())
    }

    /// The copy of pages that is under way.
    #[must_use]
    pub fn copying(&self) -> Option<Copying> {
        self.copying
    }

    /// Decides on a request for page images with every record at or below `at`; names a point when `at` is zero.
    pub fn admit_copy(&self, epochs: Epochs, at: Lsn) -> Result<Lsn, SegmentError> {
        self.check_current(epochs)?;
        self.check_has_pages()?;
        let cap = self.materialise_cap();
        let point = if at == Lsn::ZERO { self.chain.last_record(cap) } else { at };
        if !self.is_cleared() || self.copying.is_some() || point == Lsn::ZERO || point > cap {
            return Err(SegmentError::NotComplete { scl: cap });
        }
        Ok(point)
    }

    /// Takes what a peer knows for sure of the volume: its VDL and PGMRPL come from a writer. To be called before page
    /// images of that peer are put in place, none of which is newer than its PGMRPL.
    pub fn learn(&mut self, vdl: Lsn, pgmrpl: Lsn) {
        self.pgmrpl = self.pgmrpl.max(pgmrpl);
        if vdl > self.vdl {
            self.vdl = vdl;
            self.chain.vdl_moved(vdl);
        }
    }

    /// True when the VDL and PGMRPL that the writer of `epoch` tells may be taken before any batch of it is durable here:
    /// what is void under it is known, so nothing that it calls durable can still be cut off.
    fn may_advance(&self, epoch: VolumeEpoch) -> bool {
        let current = epoch == self.door.volume && epoch == self.epochs.volume;
        current && self.waiting.is_none() && self.is_cleared()
    }

    /// Takes the points that the writer tells. True when pages may be made up to a later point than before.
    pub fn advance(&mut self, epochs: Epochs, vdl: Lsn, pgmrpl: Lsn) -> Result<bool, SegmentError> {
        self.check_current(epochs)?;
        if !self.may_advance(epochs.volume) {
            return Err(SegmentError::NotComplete { scl: self.scl() });
        }
        let before = self.materialise_cap();
        self.learn(vdl, pgmrpl.min(vdl));
        Ok(self.materialise_cap() > before)
    }

    /// Takes the points out of a batch that was admitted and has to wait.
    pub fn hear(&mut self, header: &BatchHeader) {
        if self.may_advance(header.epoch) {
            self.learn(header.vdl, header.pgmrpl);
        }
    }

    /// True when the batch goes on where the chain is whole, and the point up to which pages may be made can never move without
    /// it: it lies right behind that point, or, asked `patiently`, nothing but the VDL keeps that point back. A
    /// mini-transaction may go on over many batches, and the VDL waits for its last one.
    #[must_use]
    pub fn needs(&self, header: &BatchHeader, patiently: bool) -> bool {
        let goes_on = header.prev_pg <= self.scl() && self.scl() < header.last;
        goes_on && (header.prev_pg <= self.materialise_cap() || (patiently && self.pgmrpl >= self.vdl))
    }

    /// True for log of an earlier writer that no page may be made of yet. An opening is under way, or was until just now: it
    /// needs this log at a quorum before there is a writer who could tell that it is durable.
    #[must_use]
    pub fn opening_needs(&self, header: &BatchHeader) -> bool {
        let earlier = header.epoch < self.door.volume;
        earlier && header.prev_pg <= self.scl() && self.materialise_cap() < header.last
    }

    /// Applies the durable progress of a copy of pages.
    pub fn apply_copied(&mut self, copied: &Copied) {
        self.learn(copied.vdl, copied.pgmrpl);
        match copied.next {
            Some(next) => self.copying = Some(Copying { point: copied.point, next }),
            None => self.chain.copied(copied.point),
        }
        self.end_copy_when_complete();
    }

    /// Where the chain is whole to the copy's point, the rest of the copy is not needed.
    fn end_copy_when_complete(&mut self) {
        let scl = self.scl();
        self.copying = self.copying.filter(|copying| copying.point > scl);
    }

    /// What was admitted could not be written and is gone: only what is durable counts. Epochs stay up: nobody was
    /// told of them, but a door once closed does no harm.
    pub fn forget_waiting(&mut self) {
        self.waiting = None;
    }

    /// Applies a durable batch: its live records, which are its first ones, and whether this copy of the batch is the one that
    /// counts.
    pub fn apply_batch<'a>(&mut self, batch: &'a Batch, at: LogAddress) -> (&'a [RecordAt], bool) {
        let header = batch.header();
        let is_live = |record: &RecordAt| !self.truncations.voids(header.epoch, record.lsn);
        let live = &batch.contents()[..batch.contents().iter().take_while(|record| is_live(record)).count()];
        let counts = match (live.first(), live.last()) {
            (Some(first), Some(last)) => {
                let stored = StoredBatch {
                    prev: header.prev_pg,
                    first: first.lsn,
                    last: last.lsn,
                    epoch: header.epoch,
                    at,
                    len: batch.bytes().len() as u32,
                };
                self.chain.insert(stored, live, self.vdl.max(header.vdl))
            }
            _ => false,
        };
        self.learn(header.vdl, header.pgmrpl);
        self.end_copy_when_complete();
        (live, counts)
    }

    /// Applies durable epochs.
    pub fn apply_epochs(&mut self, epochs: Epochs) {
        self.epochs.volume = self.epochs.volume.max(epochs.volume);
        self.epochs.membership = self.epochs.membership.max(epochs.membership);
        self.door.volume = self.door.volume.max(epochs.volume);
        self.door.membership = self.door.membership.max(epochs.membership);
    }

    /// Applies a durable truncation list and says which batches it cut. One that contradicts what is known changes
    /// nothing.
    pub fn apply_truncations(&mut self, ranges: &[TruncationRange]) -> Result<Vec<Cut>, SegmentError> {
        let bad = |what: String| SegmentError::BadRequest { what };
        let list = Truncations::from_list(ranges).map_err(|e| bad(e.to_string()))?;
        if self.waiting.as_ref() == Some(&list) {
            self.waiting = None;
        }
        self.chain.check_ranges(&list, self.vdl).map_err(|e| bad(e.to_string()))?;
        let known = |range: &TruncationRange| self.truncations.ranges().contains(range);
        let added: Vec<TruncationRange> = ranges.iter().filter(|range| !known(range)).copied().collect();
        let cuts = self.chain.truncate(&list, &added);
        self.truncations = list;
        Ok(cuts)
    }

    /// The log below `floor` is being freed.
    pub fn forget_below(&mut self, floor: LogAddress) {
        self.chain.forget_below(floor);
    }

    /// Panics when a rule of the module is broken.
    pub fn check_invariants(&self) {
        self.chain.check_invariants();
        assert!(self.door.volume >= self.epochs.volume);
        assert!(self.door.membership >= self.epochs.membership);
    }
}
