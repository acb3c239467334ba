//! What the hot log holds: batches exactly as they came, and the few facts about a segment that must survive.
//!
//! Encoding of one entry, inside a group of the log: `kind` u32, `length` u32, then `length` bytes. The bytes of a
//! batch are the batch; those of a control entry start with volume u64 and protection group u32 and go on with
//!
//! | kind | entry | rest |
//! | --- | --- | --- |
//! | 1 | batch | (the batch itself, nothing in front) |
//! | 2 | full segment created | volume epoch u64, membership epoch u64 |
//! | 3 | epochs recorded | volume epoch u64, membership epoch u64 |
//! | 4 | truncation list recorded, in place of the one before | count u32, then epoch u64, from u64, to u64 of each |
//! | 5 | pages copied from peers | point u64, VDL u64, PGMRPL u64, 1 while pages are missing u32, the first of them u64 |
//! | 6 | segment dropped: this node is no member of its group any more, or the volume is gone | |
//! | 7 | tail segment created | volume epoch u64, membership epoch u64 |

use bytes::Bytes;
use sextant_redo::codec::{DecodeError, Reader};
use sextant_redo::wire::Epochs;
use sextant_redo::{
    Batch, BatchError, BatchHeader, Lsn, MembershipEpoch, PageId, PgId, SegmentId, SegmentKind,
    TruncationRange, VolumeEpoch, VolumeId,
};

use super::Copied;

/// A place in a node's hot log: file number in the upper 32 bits, byte offset in the file below. Places order as the
/// log was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default, Hash)]
pub struct LogAddress(pub u64);

impl LogAddress {
    /// Byte `offset` of file `file`.
    #[must_use]
    pub fn new(file: u32, offset: u32) -> LogAddress {
        LogAddress(u64::from(file) << 32 | u64::from(offset))
    }

    /// File number.
    #[must_use]
    pub fn file(self) -> u32 {
        (self.0 >> 32) as u32
    }

    /// Byte offset in the file.
    #[must_use]
    pub fn offset(self) -> u32 {
        self.0 as u32
    }

    /// `bytes` further on in the same file.
    #[must_use]
    pub fn advance(self, bytes: u32) -> LogAddress {
        LogAddress(self.0 + u64::from(bytes))
    }
}

/// One entry of the hot log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Entry {
    /// A batch, checked.
    Batch(Batch),
    /// The segment exists, with these epochs, and is of this kind.
    Created(SegmentId, Epochs, SegmentKind),
    /// The segment was opened under these epochs.
    Epochs(SegmentId, Epochs),
    /// These are the segment's truncation ranges, and no others.
    Truncations(SegmentId, Vec<TruncationRange>),
    /// The segment and its pages are gone, and their space is free.
    Dropped(SegmentId),
    /// Pages were copied from peers. Written only behind a durable checkpoint that names their images.
    Copied(SegmentId, Copied),
}

