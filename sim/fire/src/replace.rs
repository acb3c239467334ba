//! The engine is paused until another one has taken over: a zombie, which must find out that its epoch is over.

use std::io;
use std::time::{Duration, Instant};

use sextant_node::exit;
use tokio::time::sleep;

use crate::storm::Storm;

/// How long a resumed engine may take to notice that it was replaced, and to end.
const FENCED_LIMIT: Duration = Duration::from_secs(20);
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Pauses the writer, starts the other engine, resumes the first `lasts` after the other one serves.
pub(crate) async fn strike(storm: &mut Storm<'_>, lasts: Duration) -> io::Result<()> {
    let old = storm.cluster.writer;
    storm.cluster.engines[old].pause();
    storm.cluster.writer = 1 - old;
    storm.cluster.engines[1 - old].start()?;
    storm.wait_for_sql().await?;
    sleep(lasts).await;
    let zombie = &mut storm.cluster.engines[old];
    zombie.resume();
    let deadline = Instant::now() + FENCED_LIMIT;
    while zombie.is_started() && Instant::now() < deadline {
        if let Some(status) = zombie.ended() {
            if status.code() == Some(i32::from(exit::FENCED)) {
                storm.report.event("zombie engine ended as fenced");
            } else {
                let log = zombie.last_lines(5);
                storm
                    .report
                    .finding(format!("a replaced engine ended with {status}; its log ends with\n{log}"));
            }
            return Ok(());
        }
        sleep(LOOK_EVERY).await;
    }
    if zombie.kill() {
        storm
            .report
            .finding(format!("{FENCED_LIMIT:?} after it was replaced and resumed an engine still ran"));
    }
    Ok(())
}
