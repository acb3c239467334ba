//! The client of the loads that are our own: tokio-postgres on one thread, so that a load's cost lies in one place.

use std::future::Future;

use tokio::runtime::Builder;
use tokio_postgres::{Client, Config, Error, NoTls};

use crate::BenchError;
use crate::workload::Target;

/// Runs `work` on a thread of its own making: clients of one load never compete among themselves for a processor.
pub(crate) fn block_on<T>(work: impl Future<Output = Result<T, BenchError>>) -> Result<T, BenchError> {
    let runtime = Builder::new_current_thread().enable_all().build();
    runtime.map_err(BenchError::io("cannot start a runtime"))?.block_on(work)
}

/// A connection; the task that moves its bytes ends with it.
pub(crate) async fn connect(target: &Target) -> Result<Client, Error> {
    let mut config = Config::new();
    config.host("127.0.0.1").port(target.port).user(&target.user).dbname(&target.database);
    config.application_name("sextant bench");
    let (client, connection) = config.connect(NoTls).await?;
    // Whoever uses the client hears of a broken connection.
    tokio::spawn(connection);
    Ok(client)
}

/// Says what was tried when the server gave an error, and what the server said.
pub(crate) fn failed(what: impl Into<String>) -> impl FnOnce(Error) -> BenchError {
    let what = what.into();
    move |error| match error.as_db_error() {
        Some(said) => BenchError::Peer(format!("{what}: {} {}", said.code().code(), said.message())),
        None => BenchError::Peer(format!("{what}: {error}")),
    }
}

/// Rows of about 1 KB in a MiB.
pub(crate) const ROWS_PER_MIB: i64 = 1024;
/// Rows inserted by one statement.
const CHUNK: i64 = 8192;

/// Inserts rows 0 to `rows` by statements that are given the numbers of theirs as `g`. The server makes the rows up, so that
/// a large table does not take a client's time.
pub(crate) async fn fill(client: &Client, rows: i64, insert: impl Fn(&str) -> String) -> Result<(), Error> {
    for first in (0..rows).step_by(CHUNK as usize) {
        let last = rows.min(first + CHUNK) - 1;
        client.batch_execute(&insert(&format!("generate_series({first}, {last}) g"))).await?;
    }
    Ok(())
}
