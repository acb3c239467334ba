//! What the metadata service knows, as clients see it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sextant_redo::{
    AzId, ClusterId, Geometry, GeometryEpoch, MembershipEpoch, NodeId, PgId, SegmentKind, Segments,
    VolumeEpoch, VolumeId,
};

/// A storage node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeInfo {
    /// Its id in the cluster: the Raft log index of its registration, never reused.
    pub id: NodeId,
    /// The identity of its data folder. A wiped machine has another uuid, so it is another node.
    pub uuid: String,
    /// Where it stands.
    pub az: AzId,
    /// Where its segments are served.
    pub addr: SocketAddr,
    /// Its `/metrics` and `/health`.
    pub http: SocketAddr,
    /// Whether the leader heard its heartbeat within the last three seconds. A hint, never a reason to fence.
    pub alive: bool,
}

/// One of the six places of a protection group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    /// The storage node.
    pub node: NodeId,
    /// Its availability zone.
    pub az: AzId,
    /// Its address now.
    pub addr: SocketAddr,
    /// Whether a writer has reported that the segment exists there.
    pub created: bool,
    /// What its segment keeps.
    #[serde(default, skip_serializing_if = "SegmentKind::is_full")]
    pub kind: SegmentKind,
}

/// A protection group and where it lies.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PgInfo {
    /// Its number in the volume.
    pub pg: PgId,
    /// Raised by each step of a membership change.
    pub membership: MembershipEpoch,
    /// Six members, two in each availability zone, on distinct nodes; behind them the successors of those that are being
    /// replaced.
    pub members: Vec<Member>,
    /// Replacements that are under way, at most two. The quorums follow from them: write = 4 of 6 of *every* choice
    /// between old and new (P18 section 4.1), or all full members of it.
    #[serde(default)]
    pub replacements: Vec<Replacement>,
    /// Nodes that left the group and have not said yet that their copy is gone.
    #[serde(default)]
    pub former: Vec<NodeId>,
}

/// A member and its successor, both of them members until the change is finished or reverted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replacement {
    /// Who is being replaced.
    pub old: NodeId,
    /// By whom: a node of the same availability zone that held no copy of this group when it was chosen.
    pub new: NodeId,
    /// Whether a writer has reported that the successor has all log that its group made durable.
    pub hydrated: bool,
    /// Whether the metadata leader began it by itself, since the old node was silent for too long.
    pub automatic: bool,
}

/// Who was granted the right to write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct WriterInfo {
    /// The engine's own name.
    pub instance: String,
    /// `host:port` of its SQL front.
    pub advertise: String,
    /// `host:port` of its `/metrics` and `/health`.
    pub http: String,
    /// The volume epoch it was granted.
    pub epoch: VolumeEpoch,
}

/// A volume.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VolumeInfo {
    /// Its id: the Raft log index of its creation, never reused.
    pub id: VolumeId,
    /// Its name, unique in the cluster.
    pub name: String,
    /// How pages map to protection groups.
    pub geometry: Geometry,
    /// What the segments of its protection groups are.
    #[serde(default, skip_serializing_if = "Segments::is_full")]
    pub segments: Segments,
    /// Raised by each added protection group.
    pub geometry_epoch: GeometryEpoch,
    /// The newest granted epoch; 0 before the first opening.
    pub epoch: VolumeEpoch,
    /// The last writer, unless it released its lease. Its lease may have lapsed.
    pub writer: Option<WriterInfo>,
    /// Its protection groups, in order.
    pub pgs: Vec<PgInfo>,
}

/// A member of the metadata group.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MetaMember {
    /// Its id.
    pub id: u64,
    /// Where it answers.
    pub addr: SocketAddr,
    /// The identity of its data folder, once it has joined.
    pub uuid: Option<String>,
}

/// Everything, at one point of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ClusterView {
    /// The cluster.
    pub cluster: ClusterId,
    /// The member that answered, which led at that moment.
    pub leader: Option<u64>,
    /// Its Raft term.
    pub term: u64,
    /// The metadata group.
    pub members: Vec<MetaMember>,
    /// Storage nodes by id.
    pub nodes: Vec<NodeInfo>,
    /// Volumes by id.
    pub volumes: Vec<VolumeInfo>,
}

/// The right to open a volume for write.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Grant {
    /// The new volume epoch; to be recorded at a write quorum of every protection group before anything else.
    pub epoch: VolumeEpoch,
    /// Renew well within this many milliseconds, or another instance may be granted the next epoch.
    pub lease_ms: u64,
    /// The volume as it is under that epoch.
    pub volume: VolumeInfo,
}
