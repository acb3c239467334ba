//! Raft's calls to another member: frames over one TCP connection per purpose (replication, heartbeat, votes,
//! snapshots), opened when first needed and dropped with the first call that fails or is given up.
//!
//! Every call ends within its soft limit, connecting included.

use std::collections::BTreeMap;
use std::future::Future;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use openraft::errors::{NetworkError, RPCError, ReplicationClosed, StreamingError, Timeout, Unreachable};
use openraft::network::{RPCOption, RPCTypes};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};
use openraft::{BasicNode, OptionalSend, RaftNetworkFactory, RaftNetworkV2};
use serde::Serialize;
use serde::de::DeserializeOwned;
use sextant_node::net::{self, FrameReader};
use sextant_redo::frame;
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use super::machine::{Machine, SnapshotBytes};
use super::wire::{
    APPEND, Envelope, KIND_RAFT_REPLY, PRE_VOTE, Refusal, SNAPSHOT, SNAPSHOT_PART, SNAPSHOT_PART_BYTES,
    SnapshotEnd, TRANSFER, VOTE,
};
use super::{Types, Vote};

/// Makes the peers' clients.
pub(super) struct Network {
    pub(super) id: u64,
    /// Addresses from the configuration; they win over those noted when the group was formed, so that a group can be
    /// started on other ports.
    pub(super) peers: Arc<BTreeMap<u64, SocketAddr>>,
    /// For the cluster's id.
    pub(super) machine: Machine,
}

impl RaftNetworkFactory<Types> for Network {
    type Network = Peer;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Peer {
        let addr = match self.peers.get(&target) {
            Some(addr) => addr.to_string(),
            None => node.addr.clone(),
        };
        Peer {
            from: self.id,
            to: target,
            addr,
            machine: self.machine.clone(),
            connection: None,
            requests: 0,
            refused: None,
        }
    }
}

/// One connection to one member.
pub(super) struct Peer {
    from: u64,
    to: u64,
    addr: String,
    machine: Machine,
    connection: Option<(FrameReader<OwnedReadHalf>, OwnedWriteHalf)>,
    requests: u64,
    /// The last refusal, which is logged once.
    refused: Option<Refusal>,
}

/// Why a call gave no answer.
enum Failure {
    /// Nobody there: wait before the next try.
    Unreachable(String),
    /// The connection broke.
    Broken(String),
    /// The limit passed.
    Late,
}

impl Peer {
    /// Sends `body` (after `bulk`, in pieces) and waits for the answer, all within `limit`.
    async fn call<A: DeserializeOwned>(
        &mut self,
        kind: u8,
        body: impl Serialize,
        bulk: &[u8],
        limit: Duration,
    ) -> Result<A, Failure> {
        let cluster = self.machine.read(|state| state.cluster);
        let envelope = Envelope { from: self.from, to: self.to, cluster, body };
        let payload = serde_json::to_vec(&envelope).map_err(|error| Failure::Broken(error.to_string()))?;
        if payload.len() > frame::MAX_PAYLOAD {
            return Err(Failure::Broken(format!(
                "a message of {} bytes is too long for a frame",
                payload.len()
            )));
        }
        // Taken out, so that a call that is dropped half-way takes the connection with it.
        let connection = self.connection.take();
        let exchange = self.exchange(connection, kind, &payload, bulk, limit);
        let answer = match tokio::time::timeout(limit, exchange).await {
            Ok(answer) => answer?,
            Err(_) => return Err(Failure::Late),
        };
        let answer: Result<A, Refusal> =
            serde_json::from_slice(&answer).map_err(|error| Failure::Broken(error.to_string()))?;
        match answer {
            Ok(answer) => {
                self.refused = None;
                Ok(answer)
            }
            Err(refusal) => {
                let reason = refusal.to_string();
                if refusal != Refusal::Starting && self.refused.as_ref() != Some(&refusal) {
                    tracing::warn!(peer = self.to, addr = %self.addr, %reason, "a metadata peer refuses this member's messages");
                    self.refused = Some(refusal);
                }
                Err(Failure::Unreachable(reason))
            }
        }
    }

