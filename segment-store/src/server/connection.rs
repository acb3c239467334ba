//! One connection: Hello first, then requests, as many in flight as the peer likes. Bytes that are no frame, or frames
//! that are no request, end it: there is no way to know what the peer meant.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use sextant_node::net::{FrameReader, NetError};
use sextant_redo::frame::Frame;
use sextant_redo::wire::{Reply, Request, SegmentError};
use tokio::net::TcpStream;
use tokio::net::tcp::OwnedReadHalf;

use crate::core::Ticket;
use crate::metrics::METRICS;
use crate::node::Node;

use super::{Outbox, ReplySink};

/// A peer that says nothing for so long after connecting is not one of ours.
const HELLO_TIMEOUT: Duration = Duration::from_secs(10);

/// Why a connection ends before the peer closes it.
enum Ended {
    /// The peer closed it, or the network did.
    Gone,
    /// The peer does not keep to the protocol.
    Refused(String),
}

impl From<NetError> for Ended {
    fn from(error: NetError) -> Self {
        match error {
            NetError::Frame(error) => Ended::Refused(error.to_string()),
            NetError::Truncated { received } => {
                Ended::Refused(format!("it closed in the middle of a frame, after {received} bytes"))
            }
            _ => Ended::Gone,
        }
    }
}

/// Serves the connection until it ends.
pub(super) async fn run(node: Rc<Node>, id: u64, stream: TcpStream, peer: SocketAddr) {
    // Without it an answer may wait for the peer's delayed acknowledgement; an error shows at the first write.
    let _ = stream.set_nodelay(true);
    METRICS.connections.inc();
    let (read, write) = stream.into_split();
    let outbox = Rc::new(Outbox::new(write));
    node.connect(id, outbox.clone());
    let pusher = {
        let outbox = outbox.clone();
        tokio::task::spawn_local(async move { outbox.push_on().await })
    };
    let mut reader = FrameReader::new(read);
    let ended = match hello(&node, id, &mut reader).await {
        Ok(()) => requests(&node, id, &outbox, &mut reader).await,
        Err(ended) => Err(ended),
    };
    if let Err(Ended::Refused(why)) = ended {
        METRICS.error("garbage");
        tracing::warn!(%peer, why, "connection closed: the peer does not keep to the protocol");
    }
    node.disconnect(id);
    outbox.flush();
    outbox.close();
    pusher.abort();
    METRICS.connections.dec();
}

async fn hello(node: &Rc<Node>, id: u64, reader: &mut FrameReader<OwnedReadHalf>) -> Result<(), Ended> {
    let first = tokio::time::timeout(HELLO_TIMEOUT, reader.next()).await;
    let frame = match first {
        Ok(frame) => frame?.ok_or(Ended::Gone)?,
        Err(_) => return Err(Ended::Refused("it said nothing".into())),
    };
    let ticket = Ticket { connection: id, request: frame.request };
    let (ours, cluster) = (node.identity.node, node.identity.cluster);
    let (reply, ended) = match Request::decode(frame.kind, &frame.payload) {
        Ok(Request::Hello { cluster: wanted, .. }) if wanted != cluster => {
            let error = SegmentError::WrongCluster { ours: cluster };
            (Reply::Error(error), Err(Ended::Refused(format!("it looks for cluster {wanted}"))))
        }
        Ok(Request::Hello { node: wanted, .. }) if wanted != ours => {
            let error = SegmentError::WrongNode { ours };
            (Reply::Error(error), Err(Ended::Refused(format!("it looks for node {wanted}"))))
        }
        Ok(Request::Hello { .. }) => (Reply::Hello { cluster, node: ours }, Ok(())),
        Ok(_) => {
            let what = "Hello comes first on a connection".to_owned();
            (Reply::Error(SegmentError::BadRequest { what: what.clone() }), Err(Ended::Refused(what)))
        }
        Err(error) => return Err(Ended::Refused(error.to_string())),
    };
    node.reply(ticket, &reply);
    node.send(id);
    ended
}

async fn requests(
    node: &Rc<Node>,
    id: u64,
    outbox: &Outbox,
    reader: &mut FrameReader<OwnedReadHalf>,
) -> Result<(), Ended> {
    while let Some(frame) = reader.next().await? {
        handle(node, id, frame)?;
        // What came by the same read is taken before anything is sent or written: one group, one write.
        while let Some(frame) = reader.buffered()? {
            handle(node, id, frame)?;
        }
        outbox.flush();
        outbox.room().await;
        if outbox.is_closed() {
            return Err(Ended::Gone);
        }
    }
    Ok(())
}

fn handle(node: &Rc<Node>, id: u64, frame: Frame) -> Result<(), Ended> {
    let ticket = Ticket { connection: id, request: frame.request };
    let request = match Request::decode(frame.kind, &frame.payload) {
        Ok(request) => request,
        Err(error) => {
            let what = error.to_string();
            node.reply(ticket, &Reply::Error(SegmentError::BadRequest { what: what.clone() }));
            return Err(Ended::Refused(what));
        }
    };
    METRICS.requests.with_label_values(&[kind(&request)]).inc();
    node.on_request(ticket, request);
    Ok(())
}

fn kind(request: &Request) -> &'static str {
    match request {
        Request::Hello { .. } => "hello",
        Request::Append(_) => "append",
        Request::ReadPage { .. } => "read_page",
        Request::CreateSegment { .. } => "create_segment",
        Request::OpenSegment { .. } => "open_segment",
        Request::ReadChain { .. } => "read_chain",
        Request::ReadLog { .. } => "read_log",
        Request::Truncate { .. } => "truncate",
        Request::Status => "status",
        Request::Gossip { .. } => "gossip",
        Request::CopyPages { .. } => "copy_pages",
        Request::Advance { .. } => "advance",
    }
}
