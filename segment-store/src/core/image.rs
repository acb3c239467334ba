//! The list of batches and pending records that a checkpoint keeps, so that a start reads the log only from where the list
//! was begun. It is made in steps while the node serves, from a place in the log taken before the first step; what arrives
//! meanwhile may be in it or not, and comes with the log in any case.
//!
//! What must hold:
//! - the checkpoint that names the list is written behind its last step, and no truncation came between ([`Store::cuts`]):
//!   then a record that is in the list and live is pending, or in an image that this very checkpoint names;
//! - what lies in freed log is left out when the list is read.
//!
//! ```text
//! sections, each behind a tag byte:
//! 1  segment: volume, pg, count of batches; of each batch: first LSN less that of the one before, first less its link,
//!    last less first, epoch, address, bytes, count of live LSNs known above the VDL, each less the one before (from first)
//! 2  page of the segment before it: page less the page before, count of records; of each: LSN less that of the one
//!    before, address of its batch, bytes of the batch, place in the batch, bytes, CRC32C as u32
//! 0  end
//! all numbers are varints where nothing else is said
//! ```

use std::ops::Bound;

use sextant_redo::codec::{DecodeError, Reader, put_varint, put_varints};
use sextant_redo::{Lsn, PageId, PgId, SegmentId, VolumeEpoch, VolumeId};

use super::{LogAddress, PendingRecord, Segment, Store, StoredBatch};

const END: u8 = 0;
const SEGMENT: u8 = 1;
const PAGE: u8 = 2;

/// Bytes that are no list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("malformed list of pending records: {0}")]
pub struct ImageError(#[from] DecodeError);

/// Makes the list, step by step.
#[derive(Debug)]
pub struct ImageWriter {
    out: Vec<u8>,
    cuts: u64,
    /// The segment being listed, and its next page.
    at: Option<(SegmentId, PageId)>,
    page_before: u64,
    complete: bool,
}

impl ImageWriter {
    /// Begins a list of what `store` holds.
    #[must_use]
    pub fn new(store: &Store) -> ImageWriter {
        ImageWriter { out: Vec::new(), cuts: store.cuts(), at: None, page_before: 0, complete: false }
    }

    /// Lists up to `pages` pages more. True when the list is complete.
    pub fn step(&mut self, store: &Store, mut pages: usize) -> bool {
        while pages > 0 && !self.complete {
            let Some((segment, from)) = self.at else {
                self.next_segment(store, Bound::Unbounded);
                continue;
            };
            let mut listed = store.segments().get(&segment).map(|slot| slot.pages.pending_from(from));
            let mut more = None;
            for (page, chain) in listed.iter_mut().flatten() {
                if pages == 0 {
                    more = Some(page);
                    break;
                }
                put_page(&mut self.out, page.0 - self.page_before, chain);
                self.page_before = page.0;
                pages -= 1;
            }
            match more {
                Some(page) => self.at = Some((segment, page)),
                None => self.next_segment(store, Bound::Excluded(segment)),
            }
        }
        self.complete
    }

    fn next_segment(&mut self, store: &Store, from: Bound<SegmentId>) {
        let next = store.segments().range((from, Bound::Unbounded)).next();
        let Some((id, slot)) = next else {
            self.out.push(END);
            self.complete = true;
            return;
        };
        put_segment(&mut self.out, *id, &slot.segment);
        self.at = Some((*id, PageId(0)));
        self.page_before = 0;
    }

    /// The complete list; `None` when log was cut off since it was begun, so that it must be made anew.
    #[must_use]
    pub fn finish(self, store: &Store) -> Option<Vec<u8>> {
        (self.complete && self.cuts == store.cuts()).then_some(self.out)
    }
}

fn put_segment(out: &mut Vec<u8>, id: SegmentId, segment: &Segment) {
    out.push(SEGMENT);
    put_varints(out, [id.volume.0, u64::from(id.pg.0), segment.chain().batch_count() as u64]);
    let mut before = Lsn::ZERO;
    for (batch, fresh) in segment.chain().stored() {
        let numbers = [
            batch.first.0 - before.0,
            batch.first.0 - batch.prev.0,
            batch.last.0 - batch.first.0,
            batch.epoch.0,
            batch.at.0,
            u64::from(batch.len),
            fresh.len() as u64,
        ];
        put_varints(out, numbers);
        let mut lsn_before = batch.first;
        for lsn in fresh {
            put_varint(out, lsn.0 - lsn_before.0);
            lsn_before = *lsn;
        }
        before = batch.first;
    }
}

fn put_page(out: &mut Vec<u8>, page: u64, chain: &[PendingRecord]) {
    out.push(PAGE);
    put_varints(out, [page, chain.len() as u64]);
    let mut before = 0;
    for record in chain {
        let (len, place) = (u64::from(record.len), u64::from(record.offset));
        let numbers = [record.lsn.0 - before, record.batch.0, u64::from(record.batch_len), place, len];
        put_varints(out, numbers);
        out.extend_from_slice(&record.crc.to_le_bytes());
        before = record.lsn.0;
    }
}

/// Reads a list back into a store over the segments of its checkpoint. Total: any bytes give a store or an error.
#[derive(Debug)]
pub struct ImageReader<'a> {
    reader: Reader<'a>,
    /// Log below it was freed.
    floor: LogAddress,
}

