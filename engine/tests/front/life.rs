//! The engine as a process would run it: health, a stop that lets statements finish, the loss of the volume.

use std::sync::Arc;
use std::time::Duration;

use sextant_engine::front::{self, Probe};
use sextant_engine::{EngineConfig, EngineError};
use sextant_redo::{Lsn, Mtr, Page, PageId, VolumeEpoch};
use sextant_volume::memory::MemoryStore;
use sextant_volume::{BoxFuture, LogStore, Reservation, VolumeError};
use tokio::net::TcpListener;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

use crate::harness::in_time;
use crate::raw::{Raw, query};

/// A volume in memory that can be lost.
struct Losable {
    inner: Arc<MemoryStore>,
    lost: watch::Sender<bool>,
}

impl Losable {
    fn error() -> VolumeError {
        VolumeError::Fenced { ours: VolumeEpoch(1), current: VolumeEpoch(2) }
    }
}

impl LogStore for Losable {
    fn vdl(&self) -> Lsn {
        self.inner.vdl()
    }

    fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        self.inner.try_reserve(bytes)
    }

    fn reserve(&self, bytes: u64) -> BoxFuture<'_, Result<Reservation, VolumeError>> {
        self.inner.reserve(bytes)
    }

    fn release(&self, reservation: Reservation) {
        self.inner.release(reservation);
    }

    fn append(&self, reservation: Reservation, mtr: &mut Mtr, on_lsn: &mut dyn FnMut(Lsn)) -> Lsn {
        self.inner.append(reservation, mtr, on_lsn)
    }

    fn durable(&self, lsn: Lsn) -> BoxFuture<'_, Result<(), VolumeError>> {
        let mut lost = self.lost.subscribe();
        Box::pin(async move {
            tokio::select! {
                done = self.inner.durable(lsn) => done,
                _ = lost.wait_for(|lost| *lost) => Err(Losable::error()),
            }
        })
    }

    fn read_page(&self, page: PageId) -> BoxFuture<'_, Result<Page, VolumeError>> {
        self.inner.read_page(page)
    }

    fn ensure_pages(&self, last: PageId) -> BoxFuture<'_, Result<(), VolumeError>> {
        self.inner.ensure_pages(last)
    }

    fn set_read_floor(&self, lsn: Lsn) {
        self.inner.set_read_floor(lsn);
    }

    fn lost(&self) -> BoxFuture<'_, VolumeError> {
        let mut lost = self.lost.subscribe();
        Box::pin(async move {
            // The sender lives as long as this does.
            let _ = lost.wait_for(|lost| *lost).await;
            Losable::error()
        })
    }
}

struct Engine {
    addr: std::net::SocketAddr,
    store: Arc<Losable>,
    probe: Probe,
    stop: oneshot::Sender<()>,
    ended: JoinHandle<Result<(), EngineError>>,
}

async fn start() -> Engine {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let addr = listener.local_addr().expect("an address");
    let store = Arc::new(Losable { inner: MemoryStore::new(), lost: watch::Sender::new(false) });
    let probe = Probe::opening();
    assert!(!probe.health().ok);
    let (stop, stopped) = oneshot::channel();
    let config = EngineConfig::new(addr, addr, vec![addr], "tests".into());
    let (serving, watched) = (store.clone(), probe.clone());
    let ended = tokio::spawn(async move {
        let facts = Arc::new(|| serde_json::json!({ "epoch": 1 }));
        let shutdown = async {
            let _ = stopped.await;
        };
        front::serve(&config, serving, facts, listener, &watched, shutdown).await
    });
    Engine { addr, store, probe, stop, ended }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_ends_sessions_and_then_the_engine() {
    let engine = start().await;
    let (mut raw, _) = Raw::session(engine.addr, &[]).await;
    let health = engine.probe.health();
    assert!(health.ok);
    assert_eq!(health.detail["connections"], 1);
    assert_eq!(health.detail["role"], "writer");
    assert!(health.detail["vdl"].is_u64());
    engine.stop.send(()).expect("running");
    assert_eq!(raw.until_closed().await[0].field('C').as_deref(), Some("57P01"));
    in_time(engine.ended).await.expect("no panic").expect("a clean end");
    assert!(!engine.probe.health().ok);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_volume_ends_everything_and_acknowledges_nothing() {
    let engine = start().await;
    let (mut idle, _) = Raw::session(engine.addr, &[]).await;
    let (mut busy, _) = Raw::session(engine.addr, &[]).await;
    busy.ask(&query("create table t (id int)")).await;
    engine.store.inner.hold_vdl(true);
    busy.send(&query("insert into t values (1)")).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    engine.store.lost.send_replace(true);
    let said = busy.until_closed().await;
    assert!(said.iter().all(|m| m.tag != 'C'), "acknowledged: {said:?}");
    let codes: Vec<String> =
        said.iter().filter_map(|m| m.field('C')).filter(|code| code.len() == 5).collect();
    assert_eq!(codes, ["08007", "57P01"]);
    assert_eq!(idle.until_closed().await[0].field('C').as_deref(), Some("57P01"));
    let error = in_time(engine.ended).await.expect("no panic").expect_err("lost");
    assert!(error.is_fenced(), "{error}");
}
