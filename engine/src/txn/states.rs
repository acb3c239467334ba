//! Outcomes of the newest transactions, in memory: a ring of atomics that readers consult without a lock.
//!
//! What must hold: a reader never takes the outcome of one transaction for that of another, although slots are reused.
//! A slot is reused only after `base` has moved above the transaction that had it; a reader looks at `base` *after*
//! the slot, so a slot that was already reused is always noticed.

use std::sync::atomic::{AtomicU64, Ordering};

use sextant_redo::Lsn;

use super::TxId;

/// What became of a transaction.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Outcome {
    /// Not decided. It may commit later, above every LSN of now.
    InProgress,
    /// Its commit record has this LSN, which may still lie above the VDL.
    Committed(Lsn),
    /// Rolled back, or cut off by the end of an earlier engine: it never happened.
    Aborted,
}

/// Set in the slot of a transaction in progress, with its id below: who decides it replaces exactly that.
const IN_PROGRESS: u64 = 1 << 63;
const ABORTED: u64 = u64::MAX;

impl Outcome {
    /// As kept in a slot.
    fn encode(self, id: TxId) -> u64 {
        match self {
            Outcome::InProgress => IN_PROGRESS | id.0,
            Outcome::Committed(lsn) => lsn.0,
            Outcome::Aborted => ABORTED,
        }
    }

    fn decode(raw: u64) -> Outcome {
        match raw {
            ABORTED => Outcome::Aborted,
            raw if raw & IN_PROGRESS != 0 => Outcome::InProgress,
            lsn => Outcome::Committed(Lsn(lsn)),
        }
    }
}

/// See the module.
pub(crate) struct RecentOutcomes {
    slots: Box<[AtomicU64]>,
    /// Transactions below are not in the ring.
    base: AtomicU64,
}

impl RecentOutcomes {
    /// A ring of `len` slots for transactions from `first` on.
    pub(crate) fn new(len: usize, first: TxId) -> RecentOutcomes {
        RecentOutcomes {
            slots: (0..len).map(|_| AtomicU64::new(ABORTED)).collect(),
            base: AtomicU64::new(first.0),
        }
    }

    fn slot(&self, id: TxId) -> &AtomicU64 {
        &self.slots[(id.0 % self.slots.len() as u64) as usize]
    }

    /// Starts a transaction. Ids come in order, but two may be started by two threads at once.
    pub(crate) fn start(&self, id: TxId) {
        let lowest = (id.0 + 1).saturating_sub(self.slots.len() as u64);
        self.base.fetch_max(lowest, Ordering::AcqRel);
        self.slot(id).store(Outcome::InProgress.encode(id), Ordering::Release);
    }

    /// Decides a transaction, unless its slot belongs to a younger one by now (whoever asks looks elsewhere then).
    pub(crate) fn finish(&self, id: TxId, outcome: Outcome) {
        let before = Outcome::InProgress.encode(id);
        let after = outcome.encode(id);
        // A failure means that the slot was given away: see above.
        let _ = self.slot(id).compare_exchange(before, after, Ordering::AcqRel, Ordering::Acquire);
    }

    /// The outcome, or `None` when the ring does not know.
    pub(crate) fn get(&self, id: TxId) -> Option<Outcome> {
        let raw = self.slot(id).load(Ordering::Acquire);
        (id.0 >= self.base.load(Ordering::Acquire)).then(|| Outcome::decode(raw))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn outcomes_are_kept_until_their_slot_is_needed() {
        let ring = RecentOutcomes::new(4, TxId(10));
        assert_eq!(ring.get(TxId(9)), None);
        for id in 10..14 {
            ring.start(TxId(id));
        }
        ring.finish(TxId(10), Outcome::Committed(Lsn(77)));
        ring.finish(TxId(11), Outcome::Aborted);
        assert_eq!(ring.get(TxId(10)), Some(Outcome::Committed(Lsn(77))));
        assert_eq!(ring.get(TxId(11)), Some(Outcome::Aborted));
        assert_eq!(ring.get(TxId(12)), Some(Outcome::InProgress));
        ring.start(TxId(14));
        assert_eq!(ring.get(TxId(10)), None);
        assert_eq!(ring.get(TxId(14)), Some(Outcome::InProgress));
        ring.finish(TxId(10), Outcome::Aborted);
        assert_eq!(ring.get(TxId(14)), Some(Outcome::InProgress), "a late finish hits nobody else");
    }
}