/// Adds a distance to what it counts from.
fn add(before: u64, distance: u64) -> Result<u64, DecodeError> {
    before.checked_add(distance).ok_or(DecodeError::OutOfRange { what: "distance in a list" })
}

impl<'a> ImageReader<'a> {
    /// Over the bytes of a list; log below `floor` was freed since.
    #[must_use]
    pub fn new(bytes: &'a [u8], floor: LogAddress) -> ImageReader<'a> {
        ImageReader { reader: Reader::new(bytes), floor }
    }

    /// Puts everything into `store`.
    pub fn read(mut self, store: &mut Store) -> Result<(), ImageError> {
        let (mut segment, mut page_before) = (None, 0);
        loop {
            match self.reader.u8().map_err(ImageError)? {
                END => return Ok(()),
                SEGMENT => {
                    segment = Some(self.segment(store)?);
                    page_before = 0;
                }
                PAGE => {
                    page_before = add(page_before, self.reader.varint()?)?;
                    let chain = self.chain()?;
                    if let Some(slot) = segment.and_then(|id| store.segment_mut(id)) {
                        slot.pages.put_back(PageId(page_before), chain);
                    }
                }
                tag => return Err(DecodeError::UnknownTag { what: "list section", tag: tag.into() }.into()),
            }
        }
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        let number = self.reader.varint()?;
        u32::try_from(number).map_err(|_| DecodeError::OutOfRange { what: "number in a list" })
    }

    fn segment(&mut self, store: &mut Store) -> Result<SegmentId, DecodeError> {
        let id = SegmentId { volume: VolumeId(self.reader.varint()?), pg: PgId(self.u32()?) };
        let count = self.reader.varint()?;
        let mut before = 0;
        for _ in 0..count {
            let first = add(before, self.reader.varint()?)?;
            let out_of_range = DecodeError::OutOfRange { what: "link in a list" };
            let prev = first.checked_sub(self.reader.varint()?).ok_or(out_of_range)?;
            let last = add(first, self.reader.varint()?)?;
            let epoch = VolumeEpoch(self.reader.varint()?);
            let at = LogAddress(self.reader.varint()?);
            let len = self.u32()?;
            let mut fresh = Vec::new();
            let mut lsn = first;
            for _ in 0..self.reader.varint()? {
                lsn = add(lsn, self.reader.varint()?)?;
                fresh.push(Lsn(lsn));
            }
            before = first;
            let batch = StoredBatch { prev: Lsn(prev), first: Lsn(first), last: Lsn(last), epoch, at, len };
            if let Some(slot) = store.segment_mut(id).filter(|_| at >= self.floor) {
                slot.segment.put_back(batch, fresh);
            }
        }
        Ok(id)
    }

    fn chain(&mut self) -> Result<Vec<PendingRecord>, DecodeError> {
        let mut chain = Vec::new();
        let mut before = 0;
        for _ in 0..self.reader.varint()? {
            let lsn = add(before, self.reader.varint()?)?;
            if lsn == before {
                return Err(DecodeError::OutOfRange { what: "LSN in a list" });
            }
            before = lsn;
            let batch = LogAddress(self.reader.varint()?);
            let (batch_len, offset, len) = (self.u32()?, self.u32()?, self.u32()?);
            let crc = self.reader.u32()?;
            if batch >= self.floor {
                chain.push(PendingRecord { lsn: Lsn(lsn), batch, batch_len, offset, len, crc });
            }
        }
        Ok(chain)
    }
}
