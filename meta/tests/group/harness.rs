//! Three members in one test process. Each runs in a tokio runtime of its own, so that dropping the runtime is as
//! abrupt as a kill: no task of it runs one more step, nothing is flushed or said good-bye to.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::time::Duration;

use sextant_meta::{MetaClient, MetaConfig, MetaError};
use sextant_redo::{AzId, ClusterId, NodeId};
use tempfile::TempDir;
use tokio::runtime::Runtime;
use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

/// Nothing in these tests takes longer.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Running {
    runtime: Option<Runtime>,
    ended: oneshot::Receiver<Result<(), MetaError>>,
    stop: Option<oneshot::Sender<()>>,
}

impl Running {
    pub(crate) fn start(config: MetaConfig) -> Running {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let (end, ended) = oneshot::channel();
        let (stop, stopped) = oneshot::channel::<()>();
        runtime.spawn(async move {
            let shutdown = async { stopped.await.unwrap_or(()) };
            drop(end.send(sextant_meta::run(config, shutdown).await));
        });
        Running { runtime: Some(runtime), ended, stop: Some(stop) }
    }

    /// Ends it between two instructions.
    pub(crate) async fn kill(mut self) {
        let runtime = self.runtime.take().unwrap();
        tokio::task::spawn_blocking(move || runtime.shutdown_timeout(Duration::from_secs(10))).await.unwrap();
    }

    /// Stops it between two instructions for so long, as a suspended process or a stalled machine would be: its one
    /// worker thread does nothing else.
    pub(crate) fn pause(&self, duration: Duration) {
        self.runtime.as_ref().unwrap().spawn(async move { std::thread::sleep(duration) });
    }

    /// Why it ended by itself.
    pub(crate) async fn outcome(&mut self) -> Result<(), MetaError> {
        timeout(LIMIT, &mut self.ended).await.expect("it ends in time").expect("it says how")
    }

    pub(crate) async fn stop(mut self) -> Result<(), MetaError> {
        drop(self.stop.take());
        self.outcome().await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

pub(crate) struct Cluster {
    pub(crate) dir: TempDir,
    pub(crate) peers: BTreeMap<u64, SocketAddr>,
    pub(crate) running: BTreeMap<u64, Running>,
    pub(crate) lease_ms: u64,
    pub(crate) replace_after_s: u64,
}

/// Addresses that were free a moment ago, all different.
pub(crate) fn free_addresses(count: usize) -> Vec<SocketAddr> {
    let held: Vec<TcpListener> = (0..count).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    held.iter().map(|listener| listener.local_addr().unwrap()).collect()
}

impl Cluster {
    pub(crate) fn new(members: u64) -> Cluster {
        let addresses = free_addresses(usize::try_from(members).unwrap());
        Cluster {
            dir: tempfile::tempdir().unwrap(),
            peers: (1..).zip(addresses).collect(),
            running: BTreeMap::new(),
            lease_ms: 1000,
            replace_after_s: 0,
        }
    }

    pub(crate) async fn started(members: u64) -> Cluster {
        let mut cluster = Cluster::new(members);
        for id in cluster.ids() {
            cluster.start(id).await;
        }
        cluster
    }

    pub(crate) fn ids(&self) -> Vec<u64> {
        self.peers.keys().copied().collect()
    }

    pub(crate) fn folder(&self, id: u64) -> PathBuf {
        self.dir.path().join(format!("meta-{id}"))
    }

    pub(crate) fn config(&self, id: u64) -> MetaConfig {
        MetaConfig {
            id,
            listen: self.peers[&id],
            http: ([127, 0, 0, 1], 0).into(),
            data: self.folder(id),
            peers: self.peers.clone(),
            lease_ms: self.lease_ms,
            replace_after_s: self.replace_after_s,
        }
    }

    /// Starts a member; tries again while the one killed before still lets go of its file.
    pub(crate) async fn start(&mut self, id: u64) {
        let config = self.config(id);
        let running = start_released(config).await;
        self.running.insert(id, running);
    }

    pub(crate) async fn kill(&mut self, id: u64) {
        self.running.remove(&id).unwrap().kill().await;
    }

    pub(crate) fn client(&self) -> MetaClient {
        MetaClient::new(self.peers.values().copied().collect()).with_deadline(LIMIT)
    }

    /// Registers two nodes in each zone and keeps all of them alive for as long as the result lives.
    pub(crate) async fn with_nodes(&self) -> (ClusterId, Vec<NodeId>, Beats) {
        let client = self.client();
        let mut ids = Vec::new();
        let mut named = None;
        for node in 0..6u16 {
            let addr = ([127, 0, 0, 1], 20_000 + node).into();
            let http = ([127, 0, 0, 1], 21_000 + node).into();
            let (cluster, id) = client
                .register_node(&format!("node-{node}"), AzId(node % 3), addr, http, named)
                .await
                .unwrap();
            named = Some(cluster);
            ids.push(id);
        }
        let beats = Beats::start(client, ids.clone());
        (named.unwrap(), ids, beats)
    }
}

/// Heartbeats of storage nodes.
pub(crate) struct Beats(tokio::task::JoinHandle<()>);

impl Beats {
    pub(crate) fn start(client: MetaClient, ids: Vec<NodeId>) -> Beats {
        Beats(tokio::spawn(async move {
            loop {
                for id in &ids {
                    // While the group elects there is nobody to hear it.
                    let _ = client.heartbeat(*id).await;
                }
                sleep(Duration::from_millis(200)).await;
            }
        }))
    }
}

impl Drop for Beats {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Starts a member whose folder and port another one may be letting go of just now.
pub(crate) async fn start_released(config: MetaConfig) -> Running {
    let limit = Instant::now() + LIMIT;
    loop {
        let mut running = Running::start(config.clone());
        match timeout(Duration::from_millis(150), &mut running.ended).await {
            Err(_) => return running,
            Ok(Ok(Err(MetaError::Fatal { reason })))
                if reason.contains("in use") || reason.contains("already open") =>
            {
                assert!(Instant::now() < limit, "{reason}");
                sleep(Duration::from_millis(20)).await;
            }
            Ok(other) => panic!("member {} ended at once: {other:?}", config.id),
        }
    }
}

/// Waits until `probe` gives something.
pub(crate) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let limit = Instant::now() + LIMIT;
    loop {
        if let Some(found) = probe().await {
            return found;
        }
        assert!(Instant::now() < limit, "not in time: {what}");
        sleep(Duration::from_millis(50)).await;
    }
}
