//! One storage node under test: its process, beside a metadata service of one member that gives it an identity; and a peer
//! in the same cluster, where one is wanted.

use std::fs;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde::Deserialize;
use sextant_meta::MetaClient;
use sextant_redo::{AzId, ClusterId, Geometry, NodeId, Segments, VolumeId};
use tempfile::TempDir;

use super::client::Client;
use crate::BenchError;
use crate::cpu::{self, Process};
use crate::peer::free_ports;

const NODE: &str = "node";
const START_LIMIT: Duration = Duration::from_secs(120);
/// A node that has written nothing for so long has nothing to do: its background looks for work every quarter of a second.
const REST: Duration = Duration::from_millis(600);
/// How long a node may go on writing when nobody asks it for anything.
const REST_LIMIT: Duration = Duration::from_secs(60);

/// Settings of the node that a benchmark varies.
#[derive(Debug, Clone, Copy)]
pub(super) struct Settings {
    pub(super) log_file_bytes: u64,
    pub(super) log_budget_bytes: u64,
    pub(super) memory_bytes: u64,
    pub(super) scrub: Scrub,
}

/// How often everything is read again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scrub {
    /// Once a week, as by default.
    Weekly,
    /// Again as soon as it is through, at the default rate.
    Always,
}

impl Settings {
    pub(super) fn shown(&self) -> String {
        let mib = |bytes: u64| bytes >> 20;
        format!(
            "storage node: one process on loopback TCP, memory_bytes {} MiB, log_budget_bytes {} MiB, log_file_bytes {} MiB",
            mib(self.memory_bytes),
            mib(self.log_budget_bytes),
            mib(self.log_file_bytes)
        )
    }
}

/// What of `identity.json` is needed here.
#[derive(Debug, Deserialize)]
struct Identity {
    cluster: Option<ClusterId>,
    node: Option<NodeId>,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Node {
    sextant: PathBuf,
    folder: TempDir,
    /// The first node's of a cluster.
    meta: Option<Child>,
    meta_port: u16,
    node: Child,
    az: u16,
    port: u16,
    settings: Settings,
    cluster: ClusterId,
    id: NodeId,
}

impl Node {
    /// Starts one and waits until it serves.
    pub(super) fn start(sextant: &Path, settings: Settings) -> Result<Node, BenchError> {
        let folder = tempfile::tempdir().map_err(BenchError::io("cannot make a temporary folder"))?;
        let port = free_ports(4)?;
        let at = |port: u16| format!("127.0.0.1:{port}");
        let mut meta = Command::new(sextant);
        meta.args(["--log", "error", "meta", "--id", "1", "--listen", &at(port), "--http", &at(port + 1)]);
        meta.args(["--peer", &format!("1={}", at(port))]).arg("--data").arg(folder.path().join("meta"));
        let meta = spawn(meta)?;
        Node::join(sextant, settings, folder, Some(meta), port, (0, port))
    }

    /// Processor seconds that the node and this process have used so far.
    pub(super) fn processor_seconds(&self) -> (f64, f64) {
        let node = Process { role: NODE.to_owned(), pid: self.node.id() };
        let used = cpu::used(&[node]);
        (used[NODE], used[cpu::CLIENT])
    }

    /// Starts another one in the same cluster, in zone 2.
    pub(super) fn start_peer(&self) -> Result<Node, BenchError> {
        let folder = tempfile::tempdir().map_err(BenchError::io("cannot make a temporary folder"))?;
        Node::join(&self.sextant, self.settings, folder, None, self.meta_port, (2, free_ports(4)?))
    }

    /// Starts the node itself, with the third and fourth port from `port` on, and waits until it serves.
    fn join(
        sextant: &Path,
        settings: Settings,
        folder: TempDir,
        meta: Option<Child>,
        meta_port: u16,
        (az, port): (u16, u16),
    ) -> Result<Node, BenchError> {
        let node = segment(sextant, folder.path(), meta_port, (az, port), settings)?;
        let mut node = Node {
            sextant: sextant.to_owned(),
            folder,
            meta,
            meta_port,
            node,
            az,
            port,
            settings,
            cluster: ClusterId(0),
            id: NodeId(0),
        };
        let started = Instant::now();
        (node.cluster, node.id) = loop {
            if let Some(identity) = node.identity() {
                break identity;
            }
            node.alive_until(started)?;
        };
        node.wait_until_serving()?;
        Ok(node)
    }

