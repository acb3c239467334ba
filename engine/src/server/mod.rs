//! The front door: listens for PostgreSQL clients and gives each a session.
//!
//! What must hold: nothing a client sends can panic or take more memory than its message limit; every connection is in
//! the registry, so that a stop of the engine reaches it; a refused client is told why in its own protocol.

mod connection;
mod metrics;
mod polling;
mod registry;
mod startup;
mod threads;

use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::Semaphore;

use crate::session::End;
use crate::sql::Database;
use registry::Registry;
use threads::Threads;

/// Connections that may be in their startup beyond those in a session: enough for cancel requests on a full server.
const STARTUPS_EXTRA: usize = 64;

/// What a client may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Sessions at a time; one more is refused with 53300.
    pub connections_max: usize,
    /// Bytes of one message.
    pub message_bytes_max: usize,
    /// Time from accept to startup packet.
    pub startup: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits { connections_max: 1000, message_bytes_max: 64 << 20, startup: Duration::from_secs(10) }
    }
}

/// The front door of one database.
pub struct Server {
    database: Arc<Database>,
    registry: Arc<Registry>,
    limits: Limits,
    threads: Threads,
}

impl Server {
    /// A server that listens to nobody yet.
    ///
    /// # Errors
    /// There are no threads to be had for sessions.
    pub fn new(database: Arc<Database>, limits: Limits) -> std::io::Result<Arc<Server>> {
        let registry = Registry::new(limits.connections_max);
        Ok(Arc::new(Server { database, registry, limits, threads: Threads::start()? }))
    }

    /// Accepts clients for ever. Drop the future to accept no more; sessions go on until [`Server::end`].
    pub async fn accept(self: Arc<Server>, listener: TcpListener) {
        let starting = Arc::new(Semaphore::new(self.limits.connections_max.saturating_add(STARTUPS_EXTRA)));
        loop {
            match listener.accept().await {
                Ok((stream, peer)) => {
                    let Ok(permit) = Arc::clone(&starting).try_acquire_owned() else {
                        tracing::debug!(%peer, "dropped: too many connections");
                        continue;
                    };
                    let server = Arc::clone(&self);
                    let serve = async move |stream| {
                        connection::serve(stream, peer, server).await;
                        drop(permit);
                    };
                    if let Err(error) = self.threads.spawn(stream, serve) {
                        tracing::warn!(%peer, "a connection cannot be served: {error}");
                    }
                }
                Err(error) => {
                    // Out of file descriptors, mostly: it passes when somebody leaves.
                    tracing::warn!("cannot accept a connection: {error}");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        }
    }

    /// Sessions now.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.registry.len()
    }

    /// Ends every session and waits until they are gone, at most `grace`. True when they are.
    pub async fn end(&self, end: End, grace: Duration) -> bool {
        self.registry.end(end);
        tokio::time::timeout(grace, self.registry.emptied()).await.is_ok()
    }
}
