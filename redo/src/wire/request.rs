//! What a storage node is asked.

use bytes::Bytes;

use super::message::{epochs, lsn, put_epochs, put_ranges, put_segment, put_u64, ranges, segment};
use crate::codec::{DecodeError, Reader};
use crate::{
    ClusterId, Lsn, MembershipEpoch, NodeId, PageId, SegmentId, SegmentKind, TruncationRange, VolumeEpoch,
};

/// Both epochs that ride on every read, write and gossip message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Epochs {
    /// Volume epoch of the sender.
    pub volume: VolumeEpoch,
    /// Membership epoch of the protection group as the sender knows it.
    pub membership: MembershipEpoch,
}

/// Who opened the connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PeerKind {
    /// An engine (writer or reader).
    Engine,
    /// Another storage node.
    Storage,
    /// An administrator's tool.
    Admin,
}

/// One batch for one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Append {
    /// For whom.
    pub segment: SegmentId,
    /// Epochs of the sender, checked against the segment's. The batch's header names the volume epoch under which its
    /// records were written, which is lower when a later writer brings a copy up to date from another one.
    pub epochs: Epochs,
    /// An encoded [`crate::Batch`], unchecked.
    pub batch: Bytes,
}

impl Append {
    /// Bytes of the payload in front of the batch.
    pub const PREFIX: usize = 28;

    /// The payload's bytes in front of the batch, for vectored writes: `[prefix, batch]` is the payload.
    #[must_use]
    pub fn prefix(segment: SegmentId, epochs: Epochs) -> [u8; Self::PREFIX] {
        let mut out = [0; Self::PREFIX];
        out[0..8].copy_from_slice(&segment.volume.0.to_le_bytes());
        out[8..12].copy_from_slice(&segment.pg.0.to_le_bytes());
        out[12..20].copy_from_slice(&epochs.volume.0.to_le_bytes());
        out[20..28].copy_from_slice(&epochs.membership.0.to_le_bytes());
        out
    }
}

