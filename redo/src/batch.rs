//! A batch: a run of records of one protection group, consecutive in its segment chain. It is encoded once by the
//! writer; the same bytes go to all six segments and from each onto its disk, and later to peers.
//!
//! ```text
//! 0..4    magic "SXB1"
//! 4..8    bytes of records behind the header, u32
//! 8..16   volume, u64
//! 16..20  protection group, u32
//! 20..24  number of records, u32
//! 24..32  volume epoch of the writer, u64
//! 32..40  segment chain link of the first record (prev_pg), u64
//! 40..48  LSN of the first record, u64
//! 48..56  LSN of the last record, u64
//! 56..64  VDL when the batch was sealed, u64: everything at or below was durable then
//! 64..72  PGMRPL when the batch was sealed, u64: nobody reads below it any more
//! 72..76  reserved, zero
//! 76..80  CRC32C of bytes 0..76 and of the records, u32
//! 80..    records
//! ```

use bytes::{Bytes, BytesMut};

use crate::codec::{DecodeError, Reader};
use crate::mtr::PageChange;
use crate::record::{self, Record, RecordLinks};
use crate::{Lsn, PageId, PgId, SegmentId, VolumeEpoch, VolumeId};

/// First bytes of every batch.
pub const BATCH_MAGIC: [u8; 4] = *b"SXB1";
/// Bytes before the records.
pub const BATCH_HEADER: usize = 80;
/// Largest accepted batch, header included. A writer seals well below it.
pub const MAX_BATCH: usize = 4 * 1024 * 1024;

const CRC_AT: usize = 76;
/// Bytes of the shortest record: its length, its flags and five numbers.
const RECORD_MIN: usize = 7;

/// What is wrong with a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum BatchError {
    /// No batch starts here.
    #[error("no batch starts here: magic is {found:02x?}")]
    Magic {
        /// The first four bytes.
        found: [u8; 4],
    },
    /// The checksum does not match.
    #[error("batch checksum is {stored:#010x} but its bytes give {computed:#010x}")]
    Checksum {
        /// As found.
        stored: u32,
        /// As computed.
        computed: u32,
    },
    /// Too short, too long or malformed.
    #[error("malformed batch: {0}")]
    Malformed(#[from] DecodeError),
    /// Header and records contradict each other.
    #[error("batch header and records disagree on {what}")]
    Inconsistent {
        /// On what.
        what: &'static str,
    },
}

/// The fixed part in front of the records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct BatchHeader {
    /// Bytes of records.
    pub body_len: u32,
    /// Whose log this is.
    pub segment: SegmentId,
    /// How many records.
    pub records: u32,
    /// The writer's volume epoch.
    pub epoch: VolumeEpoch,
    /// Segment chain link of the first record.
    pub prev_pg: Lsn,
    /// LSN of the first record.
    pub first: Lsn,
    /// LSN of the last record.
    pub last: Lsn,
    /// VDL when sealed.
    pub vdl: Lsn,
    /// PGMRPL when sealed.
    pub pgmrpl: Lsn,
}

impl BatchHeader {
    /// Bytes of the whole batch.
    #[must_use]
    pub fn total_len(&self) -> usize {
        BATCH_HEADER + self.body_len as usize
    }

    /// Reads a header and checks magic and size, but not the checksum: that needs the records too.
    pub fn decode(bytes: &[u8]) -> Result<BatchHeader, BatchError> {
        let mut reader = Reader::new(bytes);
        let magic = reader.bytes(4)?;
        if magic != BATCH_MAGIC {
            return Err(BatchError::Magic { found: [magic[0], magic[1], magic[2], magic[3]] });
        }
        let body_len = reader.u32()?;
        let header = BatchHeader {
            body_len,
            segment: SegmentId { volume: VolumeId(reader.u64()?), pg: PgId(reader.u32()?) },
            records: reader.u32()?,
            epoch: VolumeEpoch(reader.u64()?),
            prev_pg: Lsn(reader.u64()?),
            first: Lsn(reader.u64()?),
            last: Lsn(reader.u64()?),
            vdl: Lsn(reader.u64()?),
            pgmrpl: Lsn(reader.u64()?),
        };
        reader.bytes(BATCH_HEADER - 72)?;
        if header.total_len() > MAX_BATCH {
            return Err(DecodeError::OutOfRange { what: "batch length" }.into());
        }
        Ok(header)
    }

