//! The metadata service: three members with the real state machine and the real leases, over a log that a quorum has
//! agreed on (Raft itself is tested in `meta/tests`). Members apply the log late, but whoever leads has applied all of it
//! before it answers. A member that lost the lead and does not know it answers nobody, for it has no quorum. A new leader
//! knows of no renewal. At the end all members must be equal (invariant I10).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::time::Duration;

use sextant_meta::lease::Leases;
use sextant_meta::state::{Applied, Command, MetaState, NodeRecord, Outcome};
use sextant_meta::{Grant, MetaError, VolumeInfo, WriterInfo};
use sextant_redo::{
    AzId, ClusterId, Geometry, MembershipEpoch, NodeId, PgId, Segments, VolumeEpoch, VolumeId,
};

use crate::clock::Clock;
use crate::mutant::Mutant;
use crate::schedule::Time;

/// The cluster of every run.
pub(crate) const CLUSTER: ClusterId = ClusterId(0x5e);
const LEASE: Duration = Duration::from_millis(1000);
const PORT: u16 = 1000;

/// What a writer asks, or an operator: [`MetaRequest::BeginReplacement`], [`MetaRequest::RevertReplacement`] and
/// [`MetaRequest::DropVolume`] come from outside; the writer notices the first by [`MetaRequest::Volume`], brings the successor
/// up to date and does the rest. [`MetaRequest::CopyGone`] is a storage node's.
#[derive(Debug, Clone)]
pub(crate) enum MetaRequest {
    Acquire { instance: String },
    Renew { instance: String, epoch: VolumeEpoch },
    AddPg { epoch: VolumeEpoch, pg: PgId },
    MarkCreated { epoch: VolumeEpoch, pg: PgId, membership: MembershipEpoch, node: NodeId },
    Volume,
    BeginReplacement { pg: PgId, membership: MembershipEpoch, old: NodeId },
    MarkHydrated { epoch: VolumeEpoch, pg: PgId, new: NodeId },
    FinishReplacement { pg: PgId, membership: MembershipEpoch, old: NodeId, new: NodeId },
    RevertReplacement { pg: PgId, membership: MembershipEpoch, old: NodeId, new: NodeId },
    DropVolume,
    CopyGone { pg: PgId, membership: MembershipEpoch, node: NodeId },
}

/// What it is told.
#[derive(Debug, Clone)]
pub(crate) enum MetaReply {
    Granted(Grant),
    /// Under this epoch, which is the current one.
    Renewed(VolumeEpoch),
    Volume(VolumeInfo),
    Done,
}

/// Members of the metadata group.
pub(crate) const MEMBERS: usize = 3;

struct Member {
    state: MetaState,
    applied: usize,
    leases: Leases,
    clock: Clock,
}

impl Member {
    /// Applies the log; the last outcome.
    fn catch_up(&mut self, log: &[Command]) -> Option<Result<Applied, MetaError>> {
        let mut last = None;
        for (at, command) in log.iter().enumerate().skip(self.applied) {
            let Outcome(outcome) = self.state.apply(at as u64 + 1, command);
            last = Some(outcome);
        }
        self.applied = log.len();
        last
    }

    fn now(&self, now: Time) -> Duration {
        Duration::from_micros(self.clock.read(now))
    }
}

/// See the module.
pub(crate) struct Meta {
    log: Vec<Command>,
    members: Vec<Member>,
    leader: usize,
    term: u64,
    /// A member that led before and believes that it still does.
    deposed: Option<usize>,
    pub(crate) volume: VolumeId,
    /// Nodes by their index in the run.
    pub(crate) nodes: Vec<NodeId>,
    mutant: Option<Mutant>,
}

fn addr(node: usize) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, PORT + node as u16).into()
}

/// The index in the run of the node with this address.
pub(crate) fn node_at(addr: SocketAddr) -> usize {
    usize::from(addr.port() - PORT)
}

