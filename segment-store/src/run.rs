//! Starting and stopping a storage node.

use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::json;
use sextant_meta::MetaClient;
use sextant_node::http::{self, Health};
use sextant_node::identity::DataDir;
use sextant_node::net;
use sextant_redo::{ClusterId, NodeId};
use tokio::task::{LocalSet, spawn_local};

use crate::health::HealthOptions;
use crate::host::TokioHost;
use crate::log::LogIdentity;
use crate::membership::Registration;
use crate::metrics::METRICS;
use crate::node::Node;
use crate::peers::TcpPeers;
use crate::{NodeError, SegmentConfig, disk, health, server};

/// Between two looks at the state for /health and the gauges.
const WATCH: Duration = Duration::from_millis(500);
/// How long the end waits for files that are being made.
const FILES_PATIENCE: Duration = Duration::from_secs(2);

type SharedHealth = Arc<Mutex<Health>>;

/// Runs a storage node until `shutdown` resolves or something fails. Makes a runtime of its own on the calling thread,
/// which must not be inside another one. When it fails the process must end with a code other than zero.
pub fn run(config: SegmentConfig, shutdown: impl Future<Output = ()>) -> Result<(), NodeError> {
    config.check()?;
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(NodeError::Runtime)?;
    let result = LocalSet::new().block_on(&runtime, async {
        tokio::select! {
            failed = serve(&config) => failed.map(|never| match never {}),
            () = shutdown => Ok(()),
        }
    });
    end(runtime);
    result
}

/// Ends the runtime once the blocking threads are done with the files that they make, rename or delete: a node that is
/// started over the same folder in this process must not find one under its hands. A device that is stuck holds this up for
/// [`FILES_PATIENCE`]: none of these files is in use.
fn end(runtime: tokio::runtime::Runtime) {
    runtime.shutdown_timeout(FILES_PATIENCE);
}

async fn serve(config: &SegmentConfig) -> Result<std::convert::Infallible, NodeError> {
    let mut data = DataDir::open(&config.data, "segment")?;
    let listener = net::bind(config.listen, "storage requests").await?;
    let health: SharedHealth =
        Arc::new(Mutex::new(Health { ok: false, detail: json!({ "state": "starting" }) }));
    let probe = health.clone();
    http::serve(config.http, move || probe.lock().clone()).await.map_err(NodeError::Http)?;
    let registration = Registration {
        meta: MetaClient::new(config.meta.clone()),
        uuid: data.identity().uuid.clone(),
        az: config.az,
        addr: config.advertise.unwrap_or_else(|| listener.local_addr().unwrap_or(config.listen)),
        http: config.http,
    };
    let known = data.identity().cluster.zip(data.identity().node);
    let (cluster, id) = match known {
        Some(known) => known,
        None => {
            let given = registration.register(data.identity().cluster).await?;
            data.bind_to(given.0, Some(given.1))?;
            given
        }
    };
    let node = open(config, LogIdentity { cluster, node: id }).await?;
    node.start();
    let peers = TcpPeers::start(cluster, registration.meta.clone());
    let options = HealthOptions {
        copy_bytes_per_s: config.copy_bytes_per_s,
        scrub_bytes_per_s: config.scrub_bytes_per_s,
        scrub_period: Duration::from_secs(config.scrub_period_hours.saturating_mul(3600)),
    };
    health::start(&node, peers, options);
    spawn_local(server::serve(node.clone(), listener));
    spawn_local(watch(node.clone(), health, config.listen));
    tracing::info!(node = %id, %cluster, listen = %config.listen, "storage node serves");
    tokio::select! {
        failed = node.failed() => Err(failed),
        refused = stay_registered(&registration, known, (cluster, id), &mut data) => Err(refused),
    }
}

async fn open(config: &SegmentConfig, identity: LogIdentity) -> Result<Rc<Node>, NodeError> {
    let place = |doing: &str| format!("{doing} {}", config.data.display());
    let disk = disk::open(&config.data).map_err(NodeError::disk(place("opening")))?;
    let (flush, dsync, linked) =
        disk::choose_flush(&*disk).await.map_err(NodeError::disk(place("measuring the device of")))?;
    tracing::info!(
        backend = disk.name(),
        flush = flush.name(),
        dsync_us = dsync.as_micros() as u64,
        write_fdatasync_us = linked.as_micros() as u64,
        "how log is made durable on this device"
    );
    METRICS.backend.with_label_values(&[disk.name(), flush.name()]).set(1);
    Node::open(disk, Rc::new(TokioHost::new()), flush, identity, config.options()).await
}

