//! The load: each client inserts and updates wide rows of its own in transactions, and remembers how many were
//! answered. What must be there afterwards follows from that number alone. Most of it are updates, so that gigabytes of
//! log fit on the disk of a laptop, six copies of their pages with them.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use tokio_postgres::Error;

use crate::workload::Target;
use crate::{BenchError, sql};

/// Rows that a transaction inserts.
const INSERTS: i64 = 10;
/// Rows that it updates, among the client's newest.
const UPDATES: i64 = 50;
/// So many of the newest.
const RECENT: i64 = 1000;
/// Bytes of a row's text.
const WIDTH: usize = 1000;
/// The same in words.
pub(super) const TRANSACTION: &str = "10 inserts of rows of 1 KB and 50 updates of recent ones";
/// The probe's commit and read.
pub(super) const WRITE: &str = "update restart_probe set n = n + 1";
pub(super) const READ: &str = "select n from restart_probe";

/// How often the answers are looked at for a stall.
const LOOK_EVERY: Duration = Duration::from_millis(1);

/// Clients at work.
pub(super) struct Writers {
    shared: Arc<Shared>,
    thread: JoinHandle<Result<(), BenchError>>,
}

#[derive(Default)]
struct Shared {
    stop: AtomicBool,
    /// Transactions answered, by client.
    answered: Vec<AtomicU64>,
}

impl Shared {
    fn answered(&self) -> Answered {
        Answered(self.answered.iter().map(|count| count.load(Ordering::Relaxed)).collect())
    }

    fn sum(&self) -> u64 {
        self.answered().0.iter().sum()
    }
}

/// Transactions that were answered, by client, when the load ended.
pub(super) struct Answered(Vec<u64>);

impl Writers {
    /// Makes the tables anew and sets the clients to work.
    pub(super) fn start(target: &Target, clients: u32) -> Result<Writers, BenchError> {
        sql::block_on(async { tables(target).await.map_err(sql::failed("cannot make the tables")) })?;
        let answered = (0..clients).map(|_| AtomicU64::new(0)).collect();
        let shared = Arc::new(Shared { answered, ..Shared::default() });
        let (target, of_thread) = (target.clone(), Arc::clone(&shared));
        let thread = std::thread::spawn(move || sql::block_on(all(target, of_thread)));
        Ok(Writers { shared, thread })
    }

    /// False when they have ended by themselves.
    pub(super) fn run(&self) -> bool {
        !self.thread.is_finished()
    }

    /// The longest time within the next `time` in which no client got an answer.
    pub(super) fn longest_stall(&self, time: Duration) -> Duration {
        let started = Instant::now();
        let (mut sum, mut since, mut longest) = (self.shared.sum(), started, Duration::ZERO);
        while started.elapsed() < time {
            std::thread::sleep(LOOK_EVERY);
            longest = longest.max(since.elapsed());
            if self.shared.sum() != sum {
                (sum, since) = (self.shared.sum(), Instant::now());
            }
        }
        longest
    }

    /// Waits for them after their server was killed: each has lost its connection.
    pub(super) fn crashed(self) -> Answered {
        self.shared.stop.store(true, Ordering::Relaxed);
        // What each of them died of is known.
        let _ = self.thread.join();
        self.shared.answered()
    }

    /// Ends them; an error that one of them had is one.
    pub(super) fn stopped(self) -> Result<Answered, BenchError> {
        self.shared.stop.store(true, Ordering::Relaxed);
        self.thread.join().map_err(|_| BenchError::Peer("the load's thread panicked".into()))??;
        Ok(self.shared.answered())
    }
}

async fn tables(target: &Target) -> Result<(), Error> {
    let client = sql::connect(target).await?;
    let statements = [
        "drop table if exists restart, restart_probe",
        "create table restart (client int not null, n int8 not null, filler text not null, primary key (client, n))",
        "create table restart_probe (n int8 not null)",
        "insert into restart_probe values (0)",
    ];
    for statement in statements {
        client.batch_execute(statement).await?;
    }
    Ok(())
}

