//! What is known of one transaction.

use std::collections::{BTreeMap, BTreeSet};

use sextant_redo::Lsn;

use super::Sxact;
use super::ranges::RangeSet;
use crate::txn::TxId;

/// How far it is. Orders are numbers of one count, which prepares and commits take in turn.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Active,
    /// It must not commit: it is told at its next step.
    Doomed,
    /// Its commit can no longer be refused; its commit record has no LSN that is known here.
    Prepared {
        order: u64,
    },
    /// What stands for several has the bounds of all of them.
    Committed {
        prepared: u64,
        order: u64,
        first: Lsn,
        last: Lsn,
    },
}

/// See the module.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) snapshot: Lsn,
    /// It was declared so, or has committed without a write. It is as if it had committed at its snapshot.
    pub(super) read_only: bool,
    pub(super) phase: Phase,
    /// What it has read, by relation.
    pub(super) reads: BTreeMap<u32, RangeSet>,
    /// What it writes under.
    pub(super) ids: Vec<TxId>,
    /// Whose writes it missed: its edges out.
    pub(super) missed: BTreeSet<Sxact>,
    /// Who missed its writes: its edges in.
    pub(super) missed_by: BTreeSet<Sxact>,
    /// The order of the first prepare among those that it missed and that are forgotten.
    pub(super) missed_before: Option<u64>,
}

impl Entry {
    pub(super) fn new(snapshot: Lsn, read_only: bool, phase: Phase) -> Entry {
        Entry {
            snapshot,
            read_only,
            phase,
            reads: BTreeMap::new(),
            ids: Vec::new(),
            missed: BTreeSet::new(),
            missed_by: BTreeSet::new(),
            missed_before: None,
        }
    }

    /// When it was prepared, if it was.
    pub(super) fn prepared(&self) -> Option<u64> {
        match self.phase {
            Phase::Active | Phase::Doomed => None,
            Phase::Prepared { order } => Some(order),
            Phase::Committed { prepared, .. } => Some(prepared),
        }
    }

    /// When it was known to have committed; above every order while it is not.
    pub(super) fn committed(&self) -> u64 {
        match self.phase {
            Phase::Committed { order, .. } => order,
            _ => u64::MAX,
        }
    }

    pub(super) fn is_committed(&self) -> bool {
        matches!(self.phase, Phase::Committed { .. })
    }

    pub(super) fn is_doomed(&self) -> bool {
        self.phase == Phase::Doomed
    }

    /// Whether a snapshot at `lsn` may see its writes; a commit whose LSN is not known yet may have any.
    pub(super) fn may_be_seen_at(&self, lsn: Lsn) -> bool {
        match self.phase {
            Phase::Active | Phase::Doomed => false,
            Phase::Prepared { .. } => true,
            Phase::Committed { first, .. } => first <= lsn,
        }
    }

    /// Whether it was over when a snapshot at `lsn` was taken.
    pub(super) fn is_over_at(&self, lsn: Lsn) -> bool {
        match self.phase {
            Phase::Committed { last, .. } => last <= lsn,
            _ => self.read_only && self.snapshot <= lsn,
        }
    }

    pub(super) fn note_missed_before(&mut self, order: u64) {
        self.missed_before = Some(self.missed_before.map_or(order, |known| known.min(order)));
    }
}
