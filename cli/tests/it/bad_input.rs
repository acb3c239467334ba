//! Bad input: each a clear error, nothing lost, no panic.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use sextant_redo::frame;

use crate::cluster::{Cluster, Ports, SEXTANT, output, runs, wait_until};

/// What no port expects.
fn garbage() -> Vec<Vec<u8>> {
    let mut out = vec![
        vec![0; 4096],
        vec![0xff; 4096],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        (0..=255).cycle().take(100_000).collect(),
        // A startup packet of PostgreSQL that claims two gigabytes, and one of a protocol from the future.
        vec![0x7f, 0xff, 0xff, 0xff, 0, 3, 0, 0],
        vec![0, 0, 0, 9, 0, 99, 0, 0, 0],
        // A startup packet without its end.
        vec![0, 0, 0, 20, 0, 3, 0, 0, b'u'],
        Vec::new(),
    ];
    // Whole frames of every kind with payloads that mean nothing, and a torn one.
    for kind in 0..=255 {
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, kind, 1, b"{\"nonsense\": [1, 2");
        frame::encode(&mut bytes, kind, 2, &[0xa5; 300]);
        out.push(bytes);
    }
    let mut torn = Vec::new();
    frame::encode(&mut torn, 1, 1, &[7; 1000]);
    torn.truncate(500);
    out.push(torn);
    out
}

