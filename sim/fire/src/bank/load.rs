//! The clients that transfer money: they reconnect until stopped, and remember what was answered.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::task::JoinHandle;
use tokio_postgres::{Client, Error, Statement};

use super::pace::Pace;
use super::reader::{Reader, Reads};
use super::{ACCOUNTS, BRANCHES, TELLERS, try_connect_to};

/// Pause when nobody answers at an endpoint.
const RECONNECT_PAUSE: Duration = Duration::from_millis(50);
/// How long a client may take to end when told to.
const STOP_LIMIT: Duration = Duration::from_secs(60);

/// What one client knows of its transfers.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    /// Sequence numbers whose COMMIT was answered.
    pub(super) acked: BTreeSet<i64>,
    /// Sequence numbers that were begun and not answered: they may be there or not.
    pub(super) open: BTreeSet<i64>,
    /// Errors that an engine answered, by SQLSTATE.
    refused: BTreeMap<String, u64>,
}

/// Where engines may be found: ports of this machine, of which one answers at a time.
#[derive(Debug, Clone)]
pub(super) struct Endpoints {
    ports: Arc<[u16]>,
    next: usize,
}

impl Endpoints {
    /// A connection to the endpoint whose turn it is. When nobody is there: none, after a pause, and the next one has
    /// its turn.
    pub(super) async fn connect(&mut self) -> Option<(u16, Client)> {
        let port = self.ports[self.next % self.ports.len()];
        match try_connect_to(port).await {
            Some(client) => Some((port, client)),
            None => {
                self.next += 1;
                tokio::time::sleep(RECONNECT_PAUSE).await;
                None
            }
        }
    }
}

/// Who works at a bank.
#[derive(Debug, Clone, Copy)]
pub struct Crew {
    /// Number of the first transferring client; no two loads of one bank may share a number, nor reach 64.
    pub first: i32,
    /// Clients that transfer.
    pub tellers: i32,
    /// Clients that read.
    pub readers: i32,
    /// How long one transfer, or one snapshot, may take before a client gives its connection up and asks elsewhere.
    pub patience: Duration,
}

/// A running load.
pub struct Load {
    stop: Arc<AtomicBool>,
    pace: Arc<Pace>,
    tellers: Vec<(i32, JoinHandle<Ledger>)>,
    readers: Vec<JoinHandle<Reads>>,
}

/// What the clients remember when all have stopped.
#[derive(Debug)]
pub struct Outcome {
    pub(super) ledgers: BTreeMap<i32, Ledger>,
    /// What the readers saw.
    pub reads: Reads,
    /// Statements, connections or waits that failed.
    pub errors: u64,
}

impl Load {
    /// Starts the crew against the engines at `ports`.
    #[must_use]
    pub fn start(ports: &[u16], crew: Crew) -> Load {
        let (stop, pace) = (Arc::new(AtomicBool::new(false)), Arc::new(Pace::default()));
        let endpoints = Endpoints { ports: ports.into(), next: 0 };
        let teller = |number: i32| {
            let teller = Teller {
                number,
                endpoints: endpoints.clone(),
                random: Random(number as u64 + 1),
                stop: Arc::clone(&stop),
                pace: Arc::clone(&pace),
                patience: crew.patience,
            };
            (number, tokio::spawn(teller.work()))
        };
        let tellers = (crew.first..crew.first + crew.tellers).map(teller).collect();
        let reader = |_| {
            let (stop, pace) = (Arc::clone(&stop), Arc::clone(&pace));
            let reader = Reader { endpoints: endpoints.clone(), stop, pace, patience: crew.patience };
            tokio::spawn(reader.work())
        };
        let readers = (0..crew.readers).map(reader).collect();
        Load { stop, pace, tellers, readers }
    }

    /// Acknowledgements as they come.
    #[must_use]
    pub fn pace(&self) -> &Arc<Pace> {
        &self.pace
    }

    /// Waits until `more` further transfers were acknowledged; false when they were not within `patience`.
    pub async fn wait_for(&self, more: u64, patience: Duration) -> bool {
        let (target, deadline) = (self.pace.acks() + more, Instant::now() + patience);
        while self.pace.acks() < target && Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.pace.acks() >= target
    }

