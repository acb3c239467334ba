//! A whole cluster of real processes for a test: `sextant dev` on a temporary folder and a free block of ports.
//!
//! Whatever a test does to it, dropping it leaves no process behind: the supervisor is killed, and the kernel ends
//! its children with it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sextant_fire::bank::connect_within;
pub(crate) use sextant_fire::ports::Ports;
pub(crate) use sextant_fire::process::{runs, signal};
use tempfile::TempDir;
use tokio_postgres::Client;

/// The program under test.
pub(crate) const SEXTANT: &str = env!("CARGO_BIN_EXE_sextant");
/// How long a cluster may take until it answers SQL; ten processes on a busy two-core machine.
pub(crate) const READY: Duration = Duration::from_secs(60);
/// One cluster at a time in a test binary: ten processes are enough for two cores.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test of this binary runs a cluster.
pub(crate) fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `cluster.json`, as far as tests read it.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct ClusterFile {
    pub(crate) postgres_url: String,
    pub(crate) supervisor_pid: Option<u32>,
    pub(crate) ready: bool,
    pub(crate) children: Vec<Process>,
}

/// A process in `cluster.json`.
#[derive(Debug, Clone, Deserialize)]
pub(crate) struct Process {
    pub(crate) name: String,
    pub(crate) role: String,
    pub(crate) az: Option<u16>,
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    pub(crate) address: std::net::SocketAddr,
    pub(crate) http: std::net::SocketAddr,
    pub(crate) data: PathBuf,
    pub(crate) log: PathBuf,
}

/// A cluster under test.
pub(crate) struct Cluster {
    folder: TempDir,
    ports: Ports,
    supervisor: Option<Child>,
    _turn: MutexGuard<'static, ()>,
}

impl Cluster {
    /// A folder and ports; nothing runs yet.
    pub(crate) fn new() -> Cluster {
        let turn = turn();
        let folder = TempDir::with_prefix("sextant-test-").expect("temporary folder");
        Cluster { folder, ports: Ports::reserve(), supervisor: None, _turn: turn }
    }

    /// A cluster that answers SQL.
    pub(crate) fn started() -> Cluster {
        let mut cluster = Cluster::new();
        cluster.start(&[]);
        cluster
    }

    /// The data folder.
    pub(crate) fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The port of SQL.
    pub(crate) fn port(&self) -> u16 {
        self.ports.base
    }

    /// The command that starts it.
    pub(crate) fn command(&self, options: &[&str]) -> Command {
        let mut command = Command::new(SEXTANT);
        command.arg("dev").arg("--data").arg(self.data());
        command.args(["--base-port", &self.port().to_string()]).args(options).stdin(Stdio::null());
        command
    }

    /// Starts it and waits until SQL is answered.
    pub(crate) fn start(&mut self, options: &[&str]) {
        self.launch(options);
        self.wait_ready();
    }

    /// Starts the supervisor and waits for nothing.
    pub(crate) fn launch(&mut self, options: &[&str]) {
        assert!(self.supervisor.is_none(), "already running");
        let output = File::options().create(true).append(true).open(self.output()).expect("output file");
        let child = self
            .command(options)
            .stdout(output.try_clone().expect("second handle"))
            .stderr(output)
            .spawn()
            .expect("sextant starts");
        self.supervisor = Some(child);
    }

