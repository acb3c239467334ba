//! What the transaction layer counts.

use std::sync::LazyLock;

use prometheus::{Gauge, IntCounter, IntGauge, register_gauge, register_int_counter, register_int_gauge};

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(Metrics::new);

pub(crate) struct Metrics {
    pub(crate) commits: IntCounter,
    pub(crate) rollbacks: IntCounter,
    pub(crate) savepoint_rollbacks: IntCounter,
    pub(crate) lock_waits: IntCounter,
    pub(crate) waiting: IntGauge,
    pub(crate) deadlocks: IntCounter,
    pub(crate) serializable_refused: IntCounter,
    pub(crate) serializable_kept: IntGauge,
    pub(crate) undo_pages: IntGauge,
    pub(crate) oldest_snapshot_lag: IntGauge,
    pub(crate) oldest_snapshot_age: Gauge,
    pub(crate) vacuumed_rows: IntCounter,
    pub(crate) vacuumed_index_entries: IntCounter,
    pub(crate) vacuumed_values: IntCounter,
    pub(crate) garbage_lost: IntCounter,
    pub(crate) freed_pages: IntCounter,
    pub(crate) trees_to_free: IntGauge,
    pub(crate) tree_free_failures: IntCounter,
}

fn counter(name: &str, help: &str) -> IntCounter {
    register_int_counter!(name, help).expect("each metric is registered once")
}

fn gauge(name: &str, help: &str) -> IntGauge {
    register_int_gauge!(name, help).expect("each metric is registered once")
}

impl Metrics {
    fn new() -> Metrics {
        Metrics {
            commits: counter("sextant_engine_commits_total", "Transactions that wrote and committed"),
            rollbacks: counter(
                "sextant_engine_rollbacks_total",
                "Transactions that wrote and were rolled back",
            ),
            savepoint_rollbacks: counter(
                "sextant_engine_savepoint_rollbacks_total",
                "Rollbacks to a savepoint, those after an error behind one included",
            ),
            lock_waits: counter(
                "sextant_engine_lock_waits_total",
                "Waits for a lock or for a transaction's end",
            ),
            waiting: gauge(
                "sextant_engine_lock_waiting",
                "Transactions that wait for a lock or for another's end, as the last background pass saw it",
            ),
            deadlocks: counter("sextant_engine_deadlocks_total", "Waits refused because they closed a cycle"),
            serializable_refused: counter(
                "sextant_engine_serializable_refused_total",
                "Steps of SERIALIZABLE transactions refused for read/write dependencies",
            ),
            serializable_kept: gauge(
                "sextant_engine_serializable_kept",
                "SERIALIZABLE transactions that run or that one that runs may still have missed, when the last one began",
            ),
            undo_pages: gauge("sextant_engine_undo_pages", "Undo pages that this engine knows"),
            oldest_snapshot_lag: gauge(
                "sextant_engine_oldest_snapshot_lag_bytes",
                "Bytes of log between the oldest snapshot in use and the VDL",
            ),
            oldest_snapshot_age: register_gauge!(
                "sextant_engine_oldest_snapshot_age_seconds",
                "How long the oldest snapshot in use has been so, as the background passes saw it; 0 when there is none"
            )
            .expect("each metric is registered once"),
            vacuumed_rows: counter("sextant_engine_vacuumed_rows_total", "Dead rows removed"),
            vacuumed_index_entries: counter(
                "sextant_engine_vacuumed_index_entries_total",
                "Dead index entries removed",
            ),
            vacuumed_values: counter(
                "sextant_engine_vacuumed_values_total",
                "Large values removed that no row refers to any more",
            ),
            garbage_lost: counter(
                "sextant_engine_garbage_lost_total",
                "Dead rows, index entries and large values left to a whole vacuum because the cleaner's list was full",
            ),
            freed_pages: counter(
                "sextant_engine_freed_pages_total",
                "Pages of dropped tables and indexes given back, and of those whose creation was rolled back",
            ),
            trees_to_free: gauge(
                "sextant_engine_trees_to_free",
                "Dropped tables' and indexes' trees that a snapshot still needs or that could not be freed, as the last pass left it",
            ),
            tree_free_failures: counter(
                "sextant_engine_tree_free_failures_total",
                "Dropped trees that could not be freed; their pages stay listed, and the next start tries again",
            ),
        }
    }
}
