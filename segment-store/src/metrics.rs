//! What a storage node tells on /metrics.

use std::sync::LazyLock;

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, exponential_buckets,
};
use sextant_redo::{Lsn, SegmentId};

/// All of them.
pub(crate) struct Metrics {
    pub(crate) batches: IntCounter,
    pub(crate) records: IntCounter,
    pub(crate) append_bytes: IntCounter,
    pub(crate) duplicates: IntCounter,
    pub(crate) groups: IntCounter,
    pub(crate) written_bytes: IntCounter,
    pub(crate) log_files: IntCounterVec,
    pub(crate) group_entries: Histogram,
    pub(crate) group_bytes: Histogram,
    pub(crate) write_seconds: Histogram,
    pub(crate) queued_bytes: IntGauge,
    pub(crate) append_waiting_bytes: IntGauge,
    pub(crate) append_wait_seconds: Histogram,
    pub(crate) log_bytes: IntGauge,
    pub(crate) log_cache_bytes: IntGauge,
    pub(crate) pending_records: IntGauge,
    pub(crate) log_batches: IntGauge,
    pub(crate) map_blocks: IntGauge,
    pub(crate) page_reads: IntCounterVec,
    pub(crate) page_read_seconds: Histogram,
    pub(crate) materialised: IntCounter,
    pub(crate) page_store_bytes: IntGauge,
    pub(crate) page_store_free: IntGauge,
    pub(crate) page_store_written: IntCounter,
    pub(crate) checkpoints: IntCounter,
    pub(crate) checkpoint_written: IntCounter,
    pub(crate) connections: IntGauge,
    pub(crate) requests: IntCounterVec,
    pub(crate) errors: IntCounterVec,
    pub(crate) backend: IntGaugeVec,
    pub(crate) gossip_bytes: IntCounter,
    pub(crate) copies_begun: IntCounter,
    pub(crate) copies_done: IntCounter,
    pub(crate) tails_begun: IntCounter,
    pub(crate) tail_bytes: IntGauge,
    pub(crate) segments_dropped: IntCounter,
    pub(crate) copied_bytes: IntCounter,
    pub(crate) scrub_passes: IntCounter,
    pub(crate) scrub_pages: IntCounter,
    pub(crate) scrub_log_bytes: IntCounter,
    pub(crate) damaged_files: IntGauge,
    pub(crate) scrub_bad: IntCounterVec,
    pub(crate) scrub_repaired: IntCounterVec,
    pub(crate) scrub_unrepairable: IntCounter,
    scl: IntGaugeVec,
    vdl: IntGaugeVec,
    holes: IntGaugeVec,
}

pub(crate) static METRICS: LazyLock<Metrics> =
    LazyLock::new(|| Metrics::register().expect("metric names are valid and registered once"));

