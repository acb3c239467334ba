//! `sextant dev --detach` and `sextant dev stop`: a supervisor without a terminal.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom};
use std::path::Path;
use std::process::Stdio;
use std::time::{Duration, Instant};

use sextant_node::identity::{DataDir, IdentityError};
use tokio::process::Command;
use tokio::time::sleep;

use super::cluster_file::ClusterFile;
use super::layout::Layout;
use super::supervisor::{postgres_url, say};
use super::{DevError, Wishes};

/// How long a cluster may take until SQL is answered. A start takes a second or two; a slow machine more.
const READY_PATIENCE: Duration = Duration::from_secs(60);
/// How long a cluster may take to stop: three roles in a row, each killed after ten seconds.
const STOP_PATIENCE: Duration = Duration::from_secs(40);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// Starts a supervisor in a session of its own and returns once SQL is answered.
pub(crate) async fn start(dir: &Path, layout: &Layout, wishes: &Wishes) -> Result<(), DevError> {
    let logs = dir.join("logs");
    let path = logs.join("supervisor.log");
    let io = |what, source| DevError::Io { what, path: path.clone(), source };
    std::fs::create_dir_all(&logs).map_err(|source| io("create", source))?;
    let mut log = OpenOptions::new()
        .create(true)
        .append(true)
        .read(true)
        .open(&path)
        .map_err(|source| io("write", source))?;
    let from = log.seek(SeekFrom::End(0)).map_err(|source| io("write", source))?;
    let mut process = command(dir, layout, wishes, &log)
        .and_then(|mut command| command.spawn())
        .map_err(|source| DevError::Spawn { name: "the supervisor".to_owned(), source })?;
    let pid = process.id();
    let deadline = Instant::now() + READY_PATIENCE;
    while Instant::now() < deadline {
        if let Ok(Some(_)) = process.try_wait() {
            return Err(DevError::NotStarted { reason: said_since(&mut log, from) });
        }
        if ClusterFile::read(dir)?.is_some_and(|file| file.ready && file.supervisor_pid == pid) {
            let dir = dir.display();
            say(&format!("ready: {}\nstop:  sextant dev stop --data {dir}", postgres_url(layout)));
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
    Err(DevError::NotReady { dir: dir.to_owned(), seconds: READY_PATIENCE.as_secs() })
}

fn command(dir: &Path, layout: &Layout, wishes: &Wishes, log: &File) -> std::io::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    command
        .args(["dev", "--base-port", &layout.base_port.to_string()])
        .args(["--segments", &layout.segments.to_string()])
        .args(["--nodes-per-az", &layout.nodes_per_az().to_string(), "--data"])
        .arg(dir)
        .args((!wishes.restart).then_some("--no-restart"))
        .args(wishes.log_arguments())
        .stdin(Stdio::null())
        .stdout(log.try_clone()?)
        .stderr(log.try_clone()?);
    // SAFETY: setsid is async-signal-safe and allocates nothing; it leaves the terminal, whose end would end the cluster.
    unsafe {
        command.pre_exec(|| match libc::setsid() {
            -1 => Err(std::io::Error::last_os_error()),
            _ => Ok(()),
        });
    }
    Ok(command)
}

fn said_since(log: &mut File, from: u64) -> String {
    let mut said = String::new();
    match log.seek(SeekFrom::Start(from)).and_then(|_| log.read_to_string(&mut said)) {
        Ok(_) => said.trim().to_owned(),
        Err(error) => format!("and its log cannot be read: {error}"),
    }
}

/// Has the supervisor of `dir` stop its cluster and waits until it has. Nothing to do when none runs.
pub(crate) async fn stop(dir: &Path) -> Result<(), DevError> {
    let file = ClusterFile::read(dir)?;
    let pid = file.and_then(|file| file.supervisor_pid).filter(|pid| *pid > 1 && is_locked(dir));
    let Some((pid, target)) = pid.and_then(|pid| Some((pid, libc::pid_t::try_from(pid).ok()?))) else {
        say(&format!("no cluster runs in {}", dir.display()));
        return Ok(());
    };
    // SAFETY: kill touches no memory. The folder's lock is held, so the process named in it is the supervisor.
    unsafe { libc::kill(target, libc::SIGTERM) };
    let deadline = Instant::now() + STOP_PATIENCE;
    while is_locked(dir) {
        if Instant::now() >= deadline {
            return Err(DevError::NotStopped { pid, seconds: STOP_PATIENCE.as_secs() });
        }
        sleep(LOOK_EVERY).await;
    }
    say("stopped");
    Ok(())
}

fn is_locked(dir: &Path) -> bool {
    matches!(DataDir::open(dir, "dev"), Err(IdentityError::InUse { .. }))
}
