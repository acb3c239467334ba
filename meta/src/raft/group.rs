//! This member's part in the group, for the rest of the crate.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use openraft::async_runtime::watch::WatchReceiver;
use openraft::errors::{
    ClientWriteError, ForwardToLeader, InitializeError, LinearizableReadError, RaftError,
};
use openraft::{BasicNode, Config, Instant as _, RaftMetrics, ReadPolicy, ServerState, SnapshotPolicy};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::network::Network;
use super::wire::{APPEND, Envelope, PRE_VOTE, Refusal, SNAPSHOT, SnapshotEnd, TRANSFER, VOTE};
use super::{Raft, Store, Types};
use crate::metrics::METRICS;
use crate::state::{Applied, Command};
use crate::{MetaError, Result};

/// Heartbeat of the leader, in milliseconds; also bounds an RPC (three quarters of it).
const HEARTBEAT_MS: u64 = 100;
/// Shortest silence after which a member stands for election: six heartbeats, so that a noisy machine loses none.
const ELECTION_MS_MIN: u64 = 600;
/// Longest such silence.
const ELECTION_MS_MAX: u64 = 1200;
/// Log entries between two snapshots.
pub(super) const SNAPSHOT_EVERY: u64 = 1000;
/// Entries kept behind a snapshot, for members that lag a little.
const KEEP_BEHIND: u64 = 200;
/// Entries of one AppendEntries. With [`COMMAND_MAX`] and the node limit this fits a frame.
const APPEND_MAX: u64 = 32;
/// How long a command or a read may wait for the group.
const WAIT: Duration = Duration::from_millis(2500);
/// A leader that heard from a quorum within this time may say who lives.
const QUORUM_FRESH: Duration = Duration::from_millis(ELECTION_MS_MAX);

/// Largest request of a client, in bytes, as most of it may go into one log entry.
pub(crate) const COMMAND_MAX: usize = 64 << 10;

/// Who leads, as this member knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Leadership {
    /// The leader's id, if known.
    pub(crate) leader: Option<u64>,
    /// Whether it is this member, by its own knowledge.
    pub(crate) leads: bool,
    /// Whether a quorum confirmed that lately.
    pub(crate) confirmed: bool,
    /// Raft term.
    pub(crate) term: u64,
    /// Log index applied here.
    pub(crate) applied: u64,
    /// "leader", "follower" ...
    pub(crate) role: &'static str,
}

/// A running member. Clones share it.
#[derive(Clone)]
pub(crate) struct Group {
    id: u64,
    peers: Arc<BTreeMap<u64, SocketAddr>>,
    store: Store,
    raft: Raft,
}

impl Group {
    /// Starts Raft over an opened store.
    pub(crate) async fn start(id: u64, peers: BTreeMap<u64, SocketAddr>, store: Store) -> Result<Group> {
        let peers = Arc::new(peers);
        let config = config().validate().map_err(MetaError::fatal)?;
        let network = Network { id, peers: Arc::clone(&peers), machine: store.machine.clone() };
        let raft = Raft::new(id, Arc::new(config), network, store.log.clone(), store.machine.clone())
            .await
            .map_err(MetaError::fatal)?;
        Ok(Group { id, peers, store, raft })
    }

    /// Forms the group with all members, unless this member has history already.
    pub(crate) async fn initialize(&self) -> Result<()> {
        let members: BTreeMap<u64, BasicNode> =
            self.peers.iter().map(|(id, addr)| (*id, BasicNode::new(addr))).collect();
        match self.raft.initialize(members).await {
            Ok(()) | Err(RaftError::APIError(InitializeError::NotAllowed(_))) => Ok(()),
            Err(error) => Err(MetaError::fatal(error)),
        }
    }

    /// Has the group apply `command`; returns what it did, once a quorum has it durably and it is applied here.
    pub(crate) async fn propose(&self, command: Command) -> Result<Applied> {
        let began = Instant::now();
        let (outcome, label) = match tokio::time::timeout(WAIT, self.raft.client_write(command)).await {
            Ok(Ok(written)) => {
                let label = if written.data.0.is_ok() { "applied" } else { "refused" };
                (written.data.0, label)
            }
            Ok(Err(error)) => (Err(self.write_error(error)), "failed"),
            Err(_) => {
                (Err(MetaError::unavailable("no quorum of the metadata group answered in time")), "failed")
            }
        };
        METRICS.proposals.with_label_values(&[label]).inc();
        if label != "failed" {
            METRICS.proposal_seconds.observe(began.elapsed().as_secs_f64());
        }
        outcome
    }

