//! What is counted, in the process's default registry.

use std::sync::LazyLock;

use prometheus::{
    Histogram, IntCounter, IntCounterVec, IntGauge, register_histogram, register_int_counter,
    register_int_counter_vec, register_int_gauge,
};

/// Metrics of a metadata member.
pub(crate) struct Metrics {
    /// 1 while this member leads.
    pub(crate) leader: IntGauge,
    /// Raft term.
    pub(crate) term: IntGauge,
    /// Log index applied to the state.
    pub(crate) applied: IntGauge,
    /// Commands proposed here, by outcome: applied, refused (a business error), failed (unknown).
    pub(crate) proposals: IntCounterVec,
    /// From a command's proposal to its application.
    pub(crate) proposal_seconds: Histogram,
    /// What a linearizable read waits for the group's confirmation.
    pub(crate) read_index_seconds: Histogram,
    /// Epochs granted.
    pub(crate) grants: IntCounter,
    /// Leases renewed.
    pub(crate) renewals: IntCounter,
    /// Renewals refused because the epoch is over.
    pub(crate) fenced: IntCounter,
    /// Storage nodes whose heartbeat is fresh, at the leader.
    pub(crate) nodes_alive: IntGauge,
    /// Steps of replacements that this member decided on by itself.
    pub(crate) replacements: IntCounterVec,
    /// Connections closed because their bytes were no frames.
    pub(crate) garbage: IntCounter,
}

/// The one set of them.
pub(crate) static METRICS: LazyLock<Metrics> = LazyLock::new(|| {
    Metrics::register().expect("the names below are well-formed and registered nowhere else")
});

impl Metrics {
    fn register() -> prometheus::Result<Metrics> {
        let seconds = || prometheus::exponential_buckets(0.000_1, 2.0, 16);
        Ok(Metrics {
            leader: register_int_gauge!("sextant_meta_leader", "1 while this member leads")?,
            term: register_int_gauge!("sextant_meta_term", "Raft term")?,
            applied: register_int_gauge!("sextant_meta_applied_index", "Log index applied to the state")?,
            proposals: register_int_counter_vec!(
                "sextant_meta_proposals_total",
                "Commands proposed here, by outcome",
                &["outcome"]
            )?,
            proposal_seconds: register_histogram!(
                "sextant_meta_proposal_seconds",
                "From a command's proposal to its application",
                seconds()?
            )?,
            read_index_seconds: register_histogram!(
                "sextant_meta_read_index_seconds",
                "What a linearizable read waits for the group's confirmation",
                seconds()?
            )?,
            grants: register_int_counter!("sextant_meta_lease_grants_total", "Volume epochs granted")?,
            renewals: register_int_counter!("sextant_meta_lease_renewals_total", "Leases renewed")?,
            fenced: register_int_counter!(
                "sextant_meta_fenced_total",
                "Renewals refused because the epoch is over"
            )?,
            nodes_alive: register_int_gauge!(
                "sextant_meta_nodes_alive",
                "Storage nodes whose heartbeat is fresh, at the leader"
            )?,
            replacements: register_int_counter_vec!(
                "sextant_meta_replacement_steps_total",
                "Steps of replacements that this member decided on by itself, by step",
                &["step"]
            )?,
            garbage: register_int_counter!(
                "sextant_meta_garbage_connections_total",
                "Connections closed because their bytes were no frames"
            )?,
        })
    }
}
