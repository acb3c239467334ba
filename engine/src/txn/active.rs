//! Transactions that have an id and have not ended, and the wait for their end.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use sextant_redo::{Lsn, PageId};
use tokio::sync::Notify;

use super::{Outcome, Owner, TxId};

/// One of them.
#[derive(Debug)]
pub(crate) struct Active {
    pub(crate) id: TxId,
    pub(crate) owner: Owner,
    /// Page and offset of its slot in the commit table.
    pub(crate) slot: (PageId, usize),
    /// LSN of its commit record, 0 before.
    commit: AtomicU64,
    over: AtomicBool,
    ended: Notify,
}

impl Active {
    pub(crate) fn new(id: TxId, owner: Owner, slot: (PageId, usize)) -> Arc<Active> {
        Arc::new(Active {
            id,
            owner,
            slot,
            commit: AtomicU64::new(0),
            over: AtomicBool::new(false),
            ended: Notify::new(),
        })
    }

    /// Called under the log's lock, when the commit record gets its LSN.
    pub(crate) fn committed_at(&self, lsn: Lsn) {
        self.commit.store(lsn.0, Ordering::Release);
    }

    /// The commit record's LSN, if there is one.
    pub(crate) fn commit_lsn(&self) -> Option<Lsn> {
        match self.commit.load(Ordering::Acquire) {
            0 => None,
            lsn => Some(Lsn(lsn)),
        }
    }

    /// Resolves once the transaction is committed (its record appended) or rolled back.
    pub(crate) async fn ended(&self) {
        let mut notified = std::pin::pin!(self.ended.notified());
        notified.as_mut().enable();
        if !self.over.load(Ordering::Acquire) {
            notified.await;
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct ActiveSet {
    by_id: Mutex<HashMap<TxId, Arc<Active>>>,
}

impl ActiveSet {
    pub(crate) fn insert(&self, active: Arc<Active>) {
        self.by_id.lock().insert(active.id, active);
    }

    pub(crate) fn get(&self, id: TxId) -> Option<Arc<Active>> {
        self.by_id.lock().get(&id).cloned()
    }

    /// The outcome of a transaction that has not ended, as of now.
    pub(crate) fn outcome(&self, id: TxId) -> Option<Outcome> {
        let active = self.get(id)?;
        Some(active.commit_lsn().map_or(Outcome::InProgress, Outcome::Committed))
    }

    /// Its end: whoever waits for it goes on.
    pub(crate) fn end(&self, active: &Active) {
        self.by_id.lock().remove(&active.id);
        active.over.store(true, Ordering::Release);
        active.ended.notify_waiters();
    }
}
