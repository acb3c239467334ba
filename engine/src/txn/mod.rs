//! Transactions: identifiers, snapshots, commit table, versions, row locks.
//!
//! **A snapshot is an LSN.** A version names its transaction; a transaction's commit record has an LSN; a version is
//! visible when that LSN is at or below the snapshot's. Nothing is undone: what has no commit record never happened.
//!
//! | module | idea |
//! | --- | --- |
//! | `id`, `error` | names, levels of isolation, errors |
//! | `states`, `active`, `lookaside`, `commit_table` | what became of a transaction: newest ones in memory, all of them in pages |
//! | `snapshot`, `ages` | snapshots in use, and the horizon below which nobody reads |
//! | [`version`] | the header of every stored row version |
//! | `undo` | older versions as deltas in pages of their own; reclaiming them |
//! | `visibility` | which version a reader sees |
//! | `ssi` | SERIALIZABLE: who read what, who missed whose write, who must give way |
//! | `lock` | row and table locks that wait; deadlocks |
//! | `advisory` | locks of sessions on numbers |
//! | `savepoint`, `own` | subtransactions: what is taken back alone, and what belongs to the transaction |
//! | `transaction`, `system` | a transaction's life; all of it together |
//! | `drops` | trees made and dropped by transactions; freeing what nobody can find any more |
//! | `background` | the passes that reclaim undo, repair, free dropped trees |
//!
//! What must hold:
//! - The commit record's LSN is published under the log's lock, before the VDL can reach it: whoever takes a snapshot at
//!   or above it sees the transaction, so readers see commits in the order of the log.
//! - Locks are given up when the commit record is appended; the client is answered when it is durable. Who builds on a
//!   commit that is not durable yet has a later LSN and becomes durable later, or not at all.
//! - Who changes a row in place holds its row lock and, for the step itself, the leaf's latch.

mod active;
mod advisory;
mod ages;
mod attached;
mod background;
mod commit_table;
pub(crate) mod drops;
mod error;
mod id;
mod lock;
mod lookaside;
mod metrics;
mod own;
mod savepoint;
mod snapshot;
mod ssi;
mod states;
mod system;
mod transaction;
pub(crate) mod undo;
pub mod version;
pub(crate) mod visibility;

pub use advisory::{Advisory, Scope, SessionLocks};
pub use attached::Attached;
pub use error::TxnError;
pub use id::{FIRST_USER_OID, Isolation, Owner, TxId};
pub(crate) use lock::LockKey;
pub use lock::{LockWait, RowLock, TableLock};
pub(crate) use metrics::METRICS;
pub(crate) use own::Own;
pub use snapshot::Snapshot;
pub(crate) use ssi::{KeyRange, Tracked};
pub use states::Outcome;
pub use system::TransactionSystem;
pub use transaction::Transaction;
