//! The other storage nodes, as a node's healing tasks see them: a question becomes a message of the world, and its answer
//! comes back as one, or never.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use sextant_redo::wire::{Reply, Request};
use sextant_redo::{MembershipEpoch, NodeId, SegmentId, VolumeId};
use sextant_segment_store::disk::LocalFuture;
use sextant_segment_store::host;
use sextant_segment_store::peers::{Membership, PeerError, Peers};
use tokio::sync::oneshot;

use super::agenda::SimHost;
use super::sabotage;
use crate::mutant::Mutant;

/// A peer that has not answered after so long is not waited for.
const PATIENCE: Duration = Duration::from_secs(1);

/// A question to another node.
pub(crate) struct Call {
    pub(crate) id: u64,
    pub(crate) to: NodeId,
    pub(crate) request: Request,
}

/// What the metadata service last told.
#[derive(Debug, Clone, Default)]
pub(crate) struct Told {
    /// Who is a member of what.
    pub(crate) groups: BTreeMap<SegmentId, Membership>,
    /// Who was, and may still have a copy.
    pub(crate) former: BTreeMap<SegmentId, Vec<NodeId>>,
    /// Volumes that were dropped.
    pub(crate) dropped: BTreeSet<VolumeId>,
}

/// See the module.
pub(crate) struct SimPeers {
    host: Rc<SimHost>,
    mutant: Option<Mutant>,
    told: RefCell<Told>,
    /// Copies that the node says to be gone, each under a membership epoch, since the world last asked.
    gone: RefCell<Vec<(SegmentId, MembershipEpoch)>>,
    /// Numbers are not used again, over all lives of the node: an answer to an earlier life finds nobody.
    next: Cell<u64>,
    waiting: RefCell<BTreeMap<u64, oneshot::Sender<Reply>>>,
    asked: RefCell<Vec<Call>>,
}

impl SimPeers {
    pub(crate) fn new(host: Rc<SimHost>, mutant: Option<Mutant>) -> SimPeers {
        SimPeers {
            host,
            mutant,
            told: RefCell::default(),
            gone: RefCell::default(),
            next: Cell::new(0),
            waiting: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// The metadata service tells.
    pub(crate) fn learn(&self, told: Told) {
        self.told.replace(told);
    }

    /// What the node has to tell the metadata service.
    pub(crate) fn take_gone(&self) -> Vec<(SegmentId, MembershipEpoch)> {
        self.gone.take()
    }

    /// Questions since the world last asked.
    pub(crate) fn take(&self) -> Vec<Call> {
        self.asked.take()
    }

    /// An answer has come; one that nobody waits for any more is dropped.
    pub(crate) fn answer(&self, id: u64, mut reply: Reply) {
        let waiting = self.waiting.borrow_mut().remove(&id);
        if let Some(waiting) = waiting {
            if let Some(mutant) = self.mutant {
                sabotage::answer(mutant, &mut reply);
            }
            // Who asked may have given up.
            let _ = waiting.send(reply);
        }
    }

    /// The process ends. The next one knows nothing until it is told.
    pub(crate) fn kill(&self) {
        self.told.take();
        self.waiting.borrow_mut().clear();
        self.asked.borrow_mut().clear();
        self.gone.borrow_mut().clear();
    }

    fn ask(&self, to: NodeId, request: Request) -> (u64, oneshot::Receiver<Reply>) {
        let id = self.next.get();
        self.next.set(id + 1);
        let (tell, told) = oneshot::channel();
        self.waiting.borrow_mut().insert(id, tell);
        self.asked.borrow_mut().push(Call { id, to, request });
        (id, told)
    }
}

impl Peers for SimPeers {
    fn members(&self, segment: SegmentId) -> Option<Membership> {
        let mut told = self.told.borrow().groups.get(&segment).cloned();
        if let (Some(Mutant::TailFreesEarly), Some(told)) = (self.mutant, &mut told) {
            told.full.truncate(1);
        }
        told
    }

    fn dropped(&self, volumes: Vec<VolumeId>) -> LocalFuture<'_, Vec<VolumeId>> {
        let told = self.told.borrow();
        let unnamed = self.mutant == Some(Mutant::DropUnnamed);
        let is_dropped = |volume: &VolumeId| unnamed || told.dropped.contains(volume);
        let dropped = volumes.into_iter().filter(is_dropped).collect();
        Box::pin(std::future::ready(dropped))
    }

    fn left(&self, node: NodeId) -> Vec<(SegmentId, MembershipEpoch)> {
        let told = self.told.borrow();
        let groups = told.former.iter().filter(|(_, nodes)| nodes.contains(&node));
        groups.filter_map(|(id, _)| Some((*id, told.groups.get(id)?.epoch))).collect()
    }

    fn copy_is_gone(&self, _: NodeId, segment: SegmentId, epoch: MembershipEpoch) -> LocalFuture<'_, ()> {
        self.gone.borrow_mut().push((segment, epoch));
        Box::pin(std::future::ready(()))
    }

    /// The metadata service tells every node ten times a second anyway.
    fn refresh(&self) {}

    fn call(&self, node: NodeId, request: Request) -> LocalFuture<'_, Result<Reply, PeerError>> {
        Box::pin(async move {
            let (id, told) = self.ask(node, request);
            let came = host::timeout(&*self.host, PATIENCE, told).await;
            self.waiting.borrow_mut().remove(&id);
            match came {
                Some(Ok(Reply::Error(error))) => Err(PeerError::Refused { node, error }),
                Some(Ok(reply)) => Ok(reply),
                _ => Err(PeerError::TimedOut { node }),
            }
        })
    }
}
