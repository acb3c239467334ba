//! One port for clients and peers: frames in, answers out, everything bounded.
//!
//! Bytes that are no frame end their connection with one log line and touch nothing else.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sextant_node::net::{FrameReader, NetError};
use sextant_redo::frame::{self, Frame};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::Member;
use crate::api::{KIND_REPLY, KIND_REPLY_PART, KIND_REQUEST, REPLY_PART_BYTES, Reply};
use crate::metrics::METRICS;
use crate::raft::{COMMAND_MAX, KIND_RAFT_REPLY, SNAPSHOT_MAX, is_rpc, is_snapshot_part, starting};
use crate::{MetaError, Result};

/// Connections served at a time; more are closed at once.
const CONNECTIONS_MAX: usize = 1024;
/// Requests of one connection in work at a time; more wait in the socket.
const IN_WORK_MAX: usize = 64;
/// A silent connection is closed after this long.
const IDLE: Duration = Duration::from_secs(300);
/// A peer that does not take its answer within this time is gone.
const WRITE_LIMIT: Duration = Duration::from_secs(10);
/// What one request may take.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Serves the port for ever.
pub(super) async fn accept(listener: TcpListener, member: Arc<Member>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        match listener.accept().await {
            Ok((_, peer)) if connections.len() >= CONNECTIONS_MAX => {
                tracing::warn!(%peer, "closed: {CONNECTIONS_MAX} connections are open already");
            }
            Ok((stream, peer)) => {
                connections.spawn(Connection::serve(stream, peer, Arc::clone(&member)));
            }
            Err(error) => {
                tracing::warn!(%error, "cannot accept a connection");
                tokio::time::sleep(Duration::from_millis(100)).await;
            }
        }
    }
}

struct Connection {
    member: Arc<Member>,
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    /// Answers being made: frame kind, request, payload.
    in_work: JoinSet<(u8, u64, Vec<u8>)>,
    /// Pieces of the snapshot being received.
    bulk: Vec<u8>,
}

/// Why a connection ends.
enum End {
    /// In order.
    Closed,
    /// The other side, or the network, failed.
    Lost(String),
    /// The other side does not speak the protocol.
    Garbage(String),
}

impl Connection {
    async fn serve(stream: TcpStream, peer: SocketAddr, member: Arc<Member>) {
        if let Err(error) = stream.set_nodelay(true) {
            tracing::debug!(%peer, %error, "no TCP_NODELAY");
        }
        let (reader, writer) = stream.into_split();
        let reader = FrameReader::new(reader);
        let mut connection = Connection { member, reader, writer, in_work: JoinSet::new(), bulk: Vec::new() };
        match connection.run().await {
            End::Closed => {}
            End::Lost(reason) => tracing::debug!(%peer, %reason, "connection lost"),
            End::Garbage(reason) => {
                METRICS.garbage.inc();
                tracing::warn!(%peer, %reason, "connection closed: what was received is not the metadata protocol");
            }
        }
    }

    async fn run(&mut self) -> End {
        loop {
            let step = tokio::select! {
                frame = tokio::time::timeout(IDLE, self.reader.next()), if self.in_work.len() < IN_WORK_MAX => {
                    match frame {
                        Ok(Ok(Some(frame))) => self.take(frame),
                        Ok(Ok(None)) => Err(End::Closed),
                        Ok(Err(NetError::Frame(error))) => Err(End::Garbage(error.to_string())),
                        Ok(Err(error)) => Err(End::Lost(error.to_string())),
                        Err(_) => Err(End::Closed),
                    }
                }
                Some(done) = self.in_work.join_next() => match done {
                    Ok((kind, request, payload)) => self.reply(kind, request, &payload).await,
                    Err(error) => Err(End::Lost(format!("a request could not be answered: {error}"))),
                },
            };
            if let Err(end) = step {
                return end;
            }
        }
    }

    /// Starts work on a frame.
    fn take(&mut self, frame: Frame) -> Result<(), End> {
        let Frame { kind, request, payload } = frame;
        let member = Arc::clone(&self.member);
        if kind == KIND_REQUEST {
            self.in_work.spawn(async move { (KIND_REPLY, request, client(&member, &payload).await) });
        } else if is_snapshot_part(kind) {
            if self.bulk.len() + payload.len() > SNAPSHOT_MAX {
                return Err(End::Garbage(format!("a snapshot of more than {SNAPSHOT_MAX} bytes")));
            }
            self.bulk.extend_from_slice(&payload);
        } else if is_rpc(kind) {
            let bulk = std::mem::take(&mut self.bulk);
            self.in_work.spawn(async move {
                let answer = match member.group.get().cloned() {
                    Some(group) => group.answer(kind, &payload, bulk).await,
                    None => starting(),
                };
                (KIND_RAFT_REPLY, request, answer)
            });
        } else {
            return Err(End::Garbage(format!("a frame of unknown kind {kind}")));
        }
        Ok(())
    }

    async fn reply(&mut self, kind: u8, request: u64, payload: &[u8]) -> Result<(), End> {
        let mut out = Vec::with_capacity(payload.len() + frame::FRAME_HEADER);
        let mut rest = payload;
        if kind == KIND_REPLY {
            while let Some((part, more)) = rest.split_at_checked(REPLY_PART_BYTES) {
                frame::encode(&mut out, KIND_REPLY_PART, request, part);
                rest = more;
            }
        }
        frame::encode(&mut out, kind, request, rest);
        match tokio::time::timeout(WRITE_LIMIT, self.writer.write_all(&out)).await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(End::Lost(error.to_string())),
            Err(_) => Err(End::Lost("it does not take its answer".to_owned())),
        }
    }
}

async fn client(member: &Member, payload: &[u8]) -> Vec<u8> {
    let answer: Result<Reply> = if payload.len() > COMMAND_MAX {
        Err(MetaError::refused(format!("a request may have {COMMAND_MAX} bytes and has {}", payload.len())))
    } else {
        match serde_json::from_slice(payload) {
            Ok(request) => tokio::time::timeout(ANSWER_LIMIT, member.answer(request))
                .await
                .unwrap_or_else(|_| Err(MetaError::unavailable("the metadata group took too long"))),
            Err(error) => Err(MetaError::refused(format!("not a request: {error}"))),
        }
    };
    // Plain data with string keys; an empty payload, which no client takes for an answer, is the worst outcome.
    serde_json::to_vec(&answer).unwrap_or_default()
}