    fn encode(&self) -> [u8; BATCH_HEADER] {
        let mut out = [0; BATCH_HEADER];
        out[0..4].copy_from_slice(&BATCH_MAGIC);
        out[4..8].copy_from_slice(&self.body_len.to_le_bytes());
        out[8..16].copy_from_slice(&self.segment.volume.0.to_le_bytes());
        out[16..20].copy_from_slice(&self.segment.pg.0.to_le_bytes());
        out[20..24].copy_from_slice(&self.records.to_le_bytes());
        let numbers = [self.epoch.0, self.prev_pg.0, self.first.0, self.last.0, self.vdl.0, self.pgmrpl.0];
        for (slot, number) in out[24..72].chunks_exact_mut(8).zip(numbers) {
            slot.copy_from_slice(&number.to_le_bytes());
        }
        out
    }
}

fn checksum(bytes: &[u8]) -> u32 {
    crc32c::crc32c_append(crc32c::crc32c(&bytes[..CRC_AT]), &bytes[BATCH_HEADER..])
}

/// Where a record lies in its batch, and what a page index needs to know of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordAt {
    /// Its LSN.
    pub lsn: Lsn,
    /// The page it changes.
    pub page: PageId,
    /// Where it starts in [`Batch::bytes`].
    pub start: u32,
    /// Bytes of it.
    pub len: u32,
    /// CRC32C of these bytes, so that one record can be read back and trusted without its whole batch.
    pub crc: u32,
}

/// A batch whose checksum and records have been checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    header: BatchHeader,
    bytes: Bytes,
    contents: Vec<RecordAt>,
}

impl Batch {
    /// Takes the batch at the start of `bytes` and checks all of it: magic, checksum, every record, and that the
    /// records form one unbroken segment chain from `prev_pg` to `last`. Bytes behind the batch are ignored.
    pub fn decode(bytes: &Bytes) -> Result<Batch, BatchError> {
        let header = BatchHeader::decode(bytes)?;
        if bytes.len() < header.total_len() {
            return Err(DecodeError::Truncated.into());
        }
        let bytes = bytes.slice(..header.total_len());
        let mut raw = [0; 4];
        raw.copy_from_slice(&bytes[CRC_AT..BATCH_HEADER]);
        let (stored, computed) = (u32::from_le_bytes(raw), checksum(&bytes));
        if stored != computed {
            return Err(BatchError::Checksum { stored, computed });
        }
        let contents = checked_contents(&header, &bytes)?;
        Ok(Batch { header, bytes, contents })
    }

    /// The header.
    #[must_use]
    pub fn header(&self) -> &BatchHeader {
        &self.header
    }

    /// The whole batch as it travels and as it lies on disk.
    #[must_use]
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Where the records lie, in order: found while they were checked, so that nobody has to walk them once more for that.
    #[must_use]
    pub fn contents(&self) -> &[RecordAt] {
        &self.contents
    }

    /// The records, each with its byte range inside [`Batch::bytes`].
    #[must_use]
    pub fn records(&self) -> BatchRecords<'_> {
        BatchRecords::new(&self.header, &self.bytes)
    }
}

/// Walks the records of a batch and checks that they are what its header says.
fn checked_contents(header: &BatchHeader, bytes: &[u8]) -> Result<Vec<RecordAt>, BatchError> {
    let inconsistent = |what| Err(BatchError::Inconsistent { what });
    // The count may be wrong: no more memory is asked for than the shortest records would need.
    let mut contents = Vec::with_capacity((header.records as usize).min(bytes.len() / RECORD_MIN));
    let (mut last, mut chain) = (Lsn::ZERO, header.prev_pg);
    for located in BatchRecords::new(header, bytes) {
        let (range, record) = located?;
        let lsn = record.links.lsn;
        if contents.is_empty() && lsn != header.first {
            return inconsistent("the first LSN");
        }
        if lsn <= last || record.links.prev_pg != chain {
            return inconsistent("the segment chain");
        }
        (last, chain) = (lsn, lsn);
        // MAX_BATCH bounds both.
        let (start, len) = (range.start as u32, range.len() as u32);
        contents.push(RecordAt { lsn, page: record.page, start, len, crc: crc32c::crc32c(&bytes[range]) });
    }
    if contents.is_empty() || contents.len() != header.records as usize {
        return inconsistent("the number of records");
    }
    if last != header.last {
        return inconsistent("the last LSN");
    }
    Ok(contents)
}

