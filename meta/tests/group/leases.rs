//! The right to write: held, lapsed, taken, given back.

use std::time::{Duration, Instant};

use sextant_meta::{MetaClient, MetaError};
use sextant_redo::{ClusterId, Geometry, MembershipEpoch, PgId, Segments, VolumeEpoch, VolumeId};
use tokio::time::sleep;

use crate::harness::{Cluster, LIMIT};

async fn acquire(client: &MetaClient, volume: VolumeId, instance: &str) -> Result<VolumeEpoch, MetaError> {
    client.acquire_writer(volume, instance, "db:5432", "db:9000").await.map(|grant| grant.epoch)
}

/// Asks until it is granted; how long that took.
async fn wait_for(client: &MetaClient, volume: VolumeId, instance: &str) -> (VolumeEpoch, Duration) {
    let began = Instant::now();
    loop {
        match acquire(client, volume, instance).await {
            Ok(epoch) => return (epoch, began.elapsed()),
            Err(MetaError::LeaseHeld { remaining_ms, .. }) => {
                assert!(began.elapsed() < LIMIT);
                sleep(Duration::from_millis(remaining_ms.min(100))).await;
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lease_is_held_lapses_and_the_old_writer_is_fenced() {
    let cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (_, nodes, _beats) = cluster.with_nodes().await;
    let volume = client.create_volume("v", Geometry { pages_per_pg: 64 }, Segments::Full).await.unwrap().id;
    let first = acquire(&client, volume, "a").await.unwrap();

    // Renewed for longer than its length, it keeps the other out all the while.
    let began = Instant::now();
    while began.elapsed() < Duration::from_millis(2500) {
        client.renew(volume, "a", first).await.unwrap();
        match acquire(&client, volume, "b").await {
            Err(MetaError::LeaseHeld { holder, remaining_ms }) => {
                assert_eq!(holder, "a");
                assert!((1..=1000).contains(&remaining_ms), "{remaining_ms}");
            }
            other => panic!("{other:?}"),
        }
        sleep(Duration::from_millis(150)).await;
    }

    let (second, waited) = wait_for(&client, volume, "b").await;
    assert!(second > first);
    assert!(waited > Duration::from_millis(300), "the lease was renewed a moment ago: {waited:?}");
    let fenced = MetaError::Fenced { current: second };
    assert_eq!(client.renew(volume, "a", first).await, Err(fenced.clone()));
    assert_eq!(client.release(volume, "a", first).await, Err(fenced.clone()));
    assert_eq!(client.add_pg(volume, first, PgId(1)).await, Err(fenced.clone()));
    assert_eq!(client.mark_created(volume, first, (PgId(0), MembershipEpoch(2)), &nodes).await, Err(fenced));
    client.renew(volume, "b", second).await.unwrap();
    let stranger = client.renew(volume, "a", second).await;
    assert_eq!(stranger, Err(MetaError::Fenced { current: second }), "an epoch belongs to one instance");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_holds_the_lease_gets_a_new_epoch_at_once_and_a_released_one_is_free() {
    let cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (_, _, _beats) = cluster.with_nodes().await;
    let volume = client.create_volume("v", Geometry { pages_per_pg: 64 }, Segments::Full).await.unwrap().id;
    let first = acquire(&client, volume, "a").await.unwrap();
    let second = acquire(&client, volume, "a").await.unwrap();
    assert!(second > first);
    assert_eq!(client.renew(volume, "a", first).await, Err(MetaError::Fenced { current: second }));
    client.release(volume, "a", second).await.unwrap();
    assert_eq!(client.volume("v").await.unwrap().writer, None);
    let third = acquire(&client, volume, "b").await.unwrap();
    assert!(third > second);
    let writer = client.volume("v").await.unwrap().writer.unwrap();
    assert_eq!((writer.instance.as_str(), writer.advertise.as_str(), writer.epoch), ("b", "db:5432", third));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lapsed_lease_that_nobody_took_is_renewed() {
    let cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (_, _, _beats) = cluster.with_nodes().await;
    let volume = client.create_volume("v", Geometry { pages_per_pg: 64 }, Segments::Full).await.unwrap().id;
    let epoch = acquire(&client, volume, "a").await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    client.renew(volume, "a", epoch).await.unwrap();
    assert!(matches!(acquire(&client, volume, "b").await, Err(MetaError::LeaseHeld { .. })));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_leader_starts_leases_afresh_and_the_epoch_outlives_it() {
    let mut cluster = Cluster::new(3);
    cluster.lease_ms = 4000;
    for id in cluster.ids() {
        cluster.start(id).await;
    }
    let client = cluster.client();
    let (_, _, _beats) = cluster.with_nodes().await;
    let volume = client.create_volume("v", Geometry { pages_per_pg: 64 }, Segments::Full).await.unwrap().id;
    let first = acquire(&client, volume, "a").await.unwrap();
    sleep(Duration::from_millis(1500)).await;
    let leader = client.cluster().await.unwrap().leader.unwrap();
    cluster.kill(leader).await;
    match acquire(&client, volume, "b").await {
        Err(MetaError::LeaseHeld { holder, remaining_ms }) => {
            assert_eq!(holder, "a");
            assert!(remaining_ms > 1500, "the new leader gives the full length: {remaining_ms}");
        }
        other => panic!("{other:?}"),
    }
    client.renew(volume, "a", first).await.unwrap();
    let (second, waited) = wait_for(&client, volume, "b").await;
    assert!(second > first && waited > Duration::from_secs(2), "{waited:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn of_many_that_ask_at_once_one_is_granted() {
    let cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (_, _, _beats) = cluster.with_nodes().await;
    let volume = client.create_volume("v", Geometry { pages_per_pg: 64 }, Segments::Full).await.unwrap().id;
    let asking = (0..8).map(|at| {
        let client = client.clone();
        tokio::spawn(async move { acquire(&client, volume, &format!("i{at}")).await })
    });
    let mut granted = Vec::new();
    for asked in asking.collect::<Vec<_>>() {
        match asked.await.unwrap() {
            Ok(epoch) => granted.push(epoch),
            Err(MetaError::LeaseHeld { .. }) => {}
            Err(error) => panic!("{error}"),
        }
    }
    assert_eq!(granted, [VolumeEpoch(1)]);
}

/// ReadIndex is what makes a renewal safe: a leader that slept through its successor still believes that it leads when
/// it wakes, and has the old writer's request in its hands.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_slept_through_its_successor_renews_nothing() {
    let cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (_, _, _beats) = cluster.with_nodes().await;
    let volume = client.create_volume("v", Geometry { pages_per_pg: 64 }, Segments::Full).await.unwrap().id;
    let first = acquire(&client, volume, "a").await.unwrap();
    let leader = client.cluster().await.unwrap().leader.unwrap();
    cluster.running[&leader].pause(Duration::from_secs(6));
    sleep(Duration::from_millis(200)).await;

    // Waits in the sleeper's socket, to be the first thing it reads.
    let sleeper = MetaClient::new(vec![cluster.peers[&leader]]).with_deadline(LIMIT);
    let renewal = tokio::spawn(async move { sleeper.renew(volume, "a", first).await });
    let (second, _) = wait_for(&client, volume, "b").await;
    assert!(second > first);
    assert!(!renewal.is_finished(), "the sleeper wakes after the grant, or this shows nothing");
    let renewed = tokio::time::timeout(LIMIT, renewal).await.unwrap().unwrap();
    assert_eq!(renewed, Err(MetaError::Fenced { current: second }));
    client.renew(volume, "b", second).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_is_dropped_once_nobodys_lease_runs() {
    let cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (ours, _, _beats) = cluster.with_nodes().await;
    let geometry = Geometry { pages_per_pg: 64 };
    let volume = client.create_volume("v", geometry, Segments::Full).await.unwrap().id;
    let epoch = acquire(&client, volume, "a").await.unwrap();
    let held = client.drop_volume(volume).await.unwrap_err();
    assert!(matches!(&held, MetaError::LeaseHeld { holder, .. } if holder == "a"), "{held}");
    assert!(held.is_retryable());
    assert_eq!(client.dropped(ours, &[volume]).await.unwrap(), []);

    sleep(Duration::from_millis(1200)).await;
    client.drop_volume(volume).await.unwrap();
    client.drop_volume(volume).await.unwrap();
    let gone = MetaError::VolumeDropped { id: volume };
    assert_eq!(client.renew(volume, "a", epoch).await, Err(gone.clone()), "the writer must stop");
    assert_eq!(acquire(&client, volume, "b").await, Err(gone));
    assert_eq!(client.volume("v").await, Err(MetaError::UnknownVolume { name: "v".to_owned() }));
    assert_eq!(client.dropped(ours, &[VolumeId(1), volume]).await.unwrap(), [volume]);
    let theirs = ClusterId(7);
    assert_eq!(client.dropped(theirs, &[volume]).await, Err(MetaError::WrongCluster { ours, theirs }));

    // Released, it can be dropped at once; and the name is free.
    let again = client.create_volume("v", geometry, Segments::Full).await.unwrap().id;
    assert!(again != volume);
    let epoch = acquire(&client, again, "a").await.unwrap();
    client.release(again, "a", epoch).await.unwrap();
    client.drop_volume(again).await.unwrap();
}
