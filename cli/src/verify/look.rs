//! The cluster at one moment: what the metadata service says, and then what every storage node says.

use std::collections::BTreeMap;
use std::time::Instant;

use sextant_meta::{ClusterView, MetaClient, MetaError, NodeInfo, PgInfo, VolumeInfo};
use sextant_redo::wire::SegmentState;
use sextant_redo::{Lsn, NodeId, SegmentId};
use sextant_segment_store::admin::{AdminClient, AdminError};
use sextant_volume::quorum::QuorumSet;
use tokio::task::JoinSet;

use super::PATIENCE;

/// What one node said.
pub(crate) type States = Result<Vec<SegmentState>, String>;

/// A connection to every node that takes one.
pub(crate) struct Nodes {
    clients: BTreeMap<NodeId, Result<AdminClient, String>>,
}

impl Nodes {
    /// Connects to all at the same time.
    pub(crate) async fn connect(view: &ClusterView) -> Nodes {
        let mut connecting = JoinSet::new();
        for NodeInfo { id, addr, .. } in &view.nodes {
            let (cluster, id, addr) = (view.cluster, *id, *addr);
            connecting.spawn(async move {
                let client = AdminClient::connect(addr, cluster, id, PATIENCE).await;
                (id, client.map_err(|error| error.to_string()))
            });
        }
        Nodes { clients: connecting.join_all().await.into_iter().collect() }
    }

    /// Asks all at the same time. A connection that breaks stays broken.
    pub(crate) async fn states(&mut self) -> BTreeMap<NodeId, States> {
        let mut asking = JoinSet::new();
        let mut states = BTreeMap::new();
        for (id, client) in std::mem::take(&mut self.clients) {
            match client {
                Ok(mut client) => {
                    asking.spawn(async move {
                        let states = client.status().await;
                        (id, client, states)
                    });
                }
                Err(why) => {
                    states.insert(id, Err(why.clone()));
                    self.clients.insert(id, Err(why));
                }
            }
        }
        for (id, client, answer) in asking.join_all().await {
            let answer = answer.map_err(|error: AdminError| error.to_string());
            self.clients.insert(id, answer.as_ref().map(|_| client).map_err(Clone::clone));
            states.insert(id, answer);
        }
        states
    }

    /// The connection to a node.
    pub(crate) fn client(&mut self, node: NodeId) -> Option<&mut AdminClient> {
        self.clients.get_mut(&node)?.as_mut().ok()
    }
}

/// The metadata service's view, and then every node's states.
pub(crate) struct Look {
    pub(crate) asked: Instant,
    pub(crate) answered: Instant,
    pub(crate) view: ClusterView,
    pub(crate) states: BTreeMap<NodeId, States>,
}

/// A protection group in a look.
pub(crate) struct Group<'a> {
    pub(crate) volume: &'a VolumeInfo,
    pub(crate) info: &'a PgInfo,
    pub(crate) segment: SegmentId,
    /// The copies that answered.
    pub(crate) copies: Vec<(NodeId, SegmentState)>,
    /// Members that did not, and why.
    pub(crate) silent: Vec<String>,
}

impl Look {
    /// Looks now.
    pub(crate) async fn take(meta: &MetaClient) -> Result<Look, MetaError> {
        let asked = Instant::now();
        let view = meta.cluster().await?;
        let answered = Instant::now();
        let states = Nodes::connect(&view).await.states().await;
        Ok(Look { asked, answered, view, states })
    }

    /// Its protection groups, of all volumes.
    pub(crate) fn groups(&self) -> impl Iterator<Item = Group<'_>> {
        groups(&self.view, &self.states)
    }

    /// What the copy of `segment` on `node` said.
    pub(crate) fn copy(&self, node: NodeId, segment: SegmentId) -> Option<&SegmentState> {
        self.states.get(&node)?.as_ref().ok()?.iter().find(|state| state.segment == segment)
    }
}

/// The protection groups of `view`, with what was said of each.
pub(crate) fn groups<'a>(
    view: &'a ClusterView,
    states: &'a BTreeMap<NodeId, States>,
) -> impl Iterator<Item = Group<'a>> {
    view.volumes.iter().flat_map(move |volume| {
        volume.pgs.iter().map(move |info| {
            let segment = SegmentId { volume: volume.id, pg: info.pg };
            let (mut copies, mut silent) = (Vec::new(), Vec::new());
            for member in &info.members {
                let said = match states.get(&member.node) {
                    None => Err("it is not registered".to_owned()),
                    Some(Err(why)) => Err(why.clone()),
                    Some(Ok(states)) => states
                        .iter()
                        .find(|state| state.segment == segment)
                        .ok_or_else(|| format!("it has no segment of group {}", info.pg)),
                };
                match said {
                    Ok(state) => copies.push((member.node, state.clone())),
                    Err(why) => silent.push(format!("node {}: {why}", member.node)),
                }
            }
            Group { volume, info, segment, copies, silent }
        })
    })
}

impl Group<'_> {
    /// The copies that know of the newest opening that any knows. What an older one has beyond them may be void.
    fn current(&self) -> impl Iterator<Item = &(NodeId, SegmentState)> {
        let newest = self.copies.iter().map(|(_, state)| state.epochs.volume).max();
        self.copies.iter().filter(move |(_, state)| Some(state.epochs.volume) == newest)
    }

    /// Every record that is on a write quorum lies at or below, whatever the other copies have. None when too few
    /// answer to say so.
    pub(crate) fn quorum_scl(&self) -> Option<Lsn> {
        let place = |node: NodeId| self.info.members.iter().position(|member| member.node == node);
        let mut scls = vec![Lsn::MAX; self.info.members.len()];
        for (node, state) in self.current() {
            scls[place(*node)?] = state.scl;
        }
        let quorums = QuorumSet::of_group(self.info, |node| place(node).unwrap_or_default());
        Some(quorums.write.point(&scls)).filter(|point| *point < Lsn::MAX)
    }

    /// The most complete copy.
    pub(crate) fn best(&self) -> Option<&(NodeId, SegmentState)> {
        self.current().max_by_key(|(_, state)| state.scl)
    }
}