impl Meta {
    pub(crate) fn new(
        nodes_per_az: usize,
        shape: (Geometry, Segments),
        clocks: [Clock; MEMBERS],
        mutant: Option<Mutant>,
    ) -> Meta {
        let member =
            |clock| Member { state: MetaState::default(), applied: 0, leases: Leases::new(LEASE), clock };
        let mut meta = Meta {
            log: Vec::new(),
            members: clocks.into_iter().map(member).collect(),
            leader: 0,
            term: 0,
            deposed: None,
            volume: VolumeId(0),
            nodes: Vec::new(),
            mutant,
        };
        meta.elect(0, 0);
        meta.found(nodes_per_az, shape).expect("an empty state machine takes nodes and a volume");
        meta
    }

    fn found(
        &mut self,
        nodes_per_az: usize,
        (geometry, segments): (Geometry, Segments),
    ) -> Result<(), MetaError> {
        self.apply(Command::InitCluster { cluster: CLUSTER })?;
        for n in 0..3 * nodes_per_az {
            let az = AzId((n / nodes_per_az) as u16);
            let node = NodeRecord { uuid: format!("disk-{n}"), az, addr: addr(n), http: addr(n) };
            if let Applied::Node(_, id) = self.apply(Command::RegisterNode { node, cluster: None })? {
                self.nodes.push(id);
            }
        }
        let alive = self.nodes.iter().copied().collect();
        let create = Command::CreateVolume { name: "bank".into(), geometry, segments, alive };
        if let Applied::Volume(info) = self.apply(create)? {
            self.volume = info.id;
        }
        Ok(())
    }

    /// The leader has a command agreed on and applies it.
    fn apply(&mut self, command: Command) -> Result<Applied, MetaError> {
        self.log.push(command);
        let outcome = self.members[self.leader].catch_up(&self.log);
        outcome.unwrap_or_else(|| Err(MetaError::Refused { reason: "nothing was applied".into() }))
    }

    /// Another member leads from now on. The one before knows it at once.
    pub(crate) fn elect(&mut self, member: usize, now: Time) {
        self.term += 1;
        self.leader = member;
        self.deposed = None;
        let leader = &mut self.members[member];
        leader.catch_up(&self.log);
        leader.leases.lead(self.term, leader.now(now));
    }

    /// The next member leads from now on, and the one before does not know it.
    pub(crate) fn depose(&mut self, now: Time) {
        let before = self.leader;
        self.elect((before + 1) % MEMBERS, now);
        self.deposed = Some(before);
    }

    /// Who leads.
    pub(crate) fn leader(&self) -> usize {
        self.leader
    }

    /// The member that lost the lead knows it now.
    pub(crate) fn end_deposed(&mut self) {
        self.deposed = None;
    }

    /// True while two members believe that they lead.
    pub(crate) fn has_deposed(&self) -> bool {
        self.deposed.is_some()
    }

    /// The clock of a member.
    pub(crate) fn clock(&mut self, member: usize) -> &mut Clock {
        &mut self.members[member].clock
    }

    /// True when all members hold the same state once they have applied the log.
    pub(crate) fn members_agree(&mut self) -> bool {
        self.members.iter_mut().for_each(|member| drop(member.catch_up(&self.log)));
        self.members.windows(2).all(|pair| pair[0].state == pair[1].state)
    }

    fn state(&self) -> &MetaState {
        &self.members[self.leader].state
    }

    /// The zone of each node.
    pub(crate) fn az_of(&self, node: usize) -> AzId {
        self.state().nodes[&self.nodes[node]].az
    }

    /// The volume as it is.
    pub(crate) fn info(&self) -> Option<VolumeInfo> {
        self.state().volume_info(self.volume).ok()
    }

    /// Volumes that were dropped.
    pub(crate) fn dropped(&self) -> &BTreeSet<VolumeId> {
        &self.state().dropped
    }

    /// What a member that lost the lead answers: nothing, since no quorum confirms it.
    pub(crate) fn on_deposed(&mut self, request: &MetaRequest) -> Option<Result<MetaReply, MetaError>> {
        let believed = self.deposed.filter(|_| self.mutant == Some(Mutant::MetaWithoutQuorum))?;
        let MetaRequest::Renew { epoch, .. } = request else { return None };
        let known = self.members[believed].state.volume(self.volume).ok()?.epoch;
        (known == *epoch).then_some(Ok(MetaReply::Renewed(known)))
    }

