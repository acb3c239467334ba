//! Elections, kills, restarts, and that nothing confirmed is lost.

use std::collections::BTreeSet;
use std::time::Duration;

use sextant_meta::MetaError;
use sextant_redo::{Geometry, GeometryEpoch, MembershipEpoch, PgId, Segments, VolumeEpoch};
use tokio::time::{sleep, timeout};

use crate::harness::{Cluster, LIMIT, eventually, free_addresses};

const GEOMETRY: Geometry = Geometry { pages_per_pg: 64 };

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_forms_and_every_call_may_be_repeated() {
    let cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (id, nodes, _beats) = cluster.with_nodes().await;
    let (again, nodes_again, _beats) = cluster.with_nodes().await;
    assert_eq!((id, &nodes), (again, &nodes_again), "the uuid is the identity");

    let volume = client.create_volume("v", GEOMETRY, Segments::Full).await.unwrap();
    assert_eq!(client.create_volume("v", Geometry::DEFAULT, Segments::Full).await.unwrap(), volume);
    assert_eq!(volume.pgs.len(), 1);
    let zones: Vec<u16> = volume.pgs[0].members.iter().map(|member| member.az.0).collect();
    assert_eq!(zones, [0, 0, 1, 1, 2, 2]);

    let grant = client.acquire_writer(volume.id, "a", "db:1", "db:2").await.unwrap();
    assert_eq!((grant.epoch, grant.lease_ms), (VolumeEpoch(1), 1000));
    let grown = client.add_pg(volume.id, grant.epoch, PgId(1)).await.unwrap();
    assert_eq!((grown.pgs.len(), grown.geometry_epoch), (2, GeometryEpoch(2)));
    assert_eq!(client.add_pg(volume.id, grant.epoch, PgId(1)).await.unwrap(), grown);
    let marked =
        client.mark_created(volume.id, grant.epoch, (PgId(0), MembershipEpoch(2)), &nodes).await.unwrap();
    assert!(marked.pgs[0].members.iter().all(|member| member.created));
    assert_eq!(
        client.mark_created(volume.id, grant.epoch, (PgId(0), MembershipEpoch(2)), &nodes).await.unwrap(),
        marked
    );
    assert_eq!(client.renew(volume.id, "a", grant.epoch).await.unwrap(), 1000);
    client.release(volume.id, "a", grant.epoch).await.unwrap();
    client.release(volume.id, "a", grant.epoch).await.unwrap();

    let view = client.cluster().await.unwrap();
    assert_eq!(view.cluster, id);
    assert!(view.nodes.iter().all(|node| node.alive));
    assert_eq!(view.volumes, [client.volume("v").await.unwrap()]);
    assert_eq!(view.members.len(), 3);
    assert!(view.leader.is_some_and(|leader| cluster.peers.contains_key(&leader)));
    assert_eq!(client.volume("w").await.unwrap_err(), MetaError::UnknownVolume { name: "w".to_owned() });
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_volume_waits_for_six_living_nodes() {
    let cluster = Cluster::started(3).await;
    let client = cluster.client();
    let refused = client.create_volume("v", GEOMETRY, Segments::Full).await.unwrap_err();
    assert!(matches!(refused, MetaError::NotEnoughNodes { .. }) && refused.is_retryable(), "{refused}");
    let (_, _, beats) = cluster.with_nodes().await;
    client.create_volume("v", GEOMETRY, Segments::Full).await.unwrap();
    drop(beats);
    sleep(Duration::from_millis(3300)).await;
    let refused = client.create_volume("w", GEOMETRY, Segments::Full).await.unwrap_err();
    assert!(matches!(refused, MetaError::NotEnoughNodes { .. }), "dead nodes get no segments: {refused}");
    assert!(client.cluster().await.unwrap().nodes.iter().all(|node| !node.alive));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_group_goes_on_without_its_leader_and_takes_it_back() {
    let mut cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (_, _, _beats) = cluster.with_nodes().await;
    let volume = client.create_volume("v", GEOMETRY, Segments::Full).await.unwrap();
    let mut epoch = VolumeEpoch(0);
    for _ in 0..3 {
        let leader = client.cluster().await.unwrap().leader.unwrap();
        cluster.kill(leader).await;
        let grant =
            timeout(LIMIT, client.acquire_writer(volume.id, "a", "db:1", "db:2")).await.unwrap().unwrap();
        assert!(grant.epoch > epoch, "epochs only grow");
        epoch = grant.epoch;
        let view = client.cluster().await.unwrap();
        assert_ne!(view.leader, Some(leader));
        assert_eq!(view.volumes[0].epoch, epoch);
        cluster.start(leader).await;
    }
    client.renew(volume.id, "a", epoch).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_there_after_all_were_killed_even_on_other_ports() {
    let mut cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (_, nodes, beats) = cluster.with_nodes().await;
    let volume = client.create_volume("v", GEOMETRY, Segments::Full).await.unwrap();
    let grant = client.acquire_writer(volume.id, "a", "db:1", "db:2").await.unwrap();
    client.mark_created(volume.id, grant.epoch, (PgId(0), MembershipEpoch(2)), &nodes).await.unwrap();
    // Every member is on record before the kill.
    let before = eventually("members join", || async {
        let view = client.cluster().await.ok()?;
        view.members.iter().all(|member| member.uuid.is_some()).then_some(view)
    })
    .await;
    drop(beats);
    for id in cluster.ids() {
        cluster.kill(id).await;
    }
    cluster.peers = (1..).zip(free_addresses(3)).collect();
    for id in cluster.ids() {
        cluster.start(id).await;
    }
    let client = cluster.client();
    let after = client.cluster().await.unwrap();
    assert_eq!((after.cluster, &after.volumes), (before.cluster, &before.volumes));
    let uuids = |view: &sextant_meta::ClusterView| -> Vec<_> {
        view.members.iter().map(|member| member.uuid.clone()).collect()
    };
    assert_eq!(uuids(&after), uuids(&before));
    assert!(after.term > before.term);
    let (_, nodes_after, _beats) = cluster.with_nodes().await;
    assert_eq!(nodes_after, nodes);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_quorum_nothing_is_granted_and_the_error_can_be_retried() {
    let mut cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (_, _, _beats) = cluster.with_nodes().await;
    let volume = client.create_volume("v", GEOMETRY, Segments::Full).await.unwrap();
    let leader = client.cluster().await.unwrap().leader.unwrap();
    let others: Vec<u64> = cluster.ids().into_iter().filter(|id| *id != leader).collect();
    for id in &others {
        cluster.kill(*id).await;
    }
    let hasty = client.with_deadline(Duration::from_secs(4));
    for error in [
        hasty.acquire_writer(volume.id, "a", "db:1", "db:2").await.unwrap_err(),
        hasty.volume("v").await.unwrap_err(),
        hasty.cluster().await.unwrap_err(),
    ] {
        assert!(matches!(error, MetaError::Unavailable { .. }) && error.is_retryable(), "{error}");
    }
    cluster.start(others[0]).await;
    client.acquire_writer(volume.id, "a", "db:1", "db:2").await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_start_that_was_cut_off_is_taken_up_again() {
    let mut cluster = Cluster::new(3);
    // Killed again and again while the group forms.
    for round in 0..4u64 {
        for id in cluster.ids() {
            cluster.start(id).await;
        }
        sleep(Duration::from_millis(100 * round)).await;
        for id in cluster.ids() {
            cluster.kill(id).await;
        }
    }
    for id in cluster.ids() {
        cluster.start(id).await;
    }
    let client = cluster.client();
    let id = client.cluster().await.unwrap().cluster;
    let joined = eventually("members join", || async {
        let view = client.cluster().await.ok()?;
        view.members.iter().all(|member| member.uuid.is_some()).then_some(view)
    })
    .await;
    assert_eq!(joined.cluster, id);
    let folders: BTreeSet<_> = joined.members.iter().filter_map(|member| member.uuid.clone()).collect();
    assert_eq!(folders.len(), 3);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_far_behind_catches_up_by_snapshot() {
    let mut cluster = Cluster::started(3).await;
    let client = cluster.client();
    let (_, nodes, _beats) = cluster.with_nodes().await;
    let leader = client.cluster().await.unwrap().leader.unwrap();
    let behind = cluster.ids().into_iter().find(|id| *id != leader).unwrap();
    cluster.kill(behind).await;
    // More than two snapshots' worth of log, which is then purged.
    let writers = (0..8).map(|writer| {
        let client = client.clone();
        tokio::spawn(async move {
            for round in 0..320u16 {
                let addr = ([127, 0, 0, 1], 1000 + round).into();
                let uuid = format!("node-{}", writer % 6);
                let az = sextant_redo::AzId(writer % 3);
                client.register_node(&uuid, az, addr, addr, None).await.unwrap();
            }
        })
    });
    for writer in writers.collect::<Vec<_>>() {
        timeout(LIMIT * 3, writer).await.unwrap().unwrap();
    }
    cluster.start(behind).await;
    // It must carry the group alone with one other.
    let other = cluster.ids().into_iter().find(|id| *id != leader && *id != behind).unwrap();
    cluster.kill(other).await;
    let view = client.cluster().await.unwrap();
    assert_eq!(view.nodes.len(), nodes.len());
    client.create_volume("after", GEOMETRY, Segments::Full).await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_group_of_one_works_and_ends_in_order() {
    let mut cluster = Cluster::started(1).await;
    let client = cluster.client();
    let id = client.cluster().await.unwrap().cluster;
    assert_eq!(cluster.running.remove(&1).unwrap().stop().await, Ok(()));
    cluster.start(1).await;
    assert_eq!(client.cluster().await.unwrap().cluster, id);
}
