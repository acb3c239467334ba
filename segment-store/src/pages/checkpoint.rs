//! The checkpoint: what recovery starts from, so that log below it can be freed. Written beside the old one, flushed and
//! renamed over it; also in `docs/formats/hot-log.md`.
//!
//! ```text
//! 0..4    magic "SXC1"
//! 4..8    version, u32: 5 where a segment is a tail, else 4
//! 8..24   cluster id, u128
//! 24..32  node id, u64
//! 32..36  number of the oldest log file kept, u32
//! 36..40  number of segments, u32
//! 40..48  sequence of the last group that the checkpoint covers, u64
//! 48..56  log address behind that group, u64: control entries below it are in the checkpoint
//! 56..60  log is read from this file on, u32; what lies in front is in the list of pending records
//! 60..64  count of log files that hold log, u32
//! 64..72  from this byte of the file on, u64
//! 72..80  sequence of the group there, u64
//! 80..88  bytes of the list of pending records, u64
//! 88..92  count of its pieces, u32
//! 92..    sequence of the first group of each log file, from the oldest on, u64 each;
//!         pieces of the list: slot u32, CRC32C u32 of each;
//!         segments, each:
//!           volume u64, pg u32, in version 5: 1 for a tail, else 0, u32; log address of its creation u64, volume epoch at creation u64, volume epoch u64, membership epoch u64,
//!           VDL u64, PGMRPL u64, log start u64,
//!           copy of pages under way: 1 or 0 u32, its point u64, the first page that is missing u64,
//!           truncation ranges: count u32, then epoch u64, from u64, to u64 of each,
//!           known stretches of the chain: count u32, then from u64, to u64 of each,
//!           blocks of the page map: count u32, then number u64, slot u32, CRC32C u32 of each
//! last 4  CRC32C of everything before
//! ```

use sextant_redo::codec::{DecodeError, Reader};
use sextant_redo::wire::Epochs;
use sextant_redo::{
    ClusterId, Lsn, MembershipEpoch, NodeId, PageId, PgId, SegmentId, SegmentKind, TruncationRange,
    Truncations, VolumeEpoch, VolumeId,
};

use crate::core::{Copying, Coverage, LogAddress, MapBlock, PageIndex, SegmentParts, Slot, Store};
use crate::log::{LogIdentity, LogPosition};
use crate::recovery::{LogStart, RecoveryError};

use super::blocks::Piece;

/// Name of the file.
pub(crate) const CHECKPOINT_FILE: &str = "checkpoint.sxc";

const MAGIC: [u8; 4] = *b"SXC1";
/// What is written where all segments are full.
const VERSION: u32 = 4;
/// What is written where some are tails.
const VERSION_TAILS: u32 = 5;

/// Where the list of pending records lies.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PendingList {
    /// What lies behind this in the log may not be in the list.
    pub(crate) from: LogPosition,
    /// In order; the last one is filled up with zeros.
    pub(crate) pieces: Vec<Piece>,
    /// Bytes of the list; with none, nothing was pending.
    pub(crate) bytes: u64,
}

/// What a checkpoint says besides its segments.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CheckpointHead {
    pub(crate) identity: LogIdentity,
    pub(crate) start: LogStart,
    /// Sequence of the first group of each log file that holds log, from the oldest kept one on.
    pub(crate) sequences: Vec<u64>,
    pub(crate) list: PendingList,
}

impl CheckpointHead {
    /// A checkpoint behind which all log that is kept is to be read.
    pub(crate) fn without_list(identity: LogIdentity, start: LogStart) -> CheckpointHead {
        let list = PendingList { from: start.scan, pieces: Vec::new(), bytes: 0 };
        CheckpointHead { identity, start, sequences: Vec::new(), list }
    }
}

fn put_u64s(out: &mut Vec<u8>, numbers: &[u64]) {
    numbers.iter().for_each(|number| out.extend_from_slice(&number.to_le_bytes()));
}

fn put_count(out: &mut Vec<u8>, count: usize) {
    out.extend_from_slice(&(count as u32).to_le_bytes());
}

