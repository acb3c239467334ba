//! What a table's writers leave for the cleaner: rows that they deleted, index entries that they made obsolete.
//!
//! In memory and bounded. What does not fit, and what was noted before a crash, is found by a whole vacuum.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;

use super::{RowId, RowIds};
use crate::txn::{METRICS, TxId};

/// Most candidates of one table.
const LIMIT: usize = 100_000;

/// Something that is garbage once its writer is committed and everybody sees that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Who made it garbage.
    pub(super) by: TxId,
    /// The row that was deleted, or that has another key now.
    pub(super) row: RowId,
    /// In the latter case, the index and the key that the row had.
    pub(super) entry: Option<(u32, Vec<u8>)>,
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
