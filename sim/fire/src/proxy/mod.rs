//! A TCP proxy in front of one process, which commits the faults of a network.
//!
//! | module | idea |
//! | --- | --- |
//! | [`fault`] | what a link can do to bytes |
//! | [`connection`] | one proxied connection |
//! | [`pump`] | one way of it |
//!
//! What must hold: bytes of a connection arrive in order, whole and unchanged, or the connection ends; the one exception is
//! [`Fault::Corrupt`], and every connection that it touched is counted until it ends ([`Proxy::tainted`]). A fault that
//! is over leaves no trace on connections made afterwards.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use sextant_sim::rng::Rng;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

mod connection;
mod fault;
mod pump;
#[cfg(test)]
mod tests;

pub use fault::{Fault, Silence};

/// What a proxy has done.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    /// Connections accepted.
    pub(crate) connections: AtomicU64,
    /// Connections that the proxy reset.
    pub(crate) resets: AtomicU64,
    /// Bits flipped.
    pub(crate) flips: AtomicU64,
    /// Connections open now that had a bit flipped.
    pub(crate) tainted: AtomicU64,
}

/// A proxy; it ends, with all its connections, when dropped.
#[derive(Debug)]
pub struct Proxy {
    fault: watch::Sender<Fault>,
    counters: Arc<Counters>,
    serving: JoinHandle<()>,
}

impl Proxy {
    /// Listens on `listen` for `target`. Randomness comes from `seed`. To be called on a runtime.
    pub async fn start(listen: SocketAddr, target: SocketAddr, seed: u64) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind(listen).await?;
        let (fault, rules) = watch::channel(Fault::None);
        let counters = Arc::new(Counters::default());
        let serving = tokio::spawn(serve(listener, target, rules, Arc::clone(&counters), Rng::new(seed)));
        Ok(Proxy { fault, counters, serving })
    }

    /// Switches the link's state.
    pub fn set(&self, fault: Fault) {
        self.fault.send_replace(fault);
    }

    /// Connections open now that had a bit flipped: whoever received it has not closed them yet.
    #[must_use]
    pub fn tainted(&self) -> u64 {
        self.counters.tainted.load(Ordering::SeqCst)
    }

    /// Bits flipped so far.
    #[must_use]
    pub fn flips(&self) -> u64 {
        self.counters.flips.load(Ordering::SeqCst)
    }

    /// Connections accepted, and those that the proxy reset.
    #[must_use]
    pub fn connections(&self) -> (u64, u64) {
        (self.counters.connections.load(Ordering::SeqCst), self.counters.resets.load(Ordering::SeqCst))
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

async fn serve(
    listener: TcpListener,
    target: SocketAddr,
    rules: watch::Receiver<Fault>,
    counters: Arc<Counters>,
    mut rng: Rng,
) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((client, _)) => {
                    counters.connections.fetch_add(1, Ordering::SeqCst);
                    let (rules, counters, rng) = (rules.clone(), Arc::clone(&counters), rng.fork());
                    connections.spawn(connection::run(client, target, rules, counters, rng));
                }
                // Out of file descriptors, for a moment.
                Err(_) => tokio::time::sleep(std::time::Duration::from_millis(50)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// Ends a connection as a crashed machine does: with RST, whatever was on its way being lost.
fn reset(stream: &TcpStream) {
    // A socket that cannot be told is closed in the ordinary way when dropped.
    let _ = stream.set_zero_linger();
}
