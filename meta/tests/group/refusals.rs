//! What a member refuses to start with: each would let it forget its votes or mix two histories.

use sextant_meta::MetaError;

use crate::harness::{Cluster, Running, eventually, start_released};

/// All members on record.
async fn joined(cluster: &Cluster) {
    let client = cluster.client();
    eventually("members join", || async {
        let view = client.cluster().await.ok()?;
        view.members.iter().all(|member| member.uuid.is_some()).then_some(())
    })
    .await;
}

/// The reason for which a member with this configuration ends.
async fn refusal(cluster: &Cluster, id: u64) -> String {
    let mut running = Running::start(cluster.config(id));
    loop {
        match running.outcome().await {
            Err(MetaError::Fatal { reason })
                if reason.contains("in use") || reason.contains("already open") =>
            {
                running = Running::start(cluster.config(id));
            }
            Err(error) => return error.to_string(),
            Ok(()) => panic!("it ended without a reason"),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_whose_folder_was_lost_is_refused_and_the_others_go_on() {
    let mut cluster = Cluster::started(3).await;
    joined(&cluster).await;
    cluster.kill(1).await;
    std::fs::remove_dir_all(cluster.folder(1)).unwrap();
    let reason = refusal(&cluster, 1).await;
    assert!(reason.contains("the old one was lost"), "{reason}");
    cluster.client().cluster().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_without_its_log_is_refused() {
    let mut cluster = Cluster::started(3).await;
    joined(&cluster).await;
    cluster.kill(2).await;
    std::fs::remove_file(cluster.folder(2).join("meta.redb")).unwrap();
    let reason = refusal(&cluster, 2).await;
    assert!(reason.contains("its Raft log is gone"), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn another_members_folder_is_refused() {
    let mut cluster = Cluster::started(3).await;
    joined(&cluster).await;
    for id in cluster.ids() {
        cluster.kill(id).await;
    }
    std::fs::remove_dir_all(cluster.folder(1)).unwrap();
    std::fs::rename(cluster.folder(2), cluster.folder(1)).unwrap();
    let reason = refusal(&cluster, 1).await;
    assert!(reason.contains("belongs to") && reason.contains('2'), "{reason}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_of_another_cluster_is_refused() {
    let mut ours = Cluster::started(3).await;
    let mut theirs = Cluster::started(3).await;
    joined(&ours).await;
    joined(&theirs).await;
    theirs.kill(3).await;
    ours.kill(3).await;
    std::fs::remove_dir_all(ours.folder(3)).unwrap();
    std::fs::rename(theirs.folder(3), ours.folder(3)).unwrap();
    let reason = refusal(&ours, 3).await;
    assert!(reason.contains("belongs to cluster"), "{reason}");
    ours.client().cluster().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_port_or_folder_in_use_is_named() {
    let cluster = Cluster::started(1).await;
    cluster.client().cluster().await.unwrap();
    let mut same_port = cluster.config(1);
    same_port.data = cluster.dir.path().join("elsewhere");
    let error = Running::start(same_port).outcome().await.unwrap_err().to_string();
    assert!(error.contains("in use") && error.contains(&cluster.peers[&1].to_string()), "{error}");
    let error = Running::start(cluster.config(1)).outcome().await.unwrap_err().to_string();
    assert!(error.contains("in use by process"), "{error}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_configuration_that_cannot_work_is_refused() {
    let cluster = Cluster::new(1);
    let mut stranger = cluster.config(1);
    stranger.id = 9;
    let mut hasty = cluster.config(1);
    hasty.lease_ms = 5;
    let mut anywhere = cluster.config(1);
    anywhere.listen.set_port(0);
    for config in [stranger, hasty, anywhere] {
        let refused = Running::start(config).outcome().await;
        assert!(matches!(refused, Err(MetaError::Refused { .. })), "{refused:?}");
    }
    drop(start_released(cluster.config(1)).await);
}
