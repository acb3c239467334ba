//! Storage nodes keep each other whole with the engine dead: one that was away for longer than its peers keep log comes back
//! to equal SCLs and byte-equal pages, and flipped bits in its files are found and repaired while it serves.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use sextant_node::http_get;
use sextant_node::net::{self, FrameReader};
use sextant_redo::wire::{Epochs, PeerKind, Reply, Request, SegmentState};
use sextant_redo::{ClusterId, Lsn, NodeId, PAGE_SIZE, PageId, frame, page};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

use crate::cluster::{Alone, Cluster, Process, signal, wait_gone, wait_until};

const PATIENCE: Duration = Duration::from_secs(90);
const REPAIRED: &str = "sextant_segment_damage_repaired_total";
/// The shortest log that a node can be told to keep.
const SHORT_LOG: [&str; 8] = [
    "--log-file-bytes",
    "8388608",
    "--log-budget-bytes",
    "16777216",
    "--scrub-period-hours",
    "0",
    "--scrub-bytes-per-s",
    "33554432",
];

/// A connection to a storage node, one request at a time.
struct Storage {
    reader: FrameReader<OwnedReadHalf>,
    write: OwnedWriteHalf,
}

impl Storage {
    async fn connect(addr: SocketAddr, cluster: ClusterId, node: NodeId) -> Storage {
        let stream = net::connect(addr, Duration::from_secs(5)).await.expect("connects");
        let (read, write) = stream.into_split();
        let mut storage = Storage { reader: FrameReader::new(read), write };
        let hello = Request::Hello { cluster, node, peer: PeerKind::Admin };
        assert!(matches!(storage.ask(hello).await, Reply::Hello { .. }));
        storage
    }

    async fn ask(&mut self, request: Request) -> Reply {
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, request.kind(), 1, &request.payload());
        self.write.write_all(&bytes).await.expect("sent");
        let answer = tokio::time::timeout(Duration::from_secs(20), self.reader.expect_next()).await;
        let frame = answer.expect("in time").expect("an answer");
        Reply::decode(frame.kind, &frame.payload).expect("a reply")
    }

    async fn state(&mut self) -> SegmentState {
        match self.ask(Request::Status).await {
            Reply::Status(mut states) => states.remove(0),
            other => panic!("{other:?}"),
        }
    }

    /// Every page of the segment, as of its SCL.
    async fn pages(&mut self) -> Vec<(PageId, Vec<u8>)> {
        let state = self.state().await;
        let (segment, epochs): (_, Epochs) = (state.segment, state.epochs);
        let (mut numbers, mut from) = (Vec::new(), Some(PageId(0)));
        while let Some(start) = from {
            let ask = Request::CopyPages { segment, epochs, at: Lsn::ZERO, from: start, max_bytes: 1 << 20 };
            let Reply::Pages(part) = self.ask(ask).await else { panic!("no pages") };
            for bytes in part.images.chunks_exact(PAGE_SIZE) {
                numbers.push(page::id(bytes.try_into().expect("a page")));
            }
            from = part.next;
        }
        let mut pages = Vec::new();
        for page in numbers {
            let (read_point, required_scl) = (Lsn::MAX, state.scl);
            match self.ask(Request::ReadPage { segment, epochs, page, read_point, required_scl }).await {
                Reply::Page { image } => pages.push((page, image.to_vec())),
                other => panic!("page {page}: {other:?}"),
            }
        }
        pages
    }
}

fn start(cluster: &Cluster, node: &Process) -> Alone {
    let (listen, http) = (node.address.to_string(), node.http.to_string());
    let (az, data) = (node.az.expect("a zone").to_string(), node.data.to_str().expect("UTF-8"));
    let mut line: Vec<String> =
        ["segment", "--az", &az, "--listen", &listen, "--http", &http, "--data", data].map(Into::into).into();
    line.extend(SHORT_LOG.map(Into::into));
    line.extend(cluster.meta_flags());
    Alone::start(&line, &node.log)
}

fn stop(node: &Process) {
    let pid = node.pid.expect("runs");
    signal(pid, libc::SIGKILL);
    wait_gone(pid);
}

/// SCLs of the copies that answer.
fn scls(cluster: &Cluster) -> Vec<Option<u64>> {
    let status = cluster.status();
    let segments = status["volumes"][0]["pgs"][0]["segments"].as_array().expect("segments").clone();
    segments.iter().map(|segment| segment["scl"].as_u64()).collect()
}

fn all_equal(scls: &[Option<u64>]) -> bool {
    scls.len() == 6 && scls.iter().all(|scl| scl.is_some() && *scl == scls[0])
}

/// The sum of a metric over its labels.
async fn metric(http: SocketAddr, name: &str) -> f64 {
    let mut stream = net::connect(http, Duration::from_secs(5)).await.expect("connects");
    let ask = format!("GET /metrics HTTP/1.1\r\nHost: {http}\r\nConnection: close\r\n\r\n");
    stream.write_all(ask.as_bytes()).await.expect("sent");
    let mut text = String::new();
    stream.read_to_string(&mut text).await.expect("an answer");
    let of_name = |line: &&str| {
        line.strip_prefix(name).is_some_and(|rest| rest.starts_with(' ') || rest.starts_with('{'))
    };
    let value = |line: &str| line.rsplit(' ').next().and_then(|number| number.parse::<f64>().ok());
    text.lines().filter(of_name).filter_map(value).sum()
}