/// A request to a storage node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Request {
    /// First on every connection. Refused with [`super::SegmentError::WrongCluster`] or
    /// [`super::SegmentError::WrongNode`] when the caller looks for another one. Reply: `Hello`.
    Hello {
        /// The caller's cluster.
        cluster: ClusterId,
        /// The node that the caller believes to talk to.
        node: NodeId,
        /// Who calls.
        peer: PeerKind,
    },
    /// Appends a batch. Reply once durable: `Appended` with the SCL, which may cover several appends.
    Append(Append),
    /// Reads a page as of `read_point`. Reply: `Page`.
    ReadPage {
        /// Where.
        segment: SegmentId,
        /// Epochs of the reader.
        epochs: Epochs,
        /// Which page.
        page: PageId,
        /// Newest image at or below this LSN.
        read_point: Lsn,
        /// The segment must be complete to here: LSN of the last record of this protection group at or below the read
        /// point. Lower than the read point where the group was idle.
        required_scl: Lsn,
    },
    /// Makes an empty segment; does nothing when it exists. Only for a segment that the metadata service knows as not
    /// created yet: an existing one that lost its disk must never come back empty. Reply: `State`.
    CreateSegment {
        /// Which.
        segment: SegmentId,
        /// Epochs it starts with.
        epochs: Epochs,
        /// What it is to keep. A full segment is asked for as it was before there were tails.
        kind: SegmentKind,
    },
    /// Records a new volume epoch durably: from now on everything with a lower one is refused. Reply: `State`.
    OpenSegment {
        /// Which.
        segment: SegmentId,
        /// The opener's epochs.
        epochs: Epochs,
    },
    /// Asks for the links of the records of the unbroken chain above `after`, in order. Reply: `Chain`.
    ReadChain {
        /// Which.
        segment: SegmentId,
        /// The asker's epochs.
        epochs: Epochs,
        /// Links of records with LSN > `after`.
        after: Lsn,
        /// At most so many.
        max_records: u32,
    },
    /// Asks for log: batches of the unbroken chain that hold records in `(after, up_to]`, each cut to that upper end.
    /// Reply: `Log`.
    ReadLog {
        /// Which.
        segment: SegmentId,
        /// The asker's epochs.
        epochs: Epochs,
        /// Above this LSN.
        after: Lsn,
        /// At or below this LSN.
        up_to: Lsn,
        /// Stop behind the batch that reaches so many bytes.
        max_bytes: u32,
    },
    /// Makes `ranges` the segment's truncation ranges, durably. Reply: `State`. The list replaces the one there: a range
    /// that the opener did not learn of belongs to an opening that never completed, so its VDL does not hold, and the
    /// segment must forget it (and may then be given records that the range had voided).
    Truncate {
        /// Which.
        segment: SegmentId,
        /// The opener's epochs.
        epochs: Epochs,
        /// All ranges the opener knows, its own last.
        ranges: Vec<TruncationRange>,
    },
    /// Asks for the state of every segment on the node. Needs no epoch: it changes nothing. Reply: `Status`.
    Status,
    /// One storage node to another: where does your copy stand? The sender has these epochs durably. Who has higher ones
    /// refuses with [`super::SegmentError::Fenced`] or [`super::SegmentError::StaleMembership`], from which the sender
    /// learns them; who has lower ones records the sender's first. Reply: `State`.
    Gossip {
        /// Which segment.
        segment: SegmentId,
        /// The sender's epochs.
        epochs: Epochs,
    },
    /// One storage node to another: images of pages in page order, each with every record of its page at or below `at`, and
    /// perhaps newer ones that nobody reads below any more. Only between copies with the same epochs that both know
    /// the current opening's truncation range. Reply: `Pages`.
    CopyPages {
        /// Which segment.
        segment: SegmentId,
        /// The sender's epochs.
        epochs: Epochs,
        /// The point of the copy, as a reply named it; [`Lsn::ZERO`] asks the peer to name one.
        at: Lsn,
        /// From this page on.
        from: PageId,
        /// Stop behind the page that reaches so many bytes.
        max_bytes: u32,
    },
    /// The writer tells how far the volume is durable and how far back anybody may still read, where no batch tells it: the
    /// volume is idle, or its next batch waits until pages were made. Nothing becomes durable by it. Reply: `State`.
    Advance {
        /// Which segment.
        segment: SegmentId,
        /// The writer's epochs.
        epochs: Epochs,
        /// The VDL.
        vdl: Lsn,
        /// The PGMRPL, at most the VDL.
        pgmrpl: Lsn,
    },
}

const HELLO: u8 = 1;
const APPEND: u8 = 2;
const READ_PAGE: u8 = 3;
const CREATE_SEGMENT: u8 = 4;
const OPEN_SEGMENT: u8 = 5;
const READ_CHAIN: u8 = 6;
const READ_LOG: u8 = 7;
const TRUNCATE: u8 = 8;
const STATUS: u8 = 9;
const GOSSIP: u8 = 10;
const COPY_PAGES: u8 = 11;
const ADVANCE: u8 = 12;

/// Behind the epochs of a segment that is to be made: it is a tail.
const TAIL: u8 = 1;

impl Request {
    /// Frame kind of [`Request::Append`], for senders that write the payload in parts.
    pub const APPEND: u8 = APPEND;

    /// The frame kind.
    #[must_use]
    pub fn kind(&self) -> u8 {
        match self {
            Request::Hello { .. } => HELLO,
            Request::Append(_) => APPEND,
            Request::ReadPage { .. } => READ_PAGE,
            Request::CreateSegment { .. } => CREATE_SEGMENT,
            Request::OpenSegment { .. } => OPEN_SEGMENT,
            Request::ReadChain { .. } => READ_CHAIN,
            Request::ReadLog { .. } => READ_LOG,
            Request::Truncate { .. } => TRUNCATE,
            Request::Status => STATUS,
            Request::Gossip { .. } => GOSSIP,
            Request::CopyPages { .. } => COPY_PAGES,
            Request::Advance { .. } => ADVANCE,
        }
    }