    /// ReadIndex: when this returns, this member led `term` (returned) at some moment after the call, and its state has
    /// everything that was committed before the call.
    pub(crate) async fn read_barrier(&self) -> Result<u64> {
        let began = Instant::now();
        let barrier = async {
            let linearizer = self
                .raft
                .get_read_linearizer(ReadPolicy::ReadIndex)
                .await
                .map_err(|error| self.read_error(error))?;
            let term = linearizer.read_log_id().committed_leader_id().term;
            linearizer.await_ready(&self.raft).await.map_err(MetaError::unavailable)?;
            Ok(term)
        };
        let term = tokio::time::timeout(WAIT, barrier).await.map_err(|_| {
            MetaError::unavailable("no quorum of the metadata group confirmed the leader in time")
        })??;
        METRICS.read_index_seconds.observe(began.elapsed().as_secs_f64());
        Ok(term)
    }

    /// Who leads, as this member knows it.
    pub(crate) fn leadership(&self) -> Leadership {
        leadership(self.id, &self.metrics())
    }

    /// Runs until leadership may have changed.
    pub(crate) async fn changed(&self) {
        let mut watch = self.raft.metrics();
        let before = leadership(self.id, &self.metrics());
        let key = |now: &Leadership| (now.leader, now.leads, now.term);
        while watch.changed().await.is_ok() {
            if key(&self.leadership()) != key(&before) {
                return;
            }
        }
        // Raft is gone; `stopped` tells why.
        std::future::pending().await
    }

    /// Resolves when this member cannot go on: its disk failed, or Raft stopped.
    pub(crate) async fn stopped(&self) -> MetaError {
        let mut failed = self.store.disk.failed();
        let mut watch = self.raft.metrics();
        loop {
            if let Some(reason) = failed.borrow_and_update().clone() {
                return MetaError::fatal(format!(
                    "a write to the metadata file failed: {reason}. What a quorum confirmed is safe with the other members; \
                     check the disk, then start this member again"
                ));
            }
            if let Err(fatal) = self.metrics().running_state {
                return MetaError::fatal(format!("Raft stopped: {fatal}"));
            }
            tokio::select! {
                changed = failed.changed() => if changed.is_err() { return MetaError::fatal("the disk thread is gone") },
                changed = watch.changed() => if changed.is_err() { return MetaError::fatal("Raft stopped") },
            }
        }
    }

