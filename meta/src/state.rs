//! The metadata as a pure state machine. [`MetaState::apply`] takes a [`Command`] at a log index and answers; nothing
//! else changes the state.
//!
//! What must hold:
//! - `apply` is a function of state, index and command: no clock, no randomness, no hash order (BTreeMaps throughout).
//!   What depends on the moment (who lives, a random cluster id) is decided by the leader and carried in the command.
//! - A business error is an answer, and the state stays as it was.
//! - Applying a command again changes nothing, except [`Command::Acquire`], which compares the epoch first.
//! - An id is the log index of the command that made it: never reused. So a volume that was dropped stays known as dropped.
//! - Epochs only grow. A protection group has six members on distinct nodes, two in each of three zones, and a successor
//!   for each of the at most two that are being replaced. In a volume of full segments and tails one of the two is full and
//!   one a tail; a successor is of its predecessor's kind.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod command;
mod leftovers;
mod membership;
mod nodes;
mod placement;
#[cfg(test)]
mod tests;
mod volumes;

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};
use sextant_redo::{
    AzId, ClusterId, Geometry, GeometryEpoch, MembershipEpoch, NodeId, PgId, SegmentKind, Segments,
    VolumeEpoch, VolumeId,
};
use std::net::SocketAddr;

pub use command::{Command, Outcome};
pub use membership::REPLACEMENTS_MAX;
pub use placement::{AZS, COPIES_PER_AZ};

use crate::{MetaError, Replacement, Result, VolumeInfo, WriterInfo};

/// All that the group agrees on.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaState {
    /// Drawn once, by the first leader.
    pub cluster: Option<ClusterId>,
    /// Data folder of each metadata member that has joined.
    pub members: BTreeMap<u64, String>,
    /// Storage nodes.
    pub nodes: BTreeMap<NodeId, NodeRecord>,
    /// Volumes.
    pub volumes: BTreeMap<VolumeId, VolumeRecord>,
    /// Volumes that were dropped: a node that holds a copy, whenever it asks, learns that nobody needs it.
    #[serde(default)]
    pub dropped: BTreeSet<VolumeId>,
}

/// A registered storage node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeRecord {
    /// Identity of its data folder.
    pub uuid: String,
    /// Zone; fixed, since placement rests on it.
    pub az: AzId,
    /// Segment service.
    pub addr: SocketAddr,
    /// `/metrics`.
    pub http: SocketAddr,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeRecord {
    /// Unique name.
    pub name: String,
    /// Page spread.
    pub geometry: Geometry,
    /// What the segments of each group are.
    #[serde(default, skip_serializing_if = "Segments::is_full")]
    pub segments: Segments,
    /// Raised by each added group.
    pub geometry_epoch: GeometryEpoch,
    /// Newest granted epoch; 0 before the first.
    pub epoch: VolumeEpoch,
    /// Who was granted it, unless released.
    pub writer: Option<WriterInfo>,
    /// Groups in order: index = [`PgId`].
    pub pgs: Vec<PgRecord>,
}

/// A protection group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PgRecord {
    /// Raised by each step of a membership change.
    pub membership: MembershipEpoch,
    /// Six nodes, by zone, and whether the segment is known to exist; behind them the successors.
    pub members: Vec<PgMember>,
    /// Which of them are being replaced by which.
    #[serde(default)]
    pub replacements: Vec<Replacement>,
    /// Nodes that may still hold a copy from an earlier membership. Not chosen until they have said that it is gone: a
    /// successor starts from nothing.
    #[serde(default)]
    pub former: BTreeSet<NodeId>,
    /// Under which volume epoch a node was a member last. Not chosen under the same again: the writer may miss that it left
    /// and came back, and count what the copy of before held.
    #[serde(default)]
    pub left: BTreeMap<NodeId, VolumeEpoch>,
}

/// A place of a group.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PgMember {
    /// The node.
    pub node: NodeId,
    /// Whether its segment exists.
    pub created: bool,
    /// The membership epoch under which it became a member: what was said of a segment under a lower one is about the copy
    /// of another time.
    #[serde(default)]
    pub since: MembershipEpoch,
    /// What its segment keeps.
    #[serde(default, skip_serializing_if = "SegmentKind::is_full")]
    pub kind: SegmentKind,
}

impl MetaState {
    /// Applies the command at log `index`. The answer is for the one who proposed it.
    pub fn apply(&mut self, index: u64, command: &Command) -> Outcome {
        Outcome(self.try_apply(index, command))
    }

