//! The node as its own peer: what came from others goes the way of every request, through admission, the queue and the
//! log, and is answered when it is durable.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;

use sextant_redo::wire::{Reply, Request, SegmentError};
use tokio::sync::oneshot;

use crate::core::{Answer, Entry, Ticket};
use crate::node::Node;
use crate::server::ReplySink;

/// No listener gives this number to a connection.
const CONNECTION: u64 = u64::MAX;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct Own {
    waiting: RefCell<BTreeMap<u64, oneshot::Sender<Reply>>>,
    next: Cell<u64>,
}

impl Own {
    /// The node's own connection to itself.
    pub(crate) fn connect(node: &Node) -> Rc<Own> {
        let own = Rc::new(Own::default());
        node.connect(CONNECTION, own.clone());
        own
    }

    fn ticket(&self) -> (Ticket, oneshot::Receiver<Reply>) {
        let request = self.next.get();
        self.next.set(request + 1);
        let (sender, receiver) = oneshot::channel();
        self.waiting.borrow_mut().insert(request, sender);
        (Ticket { connection: CONNECTION, request }, receiver)
    }

    /// Asks the node itself. The request is taken before this is first waited for.
    pub(crate) fn ask(
        &self,
        node: &Rc<Node>,
        request: Request,
    ) -> impl Future<Output = Result<Reply, SegmentError>> + use<> {
        let (ticket, receiver) = self.ticket();
        node.on_request(ticket, request);
        answered(receiver)
    }

    /// Puts an entry into the log that no request makes.
    pub(crate) fn write(
        &self,
        node: &Rc<Node>,
        entry: Entry,
    ) -> impl Future<Output = Result<Reply, SegmentError>> + use<> {
        let (ticket, receiver) = self.ticket();
        let answer = Answer::State(entry.segment());
        node.enqueue(Some(entry), Some((ticket, answer)));
        answered(receiver)
    }
}

async fn answered(receiver: oneshot::Receiver<Reply>) -> Result<Reply, SegmentError> {
    match receiver.await {
        Ok(Reply::Error(error)) => Err(error),
        Ok(reply) => Ok(reply),
        Err(_) => Err(SegmentError::Stopping { what: "the node is being closed".into() }),
    }
}

impl ReplySink for Own {
    fn push(&self, request: u64, reply: &Reply) {
        if let Some(waiting) = self.waiting.borrow_mut().remove(&request) {
            // Who asked may have given up.
            let _ = waiting.send(reply.clone());
        }
    }

    fn flush(&self) {}
}
