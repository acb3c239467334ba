//! `sextant status` against a healthy cluster and one that lost a zone.

use std::process::Command;
use std::time::Duration;

use crate::cluster::{Cluster, SEXTANT, output, signal, wait_gone, wait_until};

fn status(cluster: &Cluster, options: &[&str]) -> String {
    let mut command = Command::new(SEXTANT);
    command.arg("status").args(options);
    if !options.contains(&"--meta") {
        command.arg("--data").arg(cluster.data());
    }
    let (status, said) = output(&mut command, Duration::from_secs(20));
    assert!(status.success(), "{said}");
    said
}

#[tokio::test(flavor = "multi_thread")]
async fn one_screen_shows_members_zones_epochs_vdl_and_quorums() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart"]);
    cluster.connect().await.batch_execute("CREATE TABLE t (id int)").await.expect("a commit");
    // A commit needs four of the copies; the others are made meanwhile.
    let up = || cluster.status()["volumes"][0]["pgs"][0]["up"].as_u64();
    wait_until(Duration::from_secs(30), "all six copies are there", || up() == Some(6));
    let healthy = cluster.status();
    assert_eq!(healthy["members"].as_array().map(Vec::len), Some(3));
    assert_eq!(healthy["nodes"].as_array().map(Vec::len), Some(6));
    assert!(healthy["leader"].is_u64(), "{healthy:#}");
    let volume = &healthy["volumes"][0];
    assert!(volume["epoch"].as_u64() >= Some(1), "{volume:#}");
    assert!(volume["writer"]["vdl"].as_u64() > Some(0), "{volume:#}");
    let pg = &volume["pgs"][0];
    assert_eq!((pg["up"].as_u64(), pg["writable"].as_bool()), (Some(6), Some(true)), "{pg:#}");
    let screen = status(&cluster, &[]);
    for part in ["leader", "6 of 6 nodes alive", "az 2", "6/6 copies, healthy", "VDL", "SCL"] {
        assert!(screen.contains(part), "{part} in\n{screen}");
    }
    let member = cluster.role("meta").remove(1).address.to_string();
    assert!(status(&cluster, &["--meta", &member]).contains("6/6 copies"), "by the address of one member");

    for node in cluster.role("segment").into_iter().filter(|node| node.az == Some(1)) {
        let pid = node.pid.expect("runs");
        signal(pid, libc::SIGKILL);
        wait_gone(pid);
    }
    let pg = &cluster.status()["volumes"][0]["pgs"][0];
    assert_eq!((pg["up"].as_u64(), pg["writable"].as_bool()), (Some(4), Some(true)), "{pg:#}");
    assert!(status(&cluster, &[]).contains("4/6 copies, writable, degraded"));
    cluster.stop();
}

#[test]
fn a_cluster_that_does_not_answer_is_told_so() {
    let dir = tempfile::tempdir().expect("tempdir");
    let mut command = Command::new(SEXTANT);
    let (status, said) = output(command.arg("status").arg("--data").arg(dir.path()), Duration::from_secs(5));
    assert!(!status.success() && said.contains("cluster.json"), "{said}");
    let mut command = Command::new(SEXTANT);
    let (status, said) = output(command.args(["status", "--meta", "127.0.0.1:1"]), Duration::from_secs(20));
    assert!(!status.success() && said.contains("unavailable"), "{said}");
}
