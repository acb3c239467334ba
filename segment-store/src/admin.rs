//! A client for tools that look at a storage node from outside: one connection, one request at a time, each within a
//! time limit. It only asks for what changes nothing.

use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use sextant_node::net::{self, FrameReader, NetError};
use sextant_redo::wire::{Epochs, PeerKind, Reply, Request, SegmentError, SegmentState};
use sextant_redo::{ClusterId, DecodeError, Lsn, NodeId, PageId, RecordLinks, SegmentId, frame};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::time::timeout;

/// Why a node gave no answer. The node is as it was.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AdminError {
    /// The connection, or the time limit.
    #[error(transparent)]
    Net(#[from] NetError),
    /// The answer cannot be read.
    #[error("malformed answer: {0}")]
    Malformed(#[from] DecodeError),
    /// The node refused.
    #[error(transparent)]
    Refused(SegmentError),
    /// It answered something else than was asked for.
    #[error("unexpected answer of kind {kind}")]
    Unexpected {
        /// Its frame kind.
        kind: u8,
    },
}

/// A connection to one node. After an error other than a refusal it is of no more use: connect again.
#[derive(Debug)]
pub struct AdminClient {
    read: FrameReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
    patience: Duration,
    requests: u64,
}

impl AdminClient {
    /// Connects to `node` of `cluster`, and makes sure that it is that one. `patience` bounds this and every request.
    pub async fn connect(
        addr: SocketAddr,
        cluster: ClusterId,
        node: NodeId,
        patience: Duration,
    ) -> Result<AdminClient, AdminError> {
        let (read, write) = net::connect(addr, patience).await?.into_split();
        let mut client = AdminClient { read: FrameReader::new(read), write, patience, requests: 0 };
        match client.call(&Request::Hello { cluster, node, peer: PeerKind::Admin }).await? {
            Reply::Hello { .. } => Ok(client),
            other => Err(unexpected(&other)),
        }
    }

    /// The state of every segment on the node.
    pub async fn status(&mut self) -> Result<Vec<SegmentState>, AdminError> {
        match self.call(&Request::Status).await? {
            Reply::Status(states) => Ok(states),
            other => Err(unexpected(&other)),
        }
    }

    /// The newest image of `page` at or below `read_point`, sealed; refused unless the segment is complete to
    /// `required_scl`. [`PAGE_SIZE`](sextant_redo::PAGE_SIZE) bytes, unchecked.
    pub async fn read_page(
        &mut self,
        segment: SegmentId,
        epochs: Epochs,
        page: PageId,
        read_point: Lsn,
        required_scl: Lsn,
    ) -> Result<Bytes, AdminError> {
        match self.call(&Request::ReadPage { segment, epochs, page, read_point, required_scl }).await? {
            Reply::Page { image } => Ok(image),
            other => Err(unexpected(&other)),
        }
    }

    /// Links of the first records, at most `max_records`, of the segment's unbroken chain above `after`.
    pub async fn read_chain(
        &mut self,
        segment: SegmentId,
        epochs: Epochs,
        after: Lsn,
        max_records: u32,
    ) -> Result<Vec<RecordLinks>, AdminError> {
        match self.call(&Request::ReadChain { segment, epochs, after, max_records }).await? {
            Reply::Chain { links, .. } => Ok(links),
            other => Err(unexpected(&other)),
        }
    }

    /// Batches, one behind the other, that hold records in `(after, up_to]`, until they reach `max_bytes`; and the LSN of
    /// the last record among them.
    pub async fn read_log(
        &mut self,
        segment: SegmentId,
        epochs: Epochs,
        (after, up_to): (Lsn, Lsn),
        max_bytes: u32,
    ) -> Result<(Bytes, Lsn), AdminError> {
        match self.call(&Request::ReadLog { segment, epochs, after, up_to, max_bytes }).await? {
            Reply::Log { batches, last } => Ok((batches, last)),
            other => Err(unexpected(&other)),
        }
    }

    async fn call(&mut self, request: &Request) -> Result<Reply, AdminError> {
        self.requests += 1;
        let mut out = Vec::new();
        frame::encode(&mut out, request.kind(), self.requests, &request.payload());
        let patience = self.patience;
        let exchange = async {
            self.write.write_all(&out).await.map_err(NetError::from)?;
            self.read.expect_next().await
        };
        let answer =
            timeout(patience, exchange).await.map_err(|_| NetError::TimedOut { after: patience })??;
        match Reply::decode(answer.kind, &answer.payload)? {
            Reply::Error(error) => Err(AdminError::Refused(error)),
            reply => Ok(reply),
        }
    }
}

fn unexpected(reply: &Reply) -> AdminError {
    AdminError::Unexpected { kind: reply.kind() }
}
