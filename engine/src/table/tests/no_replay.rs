//! Opening after a crash costs the same however much was written before: the log is in the pages already, and transactions that
//! were in flight are only seen to be without an outcome. Counted in pages that an engine asks for, which no busy machine
//! changes; `sextant bench restart` takes the time of real processes.

use std::time::{Duration, Instant};

use super::*;

/// Transactions in flight when the engine is killed, each with a changed row.
const IN_FLIGHT: usize = 3000;
/// Bytes of a row that is changed as often as it takes.
const LARGE: usize = 2000;

/// What opening took.
struct Opened {
    log_bytes: u64,
    pages: u64,
    time: Duration,
}

/// Kills an engine after `log_bytes` of log with transactions in flight, and opens again.
async fn killed_after(log_bytes: u64) -> Opened {
    let bed = Bed::new().await;
    let mut txn = bed.begin();
    let held = bed.insert_many(&mut txn, &vec![b"as it was".to_vec(); IN_FLIGHT]).await;
    let busy = bed.insert_many(&mut txn, &vec![vec![0; LARGE]; 50]).await;
    txn.commit().await.unwrap();
    let mut rounds = 0u8;
    while bed.store.log_bytes() < log_bytes {
        rounds = rounds.wrapping_add(1);
        let mut txn = bed.begin();
        for row in &busy {
            bed.update(&mut txn, *row, &[rounds; LARGE]).await.unwrap();
        }
        txn.commit().await.unwrap();
        if rounds.is_multiple_of(16) {
            bed.system.tidy().await.unwrap();
        }
    }
    let mut in_flight = Vec::new();
    for row in &held {
        let mut txn = bed.begin();
        bed.update(&mut txn, *row, b"never committed").await.unwrap();
        in_flight.push(txn);
    }
    let log_bytes = bed.store.log_bytes();
    let store = bed.store.crash();

    let start = Instant::now();
    let again = Bed::open(store.clone()).await;
    let mut txn = again.begin();
    assert_eq!(again.get(&txn.snapshot(), held[7]).await, Some(b"as it was".to_vec()));
    // Nobody waits for a lock of a transaction that is not there any more.
    assert_eq!(again.update(&mut txn, held[7], b"goes on").await.unwrap(), LockOutcome::Locked);
    txn.commit().await.unwrap();
    let opened = Opened { log_bytes, pages: store.page_reads(), time: start.elapsed() };
    for row in held.iter().filter(|row| **row != held[7]).chain(&busy) {
        let expected = if busy.contains(row) { vec![rounds; LARGE] } else { b"as it was".to_vec() };
        assert_eq!(again.get(&again.now(), *row).await, Some(expected), "row {row:?}");
    }
    opened
}

#[tokio::test]
async fn opening_takes_the_same_after_little_and_after_much_log() {
    let little = killed_after(2 << 20).await;
    let much = killed_after(64 << 20).await;
    for opened in [&little, &much] {
        println!(
            "{} KiB of log: {} pages read, {:?} until the first commit",
            opened.log_bytes >> 10,
            opened.pages,
            opened.time
        );
    }
    assert!(much.log_bytes > 20 * little.log_bytes, "there is a difference that could show");
    assert!(much.pages <= little.pages + 4, "{} pages against {}", much.pages, little.pages);
    assert!(much.pages < 64, "{} pages", much.pages);
}
