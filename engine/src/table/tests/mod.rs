//! The transaction and table layers over a volume in memory.

mod basics;
mod churn;
mod crash;
mod drop_pace;
mod drops;
mod indexes;
mod large;
mod large_failing;
mod model;
mod no_replay;
mod redo_size;
mod savepoints;
mod stress;
mod waiting;

use std::sync::Arc;

use sextant_volume::LogStore;
use sextant_volume::memory::MemoryStore;

use super::{Index, IndexKey, LockOutcome, RowBatch, RowBytes, RowId, Table, TableScan};
use crate::btree::Tree;
use crate::buffer::BufferPool;
use crate::space::{Roots, format_if_new};
use crate::txn::{Isolation, LockWait, RowLock, Snapshot, Transaction, TransactionSystem, TxnError};

/// A database of one table, whose root is kept where the catalog's would be.
struct Bed {
    store: Arc<MemoryStore>,
    system: Arc<TransactionSystem>,
    table: Table,
}

const CACHE: usize = 32 << 20;

impl Bed {
    async fn new() -> Bed {
        Bed::open(MemoryStore::new()).await
    }

    async fn open(store: Arc<MemoryStore>) -> Bed {
        Bed::with_cache(store, CACHE).await
    }

    async fn with_cache(store: Arc<MemoryStore>, bytes: usize) -> Bed {
        Bed::over(store.clone(), store, bytes).await
    }

    /// Reached through `log`, which lies over `store`.
    async fn over(store: Arc<MemoryStore>, log: Arc<dyn LogStore>, bytes: usize) -> Bed {
        let pool = BufferPool::new(log, bytes).unwrap();
        let new = format_if_new(&pool).await.unwrap();
        let system = TransactionSystem::open(pool.clone()).await.unwrap();
        let tree = if new {
            let tree = new_tree(&system).await;
            let set = pool.write(|mtr| Roots::set(mtr, Roots::CATALOG, tree.root.0)).await;
            set.unwrap();
            tree
        } else {
            let root = pool.run(|| Roots::get(&pool, Roots::CATALOG)).await.unwrap();
            Tree { root: sextant_redo::PageId(root) }
        };
        let table = system.table(1, tree);
        Bed { store, system, table }
    }

    /// What a fresh engine finds after this one was killed now.
    async fn crash(&self) -> Bed {
        Bed::open(self.store.crash()).await
    }

    fn begin(&self) -> Transaction {
        self.begin_at(Isolation::ReadCommitted)
    }

    fn begin_at(&self, isolation: Isolation) -> Transaction {
        let mut txn = self.system.begin(isolation);
        txn.begin_statement();
        txn
    }

    fn now(&self) -> Snapshot {
        self.begin().snapshot()
    }

    async fn index(&self, unique: bool) -> Index {
        let (tree, reads) = (new_tree(&self.system).await, Arc::new([]));
        Index { oid: 2, tree, unique, key_of: Arc::new(key_of), reads }
    }

    async fn insert(&self, txn: &mut Transaction, row: &[u8]) -> RowId {
        self.system.insert(txn, &self.table, row).await.unwrap()
    }

    async fn insert_many(&self, txn: &mut Transaction, rows: &[impl AsRef<[u8]>]) -> Vec<RowId> {
        let first = self.system.row_ids(&self.table, rows.len() as u64).await.unwrap();
        let bytes: Vec<RowBytes<'_>> = rows.iter().map(RowBytes::from).collect();
        self.system.insert_many(txn, &self.table, first, &bytes).await.unwrap();
        (0..rows.len() as u64).map(|n| RowId(first.0 + n)).collect()
    }

    /// Inserts with an index entry; on error the transaction must be rolled back.
    async fn insert_indexed(
        &self,
        txn: &mut Transaction,
        index: &Index,
        row: &[u8],
    ) -> Result<RowId, TxnError> {
        let id = self.insert(txn, row).await;
        let key = key_of(row).unwrap();
        self.system.index_insert(txn, index, &self.table, &key.bytes, id, key.distinct).await?;
        Ok(id)
    }

    async fn committed(&self, row: &[u8]) -> RowId {
        let mut txn = self.begin();
        let id = self.insert(&mut txn, row).await;
        txn.commit().await.unwrap();
        id
    }

    async fn lock(&self, txn: &mut Transaction, row: RowId) -> Result<(LockOutcome, Vec<u8>), TxnError> {
        let mut out = Vec::new();
        let outcome =
            self.system.lock_row(txn, &self.table, row, RowLock::Update, LockWait::Block, &mut out).await?;
        Ok((outcome, out))
    }

    async fn update(&self, txn: &mut Transaction, row: RowId, new: &[u8]) -> Result<LockOutcome, TxnError> {
        let (outcome, _) = self.lock(txn, row).await?;
        if matches!(outcome, LockOutcome::Locked | LockOutcome::Updated) {
            self.system.update(txn, &self.table, row, new).await?;
        }
        Ok(outcome)
    }

    async fn delete(&self, txn: &mut Transaction, row: RowId) -> Result<LockOutcome, TxnError> {
        let (outcome, _) = self.lock(txn, row).await?;
        if matches!(outcome, LockOutcome::Locked | LockOutcome::Updated) {
            self.system.delete(txn, &self.table, row).await?;
        }
        Ok(outcome)
    }

    async fn get(&self, snapshot: &Snapshot, row: RowId) -> Option<Vec<u8>> {
        let mut out = Vec::new();
        let found = self.system.get(snapshot, &self.table, row, &mut out).await.unwrap();
        found.then_some(out)
    }

    async fn scan(&self, snapshot: &Snapshot) -> Vec<(RowId, Vec<u8>)> {
        let mut scan = TableScan::new(&self.table, snapshot.clone());
        let mut batch = RowBatch::new();
        let mut rows = Vec::new();
        while scan.next_batch(&self.system, &mut batch).await.unwrap() {
            rows.extend(batch.iter().map(|(id, row)| (id, row.to_vec())));
        }
        rows
    }
}

/// A tree that is there to stay.
async fn new_tree(system: &Arc<TransactionSystem>) -> Tree {
    let mut txn = system.begin(Isolation::ReadCommitted);
    let tree = txn.create_tree().await.unwrap();
    txn.commit().await.unwrap();
    tree
}

/// The first byte of a row is its key; 0 stands for NULL, 255 is not indexed.
fn key_of(row: &[u8]) -> Option<IndexKey> {
    let first = *row.first()?;
    (first != 255).then(|| IndexKey { bytes: vec![first], distinct: first != 0 })
}
