//! Replacing a member: by the leader itself, and by hand.

use std::time::Duration;

use sextant_meta::{MetaClient, MetaError, PgInfo, Replacement};
use sextant_redo::{AzId, Geometry, MembershipEpoch, NodeId, PgId, Segments};
use tokio::time::sleep;

use crate::harness::{Beats, Cluster, eventually};

const GEOMETRY: Geometry = Geometry { pages_per_pg: 64 };

async fn spare(client: &MetaClient) -> NodeId {
    let (addr, http) = (([127, 0, 0, 1], 20_006).into(), ([127, 0, 0, 1], 21_006).into());
    client.register_node("node-6", AzId(0), addr, http, None).await.unwrap().1
}

async fn group(client: &MetaClient) -> PgInfo {
    client.volume("v").await.unwrap().pgs.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_silent_node_is_replaced_unless_it_returns_first() {
    let mut cluster = Cluster::new(1);
    cluster.replace_after_s = 10;
    cluster.start(1).await;
    let client = cluster.client();
    let (_, nodes, beats) = cluster.with_nodes().await;
    client.create_volume("v", GEOMETRY, Segments::Full).await.unwrap();
    let (old, new) = (nodes[0], spare(&client).await);
    drop(beats);
    let others: Vec<NodeId> = nodes[1..].iter().copied().chain([new]).collect();
    let beats = Beats::start(client.clone(), others.clone());
    sleep(Duration::from_secs(5)).await;
    assert!(group(&client).await.replacements.is_empty(), "not yet");
    let begun = eventually("the silent node is replaced", || async {
        let group = group(&client).await;
        (!group.replacements.is_empty()).then_some(group)
    })
    .await;
    assert_eq!(begun.replacements, [Replacement { old, new, hydrated: false, automatic: true }]);
    assert_eq!((begun.membership, begun.members.len()), (MembershipEpoch(2), 7));
    drop(beats);
    let _beats = Beats::start(client.clone(), others.into_iter().chain([old]).collect());
    let reverted = eventually("it is back", || async {
        let group = group(&client).await;
        group.replacements.is_empty().then_some(group)
    })
    .await;
    assert_eq!((reverted.membership, reverted.members.len()), (MembershipEpoch(3), 6));
    assert!(reverted.members.iter().any(|member| member.node == old));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_operator_replaces_a_living_node_step_by_step() {
    let mut cluster = Cluster::new(3);
    cluster.replace_after_s = 10;
    for id in cluster.ids() {
        cluster.start(id).await;
    }
    let client = cluster.client();
    let (_, nodes, _beats) = cluster.with_nodes().await;
    let volume = client.create_volume("v", GEOMETRY, Segments::Full).await.unwrap().id;
    let grant = client.acquire_writer(volume, "a", "db:1", "db:2").await.unwrap();
    let (old, pg, first) = (nodes[0], PgId(0), MembershipEpoch(1));
    let nobody = client.successor(volume, pg, old).await.unwrap_err();
    assert!(matches!(nobody, MetaError::NotEnoughNodes { .. }), "{nobody}");
    let new = spare(&client).await;
    let _spare = Beats::start(client.clone(), vec![new]);
    assert_eq!(client.successor(volume, pg, old).await.unwrap(), new);
    assert!(group(&client).await.replacements.is_empty(), "asking changes nothing");
    let begun = client.begin_replacement(volume, pg, first, old).await.unwrap();
    assert_eq!(client.begin_replacement(volume, pg, first, old).await.unwrap(), begun);
    let stale = client.begin_replacement(volume, pg, first, nodes[1]).await.unwrap_err();
    assert_eq!(stale, MetaError::StaleMembership { current: MembershipEpoch(2) });
    // The old node lives: that is the operator's business.
    sleep(Duration::from_millis(1200)).await;
    assert_eq!(group(&client).await.replacements.len(), 1);
    client.mark_created(volume, grant.epoch, (pg, MembershipEpoch(2)), &[new]).await.unwrap();
    let early = client.finish_replacement(volume, pg, MembershipEpoch(2), (old, new)).await.unwrap_err();
    assert!(matches!(early, MetaError::Refused { .. }), "{early}");
    client.mark_hydrated(volume, grant.epoch, pg, new).await.unwrap();
    let finished = client.finish_replacement(volume, pg, MembershipEpoch(2), (old, new)).await.unwrap();
    let group = &finished.pgs[0];
    assert_eq!((group.membership, group.members.len()), (MembershipEpoch(3), 6));
    assert!(group.members.iter().all(|member| member.node != old));
    let over = client.revert_replacement(volume, pg, MembershipEpoch(3), (old, new)).await.unwrap_err();
    assert!(matches!(over, MetaError::Refused { .. }), "{over}");
}
