//! Where an open volume stands, for /health and `sextant status`.

use std::net::SocketAddr;

use serde::Serialize;
use sextant_meta::Replacement;
use sextant_redo::{AzId, Lsn, MembershipEpoch, NodeId, PgId, VolumeEpoch, VolumeId};

/// An open volume.
#[derive(Debug, Clone, Serialize)]
pub struct VolumeStatus {
    /// Its id.
    pub volume: VolumeId,
    /// Its name.
    pub name: String,
    /// This writer's epoch.
    pub epoch: VolumeEpoch,
    /// Volume durable LSN.
    pub vdl: Lsn,
    /// Volume complete LSN.
    pub vcl: Lsn,
    /// The next LSN to be handed out.
    pub next_lsn: Lsn,
    /// Why the volume is lost to this instance, if it is.
    pub lost: Option<String>,
    /// Its protection groups. A moment old.
    pub groups: Vec<GroupStatus>,
    /// Storage nodes that hold segments of it. A moment old.
    pub nodes: Vec<NodeStatus>,
}

/// A protection group.
#[derive(Debug, Clone, Serialize)]
pub struct GroupStatus {
    /// Which.
    pub pg: PgId,
    /// Protection group complete LSN.
    pub pgcl: Lsn,
    /// Membership epoch.
    pub membership: MembershipEpoch,
    /// True when that epoch is recorded at a write quorum; until then writes need the older quorum too.
    pub settled: bool,
    /// Members that are being replaced.
    pub replacements: Vec<Replacement>,
    /// True when enough members are live to write.
    pub writable: bool,
    /// Batches kept for members that do not have them yet.
    pub retained_batches: usize,
    /// Its six segments, and those of successors.
    pub members: Vec<MemberStatus>,
}

/// A segment.
#[derive(Debug, Clone, Serialize)]
pub struct MemberStatus {
    /// On which node.
    pub node: NodeId,
    /// Segment complete LSN as last heard.
    pub scl: Lsn,
    /// True when new log is sent to it as it is made; false while it is away or being brought up to date.
    pub live: bool,
}

/// A storage node.
#[derive(Debug, Clone, Serialize)]
pub struct NodeStatus {
    /// Which.
    pub node: NodeId,
    /// In which availability zone.
    pub az: AzId,
    /// Where it answers.
    pub addr: SocketAddr,
    /// True when there is a connection.
    pub connected: bool,
    /// Usual time of a page read in microseconds; 0 before the first.
    pub read_latency_us: u64,
    /// What the last connection ended with.
    pub last_error: Option<String>,
}
