//! Pages: random reads over four times the node's memory, at depth 1 and 32, against fio on a file of the same size; pages
//! with records that wait; what updates cost in writes and in space ([`updates`]); appends while pages are made in the
//! background.

use std::path::Path;
use std::time::{Duration, Instant};

use sextant_redo::PageId;
use sextant_redo::wire::{Reply, Request};

use super::append::at_once;
use super::client::Client;
use super::fio::Fio;
use super::node::{Node, Scrub, Settings};
use super::writer::{Load, Writer, epochs};
use super::{percentile, updates};
use crate::rounds::{Series, paired_ratio};
use crate::table::Table;
use crate::{BenchArgs, BenchError};

const SETTINGS: Settings = Settings {
    log_file_bytes: 16 << 20,
    log_budget_bytes: 64 << 20,
    memory_bytes: 32 << 20,
    scrub: Scrub::Weekly,
};
/// Pages over which is read: four times the memory.
const PAGES: u64 = 4 * SETTINGS.memory_bytes / 8192;
/// Pages that get records on top of their image.
const TOPPED: u64 = 256;
/// Records that wait on each of them.
const WAITING: u64 = 16;
/// Bytes of a batch of updates.
const BATCH: usize = 16 * 1024;
/// Pages of the segment that pushes the log on: so few that each gets an image often.
const PUSHER_PAGES: u64 = 64;
/// Records that such pages keep waiting.
const PENDING_AT_REST: f64 = 12_000.0;
/// How long the background may take to put everything into images.
const SETTLE: Duration = Duration::from_secs(120);

pub(super) fn run(args: &BenchArgs, sextant: &Path) -> Result<Table, BenchError> {
    let (rounds, seconds) = if args.quick { (3, 2) } else { (5, 5) };
    let mut table = Table::new("Storage node, pages");
    table.configuration = vec![
        SETTINGS.shown(),
        format!("pages: {PAGES} of 8 KiB, every one in an image; one connection, requests in flight = depth"),
        "fio: O_DIRECT, io_uring, randread of 8 KiB over a file of the same size, one job".into(),
        format!("{rounds} rounds of {seconds} s each, node and fio by turns"),
    ];
    let node = Node::start(sextant, SETTINGS)?;
    // The volume's other five segments.
    node.register_absent(&[0, 1, 1, 2, 2])?;
    let volume = node.create_volume("bench")?;
    let mut writer = Writer::new(node.client()?, volume.0, PAGES, true)?;
    fill(&node, &mut writer)?;
    reads(&mut table, &node, &writer, (rounds, seconds))?;
    waiting_records(&mut table, &node, &mut writer, rounds)?;
    let update_s = args.seconds.unwrap_or(if args.quick { 20 } else { 600 });
    updates::run(&mut table, &node, &mut writer, (BATCH, PAGES, update_s))?;
    updates::after_a_drop(&mut table, &node, volume)?;
    drop(node);
    background(&mut table, sextant, (rounds, seconds))?;
    Ok(table)
}

/// An image of every page in the page store: what a second segment logs pushes the first one's records out of the log.
fn fill(node: &Node, writer: &mut Writer) -> Result<(), BenchError> {
    eprintln!("writing {PAGES} pages ...");
    writer.run(Load::Images(16), 4, PAGES / 16, SETTLE)?;
    // A later batch says that the last ones are durable.
    writer.run(Load::Images(1), 1, 2, SETTLE)?;
    let mut pusher = Writer::new(node.client()?, writer.segment().volume.0 + 1, PUSHER_PAGES, true)?;
    let log = 2 * SETTINGS.log_budget_bytes / BATCH as u64;
    pusher.run(Load::Updates(BATCH), 4, log, SETTLE)?;
    let started = Instant::now();
    while node.metrics()?.total("pending_records") > PENDING_AT_REST {
        if started.elapsed() > SETTLE {
            return Err(BenchError::Peer(format!("the log was not put into images within {SETTLE:?}")));
        }
        pusher.run(Load::Updates(BATCH), 1, 64, SETTLE)?;
        std::thread::sleep(Duration::from_millis(200));
    }
    Ok(())
}

