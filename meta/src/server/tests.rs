//! Members over stores that a test makes.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sextant_node::identity::DataDir;
use sextant_redo::AzId;
use tokio::time::{Instant, sleep, timeout};

use super::serve;
use crate::raft::tests::slow_store;
use crate::{MetaClient, MetaConfig};

const LIMIT: Duration = Duration::from_secs(60);

/// A flush that takes longer than a heartbeat and than the limit of an RPC must not stop the group, nor make it elect
/// without end: appends are sent again until the follower has flushed, and heartbeats do not wait for the disk.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn slow_disks_slow_the_group_down_and_no_more() {
    let dir = tempfile::tempdir().unwrap();
    let held: Vec<_> = (0..3).map(|_| std::net::TcpListener::bind("127.0.0.1:0").unwrap()).collect();
    let peers: BTreeMap<u64, SocketAddr> = (1..).zip(held.iter().map(|l| l.local_addr().unwrap())).collect();
    drop(held);
    let mut members = tokio::task::JoinSet::new();
    for (id, addr) in &peers {
        let data = dir.path().join(id.to_string());
        let http = ([127, 0, 0, 1], 0).into();
        let config = MetaConfig {
            id: *id,
            listen: *addr,
            http,
            data,
            peers: peers.clone(),
            lease_ms: 1000,
            replace_after_s: 0,
        };
        members.spawn(async move {
            let mut dir = DataDir::open(&config.data, "meta").unwrap();
            let store = slow_store(config.id, Duration::from_millis(250)).await;
            serve(config, &mut dir, store, std::future::pending()).await
        });
    }
    let client = MetaClient::new(peers.values().copied().collect()).with_deadline(LIMIT);
    let before = client.cluster().await.unwrap();
    let address = ([127, 0, 0, 1], 9).into();
    for node in 0..5 {
        let uuid = format!("n{node}");
        let registered = client.register_node(&uuid, AzId(0), address, address, None);
        timeout(LIMIT, registered).await.unwrap().unwrap();
    }
    let began = Instant::now();
    while began.elapsed() < Duration::from_secs(3) {
        let asked = Instant::now();
        client.cluster().await.unwrap();
        assert!(asked.elapsed() < Duration::from_secs(1), "reads do not wait for the disk");
        sleep(Duration::from_millis(50)).await;
    }
    let after = client.cluster().await.unwrap();
    assert_eq!((after.term, after.leader), (before.term, before.leader), "no election for a slow disk");
    assert_eq!(after.nodes.len(), 5);
    members.abort_all();
}
