//! Small encoders shared by requests and replies.

use crate::codec::{DecodeError, Reader};
use crate::{Lsn, MembershipEpoch, PgId, SegmentId, TruncationRange, VolumeEpoch, VolumeId};

use super::Epochs;

/// Most truncation ranges in one message.
const MAX_RANGES: usize = 1 << 20;

pub(super) fn put_u64(out: &mut Vec<u8>, value: u64) {
    out.extend_from_slice(&value.to_le_bytes());
}

pub(super) fn put_segment(out: &mut Vec<u8>, segment: SegmentId) {
    put_u64(out, segment.volume.0);
    out.extend_from_slice(&segment.pg.0.to_le_bytes());
}

pub(super) fn segment(reader: &mut Reader<'_>) -> Result<SegmentId, DecodeError> {
    Ok(SegmentId { volume: VolumeId(reader.u64()?), pg: PgId(reader.u32()?) })
}

pub(super) fn put_epochs(out: &mut Vec<u8>, epochs: Epochs) {
    put_u64(out, epochs.volume.0);
    put_u64(out, epochs.membership.0);
}

pub(super) fn epochs(reader: &mut Reader<'_>) -> Result<Epochs, DecodeError> {
    Ok(Epochs { volume: VolumeEpoch(reader.u64()?), membership: MembershipEpoch(reader.u64()?) })
}

pub(super) fn lsn(reader: &mut Reader<'_>) -> Result<Lsn, DecodeError> {
    Ok(Lsn(reader.u64()?))
}

pub(super) fn put_ranges(out: &mut Vec<u8>, ranges: &[TruncationRange]) {
    out.extend_from_slice(&(ranges.len() as u32).to_le_bytes());
    for range in ranges {
        put_u64(out, range.epoch.0);
        put_u64(out, range.from.0);
        put_u64(out, range.to.0);
    }
}

pub(super) fn ranges(reader: &mut Reader<'_>) -> Result<Vec<TruncationRange>, DecodeError> {
    let count = reader.u32()? as usize;
    if count > MAX_RANGES || count * 24 > reader.remaining() {
        return Err(DecodeError::OutOfRange { what: "number of truncation ranges" });
    }
    let range = |reader: &mut Reader<'_>| {
        Ok(TruncationRange { epoch: VolumeEpoch(reader.u64()?), from: lsn(reader)?, to: lsn(reader)? })
    };
    (0..count).map(|_| range(reader)).collect()
}
