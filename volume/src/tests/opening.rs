//! Opening, fencing, and opening again after every kind of death.

use std::time::Duration;

use sextant_redo::{Lsn, PageId, Segments};

use crate::testing::{Cluster, Writer, eventually, value};
use crate::{LogStore, VolumeError};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_writer_is_fenced_by_storage() {
    let cluster = Cluster::start().await;
    let (old, first) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&old);
    writer.commit(&[1], b"old").await.expect("durable");
    // The same instance name: no wait for the lease, as after a restart whose predecessor still runs.
    let (new, second) = cluster.open("a").await.expect("opens");
    assert!(second.epoch > first.epoch);
    let lsn = writer.write(&[1], b"zombie").await;
    if let Ok(lsn) = lsn {
        assert!(matches!(old.durable(lsn).await, Err(VolumeError::Fenced { .. })));
    }
    assert!(matches!(old.lost().await, VolumeError::Fenced { .. }));
    assert!(old.try_reserve(10).is_none());
    assert!(matches!(old.reserve(10).await, Err(VolumeError::Fenced { .. })));
    assert!(matches!(old.read_page(PageId(1)).await, Err(VolumeError::Fenced { .. })));
    assert_eq!(value(&new, 1, 3).await, b"old");
    let mut writer = Writer::new(&new);
    writer.commit(&[1], b"new").await.expect("durable");
    assert_eq!(value(&new, 1, 3).await, b"new");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_idle_older_writer_learns_it_from_its_lease() {
    let cluster = Cluster::start().await;
    let (old, _) = cluster.open("a").await.expect("opens");
    let (_new, _) = cluster.open("a").await.expect("opens");
    let lost = tokio::time::timeout(Duration::from_secs(5), old.lost()).await.expect("told");
    assert!(matches!(lost, VolumeError::Fenced { .. }));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_writer_of_a_dropped_volume_is_told_so_once_and_for_all() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    Writer::new(&volume).commit(&[1], b"last").await.expect("durable");
    cluster.directory.drop_volume();
    let lost = tokio::time::timeout(Duration::from_secs(5), volume.lost()).await.expect("told");
    assert!(matches!(lost, VolumeError::Dropped { .. }) && lost.is_final() && !lost.is_retryable(), "{lost}");
    assert!(matches!(volume.reserve(10).await, Err(VolumeError::Dropped { .. })));
    assert!(matches!(volume.read_page(PageId(1)).await, Err(VolumeError::Dropped { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_keeps_the_segments_that_it_was_made_of() {
    let cluster = Cluster::start().await;
    let with = |segments| crate::open::Opener { segments, ..cluster.opener("a") };
    with(Some(Segments::Full)).open().await.expect("created");
    with(Some(Segments::Full)).open().await.expect("the same choice");
    with(None).open().await.expect("no choice");
    let refused = with(Some(Segments::FullTail)).open().await.map(|_| ()).expect_err("another choice");
    assert!(matches!(refused, VolumeError::OtherSegments { made: Segments::Full, .. }), "{refused}");
    assert!(!refused.is_retryable(), "an engine that waits would wait for ever");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_instance_waits_for_the_lease() {
    let cluster = Cluster::start().await;
    let (first, _) = cluster.open("a").await.expect("opens");
    let mut opener = cluster.opener("b");
    opener.deadline = Duration::from_millis(600);
    let held = opener.open().await.map(|_| ());
    assert!(matches!(held, Err(VolumeError::LeaseHeld { .. })), "{held:?}");
    drop(first);
    let (_, opened) = cluster.open("b").await.expect("the lease has lapsed");
    assert_eq!(opened.epoch.0, 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_metadata_service_that_is_away_stops_no_writer() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    cluster.directory.set_away(true);
    let mut writer = Writer::new(&volume);
    for n in 0..10u64 {
        writer.commit(&[1], &n.to_le_bytes()).await.expect("durable");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let mut opener = cluster.opener("b");
    opener.deadline = Duration::from_millis(300);
    assert!(matches!(opener.open().await.map(|_| ()), Err(VolumeError::Meta(_))));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn too_few_nodes_do_not_open_and_that_is_said() {
    let mut cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    writer.commit(&[1], b"safe").await.expect("durable");
    drop((writer, volume));
    for node in &mut cluster.nodes[..3] {
        node.kill().await;
    }
    let mut opener = cluster.opener("a");
    opener.deadline = Duration::from_millis(700);
    let error = opener.open().await.map(|_| ()).expect_err("three of six");
    assert!(matches!(error, VolumeError::NoQuorum { answered: 3, needed: 4, .. }), "{error:?}");
    cluster.nodes[0].revive().await;
    let (volume, _) = cluster.open("a").await.expect("four of six");
    assert_eq!(value(&volume, 1, 4).await, b"safe");
}

/// The opening has chosen to keep a record that one segment alone has, and that one dies before it is copied.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_begins_again_when_what_it_meant_to_keep_is_gone() {
    let mut cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    let kept = writer.commit(&[1], b"kept").await.expect("durable");
    eventually("all have it", || cluster.copies_to(0, kept) == 6).await;
    for node in &mut cluster.nodes[..5] {
        node.kill().await;
    }
    let lone = writer.write(&[1], b"lone").await.expect("appended");
    eventually("one has it", || cluster.copies_to(0, lone) == 1).await;
    drop((writer, volume));
    for node in &mut cluster.nodes[..3] {
        node.revive().await;
    }
    cluster.nodes[5].behave(|m| m.keep_log = true);
    let opener = cluster.opener("a");
    let opening = tokio::spawn(async move { opener.open().await });
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(!opening.is_finished(), "it wants to copy");
    cluster.nodes[5].kill().await;
    cluster.nodes[3].revive().await;
    cluster.nodes[4].revive().await;
    let (volume, opened) = opening.await.expect("no panic").expect("opens in the end");
    assert_eq!((opened.vdl, opened.epoch.0), (kept, 3));
    assert_eq!(value(&volume, 1, 4).await, b"kept");
    cluster.nodes[5].behave(|m| m.keep_log = false);
    cluster.nodes[5].revive().await;
    let last = Writer::new(&volume).commit(&[1], b"next").await.expect("durable");
    eventually("the void record is gone, the new one there", || cluster.copies_to(0, last) == 6).await;
}

/// Commits under changing failures, crashes of the writer, and returns: everything acknowledged is always there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_acknowledged_is_lost_over_many_openings() {
    let mut cluster = Cluster::start().await;
    let mut newest: std::collections::BTreeMap<u64, u64> = std::collections::BTreeMap::new();
    let mut count = 0u64;
    let mut vdl = Lsn::ZERO;
    for round in 0..12usize {
        let (down, also) = (round % 6, (round * 5 + 2) % 6);
        let (volume, opened) = cluster.open("a").await.expect("opens");
        assert!(opened.vdl >= vdl, "{:?} after {vdl:?}", opened.vdl);
        for (page, value_then) in &newest {
            let found = u64::from_le_bytes(value(&volume, *page, 8).await.try_into().expect("eight"));
            assert!(found >= *value_then, "round {round}, page {page}: {found} after {value_then}");
        }
        let mut writer = Writer::new(&volume);
        volume.ensure_pages(PageId(150)).await.expect("grows");
        for step in 0..30u64 {
            if step == 10 {
                cluster.nodes[down].kill().await;
            }
            if step == 20 {
                cluster.nodes[also].kill().await;
            }
            count += 1;
            let pages = [step % 7, 100 + step % 5];
            writer.commit(&pages, &count.to_le_bytes()).await.expect("durable");
            newest.extend(pages.map(|p| (p, count)));
        }
        vdl = volume.vdl();
        // Some more that nobody waits for: they may be kept or not, as a whole.
        for step in 0..20u64 {
            count += 1;
            let _ = writer.write(&[step % 7, 100 + step % 5], &count.to_le_bytes()).await;
        }
        drop((writer, volume));
        if round % 2 == 0 {
            cluster.nodes[down].revive().await;
            cluster.nodes[also].revive().await;
        } else {
            // They come back only after the next opening has gone on without them.
            let (volume, opened) = cluster.open("a").await.expect("opens with four");
            assert!(opened.vdl >= vdl);
            vdl = opened.vdl;
            cluster.nodes[down].revive().await;
            cluster.nodes[also].revive().await;
            let mut writer = Writer::new(&volume);
            count += 1;
            let last = writer.commit(&[1, 101], &count.to_le_bytes()).await.expect("durable");
            newest.extend([1, 101].map(|p| (p, count)));
            eventually("the returned ones follow", || cluster.copies_to(1, last) == 6).await;
        }
    }
}
