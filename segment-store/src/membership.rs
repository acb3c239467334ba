//! A node among others: registered at the metadata service, and telling it twice a second that it lives.
//!
//! The metadata service is not needed to store or to serve: a node that knows who it is serves at once after a restart
//! and registers when it can.

use std::net::SocketAddr;
use std::time::Duration;

use sextant_meta::{MetaClient, MetaError};
use sextant_redo::{AzId, ClusterId, NodeId};

/// Between two heartbeats.
const HEARTBEAT: Duration = Duration::from_millis(500);
/// Between two attempts to register.
const REGISTER_RETRY: Duration = Duration::from_millis(500);

/// What a node tells about itself.
#[derive(Debug, Clone)]
pub(crate) struct Registration {
    pub(crate) meta: MetaClient,
    pub(crate) uuid: String,
    pub(crate) az: AzId,
    pub(crate) addr: SocketAddr,
    pub(crate) http: SocketAddr,
}

impl Registration {
    /// Registers, trying until the metadata service is reachable. Fails only when it refuses.
    pub(crate) async fn register(
        &self,
        cluster: Option<ClusterId>,
    ) -> Result<(ClusterId, NodeId), MetaError> {
        let mut failures = 0u32;
        loop {
            let asked = self.meta.register_node(&self.uuid, self.az, self.addr, self.http, cluster).await;
            match asked {
                Ok((cluster, node)) => {
                    tracing::info!(%cluster, %node, az = %self.az, addr = %self.addr, "registered at the metadata service");
                    return Ok((cluster, node));
                }
                Err(error) if error.is_retryable() => {
                    // Said at once, then every ten seconds or so.
                    if failures.is_multiple_of(10) {
                        tracing::warn!(%error, "cannot register at the metadata service yet; trying on");
                    }
                    failures += 1;
                    tokio::time::sleep(REGISTER_RETRY).await;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Sends heartbeats for ever; says when the service goes away and when it is back.
    pub(crate) async fn heartbeats(&self, node: NodeId) {
        let mut reachable = true;
        loop {
            match self.meta.heartbeat(node).await {
                Ok(()) if !reachable => {
                    tracing::info!("the metadata service answers again");
                    reachable = true;
                }
                Ok(()) => {}
                Err(error) if reachable => {
                    tracing::warn!(%error, "heartbeat failed; serving goes on");
                    reachable = false;
                }
                Err(_) => {}
            }
            tokio::time::sleep(HEARTBEAT).await;
        }
    }
}