    /// Waits until this supervisor says that SQL is answered.
    pub(crate) fn wait_ready(&mut self) {
        let pid = self.supervisor.as_ref().expect("running").id();
        let deadline = Instant::now() + READY;
        while !self.try_file().is_some_and(|file| file.ready && file.supervisor_pid == Some(pid)) {
            if let Some(status) = self.supervisor.as_mut().and_then(|s| s.try_wait().expect("status")) {
                self.supervisor = None;
                panic!("the supervisor ended with {status}: {}", self.said());
            }
            assert!(Instant::now() < deadline, "not ready after {READY:?}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What the supervisor printed so far.
    pub(crate) fn said(&self) -> String {
        std::fs::read_to_string(self.output()).unwrap_or_default()
    }

    fn output(&self) -> PathBuf {
        self.folder.path().join("supervisor.out")
    }

    /// `cluster.json` as it is now.
    pub(crate) fn file(&self) -> ClusterFile {
        self.try_file().expect("cluster.json")
    }

    fn try_file(&self) -> Option<ClusterFile> {
        let bytes = std::fs::read(self.data().join("cluster.json")).ok()?;
        Some(serde_json::from_slice(&bytes).expect("cluster.json is never torn"))
    }

    /// The processes of a role.
    pub(crate) fn role(&self, role: &str) -> Vec<Process> {
        self.file().children.into_iter().filter(|child| child.role == role).collect()
    }

    /// The flags that name the metadata processes.
    pub(crate) fn meta_flags(&self) -> Vec<String> {
        self.role("meta").iter().flat_map(|member| ["--meta".into(), member.address.to_string()]).collect()
    }

    /// What `sextant status --output json` says.
    pub(crate) fn status(&self) -> serde_json::Value {
        let mut command = Command::new(SEXTANT);
        command.args(["status", "--output", "json", "--data"]).arg(self.data());
        let (status, said) = output(&mut command, Duration::from_secs(20));
        assert!(status.success(), "{said}");
        serde_json::from_str(&said).expect("JSON")
    }

    /// The one engine.
    pub(crate) fn engine(&self) -> Process {
        self.role("engine").remove(0)
    }

    /// Stops it as a user does, and expects it to go well.
    pub(crate) fn stop(&mut self) {
        let mut supervisor = self.supervisor.take().expect("running");
        signal(supervisor.id(), libc::SIGTERM);
        let status = wait(&mut supervisor, Duration::from_secs(45));
        assert!(status.success(), "stopped with {status}: {}", self.said());
        assert_eq!(self.file().supervisor_pid, None);
    }

    /// Kills every process at once.
    pub(crate) fn kill_all(&mut self) {
        let file = self.file();
        let mut supervisor = self.supervisor.take().expect("running");
        let pids: Vec<u32> = file.children.iter().filter_map(|child| child.pid).collect();
        signal(supervisor.id(), libc::SIGKILL);
        pids.iter().for_each(|pid| signal(*pid, libc::SIGKILL));
        supervisor.wait().expect("reaped");
        pids.iter().for_each(|pid| wait_gone(*pid));
    }

    /// Kills the supervisor alone and returns the processes it had.
    pub(crate) fn kill_supervisor(&mut self) -> Vec<u32> {
        let pids = self.file().children.iter().filter_map(|child| child.pid).collect();
        let mut supervisor = self.supervisor.take().expect("running");
        supervisor.kill().expect("killed");
        supervisor.wait().expect("reaped");
        pids
    }

    /// A connection, waiting for the engine as long as a start may take.
    pub(crate) async fn connect(&self) -> Client {
        connect_to(self.port()).await
    }
}

/// A connection to the engine at `port`, waiting for it as long as a start may take.
pub(crate) async fn connect_to(port: u16) -> Client {
    let client = connect_within(&[port], READY).await;
    client.unwrap_or_else(|| panic!("no SQL at port {port} after {READY:?}"))
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let pids: Vec<u32> =
            self.try_file().iter().flat_map(|file| &file.children).filter_map(|child| child.pid).collect();
        if let Some(mut supervisor) = self.supervisor.take() {
            let _ = supervisor.kill();
            let _ = supervisor.wait();
            pids.iter().for_each(|pid| wait_gone(*pid));
        }
        if std::thread::panicking() {
            self.show_logs();
        }
    }
}

impl Cluster {
    /// Shows the ends of all logs: a failed test says more with them.
    fn show_logs(&self) {
        eprintln!("--- supervisor ---\n{}", self.said());
        for child in self.try_file().map(|file| file.children).unwrap_or_default() {
            let log = std::fs::read_to_string(&child.log).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {} ---\n{}", child.name, lines[lines.len().saturating_sub(15)..].join("\n"));
        }
    }
}

/// A role that a test started by itself, beside the supervisor; killed when the test ends, if it still runs.
pub(crate) struct Alone(Child);

impl Alone {
    /// Starts `sextant` with these arguments; its log is appended to `log`.
    pub(crate) fn start(arguments: &[String], log: &Path) -> Alone {
        let log = File::options().create(true).append(true).open(log).expect("log");
        let mut command = Command::new(SEXTANT);
        command.args(arguments).stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        Alone(command.spawn().expect("starts"))
    }

    /// Stops it as a user does, and expects it to go well.
    pub(crate) fn stop(mut self) {
        signal(self.0.id(), libc::SIGTERM);
        let status = wait(&mut self.0, Duration::from_secs(15));
        assert!(status.success(), "stopped with {status}");
    }
}

impl Drop for Alone {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until a process is gone.
pub(crate) fn wait_gone(pid: u32) {
    wait_until(Duration::from_secs(10), &format!("process {pid} is gone"), || !runs(pid));
}

/// Waits until `done`, or fails the test.
pub(crate) fn wait_until(patience: Duration, what: &str, mut done: impl FnMut() -> bool) {
    let deadline = Instant::now() + patience;
    while !done() {
        if Instant::now() >= deadline {
            // Also called while a failed test cleans up.
            assert!(std::thread::panicking(), "after {patience:?} still not: {what}");
            return;
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Waits for a child of this process, and kills it when it takes too long.
pub(crate) fn wait(child: &mut Child, patience: Duration) -> ExitStatus {
    let deadline = Instant::now() + patience;
    loop {
        if let Some(status) = child.try_wait().expect("status") {
            return status;
        }
        if Instant::now() >= deadline {
            child.kill().expect("killed");
            child.wait().expect("reaped");
            panic!("still running after {patience:?}");
        }
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Runs a command that should end by itself within `patience`: its status and all it said.
pub(crate) fn output(command: &mut Command, patience: Duration) -> (ExitStatus, String) {
    let said = tempfile::NamedTempFile::new().expect("temporary file");
    let handle = || said.reopen().expect("second handle");
    // Appending handles, so that stdout and stderr do not overwrite each other.
    let file = File::options().append(true).open(said.path()).expect("append");
    command.stdin(Stdio::null()).stdout(file.try_clone().expect("handle")).stderr(file);
    let mut child = command.spawn().expect("starts");
    let status = wait(&mut child, patience);
    let text = std::io::read_to_string(handle()).expect("text");
    (status, text)
}
