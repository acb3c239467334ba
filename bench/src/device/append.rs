//! Log appends: batches of 4, 16 and 64 KiB from 1 and 16 senders, against fio that makes writes of the same size durable
//! in the same way.
//!
//! Measured is the steady state. Every batch says that what was acknowledged is durable and that nobody reads below it, so
//! the node makes pages of old log and uses its files again; before the first round several times its budget of log is written.
//! What the node does for that meanwhile (images, checkpoints) is in its figure, and shown as bytes written to the
//! device for each byte of log.

use std::path::Path;
use std::time::{Duration, Instant};

use super::fio::Fio;
use super::node::{Metrics, Node, Scrub, Settings};
use super::percentile;
use super::writer::{Load, Run, Writer};
use crate::rounds::{Series, paired_ratio};
use crate::table::Table;
use crate::{BenchArgs, BenchError};

/// Bytes that the log adds in front of a batch: a batch of "4 KiB" fills a block together with them.
const OVERHEAD: usize = 48;
/// Batches in flight from one sender.
const WINDOW: usize = 8;
/// Pages that a sender changes. Each gets an image for some hundred records, so that the log is nearly all of what goes to
/// the device: what pages cost is another benchmark's.
const PAGES: u64 = 128;
/// Senders at most.
const SENDERS: u64 = 16;
/// The log's budget as it is by default, and the memory that its records need.
const SETTINGS: Settings = Settings {
    log_file_bytes: 64 << 20,
    log_budget_bytes: 1 << 30,
    memory_bytes: 1 << 30,
    scrub: Scrub::Weekly,
};
/// Log that is written before the first round, in budgets: by then files have come free, and were used again.
const WARM_UP_BUDGETS: u64 = 4;
/// How long it may take until then.
const WARM_UP: Duration = Duration::from_secs(300);

/// A node with so many times its budget of log does not keep up, and is not let fill the device.
const BUDGETS_MAX: u64 = 4;

/// One shape of load and what it gave, round by round.
struct Case {
    kib: usize,
    senders: usize,
    ours: Series,
    device: Series,
    p50: Series,
    p99: Series,
    payload: Series,
    group: Series,
    /// Processor time of the node and of the senders for a mebibyte of log, in microseconds.
    node_us: Series,
    senders_us: Series,
    /// Bytes written to the device for each byte of log.
    amplification: Series,
}

pub(super) fn run(args: &BenchArgs, sextant: &Path) -> Result<Table, BenchError> {
    let (rounds, seconds) = if args.quick { (3, 2) } else { (5, 5) };
    let mut table = Table::new("Storage node, log appends");
    let mut cases: Vec<Case> =
        [4, 16, 64].iter().flat_map(|kib| [1, 16].map(|n| Case::new(*kib, n))).collect();
    let node = Node::start(sextant, SETTINGS)?;
    let fio = Fio::find(node.beside())?;
    let flush = node.metrics()?.flush();
    table.configuration = vec![
        SETTINGS.shown(),
        format!(
            "node: one group of all that waits in one durable write ({flush}), {WINDOW} batches in flight a sender, {PAGES} pages a sender"
        ),
        Fio::log_pattern(&flush, SETTINGS.log_budget_bytes)
            + ", bytes a write = the node's mean group in the round before it",
        format!(
            "{rounds} rounds of {seconds} s each, node and fio by turns, behind a log that no longer grows"
        ),
    ];
    let connect = |volume| Writer::new(node.client()?, volume, PAGES, true);
    let mut writers: Vec<Writer> = (1..=SENDERS).map(connect).collect::<Result<_, _>>()?;
    warm_up(&node, &mut writers)?;
    let warm = node.metrics()?;
    for _ in 0..rounds {
        for case in &mut cases {
            case.round(&node, &fio, &mut writers, seconds)?;
        }
    }
    for case in &cases {
        table.row(case.shown());
    }
    let (after, files) = (node.metrics()?, |metrics: &Metrics, how| metrics.labelled("log_files_total", how));
    let new = |how| files(&after, how) - files(&warm, how);
    table.row(format!("log files in these rounds: {:.0} used again, {:.0} made", new("reused"), new("made")));
    for case in &cases {
        let name = format!("append_{}k_{}_vs_fio", case.kib, case.senders);
        table.figure(name, paired_ratio(&case.ours, &case.device), "ratio");
    }
    let all = Series { values: cases.iter().map(|case| paired_ratio(&case.ours, &case.device)).collect() };
    table.figure("append_vs_fio", all.median(), "ratio");
    let worst = all.values.iter().copied().fold(f64::INFINITY, f64::min);
    table.figure("append_vs_fio_lowest", worst, "ratio");
    Ok(table)
}

