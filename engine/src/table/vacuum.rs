//! Vacuum: removes rows that nobody can see any more, index entries that lead nowhere, and large values that no row refers
//! to.
//!
//! Index entries go first, rows second, values last; a crash in between leaves what the next pass removes.

use std::ops::Bound;
use std::sync::Arc;

use super::index::split_entry;
use super::scan::row_of;
use super::sweep::{Sweep, Swept};
use super::values::{end_of_rows, last_of_row};
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
    /// Large values removed.
    pub values_removed: u64,
}

impl VacuumReport {
    pub(super) fn take(&mut self, swept: &Swept) {
        if let Swept::Removed(more) = swept {
            self.rows_removed += more.rows_removed;
            self.entries_removed += more.entries_removed;
            self.values_removed += more.values_removed;
        }
    }

    pub(super) fn count(&self) {
        METRICS.vacuumed_rows.inc_by(self.rows_removed);
        METRICS.vacuumed_index_entries.inc_by(self.entries_removed);
        METRICS.vacuumed_values.inc_by(self.values_removed);
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
        sweep.all_values(&mut report).await?;
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
                if let Some((key, row)) = split_entry(&entry) {
                    report.take(&self.entry(index, key, row).await?);
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
            let (rows, next) = self.system.copy_rows(&self.table.tree, start).await?;
            for (key, _) in rows {
                report.rows_seen += 1;
                if let Some(row) = row_of(&key) {
                    report.take(&self.row(row, indexes).await?);
                }
            }
            from = next;
            tokio::task::yield_now().await;
        }
        Ok(())
    }

    /// Goes from row to row that has large values, without reading these.
    async fn all_values(&self, report: &mut VacuumReport) -> Result<(), TxnError> {
        let mut from = Bound::Included(end_of_rows().to_vec());
        while let Some(row) = self.system.next_with_values(self.table, from).await? {
            report.take(&self.values(row).await?);
            from = Bound::Excluded(last_of_row(row));
            tokio::task::yield_now().await;
        }
        Ok(())
    }
}
