//! What storage nodes, engines and peers send each other: frames, and the requests and replies inside them.
//!
//! What must hold: no bytes panic; a stream gives the same frames however it is cut into pieces; what decodes encodes to
//! bytes that decode to the same again.

use bytes::{Bytes, BytesMut};
use sextant_redo::frame::{self, Frame, FrameError};
use sextant_redo::wire::{Append, Epochs, PeerKind, Reply, Request, SegmentError, SegmentState};
use sextant_redo::{
    ClusterId, Lsn, MembershipEpoch, NodeId, PAGE_SIZE, PageId, PgId, RecordLinks, SegmentId, SegmentKind,
    TruncationRange, VolumeEpoch, VolumeId,
};

use crate::input::{Input, noise};

/// A stream of bytes, raw or of frames that a program makes, whole and in pieces.
pub fn frames(data: &[u8]) {
    let mut input = Input::new(data);
    let piece = usize::from(input.u8()) + 1;
    let mut stream = Vec::new();
    let mut sent = 0;
    if input.u8() & 1 == 0 {
        stream.extend_from_slice(input.remainder());
    } else {
        while !input.is_empty() {
            let (kind, request, len) = (input.u8(), input.number(), input.below(200));
            frame::encode(&mut stream, kind, request, input.bytes(len));
            sent += 1;
        }
    }
    let whole = take(&stream, stream.len().max(1));
    let (frames, error) = &whole;
    assert!(sent == 0 || (frames.len() == sent && error.is_none()), "what was sent arrives");
    assert_eq!(whole, take(&stream, piece));
}

/// The frames of a stream that comes in pieces, and what ended it.
fn take(stream: &[u8], piece: usize) -> (Vec<Frame>, Option<&'static str>) {
    let mut buffer = BytesMut::new();
    let mut frames = Vec::new();
    for piece in stream.chunks(piece) {
        buffer.extend_from_slice(piece);
        loop {
            match frame::decode(&mut buffer) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(kind_of(&error))),
            }
        }
    }
    (frames, None)
}

/// How much of a bad frame is quoted depends on how much of it has come; what is wrong with it does not.
fn kind_of(error: &FrameError) -> &'static str {
    match error {
        FrameError::Magic { .. } => "magic",
        FrameError::Checksum { part, .. } => part,
        FrameError::TooLong { .. } => "too long",
        _ => "malformed",
    }
}

/// Valid streams and programs that make some.
#[must_use]
pub fn frame_seeds() -> Vec<Vec<u8>> {
    let mut stream = vec![3, 0];
    frame::encode(&mut stream, 3, 77, b"hello");
    frame::encode(&mut stream, 4, u64::MAX, b"");
    let mut seeds = vec![stream];
    seeds.extend((0..4).map(|n| [&[5, 1][..], &noise(n, 50 << n)].concat()));
    seeds
}

/// A kind, then a payload, read as a request and as a reply.
pub fn messages(data: &[u8]) {
    let Some((kind, payload)) = data.split_first() else { return };
    let payload = Bytes::copy_from_slice(payload);
    if let Ok(request) = Request::decode(*kind, &payload) {
        let bytes = Bytes::from(request.payload());
        assert_eq!(Request::decode(request.kind(), &bytes), Ok(request));
    }
    if let Ok(reply) = Reply::decode(*kind, &payload) {
        // A text that is not UTF-8 is mended when it is read, so the bytes need not be those that came; from then on they
        // stay the same.
        let bytes = Bytes::from(reply.payload());
        let again = Reply::decode(reply.kind(), &bytes).expect("what we encode can be read");
        assert_eq!(again.payload(), bytes);
    }
}

/// One of every message.
#[must_use]
pub fn message_seeds() -> Vec<Vec<u8>> {
    let segment = SegmentId { volume: VolumeId(4), pg: PgId(5) };
    let epochs = Epochs { volume: VolumeEpoch(6), membership: MembershipEpoch(7) };
    let range = TruncationRange { epoch: VolumeEpoch(6), from: Lsn(1), to: Lsn(2) };
    let requests = [
        Request::Hello { cluster: ClusterId(9), node: NodeId(3), peer: PeerKind::Storage },
        Request::Append(Append { segment, epochs, batch: Bytes::from_static(b"bytes") }),
        Request::ReadPage { segment, epochs, page: PageId(1), read_point: Lsn(2), required_scl: Lsn(3) },
        Request::CreateSegment { segment, epochs, kind: SegmentKind::Full },
        Request::CreateSegment { segment, epochs, kind: SegmentKind::Tail },
        Request::OpenSegment { segment, epochs },
        Request::ReadChain { segment, epochs, after: Lsn(8), max_records: 9 },
        Request::ReadLog { segment, epochs, after: Lsn(8), up_to: Lsn(10), max_bytes: 9 },
        Request::Truncate { segment, epochs, ranges: vec![range, range] },
        Request::Status,
    ];
    let state = SegmentState {
        segment,
        epochs,
        scl: Lsn(10),
        highest: Lsn(11),
        vdl: Lsn(9),
        log_start: Lsn(2),
        truncations: vec![range],
    };
    let links = (1..5)
        .map(|n| RecordLinks {
            lsn: Lsn(n * 10),
            prev_volume: Lsn(n * 10 - 3),
            prev_pg: Lsn(n * 10 - 10),
            is_cpl: true,
        })
        .collect();
    let mut replies = vec![
        Reply::Hello { cluster: ClusterId(9), node: NodeId(3) },
        Reply::Appended { segment, scl: Lsn(4) },
        Reply::Page { image: Bytes::from(vec![0; PAGE_SIZE]) },
        Reply::State(state.clone()),
        Reply::Chain { links, complete: true },
        Reply::Log { batches: Bytes::from_static(b"batches"), last: Lsn(8) },
        Reply::Status(vec![state.clone(), state]),
    ];
    let what = || "an error".to_owned();
    replies.extend(
        [
            SegmentError::Fenced { current: VolumeEpoch(3) },
            SegmentError::UnknownSegment { segment },
            SegmentError::Damaged { what: what() },
            SegmentError::WrongCluster { ours: ClusterId(1) },
            SegmentError::Stopping { what: what() },
        ]
        .map(Reply::Error),
    );
    let message = |kind: u8, payload: Vec<u8>| [&[kind][..], &payload].concat();
    let requests = requests.iter().map(|request| message(request.kind(), request.payload()));
    requests.chain(replies.iter().map(|reply| message(reply.kind(), reply.payload()))).collect()
}