/// Why bytes are not an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum EntryError {
    /// Not an entry at all.
    #[error("malformed log entry: {0}")]
    Malformed(#[from] DecodeError),
    /// An entry with a bad batch in it.
    #[error("log entry holds a bad batch: {0}")]
    Batch(#[from] BatchError),
}

const BATCH: u32 = 1;
const CREATED: u32 = 2;
const EPOCHS: u32 = 3;
const TRUNCATIONS: u32 = 4;
const COPIED: u32 = 5;
const DROPPED: u32 = 6;
const TAIL_CREATED: u32 = 7;

impl Entry {
    /// Bytes in front of every entry.
    pub const HEADER: usize = 8;

    /// The header of a batch.
    #[must_use]
    pub fn batch_header(&self) -> Option<&BatchHeader> {
        match self {
            Entry::Batch(batch) => Some(batch.header()),
            _ => None,
        }
    }

    /// Whose entry it is.
    #[must_use]
    pub fn segment(&self) -> SegmentId {
        match self {
            Entry::Batch(batch) => batch.header().segment,
            Entry::Created(segment, ..)
            | Entry::Epochs(segment, _)
            | Entry::Truncations(segment, _)
            | Entry::Copied(segment, _)
            | Entry::Dropped(segment) => *segment,
        }
    }

    /// Bytes in the log, header included.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        Entry::HEADER
            + match self {
                Entry::Batch(batch) => batch.bytes().len(),
                Entry::Created(..) | Entry::Epochs(..) => 12 + 16,
                Entry::Truncations(_, ranges) => 12 + 4 + 24 * ranges.len(),
                Entry::Copied(..) => 12 + 3 * 8 + 4 + 8,
                Entry::Dropped(_) => 12,
            }
    }

    /// Hands the entry's bytes to `put`, in order.
    pub fn encode(&self, put: &mut dyn FnMut(&[u8])) {
        let kind = match self {
            Entry::Batch(_) => BATCH,
            Entry::Created(.., SegmentKind::Full) => CREATED,
            Entry::Created(.., SegmentKind::Tail) => TAIL_CREATED,
            Entry::Epochs(..) => EPOCHS,
            Entry::Truncations(..) => TRUNCATIONS,
            Entry::Copied(..) => COPIED,
            Entry::Dropped(_) => DROPPED,
        };
        put(&kind.to_le_bytes());
        put(&((self.encoded_len() - Entry::HEADER) as u32).to_le_bytes());
        match self {
            Entry::Batch(batch) => put(batch.bytes()),
            Entry::Created(segment, epochs, _) | Entry::Epochs(segment, epochs) => {
                put_segment(put, *segment);
                put(&epochs.volume.0.to_le_bytes());
                put(&epochs.membership.0.to_le_bytes());
            }
            Entry::Truncations(segment, ranges) => {
                put_segment(put, *segment);
                put(&(ranges.len() as u32).to_le_bytes());
                for range in ranges {
                    put(&range.epoch.0.to_le_bytes());
                    put(&range.from.0.to_le_bytes());
                    put(&range.to.0.to_le_bytes());
                }
            }
            Entry::Dropped(segment) => put_segment(put, *segment),
            Entry::Copied(segment, copied) => {
                put_segment(put, *segment);
                for lsn in [copied.point, copied.vdl, copied.pgmrpl] {
                    put(&lsn.0.to_le_bytes());
                }
                put(&u32::from(copied.next.is_some()).to_le_bytes());
                put(&copied.next.map_or(0, |page| page.0).to_le_bytes());
            }
        }
    }

    /// Reads the entry at `at` in `group` and says where the next one starts.
    pub fn decode(group: &Bytes, at: usize) -> Result<(Entry, usize), EntryError> {
        let mut r = Reader::new(group.get(at..).ok_or(DecodeError::Truncated)?);
        let kind = r.u32()?;
        let len = r.u32()? as usize;
        let body = r.bytes(len)?;
        let end = at + Entry::HEADER + len;
        if kind == BATCH {
            let batch = Batch::decode(&group.slice(at + Entry::HEADER..end))?;
            return match batch.bytes().len() == len {
                true => Ok((Entry::Batch(batch), end)),
                false => Err(DecodeError::OutOfRange { what: "batch entry length" }.into()),
            };
        }
        Ok((decode_control(kind, body)?, end))
    }
}

fn decode_control(kind: u32, body: &[u8]) -> Result<Entry, DecodeError> {
    let mut r = Reader::new(body);
    let segment = SegmentId { volume: VolumeId(r.u64()?), pg: PgId(r.u32()?) };
    let entry = match kind {
        CREATED => Entry::Created(segment, epochs(&mut r)?, SegmentKind::Full),
        TAIL_CREATED => Entry::Created(segment, epochs(&mut r)?, SegmentKind::Tail),
        EPOCHS => Entry::Epochs(segment, epochs(&mut r)?),
        TRUNCATIONS => {
            let count = r.u32()? as usize;
            if r.remaining() != count.saturating_mul(24) {
                return Err(DecodeError::OutOfRange { what: "number of truncation ranges" });
            }
            Entry::Truncations(segment, (0..count).map(|_| range(&mut r)).collect::<Result<_, _>>()?)
        }
        COPIED => Entry::Copied(segment, copied(&mut r)?),
        DROPPED => Entry::Dropped(segment),
        tag => {
            return Err(DecodeError::UnknownTag { what: "log entry", tag: u64::from(tag) });
        }
    };
    r.finish()?;
    Ok(entry)
}

fn epochs(r: &mut Reader<'_>) -> Result<Epochs, DecodeError> {
    Ok(Epochs { volume: VolumeEpoch(r.u64()?), membership: MembershipEpoch(r.u64()?) })
}

fn copied(r: &mut Reader<'_>) -> Result<Copied, DecodeError> {
    let (point, vdl, pgmrpl) = (Lsn(r.u64()?), Lsn(r.u64()?), Lsn(r.u64()?));
    let missing = r.u32()? != 0;
    let next = PageId(r.u64()?);
    Ok(Copied { point, vdl, pgmrpl, next: missing.then_some(next) })
}

fn range(r: &mut Reader<'_>) -> Result<TruncationRange, DecodeError> {
    Ok(TruncationRange { epoch: VolumeEpoch(r.u64()?), from: Lsn(r.u64()?), to: Lsn(r.u64()?) })
}

fn put_segment(put: &mut dyn FnMut(&[u8]), segment: SegmentId) {
    put(&segment.volume.0.to_le_bytes());
    put(&segment.pg.0.to_le_bytes());
}
