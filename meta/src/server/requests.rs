//! Clients' requests at the leader. What fences waits for ReadIndex first; what changes goes through the log.

use sextant_redo::{NodeId, VolumeEpoch, VolumeId};

use super::Member;
use crate::api::{Hello, Reply, Request};
use crate::metrics::METRICS;
use crate::raft::Group;
use crate::state::{Applied, Command, MetaState, NodeRecord, VolumeRecord};
use crate::{ClusterView, Grant, MetaError, MetaMember, NodeInfo, Result, VolumeInfo, WriterInfo};

/// Grants that may overtake one acquire before it gives up.
const GRANT_RACES_MAX: usize = 4;

impl Member {
    /// Answers one request.
    pub(super) async fn answer(&self, request: Request) -> Result<Reply> {
        if let Request::Hello { from } = request {
            return Ok(Reply::Hello(self.hello(from)));
        }
        let group = self.group()?;
        match request {
            Request::Hello { .. } => Ok(Reply::Done),
            Request::Cluster => self.cluster_view(group).await.map(Reply::Cluster),
            Request::RegisterNode { uuid, az, addr, http, cluster } => {
                let node = NodeRecord { uuid, az, addr, http };
                match group.propose(Command::RegisterNode { node, cluster }).await? {
                    Applied::Node(cluster, node) => {
                        self.beat(node);
                        Ok(Reply::Node { cluster, node })
                    }
                    other => Err(unexpected(&other)),
                }
            }
            Request::Heartbeat { node } => self.heartbeat(group, node).await,
            Request::CreateVolume { name, geometry, segments } => {
                let alive = self.alive();
                volume(group.propose(Command::CreateVolume { name, geometry, segments, alive }).await?)
            }
            Request::Volume { name } => {
                group.read_barrier().await?;
                self.store
                    .read(|state| match state.volume_named(&name) {
                        Some(id) => state.volume_info(id),
                        None => Err(MetaError::UnknownVolume { name }),
                    })
                    .map(Reply::Volume)
            }
            Request::Acquire { volume, instance, advertise, http } => {
                let writer = WriterInfo { instance, advertise, http, epoch: VolumeEpoch(0) };
                self.acquire(group, volume, writer).await.map(Reply::Grant)
            }
            Request::Renew { volume, instance, epoch } => self.renew(group, volume, &instance, epoch).await,
            Request::Release { volume, instance, epoch } => {
                group.propose(Command::Release { volume, instance, epoch }).await.map(|_| Reply::Done)
            }
            Request::DropVolume { volume } => self.drop_volume(group, volume).await,
            Request::Dropped { cluster: theirs, volumes } => {
                group.read_barrier().await?;
                self.store.read(|state| match state.cluster()? {
                    ours if ours != theirs => Err(MetaError::WrongCluster { ours, theirs }),
                    _ => Ok(Reply::Dropped(
                        volumes.into_iter().filter(|volume| state.dropped.contains(volume)).collect(),
                    )),
                })
            }
            Request::CopyGone { volume, pg, membership, node } => {
                let command = Command::CopyGone { volume, pg, membership, node };
                group.propose(command).await.map(|_| Reply::Done)
            }
            Request::AddPg { volume: id, epoch, pg } => {
                let alive = self.alive();
                volume(group.propose(Command::AddPg { volume: id, epoch, pg, alive }).await?)
            }
            Request::MarkCreated { volume: id, epoch, pg, membership, nodes } => {
                let membership = Some(membership);
                volume(
                    group.propose(Command::MarkCreated { volume: id, epoch, pg, membership, nodes }).await?,
                )
            }
            Request::Successor { volume, pg, old } => {
                group.read_barrier().await?;
                let alive = self.alive();
                let new = self.store.read(|state| state.successor((volume, pg), old, &alive))?;
                Ok(Reply::Successor { new })
            }
            Request::BeginReplacement { volume: id, pg, membership, old } => {
                let alive = self.alive();
                let command =
                    Command::BeginReplacement { volume: id, pg, membership, old, automatic: false, alive };
                volume(group.propose(command).await?)
            }
            Request::MarkHydrated { volume: id, epoch, pg, new } => {
                volume(group.propose(Command::MarkHydrated { volume: id, epoch, pg, new }).await?)
            }
            Request::FinishReplacement { volume: id, pg, membership, old, new } => {
                let command = Command::FinishReplacement { volume: id, pg, membership, old, new };
                volume(group.propose(command).await?)
            }
            Request::RevertReplacement { volume: id, pg, membership, old, new } => {
                let command = Command::RevertReplacement { volume: id, pg, membership, old, new };
                volume(group.propose(command).await?)
            }
            Request::JoinMember { id, uuid } => {
                group.propose(Command::JoinMember { id, uuid }).await.map(|_| Reply::Done)
            }
        }
    }

    fn hello(&self, from: u64) -> Hello {
        self.store.read(|state| Hello {
            id: self.config.id,
            cluster: state.cluster,
            has_history: self.store.has_history(),
            your_uuid: state.members.get(&from).cloned(),
        })
    }

    /// Only a leader that heard from a quorum lately may take heartbeats: a cut-off one would make nodes believe that
    /// they are seen.
    async fn heartbeat(&self, group: &Group, node: NodeId) -> Result<Reply> {
        let now = group.leadership();
        if !now.leads {
            let leader = now.leader.filter(|id| *id != self.config.id);
            let leader = leader.and_then(|id| self.config.peers.get(&id).copied());
            return Err(MetaError::NotLeader { leader });
        }
        let known = || self.store.read(|state| state.nodes.contains_key(&node));
        if !now.confirmed || !known() {
            // Also brings this state up to date, before a node is told that nobody knows it.
            group.read_barrier().await?;
        }
        if !known() {
            return Err(MetaError::UnknownNode { node });
        }
        self.beat(node);
        Ok(Reply::Done)
    }

