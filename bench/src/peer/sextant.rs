//! A whole Sextant cluster, as `sextant dev` starts it.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::{Peer, free_ports};
use crate::command::BenchError;
use crate::pgbench::Target;

const PORTS: u16 = 40;
const START_LIMIT: Duration = Duration::from_secs(60);
const STOP_LIMIT: Duration = Duration::from_secs(30);

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
