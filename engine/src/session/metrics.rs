//! What the sessions count. Every name starts with `sextant_sql_`.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, Opts, register_histogram, register_int_counter,
    register_int_counter_vec,
};

use crate::sql::StatementKind;

/// 20 microseconds to about 10 seconds, each twice the one before.
fn latency(name: &str, help: &str) -> Histogram {
    let buckets = (0..20).map(|n| 0.000_02 * f64::from(1u32 << n)).collect();
    register_histogram!(HistogramOpts::new(name, help).buckets(buckets)).expect("registered once")
}

fn counter(name: &str, help: &str) -> IntCounter {
    register_int_counter!(name, help).expect("registered once")
}

/// Statements that completed, by kind. The counters of the kinds are resolved once.
static STATEMENTS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new("sextant_sql_statements_total", "Statements that completed, by kind");
    register_int_counter_vec!(opts, &["kind"]).expect("registered once")
});

macro_rules! kinds {
    ($($name:ident = $label:literal;)*) => {
        $(static $name: LazyLock<IntCounter> = LazyLock::new(|| STATEMENTS.with_label_values(&[$label]));)*
    };
}

kinds! {
    QUERY = "select";
    INSERT = "insert";
    UPDATE = "update";
    DELETE = "delete";
    COPY = "copy";
    DDL = "ddl";
    BLOCK = "transaction";
    OTHER = "other";
}

/// Counts a statement that completed.
pub(crate) fn statement(kind: &StatementKind) {
    let counter = match kind {
        StatementKind::Query => &QUERY,
        StatementKind::Insert => &INSERT,
        StatementKind::Update => &UPDATE,
        StatementKind::Delete => &DELETE,
        StatementKind::CopyFrom(_) | StatementKind::CopyTo(_) => &COPY,
        StatementKind::Ddl => &DDL,
        StatementKind::Begin(_) | StatementKind::Commit { .. } | StatementKind::Rollback { .. } => &BLOCK,
        _ => &OTHER,
    };
    counter.inc();
}

/// Errors told to clients.
static ERRORS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts =
        Opts::new("sextant_sql_errors_total", "Errors sent to clients, by the class of their SQLSTATE");
    register_int_counter_vec!(opts, &["class"]).expect("registered once")
});

/// From a simple query's arrival to its answer, commit included.
pub(crate) static SIMPLE: LazyLock<Histogram> =
    LazyLock::new(|| latency("sextant_sql_simple_seconds", "A simple query, from its arrival to its answer"));

/// One Execute message, without the commit at Sync.
pub(crate) static EXTENDED: LazyLock<Histogram> =
    LazyLock::new(|| latency("sextant_sql_execute_seconds", "One Execute of the extended protocol"));

/// The wait for a commit LSN at or below the VDL.
pub(crate) static COMMIT: LazyLock<Histogram> = LazyLock::new(|| {
    latency(
        "sextant_sql_commit_seconds",
        "A commit of a transaction that wrote, until it is durable at a write quorum",
    )
});

/// Rows sent.
pub(crate) static ROWS: LazyLock<IntCounter> =
    LazyLock::new(|| counter("sextant_sql_rows_sent_total", "Rows sent to clients"));

/// Plans found by their text in the cache of a session.
pub(crate) static PLANS_REUSED: LazyLock<IntCounter> = LazyLock::new(|| {
    counter("sextant_sql_plans_reused_total", "Statements whose plan was kept by their text")
});

/// Plans made.
pub(crate) static PLANS_MADE: LazyLock<IntCounter> =
    LazyLock::new(|| counter("sextant_sql_plans_made_total", "Statements parsed and planned"));

/// Counts an error told to a client.
pub(crate) fn error(sqlstate: &str) {
    ERRORS.with_label_values(&[sqlstate.get(..2).unwrap_or("XX")]).inc();
}
