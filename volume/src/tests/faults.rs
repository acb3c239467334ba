//! Storage nodes that are dead, slow, mute, forgetful or lie.

use std::time::Duration;

use sextant_redo::wire::SegmentError;
use sextant_redo::{Lsn, PageId};

use crate::testing::{Cluster, FakeNode, Writer, eventually, value};
use crate::{LogStore, VolumeError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_az_may_go_and_come_back() {
    let mut cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    writer.commit(&[1], b"before").await.expect("durable");
    cluster.nodes[0].kill().await;
    cluster.nodes[1].kill().await;
    let mut last = Lsn::ZERO;
    for n in 0..50u64 {
        last = writer.commit(&[1, 2], &n.to_le_bytes()).await.expect("four of six go on");
    }
    assert_eq!(value(&volume, 1, 8).await, 49u64.to_le_bytes());
    cluster.nodes[0].revive().await;
    cluster.nodes[1].revive().await;
    eventually("they catch up", || cluster.copies_to(0, last) == 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn with_three_of_six_commits_wait_and_reads_go_on() {
    let mut cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    let first = writer.commit(&[1], b"kept").await.expect("durable");
    eventually("all have it", || cluster.copies_to(0, first) == 6).await;
    for node in &mut cluster.nodes[..3] {
        node.kill().await;
    }
    let lsn = writer.write(&[1], b"late").await.expect("appended");
    let waits = tokio::time::timeout(Duration::from_millis(300), volume.durable(lsn)).await;
    assert!(waits.is_err());
    assert_eq!(value(&volume, 1, 4).await, b"kept");
    cluster.nodes[2].revive().await;
    volume.durable(lsn).await.expect("the fourth is back");
    assert_eq!(value(&volume, 1, 4).await, b"late");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_missed_more_than_is_kept_catches_up_from_a_peer() {
    let mut cluster = Cluster::start().await;
    let mut opener = cluster.opener("a");
    opener.tuning.retained_bytes = 10_000;
    let (volume, _) = opener.open().await.expect("opens");
    let mut writer = Writer::new(&volume);
    cluster.nodes[5].kill().await;
    let mut last = Lsn::ZERO;
    for n in 0..100u64 {
        last = writer.commit(&[n % 5], &[n as u8; 1000]).await.expect("durable");
    }
    eventually("the rest is dropped", || volume.status().groups[0].retained_batches < 20).await;
    cluster.nodes[5].revive().await;
    eventually("it has caught up", || cluster.nodes[5].scl(0) >= last).await;
    let next = writer.commit(&[1], b"more").await.expect("durable");
    eventually("it is sent to again", || cluster.nodes[5].scl(0) >= next).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_mute_node_holds_nobody_up_and_is_given_up() {
    let cluster = Cluster::start().await;
    let mut opener = cluster.opener("a");
    opener.tuning.stalled_ticks = 1;
    opener.tuning.retained_bytes = 100_000;
    let (volume, _) = opener.open().await.expect("opens");
    cluster.nodes[3].behave(|m| m.mute = true);
    let mut writer = Writer::new(&volume);
    let mut last = Lsn::ZERO;
    for n in 0..200u64 {
        last = writer.commit(&[n % 5], &[n as u8; 2000]).await.expect("durable");
    }
    eventually("its connection is given up", || !volume.status().nodes[3].connected).await;
    cluster.nodes[3].behave(|m| m.mute = false);
    eventually("it catches up", || cluster.nodes[3].scl(0) >= last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_overloaded_node_is_sent_less_and_keeps_its_connection() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    let first = writer.commit(&[1], b"first").await.expect("durable");
    eventually("all have it", || cluster.copies_to(0, first) == 6).await;
    let node = &cluster.nodes[4];
    let (connections, appends) = (node.connections(), node.appends());
    node.behave(|m| m.refuse_appends = Some(SegmentError::Overloaded));
    let mut last = first;
    for n in 0..200u64 {
        last = writer.commit(&[n % 5], &[n as u8; 500]).await.expect("five others go on");
    }
    let tried = node.appends() - appends;
    assert!((1..100).contains(&tried), "{tried} batches were sent to a node that asked for less");
    assert!(volume.status().nodes[4].connected);
    node.behave(|m| m.refuse_appends = None);
    eventually("it catches up", || node.scl(0) >= last).await;
    assert_eq!(node.connections(), connections, "the connection was torn");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn breaking_connections_and_lost_batches_are_healed() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    for (n, node) in cluster.nodes.iter().enumerate() {
        node.behave(|m| {
            m.hang_up_every = (n % 3 == 0).then_some(17);
            m.lose_every = (n % 3 == 1).then_some(13);
        });
    }
    let mut writer = Writer::new(&volume);
    let mut last = Lsn::ZERO;
    for n in 0..150u64 {
        last = tokio::time::timeout(Duration::from_secs(20), writer.commit(&[n % 9], &n.to_le_bytes()))
            .await
            .expect("in time")
            .expect("durable");
    }
    for node in &cluster.nodes {
        node.behave(|m| *m = crate::testing::Manner::default());
    }
    eventually("all six have everything", || cluster.copies_to(0, last) == 6).await;
    assert_eq!(value(&volume, 149 % 9, 8).await, 149u64.to_le_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_full_device_is_tried_again() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    for node in &cluster.nodes[..2] {
        node.behave(|m| m.refuse_appends = Some(SegmentError::DeviceFull));
    }
    let mut writer = Writer::new(&volume);
    let last = writer.commit(&[1], b"four").await.expect("durable");
    for node in &cluster.nodes {
        node.behave(|m| m.refuse_appends = None);
    }
    eventually("all six have it", || cluster.copies_to(0, last) == 6).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_page_is_read_from_another_copy() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    writer.commit(&[1], b"good").await.expect("durable");
    for node in &cluster.nodes[..5] {
        node.behave(|m| m.damage_pages = true);
    }
    for _ in 0..20 {
        assert_eq!(value(&volume, 1, 4).await, b"good");
    }
    cluster.nodes[5].behave(|m| m.damage_pages = true);
    let answer = volume.read_page(PageId(1)).await;
    assert!(matches!(answer, Err(VolumeError::Unreadable { page: PageId(1), .. })), "{answer:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slow_copy_is_hedged_and_then_avoided() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    let last = writer.commit(&[1], b"page").await.expect("durable");
    eventually("all have it", || cluster.copies_to(0, last) == 6).await;
    for _ in 0..30 {
        value(&volume, 1, 4).await;
    }
    let fastest = (0..6).max_by_key(|n| cluster.nodes[*n].reads()).expect("six");
    cluster.nodes[fastest].behave(|m| m.read_delay = Duration::from_millis(300));
    let before = cluster.nodes[fastest].reads();
    for _ in 0..40 {
        let started = std::time::Instant::now();
        assert_eq!(value(&volume, 1, 4).await, b"page");
        assert!(started.elapsed() < Duration::from_millis(250), "hedged");
    }
    assert!(cluster.nodes[fastest].reads() - before < 20, "avoided");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_copy_that_stops_answering_delays_few_reads() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    let last = writer.commit(&[1], b"page").await.expect("durable");
    eventually("all have it", || cluster.copies_to(0, last) == 6).await;
    for _ in 0..30 {
        value(&volume, 1, 4).await;
    }
    let fastest = (0..6).max_by_key(|n| cluster.nodes[*n].reads()).expect("six");
    cluster.nodes[fastest].behave(|m| m.mute = true);
    let started = std::time::Instant::now();
    for _ in 0..100 {
        assert_eq!(value(&volume, 1, 4).await, b"page");
    }
    assert!(started.elapsed() < Duration::from_secs(1), "{:?}", started.elapsed());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_moves_is_followed() {
    let mut cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    writer.commit(&[1], b"here").await.expect("durable");
    cluster.nodes[4].kill().await;
    // Another process under the same id: as if its disk had been carried to another machine. It is empty here, so it
    // refuses to take part, and that it was found shows in its answer.
    let other = FakeNode::start(5).await;
    cluster.directory.moved(5, other.addr());
    eventually("it is found", || volume.status().nodes[4].addr == other.addr()).await;
    writer.commit(&[1], b"there").await.expect("durable");
    eventually("it is connected", || volume.status().nodes[4].connected).await;
    assert!(!volume.status().groups[0].members[4].live, "an empty segment that should not be is not used");
}
