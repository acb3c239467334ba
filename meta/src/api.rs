//! What clients and members say to each other: frames of [`sextant_redo::frame`] with JSON payloads on one TCP port.
//!
//! | kind | payload | answered by |
//! | --- | --- | --- |
//! | 1 | [`Request`] | kind 2: `Result<Reply, MetaError>` |
//! | 16-31 | Raft, between members | kind 32 |
//!
//! A reply carries the request id of its request; replies to one connection may come in any order. A reply that is longer
//! than a frame comes as frames of kind 3 followed by one of kind 2, whose payloads are put together.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sextant_redo::{
    AzId, ClusterId, Geometry, MembershipEpoch, NodeId, PgId, Segments, VolumeEpoch, VolumeId,
};

use crate::{ClusterView, Grant, VolumeInfo};

/// Frame kind of a client's request.
pub const KIND_REQUEST: u8 = 1;
/// Frame kind of the answer, or of its last part.
pub const KIND_REPLY: u8 = 2;
/// Frame kind of the parts of a long answer before the last.
pub const KIND_REPLY_PART: u8 = 3;
/// Bytes of each of these parts.
pub const REPLY_PART_BYTES: usize = 1 << 20;

/// A client's request. All but [`Request::Hello`] are for the leader.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub enum Request {
    /// See [`crate::MetaClient::cluster`].
    Cluster,
    /// See [`crate::MetaClient::register_node`].
    RegisterNode {
        /// Identity of the data folder.
        uuid: String,
        /// Zone.
        az: AzId,
        /// Segment service.
        addr: SocketAddr,
        /// `/metrics`.
        http: SocketAddr,
        /// The cluster that the folder belongs to, if any yet.
        cluster: Option<ClusterId>,
    },
    /// See [`crate::MetaClient::heartbeat`].
    Heartbeat {
        /// The sender.
        node: NodeId,
    },
    /// See [`crate::MetaClient::create_volume`].
    CreateVolume {
        /// Unique name.
        name: String,
        /// Page spread.
        geometry: Geometry,
        /// What its segments are; left out for full ones, as it was before there were others.
        #[serde(default, skip_serializing_if = "Segments::is_full")]
        segments: Segments,
    },
    /// See [`crate::MetaClient::volume`].
    Volume {
        /// Unique name.
        name: String,
    },
    /// See [`crate::MetaClient::acquire_writer`].
    Acquire {
        /// The volume.
        volume: VolumeId,
        /// The engine's name.
        instance: String,
        /// SQL front.
        advertise: String,
        /// `/metrics`.
        http: String,
    },
    /// See [`crate::MetaClient::renew`].
    Renew {
        /// The volume.
        volume: VolumeId,
        /// The engine's name.
        instance: String,
        /// As granted.
        epoch: VolumeEpoch,
    },
    /// See [`crate::MetaClient::release`].
    Release {
        /// The volume.
        volume: VolumeId,
        /// The engine's name.
        instance: String,
        /// As granted.
        epoch: VolumeEpoch,
    },
    /// See [`crate::MetaClient::drop_volume`].
    DropVolume {
        /// The volume.
        volume: VolumeId,
    },
    /// See [`crate::MetaClient::dropped`].
    Dropped {
        /// The cluster that the caller belongs to.
        cluster: ClusterId,
        /// Which are asked about.
        volumes: Vec<VolumeId>,
    },
    /// See [`crate::MetaClient::copy_gone`].
    CopyGone {
        /// The volume.
        volume: VolumeId,
        /// The group.
        pg: PgId,
        /// Its membership epoch as the node knows it.
        membership: MembershipEpoch,
        /// The node.
        node: NodeId,
    },
    /// See [`crate::MetaClient::add_pg`].
    AddPg {
        /// The volume.
        volume: VolumeId,
        /// As granted.
        epoch: VolumeEpoch,
        /// The group wanted.
        pg: PgId,
    },
    /// See [`crate::MetaClient::mark_created`].
    MarkCreated {
        /// The volume.
        volume: VolumeId,
        /// As granted.
        epoch: VolumeEpoch,
        /// The group.
        pg: PgId,
        /// Its membership epoch under which they were made.
        membership: MembershipEpoch,
        /// Members whose segment exists.
        nodes: Vec<NodeId>,
    },
    /// See [`crate::MetaClient::successor`].
    Successor {
        /// The volume.
        volume: VolumeId,
        /// The group.
        pg: PgId,
        /// The member that would be replaced.
        old: NodeId,
    },
    /// See [`crate::MetaClient::begin_replacement`].
    BeginReplacement {
        /// The volume.
        volume: VolumeId,
        /// The group.
        pg: PgId,
        /// Its membership epoch as the caller knows it.
        membership: MembershipEpoch,
        /// The member to be replaced.
        old: NodeId,
    },
    /// See [`crate::MetaClient::mark_hydrated`].
    MarkHydrated {
        /// The volume.
        volume: VolumeId,
        /// As granted.
        epoch: VolumeEpoch,
        /// The group.
        pg: PgId,
        /// The successor.
        new: NodeId,
    },
    /// See [`crate::MetaClient::finish_replacement`].
    FinishReplacement {
        /// The volume.
        volume: VolumeId,
        /// The group.
        pg: PgId,
        /// Its membership epoch as the caller knows it.
        membership: MembershipEpoch,
        /// Who leaves.
        old: NodeId,
        /// Who stays.
        new: NodeId,
    },
    /// See [`crate::MetaClient::revert_replacement`].
    RevertReplacement {
        /// The volume.
        volume: VolumeId,
        /// The group.
        pg: PgId,
        /// Its membership epoch as the caller knows it.
        membership: MembershipEpoch,
        /// Who stays.
        old: NodeId,
        /// Who leaves.
        new: NodeId,
    },
    /// A member tells the group which data folder it runs on, so that a wiped one is recognised.
    JoinMember {
        /// Member id.
        id: u64,
        /// Identity of its data folder.
        uuid: String,
    },
    /// A member asks another one, before it starts, what that one knows. Answered by any member at any time.
    Hello {
        /// The asking member.
        from: u64,
    },
}

/// A successful answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Reply {
    /// To [`Request::Cluster`].
    Cluster(ClusterView),
    /// To [`Request::RegisterNode`].
    Node {
        /// The cluster.
        cluster: ClusterId,
        /// The node's id.
        node: NodeId,
    },
    /// To [`Request::CreateVolume`], [`Request::Volume`], [`Request::AddPg`], [`Request::MarkCreated`] and the steps of a
    /// replacement.
    Volume(VolumeInfo),
    /// To [`Request::Acquire`].
    Grant(Grant),
    /// To [`Request::Renew`].
    Renewed {
        /// Full length again.
        lease_ms: u64,
    },
    /// To [`Request::Heartbeat`], [`Request::Release`], [`Request::DropVolume`], [`Request::CopyGone`],
    /// [`Request::JoinMember`].
    Done,
    /// To [`Request::Dropped`]: those that were.
    Dropped(Vec<VolumeId>),
    /// To [`Request::Successor`].
    Successor {
        /// Who would succeed.
        new: NodeId,
    },
    /// To [`Request::Hello`].
    Hello(Hello),
}

/// What a member knows about its group, from its own disk: not linearizable.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello {
    /// The answering member.
    pub id: u64,
    /// The cluster, once known.
    pub cluster: Option<ClusterId>,
    /// Whether it has any Raft history (a vote or an entry).
    pub has_history: bool,
    /// The data folder on record for the asking member.
    pub your_uuid: Option<String>,
}
