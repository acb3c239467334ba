//! Why a storage node refuses or fails, and what the caller can do about it.

use crate::codec::{DecodeError, Reader, put_byte_string};
use crate::{ClusterId, Lsn, MembershipEpoch, NodeId, SegmentId, VolumeEpoch};

use super::message::{lsn, put_segment, put_u64, segment};

const MAX_TEXT: usize = 4096;

/// A storage node's error reply.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SegmentError {
    /// A newer writer has opened the volume. The caller has lost it for good and must stop.
    #[error("fenced: the volume is open under epoch {current}; this writer's epoch is over and it must stop")]
    Fenced {
        /// The segment's epoch.
        current: VolumeEpoch,
    },
    /// The protection group has other members now. Ask the metadata service and try again.
    #[error("membership epoch is {current} now; refresh the members of the protection group and try again")]
    StaleMembership {
        /// The segment's membership epoch.
        current: MembershipEpoch,
    },
    /// The node has no such segment. Nothing was written.
    #[error("no segment {segment:?} on this node")]
    UnknownSegment {
        /// Which.
        segment: SegmentId,
    },
    /// The segment misses log below the read point. Ask another copy.
    #[error("segment is complete to {scl} only; ask another copy")]
    NotComplete {
        /// Segment complete LSN.
        scl: Lsn,
    },
    /// Versions of that age have been collected.
    #[error("read point is below {pgmrpl}, the oldest that is still kept")]
    ReadPointTooOld {
        /// Lowest LSN that can be read.
        pgmrpl: Lsn,
    },
    /// The stored bytes are damaged. The copy is not served; ask another one.
    #[error("damaged on this node: {what}; ask another copy")]
    Damaged {
        /// What and where.
        what: String,
    },
    /// The device is full: no new log until space returns. Reads go on.
    #[error("device full: no log is accepted until space returns; reads go on")]
    DeviceFull,
    /// Too much is waiting. Nothing was written; try again later.
    #[error("overloaded: try again")]
    Overloaded,
    /// The request is malformed or breaks a rule of the protocol. Nothing was written.
    #[error("bad request: {what}")]
    BadRequest {
        /// What is wrong.
        what: String,
    },
    /// The caller looks for another cluster.
    #[error("this node belongs to cluster {ours:?}")]
    WrongCluster {
        /// The node's cluster.
        ours: ClusterId,
    },
    /// The caller looks for another node.
    #[error("this is {ours:?}")]
    WrongNode {
        /// The node's id.
        ours: NodeId,
    },
    /// The node is stopping: after a failed write or flush it does not go on.
    #[error("the node is stopping: {what}")]
    Stopping {
        /// Why.
        what: String,
    },
}

impl SegmentError {
    /// True when the same request may succeed later or at another copy.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        !matches!(
            self,
            SegmentError::Fenced { .. }
                | SegmentError::BadRequest { .. }
                | SegmentError::WrongCluster { .. }
                | SegmentError::ReadPointTooOld { .. }
        )
    }

    pub(super) fn encode(&self, out: &mut Vec<u8>) {
        let mut number = |tag: u8, value: u64| {
            out.push(tag);
            put_u64(out, value);
        };
        match self {
            SegmentError::Fenced { current } => number(1, current.0),
            SegmentError::StaleMembership { current } => number(2, current.0),
            SegmentError::UnknownSegment { segment } => {
                out.push(3);
                put_segment(out, *segment);
            }
            SegmentError::NotComplete { scl } => number(4, scl.0),
            SegmentError::ReadPointTooOld { pgmrpl } => number(5, pgmrpl.0),
            SegmentError::Damaged { what } => put_text(out, 6, what),
            SegmentError::DeviceFull => out.push(7),
            SegmentError::Overloaded => out.push(8),
            SegmentError::BadRequest { what } => put_text(out, 9, what),
            SegmentError::WrongCluster { ours } => {
                out.push(10);
                out.extend_from_slice(&ours.0.to_le_bytes());
            }
            SegmentError::WrongNode { ours } => number(11, ours.0),
            SegmentError::Stopping { what } => put_text(out, 12, what),
        }
    }

    pub(super) fn decode(r: &mut Reader<'_>) -> Result<SegmentError, DecodeError> {
        Ok(match r.u8()? {
            1 => SegmentError::Fenced { current: VolumeEpoch(r.u64()?) },
            2 => SegmentError::StaleMembership { current: MembershipEpoch(r.u64()?) },
            3 => SegmentError::UnknownSegment { segment: segment(r)? },
            4 => SegmentError::NotComplete { scl: lsn(r)? },
            5 => SegmentError::ReadPointTooOld { pgmrpl: lsn(r)? },
            6 => SegmentError::Damaged { what: text(r)? },
            7 => SegmentError::DeviceFull,
            8 => SegmentError::Overloaded,
            9 => SegmentError::BadRequest { what: text(r)? },
            10 => SegmentError::WrongCluster { ours: ClusterId(r.u128()?) },
            11 => SegmentError::WrongNode { ours: NodeId(r.u64()?) },
            12 => SegmentError::Stopping { what: text(r)? },
            tag => {
                return Err(DecodeError::UnknownTag { what: "segment error", tag: u64::from(tag) });
            }
        })
    }
}

fn put_text(out: &mut Vec<u8>, tag: u8, text: &str) {
    out.push(tag);
    let end = (0..=text.len().min(MAX_TEXT)).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    put_byte_string(out, &text.as_bytes()[..end]);
}

fn text(r: &mut Reader<'_>) -> Result<String, DecodeError> {
    Ok(String::from_utf8_lossy(r.byte_string(MAX_TEXT, "error text")?).into_owned())
}
