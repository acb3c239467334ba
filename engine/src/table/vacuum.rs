//! Vacuum: removes rows that nobody can see any more, and index entries that lead nowhere.
//!
//! Index entries go first, rows second; a crash in between leaves rows that the next pass removes.

use std::ops::Bound;
use std::sync::Arc;

use super::index::split_entry;
use super::scan::row_of;
use super::sweep::{Sweep, Swept};
use super::{Index, Table};
use crate::txn::{Isolation, METRICS, TransactionSystem, TxnError};

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

impl VacuumReport {
    pub(super) fn count(&self) {
        METRICS.vacuumed_rows.inc_by(self.rows_removed);
        METRICS.vacuumed_index_entries.inc_by(self.entries_removed);
    }
}

impl TransactionSystem {
    /// Vacuums a table with all of its indexes. Readers and writers go on meanwhile; the caller keeps out DDL and
    /// other vacuums of the table ([`crate::txn::TableLock::ShareUpdateExclusive`]).
    pub async fn vacuum_table(
        self: &Arc<Self>,
        table: &Table,
        indexes: &[Index],
    ) -> Result<VacuumReport, TxnError> {
        let mut txn = self.begin(Isolation::RepeatableRead);
        txn.begin_statement();
        let lost = table.shared.garbage.lost();
        let sweep = Sweep { system: self, table, owner: txn.owner(), horizon: self.horizon().lsn };
        let mut report = VacuumReport::default();
        for index in indexes {
            sweep.index(index, &mut report).await?;
        }
        sweep.table(indexes, &mut report).await?;
        table.shared.garbage.found(lost);
        report.count();
        Ok(report)
    }
}

impl Sweep<'_> {
    async fn index(&self, index: &Index, report: &mut VacuumReport) -> Result<(), TxnError> {
        let mut from = Some(Bound::Unbounded);
        while let Some(start) = from {
            let (entries, next) = self.system.copy_leaf(&index.tree, start).await?;
            for (entry, _) in entries {
                report.entries_seen += 1;
                if let Some((key, row)) = split_entry(&entry)
                    && let Swept::Removed(_) = self.entry(index, key, row).await?
                {
                    report.entries_removed += 1;
                }
            }
            from = next;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    async fn table(&self, indexes: &[Index], report: &mut VacuumReport) -> Result<(), TxnError> {
        let mut from = Some(Bound::Unbounded);
        while let Some(start) = from {
            let (rows, next) = self.system.copy_leaf(&self.table.tree, start).await?;
            for (key, _) in rows {
                report.rows_seen += 1;
                if let Some(row) = row_of(&key)
                    && let Swept::Removed(entries) = self.row(row, indexes).await?
                {
                    report.rows_removed += 1;
                    report.entries_removed += entries;
                }
            }
            from = next;
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
