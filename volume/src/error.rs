//! What can go wrong with a volume, and what the caller can do about it.

use sextant_redo::{PageId, PgId, Segments, VolumeEpoch, VolumeId};

/// An error of the storage driver.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum VolumeError {
    /// A newer writer has opened the volume. Nothing that was not acknowledged before is known to be durable; this
    /// instance must stop.
    #[error(
        "fenced: the volume was opened under epoch {current} and this writer has epoch {ours}; it must stop. \
         Acknowledged commits are safe; reconnect to the current writer"
    )]
    Fenced {
        /// This writer's epoch.
        ours: VolumeEpoch,
        /// The epoch that storage or metadata reported.
        current: VolumeEpoch,
    },
    /// The volume was dropped. This instance must stop.
    #[error(
        "volume {volume} was dropped: nothing of it can be read or written any more; this writer must stop"
    )]
    Dropped {
        /// Its id; a volume of the same name is another one.
        volume: VolumeId,
    },
    /// The volume exists and is made of other segments than were asked for. Nothing was changed.
    #[error(
        "volume \"{volume}\" was made with segments \"{made}\", not \"{wanted}\"; that is chosen once, when a volume is made. \
         Leave the choice out, or make a volume of another name"
    )]
    OtherSegments {
        /// Its name.
        volume: String,
        /// What it is made of.
        made: Segments,
        /// What was asked for.
        wanted: Segments,
    },
    /// Another writer holds the lease.
    #[error(
        "the volume is open at {holder}, whose lease runs for another {remaining_ms} ms at most; try again then"
    )]
    LeaseHeld {
        /// Who.
        holder: String,
        /// How long at most, in milliseconds.
        remaining_ms: u64,
    },
    /// Too few copies answer. Nothing is lost; it works again when nodes return.
    #[error(
        "{pg:?} has {answered} of {needed} copies needed to {what}; it goes on when storage nodes return"
    )]
    NoQuorum {
        /// The protection group.
        pg: PgId,
        /// "write", "open" ...
        what: &'static str,
        /// Copies that answered.
        answered: usize,
        /// Copies needed.
        needed: usize,
    },
    /// No copy could serve a page in time.
    #[error("{page:?} could not be read from any copy: {last}")]
    Unreadable {
        /// The page.
        page: PageId,
        /// The last copy's answer.
        last: String,
    },
    /// The metadata service cannot be reached or refuses.
    #[error("metadata service: {0}")]
    Meta(String),
    /// The driver was closed.
    #[error("the volume is closed")]
    Closed,
    /// A rule of the protocol was broken: a bug here, or damage that must not be hidden.
    #[error("protocol violation: {0}")]
    Protocol(String),
}

impl VolumeError {
    /// True when the volume is lost to this writer for good, whatever it does.
    #[must_use]
    pub fn is_final(&self) -> bool {
        matches!(self, VolumeError::Fenced { .. } | VolumeError::Dropped { .. })
    }

    /// True when the same call may succeed later.
    #[must_use]
    pub fn is_retryable(&self) -> bool {
        matches!(
            self,
            VolumeError::LeaseHeld { .. }
                | VolumeError::NoQuorum { .. }
                | VolumeError::Unreadable { .. }
                | VolumeError::Meta(_)
        )
    }
}
