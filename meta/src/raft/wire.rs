//! Frames between members: kind by RPC, payload [`Envelope`] as JSON; the answer is `Result<reply, Refusal>` as JSON.
//!
//! The envelope says who speaks to whom in which cluster. A port that was given to another cluster's member, or to
//! another member, gets a refusal instead of foreign votes and entries.

use serde::{Deserialize, Serialize};
use sextant_redo::ClusterId;

use super::{SnapshotMeta, Vote};

/// AppendEntries.
pub(super) const APPEND: u8 = 16;
/// RequestVote.
pub(super) const VOTE: u8 = 17;
/// Pre-Vote.
pub(super) const PRE_VOTE: u8 = 18;
/// TransferLeader.
pub(super) const TRANSFER: u8 = 19;
/// A piece of a snapshot's bytes; has no answer. Pieces of one connection are put together.
pub(super) const SNAPSHOT_PART: u8 = 20;
/// The end of a snapshot: its meaning, and the length of what came before.
pub(super) const SNAPSHOT: u8 = 21;
/// The answer to any of them.
pub(crate) const KIND_RAFT_REPLY: u8 = 32;

/// Bytes of one snapshot piece.
pub(super) const SNAPSHOT_PART_BYTES: usize = 1 << 20;
/// Largest snapshot accepted from a peer, in bytes: a 128 TiB volume's placement is a tenth of it.
pub(crate) const SNAPSHOT_MAX: usize = 256 << 20;

/// Whether `kind` is an RPC of a peer.
pub(crate) fn is_rpc(kind: u8) -> bool {
    matches!(kind, APPEND | VOTE | PRE_VOTE | TRANSFER | SNAPSHOT)
}

/// Whether the payload belongs to the snapshot being received on this connection.
pub(crate) fn is_snapshot_part(kind: u8) -> bool {
    kind == SNAPSHOT_PART
}

/// Who speaks to whom.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Envelope<T> {
    pub(super) from: u64,
    pub(super) to: u64,
    /// The sender's cluster, once it knows it.
    pub(super) cluster: Option<ClusterId>,
    pub(super) body: T,
}

/// What a snapshot is.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct SnapshotEnd {
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    pub(super) bytes: usize,
}

/// Why an RPC was not handed to Raft.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
pub(super) enum Refusal {
    #[error("it belongs to cluster {ours}, and the sender to {theirs}")]
    WrongCluster { ours: ClusterId, theirs: ClusterId },
    #[error("it is member {ours}, and the message is for {meant}")]
    WrongMember { ours: u64, meant: u64 },
    #[error("the message makes no sense: {0}")]
    Malformed(String),
    #[error("it is starting")]
    Starting,
    #[error("its Raft has stopped: {0}")]
    Stopped(String),
}
