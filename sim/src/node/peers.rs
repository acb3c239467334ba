//! The other storage nodes, as a node's healing tasks see them: a question becomes a message of the world, and its answer
//! comes back as one, or never.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use sextant_redo::wire::{Reply, Request};
use sextant_redo::{NodeId, SegmentId};
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

/// Who is a member of what, as the metadata service last told.
pub(crate) type Groups = BTreeMap<SegmentId, Membership>;

/// See the module.
pub(crate) struct SimPeers {
    host: Rc<SimHost>,
    mutant: Option<Mutant>,
    groups: RefCell<Groups>,
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
            groups: RefCell::default(),
            next: Cell::new(0),
            waiting: RefCell::default(),
            asked: RefCell::default(),
        }
    }

    /// The metadata service tells who the members are.
    pub(crate) fn learn(&self, groups: Groups) {
        self.groups.replace(groups);
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

    /// The process ends.
    pub(crate) fn kill(&self) {
        self.waiting.borrow_mut().clear();
        self.asked.borrow_mut().clear();
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
        self.groups.borrow().get(&segment).cloned()
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
