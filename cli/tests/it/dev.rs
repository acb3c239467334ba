//! What `sextant dev` promises: it starts, restarts what dies, stops cleanly, finds its data again, leaves no orphans.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::cluster::{Cluster, SEXTANT, output, runs, signal, wait_gone, wait_until};

#[tokio::test(flavor = "multi_thread")]
async fn a_cluster_starts_stops_and_finds_its_data_again() {
    let mut cluster = Cluster::started();
    let file = cluster.file();
    assert_eq!(file.postgres_url, format!("postgresql://postgres@127.0.0.1:{}/postgres", cluster.port()));
    let count = |role: &str| file.children.iter().filter(|child| child.role == role).count();
    assert_eq!((count("meta"), count("segment"), count("engine")), (3, 6, 1));
    for az in 0..3 {
        let nodes = cluster.role("segment").into_iter().filter(|node| node.az == Some(az)).count();
        assert_eq!(nodes, 2, "zone {az}");
    }
    assert!(file.children.iter().all(|child| child.pid.is_some_and(runs) && child.log.exists()));
    assert!(
        cluster.said().contains(&format!("psql -h 127.0.0.1 -p {}", cluster.port())),
        "{}",
        cluster.said()
    );

    let client = cluster.connect().await;
    client.batch_execute("CREATE TABLE kept (id int PRIMARY KEY, word text)").await.expect("table");
    client.batch_execute("INSERT INTO kept VALUES (1, 'before')").await.expect("row");
    drop(client);
    cluster.stop();
    assert!(file.children.iter().all(|child| !child.pid.is_some_and(runs)), "all have stopped");

    cluster.start(&[]);
    let row =
        cluster.connect().await.query_one("SELECT word FROM kept WHERE id = 1", &[]).await.expect("kept");
    assert_eq!(row.get::<_, &str>(0), "before");
    let again = cluster.file();
    for (before, after) in file.children.iter().zip(&again.children) {
        assert_eq!((&before.name, before.address, before.http), (&after.name, after.address, after.http));
    }
    cluster.stop();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_dies_is_started_again_unless_told_otherwise() {
    let mut cluster = Cluster::started();
    for role in ["meta", "segment", "engine"] {
        let victim = cluster.role(role).remove(0);
        signal(victim.pid.expect("runs"), libc::SIGKILL);
        wait_until(Duration::from_secs(20), &format!("{} runs again", victim.name), || {
            let now = cluster.file().children.into_iter().find(|child| child.name == victim.name);
            now.is_some_and(|now| now.restarts == 1 && now.pid.is_some_and(runs))
        });
    }
    cluster.wait_ready();
    cluster.connect().await.batch_execute("SELECT 1").await.expect("SQL is back");
    cluster.stop();

    cluster.start(&["--no-restart"]);
    let victim = cluster.role("segment").remove(5);
    signal(victim.pid.expect("runs"), libc::SIGKILL);
    wait_until(Duration::from_secs(5), "the end is noted", || {
        cluster.role("segment").remove(5).pid.is_none()
    });
    std::thread::sleep(Duration::from_millis(500));
    let after = cluster.role("segment").remove(5);
    assert_eq!((after.pid, after.restarts), (None, 0));
    cluster.stop();
}

#[test]
fn a_killed_supervisor_leaves_no_orphans() {
    let mut cluster = Cluster::started();
    let pids = cluster.kill_supervisor();
    assert_eq!(pids.len(), 10);
    pids.into_iter().for_each(wait_gone);
    cluster.start(&[]);
    cluster.stop();
}

#[test]
fn a_second_supervisor_is_refused() {
    let cluster = Cluster::started();
    let (status, said) = output(&mut cluster.command(&[]), Duration::from_secs(10));
    assert!(!status.success());
    let pid = cluster.file().supervisor_pid.expect("runs").to_string();
    assert!(said.contains("in use") && said.contains(&pid), "{said}");
    assert!(cluster.file().children.iter().all(|child| child.pid.is_some_and(runs)));
}

#[test]
fn a_detached_cluster_outlives_the_command_and_stops_on_request() {
    let cluster = Cluster::new();
    let began = Instant::now();
    let (status, said) = output(&mut cluster.command(&["--detach"]), Duration::from_secs(70));
    assert!(status.success(), "{said}");
    let file = cluster.file();
    assert!(file.ready && said.contains(&file.postgres_url), "{said}");
    let supervisor = file.supervisor_pid.expect("runs");
    assert!(runs(supervisor), "started in {:?} and gone", began.elapsed());

    let stop = |patience| {
        let mut command = Command::new(SEXTANT);
        output(command.args(["dev", "stop", "--data"]).arg(cluster.data()), patience)
    };
    let (status, said) = stop(Duration::from_secs(45));
    assert!(status.success() && said.contains("stopped"), "{said}");
    assert!(!runs(supervisor));
    assert!(file.children.iter().all(|child| !child.pid.is_some_and(runs)));
    let (status, said) = stop(Duration::from_secs(5));
    assert!(status.success() && said.contains("no cluster runs"), "{said}");
}

#[test]
fn another_base_port_for_existing_data_is_refused() {
    let mut cluster = Cluster::started();
    cluster.stop();
    let mut command = Command::new(SEXTANT);
    command.args(["dev", "--base-port", "9000", "--data"]).arg(cluster.data());
    let (status, said) = output(&mut command, Duration::from_secs(10));
    assert!(!status.success());
    assert!(said.contains("9000") && said.contains(&cluster.port().to_string()), "{said}");
}
