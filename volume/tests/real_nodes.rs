//! The driver over six real storage nodes and three real metadata members, all in this process, each on a disk folder of
//! its own.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};
use std::time::Duration;

use sextant_meta::{MetaClient, MetaConfig};
use sextant_redo::patch::Patch;
use sextant_redo::{AzId, Geometry, Lsn, Mtr, PageId};
use sextant_segment_store::SegmentConfig;
use sextant_volume::{LogStore, OpenOptions, Volume, VolumeError};
use tokio::sync::oneshot;

/// A port below those that the system gives to outgoing connections: nobody takes it while its node is down.
fn free_port() -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let start = 20_000 + (std::process::id() % 110) as u16 * 100;
    let candidates = (0..1000).map(|_| start + NEXT.fetch_add(1, SeqCst) % 1000);
    let mut free = candidates.map(|port| SocketAddr::from(([127, 0, 0, 1], port)));
    free.find(|addr| TcpListener::bind(addr).is_ok()).expect("a free port")
}

struct Running {
    stop: oneshot::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

struct Cluster {
    dir: tempfile::TempDir,
    meta: Vec<SocketAddr>,
    _meta_tasks: tokio::task::JoinSet<()>,
    addrs: Vec<SocketAddr>,
    nodes: Vec<Option<Running>>,
}

impl Cluster {
    async fn start() -> Cluster {
        let dir = tempfile::tempdir().expect("a folder");
        let peers: BTreeMap<u64, SocketAddr> = (1..=3).map(|id| (id, free_port())).collect();
        let mut meta_tasks = tokio::task::JoinSet::new();
        for (id, listen) in &peers {
            let config = MetaConfig {
                id: *id,
                listen: *listen,
                http: free_port(),
                data: dir.path().join(format!("meta{id}")),
                peers: peers.clone(),
                lease_ms: 1000,
                replace_after_s: 0,
            };
            meta_tasks.spawn(async move {
                if let Err(error) = sextant_meta::run(config, std::future::pending()).await {
                    panic!("metadata member: {error}");
                }
            });
        }
        let mut cluster = Cluster {
            dir,
            meta: peers.into_values().collect(),
            _meta_tasks: meta_tasks,
            addrs: (0..6).map(|_| free_port()).collect(),
            nodes: (0..6).map(|_| None).collect(),
        };
        (0..6).for_each(|n| cluster.start_node(n));
        cluster
    }

    fn node_dir(&self, n: usize) -> PathBuf {
        self.dir.path().join(format!("node{n}"))
    }

    fn start_node(&mut self, n: usize) {
        let mut config = SegmentConfig::new(
            self.node_dir(n),
            self.addrs[n],
            free_port(),
            AzId(n as u16 / 2),
            self.meta.clone(),
        );
        config.log_file_bytes = 8 * 1024 * 1024;
        let (stop, stopped) = oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let result = sextant_segment_store::run(config, async {
                // A dropped sender means the same: the test is over.
                let _ = stopped.await;
            });
            if let Err(error) = result {
                panic!("storage node: {error}");
            }
        });
        self.nodes[n] = Some(Running { stop, thread });
    }

    /// Ends it without warning to anybody; what was not flushed is gone.
    fn stop_node(&mut self, n: usize) {
        let Running { stop, thread } = self.nodes[n].take().expect("it runs");
        let _ = stop.send(());
        thread.join().expect("no panic");
    }

    fn options(&self) -> OpenOptions {
        OpenOptions {
            geometry: Geometry { pages_per_pg: 50 },
            advertise: "127.0.0.1:5432".to_owned(),
            http: "127.0.0.1:8080".to_owned(),
            deadline: Duration::from_secs(40),
            ..OpenOptions::new(MetaClient::new(self.meta.clone()), "v", "engine")
        }
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for n in 0..self.nodes.len() {
            if let Some(Running { stop, thread }) = self.nodes[n].take() {
                // A node that failed has said so; a second panic here would hide it.
                let _ = stop.send(());
                let _ = thread.join();
            }
        }
    }
}

struct Writer {
    volume: Arc<Volume>,
    lsns: BTreeMap<u64, Lsn>,
}

impl Writer {
    async fn append(&mut self, pages: &[u64], value: u64) -> Result<Lsn, VolumeError> {
        let mut mtr = Mtr::new();
        for page in pages {
            let before = match self.lsns.get(page) {
                Some(lsn) => *lsn,
                None => self.volume.read_page(PageId(*page)).await?.lsn(),
            };
            let at = mtr.add_page(PageId(*page), before);
            mtr.patch(at, Patch::Set { offset: 24, bytes: &value.to_le_bytes() });
        }
        let reservation = self.volume.reserve(mtr.max_log_bytes() as u64).await?;
        let lsn = self.volume.append(reservation, &mut mtr, &mut |_| {});
        self.lsns.extend(mtr.changes().iter().map(|c| (c.page.0, c.lsn)));
        Ok(lsn)
    }

    async fn commit(&mut self, pages: &[u64], value: u64) -> Lsn {
        let lsn = self.append(pages, value).await.expect("appended");
        let done = tokio::time::timeout(Duration::from_secs(20), self.volume.durable(lsn)).await;
        done.expect("in time").expect("durable");
        lsn
    }
}

async fn check(volume: &Volume, expected: &BTreeMap<u64, u64>, or_newer: bool) {
    for (page, value) in expected {
        let image = volume.read_page(PageId(*page)).await.expect("readable");
        let found = u64::from_le_bytes(image.0[24..32].try_into().expect("eight"));
        assert!(found == *value || or_newer && found > *value, "page {page}: {found}, not {value}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_survive_an_az_a_restart_of_everything_and_many_openings() {
    let mut cluster = Cluster::start().await;
    let mut expected = BTreeMap::new();
    let mut count = 0;
    let mut vdl = Lsn::ZERO;
    for round in 0..4usize {
        let (volume, opened) = Volume::open_writer(cluster.options()).await.expect("opens");
        assert!(opened.vdl >= vdl, "round {round}");
        volume.ensure_pages(PageId(120)).await.expect("three groups");
        check(&volume, &expected, true).await;
        let mut writer = Writer { volume: Arc::clone(&volume), lsns: BTreeMap::new() };
        let away = [(2 * round) % 6, (2 * round + 1) % 6];
        for step in 0..60u64 {
            if step == 20 {
                away.iter().for_each(|n| cluster.stop_node(*n));
            }
            count += 1;
            let pages = [step % 13, 50 + step % 11, 100 + step % 7];
            vdl = writer.commit(&pages, count).await;
            expected.extend(pages.map(|p| (p, count)));
        }
        check(&volume, &expected, false).await;
        away.iter().for_each(|n| cluster.start_node(*n));
        if round % 2 == 0 {
            let last = volume.vdl();
            let deadline = std::time::Instant::now() + Duration::from_secs(20);
            while !volume.status().groups.iter().all(|g| g.members.iter().all(|m| m.live)) {
                assert!(std::time::Instant::now() < deadline, "they come back: {:?}", volume.status());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
            assert!(volume.vdl() >= last);
        }
        for _ in 0..10 {
            count += 1;
            writer.append(&[1, 51, 101], count).await.expect("appended");
        }
        if round == 1 {
            (0..6).for_each(|n| cluster.stop_node(n));
            (0..6).for_each(|n| cluster.start_node(n));
        }
        if round == 2 {
            volume.close().await;
        }
    }
}
