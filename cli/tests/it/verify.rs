//! `sextant verify` on a healthy cluster and on one that lost a zone.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Cluster, SEXTANT, output, signal, wait_gone};

/// Exit code, and the JSON output.
pub(crate) fn verify(cluster: &Cluster, options: &[&str]) -> (Option<i32>, Value) {
    let mut command = Command::new(SEXTANT);
    command.args(["verify", "--output", "json"]).args(options).arg("--data").arg(cluster.data());
    let (status, said) = output(&mut command, Duration::from_secs(90));
    let report = serde_json::from_str(&said).unwrap_or_else(|error| panic!("{error}: {said}"));
    (status.code(), report)
}

pub(crate) fn check<'a>(report: &'a Value, invariant: &str) -> &'a Value {
    let checks = report["checks"].as_array().expect("checks");
    checks.iter().find(|check| check["invariant"] == invariant).expect("listed")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_cluster_holds_and_a_lost_zone_is_said_not_accused() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart"]);
    let client = cluster.connect().await;
    client.batch_execute("CREATE TABLE t (id int PRIMARY KEY, word text)").await.expect("table");
    for id in 0..200 {
        client.execute("INSERT INTO t VALUES ($1, 'some word')", &[&id]).await.expect("row");
    }
    let (code, report) = verify(&cluster, &["--pages", "100"]);
    assert_eq!((code, report["ok"].as_bool()), (Some(0), Some(true)), "{report:#}");
    for (invariant, at_least) in
        [("I1", 1), ("I2", 6), ("I3", 1), ("I5", 106), ("I6", 600), ("I7", 600), ("I8", 1), ("I10", 1)]
    {
        let check = check(&report, invariant);
        assert!(check["checked"].as_u64() >= Some(at_least), "{check:#}");
        assert_eq!(check["unchecked"].as_array().map(Vec::len), Some(0), "{check:#}");
    }

    for node in cluster.role("segment").into_iter().filter(|node| node.az == Some(1)) {
        let pid = node.pid.expect("runs");
        signal(pid, libc::SIGKILL);
        wait_gone(pid);
    }
    client.batch_execute("INSERT INTO t VALUES (1000, 'goes on')").await.expect("four of six");
    let (code, report) = verify(&cluster, &["--pages", "50"]);
    assert_eq!(code, Some(0), "{report:#}");
    assert!(check(&report, "I5")["checked"].as_u64() >= Some(50), "{report:#}");
    assert!(!check(&report, "I5")["unchecked"].as_array().expect("list").is_empty(), "{report:#}");
    cluster.stop();
}
