//! A whole run: a cluster starts, a bank works on it, faults strike; then all is healed, the bank is compared with what its
//! clients know and the cluster with its invariants; then everything is killed, and compared again.

use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use sextant_node::shutdown;
use sextant_sim::rng::Rng;
use tempfile::TempDir;

use crate::bank::{self, Crew, Load, Outcome};
use crate::cluster::{Cluster, SMALL_DISK_BYTES};
use crate::disk::SmallDisk;
use crate::plan::{Plan, opening};
use crate::ports::Ports;
use crate::report::Report;
use crate::storm::{START_LIMIT, Storm};

/// Clients of the bank.
const CREW: Crew = Crew { first: 0, tellers: 8, readers: 2, patience: Duration::from_secs(3) };
/// Commits that a healed cluster must answer, and within how long.
const COMMITS_AFTER: (u64, Duration) = (50, Duration::from_secs(30));
/// Longest run for one kill wished.
const TIME_A_KILL: Duration = Duration::from_secs(20);
/// How long `sextant verify` may take.
const VERIFY_LIMIT: Duration = Duration::from_secs(120);

/// How long faults strike.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Limit {
    /// So long.
    Time(Duration),
    /// Until so many processes were killed (everything at once counts as one), at most 20 s for each.
    Kills(u64),
}

/// What is to be done.
#[derive(Debug, Clone)]
pub struct Wish {
    /// The program under test.
    pub sextant: PathBuf,
    /// How long.
    pub limit: Limit,
    /// What faults are drawn from.
    pub seed: u64,
}

/// Why there is no verdict. Everything was cleaned up.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FireError {
    /// There is no program to test.
    #[error(
        "there is no sextant at {}: build it with \"cargo build{} -p sextant\", or name another one with --sextant",
        .path.display(),
        if cfg!(debug_assertions) { "" } else { " --release" }
    )]
    NoSextant {
        /// Where it was looked for.
        path: PathBuf,
    },
    /// The machine does not let us.
    #[error("cannot run a cluster here: {0}")]
    Io(#[from] std::io::Error),
    /// The bank did not answer although nothing was broken any more.
    #[error("the healed cluster does not answer: {0}")]
    Bank(String),
    /// Somebody wants it to end.
    #[error("interrupted; there is no verdict")]
    Interrupted,
}

impl From<tokio_postgres::Error> for FireError {
    fn from(error: tokio_postgres::Error) -> FireError {
        FireError::Bank(error.to_string())
    }
}

