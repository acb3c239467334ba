//! What the front door counts.

use std::sync::LazyLock;

use prometheus::{
    IntCounter, IntCounterVec, IntGauge, Opts, register_int_counter, register_int_counter_vec,
    register_int_gauge,
};

/// Sessions now.
pub(super) static CONNECTIONS: LazyLock<IntGauge> = LazyLock::new(|| {
    register_int_gauge!("sextant_sql_connections", "Sessions that are connected now")
        .expect("registered once")
});

/// Connections accepted, by how the startup ended.
pub(super) static STARTUPS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new(
        "sextant_sql_startups_total",
        "Connections by what became of their startup: session, cancel, refused, garbage, late, gone",
    );
    register_int_counter_vec!(opts, &["outcome"]).expect("registered once")
});

/// Connections closed because what came was not the protocol.
pub(super) static PROTOCOL_ERRORS: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!(
        "sextant_sql_protocol_errors_total",
        "Connections closed because the client broke the protocol"
    )
    .expect("registered once")
});

/// Bytes received.
pub(super) static BYTES_IN: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("sextant_sql_received_bytes_total", "Bytes received from clients")
        .expect("registered once")
});

/// Bytes sent.
pub(super) static BYTES_OUT: LazyLock<IntCounter> = LazyLock::new(|| {
    register_int_counter!("sextant_sql_sent_bytes_total", "Bytes sent to clients").expect("registered once")
});

/// Times that a session thread polled before sleeping, by what came of it.
pub(super) static POLLS: LazyLock<IntCounterVec> = LazyLock::new(|| {
    let opts = Opts::new(
        "sextant_sql_idle_polls_total",
        "Times a session thread polled before sleeping: found, contended (others wanted the processor), nothing",
    );
    register_int_counter_vec!(opts, &["outcome"]).expect("registered once")
});
