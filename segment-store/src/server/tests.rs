//! A node on a real folder and loopback, spoken to in real frames.

use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sextant_node::net::{self, FrameReader};
use sextant_redo::frame::{self, Frame};
use sextant_redo::wire::{PeerKind, Reply, Request, SegmentError, SegmentState};
use sextant_redo::{Batch, ClusterId, Lsn, NodeId, PageId, VolumeEpoch, page};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::task::spawn_local;

use crate::NodeError;
use crate::disk::memory::MemoryDisk;
use crate::disk::{self, Disk, Flush, ThreadDisk};
use crate::host::TokioHost;
use crate::node::Node;
use crate::testing::{IDENTITY, SEGMENT, Writer, append, block_on, create, epochs, options};
use crate::{appender, server};

struct Served {
    node: Rc<Node>,
    addr: std::net::SocketAddr,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Served {
    async fn on(disk: Rc<dyn Disk>, flush: Flush) -> Served {
        let node =
            Node::open(disk, Rc::new(TokioHost::new()), flush, IDENTITY, options()).await.expect("opens");
        let listener = net::bind("127.0.0.1:0".parse().expect("address"), "a test").await.expect("free");
        let addr = listener.local_addr().expect("address");
        let tasks = vec![
            spawn_local(appender::write_log(node.clone())),
            spawn_local(crate::spare::keep_spare(node.clone())),
            spawn_local(server::serve(node.clone(), listener)),
        ];
        Served { node, addr, tasks }
    }

    async fn start(dir: &Path) -> Served {
        Served::on(disk::open(dir).expect("disk"), Flush::LinkedFdatasync).await
    }

    /// As by SIGKILL: whatever was not durable is gone.
    async fn kill(self) {
        for task in self.tasks {
            task.abort();
            let _ = task.await;
        }
        self.node.connections.borrow_mut().clear();
    }

    async fn connect(&self) -> Peer {
        let mut peer = Peer::raw(self.addr).await;
        let hello = Request::Hello { cluster: IDENTITY.cluster, node: IDENTITY.node, peer: PeerKind::Engine };
        assert!(matches!(peer.ask(&hello).await, Reply::Hello { node, .. } if node == IDENTITY.node));
        peer
    }
}

struct Peer {
    reader: FrameReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    next: u64,
}

impl Peer {
    async fn raw(addr: std::net::SocketAddr) -> Peer {
        let stream: TcpStream = net::connect(addr, Duration::from_secs(5)).await.expect("connects");
        let (read, writer) = stream.into_split();
        Peer { reader: FrameReader::new(read), writer, next: 1 }
    }

    async fn send(&mut self, request: &Request) -> u64 {
        let mut out = Vec::new();
        frame::encode(&mut out, request.kind(), self.next, &request.payload());
        self.writer.write_all(&out).await.expect("sent");
        self.next += 1;
        self.next - 1
    }

    async fn receive(&mut self) -> Option<(u64, Reply)> {
        let next = tokio::time::timeout(Duration::from_secs(10), self.reader.next());
        let frame: Frame = next.await.expect("an answer in time").ok().flatten()?;
        Some((frame.request, Reply::decode(frame.kind, &frame.payload).expect("a reply")))
    }

    async fn ask(&mut self, request: &Request) -> Reply {
        let id = self.send(request).await;
        let (request, reply) = self.receive().await.expect("an answer");
        assert_eq!(request, id);
        reply
    }