    /// Answers a request; `alive` are the nodes that are seen to live.
    pub(crate) fn on(
        &mut self,
        now: Time,
        request: &MetaRequest,
        alive: BTreeSet<NodeId>,
    ) -> Result<MetaReply, MetaError> {
        let id = self.volume;
        let volume = |applied| match applied {
            Applied::Volume(info) => Ok(MetaReply::Volume(info)),
            _ => Err(MetaError::Refused { reason: "the state machine answered something else".into() }),
        };
        match request.clone() {
            MetaRequest::Acquire { instance } => self.acquire(now, instance).map(MetaReply::Granted),
            MetaRequest::Renew { instance, epoch } => {
                let record = self.state().volume(id)?;
                let held =
                    record.epoch == epoch && record.writer.as_ref().is_some_and(|w| w.instance == instance);
                if !held {
                    return Err(MetaError::Fenced { current: record.epoch });
                }
                self.renewed(epoch, now);
                Ok(MetaReply::Renewed(epoch))
            }
            MetaRequest::AddPg { epoch, pg } => {
                self.apply(Command::AddPg { volume: id, epoch, pg, alive }).and_then(volume)
            }
            MetaRequest::MarkCreated { epoch, pg, membership, node } => {
                let (membership, nodes) = (Some(membership), vec![node]);
                self.apply(Command::MarkCreated { volume: id, epoch, pg, membership, nodes }).and_then(volume)
            }
            MetaRequest::Volume => self.state().volume_info(id).map(MetaReply::Volume),
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
            MetaRequest::DropVolume => self.drop_volume(now),
            MetaRequest::CopyGone { pg, membership, node } => {
                self.apply(Command::CopyGone { volume: id, pg, membership, node }).map(|_| MetaReply::Done)
            }
        }
    }

    fn drop_volume(&mut self, now: Time) -> Result<MetaReply, MetaError> {
        let leader = &self.members[self.leader];
        let record = leader.state.volume(self.volume)?;
        let expected = record.epoch;
        let remaining = leader.leases.remaining(self.volume, expected, leader.now(now));
        if let Some(holder) = record.writer.as_ref().filter(|_| !remaining.is_zero()) {
            let remaining_ms = remaining.as_millis().max(1) as u64;
            return Err(MetaError::LeaseHeld { holder: holder.instance.clone(), remaining_ms });
        }
        self.apply(Command::DropVolume { volume: self.volume, expected }).map(|_| MetaReply::Done)
    }

    fn renewed(&mut self, epoch: VolumeEpoch, now: Time) {
        let leader = &mut self.members[self.leader];
        leader.leases.renewed(self.volume, epoch, leader.now(now));
    }

    fn acquire(&mut self, now: Time, instance: String) -> Result<Grant, MetaError> {
        let id = self.volume;
        let leader = &self.members[self.leader];
        let record = leader.state.volume(id)?;
        let expected = record.epoch;
        let remaining = leader.leases.remaining(id, expected, leader.now(now));
        if let Some(holder) = record.writer.as_ref().filter(|w| w.instance != instance)
            && !remaining.is_zero()
        {
            let remaining_ms = remaining.as_millis().max(1) as u64;
            return Err(MetaError::LeaseHeld { holder: holder.instance.clone(), remaining_ms });
        }
        let lease_ms = LEASE.as_millis() as u64;
        if self.mutant == Some(Mutant::LeaseInsteadOfEpoch) && expected.0 > 0 {
            let volume = leader.state.volume_info(id)?;
            return Ok(Grant { epoch: expected, lease_ms, volume });
        }
        let writer = WriterInfo {
            instance,
            advertise: "engine:5432".into(),
            http: "engine:9000".into(),
            epoch: VolumeEpoch(0),
        };
        match self.apply(Command::Acquire { volume: id, expected, writer })? {
            Applied::Volume(volume) => {
                self.renewed(volume.epoch, now);
                Ok(Grant { epoch: volume.epoch, lease_ms, volume })
            }
            _ => Err(MetaError::Refused { reason: "the state machine answered something else".into() }),
        }
    }
}
