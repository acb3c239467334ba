//! SERIALIZABLE: snapshot isolation that notices what would not be serializable (SSI).
//!
//! After Cahill, Röhm, Fekete, "Serializable isolation for snapshot databases" (SIGMOD 2008), and Ports, Grittner,
//! "Serializable snapshot isolation in PostgreSQL" (VLDB 2012). Nobody waits for anybody: each transaction reads its
//! snapshot, and it is kept who *missed* whose write (an rw-antidependency). Every history under snapshot isolation that
//! is not serializable has two such edges in a row, `T1 -> T2 -> T3`, where T3 committed first; before such a structure is
//! whole one of its transactions is refused with 40001.
//!
//! An edge is found from either side:
//! - A reader enters what it reads *before* it reads (a SIREAD lock), and a writer looks for readers *after* it has
//!   written; so of a read and a write that race, the reader sees the version or the writer sees the lock.
//! - A reader that passes over a version which its snapshot does not see names that version's transaction.
//!
//! What must hold: the snapshot is taken under the mutex under which the transaction is entered, so nobody who committed
//! behind it is forgotten before; an id is entered before anything is written under it.
//!
//! A transaction that only reads and can wait (DEFERRABLE) asks for a snapshot with which it is no part of anything, and is
//! not tracked.
//!
//! | module | idea |
//! | --- | --- |
//! | [`core`] | who read what, who missed whom, who must give way; pure |
//! | `tracked` | the mutex around it, and a transaction's hold on it |
//! | `deferred` | waiting for a safe snapshot |

pub(super) mod core;
mod deferred;
mod tracked;

pub(crate) use self::core::KeyRange;
pub(crate) use tracked::{Serializable, Tracked};