    async fn state(&mut self) -> SegmentState {
        match self.ask(&Request::Status).await {
            Reply::Status(mut states) => states.pop().expect("one segment"),
            other => panic!("{other:?}"),
        }
    }
}

fn read_page(number: u64, read_point: Lsn, required_scl: Lsn) -> Request {
    Request::ReadPage { segment: SEGMENT, epochs: epochs(1), page: PageId(number), read_point, required_scl }
}

fn scl(reply: &Reply) -> Lsn {
    match reply {
        Reply::Appended { scl, segment } if *segment == SEGMENT => *scl,
        other => panic!("{other:?}"),
    }
}

fn refused(reply: Reply) -> SegmentError {
    match reply {
        Reply::Error(error) => error,
        other => panic!("{other:?}"),
    }
}

/// Appends many batches in flight at once, then reads every page at many LSNs, kills, restarts, reads again.
async fn the_life_of_a_node(make: impl AsyncFn() -> Served) {
    let served = make().await;
    let mut peer = served.connect().await;
    assert!(matches!(peer.ask(&create(1)).await, Reply::State(state) if state.scl == Lsn::ZERO));
    let mut writer = Writer::new(1);
    let mut points = Vec::new();
    for n in 0..200u64 {
        let batch = writer.batch(&[(n % 7, n as u8), (n % 3, n as u8), (20, n as u8)]);
        peer.send(&append(1, batch)).await;
        points.push(writer.last);
    }
    let mut acknowledged = Lsn::ZERO;
    for _ in 0..200 {
        let (_, reply) = peer.receive().await.expect("every append is answered");
        assert!(scl(&reply) >= acknowledged, "the SCL never goes back");
        acknowledged = scl(&reply);
    }
    assert_eq!(acknowledged, writer.last);
    for point in points.iter().step_by(37).chain([&writer.last]) {
        for number in [0, 3, 6, 20, 99] {
            check_page(&mut peer, &writer, number, *point).await;
        }
    }
    served.kill().await;

    let served = make().await;
    let mut peer = served.connect().await;
    assert_eq!(peer.state().await.scl, writer.last, "every acknowledged record is there");
    for number in [0, 3, 6, 20, 99] {
        check_page(&mut peer, &writer, number, points[50]).await;
        check_page(&mut peer, &writer, number, writer.last).await;
    }
    assert_eq!(scl(&peer.ask(&append(1, writer.batch(&[(1, 1)]))).await), writer.last);
    served.kill().await;
}

async fn check_page(peer: &mut Peer, writer: &Writer, number: u64, point: Lsn) {
    let reply = peer.ask(&read_page(number, point, point)).await;
    let Reply::Page { image } = reply else {
        panic!("{reply:?}");
    };
    let image: &[u8; 8192] = image[..].try_into().expect("a page");
    assert_eq!(page::verify(image, PageId(number)), Ok(()));
    let expected = writer.page(number, point);
    assert!(image == &*expected.0, "page {number} at {point}");
}

#[test]
fn acknowledged_means_durable_on_io_uring() {
    let dir = tempfile::tempdir().expect("folder");
    block_on(async {
        let disk = disk::open(dir.path()).expect("disk");
        let (_, dsync, linked) = disk::choose_flush(&*disk).await.expect("measured");
        assert!(dsync > Duration::ZERO && linked > Duration::ZERO);
        the_life_of_a_node(async || Served::start(dir.path()).await).await;
    });
}

#[test]
fn acknowledged_means_durable_on_threads() {
    let dir = tempfile::tempdir().expect("folder");
    block_on(async {
        for flush in [Flush::DsyncWrite, Flush::LinkedFdatasync] {
            let sub = dir.path().join(flush.name());
            std::fs::create_dir(&sub).expect("folder");
            the_life_of_a_node(async || {
                Served::on(Rc::new(ThreadDisk::open(&sub).expect("disk")), flush).await
            })
            .await;
        }
    });
}

#[test]
fn an_old_writer_is_fenced_and_the_new_one_goes_on() {
    let dir = tempfile::tempdir().expect("folder");
    block_on(async {
        let served = Served::start(dir.path()).await;
        let (mut old, mut new) = (served.connect().await, served.connect().await);
        old.ask(&create(1)).await;
        let mut writer = Writer::new(1);
        let kept = scl(&old.ask(&append(1, writer.batch(&[(1, 1), (2, 2)]))).await);
        let mut stale = writer.clone();
        old.ask(&append(1, stale.batch(&[(1, 9)]))).await;
        let opened = new.ask(&Request::OpenSegment { segment: SEGMENT, epochs: epochs(2) }).await;
        assert!(matches!(opened, Reply::State(state) if state.epochs == epochs(2) && state.scl > kept));
        let current = VolumeEpoch(2);
        assert_eq!(
            refused(old.ask(&append(1, stale.batch(&[(1, 8)]))).await),
            SegmentError::Fenced { current }
        );
        assert_eq!(refused(old.ask(&read_page(1, kept, kept)).await), SegmentError::Fenced { current });
        let range = writer.reopen(2, kept, 10_000);
        let truncate = Request::Truncate { segment: SEGMENT, epochs: epochs(2), ranges: vec![range] };
        assert!(matches!(new.ask(&truncate).await, Reply::State(state) if state.scl == kept));
        assert_eq!(scl(&new.ask(&append(2, writer.batch(&[(1, 3)]))).await), writer.last);
        served.kill().await;

        let served = Served::start(dir.path()).await;
        let mut old = served.connect().await;
        assert_eq!(
            refused(old.ask(&append(1, stale.batch(&[(1, 8)]))).await),
            SegmentError::Fenced { current }
        );
        let state = old.state().await;
        assert_eq!((state.scl, state.truncations), (writer.last, vec![range]));
        served.kill().await;
    });
}

#[test]
fn chain_and_log_are_told_to_who_opens_and_who_lacks() {
    let dir = tempfile::tempdir().expect("folder");
    block_on(async {
        let served = Served::start(dir.path()).await;
        let mut peer = served.connect().await;
        peer.ask(&create(1)).await;
        let mut writer = Writer::new(1);
        let batches: Vec<Bytes> = (0..10).map(|n| writer.batch(&[(1, n), (2, n), (3, n)])).collect();
        let missing = 6;
        for (n, batch) in batches.iter().enumerate().filter(|(n, _)| *n != missing) {
            let _ = (n, peer.ask(&append(1, batch.clone())).await);
        }
        let links: Vec<_> = batches
            .iter()
            .flat_map(|b| {
                Batch::decode(b).expect("valid").records().flatten().map(|r| r.1.links).collect::<Vec<_>>()
            })
            .collect();
        let chain = |after, max_records| Request::ReadChain {
            segment: SEGMENT,
            epochs: epochs(1),
            after,
            max_records,
        };
        let end = missing * 3;
        let reply = peer.ask(&chain(Lsn::ZERO, 1000)).await;
        assert_eq!(
            reply,
            Reply::Chain { links: links[..end].to_vec(), complete: true },
            "only the unbroken chain"
        );
        let reply = peer.ask(&chain(links[1].lsn, 4)).await;
        assert_eq!(reply, Reply::Chain { links: links[2..6].to_vec(), complete: false });
        peer.ask(&append(1, batches[missing].clone())).await;
        let reply = peer.ask(&chain(links[end - 1].lsn, 1000)).await;
        assert_eq!(reply, Reply::Chain { links: links[end..].to_vec(), complete: true });
        let log = |after, up_to, max_bytes| Request::ReadLog {
            segment: SEGMENT,
            epochs: epochs(1),
            after,
            up_to,
            max_bytes,
        };
        let reply = peer.ask(&log(Lsn::ZERO, Lsn::MAX, 1 << 20)).await;
        assert_eq!(reply, Reply::Log { batches: batches.concat().into(), last: writer.last });
        let reply = peer.ask(&log(links[2].lsn, links[4].lsn, 1 << 20)).await;
        let Reply::Log { batches: cut, last } = reply else {
            panic!("{reply:?}");
        };
        assert_eq!(last, links[4].lsn);
        let cut = Batch::decode(&cut).expect("a cut batch is a batch");
        assert_eq!((cut.header().first, cut.header().last), (links[3].lsn, links[4].lsn));
        served.kill().await;
    });
}

#[test]
fn who_looks_for_another_node_or_speaks_garbage_is_sent_away() {
    let dir = tempfile::tempdir().expect("folder");
    block_on(async {
        let served = Served::start(dir.path()).await;
        let hello = |cluster, node| Request::Hello { cluster, node, peer: PeerKind::Engine };
        let wrong = [
            (hello(ClusterId(1), IDENTITY.node), SegmentError::WrongCluster { ours: IDENTITY.cluster }),
            (hello(IDENTITY.cluster, NodeId(77)), SegmentError::WrongNode { ours: IDENTITY.node }),
        ];
        for (request, error) in wrong {
            let mut peer = Peer::raw(served.addr).await;
            assert_eq!(refused(peer.ask(&request).await), error);
            assert!(peer.receive().await.is_none(), "and the connection is closed");
        }
        let mut early = Peer::raw(served.addr).await;
        assert!(matches!(refused(early.ask(&create(1)).await), SegmentError::BadRequest { .. }));
        assert!(early.receive().await.is_none());
        for garbage in
            [&b"GET / HTTP/1.1\r\n\r\n"[..], &[0xff; 4000], b"SXF1\xff\xff\xff\xff0000000000000000000000000"]
        {
            let mut stream = TcpStream::connect(served.addr).await.expect("connects");
            stream.write_all(garbage).await.expect("sent");
            let mut rest = Vec::new();
            let read = tokio::time::timeout(Duration::from_secs(5), stream.read_to_end(&mut rest)).await;
            // Closed, or reset because bytes were left unread.
            assert!(read.expect("closed in time").is_err() || rest.is_empty());
        }
        let mut peer = served.connect().await;
        let mut out = Vec::new();
        frame::encode(&mut out, 99, 5, b"no such request");
        peer.writer.write_all(&out).await.expect("sent");
        assert!(matches!(peer.receive().await, Some((5, Reply::Error(SegmentError::BadRequest { .. })))));
        assert!(peer.receive().await.is_none());
        assert!(
            matches!(served.connect().await.ask(&create(1)).await, Reply::State(_)),
            "others are served on"
        );
        served.kill().await;
    });
}

#[test]
fn damaged_batches_and_too_much_at_once_are_refused() {
    let dir = tempfile::tempdir().expect("folder");
    block_on(async {
        let served = Served::start(dir.path()).await;
        let mut peer = served.connect().await;
        peer.ask(&create(1)).await;
        let mut writer = Writer::new(1);
        let batch = writer.batch(&[(1, 1)]);
        let mut bad = batch.to_vec();
        bad[90] ^= 1;
        assert!(matches!(refused(peer.ask(&append(1, bad.into())).await), SegmentError::BadRequest { .. }));
        let mut long = batch.to_vec();
        long.push(0);
        assert!(matches!(refused(peer.ask(&append(1, long.into())).await), SegmentError::BadRequest { .. }));
        served.node.queued_bytes.set(options().queue_bytes);
        assert_eq!(refused(peer.ask(&append(1, batch.clone())).await), SegmentError::Overloaded);
        served.node.queued_bytes.set(0);
        assert_eq!(scl(&peer.ask(&append(1, batch)).await), writer.last);
        served.kill().await;
    });
}

#[test]
fn a_full_device_refuses_log_serves_reads_and_recovers() {
    block_on(async {
        let disk = Rc::new(MemoryDisk::default());
        let served = Served::on(disk.clone(), Flush::DsyncWrite).await;
        let mut peer = served.connect().await;
        peer.ask(&create(1)).await;
        let mut writer = Writer::new(1);
        // The spare file is made in the background; from then on there is no space for another.
        while served.node.log.borrow().spares() == 0 {
            tokio::task::yield_now().await;
        }
        disk.set_full(true);
        let mut refused_batch = None;
        for n in 0..400u64 {
            let before = writer.clone();
            let batch = writer.batch(&[(n % 9, (n % 200) as u8)]);
            if let Reply::Error(error) = peer.ask(&append(1, batch)).await {
                assert_eq!(error, SegmentError::DeviceFull);
                refused_batch = Some(before);
                break;
            }
        }
        let mut writer = refused_batch.expect("the device fills up");
        check_page(&mut peer, &writer, 3, writer.last).await;
        disk.set_full(false);
        let batch = writer.batch(&[(3, 3)]);
        let mut taken = false;
        for _ in 0..50 {
            match peer.ask(&append(1, batch.clone())).await {
                Reply::Appended { scl, .. } => {
                    assert_eq!(scl, writer.last);
                    taken = true;
                    break;
                }
                reply => assert_eq!(refused(reply), SegmentError::DeviceFull),
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        assert!(taken, "log is taken again when space is back");
        served.kill().await;
    });
}

#[test]
fn a_failed_write_stops_the_node_without_an_answer() {
    block_on(async {
        let disk = Rc::new(MemoryDisk::default());
        let served = Served::on(disk.clone(), Flush::DsyncWrite).await;
        let mut peer = served.connect().await;
        peer.ask(&create(1)).await;
        while served.node.log.borrow().spares() == 0 {
            tokio::task::yield_now().await;
        }
        disk.fail_nth(1);
        let mut writer = Writer::new(1);
        peer.send(&append(1, writer.batch(&[(1, 1)]))).await;
        let failed =
            tokio::time::timeout(Duration::from_secs(5), served.node.failed()).await.expect("in time");
        assert!(matches!(&failed, NodeError::Disk { .. }));
        assert!(failed.to_string().contains("log-000001.sxl"), "{failed}");
        peer.send(&append(1, writer.batch(&[(1, 2)]))).await;
        let answer = tokio::time::timeout(Duration::from_millis(200), peer.reader.next()).await;
        assert!(answer.is_err(), "nothing is acknowledged behind a failed write");
        served.kill().await;
    });
}
