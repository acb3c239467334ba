//! The Raft group: the only place that names openraft (an alpha, pinned; an upgrade is a decision record and a full
//! test run). The rest of the crate sees [`Group`]: propose a command, wait for a linearizable read, who leads.
//!
//! Its pitfalls, and what is done about each:
//!
//! 1. *Vote and log I/O in one order, no holes, callbacks after the flush.* One thread owns the writes
//!    ([`disk::Disk`]), takes them in the order of arrival, makes a batch durable by one commit and calls back in that
//!    order. [`log_store`] refuses to open a log with a hole. openraft's own `Suite` runs over the store.
//! 2. *Reads must not go back in time after a restart.* The committed id is saved through the same queue, a restarted
//!    leader must be elected anew (`enable_leader_restore` off), and every answer waits for ReadIndex.
//! 3. *Damaged or wiped storage is undefined behaviour.* Every value carries a CRC32C over its key and bytes; damage
//!    stops the process. A folder that once belonged to the group and is empty, or another folder under a known member
//!    id, is refused at start ([`crate::server`]).
//! 4. *No id twice.* Ids are log indexes ([`crate::state`]); a member id is tied to its folder's uuid.
//! 5. *Parallel membership changes.* The group is formed once with all its members and nothing here changes it.
//! 6. *Snapshots while `apply` runs.* The builder owns a copy of the state; the snapshot is one redb transaction
//!    (durable as a whole or not at all) and the log is purged only after it, through the same queue.
//! 7. *An RPC without a limit wedges replication.* Each RPC runs under its soft limit, connecting included, and its
//!    connection is dropped with it ([`network`]).
//! 8. *ReadIndex for what fences.* [`Group::read_barrier`]; nothing uses a leader lease. A leader without a quorum answers
//!    [`crate::MetaError::Unavailable`], which is retryable.
//! 9. *A borrow of `metrics()` that is kept blocks the core.* It is cloned in the same expression, always.
//! 10. *Answer every responder; `apply` is pure.* See [`machine`] and [`crate::state`].
//! 11. *Two leaders may share a term.* Where leadership matters (leases) its id comes with the read barrier, and one
//!     process leads a term at most once, so (this process, term) names one leadership.
//! 12. *Data is fenced by the volume epoch*, never by leading: [`crate::state::Command::Acquire`] compares and sets it.

mod disk;
mod group;
mod log_store;
mod machine;
mod network;
mod store;
#[cfg(test)]
pub(crate) mod tests;
mod wire;

pub(crate) use group::{COMMAND_MAX, Group, starting};
pub(crate) use store::Store;
pub(crate) use wire::{KIND_RAFT_REPLY, SNAPSHOT_MAX, is_rpc, is_snapshot_part};

use crate::state::{Command, Outcome};

openraft::declare_raft_types!(
    /// Types of the metadata group.
    pub(crate) Types:
        D = Command,
        R = Outcome,
        NodeId = u64,
        Node = openraft::BasicNode,
);

/// Openraft's handle.
type Raft = openraft::Raft<Types, machine::Machine>;
type LogId = openraft::type_config::alias::LogIdOf<Types>;
type Vote = openraft::type_config::alias::VoteOf<Types>;
type Entry = openraft::type_config::alias::EntryOf<Types>;
type Membership = openraft::type_config::alias::StoredMembershipOf<Types>;
type SnapshotMeta = openraft::type_config::alias::SnapshotMetaOf<Types>;