    fn try_apply(&mut self, index: u64, command: &Command) -> Result<Applied> {
        match command {
            Command::InitCluster { cluster } => Ok(Applied::Cluster(*self.cluster.get_or_insert(*cluster))),
            Command::JoinMember { id, uuid } => self.join_member(*id, uuid),
            Command::RegisterNode { node, cluster } => self.register_node(index, node, *cluster),
            Command::CreateVolume { name, geometry, segments, alive } => {
                self.create_volume(VolumeId(index), name, (*geometry, *segments), alive)
            }
            Command::Acquire { volume, expected, writer } => self.acquire(*volume, *expected, writer),
            Command::Release { volume, instance, epoch } => self.release(*volume, instance, *epoch),
            Command::DropVolume { volume, expected } => self.drop_volume(*volume, *expected),
            Command::CopyGone { volume, pg, membership, node } => {
                self.copy_gone((*volume, *pg), *membership, *node)
            }
            Command::AddPg { volume, epoch, pg, alive } => self.add_pg(*volume, *epoch, *pg, alive),
            Command::MarkCreated { volume, epoch, pg, membership, nodes } => {
                self.mark_created((*volume, *pg), *epoch, *membership, nodes)
            }
            Command::BeginReplacement { volume, pg, membership, old, automatic, alive } => {
                self.begin_replacement((*volume, *pg), *membership, *old, *automatic, alive)
            }
            Command::MarkHydrated { volume, epoch, pg, new } => {
                self.mark_hydrated((*volume, *pg), *epoch, *new)
            }
            Command::FinishReplacement { volume, pg, membership, old, new } => {
                self.finish_replacement((*volume, *pg), *membership, *old, *new)
            }
            Command::RevertReplacement { volume, pg, membership, old, new } => {
                self.revert_replacement((*volume, *pg), *membership, *old, *new)
            }
        }
    }

    /// The cluster's id; unavailable in the moments before the first leader has drawn it.
    pub fn cluster(&self) -> Result<ClusterId> {
        self.cluster.ok_or_else(|| MetaError::unavailable("the group is being formed"))
    }

    /// A volume by id.
    pub fn volume(&self, id: VolumeId) -> Result<&VolumeRecord> {
        self.volumes.get(&id).ok_or_else(|| self.no_volume(id))
    }

    /// A volume by name.
    #[must_use]
    pub fn volume_named(&self, name: &str) -> Option<VolumeId> {
        self.volumes.iter().find(|(_, volume)| volume.name == name).map(|(id, _)| *id)
    }

    /// A group of a volume.
    pub fn group(&self, (volume, pg): (VolumeId, PgId)) -> Result<&PgRecord> {
        self.volume(volume)?.pgs.get(pg_index(pg)).ok_or_else(|| no_group(pg))
    }

    fn group_mut(&mut self, (volume, pg): (VolumeId, PgId)) -> Result<&mut PgRecord> {
        self.volume_mut(volume)?.pgs.get_mut(pg_index(pg)).ok_or_else(|| no_group(pg))
    }

    fn volume_mut(&mut self, id: VolumeId) -> Result<&mut VolumeRecord> {
        let unknown = self.no_volume(id);
        self.volumes.get_mut(&id).ok_or(unknown)
    }

    fn no_volume(&self, id: VolumeId) -> MetaError {
        if self.dropped.contains(&id) {
            MetaError::VolumeDropped { id }
        } else {
            MetaError::UnknownVolumeId { id }
        }
    }
}

/// What a command did, for the one who proposed it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Applied {
    /// The cluster's id: the first that was proposed.
    Cluster(ClusterId),
    /// Nothing to tell.
    Done,
    /// The node's id.
    Node(ClusterId, NodeId),
    /// The volume as it is now.
    Volume(VolumeInfo),
}

/// The writer's right to change the volume: its epoch is the newest granted one.
fn check_epoch(volume: &VolumeRecord, epoch: VolumeEpoch) -> Result<()> {
    if volume.epoch == epoch { Ok(()) } else { Err(MetaError::Fenced { current: volume.epoch }) }
}

fn no_group(pg: PgId) -> MetaError {
    MetaError::refused(format!("the volume has no protection group {pg}"))
}

fn pg_index(pg: PgId) -> usize {
    usize::try_from(pg.0).unwrap_or(usize::MAX)
}