/// The bytes of the file. The log below the head's first file is about to be freed.
pub(crate) fn encode(head: &CheckpointHead, store: &Store) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&MAGIC);
    let tails = store.segments().values().any(|slot| !slot.segment.kind().is_full());
    let version = if tails { VERSION_TAILS } else { VERSION };
    put_count(&mut out, version as usize);
    out.extend_from_slice(&head.identity.cluster.0.to_le_bytes());
    put_u64s(&mut out, &[head.identity.node.0]);
    put_count(&mut out, head.start.file as usize);
    put_count(&mut out, store.segments().len());
    put_u64s(&mut out, &[head.start.reached, head.start.applied.0]);
    put_count(&mut out, head.list.from.file as usize);
    put_count(&mut out, head.sequences.len());
    put_u64s(&mut out, &[head.list.from.offset, head.list.from.sequence, head.list.bytes]);
    put_count(&mut out, head.list.pieces.len());
    put_u64s(&mut out, &head.sequences);
    for piece in &head.list.pieces {
        put_count(&mut out, piece.slot.0 as usize);
        put_count(&mut out, piece.crc as usize);
    }
    let floor = LogAddress::new(head.start.file, 0);
    for (id, slot) in store.segments() {
        put_segment(&mut out, (*id, slot.born), &slot.segment.parts(floor), tails);
        put_count(&mut out, slot.pages.map().blocks().count());
        for block in slot.pages.map().blocks() {
            put_u64s(&mut out, &[block.number]);
            put_count(&mut out, block.slot.0 as usize);
            put_count(&mut out, block.crc as usize);
        }
    }
    let crc = crc32c::crc32c(&out);
    out.extend_from_slice(&crc.to_le_bytes());
    out
}

fn put_segment(out: &mut Vec<u8>, (id, born): (SegmentId, LogAddress), parts: &SegmentParts, tails: bool) {
    put_u64s(out, &[id.volume.0]);
    out.extend_from_slice(&id.pg.0.to_le_bytes());
    if tails {
        put_count(out, usize::from(!parts.kind.is_full()));
    }
    put_u64s(out, &[born.0]);
    let Epochs { volume, membership } = parts.epochs;
    let lsns = [parts.vdl.0, parts.pgmrpl.0, parts.log_start.0];
    put_u64s(out, &[parts.created.0, volume.0, membership.0]);
    put_u64s(out, &lsns);
    put_count(out, usize::from(parts.copying.is_some()));
    let copying = parts.copying.map_or([0, 0], |copying| [copying.point.0, copying.next.0]);
    put_u64s(out, &copying);
    let ranges = parts.truncations.ranges();
    put_count(out, ranges.len());
    ranges.iter().for_each(|r| put_u64s(out, &[r.epoch.0, r.from.0, r.to.0]));
    put_count(out, parts.coverage.spans().count());
    parts.coverage.spans().for_each(|(from, to)| put_u64s(out, &[from.0, to.0]));
}

/// Reads a checkpoint into an empty store.
pub(crate) fn decode(
    bytes: &[u8],
    identity: LogIdentity,
    store: &mut Store,
) -> Result<CheckpointHead, RecoveryError> {
    let file = || CHECKPOINT_FILE.to_owned();
    let damaged = |what: String| RecoveryError::Damaged { file: file(), offset: 0, what };
    let (body, crc) = bytes.split_last_chunk::<4>().ok_or_else(|| damaged("it is too short".into()))?;
    let (stored, computed) = (u32::from_le_bytes(*crc), crc32c::crc32c(body));
    if stored != computed {
        return Err(damaged(format!("checksum is {stored:#010x} but its bytes give {computed:#010x}")));
    }
    let head = match decode_body(body, store) {
        Err(DecodeError::UnknownTag { what: "checkpoint version", tag }) => {
            return Err(RecoveryError::Version { file: file(), found: tag, known: VERSION_TAILS });
        }
        decoded => decoded.map_err(|error| damaged(error.to_string()))?,
    };
    if head.identity != identity {
        let what = format!("node {} of cluster {}", head.identity.node, head.identity.cluster);
        return Err(RecoveryError::Foreign { file: file(), what });
    }
    Ok(head)
}