    async fn exchange(
        &mut self,
        connection: Option<(FrameReader<OwnedReadHalf>, OwnedWriteHalf)>,
        kind: u8,
        payload: &[u8],
        bulk: &[u8],
        limit: Duration,
    ) -> Result<Vec<u8>, Failure> {
        let (mut reader, mut writer) = match connection {
            Some(connection) => connection,
            None => self.connect(limit).await?,
        };
        self.requests += 1;
        let broken = |error: std::io::Error| Failure::Broken(error.to_string());
        for part in bulk.chunks(SNAPSHOT_PART_BYTES) {
            writer.write_all(&frame::header(SNAPSHOT_PART, self.requests, &[part])).await.map_err(broken)?;
            writer.write_all(part).await.map_err(broken)?;
        }
        let mut out = Vec::with_capacity(frame::FRAME_HEADER + payload.len());
        frame::encode(&mut out, kind, self.requests, payload);
        writer.write_all(&out).await.map_err(broken)?;
        let reply = reader.expect_next().await.map_err(|error| Failure::Broken(error.to_string()))?;
        if reply.kind != KIND_RAFT_REPLY || reply.request != self.requests {
            return Err(Failure::Broken(format!(
                "an answer of kind {} to request {}",
                reply.kind, reply.request
            )));
        }
        self.connection = Some((reader, writer));
        Ok(reply.payload.to_vec())
    }

    async fn connect(
        &self,
        limit: Duration,
    ) -> Result<(FrameReader<OwnedReadHalf>, OwnedWriteHalf), Failure> {
        let addr: SocketAddr = self
            .addr
            .parse()
            .map_err(|_| Failure::Unreachable(format!("\"{}\" is no address of a member", self.addr)))?;
        let stream =
            net::connect(addr, limit).await.map_err(|error| Failure::Unreachable(error.to_string()))?;
        let (reader, writer) = stream.into_split();
        Ok((FrameReader::new(reader), writer))
    }

    fn error(&self, failure: Failure, action: RPCTypes, limit: Duration) -> RPCError<Types> {
        match failure {
            Failure::Unreachable(reason) => RPCError::Unreachable(Unreachable::from_string(reason)),
            Failure::Broken(reason) => RPCError::Network(NetworkError::from_string(reason)),
            Failure::Late => {
                RPCError::Timeout(Timeout { action, id: self.from, target: self.to, timeout: limit })
            }
        }
    }
}

impl RaftNetworkV2<Types> for Peer {
    type SnapshotData = SnapshotBytes;

    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<Types>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<Types>, RPCError<Types>> {
        let limit = option.soft_ttl();
        let answer = self.call(APPEND, rpc, &[], limit).await;
        answer.map_err(|failure| self.error(failure, RPCTypes::AppendEntries, limit))
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let limit = option.soft_ttl();
        let answer = self.call(VOTE, rpc, &[], limit).await;
        answer.map_err(|failure| self.error(failure, RPCTypes::Vote, limit))
    }

    async fn pre_vote(
        &mut self,
        rpc: VoteRequest<Types>,
        option: RPCOption,
    ) -> Result<VoteResponse<Types>, RPCError<Types>> {
        let limit = option.soft_ttl();
        let answer = self.call(PRE_VOTE, rpc, &[], limit).await;
        answer.map_err(|failure| self.error(failure, RPCTypes::Vote, limit))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: openraft::type_config::alias::SnapshotOf<Types, SnapshotBytes>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<Types>, StreamingError<Types>> {
        let limit = option.soft_ttl();
        let end = SnapshotEnd { vote, meta: snapshot.meta, bytes: snapshot.snapshot.len() };
        let sent = tokio::select! {
            closed = cancel => return Err(closed.into()),
            sent = self.call(SNAPSHOT, end, &snapshot.snapshot, limit) => sent,
        };
        sent.map_err(|failure| self.error(failure, RPCTypes::InstallSnapshot, limit).into())
    }

    async fn transfer_leader(
        &mut self,
        rpc: TransferLeaderRequest<Types>,
        option: RPCOption,
    ) -> Result<TransferLeaderResponse<Types>, RPCError<Types>> {
        let limit = option.soft_ttl();
        let answer = self.call(TRANSFER, rpc, &[], limit).await;
        answer.map_err(|failure| self.error(failure, RPCTypes::TransferLeader, limit))
    }
}
