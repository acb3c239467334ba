//! Plays a script: each session is a connection; a step that must wait is left alone until another step frees it.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::Arc;
use std::time::Duration;

use sextant_engine::server::{Limits, Server};
use sextant_engine::sql::Database;
use sextant_volume::memory::MemoryStore;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_postgres::{Client, SimpleQueryMessage};

use crate::script::Script;

/// A server over a volume in memory; it ends with the test's runtime.
pub(crate) struct Stage {
    pub(crate) database: Arc<Database>,
    store: Arc<MemoryStore>,
    port: u16,
}

impl Stage {
    pub(crate) async fn open() -> Stage {
        Stage::over(MemoryStore::new()).await
    }

    /// What the next engine makes of this one's volume, were it killed now.
    pub(crate) async fn after_kill(&self) -> Stage {
        // Clients go on meanwhile. Held, the store keeps every version that is durable at this moment; otherwise a page that
        // is written between the look at the VDL and the copy would be missing from the copy.
        self.store.hold_vdl(true);
        let after = self.store.crash();
        self.store.hold_vdl(false);
        Stage::over(after).await
    }

    async fn over(store: Arc<MemoryStore>) -> Stage {
        let database = Database::open(store.clone(), 32 << 20).await.expect("the volume opens");
        let server = Server::new(database.clone(), Limits::default()).expect("threads");
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(server.accept(listener));
        Stage { database, store, port }
    }

    pub(crate) async fn connect(&self) -> Arc<Client> {
        let config = format!("host=127.0.0.1 port={} user=tester dbname=test", self.port);
        let (client, connection) =
            tokio_postgres::connect(&config, tokio_postgres::NoTls).await.expect("connected");
        tokio::spawn(connection);
        Arc::new(client)
    }
}

impl Place for Stage {
    async fn connect(&self) -> Arc<Client> {
        Stage::connect(self).await
    }

    async fn waiting(&self) -> usize {
        self.database.txns.waiting()
    }
}

/// Where a script is played.
pub(crate) trait Place {
    /// A new session.
    async fn connect(&self) -> Arc<Client>;

    /// How many sessions wait for another one.
    async fn waiting(&self) -> usize;
}

struct Seat {
    client: Arc<Client>,
    pending: Option<JoinHandle<String>>,
}

/// What came of a script at a level, as it stands in the file.
pub(crate) async fn play(place: &impl Place, script: &Script, level: &str) -> String {
    let setup = place.connect().await;
    for sql in &script.setup {
        setup.batch_execute(sql).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
    }
    let mut seats: BTreeMap<char, Seat> = BTreeMap::new();
    let mut out = format!("\n{level}\n");
    for step in &script.steps {
        let (session, sql) = (step.session, step.sql.replace("{level}", level));
        if let Entry::Vacant(free) = seats.entry(session) {
            free.insert(Seat { client: place.connect().await, pending: None });
        }
        let seat = seats.get_mut(&session).expect("it was just seated");
        if seat.pending.is_some() {
            out.push_str(&format!("    {session}: {sql} -> is left out, the session still waits\n"));
            continue;
        }
        let (client, text) = (seat.client.clone(), sql.clone());
        let mut task = tokio::spawn(async move { ask(&client, &text).await });
        let ended = match step.ends {
            true => Some((&mut task).await.expect("a step does not panic")),
            false => None,
        };
        if ended.is_none() {
            seat.pending = Some(task);
        }
        settle(place, &mut seats).await;
        let first = match ended {
            Some(result) => Some(result),
            None => finished(seats.get_mut(&session).expect("it is seated")).await,
        };
        let first = first.unwrap_or_else(|| "waits".to_owned());
        out.push_str(&format!("    {session}: {sql} -> {first}\n"));
        for (name, seat) in &mut seats {
            if let Some(result) = finished(seat).await {
                out.push_str(&format!("    {name}: goes on -> {result}\n"));
            }
        }
    }
    out
}

async fn finished(seat: &mut Seat) -> Option<String> {
    let task = seat.pending.take_if(|task| task.is_finished())?;
    Some(task.await.expect("a step does not panic"))
}

/// Until every step that is under way has ended or waits for another session.
async fn settle(place: &impl Place, seats: &mut BTreeMap<char, Seat>) {
    let settled = async {
        loop {
            let running = |seat: &&Seat| seat.pending.as_ref().is_some_and(|task| !task.is_finished());
            // Counted first: who ended in between would make room for one that does not wait.
            let under_way = seats.values().filter(running).count();
            if place.waiting().await == under_way {
                return;
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), settled).await.expect("every step ends or waits");
}

/// Rows as `(1,2) (3,4)`, a tag, or `! ` and the SQLSTATE.
async fn ask(client: &Client, sql: &str) -> String {
    let messages = match client.simple_query(sql).await {
        Ok(messages) => messages,
        Err(error) => {
            return match error.as_db_error() {
                Some(error) => format!("! {} {}", error.code().code(), error.message()),
                None => format!("! {error}"),
            };
        }
    };
    let mut rows = Vec::new();
    let mut tag = None;
    let mut columns = false;
    for message in messages {
        match message {
            SimpleQueryMessage::RowDescription(_) => columns = true,
            SimpleQueryMessage::Row(row) => {
                let fields = (0..row.len()).map(|n| row.get(n).unwrap_or("null"));
                rows.push(format!("({})", fields.collect::<Vec<_>>().join(",")));
            }
            SimpleQueryMessage::CommandComplete(count) => tag = Some(count),
            _ => {}
        }
    }
    match (columns, rows.is_empty(), tag) {
        (true, true, _) => "no rows".to_owned(),
        (true, false, _) => rows.join(" "),
        (false, _, Some(count)) => format!("ok {count}"),
        (false, _, None) => "nothing".to_owned(),
    }
}