    /// The frame's payload.
    #[must_use]
    pub fn payload(&self) -> Vec<u8> {
        let mut out = Vec::new();
        match self {
            Request::Hello { cluster, node, peer } => {
                out.extend_from_slice(&cluster.0.to_le_bytes());
                put_u64(&mut out, node.0);
                out.push(match peer {
                    PeerKind::Engine => 0,
                    PeerKind::Storage => 1,
                    PeerKind::Admin => 2,
                });
            }
            Request::Append(append) => {
                out.extend_from_slice(&Append::prefix(append.segment, append.epochs));
                out.extend_from_slice(&append.batch);
            }
            Request::ReadPage { segment, epochs, page, read_point, required_scl } => {
                put_target(&mut out, *segment, *epochs);
                put_u64(&mut out, page.0);
                put_u64(&mut out, read_point.0);
                put_u64(&mut out, required_scl.0);
            }
            Request::CreateSegment { segment, epochs, kind } => {
                put_target(&mut out, *segment, *epochs);
                if *kind == SegmentKind::Tail {
                    out.push(TAIL);
                }
            }
            Request::OpenSegment { segment, epochs } | Request::Gossip { segment, epochs } => {
                put_target(&mut out, *segment, *epochs);
            }
            Request::ReadChain { segment, epochs, after, max_records } => {
                put_target(&mut out, *segment, *epochs);
                put_u64(&mut out, after.0);
                out.extend_from_slice(&max_records.to_le_bytes());
            }
            Request::ReadLog { segment, epochs, after, up_to, max_bytes } => {
                put_target(&mut out, *segment, *epochs);
                put_u64(&mut out, after.0);
                put_u64(&mut out, up_to.0);
                out.extend_from_slice(&max_bytes.to_le_bytes());
            }
            Request::Truncate { segment, epochs, ranges } => {
                put_target(&mut out, *segment, *epochs);
                put_ranges(&mut out, ranges);
            }
            Request::Status => {}
            Request::CopyPages { segment, epochs, at, from, max_bytes } => {
                put_target(&mut out, *segment, *epochs);
                put_u64(&mut out, at.0);
                put_u64(&mut out, from.0);
                out.extend_from_slice(&max_bytes.to_le_bytes());
            }
            Request::Advance { segment, epochs, vdl, pgmrpl } => {
                put_target(&mut out, *segment, *epochs);
                put_u64(&mut out, vdl.0);
                put_u64(&mut out, pgmrpl.0);
            }
        }
        out
    }

    /// Reads the payload of a frame of `kind`.
    pub fn decode(kind: u8, payload: &Bytes) -> Result<Request, DecodeError> {
        let mut reader = Reader::new(payload);
        let r = &mut reader;
        let request = match kind {
            HELLO => {
                Request::Hello { cluster: ClusterId(r.u128()?), node: NodeId(r.u64()?), peer: peer_kind(r)? }
            }
            APPEND => {
                let (segment, epochs) = (segment(r)?, epochs(r)?);
                return Ok(Request::Append(Append {
                    segment,
                    epochs,
                    batch: payload.slice(Append::PREFIX..),
                }));
            }
            READ_PAGE => Request::ReadPage {
                segment: segment(r)?,
                epochs: epochs(r)?,
                page: PageId(r.u64()?),
                read_point: lsn(r)?,
                required_scl: lsn(r)?,
            },
            CREATE_SEGMENT => {
                Request::CreateSegment { segment: segment(r)?, epochs: epochs(r)?, kind: kind_of_segment(r)? }
            }
            OPEN_SEGMENT => Request::OpenSegment { segment: segment(r)?, epochs: epochs(r)? },
            READ_CHAIN => Request::ReadChain {
                segment: segment(r)?,
                epochs: epochs(r)?,
                after: lsn(r)?,
                max_records: r.u32()?,
            },
            READ_LOG => Request::ReadLog {
                segment: segment(r)?,
                epochs: epochs(r)?,
                after: lsn(r)?,
                up_to: lsn(r)?,
                max_bytes: r.u32()?,
            },
            TRUNCATE => Request::Truncate { segment: segment(r)?, epochs: epochs(r)?, ranges: ranges(r)? },
            STATUS => Request::Status,
            GOSSIP => Request::Gossip { segment: segment(r)?, epochs: epochs(r)? },
            COPY_PAGES => Request::CopyPages {
                segment: segment(r)?,
                epochs: epochs(r)?,
                at: lsn(r)?,
                from: PageId(r.u64()?),
                max_bytes: r.u32()?,
            },
            ADVANCE => {
                Request::Advance { segment: segment(r)?, epochs: epochs(r)?, vdl: lsn(r)?, pgmrpl: lsn(r)? }
            }
            tag => {
                return Err(DecodeError::UnknownTag { what: "request", tag: u64::from(tag) });
            }
        };
        reader.finish()?;
        Ok(request)
    }
}

