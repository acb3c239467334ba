//! What a table's writers leave for the cleaner: rows that they deleted, index entries and large values that they made
//! obsolete, large values that their rollback would leave behind.
//!
//! In memory and bounded. What does not fit, and what was noted before a crash, is found by a whole vacuum.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{RowId, RowIds};
use crate::txn::{METRICS, TxId};

/// Most candidates of one table.
const LIMIT: usize = 100_000;

/// Something that is garbage once its writer is committed and everybody sees that; a value also if he rolls back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Who made it garbage.
    pub(super) by: TxId,
    /// The row that it is about.
    pub(super) row: RowId,
    pub(super) what: What,
}

/// What may be garbage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum What {
    /// The row: it was deleted.
    Row,
    /// The entry in an index, by its oid, of a key that the row had.
    Entry(u32, Vec<u8>),
    /// Large values of the row: one was written, which a rollback leaves behind, or is no longer referred to.
    Values,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Garbage {
    candidates: Mutex<VecDeque<Candidate>>,
    /// Candidates that did not fit.
    lost: AtomicU64,
}

/// What all handles of a table share.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub(crate) row_ids: RowIds,
    pub(super) garbage: Garbage,
}

impl Garbage {
    pub(super) fn add(&self, candidate: Candidate) {
        let mut candidates = self.candidates.lock();
        if candidates.len() < LIMIT {
            candidates.push_back(candidate);
        } else {
            self.lost.fetch_add(1, Ordering::Relaxed);
            METRICS.garbage_lost.inc();
        }
    }

    pub(super) fn take(&self) -> Option<Candidate> {
        self.candidates.lock().pop_front()
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.candidates.lock().len()
    }

    /// How many did not fit.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// A whole vacuum saw to them.
    pub(super) fn found(&self, lost: u64) {
        self.lost.fetch_sub(lost, Ordering::Relaxed);
    }
}
