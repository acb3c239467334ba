//! The bank of TPC-B over real connections, with a memory of every transaction that was acknowledged.
//!
//! Each transaction adds one amount to an account, a teller and a branch, and one row to the history that carries the
//! client's number and a sequence number. Whatever happens to the cluster, afterwards
//! - the four sums agree,
//! - each acknowledged transaction is in the history, once,
//! - nothing is in the history that no client sent.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, Statement};

use crate::cluster::{connect_to, try_connect_to};

const BRANCHES: i32 = 4;
const TELLERS: i32 = 40;
const ACCOUNTS: i32 = 4000;

/// Creates and fills the tables.
pub(crate) async fn create(client: &Client) {
    client
        .batch_execute(
            "CREATE TABLE bank_branches (bid int NOT NULL, bbalance int, filler char(88));
             CREATE TABLE bank_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84));
             CREATE TABLE bank_accounts (aid int NOT NULL, bid int, abalance int, filler char(84));
             CREATE TABLE bank_history (client int, seq bigint, tid int, bid int, aid int, delta int, mtime timestamp)",
        )
        .await
        .expect("tables");
    fill(client, "bank_branches", BRANCHES, |id| format!("({id}, 0, '')")).await;
    fill(client, "bank_tellers", TELLERS, |id| format!("({id}, {}, 0, '')", id % BRANCHES + 1)).await;
    fill(client, "bank_accounts", ACCOUNTS, |id| format!("({id}, {}, 0, '')", id % BRANCHES + 1)).await;
    for (table, key) in [("bank_branches", "bid"), ("bank_tellers", "tid"), ("bank_accounts", "aid")] {
        let statement = format!("ALTER TABLE {table} ADD PRIMARY KEY ({key})");
        client.batch_execute(&statement).await.expect("primary key");
    }
}

async fn fill(client: &Client, table: &str, rows: i32, row: impl Fn(i32) -> String) {
    let ids: Vec<i32> = (1..=rows).collect();
    for part in ids.chunks(500) {
        let values: Vec<String> = part.iter().map(|id| row(*id)).collect();
        let statement = format!("INSERT INTO {table} VALUES {}", values.join(", "));
        client.batch_execute(&statement).await.expect("rows");
    }
}

/// What one client knows of its transactions.
#[derive(Debug, Default)]
struct Ledger {
    /// Sequence numbers whose COMMIT was answered.
    acked: BTreeSet<i64>,
    /// Sequence numbers that were begun and not answered: they may be there or not.
    open: BTreeSet<i64>,
}

/// Clients at work.
pub(crate) struct Load {
    stop: Arc<AtomicBool>,
    acks: Arc<AtomicU64>,
    errors: Arc<AtomicU64>,
    clients: Vec<(i32, JoinHandle<Ledger>)>,
}

/// What the clients remember when all have stopped.
#[derive(Debug)]
pub(crate) struct Outcome {
    ledgers: BTreeMap<i32, Ledger>,
    /// Statements or connections that failed.
    pub(crate) errors: u64,
}