/// Iterates over the records of an encoded batch.
#[derive(Debug, Clone)]
pub struct BatchRecords<'a> {
    reader: Reader<'a>,
    total: usize,
    before: Lsn,
    failed: bool,
}

impl<'a> BatchRecords<'a> {
    /// Over the records behind the header in `bytes`, which is a whole batch.
    #[must_use]
    pub fn new(header: &BatchHeader, bytes: &'a [u8]) -> Self {
        let records = bytes.get(BATCH_HEADER..header.total_len()).unwrap_or(&[]);
        BatchRecords {
            reader: Reader::new(records),
            total: BATCH_HEADER + records.len(),
            before: header.first,
            failed: false,
        }
    }
}

impl<'a> Iterator for BatchRecords<'a> {
    type Item = Result<(std::ops::Range<usize>, Record<'a>), DecodeError>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.failed || self.reader.is_empty() {
            return None;
        }
        let start = self.total - self.reader.remaining();
        let record = Record::decode(&mut self.reader, self.before);
        let end = self.total - self.reader.remaining();
        match record {
            Ok(record) => {
                self.before = record.links.lsn;
                Some(Ok((start..end, record)))
            }
            Err(error) => {
                self.failed = true;
                Some(Err(error))
            }
        }
    }
}

/// A batch being filled. Records are encoded into it once; sealing writes the header in front of them.
#[derive(Debug)]
pub struct BatchBuilder {
    segment: SegmentId,
    epoch: VolumeEpoch,
    bytes: Vec<u8>,
    records: u32,
    prev_pg: Lsn,
    first: Lsn,
    last: Lsn,
}

impl BatchBuilder {
    /// An empty batch of `segment`, written under `epoch`.
    #[must_use]
    pub fn new(segment: SegmentId, epoch: VolumeEpoch) -> BatchBuilder {
        let (bytes, zero) = (vec![0; BATCH_HEADER], Lsn::ZERO);
        BatchBuilder { segment, epoch, bytes, records: 0, prev_pg: zero, first: zero, last: zero }
    }

    /// True before the first record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// Bytes so far, header included.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// LSN of the last record so far.
    #[must_use]
    pub fn last(&self) -> Lsn {
        self.last
    }

    /// Encodes one record and returns its length in bytes of log: the next record's LSN is at least that much higher.
    pub fn push(&mut self, links: RecordLinks, change: &PageChange) -> usize {
        if self.records == 0 {
            (self.first, self.prev_pg) = (links.lsn, links.prev_pg);
            self.last = links.lsn;
        }
        let len = record::encode(&mut self.bytes, links, self.last, change);
        self.last = links.lsn;
        self.records += 1;
        len
    }

    /// Seals the batch and leaves an empty one of the same segment and epoch behind.
    pub fn seal(&mut self, vdl: Lsn, pgmrpl: Lsn) -> (BatchHeader, Bytes) {
        let header = BatchHeader {
            body_len: u32::try_from(self.bytes.len() - BATCH_HEADER).unwrap_or(u32::MAX),
            segment: self.segment,
            records: self.records,
            epoch: self.epoch,
            prev_pg: self.prev_pg,
            first: self.first,
            last: self.last,
            vdl,
            pgmrpl,
        };
        self.bytes[..BATCH_HEADER].copy_from_slice(&header.encode());
        let crc = checksum(&self.bytes);
        self.bytes[CRC_AT..BATCH_HEADER].copy_from_slice(&crc.to_le_bytes());
        let sealed = std::mem::replace(self, BatchBuilder::new(self.segment, self.epoch));
        (header, Bytes::from(sealed.bytes))
    }
}

