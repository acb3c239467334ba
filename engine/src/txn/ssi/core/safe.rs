//! Safe snapshots (Ports and Grittner, section 4.2): whoever only reads, with such a snapshot, is part of no cycle,
//! whatever it reads; so nothing of it has to be noted, and it is never refused.
//!
//! A reader closes `T1 -> T2 -> T3` only as T1, and only when its snapshot sees T3 and misses T2. So a snapshot is safe when
//! nobody whom it misses commits having missed somebody whom it sees. Whom it may miss is known when it is taken: those who
//! write and are not over. Each of them is judged when it ends.

use std::collections::BTreeSet;

use sextant_redo::Lsn;

use super::entry::{Entry, Phase};
use super::{Ssi, Sxact};

/// A snapshot that is to be judged.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(crate) struct Deferred(u64);

/// What is known of a snapshot.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Safety {
    /// Somebody who decides it has not ended.
    Open,
    Safe,
    /// It must not be used; another one sees what made it so when it is taken at this LSN or above.
    Unsafe {
        until: Lsn,
    },
}

/// See [`Deferred`].
#[derive(Debug)]
pub(super) struct Judged {
    snapshot: Lsn,
    /// Who may still commit and decide it.
    undecided: BTreeSet<Sxact>,
    /// The commit that made it unsafe.
    spoiled: Option<Lsn>,
}

impl Ssi {
    /// A snapshot of somebody who will only read, not below any before, is to be judged.
    pub(crate) fn defer(&mut self, snapshot: Lsn) -> Deferred {
        self.newest = self.newest.max(snapshot);
        self.forget();
        let mut judged = Judged { snapshot, undecided: BTreeSet::new(), spoiled: None };
        for (id, entry) in &self.txns {
            match entry.phase {
                _ if entry.read_only || entry.is_over_at(snapshot) => {}
                Phase::Doomed => {}
                Phase::Active | Phase::Prepared { .. } => _ = judged.undecided.insert(*id),
                Phase::Committed { last, .. } if self.spoils(entry, snapshot) => {
                    judged.spoiled = judged.spoiled.max(Some(last));
                }
                // It has read all that it ever will.
                Phase::Committed { .. } => {}
            }
        }
        self.last += 1;
        let id = Deferred(self.last);
        self.deferred.insert(id, judged);
        id
    }

    /// What is known by now.
    pub(crate) fn safety(&self, id: Deferred) -> Safety {
        match self.deferred.get(&id) {
            Some(Judged { spoiled: Some(until), .. }) => Safety::Unsafe { until: *until },
            Some(judged) if !judged.undecided.is_empty() => Safety::Open,
            Some(_) | None => Safety::Safe,
        }
    }

    /// Nobody asks any more.
    pub(crate) fn judge_no_more(&mut self, id: Deferred) {
        self.deferred.remove(&id);
    }

    /// Whether anybody asks.
    pub(crate) fn is_judging(&self) -> bool {
        !self.deferred.is_empty()
    }

    /// `me` has ended, at `lsn` if it has committed a write.
    pub(super) fn decide(&mut self, me: Sxact, lsn: Option<Lsn>) {
        if self.deferred.is_empty() {
            return;
        }
        let mut deferred = std::mem::take(&mut self.deferred);
        for judged in deferred.values_mut() {
            let is_missed = judged.undecided.remove(&me) && lsn.is_some_and(|lsn| lsn > judged.snapshot);
            if is_missed && self.txns.get(&me).is_some_and(|entry| self.spoils(entry, judged.snapshot)) {
                judged.spoiled = judged.spoiled.max(lsn);
            }
        }
        self.deferred = deferred;
    }

    /// Whether one who is missed by `snapshot` has itself missed somebody whom `snapshot` sees. What it missed and is
    /// forgotten is seen by every snapshot of now.
    fn spoils(&self, missed: &Entry, snapshot: Lsn) -> bool {
        let is_seen = |id: &Sxact| self.txns.get(id).is_some_and(|t3| t3.may_be_seen_at(snapshot));
        missed.missed_before.is_some() || missed.missed.iter().any(is_seen)
    }
}
