//! The usual paths: write, commit, read, grow, close.

use std::time::Duration;

use sextant_redo::{Lsn, PageId};

use crate::testing::{Cluster, PAGES_PER_PG, Writer, eventually, value};
use crate::{LogStore, VolumeError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_committed_is_on_six_copies_and_can_be_read() {
    let cluster = Cluster::start().await;
    let (volume, opened) = cluster.open("a").await.expect("opens");
    assert_eq!(opened.vdl, Lsn::ZERO);
    let mut writer = Writer::new(&volume);
    assert_eq!(value(&volume, 7, 3).await, [0; 3], "never written");
    let mut last = Lsn::ZERO;
    for n in 0..200u64 {
        last = writer.commit(&[n % 10, 20 + n % 7], &n.to_le_bytes()).await.expect("durable");
    }
    assert!(volume.vdl() >= last);
    assert_eq!(value(&volume, 9, 8).await, 199u64.to_le_bytes());
    assert_eq!(value(&volume, 20 + 199 % 7, 8).await, 199u64.to_le_bytes());
    eventually("all six have it", || cluster.copies_to(0, last) == 6).await;
    let status = volume.status();
    assert_eq!(status.next_lsn, volume.shared.log.next_lsn());
    assert!(cluster.directory.info().pgs[0].members.iter().all(|m| m.created));
    eventually("the state is published", || {
        let status = volume.status();
        status.groups[0].writable
            && status.groups[0].retained_batches == 0
            && status.nodes.iter().all(|n| n.connected)
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_nobody_waits_for_gathers_and_goes_out_all_the_same() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    writer.commit(&[1], b"a").await.expect("durable");
    let before = cluster.nodes[0].appends();
    let mut last = Lsn::ZERO;
    for n in 0..200u64 {
        last = writer.write(&[1], &n.to_le_bytes()).await.expect("logged");
    }
    eventually("nobody waits, and it is durable", || volume.vdl() >= last).await;
    let batches = cluster.nodes[0].appends() - before;
    assert!(batches <= 20, "{batches} batches for 200 records that nobody waited for");

    // More than gathers: it goes out before the time is up, and in the end all of it.
    for n in 0..2000u64 {
        last = writer.write(&[2], &[n as u8; 100]).await.expect("logged");
    }
    eventually("much log is durable too", || volume.vdl() >= last).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn many_writers_share_batches() {
    let cluster = Cluster::start().await;
    for node in &cluster.nodes {
        node.behave(|m| m.append_delay = Duration::from_millis(2));
    }
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut tasks = tokio::task::JoinSet::new();
    for client in 0..16u64 {
        let mut writer = Writer::new(&volume);
        tasks.spawn(async move {
            for n in 0..50u64 {
                writer.commit(&[client], &n.to_le_bytes()).await.expect("durable");
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.expect("no panic");
    }
    assert!(cluster.nodes[0].appends() < 800 / 2, "{} batches for 800 commits", cluster.nodes[0].appends());
    for client in 0..16 {
        assert_eq!(value(&volume, client, 8).await, 49u64.to_le_bytes());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_grows_by_groups_and_mini_transactions_span_them() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    volume.ensure_pages(PageId(3 * PAGES_PER_PG + 5)).await.expect("grows");
    volume.ensure_pages(PageId(3 * PAGES_PER_PG + 5)).await.expect("nothing to do");
    assert_eq!(cluster.directory.info().pgs.len(), 4);
    let mut writer = Writer::new(&volume);
    let pages: Vec<u64> = (0..4).map(|pg| pg * PAGES_PER_PG + 3).collect();
    let mut last = Lsn::ZERO;
    for n in 0..50u64 {
        writer.write(&pages[..(n % 4) as usize + 1], &n.to_le_bytes()).await.expect("appended");
        last = writer.commit(&pages, &n.to_le_bytes()).await.expect("durable");
    }
    for page in &pages {
        assert_eq!(value(&volume, *page, 8).await, 49u64.to_le_bytes());
    }
    // An idle group serves reads at a VDL far above its own last record.
    for n in 0..20u64 {
        writer.commit(&[1], &n.to_le_bytes()).await.expect("durable");
    }
    assert_eq!(value(&volume, pages[2], 8).await, 49u64.to_le_bytes());
    drop(volume);
    drop(writer);
    let (volume, opened) = cluster.open("a").await.expect("opens again");
    assert!(opened.vdl >= last);
    for page in &pages {
        assert_eq!(value(&volume, *page, 8).await, 49u64.to_le_bytes());
    }
    let mut writer = Writer::new(&volume);
    writer.commit(&pages, b"afterwards").await.expect("durable");
    assert_eq!(value(&volume, pages[3], 10).await, b"afterwards");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn log_space_is_limited_and_comes_back() {
    let cluster = Cluster::start().await;
    let mut opener = cluster.opener("a");
    opener.lal = 20_000;
    let (volume, _) = opener.open().await.expect("opens");
    for node in &cluster.nodes[..3] {
        node.behave(|m| m.mute = true);
    }
    let base = volume.shared.log.next_lsn();
    let mut writer = Writer::new(&volume);
    let mut appended = 0;
    while let Ok(lsn) = tokio::time::timeout(Duration::from_millis(200), writer.write(&[1], &[7; 500])).await
    {
        lsn.expect("appended");
        appended += 1;
        assert!(appended < 100, "the limit holds");
    }
    assert!(volume.shared.log.next_lsn().since(base) <= 20_000);
    assert!(appended > 20);
    for node in &cluster.nodes[..3] {
        node.behave(|m| m.mute = false);
    }
    writer.commit(&[1], b"on again").await.expect("durable");
    assert!(matches!(volume.reserve(20_001).await.map(|_| ()), Err(VolumeError::Protocol(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_read_floor_rides_in_batches_and_never_passes_the_vdl() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    let first = writer.commit(&[1], b"one").await.expect("durable");
    volume.set_read_floor(first);
    let second = writer.commit(&[1], b"two").await.expect("durable");
    eventually("the floor arrives", || cluster.nodes[0].pgmrpl(0) == first).await;
    volume.set_read_floor(Lsn::MAX);
    writer.commit(&[1], b"three").await.expect("durable");
    eventually("the floor is cut at the VDL", || {
        let floor = cluster.nodes[0].pgmrpl(0);
        floor >= second && floor <= volume.vdl()
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_closed_volume_answers_nothing_and_can_be_opened_at_once() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    writer.write(&[1], b"kept").await.expect("appended");
    volume.close().await;
    assert_eq!(volume.read_page(PageId(1)).await.map(|_| ()), Err(VolumeError::Closed));
    assert_eq!(writer.write(&[1], b"x").await.map(|_| ()), Err(VolumeError::Closed));
    assert_eq!(volume.lost().await, VolumeError::Closed);
    let started = std::time::Instant::now();
    let (volume, _) = cluster.open("b").await.expect("another instance opens at once");
    assert!(started.elapsed() < Duration::from_secs(5));
    assert_eq!(value(&volume, 1, 4).await, b"kept");
}
