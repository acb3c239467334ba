//! Vacuum: removes rows that nobody can see any more, and index entries that lead nowhere.
//!
//! Index entries go first, rows second; a crash in between leaves rows that the next pass removes. While an entry or
//! a row is examined and removed its row lock is held, so no transaction can be in the middle of giving the row that
//! key; a row that is locked by somebody is left for the next pass. Every removal is a mini-transaction of its own.

use std::ops::Bound;
use std::sync::Arc;

use sextant_redo::Lsn;

use super::index::split_entry;
use super::scan::row_of;
use super::{Index, RowId, Table, row_key};
use crate::btree::{Edit, Tree};
use crate::txn::{
    Isolation, LockKey, LockWait, METRICS, Outcome, RowLock, Transaction, TransactionSystem, TxnError,
};

/// What a pass did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub struct VacuumReport {
    /// Rows looked at.
    pub rows_seen: u64,
    /// Rows removed.
    pub rows_removed: u64,
    /// Index entries looked at.
    pub entries_seen: u64,
    /// Index entries removed.
    pub entries_removed: u64,
}

/// One pass over one table.
struct Pass<'a> {
    system: &'a TransactionSystem,
    table: &'a Table,
    owner: Transaction,
    horizon: Lsn,
}

impl TransactionSystem {
    /// Vacuums a table with all of its indexes. Readers and writers go on meanwhile; the caller keeps out DDL and
    /// other vacuums of the table ([`crate::txn::TableLock::ShareUpdateExclusive`]).
    pub async fn vacuum_table(
        self: &Arc<Self>,
        table: &Table,
        indexes: &[Index],
    ) -> Result<VacuumReport, TxnError> {
        let mut owner = self.begin(Isolation::RepeatableRead);
        owner.begin_statement();
        let pass = Pass { system: self, table, owner, horizon: self.horizon().lsn };
        let mut report = VacuumReport::default();
        for index in indexes {
            pass.index(index, &mut report).await?;
        }
        pass.rows(&mut report).await?;
        METRICS.vacuumed_rows.inc_by(report.rows_removed);
        METRICS.vacuumed_index_entries.inc_by(report.entries_removed);
        Ok(report)
    }
}

impl Pass<'_> {
    async fn index(&self, index: &Index, report: &mut VacuumReport) -> Result<(), TxnError> {
        let mut from = Some(Bound::Unbounded);
        while let Some(start) = from {
            let (entries, next) = self.system.copy_leaf(&index.tree, start).await?;
            for (entry, _) in entries {
                report.entries_seen += 1;
                let Some((key, row)) = split_entry(&entry) else {
                    continue;
                };
                if self.leads_somewhere(index, key, row).await? || !self.lock(row).await {
                    continue;
                }
                let dead = self.leads_somewhere(index, key, row).await.map(|live| !live);
                let removed = match dead {
                    Ok(true) => self.remove(&index.tree, &entry, None).await,
                    Ok(false) => Ok(false),
                    Err(error) => Err(error),
                };
                self.unlock(row);
                report.entries_removed += u64::from(removed?);
            }
            from = next;
        }
        Ok(())
    }

    async fn rows(&self, report: &mut VacuumReport) -> Result<(), TxnError> {
        let mut from = Some(Bound::Unbounded);
        while let Some(start) = from {
            let (rows, next) = self.system.copy_leaf(&self.table.tree, start).await?;
            for (key, value) in rows {
                report.rows_seen += 1;
                let Some(row) = row_of(&key) else {
                    continue;
                };
                if self.any_version(row, &value, |_| true).await? || !self.lock(row).await {
                    continue;
                }
                let removed = self.remove(&self.table.tree, &row_key(row.0), Some(&value)).await;
                self.unlock(row);
                report.rows_removed += u64::from(removed?);
            }
            from = next;
        }
        Ok(())
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
        let step = |mtr: &mut crate::mtr::MiniTxn<'_>| {
            tree.edit(mtr, key, |found, _| {
                let same = found.is_some() && (examined.is_none() || examined == found);
                Ok((if same { Edit::Remove } else { Edit::Keep }, same))
            })
        };
        Ok(self.system.pool().write(step).await?.0)
    }

    async fn lock(&self, row: RowId) -> bool {
        let key = LockKey::Row(self.table.oid, row.0);
        let owner = self.owner.owner();
        let lock = RowLock::Update.into();
        let got = self.system.locks.acquire(owner, key, lock, LockWait::NoWait, None);
        got.await.is_ok()
    }

    fn unlock(&self, row: RowId) {
        let key = LockKey::Row(self.table.oid, row.0);
        self.system.locks.release(self.owner.owner(), &[key]);
    }
}
