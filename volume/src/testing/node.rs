//! A storage node on loopback, in memory: what it acknowledged survives [`FakeNode::kill`].

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use sextant_node::net::FrameReader;
use sextant_redo::frame::{self, Frame};
use sextant_redo::wire::{Reply, Request, SegmentError};
use sextant_redo::{ClusterId, Lsn, NodeId, PgId, SegmentId, VolumeId};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::segment::Segment;

/// How a node behaves.
#[derive(Debug, Clone, Default)]
pub(crate) struct Manner {
    /// Takes requests and answers nothing.
    pub(crate) mute: bool,
    /// Does not answer requests for log.
    pub(crate) keep_log: bool,
    /// Pause before each answer to a page read.
    pub(crate) read_delay: Duration,
    /// Pause before each acknowledgement.
    pub(crate) append_delay: Duration,
    /// Flips a bit of every page it serves.
    pub(crate) damage_pages: bool,
    /// Refuses every batch.
    pub(crate) refuse_appends: Option<SegmentError>,
    /// Breaks the connection at every so many-th frame.
    pub(crate) hang_up_every: Option<u64>,
    /// Forgets every so many-th batch, but answers.
    pub(crate) lose_every: Option<u64>,
}

#[derive(Default)]
struct Inner {
    segments: HashMap<SegmentId, Segment>,
    manner: Manner,
    connections: u64,
    frames: u64,
    appends: u64,
    reads: u64,
}

pub(crate) struct FakeNode {
    id: NodeId,
    addr: SocketAddr,
    inner: Arc<Mutex<Inner>>,
    tasks: Option<JoinSet<()>>,
}

pub(crate) const CLUSTER: ClusterId = ClusterId(77);
pub(crate) const VOLUME: VolumeId = VolumeId(5);

impl FakeNode {
    pub(crate) async fn start(id: u64) -> FakeNode {
        let mut node = FakeNode {
            id: NodeId(id),
            addr: SocketAddr::from((own_address(), 0)),
            inner: Arc::default(),
            tasks: None,
        };
        node.revive().await;
        node
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// Its connections break, and nobody listens any more.
    pub(crate) async fn kill(&mut self) {
        if let Some(mut tasks) = self.tasks.take() {
            tasks.shutdown().await;
        }
    }

    /// Listens again, at the same address, if it does not yet.
    pub(crate) async fn revive(&mut self) {
        if self.tasks.is_some() {
            return;
        }
        let socket = tokio::net::TcpSocket::new_v4().expect("socket");
        socket.set_reuseaddr(true).expect("option");
        socket.bind(self.addr).expect("the port is ours");
        let listener = socket.listen(64).expect("listen");
        self.addr = listener.local_addr().expect("bound");
        let mut tasks = JoinSet::new();
        tasks.spawn(accept(listener, self.id, Arc::clone(&self.inner)));
        self.tasks = Some(tasks);
    }

    pub(crate) fn behave(&self, change: impl FnOnce(&mut Manner)) {
        change(&mut self.inner.lock().manner);
    }

    pub(crate) fn scl(&self, group: u32) -> Lsn {
        let inner = self.inner.lock();
        inner.segments.get(&segment(group)).map_or(Lsn::ZERO, Segment::scl)
    }

    pub(crate) fn pgmrpl(&self, group: u32) -> Lsn {
        let inner = self.inner.lock();
        inner.segments.get(&segment(group)).map_or(Lsn::ZERO, |s| s.pgmrpl)
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> u64 {
        self.inner.lock().connections
    }

    pub(crate) fn membership(&self, group: u32) -> u64 {
        let inner = self.inner.lock();
        inner.segments.get(&segment(group)).map_or(0, |s| s.state().epochs.membership.0)
    }

    /// A writer or opener that nobody knows of has recorded a newer membership.
    pub(crate) fn record_membership(&self, group: u32, membership: u64) {
        if let Some(segment) = self.inner.lock().segments.get_mut(&segment(group)) {
            let mut epochs = segment.state().epochs;
            epochs.membership.0 = membership;
            segment.open(epochs).expect("newer");
        }
    }

    pub(crate) fn appends(&self) -> u64 {
        self.inner.lock().appends
    }

    pub(crate) fn reads(&self) -> u64 {
        self.inner.lock().reads
    }
}

/// A loopback address of its own: no other node and no outgoing connection takes its port while it is down.
fn own_address() -> [u8; 4] {
    static NEXT: AtomicU16 = AtomicU16::new(1);
    let [high, low] = NEXT.fetch_add(1, SeqCst).to_be_bytes();
    [127, 1 + (std::process::id() % 200) as u8, high, low]
}

pub(crate) fn segment(group: u32) -> SegmentId {
    SegmentId { volume: VOLUME, pg: PgId(group) }
}

async fn accept(listener: TcpListener, id: NodeId, inner: Arc<Mutex<Inner>>) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        inner.lock().connections += 1;
        connections.spawn(serve(stream, id, Arc::clone(&inner)));
    }
}

