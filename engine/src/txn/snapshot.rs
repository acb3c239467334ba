//! Snapshots: a snapshot is an LSN. While one is in use it is registered here, and nothing that it may still see is
//! reclaimed.
//!
//! What must hold: registrations are entered in the order of their LSNs, and the horizon is computed under the same
//! mutex under which the VDL is read for a new one; so no snapshot is ever taken below a horizon already given out.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;
use sextant_redo::Lsn;
use sextant_volume::LogStore;

use super::{Own, Tracked};

/// What a statement sees. Cheap to clone; keep a clone for as long as something reads with it.
#[derive(Clone, Debug)]
pub struct Snapshot {
    /// Sees what was committed at or below.
    pub lsn: Lsn,
    /// Sees also what this transaction wrote ...
    pub(crate) own: Own,
    /// ... in commands below this one.
    pub command: u32,
    /// Whose reads these are, when that matters (SERIALIZABLE).
    pub(crate) tracked: Option<Arc<Tracked>>,
    /// Held, not read.
    pub(super) _pin: Arc<Pin>,
}

#[derive(Debug, Default)]
struct Registered {
    next: u64,
    /// Registration number to LSN; both only grow, so the first entry is the oldest in both senses.
    in_use: BTreeMap<u64, Lsn>,
}

/// All snapshots in use.
#[derive(Debug, Default)]
pub(crate) struct Snapshots {
    registered: Mutex<Registered>,
}

/// One registration; ends when dropped.
#[derive(Debug)]
pub(crate) struct Pin {
    pub(crate) lsn: Lsn,
    number: u64,
    owner: Arc<Snapshots>,
}

impl Drop for Pin {
    fn drop(&mut self) {
        self.owner.registered.lock().in_use.remove(&self.number);
    }
}

/// How far everybody is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Horizon {
    /// Every snapshot in use, and every later one, sees what was committed at or below.
    pub(crate) lsn: Lsn,
    /// Every registration in use has at least this number.
    pub(crate) number: u64,
}

impl Snapshots {
    /// A snapshot of now.
    pub(crate) fn take(self: &Arc<Self>, store: &dyn LogStore) -> Arc<Pin> {
        let mut registered = self.registered.lock();
        let lsn = store.vdl();
        let number = registered.next;
        registered.next += 1;
        registered.in_use.insert(number, lsn);
        Arc::new(Pin { lsn, number, owner: self.clone() })
    }

    /// See [`Horizon`].
    pub(crate) fn horizon(&self, store: &dyn LogStore) -> Horizon {
        let registered = self.registered.lock();
        match registered.in_use.first_key_value() {
            Some((number, lsn)) => Horizon { lsn: *lsn, number: *number },
            None => Horizon { lsn: store.vdl(), number: registered.next },
        }
    }

    /// The oldest in use.
    pub(crate) fn oldest(&self) -> Option<Lsn> {
        self.registered.lock().in_use.first_key_value().map(|(_, lsn)| *lsn)
    }

    /// The number of the oldest registration in use, and of the next one.
    pub(crate) fn numbers(&self) -> (Option<u64>, u64) {
        let registered = self.registered.lock();
        (registered.in_use.first_key_value().map(|(number, _)| *number), registered.next)
    }

    /// The number that the next registration gets: whoever is registered now has a lower one.
    pub(crate) fn next_number(&self) -> u64 {
        self.registered.lock().next
    }
}

#[cfg(test)]
mod tests {
    use sextant_volume::memory::MemoryStore;

    use super::*;

    #[test]
    fn the_horizon_is_the_oldest_in_use() {
        let store = MemoryStore::new();
        let snapshots = Arc::new(Snapshots::default());
        let first = snapshots.take(&*store);
        let second = snapshots.take(&*store);
        assert_eq!(snapshots.horizon(&*store).number, 0);
        drop(first);
        assert_eq!(snapshots.horizon(&*store).number, 1);
        let mark = snapshots.next_number();
        let third = snapshots.take(&*store);
        drop(second);
        assert!(snapshots.horizon(&*store).number >= mark);
        drop(third);
        assert_eq!(snapshots.horizon(&*store).number, 3);
    }
}
