//! What a leader does unasked: names the cluster once, starts the leases of its term, shows who lives, replaces storage
//! nodes that are lost.

use std::fs::File;
use std::io::Read;
use std::time::Duration;

use sextant_redo::ClusterId;

use super::Member;
use crate::lease::Moment;
use crate::metrics::METRICS;
use crate::raft::Group;
use crate::replacement;
use crate::state::Command;

/// How often gauges are refreshed when nothing happens.
const REFRESH: Duration = Duration::from_millis(500);

/// How soon a cluster without a name is looked at again: everybody waits for it.
const NAME_AGAIN: Duration = Duration::from_millis(20);

/// Follows leadership for ever.
pub(super) async fn lead(member: &Member, group: &Group) {
    let mut led = None;
    let mut since = member.now();
    loop {
        let now = group.leadership();
        if now.leads {
            member.leases().lead(now.term, member.now());
        } else {
            member.leases().step_down();
        }
        let leads = now.leads.then_some(now.term);
        if led != leads {
            tracing::info!(leader = ?now.leader, term = now.term, role = now.role, "metadata leadership");
            led = leads;
            since = member.now();
        }
        METRICS.leader.set(i64::from(now.leads));
        METRICS.term.set(i64::try_from(now.term).unwrap_or(i64::MAX));
        METRICS.applied.set(i64::try_from(now.applied).unwrap_or(i64::MAX));
        METRICS.nodes_alive.set(if now.leads {
            i64::try_from(member.alive().len()).unwrap_or(i64::MAX)
        } else {
            0
        });
        let mut pause = REFRESH;
        if now.leads && member.store.read(|state| state.cluster).is_none() {
            name_cluster(group).await;
            pause = NAME_AGAIN;
        }
        if now.leads && now.confirmed {
            replace_lost(member, group, since).await;
        }
        tokio::select! {
            () = group.changed() => {}
            () = tokio::time::sleep(pause) => {}
        }
    }
}

/// Draws the cluster's id. Should two leaders draw one, the first in the log counts.
async fn name_cluster(group: &Group) {
    let cluster = match random() {
        Ok(random) => ClusterId(random),
        Err(error) => return tracing::error!(%error, "no random number for the cluster's id; trying again"),
    };
    match group.propose(Command::InitCluster { cluster }).await {
        Ok(applied) => tracing::info!(?applied, "the cluster has its id"),
        Err(error) => tracing::debug!(%error, "the cluster's id could not be committed yet"),
    }
}

/// Begins and reverts replacements of storage nodes that were silent for long, as heard since this member leads.
async fn replace_lost(member: &Member, group: &Group, since: Moment) {
    let Some(after) = member.config.replace_after() else { return };
    let heard = member.heard(since);
    for step in member.store.read(|state| replacement::decide(state, &heard, after)) {
        let what = step.to_string();
        match group.propose(step.clone()).await {
            Ok(_) => {
                tracing::warn!(what, step = ?step, "a storage node's silence changes a protection group")
            }
            Err(error) => tracing::debug!(what, %error, "a replacement could not be decided now"),
        }
        METRICS.replacements.with_label_values(&[what.as_str()]).inc();
    }
}

fn random() -> std::io::Result<u128> {
    let mut bytes = [0; 16];
    File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(u128::from_le_bytes(bytes))
}
