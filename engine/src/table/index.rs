//! Indexes, and entering rows into them.

use std::fmt;
use std::sync::Arc;

use tokio::sync::MutexGuard;

use super::garbage::{Candidate, What};
use super::unique::Conflict;
use super::{RowId, Table};
use crate::btree::{Edit, Tree};
use crate::buffer::Step;
use crate::txn::version::Header;
use crate::txn::visibility::split;
use crate::txn::{KeyRange, LockWait, Transaction, TransactionSystem, TxnError};

/// An index's key of one row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexKey {
    /// The encoded columns, in memcmp order and free of prefixes: no full key begins with another.
    pub bytes: Vec<u8>,
    /// True when it must differ from other rows' in a unique index; false when a column is NULL, which differs from all.
    pub distinct: bool,
}

/// The key of a row, from the row's bytes; `None` when the row is not in the index (partial indexes).
pub type KeyOf = Arc<dyn Fn(&[u8]) -> Option<IndexKey> + Send + Sync>;

/// An index of a table.
#[derive(Clone)]
pub struct Index {
    /// Its oid.
    pub oid: u32,
    /// Its entries.
    pub tree: Tree,
    /// Whether no two live rows may have the same key.
    pub unique: bool,
    /// What its keys are made from.
    pub key_of: KeyOf,
    /// The columns that this reads.
    pub reads: Arc<[usize]>,
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Index")
            .field("oid", &self.oid)
            .field("tree", &self.tree)
            .field("unique", &self.unique)
            .finish_non_exhaustive()
    }
}

/// An entry's key in the index's tree.
pub(super) fn entry_key(key: &[u8], row: RowId) -> Vec<u8> {
    let mut entry = Vec::with_capacity(key.len() + 8);
    entry.extend_from_slice(key);
    entry.extend_from_slice(&row.0.to_be_bytes());
    entry
}

/// Splits an entry into key and row.
pub(super) fn split_entry(entry: &[u8]) -> Option<(&[u8], RowId)> {
    let (key, row) = entry.split_last_chunk()?;
    Some((key, RowId(u64::from_be_bytes(*row))))
}

impl TransactionSystem {
    /// The key of a version of a row.
    pub(super) fn key(
        &self,
        index: &Index,
        tree: &Tree,
        row: RowId,
        header: &Header,
        bytes: &[u8],
    ) -> Step<Option<IndexKey>> {
        if !header.large {
            return Ok((index.key_of)(bytes));
        }
        Ok((index.key_of)(&self.with_key_values(tree, row, bytes, &index.reads)?))
    }

    /// Enters a row that was just inserted, or updated to this key. Without effect when the entry is there already.
    ///
    /// With `unique_check`, in a unique index: waits for the end of a transaction that is about to make, delete or
    /// change a row with this key, and fails with [`TxnError::UniqueViolation`] when there is a live one. Leave it out
    /// for keys with NULLs.
    pub async fn index_insert(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
        key: &[u8],
        row: RowId,
        unique_check: bool,
    ) -> Result<(), TxnError> {
        let entry = entry_key(key, row);
        if !txn.is_fresh(&table.tree, row.0) {
            self.note_obsolete(txn, index, table, key, row).await?;
        }
        if !(index.unique && unique_check) {
            self.put_entry(index, &entry).await?;
            return txn.wrote(index.oid, || KeyRange::key(&entry));
        }
        let _gate = self.free_key(txn, index, table, key, row).await?;
        self.put_entry(index, &entry).await?;
        txn.wrote(index.oid, || KeyRange::key(&entry))
    }

    /// As [`TransactionSystem::index_insert`] with a key that is asked later ([`TransactionSystem::unique_ask`]): whether it has
    /// to be, because another row has it, or may come to have it. Who enters the key second always hears so.
    pub async fn index_insert_unasked(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
        key: &[u8],
        row: RowId,
    ) -> Result<bool, TxnError> {
        let entry = entry_key(key, row);
        if !txn.is_fresh(&table.tree, row.0) {
            self.note_obsolete(txn, index, table, key, row).await?;
        }
        let _gate = self.unique_gate(index.oid, key).await;
        let conflict = self.unique_conflict(txn, index, table, key, row).await?;
        self.put_entry(index, &entry).await?;
        txn.wrote(index.oid, || KeyRange::key(&entry))?;
        Ok(conflict.is_some())
    }

    /// Makes sure that no other row has the key of a row that was entered before, waiting for who may come to have it.
    pub async fn unique_ask(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
        key: &[u8],
        row: RowId,
    ) -> Result<(), TxnError> {
        self.free_key(txn, index, table, key, row).await.map(drop)
    }

    /// The gate of a key that no other row has, after waiting for who may come to have it.
    async fn free_key(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
        key: &[u8],
        row: RowId,
    ) -> Result<MutexGuard<'_, ()>, TxnError> {
        loop {
            let gate = self.unique_gate(index.oid, key).await;
            match self.unique_conflict(txn, index, table, key, row).await? {
                None => return Ok(gate),
                Some(Conflict::Live(other)) => {
                    return Err(TxnError::UniqueViolation { index: index.oid, row: other.0 });
                }
                Some(Conflict::Undecided(by)) => {
                    drop(gate);
                    self.wait_for(txn, by, LockWait::Block).await?;
                }
            }
        }
    }

    /// An update took the row out of a partial index: the entry of the key that it had is garbage some day.
    pub async fn index_leave(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
        row: RowId,
    ) -> Result<(), TxnError> {
        // No key is empty.
        self.note_obsolete(txn, index, table, &[], row).await
    }

    /// An update gave the row this key: the entry of the key that it had is garbage some day.
    async fn note_obsolete(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
        key: &[u8],
        row: RowId,
    ) -> Result<(), TxnError> {
        if txn.id().is_none() {
            return Ok(());
        }
        let by = txn.write_id().await?;
        let Some(value) = self.stored(table, row).await? else {
            return Ok(());
        };
        let had = self
            .pool()
            .run(|| {
                let (header, bytes) = split(&table.tree, &value)?;
                let mut before = bytes.to_vec();
                let older = match header.txid == by {
                    true => self.older(&table.tree, row.0, &header, &mut before)?,
                    false => None,
                };
                match older {
                    Some(older) if !older.deleted => self.key(index, &table.tree, row, &older, &before),
                    _ => Ok(None),
                }
            })
            .await?;
        if let Some(had) = had
            && had.bytes != key
        {
            let what = What::Entry(index.oid, had.bytes);
            table.shared.garbage.add(Candidate { by, row, what });
        }
        Ok(())
    }

    pub(super) async fn put_entry(&self, index: &Index, entry: &[u8]) -> Result<(), TxnError> {
        let step = |mtr: &mut crate::mtr::MiniTxn<'_>| {
            index.tree.edit(mtr, entry, |found, _| {
                let edit = if found.is_some() { Edit::Keep } else { Edit::Put(Vec::new()) };
                Ok((edit, ()))
            })
        };
        self.pool().write(step).await?;
        Ok(())
    }
}