async fn all(target: Target, shared: Arc<Shared>) -> Result<(), BenchError> {
    let one = |number| tokio::spawn(client(target.clone(), Arc::clone(&shared), number));
    let running: Vec<_> = (0..shared.answered.len()).map(one).collect();
    let mut outcome = Ok(());
    for client in running {
        let ended = client.await.map_err(|e| BenchError::Peer(format!("a client stopped: {e}")))?;
        outcome = outcome.and(ended.map_err(sql::failed("a client of the load")));
    }
    outcome
}

async fn client(target: Target, shared: Arc<Shared>, number: usize) -> Result<(), Error> {
    let mut client = sql::connect(&target).await?;
    let insert = client
        .prepare(&format!(
            "insert into restart select $1::int4, g, $3::text from generate_series($2::int8, $2::int8 + {}) g",
            INSERTS - 1
        ))
        .await?;
    let update = client.prepare("update restart set filler = $3 where client = $1 and n = $2").await?;
    let mut dice = fastrand::Rng::with_seed(number as u64);
    let me = number as i32;
    for transaction in 0.. {
        if shared.stop.load(Ordering::Relaxed) {
            break;
        }
        let filler: String = (0..WIDTH).map(|_| dice.alphanumeric()).collect();
        let first = transaction * INSERTS;
        let txn = client.transaction().await?;
        txn.execute(&insert, &[&me, &first, &filler]).await?;
        let rows = first + INSERTS;
        for _ in 0..UPDATES {
            txn.execute(&update, &[&me, &dice.i64((rows - RECENT).max(0)..rows), &filler]).await?;
        }
        txn.commit().await?;
        shared.answered[number].store(transaction as u64 + 1, Ordering::Relaxed);
    }
    Ok(())
}

impl Answered {
    /// Reads how many rows each client has and holds it against what it was told.
    pub(super) fn verify(&self, target: &Target) -> Result<(), BenchError> {
        let counted = async {
            let client = sql::connect(target).await?;
            client.query("select client, count(*) from restart group by client", &[]).await
        };
        let rows = sql::block_on(async { counted.await.map_err(sql::failed("cannot count the rows")) })?;
        let mut found = vec![0i64; self.0.len()];
        for row in rows {
            let get = |error| sql::failed("cannot read the counts")(error);
            let (client, count): (i32, i64) = (row.try_get(0).map_err(get)?, row.try_get(1).map_err(get)?);
            if let Some(found) = found.get_mut(client as usize) {
                *found = count;
            }
        }
        match self.wrong(&found) {
            Some(what) => Err(BenchError::Peer(format!("after the kill {what}"))),
            None => Ok(()),
        }
    }

    /// What is wrong with so many rows of each client: a commit that was not answered may have succeeded, all of it.
    fn wrong(&self, found: &[i64]) -> Option<String> {
        self.0.iter().zip(found).enumerate().find_map(|(client, (answered, found))| {
            let least = *answered as i64 * INSERTS;
            if *found < least {
                return Some(format!(
                    "client {client} was told of {least} rows and {found} are there: LOST COMMITS"
                ));
            }
            let whole = *found == least || *found == least + INSERTS;
            (!whole).then(|| {
                format!("client {client} has {found} rows, which is no whole number of transactions")
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_commits_and_halves_of_transactions_are_found() {
        let answered = Answered(vec![0, 3]);
        assert_eq!(answered.wrong(&[0, 3 * INSERTS]), None);
        assert_eq!(answered.wrong(&[INSERTS, 4 * INSERTS]), None);
        assert!(answered.wrong(&[0, 2 * INSERTS]).is_some_and(|what| what.contains("LOST")));
        assert!(
            answered.wrong(&[INSERTS / 2, 3 * INSERTS]).is_some_and(|what| what.contains("whole number"))
        );
        assert!(answered.wrong(&[0, 5 * INSERTS]).is_some());
    }
}
