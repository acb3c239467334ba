//! What a storage node answers.

use bytes::Bytes;

use super::message::{epochs, lsn, put_epochs, put_ranges, put_segment, put_u64, ranges, segment};
use super::{Epochs, SegmentError};
use crate::codec::{DecodeError, Reader, put_byte_string, put_varint};
use crate::{ClusterId, Lsn, NodeId, PAGE_SIZE, PageId, RecordLinks, SegmentId, TruncationRange};

/// Where one segment stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SegmentState {
    /// Which.
    pub segment: SegmentId,
    /// Durable epochs.
    pub epochs: Epochs,
    /// Segment complete LSN.
    pub scl: Lsn,
    /// Highest LSN received; above the SCL when there is a hole.
    pub highest: Lsn,
    /// Highest VDL seen in a batch: a lower bound of the volume's VDL.
    pub vdl: Lsn,
    /// Lowest LSN whose record links are still in the log: [`super::Request::ReadChain`] and
    /// [`super::Request::ReadLog`] answer only above it.
    pub log_start: Lsn,
    /// Known truncation ranges.
    pub truncations: Vec<TruncationRange>,
}

/// A storage node's answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// This is the node; the connection is good.
    Hello {
        /// Its cluster.
        cluster: ClusterId,
        /// Its id.
        node: NodeId,
    },
    /// Everything up to the SCL is durable on this segment.
    Appended {
        /// Which segment.
        segment: SegmentId,
        /// Segment complete LSN.
        scl: Lsn,
    },
    /// A page image, sealed (checksum up to date).
    Page {
        /// [`PAGE_SIZE`] bytes.
        image: Bytes,
    },
    /// State of one segment.
    State(SegmentState),
    /// Record links in chain order.
    Chain {
        /// The links.
        links: Vec<RecordLinks>,
        /// True when the segment's chain has no record behind the last of these.
        complete: bool,
    },
    /// Whole batches, one behind the other.
    Log {
        /// Their bytes.
        batches: Bytes,
        /// LSN of the last record among them; `after` of the request when there is none.
        last: Lsn,
    },
    /// State of every segment on the node.
    Status(Vec<SegmentState>),
    /// Images of pages, for a copy.
    Pages(PagesReply),
    /// Refused or failed.
    Error(SegmentError),
}

/// One part of a copy of a segment's pages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagesReply {
    /// Every image holds all records of its page at or below this LSN, which is that of a record of the group: the log
    /// goes on behind it.
    pub point: Lsn,
    /// Highest VDL seen by the sender.
    pub vdl: Lsn,
    /// Nobody reads below it any more. No image holds a record above it.
    pub pgmrpl: Lsn,
    /// Where the next part starts; `None` behind the last page.
    pub next: Option<PageId>,
    /// The images one behind the other, in page order, sealed, [`PAGE_SIZE`] bytes each.
    pub images: Bytes,
}

const HELLO: u8 = 128;
const APPENDED: u8 = 129;
const PAGE: u8 = 130;
const STATE: u8 = 131;
const CHAIN: u8 = 132;
const LOG: u8 = 133;
const STATUS: u8 = 134;
const ERROR: u8 = 135;
const PAGES: u8 = 136;

/// Shortest encoding of one [`SegmentState`], to bound what a length field can make us allocate.
const MIN_STATE: usize = 64;

impl Reply {
    /// The frame kind.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Reply::Hello { .. } => HELLO,
            Reply::Appended { .. } => APPENDED,
            Reply::Page { .. } => PAGE,
            Reply::State(_) => STATE,
            Reply::Chain { .. } => CHAIN,
            Reply::Log { .. } => LOG,
            Reply::Status(_) => STATUS,
            Reply::Pages(_) => PAGES,
            Reply::Error(_) => ERROR,
        }
    }

    /// The frame's payload.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Reply::Hello { cluster, node } => {
                out.extend_from_slice(&cluster.0.to_le_bytes());
                put_u64(&mut out, node.0);
            }
            Reply::Appended { segment, scl } => {
                put_segment(&mut out, *segment);
                put_u64(&mut out, scl.0);
            }
            Reply::Page { image } => out.extend_from_slice(image),
            Reply::State(state) => put_state(&mut out, state),
            Reply::Chain { links, complete } => put_chain(&mut out, links, *complete),
            Reply::Log { batches, last } => {
                put_u64(&mut out, last.0);
                out.extend_from_slice(batches);
            }
            Reply::Status(states) => {
                out.extend_from_slice(&(states.len() as u32).to_le_bytes());
                states.iter().for_each(|state| put_state(&mut out, state));
            }
            Reply::Pages(pages) => put_pages(&mut out, pages),
            Reply::Error(error) => error.encode(&mut out),
        }
        out
    }

    /// Reads the payload of a frame of `kind`.
    pub fn decode(kind: u8, payload: &Bytes) -> Result<Reply, DecodeError> {
        let mut reader = Reader::new(payload);
        let r = &mut reader;
        let reply = match kind {
            HELLO => Reply::Hello { cluster: ClusterId(r.u128()?), node: NodeId(r.u64()?) },
            APPENDED => Reply::Appended { segment: segment(r)?, scl: lsn(r)? },
            PAGE if payload.len() == PAGE_SIZE => {
                return Ok(Reply::Page { image: payload.clone() });
            }
            PAGE => {
                return Err(DecodeError::OutOfRange { what: "page image length" });
            }
            STATE => Reply::State(state(r)?),
            CHAIN => chain(r)?,
            LOG => {
                return Ok(Reply::Log { last: lsn(r)?, batches: payload.slice(8..) });
            }
            STATUS => {
                let count = r.u32()? as usize;
                if count > r.remaining() / MIN_STATE {
                    return Err(DecodeError::OutOfRange { what: "number of segments" });
                }
                Reply::Status((0..count).map(|_| state(r)).collect::<Result<_, _>>()?)
            }
            PAGES => return pages(r, payload),
            ERROR => Reply::Error(SegmentError::decode(r)?),
            tag => {
                return Err(DecodeError::UnknownTag { what: "reply", tag: u64::from(tag) });
            }
        };
        reader.finish()?;
        Ok(reply)
    }
}

