//! Asks every process of a cluster where it stands.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use sextant_meta::{ClusterView, MetaClient, NodeInfo, PgInfo, VolumeInfo, WriterInfo};
use sextant_node::http_get;
use sextant_redo::wire::SegmentState;
use sextant_redo::{ClusterId, Lsn, NodeId, SegmentId, VolumeId};
use sextant_segment_store::admin::{AdminClient, AdminError};
use tokio::task::JoinSet;
use tokio::time::timeout;

use super::StatusError;
use super::report::{Leftover, Member, Node, Pg, Report, Segment, Space, Volume, Writer};

/// How long any one process may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) type States = Result<Vec<SegmentState>, String>;

/// Asks all at the same time.
pub(crate) async fn collect(meta: Vec<SocketAddr>) -> Result<Report, StatusError> {
    let view = MetaClient::new(meta).with_deadline(PATIENCE * 2).cluster().await?;
    let (states, spaces) = tokio::join!(ask_nodes(&view), ask_spaces(&view));
    let mut volumes = Vec::new();
    for info in &view.volumes {
        volumes.push(volume(info, &states).await);
    }
    let member = |member: &sextant_meta::MetaMember| Member { id: member.id, address: member.addr };
    Ok(Report {
        cluster: view.cluster,
        leader: view.leader,
        term: view.term,
        members: view.members.iter().map(member).collect(),
        nodes: view.nodes.iter().map(|info| node(info, &states, spaces.get(&info.id).copied())).collect(),
        leftovers: leftovers(&view, &states),
        volumes,
    })
}

/// Copies that no group counts: of volumes that were dropped, on nodes that were replaced.
fn leftovers(view: &ClusterView, states: &BTreeMap<NodeId, States>) -> Vec<Leftover> {
    let is_member = |node: NodeId, segment: SegmentId| {
        let volume = view.volumes.iter().find(|volume| volume.id == segment.volume);
        let pg = volume.and_then(|volume| volume.pgs.iter().find(|pg| pg.pg == segment.pg));
        pg.is_some_and(|pg| pg.members.iter().any(|member| member.node == node))
    };
    let told = states.iter().filter_map(|(node, states)| Some((*node, states.as_ref().ok()?)));
    let copies = told.flat_map(|(node, states)| states.iter().map(move |state| (node, state.segment)));
    let left = copies.filter(|(node, segment)| !is_member(*node, *segment));
    left.map(|(node, segment)| Leftover { node, volume: segment.volume, pg: segment.pg }).collect()
}

fn node(info: &NodeInfo, states: &BTreeMap<NodeId, States>, space: Option<Space>) -> Node {
    Node {
        space,
        id: info.id,
        az: info.az,
        address: info.addr,
        http: info.http,
        alive: info.alive,
        error: states.get(&info.id).and_then(|states| states.as_ref().err().cloned()),
    }
}

async fn volume(info: &VolumeInfo, states: &BTreeMap<NodeId, States>) -> Volume {
    let writer = match &info.writer {
        Some(writer) => Some(ask_writer(writer).await),
        None => None,
    };
    Volume {
        id: info.id,
        name: info.name.clone(),
        epoch: info.epoch,
        geometry_epoch: info.geometry_epoch,
        segments: info.segments,
        writer,
        pgs: info.pgs.iter().map(|pg| protection_group(info.id, pg, states)).collect(),
    }
}

fn protection_group(volume: VolumeId, info: &PgInfo, states: &BTreeMap<NodeId, States>) -> Pg {
    let segment = |member: &sextant_meta::Member| {
        let state = match states.get(&member.node) {
            None => Err("the node is not registered".to_owned()),
            Some(Err(error)) => Err(error.clone()),
            Some(Ok(states)) => states
                .iter()
                .find(|state| state.segment.volume == volume && state.segment.pg == info.pg)
                .ok_or_else(|| "the node has no such segment".to_owned()),
        };
        Segment {
            node: member.node,
            az: member.az,
            kind: member.kind,
            epoch: state.as_ref().ok().map(|state| state.epochs.volume),
            scl: state.as_ref().ok().map(|state| state.scl),
            error: state.err(),
        }
    };
    Pg::new(info, info.members.iter().map(segment).collect())
}

async fn ask_writer(info: &WriterInfo) -> Writer {
    let (vdl, error) = match http_get::health(&info.http, PATIENCE).await {
        Ok(health) => (health["detail"]["vdl"].as_u64().map(Lsn), None),
        Err(error) => (None, Some(error)),
    };
    Writer { instance: info.instance.clone(), address: info.advertise.clone(), epoch: info.epoch, vdl, error }
}

/// The segments of every node, or why it did not tell.
pub(crate) async fn ask_nodes(view: &ClusterView) -> BTreeMap<NodeId, States> {
    let mut asking = JoinSet::new();
    for NodeInfo { id, addr, .. } in &view.nodes {
        let (cluster, id, addr) = (view.cluster, *id, *addr);
        asking.spawn(async move {
            let states = match timeout(PATIENCE, ask_node(cluster, id, addr)).await {
                Ok(states) => states.map_err(|error| error.to_string()),
                Err(_) => Err(format!("no answer within {PATIENCE:?}")),
            };
            (id, states)
        });
    }
    asking.join_all().await.into_iter().collect()
}

/// What of its device each node uses; nothing of those that do not tell.
async fn ask_spaces(view: &ClusterView) -> BTreeMap<NodeId, Space> {
    let mut asking = JoinSet::new();
    for NodeInfo { id, http, .. } in &view.nodes {
        let (id, http) = (*id, http.to_string());
        asking.spawn(async move {
            let health = http_get::health(&http, PATIENCE).await.ok()?;
            let bytes = |name: &str| health["detail"][name].as_u64();
            let (log_bytes, page_bytes) = (bytes("log_bytes")?, bytes("page_bytes")?);
            Some((id, Space { log_bytes, page_bytes, page_free_bytes: bytes("page_free_bytes")? }))
        });
    }
    asking.join_all().await.into_iter().flatten().collect()
}

async fn ask_node(
    cluster: ClusterId,
    node: NodeId,
    addr: SocketAddr,
) -> Result<Vec<SegmentState>, AdminError> {
    AdminClient::connect(addr, cluster, node, PATIENCE).await?.status().await
}