/// Runs it, on the calling thread, which must live until this returns: the kernel ends the cluster's processes with it.
pub fn run(wish: &Wish) -> Result<Report, FireError> {
    if !wish.sextant.is_file() {
        return Err(FireError::NoSextant { path: wish.sextant.clone() });
    }
    let folder = TempDir::with_prefix("sextant-fire-")?;
    let mut report = Report { seed: wish.seed, ..Report::default() };
    // Before any thread is started that is to see it.
    let small = folder.path().join("small");
    let disk = match SmallDisk::mount(&small, SMALL_DISK_BYTES) {
        Ok(disk) => Some(disk),
        Err(why) => {
            let what = format!("no full disk in this run: {why}");
            println!("SKIPPED: {what}");
            report.note(what);
            None
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let outcome = runtime.block_on(async {
        let place = disk.as_ref().map(|_| small.as_path());
        let mut rng = Rng::new(wish.seed).fork();
        let mut cluster =
            Cluster::new(&wish.sextant, folder.path(), place, Ports::reserve(), &mut rng).await?;
        tokio::select! {
            outcome = under_fire(wish, &mut cluster, disk.as_ref(), &mut report) => outcome,
            () = shutdown::signal() => Err(FireError::Interrupted),
        }
        // Dropping the cluster kills what is left of it.
    });
    runtime.shutdown_background();
    drop(disk);
    if !matches!(outcome, Ok(()) if report.is_clean()) {
        keep_logs(folder.path());
    }
    outcome.map(|()| report)
}

/// What the processes said is worth more than a clean temporary folder when something was found.
fn keep_logs(folder: &Path) {
    let kept = folder.with_extension("logs");
    match std::fs::rename(folder.join("logs"), &kept) {
        Ok(()) => println!("logs of all processes: {}", kept.display()),
        Err(error) => println!("the logs are lost: {error}"),
    }
}

async fn under_fire(
    wish: &Wish,
    cluster: &mut Cluster,
    disk: Option<&SmallDisk>,
    report: &mut Report,
) -> Result<(), FireError> {
    println!("starting three metadata processes, six storage nodes and an engine");
    cluster.start_all()?;
    let ports = cluster.sql_ports();
    let client = bank::connect_within(&ports, START_LIMIT).await;
    let client = client.ok_or_else(|| FireError::Bank(format!("no SQL within {START_LIMIT:?}")))?;
    bank::create(&client).await?;
    drop(client);
    let load = Load::start(&ports, CREW);
    let mut storm = Storm::new(cluster, disk, report, load.pace().clone());
    strike(wish, disk.is_some(), &mut storm).await?;
    let lasted = storm.elapsed();
    storm.say("no more faults; waiting until all is well");
    storm.calm().await?;
    if !load.wait_for(COMMITS_AFTER.0, COMMITS_AFTER.1).await {
        let what = format!(
            "fewer than {} commits in {:?} after everything was healed",
            COMMITS_AFTER.0, COMMITS_AFTER.1
        );
        storm.report.finding(what);
    }
    (storm.report.longest_stall, storm.report.longest_due_stall) = load.pace().longest();
    let mut outcome = load.stop().await;
    storm.report.lasted = lasted;
    storm.report.refused = outcome.refused();
    storm.report.reads = std::mem::take(&mut outcome.reads);
    verify(wish, &mut storm, &outcome).await?;
    storm.say("killing everything once more");
    storm.kill_everything(Duration::ZERO).await?;
    storm.calm().await?;
    verify(wish, &mut storm, &outcome).await?;
    report.flips = cluster.links().map(|link| link.flips()).sum();
    for link in cluster.links() {
        let (connections, resets) = link.connections();
        report.connections = (report.connections.0 + connections, report.connections.1 + resets);
    }
    cluster.stop_all();
    Ok(())
}

/// Faults strike until there was enough of them.
async fn strike(wish: &Wish, full_disk: bool, storm: &mut Storm<'_>) -> Result<(), FireError> {
    let mut plan = Plan::new(wish.seed, full_disk);
    let mut first =
        opening().into_iter().filter(|drawn| full_disk || !drawn.strike.needs_small_disk()).peekable();
    let limit = match wish.limit {
        Limit::Time(limit) => limit,
        Limit::Kills(kills) => TIME_A_KILL * u32::try_from(kills).unwrap_or(u32::MAX),
    };
    let enough = |kills: u64| matches!(wish.limit, Limit::Kills(wanted) if kills >= wanted);
    let mut next = Instant::now();
    while storm.elapsed() < limit && !enough(storm.kills()) && !storm.is_stuck() {
        storm.tick().await?;
        if Instant::now() < next {
            continue;
        }
        // Those of the opening come one by one, each from full health.
        let drawn = match first.peek() {
            Some(_) => {
                if storm.impaired().is_healthy() {
                    first.next()
                } else {
                    None
                }
            }
            None => plan.draw(storm.impaired()),
        };
        if let Some(drawn) = drawn {
            storm.strike(drawn).await?;
        }
        next = Instant::now() + plan.pause();
    }
    Ok(())
}

/// Compares the bank with what its clients know, and the cluster with its invariants.
async fn verify(wish: &Wish, storm: &mut Storm<'_>, outcome: &Outcome) -> Result<(), FireError> {
    let ports = storm.cluster.sql_ports();
    let client = bank::connect_within(&ports, START_LIMIT).await;
    let client = client.ok_or_else(|| FireError::Bank(format!("no SQL within {START_LIMIT:?}")))?;
    let verdict = outcome.verdict(&client).await?;
    storm.say(&format!("the bank: {verdict}"));
    storm.report.verdicts.push(verdict);
    let (clean, said) = sextant_verify(&wish.sextant, storm.cluster)?;
    storm.say(&format!("sextant verify: {said}"));
    if !clean {
        storm.report.finding(format!("sextant verify: {said}"));
    }
    storm.report.verified.push(said);
    Ok(())
}

/// Runs `sextant verify` against the cluster: whether it found nothing wrong, and what it said in one line.
fn sextant_verify(sextant: &Path, cluster: &Cluster) -> std::io::Result<(bool, String)> {
    let mut command = Command::new(sextant);
    command.args(["verify", "--output", "json", "--pages", "1000"]);
    cluster.meta_addresses().iter().for_each(|member| {
        command.arg("--meta").arg(member.to_string());
    });
    let said = tempfile::tempfile()?;
    let mut child =
        command.stdin(Stdio::null()).stdout(said.try_clone()?).stderr(said.try_clone()?).spawn()?;
    let deadline = Instant::now() + VERIFY_LIMIT;
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if Instant::now() > deadline {
            child.kill()?;
            child.wait()?;
            return Ok((false, format!("no end within {VERIFY_LIMIT:?}")));
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let text = read_from_start(said)?;
    let Ok(report) = serde_json::from_str::<serde_json::Value>(&text) else {
        return Ok((false, format!("{status}: {}", text.trim())));
    };
    let mut parts = Vec::new();
    for check in report["checks"].as_array().into_iter().flatten() {
        let word = |key: &str| check[key].as_str().unwrap_or("?").to_owned();
        parts.push(format!("{} {} ({})", word("invariant"), check["checked"], word("unit")));
        for violation in check["violations"].as_array().into_iter().flatten() {
            parts.push(format!("VIOLATED: {violation}"));
        }
        for open in check["unchecked"].as_array().into_iter().flatten() {
            parts.push(format!("unchecked: {open}"));
        }
    }
    Ok((status.success() && report["ok"] == true, parts.join(", ")))
}

fn read_from_start(mut file: std::fs::File) -> std::io::Result<String> {
    use std::io::{Read, Seek};
    let mut text = String::new();
    file.rewind()?;
    file.read_to_string(&mut text)?;
    Ok(text)
}