fn check_keeps_up(metrics: &Metrics) -> Result<(), BenchError> {
    let log = metrics.total("log_bytes");
    if log <= (BUDGETS_MAX * SETTINGS.log_budget_bytes) as f64 {
        return Ok(());
    }
    let mib = f64::from(1 << 20);
    let what =
        format!("the node does not keep up: {:.0} MiB of log, {} times its budget", log / mib, BUDGETS_MAX);
    Err(BenchError::Peer(what))
}

/// Writes log until the node has used files again, and its log has settled.
fn warm_up(node: &Node, writers: &mut [Writer]) -> Result<(), BenchError> {
    eprintln!("filling the log until its files are used again ...");
    let started = Instant::now();
    loop {
        at_once(writers, Load::Updates(64 * 1024 - OVERHEAD), Duration::from_secs(1))?;
        let metrics = node.metrics()?;
        check_keeps_up(&metrics)?;
        let written = metrics.total("log_written_bytes_total");
        let reused = metrics.labelled("log_files_total", "reused");
        if reused > 0.0 && written >= (WARM_UP_BUDGETS * SETTINGS.log_budget_bytes) as f64 {
            return Ok(());
        }
        if started.elapsed() > WARM_UP {
            let what = format!("{written:.0} bytes of log in {WARM_UP:?}, and {reused} files used again");
            return Err(BenchError::Peer(what));
        }
    }
}

impl Case {
    fn new(kib: usize, senders: usize) -> Case {
        let none = Series::default;
        Case {
            kib,
            senders,
            ours: none(),
            device: none(),
            p50: none(),
            p99: none(),
            payload: none(),
            group: none(),
            node_us: none(),
            senders_us: none(),
            amplification: none(),
        }
    }

    fn round(
        &mut self,
        node: &Node,
        fio: &Fio,
        writers: &mut [Writer],
        seconds: u32,
    ) -> Result<(), BenchError> {
        // What fio is to be measured beside must not find the node at work.
        let before = (node.metrics()?, node.settled_bytes()?, node.processor_seconds());
        let load = Load::Updates(self.kib * 1024 - OVERHEAD);
        let started = Instant::now();
        let runs = at_once(&mut writers[..self.senders], load, Duration::from_secs(u64::from(seconds)))?;
        let elapsed = started.elapsed().as_secs_f64();
        let after = (node.metrics()?, node.settled_bytes()?, node.processor_seconds());
        check_keeps_up(&after.0)?;
        let new = |name| after.0.total(name) - before.0.total(name);
        let written = new("log_written_bytes_total");
        let group = written / new("log_groups_total").max(1.0);
        let block = ((group / 4096.0).round() as u64).max(1) * 4096;
        let mut latencies: Vec<u64> = runs.iter().flat_map(|run| run.latencies_us.iter().copied()).collect();
        latencies.sort_unstable();
        let payload: u64 = runs.iter().map(|run| run.bytes).sum();
        self.ours.values.push(written / elapsed);
        self.payload.values.push(payload as f64 / elapsed);
        self.group.values.push(group);
        self.amplification.values.push((after.1 - before.1) as f64 / written.max(1.0));
        let us_a_mib = |seconds: f64| seconds * 1e6 / (written / f64::from(1 << 20)).max(1.0);
        self.node_us.values.push(us_a_mib(after.2.0 - before.2.0));
        self.senders_us.values.push(us_a_mib(after.2.1 - before.2.1));
        self.p50.values.push(percentile(&latencies, 0.5));
        self.p99.values.push(percentile(&latencies, 0.99));
        let device = fio.log_writes(block, SETTINGS.log_budget_bytes, &after.0.flush(), seconds)?;
        self.device.values.push(device.bytes_per_s);
        eprintln!("{}", self.shown());
        Ok(())
    }

    fn shown(&self) -> String {
        let mib = |series: &Series| series.median() / f64::from(1 << 20);
        format!(
            "{:>2} KiB x {:>2} senders: {:>7.1} MiB/s written ({:.1} of batches), fio {:>7.1} MiB/s, ratio {:.2}; mean group {:.1} KiB, {:.2} bytes to the device a byte of log, processor us a MiB node {:.0} senders {:.0}, p50 {:.0} us, p99 {:.0} us",
            self.kib,
            self.senders,
            mib(&self.ours),
            mib(&self.payload),
            mib(&self.device),
            paired_ratio(&self.ours, &self.device),
            self.group.median() / 1024.0,
            self.amplification.median(),
            self.node_us.median(),
            self.senders_us.median(),
            self.p50.median(),
            self.p99.median()
        )
    }
}

/// All writers at once, each on a thread of its own.
pub(super) fn at_once(writers: &mut [Writer], load: Load, time: Duration) -> Result<Vec<Run>, BenchError> {
    std::thread::scope(|scope| {
        let run = |writer| scope.spawn(move || Writer::run(writer, load, WINDOW, u64::MAX, time));
        let running: Vec<_> = writers.iter_mut().map(run).collect();
        let gone = || BenchError::Peer("a sender's thread panicked".into());
        running.into_iter().map(|thread| thread.join().map_err(|_| gone())?).collect()
    })
}