fn reads(
    table: &mut Table,
    node: &Node,
    writer: &Writer,
    (rounds, seconds): (u32, u32),
) -> Result<(), BenchError> {
    let fio = Fio::find(node.beside())?;
    let mut client = node.client()?;
    let mut lowest = f64::INFINITY;
    for depth in [1u32, 32] {
        let (mut ours, mut device, mut p99) = (Series::default(), Series::default(), Series::default());
        let before = node.metrics()?;
        for _ in 0..rounds {
            let time = Duration::from_secs(u64::from(seconds));
            let latencies = read_pages(&mut client, writer, depth as usize, time, |n| scatter(n) % PAGES)?;
            ours.values.push(latencies.len() as f64 / f64::from(seconds));
            p99.values.push(percentile(&latencies, 0.99));
            device.values.push(fio.random_reads(PAGES * 8192, depth, seconds)?.operations_per_s);
        }
        let after = node.metrics()?;
        let read = after.total("page_read_seconds_count") - before.total("page_read_seconds_count");
        let ratio = paired_ratio(&ours, &device);
        lowest = lowest.min(ratio);
        table.row(format!(
            "reads at depth {depth:>2}: {:>8.0}/s, fio {:>8.0}/s, ratio {ratio:.2}; p99 {:.0} us, {read:.0} pages served",
            ours.median(),
            device.median(),
            p99.median()
        ));
        table.figure(format!("page_reads_depth_{depth}_vs_fio"), ratio, "ratio");
    }
    fio.forget_file();
    table.figure("page_reads_vs_fio", lowest, "ratio");
    Ok(())
}

