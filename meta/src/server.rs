//! A metadata process: start-up with its refusals, one TCP port for clients and peers, and the leader's duties.
//!
//! What must hold:
//! - A member that forgot its votes must not vote again. A folder that was bound to a cluster but has no Raft history is
//!   refused; so is an empty folder when any peer knows this member with another one. For that, a first start waits
//!   until every peer has answered once. (A member that loses its folder in the moment between its first vote and
//!   being put on record is not recognised; the record is made as soon as the group has its first leader.)
//! - A folder stays with its cluster and its member id.
//! - A failed disk write ends the process.

mod connection;
mod duties;
mod requests;
mod startup;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use sextant_node::http::{self, Health};
use sextant_node::identity::DataDir;
use sextant_node::net;
use sextant_redo::NodeId;

use crate::lease::{Leases, Moment};
use crate::raft::{Group, Store};
use crate::replacement::Heard;
use crate::{MetaClient, MetaConfig, MetaError, Result};

/// A storage node whose heartbeat is younger lives.
const ALIVE: Duration = Duration::from_secs(3);
/// The file in the data folder.
const FILE: &str = "meta.redb";

/// Runs one metadata member until `shutdown` resolves, or until it cannot go on: [`MetaError::Fatal`] or
/// [`MetaError::Refused`], after which the process must end with a non-zero code.
pub async fn run(config: MetaConfig, shutdown: impl Future<Output = ()>) -> Result<()> {
    config.check()?;
    let mut dir = DataDir::open(&config.data, "meta").map_err(MetaError::fatal)?;
    let store = Store::open(&dir.path().join(FILE), config.id).await?;
    startup::check_folder(&mut dir, &store, config.id)?;
    serve(config, &mut dir, store, shutdown).await
}

/// Serves from a folder and store that were checked.
async fn serve(
    config: MetaConfig,
    dir: &mut DataDir,
    store: Store,
    shutdown: impl Future<Output = ()>,
) -> Result<()> {
    let listener = net::bind(config.listen, "metadata").await.map_err(MetaError::fatal)?;
    let member = Arc::new(Member::new(config, store));
    // Weak: the HTTP task must not keep the file open when this member has ended.
    let health = Arc::downgrade(&member);
    http::serve(member.config.http, move || health_of(&health)).await.map_err(MetaError::fatal)?;
    tracing::info!(id = member.config.id, listen = %member.config.listen, "metadata member starts");

    let result = tokio::select! {
        () = shutdown => Ok(()),
        () = connection::accept(listener, Arc::clone(&member)) => Ok(()),
        stopped = startup::live(&member, dir) => stopped,
    };
    if let Some(group) = member.group.get() {
        group.shutdown().await;
    }
    result
}

/// One member, shared by its tasks.
struct Member {
    config: MetaConfig,
    store: Store,
    /// Set once Raft runs.
    group: OnceLock<Group>,
    /// Speaks to the group, this member included.
    client: MetaClient,
    leases: Mutex<Leases>,
    /// Heartbeats of storage nodes heard here.
    beats: Mutex<BTreeMap<NodeId, Moment>>,
    /// Where this process's monotonic time starts.
    epoch: Instant,
}

impl Member {
    fn new(config: MetaConfig, store: Store) -> Member {
        Member {
            store,
            group: OnceLock::new(),
            client: MetaClient::new(config.peers.values().copied().collect()),
            leases: Mutex::new(Leases::new(config.lease())),
            beats: Mutex::default(),
            epoch: Instant::now(),
            config,
        }
    }

    fn now(&self) -> Moment {
        self.epoch.elapsed()
    }

    fn group(&self) -> Result<&Group> {
        self.group.get().ok_or_else(|| MetaError::unavailable("this member is starting"))
    }

    fn leases(&self) -> MutexGuard<'_, Leases> {
        self.leases.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Notes that `node` was heard.
    fn beat(&self, node: NodeId) {
        let now = self.now();
        self.beats.lock().unwrap_or_else(PoisonError::into_inner).insert(node, now);
    }

    /// Nodes heard lately.
    fn alive(&self) -> BTreeSet<NodeId> {
        let now = self.now();
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner);
        beats.iter().filter(|(_, at)| now.saturating_sub(**at) < ALIVE).map(|(node, _)| *node).collect()
    }

    /// Every registered node, as one sees it who listens since `led`.
    fn heard(&self, led: Moment) -> Heard {
        let beats = self.beats.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let last = |node: &NodeId| (*node, beats.get(node).copied());
        self.store.read(|state| Heard::judge(state.nodes.keys().map(last), led, self.now(), ALIVE))
    }
}

fn health_of(member: &Weak<Member>) -> Health {
    let Some(member) = member.upgrade() else {
        return Health { ok: false, detail: serde_json::json!({ "role": "stopped" }) };
    };
    let cluster = member.store.read(|state| state.cluster);
    let mut detail = serde_json::json!({ "id": member.config.id, "cluster": cluster, "role": "starting" });
    let Some(group) = member.group.get() else { return Health { ok: false, detail } };
    let now = group.leadership();
    detail["role"] = now.role.into();
    detail["leader"] = now.leader.into();
    detail["term"] = now.term.into();
    detail["applied"] = now.applied.into();
    // A leader without a quorum can answer nothing; a follower can point at a leader.
    let ok = cluster.is_some() && if now.leads { now.confirmed } else { now.leader.is_some() };
    Health { ok, detail }
}
