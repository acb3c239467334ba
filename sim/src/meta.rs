//! The metadata service as one logical instance: the real state machine and the real leases, applied in the order in
//! which requests arrive. A second replica applies the same log, and must end equal (invariant I10).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sextant_meta::lease::Leases;
use sextant_meta::state::{Applied, Command, MetaState, NodeRecord, Outcome};
use sextant_meta::{Grant, MetaError, VolumeInfo, WriterInfo};
use sextant_redo::{AzId, ClusterId, Geometry, MembershipEpoch, NodeId, PgId, VolumeEpoch, VolumeId};

use crate::schedule::Time;

/// The cluster of every run.
pub(crate) const CLUSTER: ClusterId = ClusterId(0x5e);
const LEASE: Duration = Duration::from_millis(1000);
const PORT: u16 = 1000;

/// What a writer asks, or an operator: [`MetaRequest::BeginReplacement`] and [`MetaRequest::RevertReplacement`] come from
/// outside; the writer notices by [`MetaRequest::Volume`], brings the successor up to date and does the rest.
#[derive(Debug, Clone)]
pub(crate) enum MetaRequest {
    Acquire { instance: String },
    Renew { instance: String, epoch: VolumeEpoch },
    AddPg { epoch: VolumeEpoch, pg: PgId },
    MarkCreated { epoch: VolumeEpoch, pg: PgId, node: NodeId },
    Volume,
    BeginReplacement { pg: PgId, membership: MembershipEpoch, old: NodeId },
    MarkHydrated { epoch: VolumeEpoch, pg: PgId, new: NodeId },
    FinishReplacement { pg: PgId, membership: MembershipEpoch, old: NodeId, new: NodeId },
    RevertReplacement { pg: PgId, membership: MembershipEpoch, old: NodeId, new: NodeId },
}

/// What it is told.
#[derive(Debug, Clone)]
pub(crate) enum MetaReply {
    Granted(Grant),
    /// Under this epoch, which is the current one.
    Renewed(VolumeEpoch),
    Volume(VolumeInfo),
}

/// See the module.
pub(crate) struct Meta {
    state: MetaState,
    replica: MetaState,
    leases: Leases,
    index: u64,
    pub(crate) volume: VolumeId,
    /// Nodes by their index in the run.
    pub(crate) nodes: Vec<NodeId>,
}

fn addr(node: usize) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, PORT + node as u16).into()
}

/// The index in the run of the node with this address.
pub(crate) fn node_at(addr: SocketAddr) -> usize {
    usize::from(addr.port() - PORT)
}

impl Meta {
    pub(crate) fn new(nodes_per_az: usize, geometry: Geometry) -> Meta {
        let mut leases = Leases::new(LEASE);
        leases.lead(1, Duration::ZERO);
        let mut meta = Meta {
            state: MetaState::default(),
            replica: MetaState::default(),
            leases,
            index: 0,
            volume: VolumeId(0),
            nodes: Vec::new(),
        };
        meta.found(nodes_per_az, geometry).expect("an empty state machine takes nodes and a volume");
        meta
    }

    fn found(&mut self, nodes_per_az: usize, geometry: Geometry) -> Result<(), MetaError> {
        self.apply(Command::InitCluster { cluster: CLUSTER })?;
        for n in 0..3 * nodes_per_az {
            let az = AzId((n / nodes_per_az) as u16);
            let node = NodeRecord { uuid: format!("disk-{n}"), az, addr: addr(n), http: addr(n) };
            if let Applied::Node(_, id) = self.apply(Command::RegisterNode { node, cluster: None })? {
                self.nodes.push(id);
            }
        }
        let alive = self.nodes.iter().copied().collect();
        let create = Command::CreateVolume { name: "bank".into(), geometry, alive };
        if let Applied::Volume(info) = self.apply(create)? {
            self.volume = info.id;
        }
        Ok(())
    }

    fn apply(&mut self, command: Command) -> Result<Applied, MetaError> {
        self.index += 1;
        let Outcome(here) = self.state.apply(self.index, &command);
        let Outcome(there) = self.replica.apply(self.index, &command);
        debug_assert_eq!(here, there);
        here
    }

