//! The first commit, and the first read, that succeeds: asked again every few milliseconds by a client that knows
//! nothing of what happened.

use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};
use tokio_postgres::{Client, Error};

use super::writers::{READ, WRITE};
use crate::workload::Target;
use crate::{BenchError, sql};

const AGAIN_AFTER: Duration = Duration::from_millis(2);
/// An attempt that hangs for so long is given up.
const ATTEMPT: Duration = Duration::from_secs(5);

/// The moment at which a new client's commit was answered.
pub(super) fn commit(target: &Target, limit: Duration) -> Result<Instant, BenchError> {
    sql::block_on(first(target, limit, async |client| client.execute(WRITE, &[]).await.map(|_| ())))
}

/// The moments at which a new client's commit and another's read were answered.
pub(super) fn commit_and_read(target: &Target, limit: Duration) -> Result<(Instant, Instant), BenchError> {
    sql::block_on(async {
        let read = first(target, limit, async |client| client.query_one(READ, &[]).await.map(|_| ()));
        let write = first(target, limit, async |client| client.execute(WRITE, &[]).await.map(|_| ()));
        let (write, read) = tokio::join!(write, read);
        Ok((write?, read?))
    })
}

async fn first(
    target: &Target,
    limit: Duration,
    work: impl AsyncFn(Client) -> Result<(), Error>,
) -> Result<Instant, BenchError> {
    let started = Instant::now();
    let mut last = "no answer".to_owned();
    while started.elapsed() < limit {
        match timeout(ATTEMPT, async { work(sql::connect(target).await?).await }).await {
            Ok(Ok(())) => return Ok(Instant::now()),
            Ok(Err(error)) => last = error.to_string(),
            Err(_) => last = format!("no answer within {ATTEMPT:?}"),
        }
        sleep(AGAIN_AFTER).await;
    }
    Err(BenchError::Peer(format!("nothing succeeded within {limit:?} after the kill; at last: {last}")))
}
