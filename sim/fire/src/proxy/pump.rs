//! One way of a connection: what is read goes into a short queue with the time at which it is due; what is due is
//! written. So a delay delays, and does not divide the throughput.

use std::time::Duration;

use sextant_sim::rng::Rng;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until};

use super::connection::Taint;
use super::fault::{Fault, Way};

/// Bytes of one read.
const READ_BYTES: usize = 16 * 1024;
/// Reads on their way: with [`READ_BYTES`] what a sender can have in flight behind a slow link.
const IN_FLIGHT: usize = 8;

/// The connection is over: a side broke it, or a fault did. Both sides are to be reset.
#[derive(Debug)]
pub(super) struct Broken;

/// One way of a connection.
pub(super) struct Pump<'a> {
    pub(super) way: Way,
    pub(super) rules: watch::Receiver<Fault>,
    pub(super) rng: Rng,
    pub(super) taint: &'a Taint,
}

type Due = (Instant, Vec<u8>);

impl Pump<'_> {
    /// Pumps until the sender has closed and everything is delivered.
    pub(super) async fn run(self, from: ReadHalf<'_>, to: WriteHalf<'_>) -> Result<(), Broken> {
        let (queue, due) = mpsc::channel(IN_FLIGHT);
        let rules = self.rules.clone();
        tokio::try_join!(self.take(from, queue), deliver(due, to, rules)).map(|_| ())
    }

    async fn take(mut self, mut from: ReadHalf<'_>, queue: mpsc::Sender<Due>) -> Result<(), Broken> {
        let mut last_due = Instant::now();
        loop {
            let mut bytes = vec![0; READ_BYTES];
            let read = from.read(&mut bytes).await.map_err(|_| Broken)?;
            if read == 0 {
                return Ok(());
            }
            bytes.truncate(read);
            let way = self.way;
            wait_for(self.rules.clone(), |fault| !fault.silences(way)).await;
            last_due = last_due.max(Instant::now()) + self.suffer(&mut bytes).await?;
            if queue.send((last_due, bytes)).await.is_err() {
                return Ok(());
            }
        }
    }

    /// What the fault of now does to `bytes`; returns by how much it makes them later than what went before.
    async fn suffer(&mut self, bytes: &mut [u8]) -> Result<Duration, Broken> {
        let fault = *self.rules.borrow();
        match fault {
            Fault::Delay { mean } => Ok(Duration::from_micros(self.rng.exponential(mean.as_micros() as u64))),
            Fault::Slow { bytes_per_second } => {
                Ok(Duration::from_micros(bytes.len() as u64 * 1_000_000 / bytes_per_second.max(1)))
            }
            Fault::Loss { percent, stall } if self.rng.percent(u64::from(percent)) => {
                sleep(stall).await;
                Err(Broken)
            }
            Fault::Corrupt { every_bytes } => {
                if self.rng.below(every_bytes) < bytes.len() as u64 {
                    let at = self.rng.index(bytes.len());
                    bytes[at] ^= 1 << self.rng.below(8);
                    self.taint.flip();
                }
                Ok(Duration::ZERO)
            }
            _ => Ok(Duration::ZERO),
        }
    }
}

async fn deliver(
    mut due: mpsc::Receiver<Due>,
    mut to: WriteHalf<'_>,
    mut rules: watch::Receiver<Fault>,
) -> Result<(), Broken> {
    while let Some((at, bytes)) = due.recv().await {
        // A link that is healed delivers at once.
        while *rules.borrow_and_update() != Fault::None && Instant::now() < at {
            tokio::select! {
                () = sleep_until(at) => {}
                _ = rules.changed() => {}
            }
        }
        to.write_all(&bytes).await.map_err(|_| Broken)?;
    }
    // The peer may have gone meanwhile.
    let _ = to.shutdown().await;
    Ok(())
}

/// Resolves when the link's state is such.
pub(super) async fn wait_for(mut rules: watch::Receiver<Fault>, such: impl Fn(Fault) -> bool) {
    if rules.wait_for(|fault| such(*fault)).await.is_err() {
        // The proxy is being dropped, and the connection with it.
        std::future::pending::<()>().await;
    }
}
