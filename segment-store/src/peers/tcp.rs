//! Peers over TCP: one connection a node, made when it is first needed and again when it broke. Requests share it, told
//! apart by their ids. Who the peers are is asked of the metadata service every few seconds, and at once when a peer knows
//! more.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use sextant_meta::MetaClient;
use sextant_node::net::{self, FrameReader};
use sextant_redo::frame;
use sextant_redo::wire::{PeerKind, Reply, Request};
use sextant_redo::{ClusterId, MembershipEpoch, NodeId, SegmentId, VolumeId};
use tokio::io::AsyncWriteExt;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::sync::{Mutex, Notify, oneshot};
use tokio::task::{AbortHandle, spawn_local};

use super::{Membership, PeerError, Peers};
use crate::disk::LocalFuture;

/// A peer that has not answered after so long is not waited for: another one is asked.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// Between two looks at the members.
const REFRESH: Duration = Duration::from_secs(5);
/// However often peers say that the member set is stale.
const REFRESH_MIN: Duration = Duration::from_millis(250);

/// What the metadata service last told.
#[derive(Debug, Default)]
struct View {
    groups: BTreeMap<SegmentId, Membership>,
    /// Nodes that have left, by group.
    left: BTreeMap<SegmentId, Vec<NodeId>>,
    addrs: BTreeMap<NodeId, SocketAddr>,
}

/// See the module.
pub struct TcpPeers {
    cluster: ClusterId,
    meta: MetaClient,
    view: RefCell<View>,
    links: RefCell<BTreeMap<NodeId, Rc<Mutex<Option<Link>>>>>,
    stale: Notify,
}

/// One connection.
struct Link {
    addr: SocketAddr,
    write: OwnedWriteHalf,
    calls: Rc<Calls>,
    reader: AbortHandle,
}

#[derive(Default)]
struct Calls {
    waiting: RefCell<BTreeMap<u64, oneshot::Sender<Reply>>>,
    next: Cell<u64>,
    broken: Cell<bool>,
}

impl Drop for Link {
    fn drop(&mut self) {
        self.reader.abort();
    }
}

impl TcpPeers {
    /// Peers of a node of `cluster`. To be called on the node's thread; asks the metadata service until dropped.
    #[must_use]
    pub fn start(cluster: ClusterId, meta: MetaClient) -> Rc<TcpPeers> {
        let peers = Rc::new(TcpPeers {
            cluster,
            meta,
            view: RefCell::default(),
            links: RefCell::default(),
            stale: Notify::new(),
        });
        let weak = Rc::downgrade(&peers);
        spawn_local(async move {
            while let Some(peers) = weak.upgrade() {
                peers.look().await;
                tokio::time::sleep(REFRESH_MIN).await;
                let stale = peers.stale.notified();
                let _ = tokio::time::timeout(REFRESH - REFRESH_MIN, stale).await;
            }
        });
        peers
    }

    async fn look(&self) {
        // Not reachable: the members of a moment ago are still members, or will say that they are not.
        let Ok(view) = self.meta.cluster().await else { return };
        if view.cluster != self.cluster {
            return tracing::warn!(theirs = %view.cluster, "the metadata service is another cluster's; it is not listened to");
        }
        let addrs = view.nodes.iter().map(|node| (node.id, node.addr)).collect();
        let (mut groups, mut left) = (BTreeMap::new(), BTreeMap::new());
        for volume in &view.volumes {
            for group in &volume.pgs {
                let members = group.members.iter().map(|member| member.node).collect();
                let full = group.members.iter().filter(|m| m.kind.is_full()).map(|m| m.node).collect();
                let id = SegmentId { volume: volume.id, pg: group.pg };
                groups.insert(id, Membership { epoch: group.membership, members, full });
                left.insert(id, group.former.clone());
            }
        }
        self.view.replace(View { groups, left, addrs });
    }

    async fn ask(&self, node: NodeId, request: &Request) -> Result<Reply, PeerError> {
        let unreachable = |why: String| PeerError::Unreachable { node, why };
        let addr = self.view.borrow().addrs.get(&node).copied();
        let addr = addr.ok_or_else(|| unreachable("its address is not known".into()))?;
        let link = self.links.borrow_mut().entry(node).or_default().clone();
        let answer = {
            let mut link = link.lock().await;
            if link.as_ref().is_none_or(|link| link.addr != addr || link.calls.broken.get()) {
                *link = None;
                *link = Some(connect(self.cluster, node, addr).await.map_err(unreachable)?);
            }
            let Some(open) = link.as_mut() else {
                return Err(unreachable("no connection".into()));
            };
            match open.send(request).await {
                Ok(answer) => answer,
                Err(why) => {
                    *link = None;
                    return Err(unreachable(why));
                }
            }
        };
        answer.await.map_err(|_| unreachable("the connection broke".into()))
    }
}