    fn identity(&self) -> Option<(ClusterId, NodeId)> {
        let bytes = fs::read(self.data().join("identity.json")).ok()?;
        let identity: Identity = serde_json::from_slice(&bytes).ok()?;
        identity.cluster.zip(identity.node)
    }

    fn alive_until(&mut self, started: Instant) -> Result<(), BenchError> {
        if let Ok(Some(status)) = self.node.try_wait() {
            return Err(BenchError::Peer(format!("the storage node stopped: {status}")));
        }
        if started.elapsed() > START_LIMIT {
            return Err(BenchError::Peer(format!("the storage node did not serve within {START_LIMIT:?}")));
        }
        std::thread::sleep(Duration::from_millis(5));
        Ok(())
    }

    /// Waits until it answers Hello.
    pub(super) fn wait_until_serving(&mut self) -> Result<(), BenchError> {
        let started = Instant::now();
        while self.client().is_err() {
            self.alive_until(started)?;
        }
        Ok(())
    }

    /// The data folder.
    pub(super) fn data(&self) -> PathBuf {
        self.folder.path().join("node")
    }

    /// A folder on the same file system.
    pub(super) fn beside(&self) -> &Path {
        self.folder.path()
    }

    /// A connection.
    pub(super) fn client(&self) -> Result<Client, BenchError> {
        Client::connect(SocketAddr::from(([127, 0, 0, 1], self.port + 2)), self.cluster, self.id)
    }

    /// Kills the process without warning and starts it again.
    pub(super) fn crash_and_start(&mut self) -> Result<(), BenchError> {
        self.node
            .kill()
            .and_then(|()| self.node.wait())
            .map_err(BenchError::io("cannot kill the storage node"))?;
        self.node =
            segment(&self.sextant, self.folder.path(), self.meta_port, (self.az, self.port), self.settings)?;
        Ok(())
    }

    /// The text of /metrics.
    pub(super) fn metrics(&self) -> Result<Metrics, BenchError> {
        let addr = SocketAddr::from(([127, 0, 0, 1], self.port + 3));
        let ask = || -> std::io::Result<String> {
            let mut stream = TcpStream::connect(addr)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            stream.write_all(b"GET /metrics HTTP/1.0\r\nHost: sextant\r\n\r\n")?;
            let mut text = String::new();
            stream.read_to_string(&mut text)?;
            Ok(text)
        };
        Ok(Metrics(ask().map_err(BenchError::io(format!("cannot read http://{addr}/metrics")))?))
    }

    /// Fills the cluster up to two nodes a zone with such as never run.
    pub(super) fn register_absent(&self, zones: &[u16]) -> Result<(), BenchError> {
        let nobody = SocketAddr::from(([127, 0, 0, 1], 1));
        self.ask_meta(async |meta| {
            for (at, az) in zones.iter().enumerate() {
                let name = format!("absent-{at}");
                meta.register_node(&name, AzId(*az), nobody, nobody, Some(self.cluster)).await?;
            }
            Ok(())
        })
    }

    /// Makes a volume in the metadata service, with a segment on each of its nodes.
    pub(super) fn create_volume(&self, name: &str) -> Result<VolumeId, BenchError> {
        let volume =
            self.ask_meta(async |meta| meta.create_volume(name, Geometry::DEFAULT, Segments::Full).await)?;
        Ok(volume.id)
    }

    /// Drops it; the node hears of that when it next asks.
    pub(super) fn drop_volume(&self, volume: VolumeId) -> Result<(), BenchError> {
        self.ask_meta(async |meta| meta.drop_volume(volume).await)
    }

    fn ask_meta<T>(
        &self,
        ask: impl AsyncFnOnce(MetaClient) -> sextant_meta::Result<T>,
    ) -> Result<T, BenchError> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(BenchError::io("cannot start a runtime"))?;
        let meta = MetaClient::new(vec![SocketAddr::from(([127, 0, 0, 1], self.meta_port))]);
        let refused = |error| BenchError::Peer(format!("the metadata service refuses: {error}"));
        runtime.block_on(ask(meta)).map_err(refused)
    }

    /// Bytes that the data folder takes on the device.
    pub(super) fn disk_bytes(&self) -> Result<u64, BenchError> {
        self.bytes_of(|_| true)
    }

    /// Bytes that its log files take, empty ones among them.
    pub(super) fn log_files_bytes(&self) -> Result<u64, BenchError> {
        self.bytes_of(|name| name.starts_with("log-"))
    }