/// Damaged log files that the node has found since it started.
async fn damage_in_log(node: &Process) -> f64 {
    metric(node.http, r#"sextant_segment_damage_found_total{what="log"}"#).await
}

/// Flips a bit every so many bytes in the first part of a file, if it is there.
fn rot(path: &Path, first: u64, every: u64, times: u64) {
    let file = match std::fs::File::options().read(true).write(true).open(path) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return,
        opened => opened.expect("opens"),
    };
    let len = file.metadata().expect("metadata").len();
    for at in (0..times).map(|n| first + n * every).filter(|at| *at < len) {
        let mut byte = [0];
        file.read_exact_at(&mut byte, at).expect("read");
        byte[0] ^= 4;
        file.write_all_at(&byte, at).expect("written");
    }
    file.sync_all().expect("flushed");
}

/// The log files that are full and kept, as the node itself said not long ago. The names in its folder do not tell: there may
/// be files that were freed, and one that is made for later has its name only when it is whole.
async fn full_log_files(node: &Process) -> Vec<PathBuf> {
    let health = http_get::health(&node.http.to_string(), Duration::from_secs(5)).await.expect("an answer");
    let number = |name: &str| health["detail"][name].as_u64().expect("a log file's number");
    let full = number("log_first_file")..number("log_active_file");
    full.map(|number| node.data.join(format!("log-{number:06}.sxl"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn nodes_heal_without_an_engine() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart"]);
    let nodes = cluster.role("segment");
    nodes.iter().for_each(stop);
    let mut running: Vec<Alone> = nodes.iter().map(|node| start(&cluster, node)).collect();
    let client = cluster.connect().await;
    client.batch_execute("create table t (id bigint primary key, body text)").await.expect("created");
    wait_until(PATIENCE, "all copies answer", || scls(&cluster).iter().all(Option::is_some));

    let view = sextant_meta::MetaClient::new(cluster.role("meta").iter().map(|m| m.address).collect());
    let view = view.cluster().await.expect("answers");
    let storage = async |of: &Process| {
        let node = view.nodes.iter().find(|node| node.addr == of.address).expect("registered");
        Storage::connect(of.address, view.cluster, node.id).await
    };

    // More log than the others keep, while one is away.
    let before = scls(&cluster).into_iter().flatten().max().expect("all answer");
    drop(running.pop());
    let body = "x".repeat(1500);
    for chunk in 0..400 {
        let rows: Vec<String> = (0..100).map(|n| format!("({}, '{body}')", chunk * 100 + n)).collect();
        let insert = format!("insert into t values {}", rows.join(", "));
        client.batch_execute(&insert).await.expect("inserted");
    }
    signal(cluster.engine().pid.expect("runs"), libc::SIGKILL);
    for node in &nodes[..5] {
        let deadline = Instant::now() + PATIENCE;
        while storage(node).await.state().await.log_start.0 <= before {
            assert!(Instant::now() < deadline, "a node keeps more log than it may");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    running.push(start(&cluster, &nodes[5]));
    wait_until(PATIENCE, "equal SCLs without an engine", || all_equal(&scls(&cluster)));
    assert!(metric(nodes[5].http, "sextant_segment_copies_done_total").await >= 1.0, "pages were copied");

    let pages = storage(&nodes[0]).await.pages().await;
    assert!(pages.len() > 1000, "{} pages", pages.len());
    for node in [&nodes[1], &nodes[5]] {
        assert!(storage(node).await.pages().await == pages, "{} has other pages", node.name);
    }

    // Bits flip in the page store and in full log files of nodes that serve. The figures before come first: scrubbing never
    // pauses here and may have mended the first files before the last one is flushed.
    let (pages_of, log_of) = (&nodes[5], &nodes[1]);
    let found_before = damage_in_log(log_of).await;
    let repaired_before = metric(pages_of.http, REPAIRED).await;
    rot(&pages_of.data.join("pages.sxp"), 3000, PAGE_SIZE as u64, 64);
    let mut rotten = BTreeSet::new();
    let deadline = tokio::time::Instant::now() + PATIENCE;
    loop {
        // One that was freed before scrubbing came by was damaged for nothing; there is always another, until damage is found.
        let found = damage_in_log(log_of).await - found_before;
        let full = if found == 0.0 { full_log_files(log_of).await } else { Vec::new() };
        for file in full {
            if rotten.insert(file.clone()) {
                rot(&file, 1 << 20, 1 << 20, 2);
            }
        }
        let repaired = metric(pages_of.http, REPAIRED).await - repaired_before;
        let kept = metric(log_of.http, "sextant_segment_damaged_log_files").await;
        if repaired >= 2.0 && found >= 1.0 && kept == 0.0 {
            break;
        }
        let late = tokio::time::Instant::now() >= deadline;
        assert!(
            !late,
            "{repaired} pages are repaired; {found} of {rotten:?} were found damaged, {kept} are kept"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    for node in [pages_of, log_of] {
        assert!(storage(node).await.pages().await == pages, "damage was served, or not repaired");
    }
    assert!(all_equal(&scls(&cluster)));

    // The bad log is not met again.
    drop(running.remove(1));
    running.push(start(&cluster, log_of));
    wait_until(PATIENCE, "equal SCLs after a restart", || all_equal(&scls(&cluster)));
    assert!(storage(log_of).await.pages().await == pages, "the node starts with other pages");
}
