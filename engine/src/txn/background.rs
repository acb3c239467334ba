//! The background passes: one reclaims undo pages, repairs heads of rolled-back transactions and tells storage how far
//! reads may reach back; the other frees dropped trees. They never block a statement, nor each other.

use std::sync::{Arc, Weak};
use std::time::Duration;

use super::TransactionSystem;
use super::metrics::METRICS;
use super::undo::ReclaimReport;
use crate::buffer::StorageError;

const INTERVAL: Duration = Duration::from_millis(250);
/// So many pages reclaimed in one pass: the next one comes at once.
const MUCH: usize = 256;

/// Starts the passes; they end with the system.
pub(super) fn spawn(system: &Arc<TransactionSystem>) {
    tokio::spawn(tidy(Arc::downgrade(system)));
    tokio::spawn(free(Arc::downgrade(system)));
}

async fn tidy(system: Weak<TransactionSystem>) {
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
            Err(error) if ends(&error, "reclaim of undo") => return,
            Err(_) => {}
        }
    }
}

async fn free(system: Weak<TransactionSystem>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some(system) = system.upgrade() else {
            return;
        };
        if let Err(error) = system.free_dropped().await
            && ends(&error, "freeing of dropped trees")
        {
            return;
        }
    }
}

/// Whether a pass that failed is the last one.
fn ends(error: &StorageError, what: &str) -> bool {
    match error {
        // The engine stops, and says why.
        StorageError::Volume(error) if !error.is_retryable() => true,
        error if error.is_retryable() => {
            tracing::warn!(%error, "background {what} was put off; it is tried again");
            false
        }
        error => {
            tracing::error!(%error, "background {what} stops; space is no longer reclaimed until a restart");
            true
        }
    }
}

impl TransactionSystem {
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
        // Pages are read at the VDL, whatever snapshot asks: what an old one must see comes from undo. Reads that were sent
        // before the last pass have been answered by now, or are repeated with a newer point.
        store.set_read_floor(*before);
        *before = store.vdl();
        self.reclaim_undo().await
    }
}