    async fn cluster_view(&self, group: &Group) -> Result<ClusterView> {
        let term = group.read_barrier().await?;
        let alive = self.alive();
        self.store.read(|state| {
            let node = |(id, node): (&NodeId, &NodeRecord)| NodeInfo {
                id: *id,
                uuid: node.uuid.clone(),
                az: node.az,
                addr: node.addr,
                http: node.http,
                alive: alive.contains(id),
            };
            let member = |(id, addr): (&u64, &std::net::SocketAddr)| MetaMember {
                id: *id,
                addr: *addr,
                uuid: state.members.get(id).cloned(),
            };
            Ok(ClusterView {
                cluster: state.cluster()?,
                leader: Some(self.config.id),
                term,
                members: self.config.peers.iter().map(member).collect(),
                nodes: state.nodes.iter().map(node).collect(),
                volumes: state.volumes.keys().map(|id| state.volume_info(*id)).collect::<Result<_>>()?,
            })
        })
    }

    /// Grants the next epoch unless another's lease runs. The command compares the epoch that the decision was made
    /// on, so a grant that came in between is seen and decided upon anew.
    async fn acquire(&self, group: &Group, id: VolumeId, writer: WriterInfo) -> Result<Grant> {
        for _ in 0..GRANT_RACES_MAX {
            let term = group.read_barrier().await?;
            let (expected, holder) = self.volume_state(id, |volume| {
                (volume.epoch, volume.writer.as_ref().map(|w| w.instance.clone()))
            })?;
            self.check_lease(term, id, expected, holder.filter(|holder| *holder != writer.instance))?;
            let command = Command::Acquire { volume: id, expected, writer: writer.clone() };
            match group.propose(command).await {
                Ok(Applied::Volume(volume)) => return Ok(self.granted(volume)),
                Ok(other) => return Err(unexpected(&other)),
                Err(MetaError::Fenced { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(MetaError::unavailable("other instances were granted the volume again and again meanwhile"))
    }

    /// Drops the volume unless somebody's lease runs. As with a grant, the command compares the epoch.
    async fn drop_volume(&self, group: &Group, id: VolumeId) -> Result<Reply> {
        for _ in 0..GRANT_RACES_MAX {
            let term = group.read_barrier().await?;
            if self.store.read(|state| state.dropped.contains(&id)) {
                return Ok(Reply::Done);
            }
            let (expected, holder) = self.volume_state(id, |volume| {
                (volume.epoch, volume.writer.as_ref().map(|w| w.instance.clone()))
            })?;
            self.check_lease(term, id, expected, holder)?;
            match group.propose(Command::DropVolume { volume: id, expected }).await {
                Ok(_) => {
                    tracing::warn!(volume = %id, "a volume was dropped; storage nodes free its space");
                    return Ok(Reply::Done);
                }
                Err(MetaError::Fenced { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        Err(MetaError::unavailable("instances were granted the volume again and again meanwhile"))
    }

    fn check_lease(&self, term: u64, id: VolumeId, epoch: VolumeEpoch, holder: Option<String>) -> Result<()> {
        let now = self.now();
        let mut leases = self.leases();
        leases.lead(term, now);
        let remaining = leases.remaining(id, epoch, now);
        match holder {
            Some(holder) if !remaining.is_zero() => {
                let remaining_ms = u64::try_from(remaining.as_millis()).unwrap_or(u64::MAX).max(1);
                Err(MetaError::LeaseHeld { holder, remaining_ms })
            }
            _ => Ok(()),
        }
    }

    fn granted(&self, volume: VolumeInfo) -> Grant {
        let now = self.now();
        self.leases().renewed(volume.id, volume.epoch, now);
        METRICS.grants.inc();
        tracing::info!(volume = %volume.name, epoch = %volume.epoch,
            instance = volume.writer.as_ref().map_or("", |w| w.instance.as_str()), "volume epoch granted");
        Grant { epoch: volume.epoch, lease_ms: self.config.lease_ms, volume }
    }

    /// Memory only, after a read barrier. A lapsed lease that nobody took is renewed all the same.
    async fn renew(&self, group: &Group, id: VolumeId, instance: &str, epoch: VolumeEpoch) -> Result<Reply> {
        let term = group.read_barrier().await?;
        let current = self.volume_state(id, |volume| {
            let held =
                volume.epoch == epoch && volume.writer.as_ref().is_some_and(|w| w.instance == instance);
            if held { Ok(()) } else { Err(volume.epoch) }
        })?;
        if let Err(current) = current {
            METRICS.fenced.inc();
            return Err(MetaError::Fenced { current });
        }
        let now = self.now();
        let mut leases = self.leases();
        leases.lead(term, now);
        leases.renewed(id, epoch, now);
        METRICS.renewals.inc();
        Ok(Reply::Renewed { lease_ms: self.config.lease_ms })
    }

    fn volume_state<T>(&self, id: VolumeId, read: impl FnOnce(&VolumeRecord) -> T) -> Result<T> {
        self.store.read(|state: &MetaState| state.volume(id).map(read))
    }
}

fn volume(applied: Applied) -> Result<Reply> {
    match applied {
        Applied::Volume(volume) => Ok(Reply::Volume(volume)),
        other => Err(unexpected(&other)),
    }
}

fn unexpected(applied: &Applied) -> MetaError {
    MetaError::refused(format!("the state machine answered something else than was asked: {applied:?}"))
}
