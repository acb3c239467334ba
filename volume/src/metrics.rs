//! What the driver counts, on /metrics.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramVec, IntCounter, IntCounterVec, IntGauge, exponential_buckets, histogram_opts,
    register_histogram, register_histogram_vec, register_int_counter, register_int_counter_vec,
    register_int_gauge,
};

pub(crate) struct Metrics {
    /// Bytes of log appended, as LSNs count them.
    pub(crate) log_bytes: IntCounter,
    /// Mini-transactions appended.
    pub(crate) mtrs: IntCounter,
    /// Rounds sent, by why they went out when they did.
    pub(crate) rounds: IntCounterVec,
    /// Batches sealed.
    pub(crate) batches: IntCounter,
    /// Batches put on a connection, by node.
    pub(crate) sends: IntCounterVec,
    /// Bytes written to a connection, by node.
    pub(crate) sent_bytes: IntCounterVec,
    /// Vectored writes, by node.
    pub(crate) writes: IntCounterVec,
    /// Append acknowledgements, by node.
    pub(crate) acks: IntCounterVec,
    /// Batches put on a connection that had been sent to that node before, by node.
    pub(crate) resends: IntCounterVec,
    /// Connections made after the first, by node.
    pub(crate) reconnects: IntCounterVec,
    /// Next LSN - VDL.
    pub(crate) vdl_distance: IntGauge,
    /// How long a commit waited for its LSN.
    pub(crate) commit_wait: Histogram,
    /// Page reads by node that was asked and result.
    pub(crate) page_reads: IntCounterVec,
    /// How long a page read took until it was answered, by node that answered.
    pub(crate) page_read_seconds: HistogramVec,
    /// Second requests because the first was slow.
    pub(crate) hedges: IntCounter,
}

pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    let buckets = exponential_buckets(0.000_05, 2.0, 18).expect("positive start and factor");
    let read_buckets = buckets.clone();
    let by_node = |name: &str, help: &str| {
        register_int_counter_vec!(name, help, &["node"]).expect("the name is registered once")
    };
    let counter =
        |name: &str, help: &str| register_int_counter!(name, help).expect("the name is registered once");
    Metrics {
        log_bytes: counter("sextant_volume_log_bytes_total", "Bytes of log appended"),
        mtrs: counter("sextant_volume_mtrs_total", "Mini-transactions appended"),
        rounds: register_int_counter_vec!(
            "sextant_volume_rounds_total",
            "Rounds of log sent: much, gathered, together, alone, patient",
            &["why"]
        )
        .expect("the name is registered once"),
        batches: counter("sextant_volume_batches_total", "Batches sealed"),
        sends: by_node("sextant_volume_sends_total", "Batches sent, by node"),
        sent_bytes: by_node("sextant_volume_sent_bytes_total", "Bytes sent, by node"),
        writes: by_node("sextant_volume_writes_total", "Vectored socket writes, by node"),
        acks: by_node("sextant_volume_acks_total", "Append acknowledgements, by node"),
        resends: by_node("sextant_volume_resends_total", "Batches sent again, by node"),
        reconnects: by_node("sextant_volume_reconnects_total", "Connections made again, by node"),
        vdl_distance: register_int_gauge!(
            "sextant_volume_vdl_distance_bytes",
            "Next LSN minus volume durable LSN"
        )
        .expect("the name is registered once"),
        commit_wait: register_histogram!(histogram_opts!(
            "sextant_volume_commit_wait_seconds",
            "Time from asking for durability of an LSN to having it",
            buckets
        ))
        .expect("the name is registered once"),
        page_reads: register_int_counter_vec!(
            "sextant_volume_page_reads_total",
            "Page reads asked of storage, by node and result",
            &["node", "result"]
        )
        .expect("the name is registered once"),
        page_read_seconds: register_histogram_vec!(
            histogram_opts!(
                "sextant_volume_page_read_seconds",
                "Time of a page read, by node that answered",
                read_buckets
            ),
            &["node"]
        )
        .expect("the name is registered once"),
        hedges: counter(
            "sextant_volume_hedged_reads_total",
            "Second page requests because the first was slow",
        ),
    }
});
