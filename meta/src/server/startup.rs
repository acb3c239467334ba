//! How a member comes to life, and when it refuses to.

use std::collections::BTreeMap;
use std::time::Duration;

use sextant_node::identity::DataDir;
use sextant_redo::NodeId;

use super::{Member, duties};
use crate::api::Hello;
use crate::raft::{Group, Store};
use crate::{MetaError, Result};

/// Pause between two rounds of asking peers.
const ASK_AGAIN: Duration = Duration::from_millis(100);
/// Rounds between two log lines about who is missing.
const SAY_EVERY: u32 = 50;

/// Checks that the folder and what is in it belong together, to this member, and to one cluster.
pub(super) fn check_folder(dir: &mut DataDir, store: &Store, id: u64) -> Result<()> {
    let bound = dir.identity().cluster;
    if let Some(cluster) = bound.or_else(|| store.read(|state| state.cluster)) {
        dir.bind_to(cluster, Some(NodeId(id))).map_err(MetaError::fatal)?;
    }
    if let (Some(cluster), false) = (bound, store.has_history()) {
        return Err(MetaError::fatal(format!(
            "the data folder {} belongs to cluster {cluster}, but its Raft log is gone. A member that forgot its votes can \
             undo committed changes: restore the folder, or replace this member by one with a new id",
            dir.path().display()
        )));
    }
    Ok(())
}

/// Joins or forms the group and takes part until it cannot go on.
pub(super) async fn live(member: &Member, dir: &mut DataDir) -> Result<()> {
    let forms = if member.store.has_history() { false } else { first_start(member, dir).await? };
    let group = Group::start(member.config.id, member.config.peers.clone(), member.store.clone()).await?;
    if forms {
        tracing::info!(members = ?member.config.peers, "forming the metadata group");
        group.initialize().await?;
    }
    let group = member.group.get_or_init(|| group);
    tokio::select! {
        fatal = group.stopped() => Err(fatal),
        () = duties::lead(member, group) => Ok(()),
        joined = stay(member, dir) => joined,
    }
}

/// Waits until every peer has answered; refuses when one knows this member with another folder. Returns whether this
/// member is to form the group: nobody has any history, and its id is the lowest.
async fn first_start(member: &Member, dir: &DataDir) -> Result<bool> {
    let config = &member.config;
    let mut heard: BTreeMap<u64, Hello> = BTreeMap::new();
    let mut rounds = 0;
    loop {
        for (id, addr) in config.peers.iter().filter(|(id, _)| **id != config.id) {
            if !heard.contains_key(id)
                && let Ok(hello) = member.client.hello(*addr, config.id).await
            {
                check_peer(*id, &hello)?;
                heard.insert(*id, hello);
            }
        }
        if heard.len() + 1 == config.peers.len() {
            break;
        }
        if rounds % SAY_EVERY == SAY_EVERY / 5 {
            let missing: Vec<u64> = config
                .peers
                .keys()
                .filter(|id| **id != config.id && !heard.contains_key(id))
                .copied()
                .collect();
            tracing::info!(?missing, "a first start waits until every metadata member has answered once");
        }
        rounds += 1;
        tokio::time::sleep(ASK_AGAIN).await;
    }
    let ours = &dir.identity().uuid;
    if let Some((id, known)) = heard
        .iter()
        .find_map(|(id, hello)| hello.your_uuid.as_ref().filter(|known| *known != ours).map(|k| (id, k)))
    {
        return Err(MetaError::fatal(format!(
            "member {} is known to member {id} with data folder {known}, and this folder is a new one: the old one was lost. \
             A member that forgot its votes can undo committed changes; give this machine a new member id",
            config.id
        )));
    }
    let fresh = heard.values().all(|hello| !hello.has_history);
    Ok(fresh && config.peers.keys().next() == Some(&config.id))
}

/// Who answers at a peer's address must be that peer.
fn check_peer(id: u64, hello: &Hello) -> Result<()> {
    if hello.id != id {
        return Err(MetaError::fatal(format!(
            "`peers` says that member {id} answers at an address where member {} does; correct `peers`",
            hello.id
        )));
    }
    Ok(())
}

/// Once the cluster has an id: bind the folder to it, check that the peers are of the same cluster, put the folder on
/// record. Then waits for ever.
async fn stay(member: &Member, dir: &mut DataDir) -> Result<()> {
    let mut progress = member.store.progress();
    let cluster = loop {
        if let Some(cluster) = member.store.read(|state| state.cluster) {
            break cluster;
        }
        if progress.changed().await.is_err() {
            return std::future::pending().await;
        }
    };
    dir.bind_to(cluster, Some(NodeId(member.config.id))).map_err(MetaError::fatal)?;
    check_cluster(member, dir).await?;
    loop {
        match member.client.join_member(member.config.id, &dir.identity().uuid).await {
            Ok(()) => return std::future::pending().await,
            Err(error) if error.is_retryable() => tokio::time::sleep(ASK_AGAIN).await,
            Err(error) => return Err(MetaError::fatal(error)),
        }
    }
}

/// Refuses to go on in a group whose majority belongs to another cluster: the folder, or the addresses, are wrong.
async fn check_cluster(member: &Member, dir: &DataDir) -> Result<()> {
    let config = &member.config;
    let mut waiting: Vec<u64> = config.peers.keys().copied().filter(|id| *id != config.id).collect();
    let mut foreign = BTreeMap::new();
    // Those that answer in agreement are enough; waiting for the rest would only delay.
    let enough = config.peers.len() / 2;
    let mut agreeing = 0;
    while agreeing < enough && !waiting.is_empty() {
        let mut still = Vec::new();
        for id in waiting {
            match member.client.hello(config.peers[&id], config.id).await {
                Ok(Hello { cluster: Some(theirs), .. }) if Some(theirs) != dir.identity().cluster => {
                    tracing::error!(peer = id, addr = %config.peers[&id], %theirs, "a peer belongs to another cluster");
                    foreign.insert(id, theirs);
                }
                Ok(Hello { cluster: Some(_), .. }) => agreeing += 1,
                _ => still.push(id),
            }
        }
        waiting = still;
        if foreign.len() > config.peers.len() / 2 {
            return Err(MetaError::fatal(format!(
                "the data folder {} belongs to cluster {}, and the other members to {:?}; nothing was changed. Give this \
                 member its own folder, or correct `peers`",
                dir.path().display(),
                dir.identity().cluster.unwrap_or_default(),
                foreign.values().collect::<std::collections::BTreeSet<_>>()
            )));
        }
        if agreeing < enough && !waiting.is_empty() {
            tokio::time::sleep(ASK_AGAIN).await;
        }
    }
    Ok(())
}
