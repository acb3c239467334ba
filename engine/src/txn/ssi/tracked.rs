//! The mutex around the core, and a transaction's hold on it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use parking_lot::Mutex;
use sextant_redo::Lsn;
use tokio::sync::Notify;

use super::core::{KeyRange, Limits, Refused, Ssi, Sxact};
use crate::txn::{FIRST_USER_OID, METRICS, TxId, TxnError};

/// All serializable transactions of an engine.
#[derive(Debug)]
pub(crate) struct Serializable {
    pub(super) core: Mutex<Ssi>,
    /// Told when one ends while a snapshot is judged.
    pub(super) ended: Notify,
    /// Who waits for a safe snapshot.
    pub(super) waiting: AtomicUsize,
}

/// One of them, known to the transaction and to its snapshots.
#[derive(Debug)]
pub(crate) struct Tracked {
    all: Arc<Serializable>,
    id: Sxact,
}

impl Serializable {
    pub(crate) fn new() -> Arc<Serializable> {
        Arc::new(Serializable {
            core: Mutex::new(Ssi::new(Limits::default())),
            ended: Notify::new(),
            waiting: AtomicUsize::new(0),
        })
    }

    /// Begins one with the snapshot that `take` gives. No [`Tracked`]: nothing can come of it.
    pub(crate) fn begin<P>(
        self: &Arc<Self>,
        read_only: bool,
        take: impl FnOnce() -> (Lsn, P),
    ) -> (P, Option<Arc<Tracked>>) {
        let mut core = self.core.lock();
        let (snapshot, pin) = take();
        let begun = core.begin(snapshot, read_only);
        METRICS.serializable_kept.set(core.len() as i64);
        (pin, begun.map(|id| Arc::new(Tracked { all: self.clone(), id })))
    }

    /// An index goes; what was read in it counts as read in its table.
    pub(crate) fn index_goes(&self, index: u32, table: u32) {
        self.core.lock().index_goes(index, table);
    }
}

impl Tracked {
    fn ask(&self, f: impl FnOnce(&mut Ssi, Sxact) -> Result<(), Refused>) -> Result<(), TxnError> {
        f(&mut self.all.core.lock(), self.id).map_err(|Refused| {
            METRICS.serializable_refused.inc();
            TxnError::Dependencies
        })
    }

    /// Before anything is written under `id`.
    pub(crate) fn writes_as(&self, id: TxId) {
        self.all.core.lock().writes_as(self.id, id);
    }

    /// Before the range of a table or an index is read. The catalog's own tables are left out, as in PostgreSQL.
    pub(crate) fn reads(&self, relation: u32, range: &KeyRange) -> Result<(), TxnError> {
        if relation < FIRST_USER_OID {
            return Ok(());
        }
        self.ask(|core, me| core.read(me, relation, range))
    }

    /// A version newer than the snapshot was passed over; `by` wrote it.
    pub(crate) fn missed(&self, relation: u32, by: TxId) -> Result<(), TxnError> {
        if relation < FIRST_USER_OID {
            return Ok(());
        }
        self.ask(|core, me| core.missed(me, by))
    }

    /// After something was written in the range of a table or an index.
    pub(crate) fn wrote(&self, relation: u32, range: &KeyRange) -> Result<(), TxnError> {
        self.ask(|core, me| core.wrote(me, relation, range))
    }

    /// Before the commit record is appended.
    pub(crate) fn prepare(&self) -> Result<(), TxnError> {
        self.ask(Ssi::prepare)
    }

    /// The commit record has this LSN; `None`: nothing was written.
    pub(crate) fn committed(&self, lsn: Option<Lsn>) {
        self.end(|core, me| core.committed(me, lsn));
    }

    pub(crate) fn rolled_back(&self) {
        self.end(Ssi::rolled_back);
    }

    fn end(&self, f: impl FnOnce(&mut Ssi, Sxact)) {
        let mut core = self.all.core.lock();
        f(&mut core, self.id);
        if core.is_judging() {
            self.all.ended.notify_waiters();
        }
    }
}