/// Spreads consecutive numbers over all numbers.
fn scatter(n: u64) -> u64 {
    let mixed = (n ^ (n >> 31)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ (mixed >> 29)
}

/// Reads pages, `depth` at once, and gives the microseconds that each took, sorted.
fn read_pages(
    client: &mut Client,
    writer: &Writer,
    depth: usize,
    time: Duration,
    page_of: impl Fn(u64) -> u64,
) -> Result<Vec<u64>, BenchError> {
    let (until, point) = (Instant::now() + time, writer.read_point());
    let mut latencies = Vec::new();
    let mut in_flight = std::collections::HashMap::new();
    let mut n = until.elapsed().as_nanos() as u64;
    loop {
        while in_flight.len() < depth && Instant::now() < until {
            n += 1;
            let page = PageId(page_of(n));
            let (segment, epochs) = (writer.segment(), epochs());
            let read = Request::ReadPage { segment, epochs, page, read_point: point, required_scl: point };
            in_flight.insert(client.queue(&read), Instant::now());
        }
        client.flush()?;
        if in_flight.is_empty() {
            latencies.sort_unstable();
            return Ok(latencies);
        }
        // What came together is taken together, and as many requests take its place by one system call.
        let mut next = Some(client.receive()?);
        while let Some((number, reply)) = next {
            match (reply, in_flight.remove(&number)) {
                (Reply::Page { .. }, Some(started)) => latencies.push(started.elapsed().as_micros() as u64),
                (other, _) => return Err(BenchError::Peer(format!("not the answer to a read: {other:?}"))),
            }
            next = client.received()?;
        }
    }
}

/// Pages with sixteen records on top of their image beside pages without.
fn waiting_records(
    table: &mut Table,
    node: &Node,
    writer: &mut Writer,
    rounds: u32,
) -> Result<(), BenchError> {
    writer.update_evenly(TOPPED, WAITING)?;
    let mut client = node.client()?;
    let (mut plain, mut topped) = (Series::default(), Series::default());
    for _ in 0..rounds {
        let time = Duration::from_secs(1);
        let latencies = read_pages(&mut client, writer, 1, time, |n| scatter(n) % TOPPED)?;
        topped.values.push(percentile(&latencies, 0.5));
        let rest = |n| TOPPED + scatter(n) % (PAGES - TOPPED);
        plain.values.push(percentile(&read_pages(&mut client, writer, 1, time, rest)?, 0.5));
    }
    let ratio = paired_ratio(&topped, &plain);
    table.row(format!(
        "a page with {WAITING} records that wait: p50 {:.0} us, one without: {:.0} us, ratio {ratio:.2}",
        topped.median(),
        plain.median()
    ));
    table.figure("page_16_pending_vs_plain", ratio, "ratio");
    Ok(())
}

/// Senders of appends whose latency is measured.
const SENDERS: u64 = 4;

/// Latency of appends on a node that makes pages all the while, and on one that scrubs all the while and feeds a peer by gossip
/// besides, beside one that does nothing of that.
fn background(table: &mut Table, sextant: &Path, (rounds, seconds): (u32, u32)) -> Result<(), BenchError> {
    let settings = Settings { memory_bytes: 8 << 20, ..SETTINGS };
    let quiet = Settings { log_budget_bytes: 64 << 30, memory_bytes: 4 << 30, ..SETTINGS };
    let busy = Node::start(sextant, Settings { scrub: Scrub::Always, ..settings })?;
    let peer = busy.start_peer()?;
    let nodes = [busy, Node::start(sextant, settings)?, Node::start(sextant, quiet)?];
    let mut writers = vec![fed_by_gossip(&nodes[0], &peer)?];
    for (node, says_vdl) in nodes[1..].iter().zip([true, false]) {
        let connect = |volume| Writer::new(node.client()?, volume, 2048, says_vdl);
        writers.push((1..=SENDERS).map(connect).collect::<Result<Vec<_>, BenchError>>()?);
    }
    let mut p99 = [Series::default(), Series::default(), Series::default()];
    let counts = || -> Result<[f64; 4], BenchError> {
        let (busy, pages) = (nodes[0].metrics()?, nodes[1].metrics()?.total("pages_materialised_total"));
        let scrubbed = busy.total("scrub_pages_total") * 8192.0 + busy.total("scrub_log_bytes_total");
        let given = peer.metrics()?.total("gossip_fetched_bytes_total");
        Ok([busy.total("pages_materialised_total"), scrubbed, given, pages])
    };
    let before = counts()?;
    for _ in 0..=rounds {
        for (writers, p99) in writers.iter_mut().zip(&mut p99) {
            let time = Duration::from_secs(u64::from(seconds));
            let runs = at_once(writers, Load::Updates(4096 - 48), time)?;
            let mut all: Vec<u64> = runs.into_iter().flat_map(|run| run.latencies_us).collect();
            all.sort_unstable();
            p99.values.push(percentile(&all, 0.99));
        }
    }
    // In the first round there is nothing to make pages of yet.
    for series in &mut p99 {
        series.values.remove(0);
    }
    let after = counts()?;
    let [made, scrubbed, given, pages] = std::array::from_fn(|n| after[n] - before[n]);
    let [all, coalescing, without] = p99;
    let ratios = [paired_ratio(&coalescing, &without), paired_ratio(&all, &without)];
    let mib = |bytes: f64| bytes / f64::from(1 << 20);
    table.row(format!(
        "appends of 4 KiB from {SENDERS} senders: p99 {:.0} us while pages are made ({pages:.0} of them), {:.0} us without, ratio {:.2}",
        coalescing.median(),
        without.median(),
        ratios[0]
    ));
    table.row(format!(
        "  p99 {:.0} us while pages are made ({made:.0}), everything is scrubbed without end ({:.0} MiB) and a peer gets its log by gossip alone ({:.0} MiB), ratio {:.2}",
        all.median(),
        mib(scrubbed),
        mib(given),
        ratios[1]
    ));
    table.figure("append_p99_with_coalescing", ratios[0], "ratio");
    table.figure("append_p99_with_all_background", ratios[1], "ratio");
    Ok(())
}

/// Writers to volumes that have a segment on both nodes and write to the first alone.
fn fed_by_gossip(node: &Node, peer: &Node) -> Result<Vec<Writer>, BenchError> {
    node.register_absent(&[0, 1, 1, 2])?;
    let mut writers = Vec::new();
    for n in 1..=SENDERS {
        let volume = node.create_volume(&format!("bench-{n}"))?.0;
        // Dropped unused: it makes the peer's segment.
        Writer::new(peer.client()?, volume, 2048, true)?;
        writers.push(Writer::new(node.client()?, volume, 2048, true)?);
    }
    Ok(writers)
}
