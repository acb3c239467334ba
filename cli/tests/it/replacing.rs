//! A storage node is lost for good, and its copy is built anew on another one while clients go on: because an operator
//! asks for it, and because the metadata leader heard nothing of it for long.

use std::net::SocketAddr;
use std::process::Command;
use std::time::Duration;

use sextant_node::net::{self, FrameReader};
use sextant_redo::wire::{Epochs, PeerKind, Reply, Request, SegmentError};
use sextant_redo::{ClusterId, Lsn, MembershipEpoch, NodeId, PgId, SegmentId, VolumeEpoch, VolumeId, frame};
use tokio::io::AsyncWriteExt;

use crate::cluster::{Alone, Cluster, Process, SEXTANT, output, signal, wait_gone, wait_until};
use crate::faults::{create_bank, some, start_load, start_node, verify};

const PATIENCE: Duration = Duration::from_secs(60);

/// The first protection group as `sextant status` shows it.
pub(crate) fn group(cluster: &Cluster) -> serde_json::Value {
    cluster.status()["volumes"][0]["pgs"][0].clone()
}

/// Nodes that hold its copies.
fn members(cluster: &Cluster) -> Vec<u64> {
    let group = group(cluster);
    let segments = group["segments"].as_array().expect("segments");
    segments.iter().map(|segment| segment["node"].as_u64().expect("a number")).collect()
}

/// The process of a storage node.
fn process(cluster: &Cluster, node: u64) -> Process {
    let status = cluster.status();
    let nodes = status["nodes"].as_array().expect("nodes").clone();
    let known = nodes.iter().find(|known| known["id"] == node).expect("registered");
    let address: SocketAddr = known["address"].as_str().expect("text").parse().expect("an address");
    cluster.role("segment").into_iter().find(|process| process.address == address).expect("a child")
}

pub(crate) fn kill(cluster: &Cluster, node: u64) -> Process {
    let process = process(cluster, node);
    let pid = process.pid.expect("runs");
    signal(pid, libc::SIGKILL);
    wait_gone(pid);
    process
}

/// Starts the metadata processes anew, so that the leader replaces what is silent for `seconds`.
fn replace_after(cluster: &Cluster, seconds: u64) -> Vec<Alone> {
    let members = cluster.role("meta");
    let id = |member: &Process| member.name.trim_start_matches("meta-").to_owned();
    let peers = members.iter().flat_map(|m| ["--peer".into(), format!("{}={}", id(m), m.address)]);
    let peers: Vec<String> = peers.collect();
    let anew = |member: &Process| {
        let pid = member.pid.expect("runs");
        signal(pid, libc::SIGKILL);
        wait_gone(pid);
        let (listen, http) = (member.address.to_string(), member.http.to_string());
        let own = ["meta", "--id", &id(member), "--listen", &listen, "--http", &http, "--data"];
        let after = seconds.to_string();
        let rest = [member.data.to_str().expect("UTF-8"), "--replace-after-s", &after];
        let arguments = own.into_iter().chain(rest).map(Into::into).chain(peers.iter().cloned());
        Alone::start(&arguments.collect::<Vec<String>>(), &member.log)
    };
    members.iter().map(anew).collect()
}

pub(crate) fn segment(cluster: &Cluster, verb: &str, node: u64, options: &[&str]) -> serde_json::Value {
    let status = cluster.status();
    let volume = status["volumes"][0]["name"].as_str().expect("a name").to_owned();
    let mut command = Command::new(SEXTANT);
    command.args(["segment", verb, "--volume", &volume, "--pg", "0", "--node", &node.to_string()]);
    command.args(["--output", "json"]).args(options).arg("--data").arg(cluster.data());
    let (ended, said) = output(&mut command, PATIENCE);
    assert!(ended.success(), "{said}");
    let json = said.find('{').map(|at| &said[at..]).expect("JSON");
    serde_json::Deserializer::from_str(json).into_iter().next().expect("a value").expect("JSON")
}