    /// Stops Raft.
    pub(crate) async fn shutdown(&self) {
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(%error, "Raft did not stop in order");
        }
    }

    /// Answers a peer's RPC with the reply's payload. `bulk` is what came as snapshot pieces before it.
    pub(crate) async fn answer(&self, kind: u8, payload: &[u8], bulk: Vec<u8>) -> Vec<u8> {
        match kind {
            APPEND => self.serve(payload, |rpc| self.raft.append_entries(rpc)).await,
            VOTE => self.serve(payload, |rpc| self.raft.vote(rpc)).await,
            PRE_VOTE => self.serve(payload, |rpc| self.raft.pre_vote(rpc)).await,
            TRANSFER => self.serve(payload, |rpc| self.raft.handle_transfer_leader(rpc)).await,
            SNAPSHOT => self.serve(payload, |end| self.install(end, bulk)).await,
            other => reply::<()>(Err(Refusal::Malformed(format!("kind {other}")))),
        }
    }

    async fn serve<Q, A, E, F>(&self, payload: &[u8], answer: impl FnOnce(Q) -> F) -> Vec<u8>
    where
        Q: DeserializeOwned,
        A: Serialize,
        E: std::fmt::Display,
        F: Future<Output = Result<A, E>>,
    {
        let envelope: Envelope<Q> = match serde_json::from_slice(payload) {
            Ok(envelope) => envelope,
            Err(error) => return reply::<A>(Err(Refusal::Malformed(error.to_string()))),
        };
        if let Err(refusal) = self.check(&envelope) {
            return reply::<A>(Err(refusal));
        }
        reply(answer(envelope.body).await.map_err(|error| Refusal::Stopped(error.to_string())))
    }

    fn check<Q>(&self, envelope: &Envelope<Q>) -> Result<(), Refusal> {
        if envelope.to != self.id {
            return Err(Refusal::WrongMember { ours: self.id, meant: envelope.to });
        }
        match (self.store.read(|state| state.cluster), envelope.cluster) {
            (Some(ours), Some(theirs)) if ours != theirs => Err(Refusal::WrongCluster { ours, theirs }),
            _ => Ok(()),
        }
    }

    async fn install(
        &self,
        end: SnapshotEnd,
        bulk: Vec<u8>,
    ) -> Result<openraft::raft::SnapshotResponse<Types>, String> {
        if bulk.len() != end.bytes {
            return Err(format!("a snapshot of {} bytes came as {}", end.bytes, bulk.len()));
        }
        // Checked before Raft sees it: what cannot be read must not become this member's state.
        serde_json::from_slice::<crate::state::MetaState>(&bulk).map_err(|error| error.to_string())?;
        let snapshot =
            openraft::type_config::alias::SnapshotOf::<Types, Vec<u8>> { meta: end.meta, snapshot: bulk };
        self.raft.install_full_snapshot(end.vote, snapshot).await.map_err(|error| error.to_string())
    }

    fn metrics(&self) -> RaftMetrics<Types> {
        // Cloned at once: a borrow that is kept blocks Raft.
        self.raft.metrics().borrow_watched().clone()
    }

    fn write_error(&self, error: RaftError<Types, ClientWriteError<Types>>) -> MetaError {
        match error {
            RaftError::APIError(ClientWriteError::ForwardToLeader(forward)) => self.not_leader(&forward),
            other => MetaError::unavailable(other),
        }
    }

    fn read_error(&self, error: RaftError<Types, LinearizableReadError<Types>>) -> MetaError {
        match error {
            RaftError::APIError(LinearizableReadError::ForwardToLeader(forward)) => self.not_leader(&forward),
            other => MetaError::unavailable(other),
        }
    }

    fn not_leader(&self, forward: &ForwardToLeader<Types>) -> MetaError {
        let configured = forward.leader_id.and_then(|id| self.peers.get(&id).copied());
        let noted = || forward.leader_node.as_ref().and_then(|node| node.addr.parse().ok());
        MetaError::NotLeader { leader: configured.or_else(noted) }
    }
}

/// The answer to any RPC before this member takes part.
pub(crate) fn starting() -> Vec<u8> {
    reply::<()>(Err(Refusal::Starting))
}

fn reply<A: Serialize>(answer: Result<A, Refusal>) -> Vec<u8> {
    // These types are plain data with string keys; an empty reply, which no peer can read, is the worst outcome.
    serde_json::to_vec(&answer).unwrap_or_default()
}

fn leadership(id: u64, metrics: &RaftMetrics<Types>) -> Leadership {
    let leads = metrics.state == ServerState::Leader && metrics.current_leader == Some(id);
    // A sole voter is its own quorum, and no peer's answer ever says so.
    let alone = || metrics.membership_config.voter_ids().eq([id]);
    let heard = || metrics.last_quorum_acked.is_some_and(|at| at.elapsed() < QUORUM_FRESH);
    Leadership {
        leader: metrics.current_leader,
        leads,
        confirmed: leads && (alone() || heard()),
        term: metrics.current_term,
        applied: metrics.last_applied.map_or(0, |id| id.index),
        role: match metrics.state {
            ServerState::Learner => "learner",
            ServerState::Follower => "follower",
            ServerState::Candidate => "candidate",
            ServerState::Leader => "leader",
            ServerState::Shutdown => "stopped",
        },
    }
}

fn config() -> Config {
    Config {
        cluster_name: "sextant-meta".to_owned(),
        heartbeat_interval: HEARTBEAT_MS,
        election_timeout_min: ELECTION_MS_MIN,
        election_timeout_max: ELECTION_MS_MAX,
        install_snapshot_timeout: 20_000,
        max_payload_entries: APPEND_MAX,
        snapshot_policy: SnapshotPolicy::LogsSinceLast(SNAPSHOT_EVERY),
        max_in_snapshot_log_to_keep: KEEP_BEHIND,
        replication_lag_threshold: 2 * SNAPSHOT_EVERY,
        // A member that comes back is found within half a second.
        backoff: "50ms 100ms 200ms ...500ms".to_owned(),
        // A member that was cut off must not unseat a healthy leader when it returns.
        enable_pre_vote: Some(true),
        // A restarted leader is elected anew: its state may be behind what it had answered.
        enable_leader_restore: Some(false),
        ..Config::default()
    }
}