fn decode_body(body: &[u8], store: &mut Store) -> Result<CheckpointHead, DecodeError> {
    let mut r = Reader::new(body);
    let unknown = |what, tag| Err(DecodeError::UnknownTag { what, tag });
    if r.bytes(4)? != MAGIC {
        return unknown("checkpoint magic", 0);
    }
    let version = r.u32()?;
    if ![VERSION, VERSION_TAILS].contains(&version) {
        return unknown("checkpoint version", u64::from(version));
    }
    let identity = LogIdentity { cluster: ClusterId(r.u128()?), node: NodeId(r.u64()?) };
    let (file, segments) = (r.u32()?, r.u32()?);
    let (reached, applied) = (r.u64()?, LogAddress(r.u64()?));
    let (scan_file, files) = (r.u32()?, r.u32()?);
    let scan = LogPosition { file: scan_file, offset: r.u64()?, sequence: r.u64()? };
    let (bytes, pieces) = (r.u64()?, r.u32()?);
    let sequences = (0..files).map(|_| r.u64()).collect::<Result<_, _>>()?;
    let piece = |_| Ok(Piece { slot: Slot(r.u32()?), crc: r.u32()? });
    let pieces = (0..pieces).map(piece).collect::<Result<_, DecodeError>>()?;
    for _ in 0..segments {
        let id = SegmentId { volume: VolumeId(r.u64()?), pg: PgId(r.u32()?) };
        let kind = if version == VERSION_TAILS { kind(&mut r)? } else { SegmentKind::Full };
        let born = LogAddress(r.u64()?);
        let parts = SegmentParts { kind, ..segment(&mut r)? };
        let pages = PageIndex::restore(blocks(&mut r)?);
        store.restore(id, parts, pages, born);
    }
    r.finish()?;
    if scan.file < file || scan.sequence == 0 {
        return Err(DecodeError::OutOfRange { what: "place in the log" });
    }
    let list = PendingList { from: scan, pieces, bytes };
    Ok(CheckpointHead { identity, start: LogStart { file, reached, applied, scan }, sequences, list })
}

fn kind(r: &mut Reader<'_>) -> Result<SegmentKind, DecodeError> {
    match r.u32()? {
        0 => Ok(SegmentKind::Full),
        1 => Ok(SegmentKind::Tail),
        tag => Err(DecodeError::UnknownTag { what: "kind of segment", tag: u64::from(tag) }),
    }
}

fn segment(r: &mut Reader<'_>) -> Result<SegmentParts, DecodeError> {
    let created = VolumeEpoch(r.u64()?);
    let epochs = Epochs { volume: VolumeEpoch(r.u64()?), membership: MembershipEpoch(r.u64()?) };
    let (vdl, pgmrpl, log_start) = (Lsn(r.u64()?), Lsn(r.u64()?), Lsn(r.u64()?));
    let (under_way, point, next) = (r.u32()? != 0, Lsn(r.u64()?), PageId(r.u64()?));
    let copying = under_way.then_some(Copying { point, next });
    let mut truncations = Truncations::default();
    for _ in 0..r.u32()? {
        let range = TruncationRange { epoch: VolumeEpoch(r.u64()?), from: Lsn(r.u64()?), to: Lsn(r.u64()?) };
        truncations.insert(range).map_err(|_| DecodeError::OutOfRange { what: "truncation range" })?;
    }
    let mut coverage = Coverage::default();
    for _ in 0..r.u32()? {
        coverage.insert(Lsn(r.u64()?), Lsn(r.u64()?));
    }
    let kind = SegmentKind::Full;
    Ok(SegmentParts { kind, created, epochs, truncations, vdl, pgmrpl, log_start, coverage, copying })
}

fn blocks(r: &mut Reader<'_>) -> Result<Vec<MapBlock>, DecodeError> {
    let count = r.u32()?;
    (0..count).map(|_| Ok(MapBlock { number: r.u64()?, slot: Slot(r.u32()?), crc: r.u32()? })).collect()
}