fn put_target(out: &mut Vec<u8>, segment: SegmentId, epochs: Epochs) {
    put_segment(out, segment);
    put_epochs(out, epochs);
}

fn kind_of_segment(r: &mut Reader<'_>) -> Result<SegmentKind, DecodeError> {
    match r.is_empty() {
        true => Ok(SegmentKind::Full),
        false => match r.u8()? {
            TAIL => Ok(SegmentKind::Tail),
            tag => Err(DecodeError::UnknownTag { what: "kind of segment", tag: u64::from(tag) }),
        },
    }
}

fn peer_kind(reader: &mut Reader<'_>) -> Result<PeerKind, DecodeError> {
    match reader.u8()? {
        0 => Ok(PeerKind::Engine),
        1 => Ok(PeerKind::Storage),
        2 => Ok(PeerKind::Admin),
        tag => Err(DecodeError::UnknownTag { what: "peer kind", tag: u64::from(tag) }),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::{PgId, VolumeId};

    fn round_trip(request: Request) {
        let payload = Bytes::from(request.payload());
        assert_eq!(Request::decode(request.kind(), &payload), Ok(request));
    }

    #[test]
    fn every_request_round_trips() {
        let segment = SegmentId { volume: VolumeId(4), pg: PgId(5) };
        let epochs = Epochs { volume: VolumeEpoch(6), membership: MembershipEpoch(7) };
        round_trip(Request::Hello { cluster: ClusterId(9), node: NodeId(3), peer: PeerKind::Admin });
        round_trip(Request::Append(Append { segment, epochs, batch: Bytes::from_static(b"bytes") }));
        let (page, read_point, required_scl) = (PageId(1), Lsn(2), Lsn(3));
        round_trip(Request::ReadPage { segment, epochs, page, read_point, required_scl });
        round_trip(Request::CreateSegment { segment, epochs, kind: SegmentKind::Full });
        round_trip(Request::CreateSegment { segment, epochs, kind: SegmentKind::Tail });
        round_trip(Request::OpenSegment { segment, epochs });
        round_trip(Request::ReadChain { segment, epochs, after: Lsn(8), max_records: 9 });
        round_trip(Request::ReadLog { segment, epochs, after: Lsn(8), up_to: Lsn(10), max_bytes: 9 });
        let range = TruncationRange { epoch: VolumeEpoch(6), from: Lsn(1), to: Lsn(2) };
        round_trip(Request::Truncate { segment, epochs, ranges: vec![range] });
        round_trip(Request::Status);
        round_trip(Request::Gossip { segment, epochs });
        round_trip(Request::CopyPages { segment, epochs, at: Lsn(8), from: PageId(9), max_bytes: 10 });
        round_trip(Request::Advance { segment, epochs, vdl: Lsn(9), pgmrpl: Lsn(8) });
    }

    proptest! {
        #[test]
        fn any_bytes_decode_without_panic(kind in 0u8..14, bytes in proptest::collection::vec(any::<u8>(), 0..80)) {
            let _ = Request::decode(kind, &Bytes::from(bytes));
        }
    }
}
