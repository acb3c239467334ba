//! The bank under fire: after each kill the sums agree and every acknowledged transaction is there.

use std::process::{Command, Stdio};
use std::time::Duration;

use crate::bank::{self, Load};
use crate::cluster::{
    Cluster, Process, SEXTANT, connect_to, runs, signal, try_connect_to, wait, wait_gone, wait_until,
};

const CLIENTS: i32 = 8;
/// Commits that a phase must see; a few seconds at most on a slow machine.
const SOME: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

async fn bank() -> Cluster {
    let cluster = Cluster::started();
    bank::create(&cluster.connect().await).await;
    cluster
}

fn zone(cluster: &Cluster, az: u16) -> Vec<Process> {
    cluster.role("segment").into_iter().filter(|node| node.az == Some(az)).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_go_on_without_a_zone_and_after_its_return() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart"]);
    bank::create(&cluster.connect().await).await;
    let load = Load::start(cluster.port(), 0, CLIENTS);
    load.wait_for(SOME, PATIENCE).await;
    let lost = zone(&cluster, 1);
    lost.iter().for_each(|node| signal(node.pid.expect("runs"), libc::SIGKILL));
    lost.iter().for_each(|node| wait_gone(node.pid.expect("ran")));
    load.wait_for(SOME, PATIENCE).await;
    assert_eq!(load.errors(), 0, "no client noticed");

    // They return by hand: the supervisor was told to leave them.
    let meta: Vec<String> = cluster
        .role("meta")
        .iter()
        .flat_map(|member| ["--meta".into(), member.address.to_string()])
        .collect();
    let mut returned: Vec<_> = lost
        .iter()
        .map(|node| {
            let mut command = Command::new(SEXTANT);
            command.args(["segment", "--az", "1", "--listen", &node.address.to_string()]);
            command.args(["--http", &node.http.to_string(), "--data"]).arg(&node.data).args(&meta);
            command.stdin(Stdio::null()).stderr(Stdio::null()).spawn().expect("starts")
        })
        .collect();
    load.wait_for(SOME, PATIENCE).await;
    // With the returned zone, another one can go: the returned nodes must carry the quorum.
    wait_until(PATIENCE, "the returned nodes listen", || {
        lost.iter().all(|node| std::net::TcpStream::connect(node.address).is_ok())
    });
    load.wait_for(SOME, PATIENCE).await;
    assert_eq!(load.errors(), 0, "no client noticed");
    let outcome = load.stop().await;
    outcome.verify(cluster.port()).await;
    for node in &mut returned {
        signal(node.id(), libc::SIGTERM);
        assert!(wait(node, Duration::from_secs(15)).success());
    }
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_comes_back_with_every_acknowledged_commit() {
    let mut cluster = bank().await;
    let load = Load::start(cluster.port(), 0, CLIENTS);
    for round in 1..=3 {
        load.wait_for(SOME, PATIENCE).await;
        let engine = cluster.engine().pid.expect("runs");
        signal(engine, libc::SIGKILL);
        wait_gone(engine);
        wait_until(PATIENCE, "the engine is back", || cluster.engine().restarts == round);
    }
    load.wait_for(SOME, PATIENCE).await;
    let outcome = load.stop().await;
    assert!(outcome.errors > 0, "the kills were noticed");
    outcome.verify(cluster.port()).await;
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_killed_at_once_comes_back_with_every_acknowledged_commit() {
    let mut cluster = bank().await;
    let mut outcome = None;
    for round in 0..2 {
        let load = Load::start(cluster.port(), round * CLIENTS, CLIENTS);
        load.wait_for(SOME, PATIENCE).await;
        cluster.kill_all();
        let now = load.stop().await;
        assert!(now.acked() >= SOME as usize);
        let all = match outcome.take() {
            None => now,
            Some(before) => now.and(before),
        };
        cluster.start(&[]);
        all.verify(cluster.port()).await;
        outcome = Some(all);
    }
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_and_replaced_engine_is_fenced() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart"]);
    bank::create(&cluster.connect().await).await;
    let load = Load::start(cluster.port(), 0, CLIENTS);
    load.wait_for(SOME, PATIENCE).await;
    let before = load.stop().await;
    let old_client = cluster.connect().await;
    old_client.batch_execute("BEGIN; UPDATE bank_branches SET bbalance = bbalance + 1").await.expect("open");
    let old = cluster.engine().pid.expect("runs");
    signal(old, libc::SIGSTOP);

    let port = cluster.port() + 1;
    let mut command = Command::new(SEXTANT);
    command.args(["engine", "--instance", "engine-2", "--listen", &format!("127.0.0.1:{port}")]);
    command.args(["--http", &format!("127.0.0.1:{}", cluster.port() + 51)]);
    for member in cluster.role("meta") {
        command.args(["--meta", &member.address.to_string()]);
    }
    let log = std::fs::File::create(cluster.data().join("logs/engine-2.log")).expect("log");
    let mut replacement = command.stdin(Stdio::null()).stderr(log).spawn().expect("starts");
    drop(connect_to(port).await);
    let load = Load::start(port, CLIENTS, CLIENTS);
    load.wait_for(SOME, PATIENCE).await;

    signal(old, libc::SIGCONT);
    let commit = tokio::time::timeout(Duration::from_secs(20), old_client.batch_execute("COMMIT")).await;
    assert!(commit.expect("an answer or a closed connection").is_err(), "the old engine committed");
    wait_until(Duration::from_secs(20), "the old engine has ended", || !runs(old));
    wait_until(Duration::from_secs(5), "the supervisor says why", || {
        cluster.said().contains("engine-1 was fenced")
    });
    assert!(try_connect_to(cluster.port()).await.is_none(), "the old engine still serves");

    load.wait_for(SOME, PATIENCE).await;
    let outcome = load.stop().await.and(before);
    outcome.verify(port).await;
    signal(replacement.id(), libc::SIGTERM);
    assert!(wait(&mut replacement, Duration::from_secs(15)).success());
    cluster.stop();
}
