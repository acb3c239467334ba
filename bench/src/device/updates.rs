//! What an update workload costs in writes and in space, over time; and the space that comes back when its volume is dropped.

use std::time::{Duration, Instant};

use sextant_redo::VolumeId;

use super::node::Node;
use super::percentile;
use super::writer::{Load, Writer};
use crate::BenchError;
use crate::table::Table;

const MIB: f64 = (1 << 20) as f64;
/// Stretches of time that are shown each by itself: what creeps up shows between the first and the last.
const STRETCHES: u32 = 10;
/// Batches in flight.
const WINDOW: usize = 8;
/// Space that has not come back for so long does not come back.
const NO_LESS: Duration = Duration::from_secs(5);
/// How long a node may take to hear that a volume was dropped.
const HEARS: Duration = Duration::from_secs(60);

/// Bytes since the start of the node.
#[derive(Debug, Clone, Copy)]
struct Written {
    log: f64,
    store: f64,
    checkpoints: f64,
}

impl Written {
    fn of(node: &Node) -> Result<Written, BenchError> {
        let metrics = node.metrics()?;
        Ok(Written {
            log: metrics.total("log_written_bytes_total"),
            store: metrics.total("page_store_written_bytes_total"),
            checkpoints: metrics.total("checkpoint_written_bytes_total"),
        })
    }

    fn since(self, before: Written) -> Written {
        Written {
            log: self.log - before.log,
            store: self.store - before.store,
            checkpoints: self.checkpoints - before.checkpoints,
        }
    }

    fn all(self) -> f64 {
        self.log + self.store + self.checkpoints
    }
}

/// Updates of `batch` bytes at random for `seconds`: bytes written to the device a byte of log, bytes taken on it a byte of
/// `pages`.
pub(super) fn run(
    table: &mut Table,
    node: &Node,
    writer: &mut Writer,
    (batch, pages, seconds): (usize, u64, u32),
) -> Result<(), BenchError> {
    table.row(format!("updates for {seconds} s"));
    let pages = pages as f64 * 8192.0;
    let (first, started) = (Written::of(node)?, Instant::now());
    let (mut before, mut all, mut peak) = (first, 0.0, 0.0f64);
    for _ in 0..STRETCHES {
        let time = Duration::from_secs_f64(f64::from(seconds) / f64::from(STRETCHES));
        let mut run = writer.run(Load::Updates(batch), WINDOW, u64::MAX, time)?;
        run.latencies_us.sort_unstable();
        let (after, disk, bytes) = (Written::of(node)?, node.disk_bytes()? as f64, run.bytes as f64);
        table.row(format!(
            "  {:>4.0} s: {:>5.1} MiB/s of log received, {:.2} bytes written for each; on disk {:.2} times the pages, resident {:.0} MiB; p50 {:.1} ms, p99 {:.1} ms",
            started.elapsed().as_secs_f64(),
            bytes / time.as_secs_f64() / MIB,
            after.since(before).all() / bytes,
            disk / pages,
            node.resident_bytes() as f64 / MIB,
            percentile(&run.latencies_us, 0.5) / 1e3,
            percentile(&run.latencies_us, 0.99) / 1e3,
        ));
        (before, all, peak) = (after, all + bytes, peak.max(disk));
    }
    let written = before.since(first);
    table.row(format!(
        "  in all: {:.0} MiB of log received, written: log {:.0}, page store {:.0}, checkpoints {:.1} MiB; on disk {:.0} MiB at most for {:.0} MiB of pages",
        all / MIB,
        written.log / MIB,
        written.store / MIB,
        written.checkpoints / MIB,
        peak / MIB,
        pages / MIB,
    ));
    table.figure("write_amplification", written.all() / all, "ratio");
    table.figure("space_amplification", peak / pages, "ratio");
    table.figure("node_resident_mib", node.resident_bytes() as f64 / MIB, "MiB");
    Ok(())
}

/// Drops the volume and waits until no more space comes back.
pub(super) fn after_a_drop(table: &mut Table, node: &Node, volume: VolumeId) -> Result<(), BenchError> {
    let (before, log) = (node.disk_bytes()?, node.log_files_bytes()?);
    node.drop_volume(volume)?;
    let started = Instant::now();
    while node.metrics()?.total("segments_dropped_total") < 1.0 {
        if started.elapsed() > HEARS {
            return Err(BenchError::Peer(format!(
                "the volume was dropped, and its segment not within {HEARS:?}"
            )));
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    let (heard, mut last, mut least) = (started.elapsed(), started.elapsed(), before);
    while started.elapsed() < last + NO_LESS {
        std::thread::sleep(Duration::from_millis(50));
        let disk = node.disk_bytes()?;
        if disk < least {
            (least, last) = (disk, started.elapsed());
        }
    }
    let kept = node.log_files_bytes()? as f64 / MIB;
    table.row(format!(
        "dropped: heard after {:.1} s, and {:.1} s later on disk {:.0} MiB instead of {:.0}: {kept:.0} MiB of log files to be used again ({:.0} before), {:.1} MiB of anything else",
        heard.as_secs_f64(),
        (last - heard).as_secs_f64(),
        least as f64 / MIB,
        before as f64 / MIB,
        log as f64 / MIB,
        least as f64 / MIB - kept,
    ));
    table.figure("after_drop_mib", least as f64 / MIB, "MiB");
    table.figure("after_drop_without_log_mib", least as f64 / MIB - kept, "MiB");
    Ok(())
}
