//! Bytes of strangers on the port.

use std::net::SocketAddr;
use std::time::Duration;

use sextant_redo::frame;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::harness::{Cluster, LIMIT};

/// Sends `bytes` and reads until the member closes.
async fn closes(addr: SocketAddr, bytes: &[u8]) -> bool {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(bytes).await.unwrap();
    let mut answer = Vec::new();
    // A reset is a close too.
    timeout(LIMIT, stream.read_to_end(&mut answer)).await.map(|_| answer.is_empty()).unwrap()
}

fn framed(kind: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::encode(&mut out, kind, 1, payload);
    out
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn garbage_ends_its_connection_and_nothing_else() {
    let cluster = Cluster::started(3).await;
    let client = cluster.client();
    let before = client.cluster().await.unwrap();
    for addr in cluster.peers.values() {
        assert!(closes(*addr, b"GET / HTTP/1.1\r\n\r\n").await);
        assert!(closes(*addr, &[0xff; 100]).await);
        let mut torn = framed(1, b"\"Cluster\"");
        *torn.last_mut().unwrap() ^= 1;
        assert!(closes(*addr, &torn).await);
        assert!(closes(*addr, &framed(99, b"{}")).await);
        // A half frame waits for its other half, and disturbs nobody meanwhile.
        let mut half = TcpStream::connect(*addr).await.unwrap();
        half.write_all(&framed(1, b"\"Cluster\"")[..10]).await.unwrap();
    }
    assert_eq!(client.cluster().await.unwrap().cluster, before.cluster);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn frames_without_sense_get_an_answer_that_says_so() {
    let cluster = Cluster::started(1).await;
    let client = cluster.client();
    client.cluster().await.unwrap();
    let long = vec![b' '; 100_000];
    // Requests (1) and the calls of Raft (16 to 21).
    for (kind, payload) in [
        (1, &b"{}"[..]),
        (1, b"\"Fly\""),
        (1, b"\xff\xfe"),
        (1, &long),
        (16, b"{}"),
        (17, b"[]"),
        (21, b"nonsense"),
    ] {
        let mut stream = TcpStream::connect(cluster.peers[&1]).await.unwrap();
        stream.write_all(&framed(kind, payload)).await.unwrap();
        let mut head = [0; frame::FRAME_HEADER];
        timeout(LIMIT, stream.read_exact(&mut head)).await.unwrap().unwrap();
        let len = u32::from_le_bytes(head[4..8].try_into().unwrap()) as usize;
        let mut answer = vec![0; len];
        timeout(LIMIT, stream.read_exact(&mut answer)).await.unwrap().unwrap();
        let answer: serde_json::Value = serde_json::from_slice(&answer).unwrap();
        assert!(answer.get("Err").is_some(), "kind {kind}: {answer}");
    }
    client.cluster().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn health_and_metrics_answer() {
    let cluster = Cluster::new(1);
    let mut config = cluster.config(1);
    config.http = crate::harness::free_addresses(1)[0];
    let http = config.http;
    let _running = crate::harness::start_released(config).await;
    cluster.client().cluster().await.unwrap();
    let get = |path: &'static str| async move {
        let mut stream = TcpStream::connect(http).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        timeout(Duration::from_secs(10), stream.read_to_string(&mut answer)).await.unwrap().unwrap();
        answer
    };
    let health = get("/health").await;
    assert!(health.starts_with("HTTP/1.1 200") && health.contains("\"role\":\"leader\""), "{health}");
    let metrics = get("/metrics").await;
    for name in [
        "sextant_meta_leader",
        "sextant_meta_term",
        "sextant_meta_proposals_total",
        "sextant_meta_read_index_seconds",
    ] {
        assert!(metrics.contains(name), "{name}");
    }
}