async fn serve(stream: TcpStream, id: NodeId, inner: Arc<Mutex<Inner>>) {
    stream.set_nodelay(true).expect("option");
    let (read, mut write) = stream.into_split();
    let mut frames = FrameReader::new(read);
    while let Ok(Some(frame)) = frames.next().await {
        let (manner, hang_up) = {
            let mut inner = inner.lock();
            inner.frames += 1;
            let hang_up = inner.manner.hang_up_every.is_some_and(|n| inner.frames.is_multiple_of(n));
            (inner.manner.clone(), hang_up)
        };
        if hang_up {
            return;
        }
        let asks_log = matches!(Request::decode(frame.kind, &frame.payload), Ok(Request::ReadLog { .. }));
        if manner.mute || manner.keep_log && asks_log {
            continue;
        }
        let request = frame.request;
        let (reply, pause) = answer(&frame, id, &inner, &manner);
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
        let mut out = Vec::new();
        frame::encode(&mut out, reply.kind(), request, &reply.payload());
        if write.write_all(&out).await.is_err() {
            return;
        }
    }
}

fn answer(frame: &Frame, id: NodeId, inner: &Mutex<Inner>, manner: &Manner) -> (Reply, Duration) {
    let request = match Request::decode(frame.kind, &frame.payload) {
        Ok(request) => request,
        Err(error) => {
            return (Reply::Error(SegmentError::BadRequest { what: error.to_string() }), Duration::ZERO);
        }
    };
    let pause = match &request {
        Request::ReadPage { .. } => manner.read_delay,
        Request::Append(_) => manner.append_delay,
        _ => Duration::ZERO,
    };
    let reply = perform(request, id, &mut inner.lock(), manner).unwrap_or_else(Reply::Error);
    (reply, pause)
}

fn perform(request: Request, id: NodeId, inner: &mut Inner, manner: &Manner) -> Result<Reply, SegmentError> {
    let unknown = |segment| SegmentError::UnknownSegment { segment };
    Ok(match request {
        Request::Hello { cluster, node, .. } if cluster == CLUSTER && node == id => {
            Reply::Hello { cluster, node }
        }
        Request::Hello { .. } => return Err(SegmentError::WrongNode { ours: id }),
        Request::Append(append) => {
            inner.appends += 1;
            if let Some(error) = &manner.refuse_appends {
                return Err(error.clone());
            }
            let lose = manner.lose_every.is_some_and(|n| inner.appends.is_multiple_of(n));
            let segment = inner.segments.get_mut(&append.segment).ok_or(unknown(append.segment))?;
            let scl = if lose { segment.scl() } else { segment.append(&append)? };
            Reply::Appended { segment: append.segment, scl }
        }
        Request::ReadPage { segment, epochs, page, read_point, required_scl } => {
            inner.reads += 1;
            let from = inner.segments.get(&segment).ok_or(unknown(segment))?;
            let image = from.read_page(epochs, page, read_point, required_scl)?;
            Reply::Page { image: if manner.damage_pages { damaged(&image) } else { image } }
        }
        Request::CreateSegment { segment, epochs, .. } => Reply::State(
            inner.segments.entry(segment).or_insert_with(|| Segment::new(segment, epochs)).state(),
        ),
        Request::OpenSegment { segment, epochs } => {
            Reply::State(inner.segments.get_mut(&segment).ok_or(unknown(segment))?.open(epochs)?)
        }
        Request::Truncate { segment, epochs, ranges } => {
            Reply::State(inner.segments.get_mut(&segment).ok_or(unknown(segment))?.truncate(epochs, ranges)?)
        }
        Request::ReadChain { segment, epochs, after, max_records } => {
            let from = inner.segments.get(&segment).ok_or(unknown(segment))?;
            let (links, complete) = from.read_chain(epochs, after, max_records as usize)?;
            Reply::Chain { links, complete }
        }
        Request::ReadLog { segment, epochs, after, up_to, max_bytes } => {
            let from = inner.segments.get(&segment).ok_or(unknown(segment))?;
            let (batches, last) = from.read_log(epochs, after, up_to, max_bytes as usize)?;
            Reply::Log { batches, last }
        }
        Request::Gossip { .. } | Request::CopyPages { .. } => {
            return Err(SegmentError::BadRequest { what: "these nodes do not gossip".into() });
        }
        // These nodes make no pages in the background.
        Request::Advance { segment, .. } => {
            Reply::State(inner.segments.get(&segment).ok_or(unknown(segment))?.state())
        }
        Request::Status => Reply::Status(inner.segments.values().map(Segment::state).collect()),
    })
}

fn damaged(image: &Bytes) -> Bytes {
    let mut bytes = image.to_vec();
    bytes[5000] ^= 1;
    Bytes::from(bytes)
}