fn counter(name: &str, help: &str) -> prometheus::Result<IntCounter> {
    let metric = IntCounter::new(format!("sextant_segment_{name}"), help)?;
    prometheus::register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauge(name: &str, help: &str) -> prometheus::Result<IntGauge> {
    let metric = IntGauge::new(format!("sextant_segment_{name}"), help)?;
    prometheus::register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn counters(name: &str, help: &str, label: &str) -> prometheus::Result<IntCounterVec> {
    let metric = IntCounterVec::new(Opts::new(format!("sextant_segment_{name}"), help), &[label])?;
    prometheus::register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn gauges(name: &str, help: &str, labels: &[&str]) -> prometheus::Result<IntGaugeVec> {
    let metric = IntGaugeVec::new(Opts::new(format!("sextant_segment_{name}"), help), labels)?;
    prometheus::register(Box::new(metric.clone()))?;
    Ok(metric)
}

fn histogram(name: &str, help: &str, buckets: Vec<f64>) -> prometheus::Result<Histogram> {
    let options = HistogramOpts::new(format!("sextant_segment_{name}"), help).buckets(buckets);
    let metric = Histogram::with_opts(options)?;
    prometheus::register(Box::new(metric.clone()))?;
    Ok(metric)
}

impl Metrics {
    fn register() -> prometheus::Result<Metrics> {
        let latency = exponential_buckets(25e-6, 1.6, 24)?;
        Ok(Metrics {
            batches: counter("append_batches_total", "Batches made durable")?,
            records: counter("append_records_total", "Records in batches made durable")?,
            append_bytes: counter("append_bytes_total", "Bytes of batches made durable")?,
            duplicates: counter("append_known_total", "Batches answered at once: the log held them already")?,
            groups: counter("log_groups_total", "Groups written, one durable write each")?,
            written_bytes: counter(
                "log_written_bytes_total",
                "Bytes written to the hot log, padding included",
            )?,
            log_files: counters(
                "log_files_total",
                "Log files that the log went on to: made and written with zeros, or freed before and used again",
                "how",
            )?,
            group_entries: histogram(
                "log_group_entries",
                "Entries in one group",
                exponential_buckets(1.0, 2.0, 12)?,
            )?,
            group_bytes: histogram(
                "log_group_bytes",
                "Bytes of one group, padding included",
                exponential_buckets(4096.0, 2.0, 12)?,
            )?,
            write_seconds: histogram("log_write_seconds", "Write and flush of one group", latency.clone())?,
            queued_bytes: gauge("log_queued_bytes", "Bytes that wait for the log")?,
            append_waiting_bytes: gauge(
                "append_waiting_bytes",
                "Bytes of batches that wait until pages were made of earlier ones",
            )?,
            append_wait_seconds: histogram(
                "append_wait_seconds",
                "How long batches waited until pages were made of earlier ones; those that did not wait are not counted",
                exponential_buckets(1e-3, 2.0, 16)?,
            )?,
            log_bytes: gauge("log_bytes", "Bytes of hot log on disk that hold log")?,
            log_cache_bytes: gauge("log_cache_bytes", "Bytes of the newest log in memory")?,
            pending_records: gauge("pending_records", "Records that are in no page image yet")?,
            log_batches: gauge("log_batches", "Batches in the log, of which memory holds an entry each")?,
            map_blocks: gauge("page_map_blocks", "Blocks of the page map in memory, 8 KiB each")?,
            page_reads: counters(
                "page_reads_total",
                "Pages served, by the slowest source that was needed",
                "source",
            )?,
            page_read_seconds: histogram(
                "page_read_seconds",
                "From request to answer of a page read",
                latency,
            )?,
            materialised: counter(
                "pages_materialised_total",
                "Page images made and written in the background",
            )?,
            page_store_bytes: gauge("page_store_bytes", "Bytes of the page store on disk")?,
            page_store_free: gauge("page_store_free_bytes", "Bytes of the page store that are free for use")?,
            page_store_written: counter(
                "page_store_written_bytes_total",
                "Bytes written to the page store: images and blocks",
            )?,
            checkpoints: counter("checkpoints_total", "Checkpoints written")?,
            checkpoint_written: counter("checkpoint_written_bytes_total", "Bytes of checkpoints written")?,
            connections: gauge("connections", "Open connections")?,
            requests: counters("requests_total", "Requests received, by kind", "kind")?,
            errors: counters("errors_total", "Errors answered or met, by kind", "kind")?,
            backend: gauges(
                "disk_backend",
                "1 for the backend and flush method in use",
                &["backend", "flush"],
            )?,
            gossip_bytes: counter("gossip_fetched_bytes_total", "Bytes of log fetched from peers")?,
            copies_begun: counter("copies_begun_total", "Copies of a segment's pages begun")?,
            copies_done: counter("copies_done_total", "Copies of a segment's pages completed")?,
            tails_begun: counter(
                "tails_begun_total",
                "Tails that began further on because no peer's log reached back to them",
            )?,
            tail_bytes: gauge(
                "tail_log_bytes",
                "Bytes of log that tails keep: not every full segment is known to have it",
            )?,
            segments_dropped: counter(
                "segments_dropped_total",
                "Copies dropped on a node that was replaced",
            )?,
            copied_bytes: counter("copied_bytes_total", "Bytes of page images copied from peers")?,
            scrub_passes: counter("scrub_passes_total", "Times that everything was read again")?,
            scrub_pages: counter("scrub_pages_total", "Page images looked at by scrubbing")?,
            scrub_log_bytes: counter("scrub_log_bytes_total", "Bytes of log read by scrubbing")?,
            damaged_files: gauge(
                "damaged_log_files",
                "Log files in which scrubbing found damage and that are still kept",
            )?,
            scrub_bad: counters("damage_found_total", "Damage found, by where", "what")?,
            scrub_repaired: counters("damage_repaired_total", "Damage replaced from a peer", "what")?,
            scrub_unrepairable: counter(
                "repairs_failed_total",
                "Attempts at a repair for which no peer had what was needed; they are repeated",
            )?,
            scl: gauges("scl_lsn", "Segment complete LSN", &["volume", "pg"])?,
            vdl: gauges("vdl_lsn", "Highest VDL that writers have told", &["volume", "pg"])?,
            holes: gauges("chain_holes", "Holes in the segment chain", &["volume", "pg"])?,
        })
    }

    /// Where a segment stands.
    pub(crate) fn segment(&self, id: SegmentId, scl: Lsn, vdl: Lsn, holes: usize) {
        let (volume, pg) = (id.volume.to_string(), id.pg.to_string());
        let labels = [volume.as_str(), pg.as_str()];
        self.scl.with_label_values(&labels).set(scl.0 as i64);
        self.vdl.with_label_values(&labels).set(vdl.0 as i64);
        self.holes.with_label_values(&labels).set(holes as i64);
    }

    /// Counts an error.
    pub(crate) fn error(&self, kind: &str) {
        self.errors.with_label_values(&[kind]).inc();
    }
}
