//! Histories of a real engine: 16 clients at one level, over real connections, healthy or with the engine killed in between.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::RwLock;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

use super::check::check;
use super::history::{End, Key, Level, Op, Txn, Value};
use crate::player::Stage;

const CLIENTS: u64 = 16;
/// Transactions that choose among the same few lists before they move on to others.
const WINDOW: u64 = 60;
const LISTS_AT_ONCE: u64 = 4;
/// Whoever has not heard anything for so long will not.
const SILENCE: Duration = Duration::from_secs(60);

/// What the clients share.
struct Run {
    /// The engine, and how many were killed before it.
    stage: RwLock<(u64, Arc<Stage>)>,
    /// How many have been killed: what was answered under another count than that of its engine may be lost.
    kills: AtomicU64,
    clock: AtomicU64,
    next: AtomicU64,
    total: u64,
    level: &'static str,
}

/// Ends the run for all when one client panics: the others would go on to the end, or wait for it for ever.
struct EndsForAll(Arc<Run>);

impl Drop for EndsForAll {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.0.next.store(self.0.total, Ordering::SeqCst);
        }
    }
}

/// A small generator: what a client does is the same in every run of the same number.
struct Draw(u64);

impl Draw {
    fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

impl Run {
    fn now(&self) -> u64 {
        self.clock.fetch_add(1, Ordering::SeqCst)
    }

    async fn client(self: Arc<Run>, number: u64) -> Vec<Txn> {
        let _ends_for_all = EndsForAll(self.clone());
        let mut draw = Draw(number * 7919 + 1);
        let mut history = Vec::new();
        let mut connected: Option<(u64, Arc<Client>)> = None;
        loop {
            let n = self.next.fetch_add(1, Ordering::SeqCst);
            if n >= self.total {
                return history;
            }
            let (kills, stage) = self.stage.read().clone();
            let client = match &connected {
                Some((then, client)) if *then == kills => client.clone(),
                _ => {
                    let client = stage.connect().await;
                    connected = Some((kills, client.clone()));
                    client
                }
            };
            let invoked = self.now();
            let mut ops = Vec::new();
            let mut end = self.transaction(&client, n, &mut draw, &mut ops).await;
            if self.kills.load(Ordering::SeqCst) != kills && end == End::Committed {
                end = End::Unknown;
            }
            history.push(Txn { ops, end, invoked, completed: self.now() });
        }
    }

    async fn transaction(&self, client: &Client, n: u64, draw: &mut Draw, ops: &mut Vec<Op>) -> End {
        let begin = format!("begin isolation level {}", self.level);
        client.batch_execute(&begin).await.expect("a block begins");
        for step in 0..1 + draw.below(4) {
            let key = (n / WINDOW + draw.below(LISTS_AT_ONCE)) as Key;
            let done = match draw.below(2) {
                0 => append(client, key, n * 8 + step, ops).await,
                _ => read(client, key, ops).await,
            };
            if let Err(error) = done {
                let code = error.code().map(|code| code.code().to_owned());
                assert!(matches!(code.as_deref(), Some("40001" | "40P01")), "{error:?}");
                client.batch_execute("rollback").await.expect("rolled back");
                return End::Aborted;
            }
            if draw.below(8) == 0 {
                self.detour(client, key, n).await;
            }
        }
        if draw.below(12) == 0 {
            client.batch_execute("rollback").await.expect("rolled back");
            return End::Aborted;
        }
        match client.batch_execute("commit").await {
            Ok(()) => End::Committed,
            Err(error) => {
                assert_eq!(error.code().map(|code| code.code()), Some("40001"), "{error:?}");
                End::Aborted
            }
        }
    }

