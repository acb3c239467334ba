//! How long a crash is felt: a server is killed with transactions of many clients in flight, after so much log; another
//! process opens the data. PostgreSQL alone replays its log since the last checkpoint beside it. Then one of our six
//! storage nodes is killed under the same load.
//!
//! After every crash the rows are counted: whoever lost a commit that was answered, or shows half a transaction, ends
//! the benchmark.
//!
//! | module | idea |
//! | --- | --- |
//! | [`writers`] | transactions in flight, what was answered, what must be there |
//! | [`probe`] | the first commit and the first read after a moment |

mod probe;
mod writers;

use std::path::Path;
use std::time::{Duration, Instant};

use crate::peer::{Crash, Peer, Postgres, Replication, SextantCluster};
use crate::rounds::Series;
use crate::table::Table;
use crate::{BenchArgs, BenchError, process};
use writers::Writers;

/// A process that has lived so long is started again at once by its supervisor, without a pause that grows.
const STEADY: Duration = Duration::from_secs(10);
/// How long the load goes on after a storage node was killed.
const AFTER: Duration = Duration::from_secs(3);
/// How long a killed process may take until it serves again: PostgreSQL replays gigabytes.
const BACK_LIMIT: Duration = Duration::from_secs(600);
/// How long the log may take to grow as far as it must.
const WRITE_LIMIT: Duration = Duration::from_secs(1800);

/// Times of several crashes, in milliseconds.
#[derive(Default)]
struct Times {
    written_mib: Series,
    from_kill: Series,
    from_start: Series,
}

pub(crate) fn run(args: &BenchArgs, sextant: &Path) -> Result<Table, BenchError> {
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 5 }).max(1);
    let mut sizes = args.mib.clone();
    if sizes.is_empty() {
        sizes = if args.quick { vec![8, 32] } else { vec![64, 1024] };
    }
    let mut table = Table::new("Restart after a crash");
    let cluster = SextantCluster::start(sextant, args.segments)?;
    let postgres = Postgres::start(Replication::Alone)?;
    table.configuration = vec![
        cluster.configuration(),
        format!("{}, checkpoint before the load", postgres.configuration()),
        format!(
            "{} clients, transactions of {}; SIGKILL of the engine, or of all of PostgreSQL; {rounds} rounds",
            args.clients,
            writers::TRANSACTION
        ),
    ];
    let sides: [&dyn Crash; 2] = [&cluster, &postgres];
    let mut ours = Vec::new();
    for mib in &sizes {
        let mut times = [Times::default(), Times::default()];
        for _ in 0..rounds {
            for (side, times) in sides.iter().zip(&mut times) {
                crash(*side, args.clients, *mib, times)?;
            }
        }
        for (side, times) in sides.iter().zip(&times) {
            row(&mut table, side.name(), *mib, times);
        }
        let [of_ours, of_postgres] = times;
        table.figure(format!("restart_{mib}_mib_ms"), of_ours.from_start.median(), "ms");
        table.figure(format!("restart_{mib}_mib_from_kill_ms"), of_ours.from_kill.median(), "ms");
        table.figure(format!("restart_{mib}_mib_pg_ms"), of_postgres.from_start.median(), "ms");
        ours.push(of_ours.from_start.median());
    }
    if let (Some(smallest), Some(largest)) = (ours.first(), ours.last().filter(|_| ours.len() > 1)) {
        table.figure("restart_ms", *largest, "ms");
        table.figure("restart_largest_vs_smallest", largest / smallest.max(0.001), "ratio");
    }
    for mib in &sizes {
        storage_node(&mut table, &cluster, args.clients, *mib)?;
    }
    Ok(table)
}

fn row(table: &mut Table, name: &str, mib: u32, times: &Times) {
    table.row(format!(
        "{name:<18} after {mib:>5} MiB of log ({:.0} written): first commit {:>7.0} ms after the start of the process, {:>7.0} ms after the kill; nothing lost",
        times.written_mib.median(),
        times.from_start.median(),
        times.from_kill.median()
    ));
}

/// Writes, kills the server, waits for the first commit, counts the rows.
fn crash(side: &dyn Crash, clients: u32, mib: u32, times: &mut Times) -> Result<(), BenchError> {
    eprintln!("{}: {mib} MiB of log ...", side.name());
    wait_until_steady(side.server()?)?;
    side.settle()?;
    let (writers, written) = write(side, clients, mib)?;
    let killed = side.crash()?;
    let first = probe::commit(&side.target(), BACK_LIMIT)?;
    let age = process::age(side.server()?).map(|age| age.saturating_sub(first.elapsed()));
    let from_start =
        age.ok_or_else(|| BenchError::Peer(format!("{}: the new process is gone", side.name())))?;
    writers.crashed().verify(&side.target())?;
    times.written_mib.values.push(written);
    times.from_kill.values.push(first.duration_since(killed).as_secs_f64() * 1e3);
    times.from_start.values.push(from_start.as_secs_f64() * 1e3);
    Ok(())
}

fn wait_until_steady(pid: u32) -> Result<(), BenchError> {
    let age = process::age(pid).ok_or_else(|| BenchError::Peer(format!("process {pid} is gone")))?;
    std::thread::sleep(STEADY.saturating_sub(age));
    Ok(())
}

/// Starts the load and returns when so much log was written, with how much it was.
fn write(peer: &dyn Peer, clients: u32, mib: u32) -> Result<(Writers, f64), BenchError> {
    let before = peer.written()?;
    let writers = Writers::start(&peer.target(), clients)?;
    let started = Instant::now();
    loop {
        let written = peer.written()?.since(&before).log_bytes / f64::from(1 << 20);
        if written >= f64::from(mib) {
            return Ok((writers, written));
        }
        if !writers.run() || started.elapsed() > WRITE_LIMIT {
            writers.stopped()?;
            return Err(BenchError::Peer(format!("{mib} MiB of log took longer than {WRITE_LIMIT:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Kills one storage node of six under load.
fn storage_node(
    table: &mut Table,
    cluster: &SextantCluster,
    clients: u32,
    mib: u32,
) -> Result<(), BenchError> {
    eprintln!("storage node: {mib} MiB of log ...");
    let (writers, written) = write(cluster, clients, mib)?;
    let killed = cluster.kill("segment")?;
    let at = killed.at;
    let (commit, read) = probe::commit_and_read(&cluster.target(), BACK_LIMIT)?;
    let stall = writers.longest_stall(AFTER);
    let back = cluster.wait_until_healthy(&killed, BACK_LIMIT)?;
    let answered = writers.stopped()?;
    answered.verify(&cluster.target())?;
    let ms = |moment: Instant| moment.duration_since(at).as_secs_f64() * 1e3;
    table.row(format!(
        "storage node killed after {mib:>5} MiB ({written:.0} written): first new commit after {:.0} ms, first read {:.0} ms, longest time without a commit {:.0} ms, node serves again after {:.0} ms; nothing lost",
        ms(commit),
        ms(read),
        stall.as_secs_f64() * 1e3,
        ms(back)
    ));
    table.figure(format!("node_killed_{mib}_mib_commit_ms"), ms(commit), "ms");
    table.figure(format!("node_killed_{mib}_mib_stall_ms"), stall.as_secs_f64() * 1e3, "ms");
    table.figure(format!("node_killed_{mib}_mib_back_ms"), ms(back), "ms");
    Ok(())
}
