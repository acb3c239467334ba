//! What can be asked of the state machine. These are the entries of the Raft log: a variant or field once written
//! stays readable.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use sextant_redo::{ClusterId, Geometry, MembershipEpoch, NodeId, PgId, Segments, VolumeEpoch, VolumeId};

use super::{Applied, NodeRecord};
use crate::{Result, WriterInfo};

/// A change of the metadata.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// Names the cluster; the first one counts.
    InitCluster {
        /// Random, drawn by the leader.
        cluster: ClusterId,
    },
    /// Puts a metadata member's data folder on record; another folder under the same id is refused.
    JoinMember {
        /// Member.
        id: u64,
        /// Folder.
        uuid: String,
    },
    /// Registers a storage node or updates its addresses.
    RegisterNode {
        /// As it says itself.
        node: NodeRecord,
        /// The cluster it believes to be in.
        cluster: Option<ClusterId>,
    },
    /// Creates a volume with its first group.
    CreateVolume {
        /// Unique.
        name: String,
        /// Page spread.
        geometry: Geometry,
        /// What its segments are; older entries of the log do not say, and mean full ones.
        #[serde(default, skip_serializing_if = "Segments::is_full")]
        segments: Segments,
        /// Nodes that live, as the leader sees it.
        alive: BTreeSet<NodeId>,
    },
    /// Grants the next epoch, if `expected` is still the newest: two grants that race end with one.
    Acquire {
        /// Volume.
        volume: VolumeId,
        /// The newest epoch when the leader decided.
        expected: VolumeEpoch,
        /// The new writer; its epoch is set here.
        writer: WriterInfo,
    },
    /// Forgets the writer.
    Release {
        /// Volume.
        volume: VolumeId,
        /// Who.
        instance: String,
        /// As granted.
        epoch: VolumeEpoch,
    },
    /// Drops a volume, if `expected` is still its newest epoch. Dropping it again changes nothing.
    DropVolume {
        /// Volume.
        volume: VolumeId,
        /// The newest epoch when the leader decided.
        expected: VolumeEpoch,
    },
    /// A node that left a group has no copy of it any more: it may be chosen again under another writer.
    CopyGone {
        /// Volume.
        volume: VolumeId,
        /// Group.
        pg: PgId,
        /// The group's membership epoch when the node looked.
        membership: MembershipEpoch,
        /// The node.
        node: NodeId,
    },
    /// Adds a group.
    AddPg {
        /// Volume.
        volume: VolumeId,
        /// As granted.
        epoch: VolumeEpoch,
        /// The next one.
        pg: PgId,
        /// Nodes that live, as the leader sees it.
        alive: BTreeSet<NodeId>,
    },
    /// Records segments that exist.
    MarkCreated {
        /// Volume.
        volume: VolumeId,
        /// As granted.
        epoch: VolumeEpoch,
        /// Group.
        pg: PgId,
        /// The group's membership epoch under which they were made; older entries of the log do not say.
        #[serde(default)]
        membership: Option<MembershipEpoch>,
        /// Where.
        nodes: Vec<NodeId>,
    },
    /// Begins to replace a member; the successor is chosen here.
    BeginReplacement {
        /// Volume.
        volume: VolumeId,
        /// Group.
        pg: PgId,
        /// The group's membership epoch when this was decided.
        membership: MembershipEpoch,
        /// Who is to be replaced.
        old: NodeId,
        /// The leader decided so by itself.
        automatic: bool,
        /// Nodes that live, as the leader sees it.
        alive: BTreeSet<NodeId>,
    },
    /// Records that a successor has all log that its group made durable.
    MarkHydrated {
        /// Volume.
        volume: VolumeId,
        /// As granted: a writer that was superseded cannot say so.
        epoch: VolumeEpoch,
        /// Group.
        pg: PgId,
        /// The successor.
        new: NodeId,
    },
    /// Ends a replacement: the successor stays, the old member leaves. Only once the successor is hydrated.
    FinishReplacement {
        /// Volume.
        volume: VolumeId,
        /// Group.
        pg: PgId,
        /// The group's membership epoch when this was decided.
        membership: MembershipEpoch,
        /// Who leaves.
        old: NodeId,
        /// Who stays.
        new: NodeId,
    },
    /// Ends a replacement the other way: the old member stays, the successor leaves.
    RevertReplacement {
        /// Volume.
        volume: VolumeId,
        /// Group.
        pg: PgId,
        /// The group's membership epoch when this was decided.
        membership: MembershipEpoch,
        /// Who stays.
        old: NodeId,
        /// Who leaves.
        new: NodeId,
    },
}

impl fmt::Display for Command {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self {
            Command::InitCluster { .. } => "init cluster",
            Command::JoinMember { .. } => "join member",
            Command::RegisterNode { .. } => "register node",
            Command::CreateVolume { .. } => "create volume",
            Command::Acquire { .. } => "acquire",
            Command::Release { .. } => "release",
            Command::DropVolume { .. } => "drop volume",
            Command::CopyGone { .. } => "copy gone",
            Command::AddPg { .. } => "add protection group",
            Command::MarkCreated { .. } => "mark created",
            Command::BeginReplacement { .. } => "begin replacement",
            Command::MarkHydrated { .. } => "mark hydrated",
            Command::FinishReplacement { .. } => "finish replacement",
            Command::RevertReplacement { .. } => "revert replacement",
        };
        f.write_str(name)
    }
}

/// The answer to a command: what it did, or why it did nothing.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Outcome(pub Result<Applied>);
