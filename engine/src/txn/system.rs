//! Everything that the transactions of one engine share.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use sextant_redo::{Lsn, PageId};
use tokio::sync::MutexGuard;

use super::ages::Ages;
use super::commit_table::CommitTable;
use super::drops::PendingDrops;
use super::lock::LockManager;
use super::snapshot::{Horizon, Pin, Snapshots};
use super::ssi::{Serializable, Tracked};
use super::undo::UndoSpace;
use super::{Isolation, Owner, SessionLocks, Transaction, TxnError};
use crate::btree::Tree;
use crate::buffer::BufferPool;
use crate::spill::Spill;
use crate::table::{Shared, Table};

/// Striped mutexes of unique checks.
const UNIQUE_GATES: usize = 256;

/// See the module. Row operations on it live in [`crate::table`].
pub struct TransactionSystem {
    pool: Arc<BufferPool>,
    pub(crate) commits: CommitTable,
    pub(crate) locks: LockManager,
    pub(crate) undo: UndoSpace,
    snapshots: Arc<Snapshots>,
    serializable: Arc<Serializable>,
    pub(super) ages: Mutex<Ages>,
    unique_gates: Vec<tokio::sync::Mutex<()>>,
    hasher: RandomState,
    tables: Mutex<HashMap<PageId, Arc<Shared>>>,
    next_owner: AtomicU64,
    pub(crate) spill: Arc<Spill>,
    pub(super) drops: PendingDrops,
    /// One pass of the background work at a time; the horizon that the pass before found.
    pub(super) tidying: tokio::sync::Mutex<Lsn>,
}

impl TransactionSystem {
    /// Opens the transaction system of a formatted volume ([`crate::space::format_if_new`]). Reads a few pages however
    /// much was written before: nothing is replayed, rolled back or scanned.
    pub async fn open(pool: Arc<BufferPool>) -> Result<Arc<TransactionSystem>, TxnError> {
        TransactionSystem::open_with(pool, Spill::new(std::env::temp_dir())).await
    }

    /// The same with a room for what does not fit in memory.
    pub async fn open_with(
        pool: Arc<BufferPool>,
        spill: Arc<Spill>,
    ) -> Result<Arc<TransactionSystem>, TxnError> {
        let commits = CommitTable::open(&pool).await?;
        let undo = UndoSpace::open(&pool).await?;
        let drops = PendingDrops::open(&pool).await?;
        let system = Arc::new(TransactionSystem {
            pool,
            commits,
            locks: LockManager::new(),
            undo,
            snapshots: Arc::default(),
            serializable: Serializable::new(),
            ages: Mutex::default(),
            unique_gates: (0..UNIQUE_GATES).map(|_| tokio::sync::Mutex::new(())).collect(),
            hasher: RandomState::new(),
            tables: Mutex::default(),
            next_owner: AtomicU64::new(1),
            spill,
            drops,
            tidying: tokio::sync::Mutex::new(Lsn::ZERO),
        });
        super::background::spawn(&system);
        Ok(system)
    }

    /// The page cache that it works on.
    #[must_use]
    pub fn pool(&self) -> &BufferPool {
        &self.pool
    }

    /// The page cache, to share.
    #[must_use]
    pub fn shared_pool(&self) -> Arc<BufferPool> {
        self.pool.clone()
    }

    /// Begins a transaction. It costs nothing until it reads or writes.
    #[must_use]
    pub fn begin(self: &Arc<Self>, isolation: Isolation) -> Transaction {
        let owner = Owner(self.next_owner.fetch_add(1, Ordering::Relaxed));
        Transaction::new(self.clone(), owner, isolation)
    }

    /// What a session is in the lock table: its transactions are begun with it.
    #[must_use]
    pub fn session(self: &Arc<Self>) -> Arc<SessionLocks> {
        let owner = Owner(self.next_owner.fetch_add(1, Ordering::Relaxed));
        Arc::new(SessionLocks::new(self.clone(), owner))
    }

    /// As [`TransactionSystem::begin`], for a session: its advisory locks are the transaction's, too.
    #[must_use]
    pub fn begin_in(self: &Arc<Self>, session: &Arc<SessionLocks>, isolation: Isolation) -> Transaction {
        let mut txn = Transaction::new(self.clone(), session.owner(), isolation);
        txn.session = Some(session.clone());
        txn
    }

    /// A table by its oid and tree. Cheap, and all handles of a tree share its row id counter and its garbage.
    #[must_use]
    pub fn table(&self, oid: u32, tree: Tree) -> Table {
        let shared = self.tables.lock().entry(tree.root).or_default().clone();
        Table { oid, tree, shared }
    }

    /// Forgets what the handles of a tree share: before its root is freed, for whoever has that page next has other row
    /// ids.
    pub(super) fn forget_table(&self, tree: Tree) {
        self.tables.lock().remove(&tree.root);
    }

    pub(super) fn pin(&self) -> Arc<Pin> {
        self.snapshots.take(&**self.pool.store())
    }

    /// The snapshot of a serializable transaction.
    pub(super) fn pin_serializable(&self, read_only: bool) -> (Arc<Pin>, Option<Arc<Tracked>>) {
        self.serializable.begin(read_only, || {
            let pin = self.pin();
            (pin.lsn, pin)
        })
    }

    /// The snapshot of a serializable transaction that only reads and can wait: nothing of it has to be noted.
    pub(super) async fn pin_safe(&self) -> Result<Arc<Pin>, TxnError> {
        let store = self.pool.store();
        loop {
            let judged = self.serializable.judge(|| {
                let pin = self.pin();
                (pin.lsn, pin)
            });
            match judged.await {
                Ok(pin) => return Ok(pin),
                // The snapshot is let go of before anything is waited for.
                Err(until) => store.durable(until).await.map_err(|e| TxnError::Storage(e.into()))?,
            }
        }
    }

    /// To be called where an index is dropped, behind the lock that keeps everybody else out of its table.
    pub(crate) fn index_goes(&self, index: u32, table: u32) {
        self.serializable.index_goes(index, table);
    }

    pub(crate) fn horizon(&self) -> Horizon {
        self.snapshots.horizon(&**self.pool.store())
    }

    /// How many transactions wait for a lock, for another's end, or for a safe snapshot, now.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.locks.waiting(|id| self.commits.active.get(id).is_some()) + self.serializable.waiting()
    }

    /// The LSN of the oldest snapshot in use: what vacuum may not reach beyond. `None` when there is none.
    #[must_use]
    pub fn oldest_snapshot(&self) -> Option<Lsn> {
        self.snapshots.oldest()
    }

    pub(super) fn snapshot_numbers(&self) -> (Option<u64>, u64) {
        self.snapshots.numbers()
    }

    pub(crate) fn next_pin_number(&self) -> u64 {
        self.snapshots.next_number()
    }

    /// Serialises unique checks of one key of one index, for the time of the check only.
    pub(crate) async fn unique_gate(&self, index: u32, key: &[u8]) -> MutexGuard<'_, ()> {
        let hash = self.hasher.hash_one((index, key));
        self.unique_gates[(hash % UNIQUE_GATES as u64) as usize].lock().await
    }
}
