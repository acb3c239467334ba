//! Log appends: batches of 4, 16 and 64 KiB from 1 and 16 senders, against fio that makes writes of the same size durable
//! in the same way. Nothing is ever said to be durable for the volume, so no page is made meanwhile.

use std::path::Path;
use std::time::Duration;

use super::fio::Fio;
use super::node::{Node, Settings};
use super::percentile;
use super::writer::{Load, Run, Writer};
use crate::rounds::{Series, paired_ratio};
use crate::table::Table;
use crate::{BenchArgs, BenchError};

/// Bytes that the log adds in front of a batch: a batch of "4 KiB" fills a block together with them.
const OVERHEAD: usize = 48;
/// Batches in flight from one sender.
const WINDOW: usize = 8;
/// Pages that a sender changes: so many that none gets a long chain, which the background would look at in vain.
const PAGES: u64 = 65_536;
/// Senders at most.
const SENDERS: u64 = 16;

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
}

pub(super) fn run(args: &BenchArgs, sextant: &Path) -> Result<Table, BenchError> {
    let (rounds, seconds) = if args.quick { (3, 2) } else { (5, 5) };
    let settings = Settings { log_file_bytes: 64 << 20, log_budget_bytes: 64 << 30, memory_bytes: 4 << 30 };
    let mut table = Table::new("Storage node, log appends");
    let mut cases: Vec<Case> =
        [4, 16, 64].iter().flat_map(|kib| [1, 16].map(|n| Case::new(*kib, n))).collect();
    for round in 1..=rounds {
        // A new node a round: nothing that a round leaves behind weighs on the next one.
        let node = Node::start(sextant, settings)?;
        let fio = Fio::find(node.beside())?;
        if round == 1 {
            let flush = node.metrics()?.flush();
            table.configuration = vec![
                settings.shown(),
                format!(
                    "node: one group of all that waits in one durable write ({flush}), {WINDOW} batches in flight a sender"
                ),
                Fio::log_pattern(&flush) + ", bytes a write = the node's mean group in the round before it",
                format!("{rounds} rounds of {seconds} s each, node and fio by turns"),
            ];
        }
        let connect = |volume| Writer::new(node.client()?, volume, PAGES, false);
        let mut writers: Vec<Writer> = (1..=SENDERS).map(connect).collect::<Result<_, _>>()?;
        for case in &mut cases {
            case.round(&node, &fio, &mut writers, seconds)?;
        }
    }
    for case in &cases {
        table.row(case.shown());
    }
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
        }
    }

    fn round(
        &mut self,
        node: &Node,
        fio: &Fio,
        writers: &mut [Writer],
        seconds: u32,
    ) -> Result<(), BenchError> {
        let before = node.metrics()?;
        let load = Load::Updates(self.kib * 1024 - OVERHEAD);
        let runs = at_once(&mut writers[..self.senders], load, Duration::from_secs(u64::from(seconds)))?;
        let after = node.metrics()?;
        let new = |name| after.total(name) - before.total(name);
        let written = new("log_written_bytes_total");
        let group = written / new("log_groups_total").max(1.0);
        let block = ((group / 4096.0).round() as u64).max(1) * 4096;
        let mut latencies: Vec<u64> = runs.iter().flat_map(|run| run.latencies_us.iter().copied()).collect();
        latencies.sort_unstable();
        let payload: u64 = runs.iter().map(|run| run.bytes).sum();
        self.ours.values.push(written / f64::from(seconds));
        self.payload.values.push(payload as f64 / f64::from(seconds));
        self.group.values.push(group);
        self.p50.values.push(percentile(&latencies, 0.5));
        self.p99.values.push(percentile(&latencies, 0.99));
        self.device.values.push(fio.log_writes(block, &after.flush(), seconds)?.bytes_per_s);
        eprintln!("{}", self.shown());
        Ok(())
    }

    fn shown(&self) -> String {
        let mib = |series: &Series| series.median() / f64::from(1 << 20);
        format!(
            "{:>2} KiB x {:>2} senders: {:>7.1} MiB/s written ({:.1} of batches), fio {:>7.1} MiB/s, ratio {:.2}; mean group {:.1} KiB, p50 {:.0} us, p99 {:.0} us",
            self.kib,
            self.senders,
            mib(&self.ours),
            mib(&self.payload),
            mib(&self.device),
            paired_ratio(&self.ours, &self.device),
            self.group.median() / 1024.0,
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
