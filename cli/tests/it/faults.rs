//! The bank under fire: after each kill the sums agree and every acknowledged transaction is there.

use std::time::Duration;

use sextant_fire::bank::{self, Crew, Load, Outcome, try_connect_to};

use crate::cluster::{Alone, Cluster, Process, connect_to, runs, signal, wait_gone, wait_until};

const CLIENTS: i32 = 8;
/// Commits that a phase must see; a few seconds at most on a slow machine.
const SOME: u64 = 200;
const PATIENCE: Duration = Duration::from_secs(60);

async fn bank() -> Cluster {
    let cluster = Cluster::started();
    create_bank(&cluster).await;
    cluster
}

pub(crate) async fn create_bank(cluster: &Cluster) {
    bank::create(&cluster.connect().await).await.expect("tables and rows");
}

/// Clients with numbers from `first` on, and one that reads.
pub(crate) fn start_load(port: u16, first: i32) -> Load {
    Load::start(&[port], Crew { first, tellers: CLIENTS, readers: 1, patience: PATIENCE })
}

/// Commits go on.
pub(crate) async fn some(load: &Load) {
    assert!(load.wait_for(SOME, PATIENCE).await, "fewer than {SOME} commits within {PATIENCE:?}");
}

/// The bank at `port` is what its clients know, and no reader saw anything else.
pub(crate) async fn verify(outcome: &Outcome, port: u16) {
    let verdict = outcome.verdict(&connect_to(port).await).await.expect("the bank can be read");
    assert!(verdict.is_clean(), "{verdict}");
    let reads = &outcome.reads;
    assert_eq!((reads.wrong_sums, reads.stale), (0, 0), "{:?}", reads.examples);
}

/// Every storage node of a zone, spare ones too.
pub(crate) fn kill_zone(cluster: &Cluster, az: u16) -> Vec<Process> {
    let zone: Vec<_> = cluster.role("segment").into_iter().filter(|node| node.az == Some(az)).collect();
    assert!(zone.len() >= 2, "{zone:?}");
    zone.iter().for_each(|node| signal(node.pid.expect("runs"), libc::SIGKILL));
    zone.iter().for_each(|node| wait_gone(node.pid.expect("ran")));
    zone
}

pub(crate) fn start_node(cluster: &Cluster, node: &Process) -> Alone {
    let mut arguments = cluster.meta_flags();
    let data = node.data.to_str().expect("UTF-8");
    let (listen, http) = (node.address.to_string(), node.http.to_string());
    let az = node.az.expect("storage has a zone").to_string();
    arguments.splice(
        0..0,
        ["segment", "--az", &az, "--listen", &listen, "--http", &http, "--data", data].map(Into::into),
    );
    Alone::start(&arguments, &node.log)
}

/// Lowest SCL of the six copies of the first protection group; none while one does not answer.
pub(crate) fn lowest_scl(status: &serde_json::Value) -> Option<u64> {
    let segments = status["volumes"][0]["pgs"][0]["segments"].as_array().expect("segments");
    segments.iter().map(|segment| segment["scl"].as_u64()).min().flatten()
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_go_on_without_a_zone_and_after_its_return() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart"]);
    create_bank(&cluster).await;
    let load = start_load(cluster.port(), 0);
    some(&load).await;
    let lost = kill_zone(&cluster, 1);
    some(&load).await;

    // They return by hand: the supervisor was told to leave them.
    let vdl = cluster.status()["volumes"][0]["writer"]["vdl"].as_u64().expect("VDL");
    let returned: Vec<_> = lost.iter().map(|node| start_node(&cluster, node)).collect();
    some(&load).await;
    wait_until(PATIENCE, "the returned copies have what they missed", || {
        lowest_scl(&cluster.status()) >= Some(vdl)
    });

    // Now another zone can go: the returned copies carry the quorum.
    kill_zone(&cluster, 2);
    some(&load).await;
    let outcome = load.stop().await;
    assert_eq!(outcome.errors, 0, "no client noticed");
    verify(&outcome, cluster.port()).await;
    cluster.stop();
    returned.into_iter().for_each(Alone::stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_engine_comes_back_with_every_acknowledged_commit() {
    let mut cluster = bank().await;
    let load = start_load(cluster.port(), 0);
    for round in 1..=3 {
        some(&load).await;
        let engine = cluster.engine().pid.expect("runs");
        signal(engine, libc::SIGKILL);
        wait_gone(engine);
        wait_until(PATIENCE, "the engine is back", || cluster.engine().restarts == round);
    }
    some(&load).await;
    let outcome = load.stop().await;
    assert!(outcome.errors > 0, "the kills were noticed");
    verify(&outcome, cluster.port()).await;
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn everything_killed_at_once_comes_back_with_every_acknowledged_commit() {
    let mut cluster = bank().await;
    let mut outcome = None;
    for round in 0..2 {
        let load = start_load(cluster.port(), round * CLIENTS);
        some(&load).await;
        cluster.kill_all();
        let now = load.stop().await;
        assert!(now.acked() >= SOME as usize);
        let all = match outcome.take() {
            None => now,
            Some(before) => now.and(before),
        };
        cluster.start(&[]);
        verify(&all, cluster.port()).await;
        outcome = Some(all);
    }
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_paused_and_replaced_engine_is_fenced() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart"]);
    create_bank(&cluster).await;
    let load = start_load(cluster.port(), 0);
    some(&load).await;
    let before = load.stop().await;
    let old_client = cluster.connect().await;
    old_client.batch_execute("BEGIN; UPDATE bank_branches SET bbalance = bbalance + 1").await.expect("open");
    let old = cluster.engine().pid.expect("runs");
    signal(old, libc::SIGSTOP);

    let port = cluster.port() + 1;
    let mut arguments = cluster.meta_flags();
    let (listen, http) = (format!("127.0.0.1:{port}"), format!("127.0.0.1:{}", port + 50));
    let own = ["engine", "--instance", "engine-2", "--listen", &listen, "--http", &http];
    arguments.splice(0..0, own.map(Into::into));
    let replacement = Alone::start(&arguments, &cluster.data().join("logs/engine-2.log"));
    drop(connect_to(port).await);
    let load = start_load(port, CLIENTS);
    some(&load).await;

    signal(old, libc::SIGCONT);
    let commit = tokio::time::timeout(Duration::from_secs(20), old_client.batch_execute("COMMIT")).await;
    assert!(commit.expect("an answer or a closed connection").is_err(), "the old engine committed");
    wait_until(Duration::from_secs(20), "the old engine has ended", || !runs(old));
    wait_until(Duration::from_secs(5), "the supervisor says why", || {
        cluster.said().contains("engine-1 was fenced")
    });
    assert!(try_connect_to(cluster.port()).await.is_none(), "the old engine still serves");

    some(&load).await;
    let outcome = load.stop().await.and(before);
    verify(&outcome, port).await;
    replacement.stop();
    cluster.stop();
}
