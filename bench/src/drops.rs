//! A large table is dropped while clients commit: how long the statement takes, and what a commit costs them before it
//! and while the space is given back, beside PostgreSQL with the same quorum, whose drop ends with the removal of its
//! files.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio_postgres::Error;

use crate::peer::{Peer, Postgres, Replication, SextantCluster};
use crate::rounds::{Series, paired_ratio};
use crate::table::Table;
use crate::workload::{Target, buckets, percentile_ms};
use crate::{BenchArgs, BenchError, sql};

/// How long commits are timed before the drop, and after it at the least.
const WINDOW: Duration = Duration::from_secs(5);
/// Nothing was given back for so long: all is.
const SILENCE: Duration = Duration::from_secs(2);
/// How long giving space back may take.
const FREE_LIMIT: Duration = Duration::from_secs(600);
/// Bytes of text in a row that a commit inserts.
const WIDTH: usize = 1000;

/// Milliseconds of several drops, and pages given back.
#[derive(Default)]
struct Times {
    statement: Series,
    before: Series,
    after: Series,
    freeing: Series,
    freed: Series,
}

/// A commit that was answered.
struct Commit {
    at: Instant,
    took: Duration,
}

pub(crate) fn run(args: &BenchArgs, sextant: &Path) -> Result<Table, BenchError> {
    let rounds = args.rounds.unwrap_or(if args.quick { 1 } else { 3 }).max(1);
    let mib = args.mib.first().copied().unwrap_or(if args.quick { 128 } else { 1024 });
    let mut table = Table::new("A dropped table beside commits");
    let cluster = SextantCluster::start(sextant, args.segments)?;
    let postgres = Postgres::start(Replication::Quorum)?;
    let sides: [&dyn Peer; 2] = [&cluster, &postgres];
    table.configuration = sides.iter().map(|side| side.configuration()).collect();
    table.configuration.push(format!(
        "a table of {mib} MiB with a primary key; {} clients that insert a row of {WIDTH} bytes and commit; {rounds} rounds",
        args.clients
    ));
    let mut times = [Times::default(), Times::default()];
    for _ in 0..rounds {
        for (side, times) in sides.iter().zip(&mut times) {
            eprintln!("{}: a table of {mib} MiB ...", side.name());
            drop_beside(*side, args.clients, mib, times)?;
        }
    }
    for (side, times) in sides.iter().zip(&times) {
        row(&mut table, side.name(), times);
    }
    let [ours, theirs] = times;
    table.figure("drop_statement_ms", ours.statement.median(), "ms");
    table.figure("drop_freed_pages", ours.freed.median(), "pages");
    table.figure("drop_commit_p99_before_ms", ours.before.median(), "ms");
    table.figure("drop_commit_p99_while_freed_ms", ours.after.median(), "ms");
    table.figure("drop_commit_p99_ratio", paired_ratio(&ours.after, &ours.before), "ratio");
    table.figure("drop_commit_p99_pg_ratio", paired_ratio(&theirs.after, &theirs.before), "ratio");
    Ok(table)
}

fn row(table: &mut Table, name: &str, times: &Times) {
    let freed = match times.freed.median() {
        0.0 => String::new(),
        pages => format!("; {pages:.0} pages given back in {:.0} ms", times.freeing.median()),
    };
    table.row(format!(
        "{name:<22} drop {:>6.0} ms; p99 of a commit {:>7.2} ms before, {:>7.2} ms from the drop on{freed}",
        times.statement.median(),
        times.before.median(),
        times.after.median()
    ));
}

