//! What can go wrong with the metadata service, and what the caller can do about it.

use std::net::SocketAddr;

use serde::{Deserialize, Serialize};
use sextant_redo::{ClusterId, MembershipEpoch, NodeId, VolumeEpoch, VolumeId};

/// Result of this crate's calls.
pub type Result<T, E = MetaError> = std::result::Result<T, E>;

/// An error of the metadata service. Travels from server to client as it is.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, Serialize, Deserialize)]
#[non_exhaustive]
pub enum MetaError {
    /// No leader, no quorum, or no answer in time. What was asked may or may not have happened; every call of
    /// [`crate::MetaClient`] may be made again. Data and open volumes are not affected.
    #[error("the metadata service is unavailable: {reason}; committed data is safe, try again")]
    Unavailable {
        /// What was seen.
        reason: String,
    },
    /// Asked a member that does not lead. [`crate::MetaClient`] follows by itself.
    #[error("this metadata member does not lead; ask {}", .leader.map_or("another one".to_owned(), |l| l.to_string()))]
    NotLeader {
        /// Who leads, when known.
        leader: Option<SocketAddr>,
    },
    /// Another instance holds the writer lease.
    #[error(
        "the volume is open at {holder}, whose lease runs for another {remaining_ms} ms at most; try again then"
    )]
    LeaseHeld {
        /// The instance.
        holder: String,
        /// At most, in milliseconds.
        remaining_ms: u64,
    },
    /// The epoch is over: another writer was granted a newer one.
    #[error(
        "fenced: the volume's epoch is now {current}; this writer must stop. Acknowledged commits are safe"
    )]
    Fenced {
        /// The newest granted epoch.
        current: VolumeEpoch,
    },
    /// The protection group's members have changed since the caller looked.
    #[error(
        "the protection group's membership epoch is now {current}; nothing was changed. Look at its members again"
    )]
    StaleMembership {
        /// The current membership epoch.
        current: MembershipEpoch,
    },
    /// Six storage nodes, two in each of three availability zones, are needed to place a protection group.
    #[error("a protection group needs {needed}; {have}. Start more storage nodes, then try again")]
    NotEnoughNodes {
        /// What is needed, in words.
        needed: String,
        /// What there is, in words.
        have: String,
    },
    /// The caller belongs to another cluster.
    #[error(
        "this is cluster {ours}, and the caller's data belongs to cluster {theirs}; nothing was changed. Check the addresses"
    )]
    WrongCluster {
        /// The cluster that answered.
        ours: ClusterId,
        /// The cluster that the caller named.
        theirs: ClusterId,
    },
    /// No such volume.
    #[error("there is no volume \"{name}\"")]
    UnknownVolume {
        /// As asked for.
        name: String,
    },
    /// No volume with that id.
    #[error("there is no volume with id {id}")]
    UnknownVolumeId {
        /// As asked for.
        id: VolumeId,
    },
    /// The volume was dropped: its writer, if one still runs, must stop.
    #[error(
        "volume {id} was dropped: nothing of it can be read or written any more, and its space is being freed"
    )]
    VolumeDropped {
        /// As asked for.
        id: VolumeId,
    },
    /// No such storage node; it registers again.
    #[error("storage node {node} is not registered; register it first")]
    UnknownNode {
        /// As asked for.
        node: NodeId,
    },
    /// The request makes no sense, or breaks a rule; asking again will not help.
    #[error("refused: {reason}")]
    Refused {
        /// Which rule.
        reason: String,
    },
    /// This metadata process cannot go on: its disk failed, its folder is damaged or belongs elsewhere, its port is
    /// taken. Nothing that a quorum holds is lost.
    #[error("the metadata process stops: {reason}")]
    Fatal {
        /// What happened and what to do.
        reason: String,
    },
}

impl MetaError {
    /// True when the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            MetaError::Unavailable { .. }
                | MetaError::NotLeader { .. }
                | MetaError::LeaseHeld { .. }
                | MetaError::NotEnoughNodes { .. }
        )
    }

    pub(crate) fn unavailable(reason: impl ToString) -> MetaError {
        MetaError::Unavailable { reason: reason.to_string() }
    }

    pub(crate) fn refused(reason: impl ToString) -> MetaError {
        MetaError::Refused { reason: reason.to_string() }
    }

    pub(crate) fn fatal(reason: impl ToString) -> MetaError {
        MetaError::Fatal { reason: reason.to_string() }
    }
}