    /// Appends what nobody must ever see, and takes it back.
    async fn detour(&self, client: &Client, key: Key, n: u64) {
        client.batch_execute("savepoint detour").await.expect("a savepoint");
        let value = n * 8 + 7;
        // It may meet a conflict: that is taken back, too.
        let _ = client.batch_execute(&format!("update lists set v = v || ',{value}' where k = {key}")).await;
        client.batch_execute("rollback to detour; release detour").await.expect("taken back");
    }
}

async fn append(
    client: &Client,
    key: Key,
    value: Value,
    ops: &mut Vec<Op>,
) -> Result<(), tokio_postgres::Error> {
    // Noted before it is known to have happened: what of it is seen must have been meant.
    ops.push(Op::Append(key, value));
    client.batch_execute(&format!("update lists set v = v || ',{value}' where k = {key}")).await
}

async fn read(client: &Client, key: Key, ops: &mut Vec<Op>) -> Result<(), tokio_postgres::Error> {
    let messages = client.simple_query(&format!("select v from lists where k = {key}")).await?;
    let text = messages.iter().find_map(|message| match message {
        SimpleQueryMessage::Row(row) => row.get(0),
        _ => None,
    });
    let text = text.expect("the list is there");
    let list = text.split(',').skip(1).map(|value| value.parse().expect("a number")).collect();
    ops.push(Op::Read(key, list));
    Ok(())
}

/// Waits for the clients; panics when none of them gets anywhere any more.
async fn all_ended(run: &Run, clients: &[JoinHandle<Vec<Txn>>]) {
    let (mut heard, mut since) = (0, Instant::now());
    while !clients.iter().all(JoinHandle::is_finished) {
        let now = run.clock.load(Ordering::SeqCst);
        if now != heard {
            (heard, since) = (now, Instant::now());
        }
        let waiting = run.stage.read().1.database.txns.waiting();
        assert!(
            since.elapsed() < SILENCE,
            "no client was answered for {SILENCE:?}; {waiting} wait for locks"
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Transactions a run: a few thousand, or as many as the environment says.
fn total() -> u64 {
    std::env::var("SEXTANT_APPEND_TXNS").ok().map_or(2_000, |text| text.parse().expect("a number"))
}

async fn run(level: &'static str, kills: u64) -> Vec<Txn> {
    let stage = Stage::open().await;
    let total = total();
    let lists = total / WINDOW + LISTS_AT_ONCE;
    let setup = stage.connect().await;
    let fill = format!(
        "create table lists (k int primary key, v text not null);
         insert into lists select n, '' from generate_series(0, {lists}) as n"
    );
    setup.batch_execute(&fill).await.expect("the lists are made");
    let run = Arc::new(Run {
        stage: RwLock::new((0, Arc::new(stage))),
        kills: AtomicU64::new(0),
        clock: AtomicU64::new(0),
        next: AtomicU64::new(0),
        total,
        level,
    });
    let clients: Vec<_> = (0..CLIENTS).map(|n| tokio::spawn(run.clone().client(n))).collect();
    for kill in 1..=kills {
        while run.next.load(Ordering::SeqCst) < total * kill / (kills + 1) {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
        // Whoever is answered from now on has to reckon with the kill.
        let (_, before) = run.stage.read().clone();
        run.kills.store(kill, Ordering::SeqCst);
        let after = before.after_kill().await;
        *run.stage.write() = (kill, Arc::new(after));
    }
    let mut history = Vec::new();
    all_ended(&run, &clients).await;
    for client in clients {
        history.extend(client.await.expect("a client ends well"));
    }
    let (_, stage) = run.stage.read().clone();
    let last = stage.connect().await;
    let mut ops = Vec::new();
    let invoked = run.now();
    for key in 0..lists as Key {
        read(&last, key, &mut ops).await.expect("a list is read");
    }
    history.push(Txn { ops, end: End::Committed, invoked, completed: run.now() });
    history
}

/// Every append that was answered is in the end there.
fn nothing_is_lost(history: &[Txn]) {
    let there: HashSet<(Key, Value)> =
        history.last().into_iter().flat_map(|txn| &txn.ops).fold(HashSet::new(), |mut there, op| {
            if let Op::Read(key, list) = op {
                there.extend(list.iter().map(|value| (*key, *value)));
            }
            there
        });
    for txn in history.iter().filter(|txn| txn.end == End::Committed) {
        for op in &txn.ops {
            if let Op::Append(key, value) = op {
                assert!(there.contains(&(*key, *value)), "{value} in list {key} was committed and is lost");
            }
        }
    }
}

async fn holds(spelled: &'static str, level: Level, kills: u64) {
    let history = run(spelled, kills).await;
    let of = |end| history.iter().filter(|txn| txn.end == end).count();
    let (committed, aborted, unknown) = (of(End::Committed), of(End::Aborted), of(End::Unknown));
    println!("{spelled}, {kills} kills: {committed} committed, {aborted} rolled back, {unknown} unknown");
    assert!(committed > history.len() / 4, "most of a history is rolled back: it says too little");
    nothing_is_lost(&history);
    let anomalies = check(&history, level);
    assert!(anomalies.is_empty(), "{spelled}: {:#?}", &anomalies[..anomalies.len().min(5)]);
}

#[tokio::test(flavor = "multi_thread")]
async fn read_committed_holds() {
    holds("read committed", Level::ReadCommitted, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeatable_read_holds() {
    holds("repeatable read", Level::RepeatableRead, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serializable_holds() {
    holds("serializable", Level::Serializable, 0).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn serializable_holds_when_the_engine_is_killed() {
    holds("serializable", Level::Serializable, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn read_committed_holds_when_the_engine_is_killed() {
    holds("read committed", Level::ReadCommitted, 3).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn repeatable_read_holds_when_the_engine_is_killed() {
    holds("repeatable read", Level::RepeatableRead, 3).await;
}
