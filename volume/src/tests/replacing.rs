//! Members that are replaced under a writer that goes on.

use std::sync::Arc;
use std::time::Duration;

use crate::status::GroupStatus;
use crate::testing::{Cluster, Writer, eventually, value};
use crate::{LogStore, Volume};

fn group(volume: &Arc<Volume>) -> GroupStatus {
    volume.status().groups.first().cloned().expect("a group")
}

async fn changed(volume: &Arc<Volume>, membership: u64) {
    eventually("the change is recorded", || {
        let group = group(volume);
        group.membership.0 == membership && group.settled
    })
    .await;
}

async fn commit_some(writer: &mut Writer, from: u64) {
    for n in from..from + 20 {
        writer.commit(&[n % 5], &n.to_le_bytes()).await.expect("durable");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_member_is_replaced_and_then_another_may_be_lost() {
    let mut cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    commit_some(&mut writer, 0).await;
    cluster.nodes[5].kill().await;
    commit_some(&mut writer, 20).await;
    cluster.directory.begin(6, 7);
    for from in (40..).step_by(20).take(200) {
        commit_some(&mut writer, from).await;
        if cluster.directory.info().pgs[0].membership.0 == 3 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    changed(&volume, 3).await;
    assert_eq!(group(&volume).members.len(), 6);
    // Two more may go now: the new member counts.
    cluster.nodes[0].kill().await;
    cluster.nodes[3].kill().await;
    commit_some(&mut writer, 5000).await;
    assert_eq!(value(&volume, 4, 8).await, 5019u64.to_le_bytes());
    let last = writer.commit(&[1], b"last").await.expect("durable");
    assert_eq!(cluster.nodes[6].scl(0), last);
    // The old one comes back, and nobody cares.
    let before = cluster.nodes[5].appends();
    cluster.nodes[5].revive().await;
    commit_some(&mut writer, 6000).await;
    assert_eq!(cluster.nodes[5].appends(), before);
    drop((writer, volume));
    let (volume, _) = cluster.open("a").await.expect("four of the new six");
    assert_eq!(value(&volume, 1, 8).await, 6016u64.to_le_bytes());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn while_it_is_replaced_both_quorums_are_needed() {
    let mut cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    commit_some(&mut writer, 0).await;
    // The successor never gets what it lacks.
    cluster.nodes.iter().for_each(|node| node.behave(|m| m.keep_log = true));
    commit_some(&mut writer, 20).await;
    cluster.directory.begin(6, 7);
    changed(&volume, 2).await;
    commit_some(&mut writer, 40).await;
    cluster.nodes[0].kill().await;
    commit_some(&mut writer, 60).await;
    cluster.nodes[1].kill().await;
    let waits = writer.write(&[1], b"waits").await.expect("appended");
    let too_few = tokio::time::timeout(Duration::from_millis(500), volume.durable(waits)).await;
    assert!(too_few.is_err(), "four of the old six have it, but three of the new six");
    cluster.directory.revert(6, 7);
    volume.durable(waits).await.expect("the old six alone again");
    changed(&volume, 3).await;
    assert_eq!(group(&volume).members.len(), 6);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_works_in_the_middle_of_two_replacements() {
    let mut cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    commit_some(&mut writer, 0).await;
    drop((writer, volume));
    cluster.nodes[5].kill().await;
    cluster.nodes[3].kill().await;
    cluster.directory.begin(6, 7);
    cluster.directory.begin(4, 8);
    let (volume, _) = cluster.open("a").await.expect("the four healthy ones are enough");
    let mut writer = Writer::new(&volume);
    commit_some(&mut writer, 20).await;
    changed(&volume, 5).await;
    cluster.nodes[0].kill().await;
    cluster.nodes[1].kill().await;
    commit_some(&mut writer, 40).await;
    drop((writer, volume));
    let (volume, _) = cluster.open("b").await.expect("two old ones, two new ones");
    assert_eq!(value(&volume, 4, 8).await, 59u64.to_le_bytes());
}

/// The grant is older than a change that a writer before this one had recorded.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_opening_that_meets_a_newer_membership_asks_again() {
    let cluster = Cluster::start().await;
    let (volume, _) = cluster.open("a").await.expect("opens");
    let mut writer = Writer::new(&volume);
    commit_some(&mut writer, 0).await;
    drop((writer, volume));
    cluster.nodes[..6].iter().for_each(|node| node.record_membership(0, 2));
    let opener = cluster.opener("a");
    let opening = tokio::spawn(async move { opener.open().await });
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(!opening.is_finished(), "every segment refuses the older membership");
    cluster.directory.begin(6, 7);
    let (volume, _) = opening.await.expect("no panic").expect("opens with the newer one");
    commit_some(&mut Writer::new(&volume), 20).await;
    changed(&volume, 3).await;
    assert!(cluster.nodes[0].membership(0) >= 2);
}
