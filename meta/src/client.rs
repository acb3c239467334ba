//! [`MetaClient`]: what the other rooms call. Finds the leader, follows it when it moves, and gives up at a deadline.
//!
//! Every call may be repeated without harm, so the client repeats one whose outcome it does not know (a broken
//! connection, [`MetaError::Unavailable`]) until [`CALL_DEADLINE`]. Errors about which the caller must decide
//! ([`MetaError::LeaseHeld`], [`MetaError::NotEnoughNodes`], [`MetaError::Fenced`] ...) come back at once.
//!
//! Calls run side by side: each takes an idle connection to the leader or opens one, so a heartbeat never waits behind
//! a slow creation.

mod pool;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use sextant_redo::{
    AzId, ClusterId, Geometry, MembershipEpoch, NodeId, PgId, Segments, VolumeEpoch, VolumeId,
};
use tokio::time::Instant;

use crate::api::{Hello, Reply, Request};
use crate::{ClusterView, Grant, MetaError, Result, VolumeInfo};
use pool::{Attempt, Pool};

/// How long a call tries before it gives up with [`MetaError::Unavailable`]: several elections of a healthy group.
pub const CALL_DEADLINE: Duration = Duration::from_secs(10);
/// How long one attempt at one member may take.
const ATTEMPT_TIMEOUT: Duration = Duration::from_secs(3);
/// First and longest pause between attempts.
const PAUSE: (Duration, Duration) = (Duration::from_millis(20), Duration::from_millis(250));

/// A client of the metadata group. Cheap to clone; clones share connections and the known leader.
#[derive(Clone, Debug)]
pub struct MetaClient {
    pool: Arc<Pool>,
    deadline: Duration,
}

impl MetaClient {
    /// A client of the group with these members; one address is enough, all are better. Connects when first used.
    #[must_use]
    pub fn new(addrs: Vec<SocketAddr>) -> MetaClient {
        MetaClient { pool: Arc::new(Pool::new(addrs)), deadline: CALL_DEADLINE }
    }

    /// The same client with another limit for each call.
    #[must_use]
    pub fn with_deadline(&self, deadline: Duration) -> MetaClient {
        MetaClient { pool: Arc::clone(&self.pool), deadline }
    }

    /// Everything the group knows. Linearizable.
    pub async fn cluster(&self) -> Result<ClusterView> {
        match self.call(&Request::Cluster).await? {
            Reply::Cluster(view) => Ok(view),
            other => Err(unexpected(&other)),
        }
    }

    /// Registers a storage node, or updates the addresses of a known one. The uuid is the identity: asking again gives
    /// the same id. [`MetaError::WrongCluster`] when `cluster` names another one; [`MetaError::Refused`] when a known
    /// node says it has moved to another zone.
    pub async fn register_node(
        &self,
        uuid: &str,
        az: AzId,
        addr: SocketAddr,
        http: SocketAddr,
        cluster: Option<ClusterId>,
    ) -> Result<(ClusterId, NodeId)> {
        let request = Request::RegisterNode { uuid: uuid.to_owned(), az, addr, http, cluster };
        match self.call(&request).await? {
            Reply::Node { cluster, node } => Ok((cluster, node)),
            other => Err(unexpected(&other)),
        }
    }

    /// Says that a storage node lives; to be sent about once a second. [`MetaError::UnknownNode`]: register again.
    pub async fn heartbeat(&self, node: NodeId) -> Result<()> {
        self.done(&Request::Heartbeat { node }).await
    }

    /// Creates a volume with its first protection group on six living nodes, two in each zone; the volume of that name
    /// when there is one already (whatever its geometry and segments). [`MetaError::NotEnoughNodes`] until six nodes live.
    pub async fn create_volume(
        &self,
        name: &str,
        geometry: Geometry,
        segments: Segments,
    ) -> Result<VolumeInfo> {
        let request = Request::CreateVolume { name: name.to_owned(), geometry, segments };
        self.volume_reply(&request).await
    }

    /// The volume as it is now. Linearizable.
    pub async fn volume(&self, name: &str) -> Result<VolumeInfo> {
        let request = Request::Volume { name: name.to_owned() };
        self.volume_reply(&request).await
    }

