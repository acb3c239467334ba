//! A whole Sextant cluster, as `sextant dev` starts it.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use tempfile::TempDir;

use super::{Peer, Written, free_ports};
use crate::command::BenchError;
use crate::cpu::Process;
use crate::workload::Target;

const PORTS: u16 = 40;
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
    role: String,
    pid: Option<u32>,
    http: SocketAddr,
}

/// A running cluster: three metadata processes, six storage nodes, one writer.
#[derive(Debug)]
pub struct SextantCluster {
    supervisor: Child,
    folder: TempDir,
    port: u16,
}

impl SextantCluster {
    /// Starts one with `sextant` and waits until it accepts connections.
    pub fn start(sextant: &Path) -> Result<SextantCluster, BenchError> {
        let folder = tempfile::tempdir().map_err(BenchError::io("cannot make a temporary folder"))?;
        let port = free_ports(PORTS)?;
        let mut command = Command::new(sextant);
        command.arg("dev").arg("--data").arg(folder.path().join("cluster"));
        command.args(["--base-port", &port.to_string()]).stdin(Stdio::null()).stdout(Stdio::null());
        let what = format!("cannot start {}", sextant.display());
        let supervisor = command.spawn().map_err(BenchError::io(what))?;
        let mut cluster = SextantCluster { supervisor, folder, port };
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
        "Sextant: 3 metadata processes, 6 storage nodes in 3 AZs, 1 writer, write quorum 4/6, defaults"
            .to_owned()
    }

    fn target(&self) -> Target {
        Target { port: self.port, user: "postgres".into(), database: "postgres".into() }
    }

    fn processes(&self) -> Result<Vec<Process>, BenchError> {
        let process = |member: Member| Some(Process { role: member.role, pid: member.pid? });
        Ok(self.members()?.into_iter().filter_map(process).collect())
    }

    fn written(&self) -> Result<Written, BenchError> {
        let members = self.members()?;
        let engine = members.iter().find(|member| member.role == "engine");
        let engine = engine.ok_or_else(|| BenchError::Peer("the cluster has no engine".into()))?;
        let metrics = metrics(engine.http)?;
        let total = |name: &str| -> f64 {
            let of_name = metrics.lines().filter(|line| line.starts_with(name));
            of_name.filter_map(|line| line.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
        };
        let requests = Some(total("sextant_volume_sends_total") / COPIES);
        Ok(Written { log_bytes: total("sextant_volume_log_bytes_total"), requests })
    }
}

/// The text of a process's `/metrics`.
fn metrics(http: SocketAddr) -> Result<String, BenchError> {
    let what = || format!("cannot read http://{http}/metrics");
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect_timeout(&http, Duration::from_secs(5))?;
        stream.set_read_timeout(Some(Duration::from_secs(5)))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: sextant\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().map_err(BenchError::io(what()))
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
