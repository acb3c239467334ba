//! The other copies of a segment, behind a seam: who they are, and asking them.
//!
//! What must hold: a call ends, with an answer or an error, within a bounded time. An answer may be to a question of long
//! ago; whoever takes it checks epochs as for anything that comes by the network.

mod own;
mod tcp;

use sextant_redo::wire::{Reply, Request, SegmentError};
use sextant_redo::{MembershipEpoch, NodeId, SegmentId, VolumeId};

use crate::disk::LocalFuture;

pub(crate) use own::Own;
pub use tcp::TcpPeers;

/// Who holds copies of a protection group, as the metadata service last told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Membership {
    /// The epoch of this member set.
    pub epoch: MembershipEpoch,
    /// Every member, in the group's order.
    pub members: Vec<NodeId>,
    /// Those of them that keep pages.
    pub full: Vec<NodeId>,
}

/// Why a peer gave no useful answer. Nothing was changed here; another peer may do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum PeerError {
    /// No connection, or it broke.
    #[error("{node} cannot be reached: {why}")]
    Unreachable {
        /// Which.
        node: NodeId,
        /// The reason.
        why: String,
    },
    /// No answer in time.
    #[error("{node} does not answer in time")]
    TimedOut {
        /// Which.
        node: NodeId,
    },
    /// It answered that it does not do that.
    #[error("{node} refuses: {error}")]
    Refused {
        /// Which.
        node: NodeId,
        /// Its error.
        error: SegmentError,
    },
    /// What it sent is no answer to the question, or breaks a rule.
    #[error("{node} sent something wrong: {what}")]
    Wrong {
        /// Which.
        node: NodeId,
        /// What is wrong.
        what: String,
    },
}

/// The seam.
pub trait Peers {
    /// The members of the segment's group; `None` when the metadata service has not told.
    fn members(&self, segment: SegmentId) -> Option<Membership>;

    /// Which of these volumes were dropped, as the metadata service says when it is asked; none when it does not answer.
    fn dropped(&self, volumes: Vec<VolumeId>) -> LocalFuture<'_, Vec<VolumeId>>;

    /// The groups that `node` has left without having said that its copy is gone, with their membership epochs.
    fn left(&self, node: NodeId) -> Vec<(SegmentId, MembershipEpoch)>;

    /// Tells the metadata service that `node`, no member under that membership epoch, has no copy. It may not hear it.
    fn copy_is_gone(&self, node: NodeId, segment: SegmentId, epoch: MembershipEpoch) -> LocalFuture<'_, ()>;

    /// A peer knows a newer member set: ask the metadata service soon.
    fn refresh(&self);

    /// Asks a node. A [`Reply::Error`] comes as [`PeerError::Refused`].
    fn call(&self, node: NodeId, request: Request) -> LocalFuture<'_, Result<Reply, PeerError>>;
}