    /// Asks for the right to write: the next volume epoch, durable before the answer. [`MetaError::LeaseHeld`] while
    /// another instance's lease runs. The instance that holds the lease gets a newer epoch too, so an engine that was
    /// killed and restarted under its name waits for nothing, and a repeated call supersedes the first.
    pub async fn acquire_writer(
        &self,
        volume: VolumeId,
        instance: &str,
        advertise: &str,
        http: &str,
    ) -> Result<Grant> {
        let request = Request::Acquire {
            volume,
            instance: instance.to_owned(),
            advertise: advertise.to_owned(),
            http: http.to_owned(),
        };
        match self.call(&request).await? {
            Reply::Grant(grant) => Ok(grant),
            other => Err(unexpected(&other)),
        }
    }

    /// Renews the lease to its full length, returned in milliseconds. [`MetaError::Fenced`] when the epoch is over: the
    /// writer must stop.
    pub async fn renew(&self, volume: VolumeId, instance: &str, epoch: VolumeEpoch) -> Result<u64> {
        let request = Request::Renew { volume, instance: instance.to_owned(), epoch };
        match self.call(&request).await? {
            Reply::Renewed { lease_ms } => Ok(lease_ms),
            other => Err(unexpected(&other)),
        }
    }

    /// Gives the lease back, so that the next writer waits for nothing. [`MetaError::Fenced`] when the epoch is over.
    pub async fn release(&self, volume: VolumeId, instance: &str, epoch: VolumeEpoch) -> Result<()> {
        let request = Request::Release { volume, instance: instance.to_owned(), epoch };
        self.done(&request).await
    }

    /// Drops a volume for good: no writer opens it any more, and the storage nodes free its space, each when it next asks. A
    /// volume that was dropped already is answered the same. [`MetaError::LeaseHeld`] while an instance's lease runs: stop
    /// that one first.
    pub async fn drop_volume(&self, volume: VolumeId) -> Result<()> {
        self.done(&Request::DropVolume { volume }).await
    }

    /// Which of these volumes of the caller's cluster were dropped. One that is not among the answers may exist, or may be
    /// unknown. [`MetaError::WrongCluster`] when another cluster's group is asked, which would say nothing about them.
    pub async fn dropped(&self, cluster: ClusterId, volumes: &[VolumeId]) -> Result<Vec<VolumeId>> {
        match self.call(&Request::Dropped { cluster, volumes: volumes.to_vec() }).await? {
            Reply::Dropped(volumes) => Ok(volumes),
            other => Err(unexpected(&other)),
        }
    }

    /// Says that `node`, which left `pg`, has no copy of it any more, so that it can be chosen again under another writer.
    /// [`MetaError::StaleMembership`] when the group is no longer at `membership`.
    pub async fn copy_gone(
        &self,
        volume: VolumeId,
        pg: PgId,
        membership: MembershipEpoch,
        node: NodeId,
    ) -> Result<()> {
        self.done(&Request::CopyGone { volume, pg, membership, node }).await
    }

    /// Adds protection group `pg`, the next one, and raises the geometry epoch; the volume as it is when the group is
    /// there already. Takes living nodes first; with a zone down, registered ones too, as long as a write quorum (four)
    /// lives. [`MetaError::Fenced`] when the epoch is over.
    pub async fn add_pg(&self, volume: VolumeId, epoch: VolumeEpoch, pg: PgId) -> Result<VolumeInfo> {
        self.volume_reply(&Request::AddPg { volume, epoch, pg }).await
    }

    /// Records that the segments of `pg` on `nodes`, made under `membership`, exist. [`MetaError::Fenced`] when the epoch is
    /// over, [`MetaError::StaleMembership`] when a node became a member since, again: then it is another copy.
    pub async fn mark_created(
        &self,
        volume: VolumeId,
        epoch: VolumeEpoch,
        (pg, membership): (PgId, MembershipEpoch),
        nodes: &[NodeId],
    ) -> Result<VolumeInfo> {
        let request = Request::MarkCreated { volume, epoch, pg, membership, nodes: nodes.to_vec() };
        self.volume_reply(&request).await
    }

    /// Who would succeed member `old` of `pg`, were its replacement begun now. Changes nothing.
    pub async fn successor(&self, volume: VolumeId, pg: PgId, old: NodeId) -> Result<NodeId> {
        match self.call(&Request::Successor { volume, pg, old }).await? {
            Reply::Successor { new } => Ok(new),
            other => Err(unexpected(&other)),
        }
    }

    /// Begins to replace member `old` of `pg` by a living node of its zone; the volume as it is when that is under way
    /// already. From the answer on writes need both quorums; the writer creates the successor's segment and brings it up
    /// to date. [`MetaError::StaleMembership`] when the group is no longer at `membership`,
    /// [`MetaError::NotEnoughNodes`] when nobody can succeed.
    pub async fn begin_replacement(
        &self,
        volume: VolumeId,
        pg: PgId,
        membership: MembershipEpoch,
        old: NodeId,
    ) -> Result<VolumeInfo> {
        self.volume_reply(&Request::BeginReplacement { volume, pg, membership, old }).await
    }

