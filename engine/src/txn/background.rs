//! The background pass: reclaims undo pages, repairs heads of rolled-back transactions, frees dropped trees, and tells
//! storage how far reads may reach back. It never blocks a statement.

use std::sync::{Arc, Weak};
use std::time::Duration;

use sextant_redo::Lsn;

use super::TransactionSystem;
use super::metrics::METRICS;
use super::undo::ReclaimReport;
use crate::btree::Tree;
use crate::buffer::StorageError;

const INTERVAL: Duration = Duration::from_millis(250);
/// So many pages reclaimed in one pass: the next one comes at once.
const MUCH: usize = 256;

/// Starts the passes; they end with the system.
pub(super) fn spawn(system: &Arc<TransactionSystem>) {
    let system = Arc::downgrade(system);
    tokio::spawn(passes(system));
}

async fn passes(system: Weak<TransactionSystem>) {
    let mut pause = INTERVAL;
    loop {
        tokio::time::sleep(pause).await;
        let Some(system) = system.upgrade() else {
            return;
        };
        match system.tidy().await {
            // Where there was much there is more.
            Ok(report) if report.reclaimed >= MUCH => pause = INTERVAL / 50,
            Ok(_) => pause = INTERVAL,
            // The engine stops, and says why.
            Err(StorageError::Volume(error)) if !error.is_retryable() => return,
            Err(error) if error.is_retryable() => {
                tracing::warn!(%error, "background reclaim was put off; it is tried again");
            }
            Err(error) => {
                tracing::error!(%error, "background reclaim stops; space is no longer reclaimed until a restart");
                return;
            }
        }
    }
}

impl TransactionSystem {
    /// Trees to be freed once nobody can look at them.
    pub(super) fn doom(&self, after: Lsn, trees: Vec<Tree>) {
        if !trees.is_empty() {
            let mut doomed = self.doomed.lock();
            doomed.extend(trees.into_iter().map(|tree| (after, tree)));
        }
    }

    /// One pass.
    pub(crate) async fn tidy(&self) -> Result<ReclaimReport, StorageError> {
        let mut before = self.tidying.lock().await;
        let horizon = self.horizon().lsn;
        let store = self.pool().store();
        METRICS.oldest_snapshot_lag.set(i64::try_from(store.vdl().since(horizon)).unwrap_or(i64::MAX));
        let (oldest, next) = self.snapshot_numbers();
        let age = self.ages.lock().observe(std::time::Instant::now(), oldest, next);
        METRICS.oldest_snapshot_age.set(age.as_secs_f64());
        METRICS.waiting.set(i64::try_from(self.waiting()).unwrap_or(i64::MAX));
        // Reads that were sent before the last pass have been answered by now, or are repeated with a newer point.
        store.set_read_floor(*before);
        *before = horizon;
        let report = self.reclaim_undo().await?;
        self.free_doomed(horizon).await?;
        Ok(report)
    }

    async fn free_doomed(&self, horizon: Lsn) -> Result<(), StorageError> {
        let ripe = |doomed: &[(Lsn, Tree)]| doomed.iter().position(|(after, _)| *after <= horizon);
        loop {
            let next = {
                let mut doomed = self.doomed.lock();
                ripe(&doomed).map(|at| doomed.swap_remove(at))
            };
            let Some((after, tree)) = next else {
                return Ok(());
            };
            if let Err(error) = tree.free_all(self.pool()).await {
                // What was freed already is left out the next time.
                if error.is_retryable() {
                    self.doom(after, vec![tree]);
                }
                return Err(error);
            }
        }
    }
}
