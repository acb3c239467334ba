//! A whole Sextant cluster, as `sextant dev` starts it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sextant_redo::Segments;
use tempfile::TempDir;

use super::{Crash, Peer, Written, free_ports};
use crate::command::BenchError;
use crate::cpu::Process;
use crate::workload::Target;

const PORTS: u16 = 40;
const ENGINE: &str = "engine";
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

/// Copies of every protection group.
const COPIES: f64 = 6.0;

/// What of `cluster.json` is needed here.
#[derive(Debug, Deserialize)]
struct ClusterFile {
    children: Vec<Member>,
}

/// A process in it.
#[derive(Debug, Deserialize)]
struct Member {
    name: String,
    role: String,
    pid: Option<u32>,
    http: SocketAddr,
}

/// A process of a cluster that was killed.
#[derive(Debug)]
pub(crate) struct Killed {
    /// When.
    pub(crate) at: Instant,
    name: String,
    pid: u32,
}

/// A running cluster: three metadata processes, six storage nodes, one writer.
#[derive(Debug)]
pub struct SextantCluster {
    supervisor: Child,
    folder: TempDir,
    port: u16,
    segments: Segments,
}

impl SextantCluster {
    /// Starts one with `sextant`, whose volume has such segments, and waits until it accepts connections.
    pub fn start(sextant: &Path, segments: Segments) -> Result<SextantCluster, BenchError> {
        let folder = tempfile::tempdir().map_err(BenchError::io("cannot make a temporary folder"))?;
        let port = free_ports(PORTS)?;
        let mut command = Command::new(sextant);
        command.arg("dev").arg("--data").arg(folder.path().join("cluster"));
        command.args(["--base-port", &port.to_string(), "--segments", &segments.to_string()]);
        command.stdin(Stdio::null()).stdout(Stdio::null());
        let what = format!("cannot start {}", sextant.display());
        let supervisor = command.spawn().map_err(BenchError::io(what))?;
        let mut cluster = SextantCluster { supervisor, folder, port, segments };
        cluster.wait_until_ready()?;
        Ok(cluster)
    }

    /// Its data folder.
    #[must_use]
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("cluster")
    }

    fn members(&self) -> Result<Vec<Member>, BenchError> {
        let file = self.data().join("cluster.json");
        let what = format!("cannot read {}", file.display());
        let bytes = std::fs::read(&file).map_err(BenchError::io(what))?;
        let cluster: ClusterFile = serde_json::from_slice(&bytes)
            .map_err(|e| BenchError::Peer(format!("{}: {e}", file.display())))?;
        Ok(cluster.children)
    }

    fn engine(&self) -> Result<Member, BenchError> {
        let engine = self.members()?.into_iter().find(|member| member.role == ENGINE);
        engine.ok_or_else(|| BenchError::Peer("the cluster has no engine".into()))
    }

    fn engine_metrics(&self) -> Result<String, BenchError> {
        let http = self.engine()?.http;
        get(http, "/metrics").map_err(BenchError::io(format!("cannot read http://{http}/metrics")))
    }

    /// Kills the first process of a role.
    pub(crate) fn kill(&self, role: &str) -> Result<Killed, BenchError> {
        let member = self.members()?.into_iter().find(|member| member.role == role);
        let running = member.and_then(|member| Some((member.pid?, member.name)));
        let (pid, name) = running.ok_or_else(|| BenchError::Peer(format!("no {role} is running")))?;
        Ok(Killed { at: super::signal("-KILL", &[pid])?, name, pid })
    }

    /// The moment at which the successor of a killed process says that it can do its work.
    pub(crate) fn wait_until_healthy(&self, killed: &Killed, limit: Duration) -> Result<Instant, BenchError> {
        while killed.at.elapsed() < limit {
            let member = self.members()?.into_iter().find(|member| member.name == killed.name);
            let successor = member.filter(|member| member.pid.is_some_and(|pid| pid != killed.pid));
            let healthy = |member: &Member| get(member.http, "/health").is_ok_and(|text| is_ok(&text));
            if successor.as_ref().is_some_and(healthy) {
                return Ok(Instant::now());
            }
            std::thread::sleep(Duration::from_millis(2));
        }
        Err(BenchError::Peer(format!("{} did not serve within {limit:?} after it was killed", killed.name)))
    }

    fn wait_until_ready(&mut self) -> Result<(), BenchError> {
        let started = Instant::now();
        while started.elapsed() < START_LIMIT {
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return Ok(());
            }
            if let Ok(Some(status)) = self.supervisor.try_wait() {
                return Err(BenchError::Peer(format!("sextant dev stopped at its start: {status}")));
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        Err(BenchError::Peer(format!("sextant dev did not accept connections within {START_LIMIT:?}")))
    }
}

impl Peer for SextantCluster {
    fn name(&self) -> &'static str {
        "Sextant"
    }

    fn configuration(&self) -> String {
        let segments = match self.segments {
            Segments::Full => "six full segments",
            Segments::FullTail => "three full segments and three tails",
        };
        format!(
            "Sextant: 3 metadata processes, 6 storage nodes in 3 AZs, 1 writer, write quorum 4/6, {segments}, defaults"
        )
    }

    fn target(&self) -> Target {
        Target { port: self.port, user: "postgres".into(), database: "postgres".into() }
    }

    fn processes(&self) -> Result<Vec<Process>, BenchError> {
        let process = |member: Member| Some(Process { role: member.role, pid: member.pid? });
        Ok(self.members()?.into_iter().filter_map(process).collect())
    }

    fn written(&self) -> Result<Written, BenchError> {
        let metrics = self.engine_metrics()?;
        let requests = Some(total(&metrics, "sextant_volume_sends_total") / COPIES);
        Ok(Written { log_bytes: total(&metrics, "sextant_volume_log_bytes_total"), requests })
    }

    fn freed_pages(&self) -> Result<Option<f64>, BenchError> {
        Ok(Some(total(&self.engine_metrics()?, "sextant_engine_freed_pages_total")))
    }
}

impl Crash for SextantCluster {
    fn server(&self) -> Result<u32, BenchError> {
        self.engine()?.pid.ok_or_else(|| BenchError::Peer("no engine is running".into()))
    }

    fn settle(&self) -> Result<(), BenchError> {
        // There are no checkpoints: an opening deals with no log that was written before.
        Ok(())
    }

    fn crash(&self) -> Result<Instant, BenchError> {
        self.kill(ENGINE).map(|killed| killed.at)
    }
}

/// What a process answers on its HTTP port, headers first.
fn get(http: SocketAddr, path: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&http, Duration::from_secs(5))?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    write!(stream, "GET {path} HTTP/1.0\r\nHost: sextant\r\n\r\n")?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}

/// The sum over all labels of a metric.
fn total(metrics: &str, name: &str) -> f64 {
    let of_name = metrics.lines().filter(|line| line.starts_with(name));
    of_name.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
}

fn is_ok(answer: &str) -> bool {
    answer.split_whitespace().nth(1) == Some("200")
}

impl Drop for SextantCluster {
    fn drop(&mut self) {
        let pid = self.supervisor.id().to_string();
        let asked = Command::new("kill").args(["-TERM", &pid]).status().is_ok_and(|s| s.success());
        let started = Instant::now();
        while asked && started.elapsed() < STOP_LIMIT {
            if matches!(self.supervisor.try_wait(), Ok(Some(_))) {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        eprintln!("sextant dev did not stop within {STOP_LIMIT:?}; killing its supervisor");
        let _ = self.supervisor.kill();
        let _ = self.supervisor.wait();
    }
}