    /// Lets each client end its work and collects what they know.
    ///
    /// # Panics
    /// When a client hangs or panicked: then nothing can be said about the bank.
    pub async fn stop(self) -> Outcome {
        self.stop.store(true, Ordering::SeqCst);
        let mut ledgers = BTreeMap::new();
        let deadline = tokio::time::Instant::now() + STOP_LIMIT;
        for (number, client) in self.tellers {
            let ledger = tokio::time::timeout_at(deadline, client).await;
            ledgers.insert(number, ledger.expect("a client hangs").expect("a client panicked"));
        }
        let mut reads = Reads::default();
        for reader in self.readers {
            let seen = tokio::time::timeout_at(deadline, reader).await;
            reads.add(seen.expect("a reader hangs").expect("a reader panicked"));
        }
        Outcome { ledgers, reads, errors: self.pace.errors() }
    }
}

impl Outcome {
    /// Adds what another load's clients know; their numbers must differ.
    #[must_use]
    pub fn and(mut self, other: Outcome) -> Outcome {
        self.ledgers.extend(other.ledgers);
        self.reads.add(other.reads);
        self.errors += other.errors;
        self
    }

    /// Errors that engines answered to transfers, by SQLSTATE; lost connections and waits have none.
    #[must_use]
    pub fn refused(&self) -> BTreeMap<String, u64> {
        let mut all = BTreeMap::new();
        for (code, times) in self.ledgers.values().flat_map(|ledger| &ledger.refused) {
            *all.entry(code.clone()).or_default() += times;
        }
        all
    }

    /// Transfers acknowledged.
    #[must_use]
    pub fn acked(&self) -> usize {
        self.ledgers.values().map(|ledger| ledger.acked.len()).sum()
    }
}

/// One client.
struct Teller {
    number: i32,
    endpoints: Endpoints,
    random: Random,
    stop: Arc<AtomicBool>,
    pace: Arc<Pace>,
    patience: Duration,
}

impl Teller {
    async fn work(mut self) -> Ledger {
        let mut ledger = Ledger::default();
        let mut seq = 0;
        while !self.stop.load(Ordering::SeqCst) {
            let Some((_, client)) = self.endpoints.connect().await else { continue };
            if let Err(error) = self.serve(&client, &mut seq, &mut ledger).await {
                self.pace.failed();
                if let Some(code) = error.as_ref().and_then(Error::code) {
                    *ledger.refused.entry(code.code().to_owned()).or_default() += 1;
                }
            }
        }
        ledger
    }

    /// Transfers until stopped. An error without a reason is a wait that took too long.
    async fn serve(
        &mut self,
        client: &Client,
        seq: &mut i64,
        ledger: &mut Ledger,
    ) -> Result<(), Option<Error>> {
        let statements = self.in_time(Statements::prepare(client)).await?;
        while !self.stop.load(Ordering::SeqCst) {
            *seq += 1;
            ledger.open.insert(*seq);
            let draw = Draw::new(&mut self.random);
            self.in_time(statements.transfer(client, self.number, *seq, draw)).await?;
            ledger.open.remove(seq);
            ledger.acked.insert(*seq);
            self.pace.acknowledged(self.number, *seq);
        }
        Ok(())
    }

    async fn in_time<T>(&self, work: impl Future<Output = Result<T, Error>>) -> Result<T, Option<Error>> {
        tokio::time::timeout(self.patience, work).await.map_err(|_| None)?.map_err(Some)
    }
}

/// What one transfer moves between whom.
struct Draw {
    tid: i32,
    bid: i32,
    aid: i32,
    delta: i32,
}

impl Draw {
    fn new(random: &mut Random) -> Draw {
        let (tid, bid, aid) = (random.up_to(TELLERS), random.up_to(BRANCHES), random.up_to(ACCOUNTS));
        Draw { tid, bid, aid, delta: random.up_to(10_000) - 5000 }
    }
}

struct Statements {
    account: Statement,
    read: Statement,
    teller: Statement,
    branch: Statement,
    client: Statement,
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
            client: prepare("UPDATE bank_clients SET seq = $1 WHERE client = $2").await?,
            history: prepare(
                "INSERT INTO bank_history (client, seq, tid, bid, aid, delta, mtime) \
                 VALUES ($1, $2, $3, $4, $5, $6, CURRENT_TIMESTAMP)",
            )
            .await?,
        })
    }

    async fn transfer(&self, client: &Client, number: i32, seq: i64, draw: Draw) -> Result<(), Error> {
        let Draw { tid, bid, aid, delta } = draw;
        client.batch_execute("BEGIN").await?;
        client.execute(&self.account, &[&delta, &aid]).await?;
        client.query_one(&self.read, &[&aid]).await?;
        client.execute(&self.teller, &[&delta, &tid]).await?;
        client.execute(&self.branch, &[&delta, &bid]).await?;
        client.execute(&self.client, &[&seq, &number]).await?;
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