/// Sends bytes, ends the stream, and reads what comes back: the peer must close by itself.
fn send(addr: SocketAddr, bytes: &[u8]) {
    let mut stream = TcpStream::connect(addr).expect("the port is open");
    stream.set_read_timeout(Some(Duration::from_secs(20))).expect("option");
    // The peer may close before all is sent: that is a right answer.
    if stream.write_all(bytes).is_err() || stream.shutdown(std::net::Shutdown::Write).is_err() {
        return;
    }
    let mut answer = Vec::new();
    if let Err(error) = stream.read_to_end(&mut answer) {
        assert_ne!(error.kind(), std::io::ErrorKind::WouldBlock, "{addr} neither answers nor closes");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn garbage_on_every_port_harms_nobody() {
    let mut cluster = Cluster::started();
    let client = cluster.connect().await;
    client
        .batch_execute("CREATE TABLE t (id int PRIMARY KEY); INSERT INTO t VALUES (1)")
        .await
        .expect("rows");
    let before = cluster.file();
    for child in &before.children {
        for addr in [child.address, child.http] {
            for bytes in garbage() {
                send(addr, &bytes);
            }
        }
    }
    client.batch_execute("INSERT INTO t VALUES (2)").await.expect("the open connection still works");
    let row = cluster.connect().await.query_one("SELECT count(*) FROM t", &[]).await.expect("a new one too");
    assert_eq!(row.get::<_, i64>(0), 2);
    for (before, after) in before.children.iter().zip(cluster.file().children) {
        assert_eq!((before.pid, before.restarts), (after.pid, after.restarts), "{}", before.name);
        let log = std::fs::read_to_string(&after.log).expect("log");
        assert!(!log.contains("panicked"), "{}: {log}", after.name);
    }
    cluster.stop();
}

#[test]
fn an_unknown_key_is_refused_by_every_role() {
    let dir = tempfile::tempdir().expect("tempdir");
    for role in ["meta", "segment", "engine"] {
        let path = dir.path().join(format!("{role}.toml"));
        std::fs::write(&path, "listen = \"127.0.0.1:1\"\nlisen = \"127.0.0.1:2\"\n").expect("write");
        let mut command = Command::new(SEXTANT);
        let (status, said) = output(command.arg(role).arg("--config").arg(&path), Duration::from_secs(5));
        assert!(!status.success(), "{role}");
        for part in ["lisen", "line 2", &format!("{role}.toml")] {
            assert!(said.contains(part), "{role}: {part} in {said}");
        }
    }
}

#[test]
fn a_missing_key_is_named() {
    for role in ["meta", "segment", "engine"] {
        let (status, said) = output(Command::new(SEXTANT).arg(role), Duration::from_secs(5));
        assert!(
            !status.success() && said.contains("is not set") && said.contains("--config"),
            "{role}: {said}"
        );
    }
}

#[test]
fn a_taken_port_is_named_with_who_wanted_it() {
    let cluster = Cluster::new();
    let port = cluster.port() + 33;
    let _taken = TcpListener::bind(("127.0.0.1", port)).expect("free");
    let (status, said) = output(&mut cluster.command(&[]), Duration::from_secs(20));
    assert!(!status.success());
    for part in [&port.to_string(), "segment-3", "in use"] {
        assert!(said.contains(part), "{part} in {said}");
    }
    let (status, said) = output(&mut cluster.command(&["--detach"]), Duration::from_secs(20));
    assert!(!status.success() && said.contains(&port.to_string()) && said.contains("segment-3"), "{said}");
}

#[test]
fn a_role_alone_names_a_taken_port() {
    let (ports, dir) = (Ports::reserve(), tempfile::tempdir().expect("tempdir"));
    let taken = TcpListener::bind(("127.0.0.1", ports.base)).expect("free");
    let addr = taken.local_addr().expect("address").to_string();
    let mut command = Command::new(SEXTANT);
    command.args(["meta", "--id", "1", "--peer", &format!("1={addr}"), "--listen", &addr]);
    command.args(["--http", &format!("127.0.0.1:{}", ports.base + 1), "--data"]).arg(dir.path().join("meta"));
    let (status, said) = output(&mut command, Duration::from_secs(10));
    assert!(!status.success() && said.contains(&addr) && said.contains("in use"), "{said}");
}

#[test]
fn a_folder_of_another_role_or_of_nobody_is_refused() {
    let mut cluster = Cluster::started();
    cluster.stop();
    let segment = cluster.role("segment").remove(0).data;
    let before = identity(&segment);
    let mut command = Command::new(SEXTANT);
    command.args(["meta", "--id", "1", "--peer", "1=127.0.0.1:1", "--listen", "127.0.0.1:1"]);
    let (status, said) =
        output(command.args(["--http", "127.0.0.1:2", "--data"]).arg(&segment), Duration::from_secs(10));
    assert!(!status.success() && said.contains("belongs to role"), "{said}");
    assert_eq!(before, identity(&segment));

    let dir = tempfile::tempdir().expect("tempdir");
    std::fs::write(dir.path().join("thesis.tex"), "years of work").expect("write");
    let mut command = Command::new(SEXTANT);
    let (status, said) = output(command.args(["dev", "--data"]).arg(dir.path()), Duration::from_secs(10));
    assert!(!status.success() && said.contains("thesis.tex"), "{said}");
    assert_eq!(
        std::fs::read_dir(dir.path())
            .expect("list")
            .filter(|e| e.as_ref().is_ok_and(|e| e.file_name() != "lock"))
            .count(),
        1
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_folder_of_another_cluster_is_refused_and_the_rest_goes_on() {
    let kept = tempfile::tempdir().expect("tempdir");
    let foreign = kept.path().join("segment-1");
    {
        let mut other = Cluster::started();
        other.stop();
        std::fs::rename(other.role("segment").remove(0).data, &foreign).expect("moved");
    }
    let mut cluster = Cluster::started();
    cluster.stop();
    let node = cluster.role("segment").remove(0);
    std::fs::rename(&node.data, kept.path().join("own")).expect("moved");
    std::fs::rename(&foreign, &node.data).expect("moved");
    let before = identity(&node.data);
    cluster.start(&["--no-restart"]);
    wait_until(Duration::from_secs(20), "the node has refused", || {
        cluster.role("segment").remove(0).pid.is_none()
    });
    let log = std::fs::read_to_string(&node.log).expect("log");
    assert!(log.to_lowercase().contains("cluster"), "{log}");
    assert_eq!(before, identity(&node.data));
    cluster.connect().await.batch_execute("CREATE TABLE t (id int)").await.expect("five of six go on");
    let others: Vec<_> =
        cluster.file().children.into_iter().filter(|child| child.name != node.name).collect();
    assert!(others.iter().all(|child| child.pid.is_some_and(runs)));
    cluster.stop();
    // Its own folder again, it is welcome.
    std::fs::rename(&node.data, &foreign).expect("moved");
    std::fs::rename(kept.path().join("own"), &node.data).expect("moved");
    cluster.start(&["--no-restart"]);
    assert!(cluster.role("segment").remove(0).pid.is_some_and(runs));
    cluster.stop();
}

fn identity(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("identity.json")).expect("identity")
}
