//! The bank of TPC-B over real connections, with a memory of every transaction that was acknowledged, and readers who
//! check what they see.
//!
//! | module | idea |
//! | --- | --- |
//! | [`load`] | the clients that transfer, and what they remember |
//! | [`reader`] | the clients that only read |
//! | [`pace`] | acknowledgements as they come: how many, and the longest time without one |
//! | [`verdict`] | the bank compared with what its clients know |
//!
//! Each transfer adds one amount to an account, a teller and a branch, adds one row to the history that carries the
//! client's number and a sequence number, and notes that number as the client's last. Whatever happens to the cluster,
//! - the sums of accounts, tellers and branches agree in every snapshot, and at the end with the history's,
//! - each acknowledged transfer is in the history, once,
//! - one whose answer was lost is there once or not at all,
//! - nothing is in the history that no client sent,
//! - no snapshot is older than an acknowledgement from before it was taken, or than the reader's snapshot before it.

use std::time::{Duration, Instant};

use tokio_postgres::{Client, Error, NoTls};

mod load;
mod pace;
mod reader;
mod verdict;

pub use load::{Crew, Load, Outcome};
pub use pace::Pace;
pub use reader::Reads;
pub use verdict::Verdict;

const BRANCHES: i32 = 4;
const TELLERS: i32 = 40;
const ACCOUNTS: i32 = 4000;
/// Client numbers are below this.
const CLIENTS_MAX: i32 = 64;
/// How long a connection may take until it can be used. A paused engine's port still accepts.
const CONNECT_LIMIT: Duration = Duration::from_secs(3);

/// A connection to an engine at a port of this machine; `None` when nobody answers there.
pub async fn try_connect_to(port: u16) -> Option<Client> {
    let url = format!("host=127.0.0.1 port={port} user=postgres dbname=postgres");
    let connecting = tokio_postgres::connect(&url, NoTls);
    let (client, connection) = tokio::time::timeout(CONNECT_LIMIT, connecting).await.ok()?.ok()?;
    tokio::spawn(connection);
    Some(client)
}

/// A connection to the first engine that answers at one of these ports, waiting at most `patience`.
pub async fn connect_within(ports: &[u16], patience: Duration) -> Option<Client> {
    let deadline = Instant::now() + patience;
    while Instant::now() < deadline {
        for port in ports {
            if let Some(client) = try_connect_to(*port).await {
                return Some(client);
            }
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    None
}

/// Creates and fills the tables.
pub async fn create(client: &Client) -> Result<(), Error> {
    client
        .batch_execute(
            "CREATE TABLE bank_branches (bid int NOT NULL, bbalance int, filler char(88));
             CREATE TABLE bank_tellers (tid int NOT NULL, bid int, tbalance int, filler char(84));
             CREATE TABLE bank_accounts (aid int NOT NULL, bid int, abalance int, filler char(84));
             CREATE TABLE bank_clients (client int NOT NULL, seq bigint NOT NULL);
             CREATE TABLE bank_history (client int, seq bigint, tid int, bid int, aid int, delta int, mtime timestamp)",
        )
        .await?;
    fill(client, "bank_branches", 1..BRANCHES + 1, |id| format!("({id}, 0, '')")).await?;
    fill(client, "bank_tellers", 1..TELLERS + 1, |id| format!("({id}, {}, 0, '')", id % BRANCHES + 1))
        .await?;
    fill(client, "bank_accounts", 1..ACCOUNTS + 1, |id| format!("({id}, {}, 0, '')", id % BRANCHES + 1))
        .await?;
    fill(client, "bank_clients", 0..CLIENTS_MAX, |id| format!("({id}, 0)")).await?;
    let keys = [
        ("bank_branches", "bid"),
        ("bank_tellers", "tid"),
        ("bank_accounts", "aid"),
        ("bank_clients", "client"),
    ];
    for (table, key) in keys {
        client.batch_execute(&format!("ALTER TABLE {table} ADD PRIMARY KEY ({key})")).await?;
    }
    Ok(())
}

async fn fill(
    client: &Client,
    table: &str,
    ids: std::ops::Range<i32>,
    row: impl Fn(i32) -> String,
) -> Result<(), Error> {
    let ids: Vec<i32> = ids.collect();
    for part in ids.chunks(500) {
        let values: Vec<String> = part.iter().map(|id| row(*id)).collect();
        client.batch_execute(&format!("INSERT INTO {table} VALUES {}", values.join(", "))).await?;
    }
    Ok(())
}

/// Sums of a snapshot: accounts, tellers, branches.
async fn balances(client: &Client) -> Result<[i64; 3], Error> {
    Ok([
        sum(client, "bank_accounts", "abalance").await?,
        sum(client, "bank_tellers", "tbalance").await?,
        sum(client, "bank_branches", "bbalance").await?,
    ])
}

async fn sum(client: &Client, table: &str, column: &str) -> Result<i64, Error> {
    let row = client.query_one(&format!("SELECT sum({column}) FROM {table}"), &[]).await?;
    Ok(row.get::<_, Option<i64>>(0).unwrap_or(0))
}