/// Fills a table, drops it among commits and waits until its space is back.
fn drop_beside(side: &dyn Peer, clients: u32, mib: u32, times: &mut Times) -> Result<(), BenchError> {
    let target = side.target();
    sql::block_on(async { fill(&target, mib).await.map_err(sql::failed("cannot load the table")) })?;
    let stop = Arc::new(AtomicBool::new(false));
    let (of_load, stopped) = (target.clone(), Arc::clone(&stop));
    let load = std::thread::spawn(move || sql::block_on(commit_until(of_load, clients, stopped)));
    std::thread::sleep(WINDOW);
    let freed_before = side.freed_pages()?;
    let begun = Instant::now();
    let dropped = drop_and_wait(side, begun);
    std::thread::sleep(WINDOW.saturating_sub(begun.elapsed()));
    stop.store(true, Ordering::Relaxed);
    let commits = load.join().map_err(|_| BenchError::Peer("the load's thread panicked".into()))??;
    let (statement, freeing) = dropped?;
    times.statement.values.push(ms(statement));
    let (before, after): (Vec<_>, Vec<_>) = commits.into_iter().partition(|commit| commit.at < begun);
    times.before.values.push(p99_ms(&before));
    times.after.values.push(p99_ms(&after));
    if let Some((now, then)) = side.freed_pages()?.zip(freed_before) {
        times.freed.values.push(now - then);
        times.freeing.values.push(ms(freeing));
    }
    Ok(())
}

/// How long the statement took, and how long it was until the last page was given back.
fn drop_and_wait(side: &dyn Peer, begun: Instant) -> Result<(Duration, Duration), BenchError> {
    let target = side.target();
    sql::block_on(async {
        let dropped = async { sql::connect(&target).await?.batch_execute("drop table dropped").await };
        dropped.await.map_err(sql::failed("cannot drop the table"))
    })?;
    let statement = begun.elapsed();
    let (mut seen, mut since) = (side.freed_pages()?, Instant::now());
    while seen.is_some() && since.elapsed() < SILENCE {
        if begun.elapsed() > FREE_LIMIT {
            return Err(BenchError::Peer(format!("space was still given back after {FREE_LIMIT:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
        let freed = side.freed_pages()?;
        if freed != seen {
            (seen, since) = (freed, Instant::now());
        }
    }
    Ok((statement, since.duration_since(begun)))
}

async fn fill(target: &Target, mib: u32) -> Result<(), Error> {
    let client = sql::connect(target).await?;
    for statement in [
        "drop table if exists dropped, drop_commits",
        "create table dropped (id int8 primary key, filler text not null)",
        "create table drop_commits (client int not null, n int8 not null, filler text not null, primary key (client, n))",
    ] {
        client.batch_execute(statement).await?;
    }
    sql::fill(&client, i64::from(mib) * sql::ROWS_PER_MIB, |series| {
        format!("insert into dropped select g, repeat('x', 980) from {series}")
    })
    .await
}

/// Clients that commit again and again until they are told to stop.
async fn commit_until(
    target: Target,
    clients: u32,
    stop: Arc<AtomicBool>,
) -> Result<Vec<Commit>, BenchError> {
    let one = |number| tokio::spawn(client(target.clone(), number, Arc::clone(&stop)));
    let running: Vec<_> = (0..clients as i32).map(one).collect();
    let mut all = Vec::new();
    for client in running {
        let ended = client.await.map_err(|e| BenchError::Peer(format!("a client stopped: {e}")))?;
        all.extend(ended.map_err(sql::failed("a client of the load"))?);
    }
    Ok(all)
}

async fn client(target: Target, number: i32, stop: Arc<AtomicBool>) -> Result<Vec<Commit>, Error> {
    let client = sql::connect(&target).await?;
    let insert = client.prepare("insert into drop_commits values ($1, $2, $3)").await?;
    let filler = "x".repeat(WIDTH);
    let mut commits = Vec::new();
    while !stop.load(Ordering::Relaxed) {
        let begun = Instant::now();
        client.execute(&insert, &[&number, &(commits.len() as i64), &filler]).await?;
        commits.push(Commit { at: Instant::now(), took: begun.elapsed() });
    }
    Ok(commits)
}

fn p99_ms(commits: &[Commit]) -> f64 {
    percentile_ms(&buckets(commits.iter().map(|commit| ms(commit.took))), 0.99)
}

fn ms(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