/// What a member answers to one who asks for log under an older membership.
async fn ask_log(cluster: &Cluster, node: u64, membership: u64) -> Reply {
    let status = cluster.status();
    let text = |value: &serde_json::Value| value.as_str().expect("text").to_owned();
    let id = u128::from_str_radix(&text(&status["cluster"]), 16).expect("an id");
    let volume = &status["volumes"][0];
    let process = process(cluster, node);
    let (read, mut write) = net::connect(process.address, PATIENCE).await.expect("listens").into_split();
    let mut read = FrameReader::new(read);
    let hello = Request::Hello { cluster: ClusterId(id), node: NodeId(node), peer: PeerKind::Storage };
    let epochs = Epochs {
        volume: VolumeEpoch(volume["epoch"].as_u64().expect("an epoch")),
        membership: MembershipEpoch(membership),
    };
    let segment = SegmentId { volume: VolumeId(volume["id"].as_u64().expect("an id")), pg: PgId(0) };
    let (after, up_to, max_bytes) = (Lsn::ZERO, Lsn::MAX, 1);
    let ask = Request::ReadLog { segment, epochs, after, up_to, max_bytes };
    let mut answer = None;
    for (id, request) in [(1, hello), (2, ask)] {
        let mut out = Vec::new();
        frame::encode(&mut out, request.kind(), id, &request.payload());
        write.write_all(&out).await.expect("sent");
        let frame = read.expect_next().await.expect("answered");
        answer = Some(Reply::decode(frame.kind, &frame.payload).expect("a reply"));
    }
    answer.expect("two answers")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lost_for_good_is_replaced_under_load_and_then_others_may_go() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart", "--nodes-per-az", "3"]);
    create_bank(&cluster).await;
    let load = start_load(cluster.port(), 0);
    some(&load).await;
    let before = members(&cluster);
    let lost = before[5];
    let lost_process = kill(&cluster, lost);
    some(&load).await;

    // The plan alone changes nothing.
    let planned = segment(&cluster, "replace", lost, &["--dry-run"]);
    assert_eq!(
        (planned["state"].as_str(), group(&cluster)["membership"].as_u64()),
        (Some("planned"), Some(1))
    );
    let done = segment(&cluster, "replace", lost, &[]);
    assert_eq!(
        (done["state"].as_str(), done["membership"].as_u64()),
        (Some("finished"), Some(3)),
        "{done:#}"
    );
    assert_eq!(done["new"], planned["new"]);
    some(&load).await;
    let now = members(&cluster);
    assert_eq!(now[..5], before[..5]);
    assert_eq!(Some(now[5]), done["new"].as_u64());
    wait_until(PATIENCE, "all six copies answer", || group(&cluster)["up"] == 6);

    // The new copy counts: with two of the others gone it makes the fourth.
    kill(&cluster, now[0]);
    kill(&cluster, now[2]);
    some(&load).await;

    // The old node comes back, and is nobody: it is sent nothing, and what it asks under its membership is refused.
    let returned: Alone = start_node(&cluster, &lost_process);
    some(&load).await;
    assert!(!members(&cluster).contains(&lost));
    let refused = ask_log(&cluster, now[5], 1).await;
    assert!(
        matches!(refused, Reply::Error(SegmentError::StaleMembership { current: MembershipEpoch(3) })),
        "{refused:?}"
    );
    let outcome = load.stop().await;
    assert_eq!(outcome.errors, 0, "no client noticed");
    verify(&outcome, cluster.port()).await;
    cluster.stop();
    returned.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_node_lost_for_good_is_replaced_with_nobodys_help() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart", "--nodes-per-az", "3"]);
    create_bank(&cluster).await;
    let metadata = replace_after(&cluster, 10);
    let load = start_load(cluster.port(), 0);
    some(&load).await;
    let before = members(&cluster);
    let lost = before[5];
    kill(&cluster, lost);
    let ended = || group(&cluster)["membership"].as_u64() == Some(3);
    wait_until(PATIENCE, "the silent node has a successor", ended);
    let now = members(&cluster);
    assert_eq!(now[..5], before[..5]);
    assert!(now.len() == 6 && !before.contains(&now[5]), "{now:?}");
    wait_until(PATIENCE, "all six copies answer", || group(&cluster)["up"] == 6);

    // The new copy counts: with two of the others gone it makes the fourth.
    kill(&cluster, now[0]);
    kill(&cluster, now[2]);
    some(&load).await;
    let outcome = load.stop().await;
    assert_eq!(outcome.errors, 0, "no client noticed");
    verify(&outcome, cluster.port()).await;
    cluster.stop();
    metadata.into_iter().for_each(Alone::stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replacement_that_cannot_end_is_reverted() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart", "--nodes-per-az", "3"]);
    cluster.connect().await.batch_execute("CREATE TABLE t (id int)").await.expect("a commit");
    let before = members(&cluster);
    // Nobody writes, so nobody brings the new copy up to date.
    let engine = cluster.role("engine").remove(0).pid.expect("runs");
    signal(engine, libc::SIGKILL);
    wait_gone(engine);
    let begun = segment(&cluster, "replace", before[0], &["--no-wait"]);
    assert_eq!((begun["state"].as_str(), begun["membership"].as_u64()), (Some("begun"), Some(2)));
    let screen = group(&cluster);
    assert_eq!(screen["replacements"][0]["old"].as_u64(), Some(before[0]), "{screen:#}");
    assert_eq!(
        (screen["segments"].as_array().map(Vec::len), screen["writable"].as_bool()),
        (Some(7), Some(true))
    );
    let reverted = segment(&cluster, "revert", before[0], &[]);
    assert_eq!((reverted["state"].as_str(), reverted["membership"].as_u64()), (Some("reverted"), Some(3)));
    assert_eq!(members(&cluster), before);
    cluster.stop();
}