fn put_state(out: &mut Vec<u8>, state: &SegmentState) {
    put_segment(out, state.segment);
    put_epochs(out, state.epochs);
    for lsn in [state.scl, state.highest, state.vdl, state.log_start] {
        put_u64(out, lsn.0);
    }
    put_ranges(out, &state.truncations);
}

fn state(r: &mut Reader<'_>) -> Result<SegmentState, DecodeError> {
    Ok(SegmentState {
        segment: segment(r)?,
        epochs: epochs(r)?,
        scl: lsn(r)?,
        highest: lsn(r)?,
        vdl: lsn(r)?,
        log_start: lsn(r)?,
        truncations: ranges(r)?,
    })
}

fn put_pages(out: &mut Vec<u8>, pages: &PagesReply) {
    for number in [pages.point.0, pages.vdl.0, pages.pgmrpl.0] {
        put_u64(out, number);
    }
    out.push(u8::from(pages.next.is_some()));
    put_u64(out, pages.next.map_or(0, |page| page.0));
    out.extend_from_slice(&pages.images);
}

fn pages(r: &mut Reader<'_>, payload: &Bytes) -> Result<Reply, DecodeError> {
    let (point, vdl, pgmrpl) = (lsn(r)?, lsn(r)?, lsn(r)?);
    let more = r.u8()? != 0;
    let next = PageId(r.u64()?);
    let images = payload.slice(payload.len() - r.remaining()..);
    if !images.len().is_multiple_of(PAGE_SIZE) {
        return Err(DecodeError::OutOfRange { what: "length of page images" });
    }
    Ok(Reply::Pages(PagesReply { point, vdl, pgmrpl, next: more.then_some(next), images }))
}

fn put_chain(out: &mut Vec<u8>, links: &[RecordLinks], complete: bool) {
    out.push(u8::from(complete));
    let mut bytes = Vec::with_capacity(links.len() * 5);
    for link in links {
        put_varint(&mut bytes, link.lsn.0);
        put_varint(&mut bytes, link.lsn.since(link.prev_volume));
        put_varint(&mut bytes, link.lsn.since(link.prev_pg) << 1 | u64::from(link.is_cpl));
    }
    put_byte_string(out, &bytes);
}

fn chain(r: &mut Reader<'_>) -> Result<Reply, DecodeError> {
    let complete = r.u8()? != 0;
    let mut items = Reader::new(r.byte_string(crate::frame::MAX_PAYLOAD, "chain length")?);
    let mut links = Vec::new();
    while !items.is_empty() {
        let lsn = items.varint()?;
        let prev_volume = lsn.checked_sub(items.varint()?);
        let tagged = items.varint()?;
        let prev_pg = lsn.checked_sub(tagged >> 1);
        let (Some(prev_volume), Some(prev_pg)) = (prev_volume, prev_pg) else {
            return Err(DecodeError::OutOfRange { what: "back-link" });
        };
        let is_cpl = tagged & 1 == 1;
        links.push(RecordLinks {
            lsn: Lsn(lsn),
            prev_volume: Lsn(prev_volume),
            prev_pg: Lsn(prev_pg),
            is_cpl,
        });
    }
    Ok(Reply::Chain { links, complete })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{MembershipEpoch, PgId, VolumeEpoch, VolumeId};

    fn round_trip(reply: Reply) {
        let payload = Bytes::from(reply.payload());
        assert_eq!(Reply::decode(reply.kind(), &payload), Ok(reply));
    }

    #[test]
    fn every_reply_round_trips() {
        let segment = SegmentId { volume: VolumeId(4), pg: PgId(5) };
        let state = SegmentState {
            segment,
            epochs: Epochs { volume: VolumeEpoch(6), membership: MembershipEpoch(7) },
            scl: Lsn(1),
            highest: Lsn(2),
            vdl: Lsn(3),
            log_start: Lsn(4),
            truncations: vec![TruncationRange { epoch: VolumeEpoch(6), from: Lsn(1), to: Lsn(2) }],
        };
        round_trip(Reply::Hello { cluster: ClusterId(1), node: NodeId(2) });
        round_trip(Reply::Appended { segment, scl: Lsn(9) });
        round_trip(Reply::Page { image: Bytes::from(vec![1; PAGE_SIZE]) });
        round_trip(Reply::State(state.clone()));
        let link = RecordLinks { lsn: Lsn(90), prev_volume: Lsn(80), prev_pg: Lsn(0), is_cpl: true };
        round_trip(Reply::Chain { links: vec![link], complete: true });
        round_trip(Reply::Log { batches: Bytes::from_static(b"batches"), last: Lsn(7) });
        round_trip(Reply::Status(vec![state.clone(), state]));
        let part = |next, images: &[u8]| PagesReply {
            point: Lsn(3),
            vdl: Lsn(4),
            pgmrpl: Lsn(5),
            next,
            images: Bytes::copy_from_slice(images),
        };
        round_trip(Reply::Pages(part(Some(PageId(0)), &[7; 2 * PAGE_SIZE])));
        round_trip(Reply::Pages(part(None, &[])));
        round_trip(Reply::Error(SegmentError::Fenced { current: VolumeEpoch(8) }));
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic(kind in 127u8..139, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Reply::decode(kind, &Bytes::from(bytes));
        }
    }
}
