//! One proxied connection: a pump each way, ended together.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sextant_sim::rng::Rng;
use tokio::net::TcpStream;
use tokio::sync::watch;

use super::fault::{Fault, Way};
use super::pump::{self, Pump};
use super::{Counters, reset};

/// How long connecting to the process behind may take; on loopback it is refused at once or there.
const CONNECT_LIMIT: Duration = Duration::from_secs(2);

/// Marks a connection in which a bit was flipped, until it ends.
pub(super) struct Taint {
    set: AtomicBool,
    counters: Arc<Counters>,
}

impl Taint {
    /// A bit was flipped.
    pub(super) fn flip(&self) {
        self.counters.flips.fetch_add(1, Ordering::SeqCst);
        if !self.set.swap(true, Ordering::SeqCst) {
            self.counters.tainted.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Drop for Taint {
    fn drop(&mut self) {
        if self.set.load(Ordering::SeqCst) {
            self.counters.tainted.fetch_sub(1, Ordering::SeqCst);
        }
    }
}

/// Serves a connection until one side ends it, or a fault does.
pub(super) async fn run(
    mut client: TcpStream,
    target: SocketAddr,
    rules: watch::Receiver<Fault>,
    counters: Arc<Counters>,
    mut rng: Rng,
) {
    let connected = tokio::time::timeout(CONNECT_LIMIT, TcpStream::connect(target)).await;
    let Ok(Ok(mut target)) = connected else {
        // Nobody is there. A client that connected straight would have been refused.
        reset(&client);
        return;
    };
    let _ = (client.set_nodelay(true), target.set_nodelay(true));
    let taint = Taint { set: AtomicBool::new(false), counters: Arc::clone(&counters) };
    let broke = {
        let (from_client, to_client) = client.split();
        let (from_target, to_target) = target.split();
        let forth = Pump { way: Way::ToTarget, rules: rules.clone(), rng: rng.fork(), taint: &taint };
        let back = Pump { way: Way::FromTarget, rules: rules.clone(), rng, taint: &taint };
        let both =
            async { tokio::try_join!(forth.run(from_client, to_target), back.run(from_target, to_client)) };
        tokio::select! {
            ended = both => ended.is_err(),
            () = pump::wait_for(rules, |fault| fault == Fault::Reset) => true,
        }
    };
    if broke {
        counters.resets.fetch_add(1, Ordering::SeqCst);
        reset(&client);
        reset(&target);
    }
}