impl Link {
    async fn send(&mut self, request: &Request) -> Result<oneshot::Receiver<Reply>, String> {
        let id = self.calls.next.get();
        self.calls.next.set(id + 1);
        let (sender, receiver) = oneshot::channel();
        self.calls.waiting.borrow_mut().insert(id, sender);
        let mut bytes = Vec::new();
        frame::encode(&mut bytes, request.kind(), id, &request.payload());
        self.write.write_all(&bytes).await.map_err(|error| error.to_string())?;
        Ok(receiver)
    }
}

async fn connect(cluster: ClusterId, node: NodeId, addr: SocketAddr) -> Result<Link, String> {
    let stream = net::connect(addr, CALL_TIMEOUT).await.map_err(|error| error.to_string())?;
    let (read, write) = stream.into_split();
    let calls = Rc::new(Calls::default());
    let reader = spawn_local(read_replies(FrameReader::new(read), calls.clone())).abort_handle();
    let mut link = Link { addr, write, calls, reader };
    let hello = Request::Hello { cluster, node, peer: PeerKind::Storage };
    match link.send(&hello).await?.await {
        Ok(Reply::Hello { cluster: theirs, node: who }) if (theirs, who) == (cluster, node) => Ok(link),
        Ok(other) => Err(format!("it introduced itself with {other:?}")),
        Err(_) => Err("it closed the connection".into()),
    }
}

async fn read_replies(mut reader: FrameReader<OwnedReadHalf>, calls: Rc<Calls>) {
    while let Ok(Some(frame)) = reader.next().await {
        let Ok(reply) = Reply::decode(frame.kind, &frame.payload) else { break };
        let waiting = calls.waiting.borrow_mut().remove(&frame.request);
        if let Some(waiting) = waiting {
            // Who asked may have given up.
            let _ = waiting.send(reply);
        }
    }
    calls.broken.set(true);
    // Whoever waits hears that nothing will come.
    calls.waiting.borrow_mut().clear();
}

impl Peers for TcpPeers {
    fn members(&self, segment: SegmentId) -> Option<Membership> {
        self.view.borrow().groups.get(&segment).cloned()
    }

    fn dropped(&self, volumes: Vec<VolumeId>) -> LocalFuture<'_, Vec<VolumeId>> {
        Box::pin(async move { self.meta.dropped(self.cluster, &volumes).await.unwrap_or_default() })
    }

    fn left(&self, node: NodeId) -> Vec<(SegmentId, MembershipEpoch)> {
        let view = self.view.borrow();
        let groups = view.left.iter().filter(|(_, nodes)| nodes.contains(&node));
        groups.filter_map(|(id, _)| Some((*id, view.groups.get(id)?.epoch))).collect()
    }

    fn copy_is_gone(&self, node: NodeId, segment: SegmentId, epoch: MembershipEpoch) -> LocalFuture<'_, ()> {
        Box::pin(async move {
            let SegmentId { volume, pg } = segment;
            match self.meta.copy_gone(volume, pg, epoch, node).await {
                Ok(()) => tracing::info!(?segment, "this node may be chosen for the group again"),
                Err(error) => tracing::debug!(?segment, %error, "the metadata service did not take note yet"),
            }
            self.refresh();
        })
    }

    fn refresh(&self) {
        self.stale.notify_one();
    }

    fn call(&self, node: NodeId, request: Request) -> LocalFuture<'_, Result<Reply, PeerError>> {
        Box::pin(async move {
            match tokio::time::timeout(CALL_TIMEOUT, self.ask(node, &request)).await {
                Ok(Ok(Reply::Error(error))) => Err(PeerError::Refused { node, error }),
                Ok(answer) => answer,
                Err(_) => {
                    // Nobody knows what still comes on that connection: the next call makes another.
                    self.links.borrow_mut().remove(&node);
                    Err(PeerError::TimedOut { node })
                }
            }
        })
    }
}
