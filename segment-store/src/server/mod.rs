//! The network side of a storage node: connections, replies, requests for the log.

mod connection;
pub(crate) mod logread;
mod outbox;
pub(crate) mod pageread;
#[cfg(test)]
mod tests;

use std::rc::Rc;

use sextant_redo::wire::Reply;
use tokio::net::TcpListener;

use crate::metrics::METRICS;
use crate::node::Node;

use outbox::Outbox;

/// Where the answers to one connection's requests go.
pub trait ReplySink {
    /// Adds the answer to request `request`; [`ReplySink::flush`] sends it.
    fn push(&self, request: u64, reply: &Reply);

    /// Sends what was added.
    fn flush(&self);

    /// Sends what was added, and what else is added in this turn of the thread.
    fn flush_soon(&self) {
        self.flush();
    }
}

/// Accepts connections until dropped.
pub async fn serve(node: Rc<Node>, listener: TcpListener) {
    let mut next = 0;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                next += 1;
                tokio::task::spawn_local(connection::run(node.clone(), next, stream, peer));
            }
            Err(error) => {
                // Out of descriptors, most likely: those who are connected go on.
                METRICS.error("accept");
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(std::time::Duration::from_millis(100)).await;
            }
        }
    }
}
