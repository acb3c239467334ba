//! A volume of three full segments and three tails: a zone is lost and comes back, a full segment is lost for good and built
//! anew, and `sextant verify` finds nothing.

use std::process::Command;
use std::time::Duration;

use serde_json::Value;

use crate::cluster::{Alone, Cluster, SEXTANT, output, wait_until};
use crate::faults::{self, create_bank, kill_zone, lowest_scl, some, start_load, start_node};
use crate::replacing::{group, kill, segment};
use crate::verify::{check, verify};

const PATIENCE: Duration = Duration::from_secs(60);

/// Zones and nodes of the copies of one kind.
fn copies(cluster: &Cluster, kind: &str) -> Vec<(u64, u64)> {
    let group = group(cluster);
    let segments = group["segments"].as_array().expect("segments").iter();
    let number = |segment: &Value, name: &str| segment[name].as_u64().expect("a number");
    let of_kind = segments.filter(|segment| segment["kind"] == kind);
    let mut copies: Vec<_> = of_kind.map(|s| (number(s, "az"), number(s, "node"))).collect();
    copies.sort_unstable();
    copies
}

fn zones(copies: &[(u64, u64)]) -> Vec<u64> {
    copies.iter().map(|(zone, _)| *zone).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn tails_lose_a_zone_and_a_full_segment_and_nothing_else() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart", "--nodes-per-az", "3", "--segments", "full-tail"]);
    create_bank(&cluster).await;
    let load = start_load(cluster.port(), 0);
    some(&load).await;
    assert_eq!(cluster.status()["volumes"][0]["segments"], "full-tail");
    assert_eq!(zones(&copies(&cluster, "full")), [0, 1, 2]);
    assert_eq!(zones(&copies(&cluster, "tail")), [0, 1, 2]);

    // A zone goes and comes back. Its third node holds no copy.
    let lost = kill_zone(&cluster, 1);
    some(&load).await;
    let vdl = cluster.status()["volumes"][0]["writer"]["vdl"].as_u64().expect("VDL");
    let returned: Vec<Alone> = lost.iter().map(|node| start_node(&cluster, node)).collect();
    wait_until(PATIENCE, "the returned copies have what they missed", || {
        lowest_scl(&cluster.status()) >= Some(vdl)
    });

    // A full segment goes for good: another full one is built from the two that are left.
    let (_, full) = copies(&cluster, "full")[2];
    kill(&cluster, full);
    let done = segment(&cluster, "replace", full, &[]);
    assert_eq!(done["state"], "finished", "{done:#}");
    let now = copies(&cluster, "full");
    assert_eq!((zones(&now), Some(now[2].1)), (vec![0, 1, 2], done["new"].as_u64()));
    some(&load).await;

    // The new one carries what a full one must: with it and two tails the volume is written and read.
    kill(&cluster, now[0].1);
    some(&load).await;
    let outcome = load.stop().await;
    assert_eq!(outcome.errors, 0, "no client noticed");
    faults::verify(&outcome, cluster.port()).await;
    let (code, report) = verify(&cluster, &["--pages", "50"]);
    assert_eq!((code, report["ok"].as_bool()), (Some(0), Some(true)), "{report:#}");
    assert!(check(&report, "I5")["checked"].as_u64() >= Some(50), "{report:#}");
    cluster.stop();
    returned.into_iter().for_each(Alone::stop);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_volume_is_made_of_is_chosen_once() {
    let mut cluster = Cluster::new();
    cluster.start(&["--no-restart", "--segments", "full-tail"]);
    cluster.connect().await.batch_execute("CREATE TABLE t (id int)").await.expect("a commit");
    wait_until(PATIENCE, "all six copies answer", || group(&cluster)["up"] == 6);
    let (code, report) = verify(&cluster, &["--pages", "50"]);
    assert_eq!(code, Some(0), "{report:#}");
    let convergence = check(&report, "I5");
    assert!(convergence["checked"].as_u64() >= Some(56), "{report:#}");
    assert_eq!(convergence["unchecked"].as_array().map(Vec::len), Some(0), "tails are not asked for pages");

    let volume = cluster.status()["volumes"][0]["name"].as_str().expect("a name").to_owned();
    let mut engine = Command::new(SEXTANT);
    engine.args(["engine", "--instance", "other", "--listen", "127.0.0.1:0", "--http", "127.0.0.1:0"]);
    engine.args(["--volume", &volume, "--segments", "full"]).args(cluster.meta_flags());
    let (ended, said) = output(&mut engine, PATIENCE);
    assert!(!ended.success() && said.contains("was made with segments \"full-tail\""), "{said}");

    cluster.stop();
    let (ended, said) = output(&mut cluster.command(&["--segments", "full"]), PATIENCE);
    assert!(!ended.success() && said.contains("\"full-tail\""), "{said}");
    cluster.start(&["--no-restart"]);
    cluster.connect().await.batch_execute("INSERT INTO t VALUES (1)").await.expect("a commit");
    assert_eq!(cluster.status()["volumes"][0]["segments"], "full-tail");
    cluster.stop();
}