    fn bytes_of(&self, counts: impl Fn(&str) -> bool) -> Result<u64, BenchError> {
        let folder = self.data();
        let what = || format!("cannot read {}", folder.display());
        let entries = fs::read_dir(&folder).map_err(BenchError::io(what()))?;
        let counted = entries.flatten().filter(|entry| entry.file_name().to_str().is_some_and(&counts));
        // A log file may be deleted in between.
        Ok(counted.map(|entry| entry.metadata().map_or(0, |meta| meta.blocks() * 512)).sum())
    }

    /// Bytes that the process has had written to the device so far, once it writes no more: nobody asks it for anything,
    /// and its background has come to rest.
    pub(super) fn settled_bytes(&self) -> Result<u64, BenchError> {
        let started = Instant::now();
        let mut bytes = self.written_bytes()?;
        while started.elapsed() < REST_LIMIT {
            std::thread::sleep(REST);
            let before = std::mem::replace(&mut bytes, self.written_bytes()?);
            if bytes == before {
                return Ok(bytes);
            }
        }
        Err(BenchError::Peer(format!(
            "the storage node, asked for nothing, still wrote after {REST_LIMIT:?}"
        )))
    }

    fn written_bytes(&self) -> Result<u64, BenchError> {
        let path = format!("/proc/{}/io", self.node.id());
        let text = fs::read_to_string(&path).map_err(BenchError::io(format!("cannot read {path}")))?;
        let line = text.lines().find_map(|line| line.strip_prefix("write_bytes:"));
        let bytes = line.and_then(|rest| rest.trim().parse().ok());
        bytes.ok_or_else(|| BenchError::Peer(format!("{path} does not tell write_bytes")))
    }

    /// Resident memory of the process, in bytes.
    pub(super) fn resident_bytes(&self) -> u64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.node.id())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
        line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) << 10
    }
}

impl Drop for Node {
    fn drop(&mut self) {
        for child in [Some(&mut self.node), self.meta.as_mut()].into_iter().flatten() {
            // Its folder goes too: nothing is lost by ending it at once.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn spawn(mut command: Command) -> Result<Child, BenchError> {
    let what = format!("cannot start {}", command.get_program().to_string_lossy());
    command.stdin(Stdio::null()).stdout(Stdio::null()).spawn().map_err(BenchError::io(what))
}

fn segment(
    sextant: &Path,
    folder: &Path,
    meta_port: u16,
    (az, port): (u16, u16),
    settings: Settings,
) -> Result<Child, BenchError> {
    let at = |port: u16| format!("127.0.0.1:{port}");
    let mut node = Command::new(sextant);
    node.args(["--log", "error", "segment", "--az", &az.to_string(), "--meta", &at(meta_port)]);
    node.args(["--listen", &at(port + 2), "--http", &at(port + 3)]).arg("--data").arg(folder.join("node"));
    node.args(["--log-file-bytes", &settings.log_file_bytes.to_string()]);
    node.args(["--log-budget-bytes", &settings.log_budget_bytes.to_string()]);
    node.args(["--memory-bytes", &settings.memory_bytes.to_string()]);
    if settings.scrub == Scrub::Always {
        node.args(["--scrub-period-hours", "0"]);
    }
    spawn(node)
}

/// A reading of /metrics.
#[derive(Debug, Clone)]
pub(super) struct Metrics(String);

impl Metrics {
    /// The sum over all labels of `sextant_segment_NAME`.
    pub(super) fn total(&self, name: &str) -> f64 {
        let wanted = format!("sextant_segment_{name}");
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(wanted.as_str()));
        let of_name = lines.filter(|rest| rest.starts_with(' ') || rest.starts_with('{'));
        of_name.filter_map(|rest| rest.rsplit_once(' ')?.1.parse::<f64>().ok()).sum()
    }

    /// The count of `sextant_segment_NAME` under its one label `value`; zero where there is none yet.
    pub(super) fn labelled(&self, name: &str, value: &str) -> f64 {
        let wanted = format!("sextant_segment_{name}{{");
        let lines = self.0.lines().filter_map(|line| line.strip_prefix(wanted.as_str()));
        let mut counts =
            lines.filter_map(|rest| rest.split_once(&format!("=\"{value}\"}} "))?.1.parse().ok());
        counts.next().unwrap_or(0.0)
    }

    /// How the node makes log durable.
    pub(super) fn flush(&self) -> String {
        let line = self.0.lines().find(|line| line.starts_with("sextant_segment_disk_backend{"));
        let flush = line.and_then(|line| line.split_once("flush=\"")?.1.split_once('"'));
        flush.map_or_else(|| "dsync".to_owned(), |(name, _)| name.to_owned())
    }
}