impl Load {
    /// Starts `clients` clients with numbers from `first` on against `port`. They reconnect until stopped.
    pub(crate) fn start(port: u16, first: i32, clients: i32) -> Load {
        let (stop, acks, errors) =
            (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let clients = (first..first + clients)
            .map(|number| {
                let teller = Teller {
                    number,
                    port,
                    random: Random(number as u64 + 1),
                    stop: stop.clone(),
                    acks: acks.clone(),
                    errors: errors.clone(),
                };
                (number, tokio::spawn(teller.work()))
            })
            .collect();
        Load { stop, acks, errors, clients }
    }

    /// Transactions acknowledged so far.
    pub(crate) fn acks(&self) -> u64 {
        self.acks.load(Ordering::SeqCst)
    }

    /// Waits until `more` further transactions were acknowledged.
    pub(crate) async fn wait_for(&self, more: u64, patience: Duration) {
        let (target, deadline) = (self.acks() + more, Instant::now() + patience);
        while self.acks() < target {
            let done = self.acks() + more - target;
            assert!(Instant::now() < deadline, "{done} of {more} commits within {patience:?}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Lets each client end its transaction and collects what they know.
    pub(crate) async fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        let mut ledgers = BTreeMap::new();
        for (number, client) in self.clients {
            let ledger = tokio::time::timeout(Duration::from_secs(60), client).await;
            ledgers.insert(number, ledger.expect("a client hangs").expect("a client panicked"));
        }
        Outcome { ledgers, errors: self.errors.load(Ordering::SeqCst) }
    }
}

/// One client.
struct Teller {
    number: i32,
    port: u16,
    random: Random,
    stop: Arc<AtomicBool>,
    acks: Arc<AtomicU64>,
    errors: Arc<AtomicU64>,
}

impl Teller {
    async fn work(mut self) -> Ledger {
        let mut ledger = Ledger::default();
        let mut seq = 0;
        while !self.stop.load(Ordering::SeqCst) {
            let Some(mut client) = try_connect_to(self.port).await else {
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            };
            if let Err(error) = self.serve(&mut client, &mut seq, &mut ledger).await {
                self.errors.fetch_add(1, Ordering::SeqCst);
                if !client.is_closed() {
                    eprintln!("client {}: {error:?}", self.number);
                }
            }
        }
        ledger
    }

    async fn serve(&mut self, client: &mut Client, seq: &mut i64, ledger: &mut Ledger) -> Result<(), Error> {
        let statements = Statements::prepare(client).await?;
        while !self.stop.load(Ordering::SeqCst) {
            *seq += 1;
            ledger.open.insert(*seq);
            statements.transfer(client, self.number, *seq, &mut self.random).await?;
            ledger.open.remove(seq);
            ledger.acked.insert(*seq);
            self.acks.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

struct Statements {
    account: Statement,
    read: Statement,
    teller: Statement,
    branch: Statement,
    history: Statement,
}

impl Statements {
    async fn prepare(client: &Client) -> Result<Statements, Error> {
        let prepare = |text: &'static str| client.prepare(text);
        Ok(Statements {
            account: prepare("UPDATE bank_accounts SET abalance = abalance + $1 WHERE aid = $2").await?,
            read: prepare("SELECT abalance FROM bank_accounts WHERE aid = $1").await?,
            teller: prepare("UPDATE bank_tellers SET tbalance = tbalance + $1 WHERE tid = $2").await?,
            branch: prepare("UPDATE bank_branches SET bbalance = bbalance + $1 WHERE bid = $2").await?,
            history: prepare(
                "INSERT INTO bank_history (client, seq, tid, bid, aid, delta, mtime) \
                 VALUES ($1, $2, $3, $4, $5, $6, CURRENT_TIMESTAMP)",
            )
            .await?,
        })
    }

    async fn transfer(
        &self,
        client: &Client,
        number: i32,
        seq: i64,
        random: &mut Random,
    ) -> Result<(), Error> {
        let (tid, bid, aid) = (random.up_to(TELLERS), random.up_to(BRANCHES), random.up_to(ACCOUNTS));
        let delta = random.up_to(10_000) - 5000;
        client.batch_execute("BEGIN").await?;
        client.execute(&self.account, &[&delta, &aid]).await?;
        client.query_one(&self.read, &[&aid]).await?;
        client.execute(&self.teller, &[&delta, &tid]).await?;
        client.execute(&self.branch, &[&delta, &bid]).await?;
        client.execute(&self.history, &[&number, &seq, &tid, &bid, &aid, &delta]).await?;
        client.batch_execute("COMMIT").await
    }
}

/// A small generator (SplitMix64): runs differ by the machine's timing, not by chance.
struct Random(u64);

impl Random {
    fn up_to(&mut self, max: i32) -> i32 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) % max as u64) as i32 + 1
    }
}

impl Outcome {
    /// Adds what another load's clients know; their numbers must differ.
    pub(crate) fn and(mut self, other: Outcome) -> Outcome {
        self.ledgers.extend(other.ledgers);
        self.errors += other.errors;
        self
    }

    /// Transactions acknowledged.
    pub(crate) fn acked(&self) -> usize {
        self.ledgers.values().map(|ledger| ledger.acked.len()).sum()
    }

    /// Checks the bank at `port` against what the clients know.
    pub(crate) async fn verify(&self, port: u16) {
        let client = connect_to(port).await;
        let mut there: BTreeMap<i32, BTreeSet<i64>> = BTreeMap::new();
        for row in client.query("SELECT client, seq FROM bank_history", &[]).await.expect("history") {
            let (number, seq) = (row.get::<_, i32>(0), row.get::<_, i64>(1));
            assert!(there.entry(number).or_default().insert(seq), "client {number}'s {seq} is there twice");
        }
        for (number, ledger) in &self.ledgers {
            let seen = there.remove(number).unwrap_or_default();
            let lost: Vec<_> = ledger.acked.difference(&seen).collect();
            assert!(lost.is_empty(), "client {number}: acknowledged and lost: {lost:?}");
            let strange: Vec<_> =
                seen.iter().filter(|seq| !ledger.acked.contains(seq) && !ledger.open.contains(seq)).collect();
            assert!(strange.is_empty(), "client {number}: never sent: {strange:?}");
        }
        assert!(there.is_empty(), "clients that never were: {:?}", there.keys());
        let sums = sums(&client).await;
        assert!(sums.iter().all(|sum| *sum == sums[0]), "accounts, tellers, branches, history: {sums:?}");
    }
}

/// The four sums: accounts, tellers, branches, history.
pub(crate) async fn sums(client: &Client) -> [i64; 4] {
    let mut out = [0; 4];
    let columns = [
        ("bank_accounts", "abalance"),
        ("bank_tellers", "tbalance"),
        ("bank_branches", "bbalance"),
        ("bank_history", "delta"),
    ];
    for (slot, (table, column)) in out.iter_mut().zip(columns) {
        let row = client.query_one(&format!("SELECT sum({column}) FROM {table}"), &[]).await.expect("a sum");
        *slot = row.get::<_, Option<i64>>(0).unwrap_or(0);
    }
    out
}
