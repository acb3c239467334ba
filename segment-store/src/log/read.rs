//! Reading back from the log: from memory when it is new, else from the disk, checked.

use bytes::Bytes;
use sextant_redo::Batch;
use sextant_redo::wire::SegmentError;

use crate::core::{LogAddress, PendingRecord};
use crate::disk::{ALIGN, AlignedBuf, align_down, align_up};
use crate::log::file_name;
use crate::metrics::METRICS;
use crate::node::Node;

fn damaged(at: LogAddress, what: impl ToString) -> SegmentError {
    let (file, offset) = (file_name(at.file()), at.offset());
    SegmentError::Damaged { what: format!("hot log {file} at {offset}: {}", what.to_string()) }
}

/// `len` bytes at an address as the disk has them, unchecked.
async fn from_disk(node: &Node, at: LogAddress, len: usize) -> Result<Bytes, SegmentError> {
    let file = node.log.borrow().file(at.file()).ok_or_else(|| damaged(at, "the file is gone"))?;
    let start = align_down(u64::from(at.offset()));
    let head = (u64::from(at.offset()) - start) as usize;
    let buffer = AlignedBuf::for_overwrite(align_up(head + len));
    let (result, buffer) = node.disk.read(file, start, buffer).await;
    result.map_err(|error| damaged(at, error))?;
    Ok(Bytes::from_owner(buffer).slice(head..head + len))
}

/// The batch at an address, with every checksum in it right.
pub(crate) async fn batch(node: &Node, at: LogAddress, len: u32) -> Result<Bytes, SegmentError> {
    let cached = node.cache.borrow().get(at, len);
    if let Some(bytes) = cached {
        return Ok(bytes);
    }
    let bytes = from_disk(node, at, len as usize).await?;
    match Batch::decode(&bytes) {
        Ok(batch) if batch.bytes().len() == len as usize => Ok(bytes),
        Ok(_) => Err(damaged(at, "another batch lies there")),
        Err(error) => Err(damaged(at, error)),
    }
}

/// The bytes, if they are those of the record.
pub(crate) fn checked(record: &PendingRecord, bytes: Bytes) -> Result<Bytes, SegmentError> {
    let crc = crc32c::crc32c(&bytes);
    if crc == record.crc {
        return Ok(bytes);
    }
    let what = format!("record {} has checksum {crc:#010x}, not {:#010x}", record.lsn, record.crc);
    Err(damaged(record.at(), what))
}

/// The bytes of one record, if they are in memory and right there.
pub(crate) fn record_in_memory(node: &Node, record: &PendingRecord) -> Option<Bytes> {
    let found = node.cache.borrow().get(record.at(), record.len);
    found.and_then(|bytes| checked(record, bytes).ok())
}

/// The bytes of one record. What the disk brings back wrong is asked for once more: a transfer may fail where the sectors
/// are good, and a page of many records would hardly ever be made.
pub(crate) async fn record(node: &Node, record: &PendingRecord) -> Result<Bytes, SegmentError> {
    if let Some(found) = record_in_memory(node, record) {
        return Ok(found);
    }
    let read = async || checked(record, from_disk(node, record.at(), record.len as usize).await?);
    match read().await {
        Ok(bytes) => Ok(bytes),
        Err(error) => {
            METRICS.error("read_again");
            tracing::warn!(%error, "a record is read once more");
            read().await
        }
    }
}

/// The bytes of records that [`super::runs::runs`] put together. What one transfer brings back wrong is read again by itself.
pub(crate) async fn run(node: &Node, records: &[PendingRecord]) -> Result<Vec<Bytes>, SegmentError> {
    let mut found = Vec::with_capacity(records.len());
    let (Some(first), Some(last)) = (records.first(), records.last()) else { return Ok(found) };
    let start = first.at();
    let brought = if records.len() > 1 {
        let end = last.at().0 + u64::from(last.len);
        from_disk(node, start, (end - start.0) as usize).await.ok()
    } else {
        None
    };
    for one in records {
        let slice = brought.as_ref().map(|bytes| {
            let from = (one.at().0 - start.0) as usize;
            bytes.slice(from..from + one.len as usize)
        });
        found.push(match slice.and_then(|bytes| checked(one, bytes).ok()) {
            Some(bytes) => bytes,
            None => record(node, one).await?,
        });
    }
    Ok(found)
}

/// What lies from the first of two records to the end of the last, as the disk has it, read in the background: unchecked.
/// `None` when it cannot be read. They lie in one file, in order.
pub(crate) async fn stretch(node: &Node, first: &PendingRecord, last: &PendingRecord) -> Option<Bytes> {
    let first = first.at();
    let start = align_down(u64::from(first.offset())) as u32;
    let (head, end) = ((first.offset() - start) as usize, last.at().offset() + last.len);
    let len = align_up((end - start) as usize);
    let bytes = part(node, LogAddress::new(first.file(), start), len).await?;
    Some(bytes.slice(head..(end - start) as usize))
}

/// Part of a log file as the disk has it, read in the background: what lies in it is checked record by record. `None` when
/// it cannot be read.
pub(crate) async fn part(node: &Node, at: LogAddress, len: usize) -> Option<Bytes> {
    debug_assert!(len.is_multiple_of(ALIGN));
    let file = node.log.borrow().file(at.file())?;
    let buffer = AlignedBuf::for_overwrite(len);
    let (result, buffer) = node.disk.read_background(file, u64::from(at.offset()), buffer).await;
    result.ok().map(|()| Bytes::from_owner(buffer))
}