    /// Records that successor `new` has all log that its group made durable. The writer's to say:
    /// [`MetaError::Fenced`] when the epoch is over.
    pub async fn mark_hydrated(
        &self,
        volume: VolumeId,
        epoch: VolumeEpoch,
        pg: PgId,
        new: NodeId,
    ) -> Result<VolumeInfo> {
        self.volume_reply(&Request::MarkHydrated { volume, epoch, pg, new }).await
    }

    /// Finishes a replacement whose successor is hydrated: `old` is no member any more.
    /// [`MetaError::StaleMembership`] when the group is no longer at `membership`.
    pub async fn finish_replacement(
        &self,
        volume: VolumeId,
        pg: PgId,
        membership: MembershipEpoch,
        (old, new): (NodeId, NodeId),
    ) -> Result<VolumeInfo> {
        self.volume_reply(&Request::FinishReplacement { volume, pg, membership, old, new }).await
    }

    /// Undoes a replacement that is not finished: `new` is no member any more.
    /// [`MetaError::StaleMembership`] when the group is no longer at `membership`.
    pub async fn revert_replacement(
        &self,
        volume: VolumeId,
        pg: PgId,
        membership: MembershipEpoch,
        (old, new): (NodeId, NodeId),
    ) -> Result<VolumeInfo> {
        self.volume_reply(&Request::RevertReplacement { volume, pg, membership, old, new }).await
    }

    /// Puts a metadata member's data folder on record.
    pub(crate) async fn join_member(&self, id: u64, uuid: &str) -> Result<()> {
        let request = Request::JoinMember { id, uuid: uuid.to_owned() };
        self.done(&request).await
    }

    /// What the member at `addr` knows about its group; one attempt.
    pub(crate) async fn hello(&self, addr: SocketAddr, from: u64) -> Result<Hello> {
        let limit = Instant::now() + ATTEMPT_TIMEOUT;
        match self.pool.attempt(addr, &Request::Hello { from }, limit).await {
            Attempt::Answered(Ok(Reply::Hello(hello))) => Ok(hello),
            Attempt::Answered(Ok(other)) => Err(unexpected(&other)),
            Attempt::Answered(Err(error)) => Err(error),
            Attempt::Failed(reason) => Err(MetaError::unavailable(format!("{addr}: {reason}"))),
        }
    }

    async fn done(&self, request: &Request) -> Result<()> {
        match self.call(request).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }

    async fn volume_reply(&self, request: &Request) -> Result<VolumeInfo> {
        match self.call(request).await? {
            Reply::Volume(volume) => Ok(volume),
            other => Err(unexpected(&other)),
        }
    }

    /// Asks the leader, wherever it is, until it answers or the deadline passes.
    async fn call(&self, request: &Request) -> Result<Reply> {
        let deadline = Instant::now() + self.deadline;
        let mut pause = PAUSE.0;
        let mut redirects = 0;
        loop {
            let addr = self.pool.target()?;
            let limit = deadline.min(Instant::now() + ATTEMPT_TIMEOUT);
            let reason = match self.pool.attempt(addr, request, limit).await {
                Attempt::Answered(Err(MetaError::NotLeader { leader })) => {
                    self.pool.follow(addr, leader);
                    redirects += 1;
                    // A fresh hint is worth an attempt at once; two members that point at each other are not.
                    if leader.is_some() && redirects % 3 != 0 {
                        continue;
                    }
                    format!("{addr} does not lead, and no leader is known")
                }
                Attempt::Answered(Err(MetaError::Unavailable { reason })) => {
                    self.pool.follow(addr, None);
                    format!("{addr}: {reason}")
                }
                Attempt::Answered(answer) => return answer,
                Attempt::Failed(reason) => {
                    self.pool.follow(addr, None);
                    format!("{addr}: {reason}")
                }
            };
            if Instant::now() + pause >= deadline {
                return Err(MetaError::unavailable(format!(
                    "no answer within {} ms, last from {reason}",
                    self.deadline.as_millis()
                )));
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(PAUSE.1);
        }
    }
}

fn unexpected(reply: &Reply) -> MetaError {
    MetaError::refused(format!("the metadata service gave another answer than was asked for: {reply:?}"))
}
