//! Removing one row, one index entry or the large values of one row that nobody can see any more.
//!
//! While something is examined and removed its row lock is held, so no transaction can be in the middle of giving the row
//! that key. A row that is locked by somebody is left alone. Every removal is a mini-transaction of its own.

use std::collections::BTreeSet;

use sextant_redo::Lsn;

use super::index::{IndexKey, entry_key};
use super::values::damaged_list;
use super::{Index, RowId, Table, VacuumReport, row_key};
use crate::btree::{Edit, Tree};
use crate::buffer::{Step, Stop, StorageError};
use crate::mtr::MiniTxn;
use crate::txn::version::Header;
use crate::txn::visibility::split;
use crate::txn::{LockKey, LockWait, Outcome, Owner, RowLock, TransactionSystem, TxId, TxnError};
use crate::types::large;

/// What became of a candidate.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Swept {
    /// It is gone; what was removed with it.
    Removed(VacuumReport),
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
        let report = VacuumReport { entries_removed: 1, ..VacuumReport::default() };
        Ok(if removed { Swept::Removed(report) } else { Swept::Kept })
    }

    /// Removes a row if no version of it can be seen, its index entries before it and its large values behind it.
    pub(super) async fn row(&self, row: RowId, indexes: &[Index]) -> Result<Swept, TxnError> {
        let Some(value) = self.system.stored(self.table, row).await? else {
            return Ok(Swept::Kept);
        };
        if self.any_version(row, &value, |_, _| Ok(true)).await? {
            return Ok(Swept::Kept);
        }
        let Some(_held) = self.lock(row).await else {
            return Ok(Swept::Busy);
        };
        // The entries of its last version; those of versions before were made obsolete by whoever changed the key.
        let last = |index| self.last_key(row, &value, index);
        let mut report = VacuumReport::default();
        for index in indexes {
            if let Some(key) = self.system.pool().run(|| last(index)).await? {
                let entry = entry_key(&key.bytes, row);
                report.entries_removed += u64::from(self.remove(&index.tree, &entry, None).await?);
            }
        }
        if !self.remove(&self.table.tree, &row_key(row.0), Some(&value)).await? {
            return Ok(Swept::Kept);
        }
        report.rows_removed = 1;
        if split(&self.table.tree, &value).is_ok_and(|(header, _)| header.large) {
            report.values_removed = self.unneeded_values(row).await?.0;
        }
        Ok(Swept::Removed(report))
    }

    fn last_key(&self, row: RowId, value: &[u8], index: &Index) -> Step<Option<IndexKey>> {
        let (header, last) = split(&self.table.tree, value)?;
        match self.system.key(index, &self.table.tree, row, &header, last) {
            // A pass that a crash ended has removed the entries first, and the values behind them.
            Err(Stop::Failed(StorageError::Corrupt { .. })) if header.large => Ok(None),
            key => key,
        }
    }

    /// Removes those large values of a row to which no version refers that somebody may see.
    pub(super) async fn values(&self, row: RowId) -> Result<Swept, TxnError> {
        let Some(_held) = self.lock(row).await else {
            return Ok(Swept::Busy);
        };
        let (values_removed, busy) = self.unneeded_values(row).await?;
        let report = VacuumReport { values_removed, ..VacuumReport::default() };
        Ok(match (values_removed, busy) {
            (_, true) => Swept::Busy,
            (0, false) => Swept::Kept,
            (_, false) => Swept::Removed(report),
        })
    }

    /// How many values were removed, and whether others have to be looked at later: their writers are in progress.
    async fn unneeded_values(&self, row: RowId) -> Result<(u64, bool), TxnError> {
        let names = self.system.values_of(self.table, row).await?;
        let (mut undecided, mut decided) = (false, Vec::new());
        for name in names {
            match self.system.pool().run(|| self.system.outcome(name.0)).await? {
                Outcome::InProgress => undecided = true,
                // It had written its row before it ended: what is read below is the row as it left it.
                Outcome::Committed(_) | Outcome::Aborted => decided.push(name),
            }
        }
        let needed = match decided.is_empty() {
            true => BTreeSet::new(),
            false => self.needed_values(row).await?,
        };
        decided.retain(|name| !needed.contains(name));
        for name in &decided {
            self.remove_value(row, *name).await?;
        }
        Ok((decided.len() as u64, undecided))
    }

    /// The values to which the versions refer that somebody may see.
    async fn needed_values(&self, row: RowId) -> Result<BTreeSet<(TxId, u32)>, TxnError> {
        let Some(value) = self.system.stored(self.table, row).await? else {
            return Ok(BTreeSet::new());
        };
        let step = || {
            let mut needed = BTreeSet::new();
            self.system.each_version(&self.table.tree, row.0, &value, |header, outcome, bytes| {
                if header.large {
                    let refs = large::refs(bytes).ok_or_else(|| damaged_list(&self.table.tree))?;
                    needed.extend(refs.iter().map(|at| (TxId(at.writer), at.number)));
                }
                Ok(!matches!(outcome, Outcome::Committed(lsn) if lsn <= self.horizon))
            })?;
            Ok(needed)
        };
        Ok(self.system.pool().run(step).await?)
    }

    async fn remove_value(&self, row: RowId, name: (TxId, u32)) -> Result<(), TxnError> {
        loop {
            let keys = self.system.some_chunks(self.table, row, name).await?;
            if keys.is_empty() {
                return Ok(());
            }
            for key in keys {
                self.remove(&self.table.tree, &key, None).await?;
            }
            tokio::task::yield_now().await;
        }
    }

    /// Whether any version that somebody may see has this key.
    async fn leads_somewhere(&self, index: &Index, key: &[u8], row: RowId) -> Result<bool, TxnError> {
        match self.system.stored(self.table, row).await? {
            None => Ok(false),
            Some(value) => {
                let tree = &self.table.tree;
                let has_key = |header: &Header, bytes: &[u8]| {
                    let had = self.system.key(index, tree, row, header, bytes)?;
                    Ok(had.is_some_and(|had| had.bytes == key))
                };
                self.any_version(row, &value, has_key).await
            }
        }
    }

    /// Whether any version that somebody may see, and that is not a deletion, passes the test.
    async fn any_version(
        &self,
        row: RowId,
        value: &[u8],
        test: impl Fn(&Header, &[u8]) -> Step<bool> + Send + Sync,
    ) -> Result<bool, TxnError> {
        let step = || {
            let mut found = false;
            self.system.each_version(&self.table.tree, row.0, value, |header, outcome, bytes| {
                found = found || (!header.deleted && test(header, bytes)?);
                Ok(!found && !matches!(outcome, Outcome::Committed(lsn) if lsn <= self.horizon))
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