    /// True when both replicas hold the same state.
    pub(crate) fn replicas_agree(&self) -> bool {
        self.state == self.replica
    }

    /// The zone of each node.
    pub(crate) fn az_of(&self, node: usize) -> AzId {
        self.state.nodes[&self.nodes[node]].az
    }

    /// The volume as it is.
    pub(crate) fn info(&self) -> Option<VolumeInfo> {
        self.state.volume_info(self.volume).ok()
    }

    /// Answers a request; `alive` are the nodes that are seen to live.
    pub(crate) fn on(
        &mut self,
        now: Time,
        request: &MetaRequest,
        alive: BTreeSet<NodeId>,
    ) -> Result<MetaReply, MetaError> {
        let (now, id) = (Duration::from_micros(now), self.volume);
        let volume = |applied| match applied {
            Applied::Volume(info) => Ok(MetaReply::Volume(info)),
            _ => Err(MetaError::Refused { reason: "the state machine answered something else".into() }),
        };
        match request.clone() {
            MetaRequest::Acquire { instance } => self.acquire(now, instance).map(MetaReply::Granted),
            MetaRequest::Renew { instance, epoch } => {
                let record = self.state.volume(id)?;
                let held =
                    record.epoch == epoch && record.writer.as_ref().is_some_and(|w| w.instance == instance);
                if !held {
                    return Err(MetaError::Fenced { current: record.epoch });
                }
                self.leases.renewed(id, epoch, now);
                Ok(MetaReply::Renewed(epoch))
            }
            MetaRequest::AddPg { epoch, pg } => {
                self.apply(Command::AddPg { volume: id, epoch, pg, alive }).and_then(volume)
            }
            MetaRequest::MarkCreated { epoch, pg, node } => {
                let nodes = vec![node];
                self.apply(Command::MarkCreated { volume: id, epoch, pg, nodes }).and_then(volume)
            }
            MetaRequest::Volume => self.state.volume_info(id).map(MetaReply::Volume),
            MetaRequest::BeginReplacement { pg, membership, old } => {
                let begin =
                    Command::BeginReplacement { volume: id, pg, membership, old, automatic: false, alive };
                self.apply(begin).and_then(volume)
            }
            MetaRequest::MarkHydrated { epoch, pg, new } => {
                self.apply(Command::MarkHydrated { volume: id, epoch, pg, new }).and_then(volume)
            }
            MetaRequest::FinishReplacement { pg, membership, old, new } => {
                let finish = Command::FinishReplacement { volume: id, pg, membership, old, new };
                self.apply(finish).and_then(volume)
            }
            MetaRequest::RevertReplacement { pg, membership, old, new } => {
                let revert = Command::RevertReplacement { volume: id, pg, membership, old, new };
                self.apply(revert).and_then(volume)
            }
        }
    }

    fn acquire(&mut self, now: Duration, instance: String) -> Result<Grant, MetaError> {
        let id = self.volume;
        let record = self.state.volume(id)?;
        let expected = record.epoch;
        let remaining = self.leases.remaining(id, expected, now);
        if let Some(holder) = record.writer.as_ref().filter(|w| w.instance != instance)
            && !remaining.is_zero()
        {
            let remaining_ms = remaining.as_millis().max(1) as u64;
            return Err(MetaError::LeaseHeld { holder: holder.instance.clone(), remaining_ms });
        }
        let writer = WriterInfo {
            instance,
            advertise: "engine:5432".into(),
            http: "engine:9000".into(),
            epoch: VolumeEpoch(0),
        };
        match self.apply(Command::Acquire { volume: id, expected, writer })? {
            Applied::Volume(volume) => {
                self.leases.renewed(id, volume.epoch, now);
                Ok(Grant { epoch: volume.epoch, lease_ms: LEASE.as_millis() as u64, volume })
            }
            _ => Err(MetaError::Refused { reason: "the state machine answered something else".into() }),
        }
    }
}
