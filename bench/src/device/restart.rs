//! A node with many pages and a full log is killed and started again: how long until it serves.

use std::path::Path;
use std::time::{Duration, Instant};

use super::node::{Metrics, Node, Scrub, Settings};
use super::writer::{Load, Writer};
use crate::rounds::Series;
use crate::table::Table;
use crate::{BenchArgs, BenchError};

const SETTINGS: Settings = Settings {
    log_file_bytes: 64 << 20,
    log_budget_bytes: 1 << 30,
    memory_bytes: 128 << 20,
    scrub: Scrub::Weekly,
};

/// How long the background may take to come within its bounds.
const REST: Duration = Duration::from_secs(1800);

/// Waits until the log is within its budget.
fn at_rest(node: &Node) -> Result<Metrics, BenchError> {
    let started = Instant::now();
    loop {
        let metrics = node.metrics()?;
        if metrics.total("log_bytes") <= SETTINGS.log_budget_bytes as f64 {
            // One more round of the background: it writes what a start needs.
            std::thread::sleep(Duration::from_secs(2));
            return node.metrics();
        }
        if started.elapsed() > REST {
            return Err(BenchError::Peer(format!("the log is over its budget after {REST:?}")));
        }
        std::thread::sleep(Duration::from_millis(500));
    }
}

pub(super) fn run(args: &BenchArgs, sextant: &Path) -> Result<Table, BenchError> {
    let gib = args.gib.unwrap_or(if args.quick { 1 } else { 10 });
    let (rounds, pages) = (if args.quick { 3 } else { 5 }, (u64::from(gib) << 30) / 8192);
    let mut table = Table::new("Storage node, start after a kill");
    let mut node = Node::start(sextant, SETTINGS)?;
    table.configuration = vec![
        SETTINGS.shown(),
        format!(
            "{gib} GiB of pages, then updates until the log is full; killed, started, asked until it answers"
        ),
    ];
    let mut writer = Writer::new(node.client()?, 1, pages, true)?;
    eprintln!("writing {pages} pages ...");
    writer.run(Load::Images(64), 4, pages / 64, Duration::from_secs(1800))?;
    let budget = SETTINGS.log_budget_bytes / (64 << 10);
    writer.run(Load::Updates(64 << 10), 4, budget, Duration::from_secs(600))?;
    let metrics = at_rest(&node)?;
    let (log, store) = (metrics.total("log_bytes"), metrics.total("page_store_bytes"));
    let pending = metrics.total("pending_records");
    let mut times = Series::default();
    for _ in 0..rounds {
        node.crash_and_start()?;
        let started = Instant::now();
        node.wait_until_serving()?;
        times.values.push(started.elapsed().as_secs_f64() * 1e3);
    }
    let mib = f64::from(1 << 20);
    table.row(format!(
        "{:.0} MiB of page store, {:.0} MiB of log, {pending:.0} records in no image: median {:.0} ms from start of the process to its first answer, resident {:.0} MiB",
        store / mib,
        log / mib,
        times.median(),
        node.resident_bytes() as f64 / mib
    ));
    table.figure("node_restart_ms", times.median(), "ms");
    Ok(table)
}
