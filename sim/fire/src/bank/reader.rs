//! A client that reads snapshots, over whichever engine answers, and checks each against itself, against what had been
//! acknowledged before it was taken, and against the one it saw before.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio_postgres::{Client, Error};

use super::load::Endpoints;
use super::pace::Pace;
use super::{CLIENTS_MAX, balances, sum};

/// Between two snapshots: readers are there to look, not to be the load.
const PAUSE: Duration = Duration::from_millis(20);
/// Every so many snapshots the history is summed too, which grows with the run.
const HISTORY_EVERY: u64 = 25;
/// Descriptions kept of each kind of finding.
const KEPT: usize = 5;

/// What readers saw.
#[derive(Debug, Default)]
pub struct Reads {
    /// Snapshots read to their end.
    pub snapshots: u64,
    /// Snapshots whose sums did not agree.
    pub wrong_sums: u64,
    /// Snapshots that lacked what had been acknowledged before, or what the same reader had seen before.
    pub stale: u64,
    /// What some of these looked like.
    pub examples: Vec<String>,
}

impl Reads {
    pub(super) fn add(&mut self, other: Reads) {
        self.snapshots += other.snapshots;
        self.wrong_sums += other.wrong_sums;
        self.stale += other.stale;
        self.examples.extend(other.examples);
        self.examples.truncate(2 * KEPT);
    }

    fn example(&mut self, what: String) {
        if self.examples.len() < KEPT {
            self.examples.push(what);
        }
    }
}

/// One reading client.
pub(super) struct Reader {
    pub(super) endpoints: Endpoints,
    pub(super) stop: Arc<AtomicBool>,
    pub(super) pace: Arc<Pace>,
    pub(super) patience: Duration,
}

impl Reader {
    pub(super) async fn work(mut self) -> Reads {
        let mut reads = Reads::default();
        let mut seen = vec![0; CLIENTS_MAX as usize];
        while !self.stop.load(Ordering::SeqCst) {
            let Some((port, client)) = self.endpoints.connect().await else { continue };
            while !self.stop.load(Ordering::SeqCst) {
                let looking = self.look(port, &client, &mut seen, &mut reads);
                match tokio::time::timeout(self.patience, looking).await {
                    Ok(Ok(())) => tokio::time::sleep(PAUSE).await,
                    Ok(Err(_)) | Err(_) => {
                        self.pace.failed();
                        break;
                    }
                }
            }
        }
        reads
    }

    async fn look(
        &self,
        port: u16,
        client: &Client,
        seen: &mut [i64],
        reads: &mut Reads,
    ) -> Result<(), Error> {
        let acknowledged = self.pace.latest();
        client.batch_execute("BEGIN ISOLATION LEVEL REPEATABLE READ").await?;
        let mut sums = balances(client).await?.to_vec();
        let rows = client.query("SELECT client, seq FROM bank_clients", &[]).await?;
        if reads.snapshots.is_multiple_of(HISTORY_EVERY) {
            sums.push(sum(client, "bank_history", "delta").await?);
        }
        client.batch_execute("COMMIT").await?;
        reads.snapshots += 1;
        if sums.iter().any(|sum| *sum != sums[0]) {
            reads.wrong_sums += 1;
            reads.example(format!("port {port}: accounts, tellers, branches, history sum up to {sums:?}"));
        }
        let mut stale = None;
        for row in rows {
            let (number, seq) = (row.get::<_, i32>(0) as usize, row.get::<_, i64>(1));
            let due = acknowledged[number].max(seen[number]);
            if seq < due {
                stale = Some(format!("port {port}: client {number} is at {seq}, but {due} was known before"));
            }
            seen[number] = seen[number].max(seq);
        }
        if let Some(what) = stale {
            reads.stale += 1;
            reads.example(what);
        }
        Ok(())
    }
}