/// Keeps the registration alive; resolves only when the metadata service says that this is not the node it is.
async fn stay_registered(
    registration: &Registration,
    known: Option<(ClusterId, NodeId)>,
    (cluster, id): (ClusterId, NodeId),
    data: &mut DataDir,
) -> NodeError {
    if known.is_some() {
        // A restart: addresses may have changed.
        match registration.register(Some(cluster)).await {
            Ok((cluster, id)) => {
                if let Err(error) = data.bind_to(cluster, Some(id)) {
                    return error.into();
                }
            }
            Err(error) => return error.into(),
        }
    }
    registration.heartbeats(id).await;
    std::future::pending().await
}

/// Refreshes what /health and the gauges tell.
async fn watch(node: Rc<Node>, health: SharedHealth, listen: SocketAddr) {
    loop {
        let (mut segments, mut pending) = (Vec::new(), 0);
        for (id, slot) in node.store.borrow().segments() {
            let state = slot.segment.state();
            let holes = slot.segment.chain().coverage().holes();
            METRICS.segment(*id, state.scl, state.vdl, holes);
            pending += slot.pages.pending_records();
            segments.push(json!({
                "volume": id.volume, "pg": id.pg, "epoch": state.epochs.volume, "scl": state.scl,
                "highest": state.highest, "vdl": state.vdl, "log_start": state.log_start, "holes": holes,
            }));
        }
        METRICS.pending_records.set(pending as i64);
        METRICS.log_batches.set(node.store.borrow().batches() as i64);
        METRICS.map_blocks.set(node.store.borrow().map_blocks().0 as i64);
        METRICS.log_bytes.set(node.log.borrow().bytes_used() as i64);
        METRICS.log_cache_bytes.set(node.cache.borrow().bytes() as i64);
        let full = node.device_full.get();
        let (page_bytes, page_free_bytes) = node.page_store_bytes();
        // Files from the first on and before the active one are full, and kept.
        let (log_first_file, log_active_file) = {
            let log = node.log.borrow();
            (log.first_file(), log.position().file)
        };
        *health.lock() = Health {
            ok: !full,
            detail: json!({
                "node": node.identity.node, "cluster": node.identity.cluster, "listen": listen.to_string(),
                "device_full": full, "disk": node.disk.name(), "flush": node.flush.name(),
                "log_bytes": node.log.borrow().bytes_used(), "log_first_file": log_first_file,
                "log_active_file": log_active_file, "page_bytes": page_bytes, "page_free_bytes": page_free_bytes,
                "segments": segments,
            }),
        };
        tokio::time::sleep(WATCH).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::time::Instant;

    use super::*;

    /// Ends a runtime on which making a file takes `time`; whether it was made, and how long the end took.
    fn end_while_making(time: Duration) -> (bool, Duration) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let made = Arc::new(AtomicBool::new(false));
        let (begun, begins) = std::sync::mpsc::channel();
        let by_thread = made.clone();
        runtime.spawn_blocking(move || {
            begun.send(()).expect("it is waited for");
            std::thread::sleep(time);
            by_thread.store(true, Ordering::SeqCst);
        });
        begins.recv().expect("it begins");
        let started = Instant::now();
        end(runtime);
        (made.load(Ordering::SeqCst), started.elapsed())
    }

    #[test]
    fn the_end_waits_for_files_being_made_but_not_for_ever() {
        let (made, _) = end_while_making(Duration::from_millis(100));
        assert!(made, "the next node would meet the thread that makes it");
        let (made, took) = end_while_making(FILES_PATIENCE + Duration::from_secs(3));
        assert!(
            !made && took >= FILES_PATIENCE && took < FILES_PATIENCE + Duration::from_secs(2),
            "{took:?}"
        );
    }
}
