//! Removing one row or one index entry that nobody can see any more.
//!
//! While something is examined and removed its row lock is held, so no transaction can be in the middle of giving the row
//! that key. A row that is locked by somebody is left alone. Every removal is a mini-transaction of its own.

use sextant_redo::Lsn;

use super::index::entry_key;
use super::{Index, RowId, Table, row_key};
use crate::btree::{Edit, Tree};
use crate::mtr::MiniTxn;
use crate::txn::{LockKey, LockWait, Outcome, Owner, RowLock, TransactionSystem, TxnError};

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swept {
    /// It is gone; index entries removed with it.
    Removed(u64),
    /// Somebody may see it, or it was gone before.
    Kept,
    /// Somebody has the row locked.
    Busy,
}

/// The means to remove things. Whoever has one holds a snapshot: nothing above `horizon` is touched.
pub(super) struct Sweep<'a> {
    pub(super) system: &'a TransactionSystem,
    pub(super) table: &'a Table,
    pub(super) owner: Owner,
    pub(super) horizon: Lsn,
}

/// A row lock for the time of one removal.
struct Held<'a>(&'a Sweep<'a>, RowId);

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let key = LockKey::Row(self.0.table.oid, self.1.0);
        self.0.system.locks.release(self.0.owner, [key]);
    }
}

impl Sweep<'_> {
    /// Removes an index entry if no version that somebody may see has its key.
    pub(super) async fn entry(&self, index: &Index, key: &[u8], row: RowId) -> Result<Swept, TxnError> {
        if self.leads_somewhere(index, key, row).await? {
            return Ok(Swept::Kept);
        }
        let Some(_held) = self.lock(row).await else {
            return Ok(Swept::Busy);
        };
        if self.leads_somewhere(index, key, row).await? {
            return Ok(Swept::Kept);
        }
        let removed = self.remove(&index.tree, &entry_key(key, row), None).await?;
        Ok(if removed { Swept::Removed(1) } else { Swept::Kept })
    }

    /// Removes a row if no version of it can be seen, its index entries first.
    pub(super) async fn row(&self, row: RowId, indexes: &[Index]) -> Result<Swept, TxnError> {
        let Some(value) = self.system.stored(self.table, row).await? else {
            return Ok(Swept::Kept);
        };
        if self.any_version(row, &value, |_| true).await? {
            return Ok(Swept::Kept);
        }
        let Some(_held) = self.lock(row).await else {
            return Ok(Swept::Busy);
        };
        // The entries of its last version; those of versions before were made obsolete by whoever changed the key.
        let last = value.get(crate::txn::version::HEADER..).unwrap_or(&[]);
        let mut entries = 0;
        for index in indexes {
            if let Some(key) = (index.key_of)(last) {
                let entry = entry_key(&key.bytes, row);
                entries += u64::from(self.remove(&index.tree, &entry, None).await?);
            }
        }
        let removed = self.remove(&self.table.tree, &row_key(row.0), Some(&value)).await?;
        Ok(if removed { Swept::Removed(entries) } else { Swept::Kept })
    }

    /// Whether any version that somebody may see has this key.
    async fn leads_somewhere(&self, index: &Index, key: &[u8], row: RowId) -> Result<bool, TxnError> {
        match self.system.stored(self.table, row).await? {
            None => Ok(false),
            Some(value) => self.any_version(row, &value, |bytes| index.has_key(bytes, key)).await,
        }
    }

    /// Whether any version that somebody may see, and that is not a deletion, passes the test.
    async fn any_version(
        &self,
        row: RowId,
        value: &[u8],
        test: impl Fn(&[u8]) -> bool + Send + Sync,
    ) -> Result<bool, TxnError> {
        let step = || {
            let mut found = false;
            self.system.each_version(&self.table.tree, row.0, value, |header, outcome, bytes| {
                found = found || (!header.deleted && test(bytes));
                !found && !matches!(outcome, Outcome::Committed(lsn) if lsn <= self.horizon)
            })?;
            Ok(found)
        };
        Ok(self.system.pool().run(step).await?)
    }

    /// Removes the key, if its value is still the one that was examined.
    async fn remove(&self, tree: &Tree, key: &[u8], examined: Option<&[u8]>) -> Result<bool, TxnError> {
        let step = |mtr: &mut MiniTxn<'_>| {
            tree.edit(mtr, key, |found, _| {
                let same = found.is_some() && (examined.is_none() || examined == found);
                Ok((if same { Edit::Remove } else { Edit::Keep }, same))
            })
        };
        Ok(self.system.pool().write(step).await?.0)
    }

    async fn lock(&self, row: RowId) -> Option<Held<'_>> {
        let key = LockKey::Row(self.table.oid, row.0);
        let lock = RowLock::Update.into();
        let got = self.system.locks.acquire(self.owner, key, lock, LockWait::NoWait, None);
        got.await.ok().map(|_| Held(self, row))
    }
}
