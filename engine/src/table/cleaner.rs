//! The cleaner: removes, soon after, what writers made garbage. It works from the list that they leave
//! (`garbage`), so its cost is that of the changes, not that of the table; a whole vacuum only follows when
//! the list overflowed.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::garbage::{Candidate, What};
use super::sweep::{Sweep, Swept};
use super::{Index, Table, VacuumReport};
use crate::buffer::StorageError;
use crate::txn::{Isolation, LockWait, Outcome, TableLock, TransactionSystem, TxnError};

const INTERVAL: Duration = Duration::from_millis(200);
/// Candidates of one table in one pass.
const AT_ONCE: usize = 10_000;
/// So many candidates that did not fit start a whole vacuum, when they are also a fifth of the table.
const LOST_MIN: u64 = 1000;

/// A table and its indexes, all of them.
#[derive(Debug, Clone)]
pub struct Cleanable {
    /// The table.
    pub table: Table,
    /// Its indexes.
    pub indexes: Vec<Index>,
}

/// Says which tables there are now, by the newest committed catalog.
pub type Tables = Box<dyn Fn() -> Vec<Cleanable> + Send + Sync>;

/// Starts the cleaner; it ends with the system.
pub(crate) fn spawn(system: &Arc<TransactionSystem>, tables: Tables) {
    let system = Arc::downgrade(system);
    tokio::spawn(passes(system, tables));
}

async fn passes(system: Weak<TransactionSystem>, tables: Tables) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(system) = system.upgrade() else {
            return;
        };
        match system.clean(&tables).await {
            Ok(_) => {}
            // The engine stops, and says why.
            Err(TxnError::Storage(StorageError::Volume(error))) if !error.is_retryable() => return,
            Err(error) => tracing::warn!(%error, "the cleaner was interrupted; it tries again"),
        }
    }
}

impl TransactionSystem {
    /// From now on, garbage of these tables is removed in the background. Called once, with the way to the catalog.
    pub fn clean_in_background(self: &Arc<Self>, tables: Tables) {
        spawn(self, tables);
    }

    /// One pass over all tables.
    pub(crate) async fn clean(self: &Arc<Self>, tables: &Tables) -> Result<VacuumReport, TxnError> {
        let mut total = VacuumReport::default();
        for Cleanable { table, .. } in tables() {
            let garbage = &table.shared.garbage;
            let lost = garbage.lost();
            let whole = lost >= LOST_MIN && lost.saturating_mul(5) >= table.shared.row_ids.so_far();
            if garbage.len() == 0 && !whole {
                continue;
            }
            let mut txn = self.begin(Isolation::RepeatableRead);
            let lock = txn.lock_table(table.oid, TableLock::ShareUpdateExclusive, LockWait::NoWait);
            if lock.await.is_err() {
                continue;
            }
            // Whoever changed the table has published that before he let go of his lock, and what is dropped from now
            // on is not freed while this snapshot is in use.
            txn.begin_statement();
            let now = tables().into_iter().find(|c| c.table.oid == table.oid && c.table.tree == table.tree);
            let Some(Cleanable { table, indexes }) = now else {
                continue;
            };
            if whole {
                self.vacuum_table(&table, &indexes).await?;
            }
            let sweep =
                Sweep { system: self, table: &table, owner: txn.owner(), horizon: self.horizon().lsn };
            let report = sweep.candidates(&indexes).await?;
            total.rows_removed += report.rows_removed;
            total.entries_removed += report.entries_removed;
            total.values_removed += report.values_removed;
        }
        total.count();
        Ok(total)
    }
}

impl Sweep<'_> {
    async fn candidates(&self, indexes: &[Index]) -> Result<VacuumReport, TxnError> {
        let garbage = &self.table.shared.garbage;
        let mut report = VacuumReport::default();
        for n in 0..garbage.len().min(AT_ONCE) {
            let Some(candidate) = garbage.take() else {
                break;
            };
            match self.candidate(&candidate, indexes, &mut report).await {
                Ok(true) => {}
                Ok(false) => garbage.add(candidate),
                Err(error) => {
                    garbage.add(candidate);
                    return Err(error);
                }
            }
            if n % 32 == 31 {
                tokio::task::yield_now().await;
            }
        }
        Ok(report)
    }

    /// False when it is to be looked at later.
    async fn candidate(
        &self,
        candidate: &Candidate,
        indexes: &[Index],
        report: &mut VacuumReport,
    ) -> Result<bool, TxnError> {
        let row = candidate.row;
        let by_rollback = match self.system.pool().run(|| self.system.outcome(candidate.by)).await? {
            Outcome::Aborted if candidate.what != What::Values => return Ok(true),
            Outcome::Aborted => true,
            Outcome::Committed(lsn) if lsn <= self.horizon => false,
            Outcome::Committed(_) | Outcome::InProgress => return Ok(false),
        };
        let swept = match &candidate.what {
            What::Row => self.row(row, indexes).await?,
            What::Entry(oid, key) => match indexes.iter().find(|index| index.oid == *oid) {
                Some(index) => self.entry(index, key, row).await?,
                None => Swept::Kept,
            },
            // An insert that was rolled back leaves its row behind, too.
            What::Values if by_rollback => match self.row(row, indexes).await? {
                Swept::Kept => self.values(row).await?,
                swept => swept,
            },
            What::Values => self.values(row).await?,
        };
        report.take(&swept);
        Ok(!matches!(swept, Swept::Busy))
    }
}
