//! A whole storage node as its process runs it, beside a metadata service of one member: registration, restart, and the
//! folders and ports that it must refuse.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::atomic::{AtomicU16, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sextant_meta::{MetaClient, MetaConfig};
use sextant_node::net::{self, FrameReader};
use sextant_redo::frame;
use sextant_redo::wire::{Epochs, PeerKind, Reply, Request};
use sextant_redo::{
    AzId, ClusterId, MembershipEpoch, NodeId, PgId, SegmentId, SegmentKind, VolumeEpoch, VolumeId,
};
use sextant_segment_store::{NodeError, SegmentConfig, run};
use tokio::io::AsyncWriteExt;
use tokio::sync::oneshot;

/// Ports that nobody has: each is given out once, from below those that the kernel gives to whoever asks for any.
fn free_ports<const N: usize>() -> [SocketAddr; N] {
    static NEXT: AtomicU16 = AtomicU16::new(7_000);
    [(); N].map(|()| {
        loop {
            let addr = SocketAddr::from(([127, 0, 0, 1], NEXT.fetch_add(1, Ordering::Relaxed)));
            if std::net::TcpListener::bind(addr).is_ok() {
                return addr;
            }
        }
    })
}

/// Something that runs on a thread of its own until it is told to stop.
struct Running<T> {
    stop: oneshot::Sender<()>,
    thread: JoinHandle<T>,
}

impl<T> Running<T> {
    fn stop(self) -> T {
        // It may have ended by itself.
        let _ = self.stop.send(());
        self.thread.join().expect("no panic")
    }
}

fn meta(dir: &Path) -> (Running<()>, SocketAddr) {
    let [listen, http] = free_ports();
    let config = MetaConfig {
        id: 1,
        listen,
        http,
        data: dir.to_owned(),
        peers: BTreeMap::from([(1, listen)]),
        lease_ms: 1000,
        replace_after_s: 0,
    };
    let (stop, stopped) = oneshot::channel::<()>();
    let thread = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().expect("a runtime");
        let shutdown = async {
            let _ = stopped.await;
        };
        runtime.block_on(sextant_meta::run(config, shutdown)).expect("the metadata service runs");
    });
    (Running { stop, thread }, listen)
}

fn config(dir: &Path, meta: SocketAddr) -> SegmentConfig {
    let [listen, http] = free_ports();
    let mut config = SegmentConfig::new(dir.to_owned(), listen, http, AzId(1), vec![meta]);
    config.log_file_bytes = 8 << 20;
    config
}

fn segment(config: SegmentConfig) -> Running<Result<(), NodeError>> {
    let (stop, stopped) = oneshot::channel::<()>();
    let shutdown = async {
        let _ = stopped.await;
    };
    Running { stop, thread: std::thread::spawn(move || run(config, shutdown)) }
}

/// Waits until the node has ended by itself.
fn ended(node: Running<Result<(), NodeError>>) -> NodeError {
    let deadline = Instant::now() + Duration::from_secs(30);
    while !node.thread.is_finished() {
        assert!(Instant::now() < deadline, "the node goes on");
        std::thread::sleep(Duration::from_millis(20));
    }
    node.stop().expect_err("it failed")
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime").block_on(future)
}

/// Asks one thing on a connection of its own, waiting for the node to come up.
async fn ask(addr: SocketAddr, cluster: ClusterId, node: NodeId, request: Request) -> Vec<Reply> {
    let deadline = Instant::now() + Duration::from_secs(20);
    let stream = loop {
        match net::connect(addr, Duration::from_secs(1)).await {
            Ok(stream) => break stream,
            Err(error) => assert!(Instant::now() < deadline, "{error}"),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let (read, mut write) = stream.into_split();
    let hello = Request::Hello { cluster, node, peer: PeerKind::Admin };
    let mut replies = Vec::new();
    let mut reader = FrameReader::new(read);
    for request in [hello, request] {
        let mut out = Vec::new();
        frame::encode(&mut out, request.kind(), 1, &request.payload());
        write.write_all(&out).await.expect("sent");
        let answer = tokio::time::timeout(Duration::from_secs(20), reader.expect_next()).await;
        let frame = answer.expect("in time").expect("an answer");
        replies.push(Reply::decode(frame.kind, &frame.payload).expect("a reply"));
    }
    replies
}

/// The node that registered with this address.
async fn registered(client: &MetaClient, addr: SocketAddr) -> (ClusterId, NodeId) {
    let deadline = Instant::now() + Duration::from_secs(20);
    loop {
        if let Ok(view) = client.cluster().await
            && let Some(node) = view.nodes.iter().find(|node| node.addr == addr && node.alive)
        {
            assert_eq!(node.az, AzId(1));
            return (view.cluster, node.id);
        }
        assert!(Instant::now() < deadline, "the node did not register");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[test]
fn a_node_registers_serves_and_keeps_its_identity() {
    let root = tempfile::tempdir().expect("folder");
    let (service, meta_addr) = meta(&root.path().join("meta"));
    let client = MetaClient::new(vec![meta_addr]);
    let dir = root.path().join("segment");
    let first = config(&dir, meta_addr);
    let addr = first.listen;
    let node = segment(first);
    let (cluster, id) = block_on(registered(&client, addr));
    let target = SegmentId { volume: VolumeId(1), pg: PgId(0) };
    let epochs = Epochs { volume: VolumeEpoch(1), membership: MembershipEpoch(1) };
    let replies = block_on(ask(
        addr,
        cluster,
        id,
        Request::CreateSegment { segment: target, epochs, kind: SegmentKind::Full },
    ));
    assert_eq!(replies[0], Reply::Hello { cluster, node: id });
    assert!(matches!(&replies[1], Reply::State(state) if state.epochs == epochs));

    let error = ended(segment(config(&dir, meta_addr)));
    assert!(matches!(error, NodeError::Identity(_)), "a folder in use is refused: {error}");
    let mut same_port = config(&root.path().join("other"), meta_addr);
    same_port.listen = addr;
    let error = ended(segment(same_port));
    assert!(matches!(error, NodeError::Bind(_)) && error.to_string().contains(&addr.to_string()), "{error}");
    node.stop().expect("stops when told to");

    // Another address after a restart, and the metadata service gone: its own folder is enough to serve.
    service.stop();
    let again = config(&dir, meta_addr);
    let addr = again.listen;
    let node = segment(again);
    let replies = block_on(ask(addr, cluster, id, Request::Status));
    assert!(matches!(&replies[1], Reply::Status(states) if states.len() == 1 && states[0].epochs == epochs));
    node.stop().expect("stops when told to");

    // Under another cluster's metadata service the folder is refused and left alone.
    let (service, other_addr) = meta(&root.path().join("meta of another cluster"));
    let before = std::fs::read(dir.join("identity.json")).expect("identity");
    let error = ended(segment(config(&dir, other_addr)));
    assert!(matches!(error, NodeError::Meta(_) | NodeError::Identity(_)), "{error}");
    assert_eq!(std::fs::read(dir.join("identity.json")).expect("identity"), before);
    service.stop();
}

#[test]
fn settings_that_make_no_sense_are_refused() {
    let root = tempfile::tempdir().expect("folder");
    let [addr] = free_ports();
    let mut wrong = config(root.path(), addr);
    wrong.log_file_bytes = 4097;
    let error = ended(segment(wrong));
    assert!(error.to_string().contains("log_file_bytes"), "{error}");
}
