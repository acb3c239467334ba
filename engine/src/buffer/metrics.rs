//! The page cache's figures, for people ([`PoolStats`]) and for Prometheus. Hits are counted under the shards' locks and
//! summed when asked for, so that counting costs a look-up nothing.

use std::sync::{Arc, LazyLock, Weak};

use parking_lot::Mutex;
use prometheus::core::{Collector, Desc};
use prometheus::proto::MetricFamily;
use prometheus::{IntCounter, IntGauge};

use super::BufferPool;

/// Counts of one page cache since its start, and its size.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PoolStats {
    /// Look-ups that found their page.
    pub hits: u64,
    /// Look-ups that did not.
    pub misses: u64,
    /// Pages dropped to make room.
    pub evictions: u64,
    /// Times a page could not be dropped because it had changes above the VDL.
    pub undurable_skips: u64,
    /// Times a fetch found no frame at once and waited.
    pub full_waits: u64,
    /// Times a mini-transaction let go of its latches because another latch could not be had in time.
    pub contended: u64,
    /// Frames of the cache.
    pub frames: u64,
    /// Frames that hold a page.
    pub frames_used: u64,
}

/// Sums up the pools of this process when Prometheus asks.
struct PoolCollector {
    pools: Arc<Mutex<Vec<Weak<BufferPool>>>>,
    descs: Vec<Desc>,
}

static POOLS: LazyLock<Arc<Mutex<Vec<Weak<BufferPool>>>>> = LazyLock::new(|| {
    let pools = Arc::new(Mutex::new(Vec::new()));
    let descs = families(&PoolStats::default())
        .iter()
        .map(|m| match m {
            Figure::Counter(c, _) => c.desc().into_iter().cloned().collect::<Vec<_>>(),
            Figure::Gauge(g, _) => g.desc().into_iter().cloned().collect(),
        })
        .collect::<Vec<_>>()
        .concat();
    let collector = PoolCollector { pools: Arc::clone(&pools), descs };
    if let Err(error) = prometheus::register(Box::new(collector)) {
        tracing::warn!(%error, "page cache metrics are not exported");
    }
    pools
});

enum Figure {
    Counter(IntCounter, u64),
    Gauge(IntGauge, u64),
}

fn families(stats: &PoolStats) -> Vec<Figure> {
    let counters = [
        ("hits_total", "Page look-ups that found the page cached", stats.hits),
        ("misses_total", "Page look-ups that did not find the page cached", stats.misses),
        ("evictions_total", "Pages dropped from the cache to make room", stats.evictions),
        (
            "undurable_skips_total",
            "Times a page stayed in the cache only because its changes were not durable yet",
            stats.undurable_skips,
        ),
        ("full_waits_total", "Times a page read waited for a frame", stats.full_waits),
        (
            "latch_retries_total",
            "Times a mini-transaction started over because a latch could not be had in time",
            stats.contended,
        ),
    ];
    let gauges = [
        ("frames", "Frames of the page cache, 8 KiB each", stats.frames),
        ("frames_used", "Frames that hold a page", stats.frames_used),
    ];
    let name = |part: &str| format!("sextant_cache_{part}");
    let counters = counters
        .into_iter()
        .filter_map(|(n, help, v)| IntCounter::new(name(n), help).ok().map(|c| Figure::Counter(c, v)));
    let gauges = gauges
        .into_iter()
        .filter_map(|(n, help, v)| IntGauge::new(name(n), help).ok().map(|g| Figure::Gauge(g, v)));
    counters.chain(gauges).collect()
}

impl Collector for PoolCollector {
    fn desc(&self) -> Vec<&Desc> {
        self.descs.iter().collect()
    }

    fn collect(&self) -> Vec<MetricFamily> {
        let mut total = PoolStats::default();
        for pool in self.pools.lock().iter().filter_map(Weak::upgrade) {
            total.add(&pool.stats());
        }
        let collect = |figure: Figure| match figure {
            Figure::Counter(counter, value) => {
                counter.inc_by(value);
                counter.collect()
            }
            Figure::Gauge(gauge, value) => {
                gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
                gauge.collect()
            }
        };
        families(&total).into_iter().flat_map(collect).collect()
    }
}

impl PoolStats {
    fn add(&mut self, other: &PoolStats) {
        self.hits += other.hits;
        self.misses += other.misses;
        self.evictions += other.evictions;
        self.undurable_skips += other.undurable_skips;
        self.full_waits += other.full_waits;
        self.contended += other.contended;
        self.frames += other.frames;
        self.frames_used += other.frames_used;
    }
}

/// Exports the figures of `pool` for as long as it lives.
pub(super) fn watch(pool: &Arc<BufferPool>) {
    let mut pools = POOLS.lock();
    pools.retain(|p| p.strong_count() > 0);
    pools.push(Arc::downgrade(pool));
}
