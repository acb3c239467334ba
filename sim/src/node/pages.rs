//! Reads of a storage node: the server's own replay over batches from the log cache or the simulated disk.

use bytes::Bytes;
use sextant_redo::batch::cut_after;
use sextant_redo::wire::{Reply, SegmentError};
use sextant_redo::{Batch, Lsn, Page, PageId, RecordLinks, SegmentId, apply, page};
use sextant_segment_store::core::{LogAddress, LogPlan, PagePlan, StoredBatch, Wanted};
use sextant_segment_store::disk::{AlignedBuf, Disk, align_down, align_up};

use super::StorageNode;
use crate::disk::finish;
use crate::mutant::Mutant;

fn damaged(what: impl ToString) -> SegmentError {
    SegmentError::Damaged { what: what.to_string() }
}

impl StorageNode {
    fn batch_bytes(&self, at: LogAddress, len: u32) -> Result<Bytes, SegmentError> {
        if let Some(bytes) = self.cache.get(at, len) {
            return Ok(bytes);
        }
        let log = self.log.as_ref().ok_or_else(|| damaged("no log is open"))?;
        let file = log.file(at.file()).ok_or_else(|| damaged("the log file is gone"))?;
        let start = align_down(u64::from(at.offset()));
        let head = (u64::from(at.offset()) - start) as usize;
        let buffer = AlignedBuf::zeroed(align_up(head + len as usize));
        let (result, buffer) = finish(self.disk.read(file, start, buffer));
        result.map_err(damaged)?;
        Ok(Bytes::from_owner(buffer).slice(head..head + len as usize))
    }

    fn batch(&self, at: LogAddress, len: u32) -> Result<Batch, SegmentError> {
        let bytes = self.batch_bytes(at, len)?;
        let batch = Batch::decode(&bytes).map_err(damaged)?;
        if batch.bytes().len() == len as usize { Ok(batch) } else { Err(damaged("another batch lies there")) }
    }

    /// Makes a page.
    pub(super) fn page(&self, plan: &PagePlan) -> Reply {
        match self.make_page(plan) {
            Ok(mut made) => {
                page::seal(&mut made.0);
                Reply::Page { image: Bytes::copy_from_slice(&made.0[..]) }
            }
            Err(error) => Reply::Error(error),
        }
    }

    fn make_page(&self, plan: &PagePlan) -> Result<Page, SegmentError> {
        if plan.base.is_some() {
            return Err(damaged("the simulated node has no page store"));
        }
        let mut made = Page::zero();
        for pending in &plan.records {
            let bytes = match self.mutant {
                Some(Mutant::ServeUnchecked) => reseal(self.batch_bytes(pending.batch, pending.batch_len)?),
                _ => self.batch(pending.batch, pending.batch_len)?.bytes().clone(),
            };
            let batch = Batch::decode(&bytes).map_err(damaged)?;
            let found = batch.records().flatten().find(|(range, _)| range.start == pending.offset as usize);
            let (_, record) = found.ok_or_else(|| damaged("no record starts there"))?;
            if record.page != plan.page || record.links.lsn != pending.lsn {
                return Err(damaged("the log holds another record in its place"));
            }
            apply(&record, &mut made.0).map_err(damaged)?;
        }
        Ok(made)
    }

    /// The page as this copy has it at `at`, without asking for an epoch: for the comparison of copies.
    pub(crate) fn page_at(&self, segment: SegmentId, page: PageId, at: Lsn) -> Result<Page, SegmentError> {
        let slot = self.store.segments().get(&segment).ok_or(SegmentError::UnknownSegment { segment })?;
        self.make_page(&slot.pages.plan(page, at))
    }

    /// Answers from the log.
    pub(super) fn read_log(&self, plan: &LogPlan) -> Reply {
        let reply = match plan.wanted {
            Wanted::Links(max) => self.links(plan, max as usize),
            Wanted::Batches(_) => self.batches(plan),
        };
        reply.unwrap_or_else(Reply::Error)
    }

    /// A batch without what is void or above `up_to`.
    fn live_batch(&self, stored: &StoredBatch, up_to: Lsn) -> Result<Option<Batch>, SegmentError> {
        let batch = self.batch(stored.at, stored.len)?;
        let last = stored.last.min(up_to);
        if last >= batch.header().last {
            return Ok(Some(batch));
        }
        cut_after(&batch, last).map(|cut| Batch::decode(&cut).map_err(damaged)).transpose()
    }

    fn links(&self, plan: &LogPlan, max: usize) -> Result<Reply, SegmentError> {
        let mut links: Vec<RecordLinks> = Vec::new();
        let mut after = plan.after;
        for stored in &plan.batches {
            let Some(batch) = self.live_batch(stored, plan.up_to)? else { continue };
            let new = batch.records().flatten().map(|(_, r)| r.links).filter(|link| link.lsn > after);
            links.extend(new.take(max - links.len()));
            after = links.last().map_or(after, |link| link.lsn);
            if links.len() == max {
                break;
            }
        }
        Ok(Reply::Chain { complete: after >= plan.scl, links })
    }

    fn batches(&self, plan: &LogPlan) -> Result<Reply, SegmentError> {
        let mut parts: Vec<Bytes> = Vec::new();
        let mut last = plan.after;
        for stored in &plan.batches {
            if let Some(batch) = self.live_batch(stored, plan.up_to)? {
                last = last.max(batch.header().last);
                parts.push(batch.bytes().clone());
            }
        }
        Ok(Reply::Log { batches: Bytes::from(parts.concat()), last })
    }
}

/// Mutant: makes the checksum fit the bytes, which is the same as not looking at it. Bytes 76..80 of a batch.
fn reseal(bytes: Bytes) -> Bytes {
    let mut bytes = bytes.to_vec();
    if bytes.len() >= 80 {
        let crc = crc32c(&[&bytes[..76], &bytes[80..]]);
        bytes[76..80].copy_from_slice(&crc.to_le_bytes());
    }
    bytes.into()
}

fn crc32c(parts: &[&[u8]]) -> u32 {
    let bit = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0x82f6_3b78 } else { crc >> 1 };
    let byte = |crc: u32, byte: u8| (0..8).fold(crc ^ u32::from(byte), |crc, _| bit(crc));
    !parts.iter().copied().flatten().fold(!0, |crc, b| byte(crc, *b))
}
