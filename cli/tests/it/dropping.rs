//! A volume is dropped while its engine stands still and a storage node is away: nothing is left of it anywhere, and whoever
//! comes back finds out.

use std::process::Command;
use std::time::Duration;

use crate::cluster::{Cluster, SEXTANT, output, signal, wait_gone, wait_until};
use crate::faults::start_node;

const PATIENCE: Duration = Duration::from_secs(60);

/// `sextant volume drop` of the cluster's volume; whether it went well, and what it said.
fn drop_volume(cluster: &Cluster, name: &str, options: &[&str]) -> (bool, String) {
    let mut command = Command::new(SEXTANT);
    command.args(["volume", "drop", name]).args(options).arg("--data").arg(cluster.data());
    let (ended, said) = output(&mut command, PATIENCE);
    (ended.success(), said)
}

fn json(said: &str) -> serde_json::Value {
    let json = said.find('{').map(|at| &said[at..]).expect("JSON");
    serde_json::Deserializer::from_str(json).into_iter().next().expect("a value").expect("JSON")
}

/// Bytes of page images and log files on the nodes that tell.
fn held(status: &serde_json::Value) -> Vec<(u64, u64)> {
    let nodes = status["nodes"].as_array().expect("nodes");
    let bytes = |space: &serde_json::Value, name: &str| space[name].as_u64().expect("bytes");
    let spaces = nodes.iter().map(|node| &node["space"]).filter(|space| !space.is_null());
    let pages = |space| bytes(space, "page_bytes") - bytes(space, "page_free_bytes");
    spaces.map(|space| (pages(space), bytes(space, "log_bytes"))).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dropped_volume_leaves_nothing_and_its_engine_ends() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart"]);
    let client = cluster.connect().await;
    client.batch_execute("CREATE TABLE t (id int, pad text)").await.expect("a commit");
    client
        .batch_execute("INSERT INTO t SELECT n, repeat('x', 200) FROM generate_series(1, 2000) AS n")
        .await
        .expect("a commit");
    let status = cluster.status();
    let name = status["volumes"][0]["name"].as_str().expect("a name").to_owned();

    let (dropped, said) = drop_volume(&cluster, &name, &["--yes"]);
    assert!(!dropped && said.contains("is open at"), "{said}");
    let (dropped, said) = drop_volume(&cluster, "nosuch", &["--yes"]);
    assert!(!dropped && said.contains("no volume \"nosuch\""), "{said}");

    let engine = cluster.role("engine").remove(0);
    let engine_pid = engine.pid.expect("runs");
    signal(engine_pid, libc::SIGSTOP);
    let away = cluster.role("segment").remove(5);
    let away_pid = away.pid.expect("runs");
    signal(away_pid, libc::SIGKILL);
    wait_gone(away_pid);
    let (dropped, said) = drop_volume(&cluster, &name, &[]);
    assert!(!dropped && said.contains("--yes") && said.contains("protection groups"), "{said}");
    let (shown, said) = drop_volume(&cluster, &name, &["--dry-run", "--output", "json"]);
    assert!(shown, "{said}");
    assert_eq!(json(&said)["state"], "planned");
    assert_eq!(cluster.status()["volumes"][0]["name"], name.as_str(), "nothing was changed so far");

    let mut done = String::new();
    wait_until(PATIENCE, "the lease is over, and the volume dropped", || {
        let (dropped, said) = drop_volume(&cluster, &name, &["--yes", "--output", "json"]);
        assert!(dropped || said.contains("is open at"), "{said}");
        done = said;
        dropped
    });
    let done = json(&done);
    assert_eq!(
        (&done["state"], done["away"].as_array().map(Vec::len)),
        (&"freed".into(), Some(1)),
        "{done:#}"
    );
    let status = cluster.status();
    assert_eq!(status["volumes"].as_array().map(Vec::len), Some(0), "{status:#}");
    assert_eq!(status["leftovers"].as_array().map(Vec::len), Some(0), "{status:#}");
    wait_until(PATIENCE, "pages and log are gone", || {
        let held = held(&cluster.status());
        // A slot for a list, and the active log file.
        held.len() == 5 && held.iter().all(|(pages, log)| *pages <= 8192 && *log <= 64 << 20)
    });

    signal(engine_pid, libc::SIGCONT);
    wait_gone(engine_pid);
    let log = std::fs::read_to_string(&engine.log).expect("its log");
    assert!(log.contains("was dropped") && !log.contains("panicked"), "{log}");

    let returned = start_node(&cluster, &away);
    wait_until(PATIENCE, "the node that was away drops its copy too", || {
        let status = cluster.status();
        let answers =
            status["nodes"].as_array().is_some_and(|nodes| nodes.iter().all(|n| n["error"].is_null()));
        answers && status["leftovers"].as_array().is_some_and(Vec::is_empty)
    });
    returned.stop();
    cluster.stop();
}