/// A copy of `batch` that ends at `last` (which must be one of its LSNs, not the last): what stays of a batch that a
/// truncation range cuts in two, for peers that must not be sent the void part.
pub fn cut_after(batch: &Batch, last: Lsn) -> Option<Bytes> {
    let mut end = None;
    let mut records = 0;
    for (range, record) in batch.records().flatten().take_while(|(_, r)| r.links.lsn <= last) {
        records += 1;
        end = Some((range.end, record.links.lsn));
    }
    let (end, last) = end?;
    let body_len = u32::try_from(end - BATCH_HEADER).ok()?;
    let header = BatchHeader { records, last, body_len, ..*batch.header() };
    let mut bytes = BytesMut::from(&batch.bytes()[..end]);
    bytes[..BATCH_HEADER].copy_from_slice(&header.encode());
    let crc = checksum(&bytes);
    bytes[CRC_AT..BATCH_HEADER].copy_from_slice(&crc.to_le_bytes());
    Some(bytes.freeze())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{Mtr, patch::Patch};

    fn segment() -> SegmentId {
        SegmentId { volume: VolumeId(1), pg: PgId(2) }
    }

    fn build(sizes: &[usize]) -> Bytes {
        let mut builder = BatchBuilder::new(segment(), VolumeEpoch(3));
        let mut mtr = Mtr::new();
        let (mut lsn, mut prev) = (Lsn(1000), Lsn(900));
        for (n, size) in sizes.iter().enumerate() {
            mtr.clear();
            let at = mtr.add_page(PageId(n as u64), Lsn::ZERO);
            mtr.patch(at, Patch::Set { offset: 24, bytes: &vec![7; *size] });
            let links = RecordLinks { lsn, prev_volume: prev, prev_pg: prev, is_cpl: true };
            let len = builder.push(links, &mtr.changes()[0]);
            (prev, lsn) = (lsn, lsn.advance(len as u64));
        }
        builder.seal(Lsn(900), Lsn(800)).1
    }

    #[test]
    fn a_batch_round_trips() {
        let bytes = build(&[10, 300, 0]);
        let batch = Batch::decode(&bytes).expect("valid");
        assert_eq!((batch.header().records, batch.header().first), (3, Lsn(1000)));
        assert_eq!(batch.header().total_len(), bytes.len());
        let pages: Vec<_> = batch.records().map(|r| r.expect("valid").1.page).collect();
        assert_eq!(pages, [PageId(0), PageId(1), PageId(2)]);
        let lengths: usize = batch.records().flatten().map(|(range, _)| range.len()).sum();
        assert_eq!(lengths, bytes.len() - BATCH_HEADER);
        let walked = batch.records().flatten().map(|(range, record)| RecordAt {
            lsn: record.links.lsn,
            page: record.page,
            start: range.start as u32,
            len: range.len() as u32,
            crc: crc32c::crc32c(&bytes[range]),
        });
        assert!(walked.eq(batch.contents().iter().copied()));
        for (range, record) in batch.records().flatten() {
            assert_eq!(Record::decode_alone(&bytes[range], record.links.lsn), Ok(record));
        }
    }

    #[test]
    fn every_flipped_bit_is_found() {
        let bytes = build(&[10, 20]);
        for at in 0..bytes.len() {
            let mut bad = bytes.to_vec();
            bad[at] ^= 1;
            assert!(Batch::decode(&Bytes::from(bad)).is_err(), "byte {at}");
        }
        for len in 0..bytes.len() {
            assert!(Batch::decode(&bytes.slice(..len)).is_err(), "length {len}");
        }
    }

    #[test]
    fn a_cut_batch_is_a_valid_batch() {
        let batch = Batch::decode(&build(&[10, 20, 30])).expect("valid");
        let second = batch.records().flatten().nth(1).expect("three").1.links.lsn;
        let cut = Batch::decode(&cut_after(&batch, second).expect("not empty")).expect("valid");
        assert_eq!((cut.header().records, cut.header().last), (2, second));
        assert_eq!(cut_after(&batch, Lsn(1)), None);
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200), fix in any::<bool>()) {
            let mut bytes = bytes;
            if fix && bytes.len() > BATCH_HEADER {
                let body = (bytes.len() - BATCH_HEADER) as u32;
                bytes[0..4].copy_from_slice(&BATCH_MAGIC);
                bytes[4..8].copy_from_slice(&body.to_le_bytes());
                let crc = checksum(&bytes);
                bytes[CRC_AT..BATCH_HEADER].copy_from_slice(&crc.to_le_bytes());
            }
            let _ = Batch::decode(&Bytes::from(bytes));
        }
    }
}
