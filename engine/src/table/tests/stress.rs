//! Many threads at once: sums stay, nobody hangs.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use super::*;

const ACCOUNTS: usize = 20;
const START: i64 = 1000;

fn balance(row: &[u8]) -> i64 {
    i64::from_le_bytes(row[..8].try_into().unwrap())
}

fn row(balance: i64) -> Vec<u8> {
    [&balance.to_le_bytes()[..], &[b'.'; 50]].concat()
}

/// A small generator: tests need variety, not quality.
pub(super) struct Dice(pub(super) u64);

impl Dice {
    pub(super) fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as usize % sides
    }
}

/// Moves money; false when the transaction has to be tried again.
async fn transfer(bed: &Bed, isolation: Isolation, from: RowId, to: RowId, amount: i64) -> bool {
    let mut txn = bed.begin_at(isolation);
    for (id, change) in [(from, -amount), (to, amount)] {
        txn.begin_statement();
        match bed.lock(&mut txn, id).await {
            Ok((LockOutcome::Locked | LockOutcome::Updated, old)) => {
                let new = row(balance(&old) + change);
                bed.system.update(&mut txn, &bed.table, id, &new).await.unwrap();
            }
            Ok(other) => panic!("{other:?}"),
            Err(error) if error.is_retryable() => return false,
            Err(error) => panic!("{error}"),
        }
    }
    if amount % 5 == 0 {
        txn.rollback();
    } else {
        txn.commit().await.unwrap();
    }
    true
}

async fn sum(bed: &Bed, snapshot: &Snapshot) -> i64 {
    let rows = bed.scan(snapshot).await;
    assert_eq!(rows.len(), ACCOUNTS);
    rows.iter().map(|(_, r)| balance(r)).sum()
}

async fn bank(isolation: Isolation, cache: usize) {
    let bed = Arc::new(Bed::with_cache(MemoryStore::new(), cache).await);
    let mut ids = Vec::new();
    for _ in 0..ACCOUNTS {
        ids.push(bed.committed(&row(START)).await);
    }
    let (over, refused) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicU64::new(0)));
    let mut writers = Vec::new();
    for writer in 0..8 {
        let (bed, ids, refused) = (bed.clone(), ids.clone(), refused.clone());
        writers.push(tokio::spawn(async move {
            let mut dice = Dice(writer);
            for _ in 0..300 {
                let (from, to) = (dice.roll(ACCOUNTS), dice.roll(ACCOUNTS));
                let amount = 1 + dice.roll(50) as i64;
                if from != to && !transfer(&bed, isolation, ids[from], ids[to], amount).await {
                    refused.fetch_add(1, Ordering::Relaxed);
                }
            }
        }));
    }
    let mut others = Vec::new();
    for reader in 0..2 {
        let (bed, over) = (bed.clone(), over.clone());
        others.push(tokio::spawn(async move {
            let mut last = sextant_redo::Lsn::ZERO;
            while !over.load(Ordering::Relaxed) {
                let snapshot = bed.now();
                assert!(snapshot.lsn >= last);
                last = snapshot.lsn;
                assert_eq!(sum(&bed, &snapshot).await, START * ACCOUNTS as i64);
                if reader == 0 {
                    // An old snapshot goes on telling the same.
                    tokio::time::sleep(Duration::from_millis(3)).await;
                    assert_eq!(sum(&bed, &snapshot).await, START * ACCOUNTS as i64);
                } else {
                    tokio::task::yield_now().await;
                }
            }
        }));
    }
    {
        let (bed, over) = (bed.clone(), over.clone());
        others.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                bed.system.tidy().await.unwrap();
                bed.system.vacuum_table(&bed.table, &[]).await.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        }));
    }
    {
        // Kills the engine again and again, at moments of the log's choosing.
        let (bed, over) = (bed.clone(), over.clone());
        others.push(tokio::spawn(async move {
            while !over.load(Ordering::Relaxed) {
                bed.store.hold_vdl(true);
                tokio::time::sleep(Duration::from_millis(2)).await;
                let after = bed.crash().await;
                assert_eq!(sum(&after, &after.now()).await, START * ACCOUNTS as i64);
                bed.store.hold_vdl(false);
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }));
    }
    for writer in writers {
        tokio::time::timeout(Duration::from_secs(60), writer).await.unwrap().unwrap();
    }
    over.store(true, Ordering::Relaxed);
    for other in others {
        other.await.unwrap();
    }
    assert_eq!(sum(&bed, &bed.now()).await, START * ACCOUNTS as i64);
    let after = bed.crash().await;
    assert_eq!(sum(&after, &after.now()).await, START * ACCOUNTS as i64);
    println!("{isolation:?}: {} transfers refused", refused.load(Ordering::Relaxed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn money_is_neither_made_nor_lost_under_read_committed() {
    bank(Isolation::ReadCommitted, CACHE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn money_is_neither_made_nor_lost_under_repeatable_read() {
    bank(Isolation::RepeatableRead, CACHE).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_counter_counts_every_increment() {
    let bed = Arc::new(Bed::new().await);
    let id = bed.committed(&row(0)).await;
    let mut tasks = Vec::new();
    for _ in 0..8 {
        let bed = bed.clone();
        tasks.push(tokio::spawn(async move {
            for _ in 0..200 {
                let mut txn = bed.begin();
                let (_, old) = bed.lock(&mut txn, id).await.unwrap();
                bed.system.update(&mut txn, &bed.table, id, &row(balance(&old) + 1)).await.unwrap();
                txn.commit().await.unwrap();
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(balance(&bed.get(&bed.now(), id).await.unwrap()), 1600);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_cache_much_smaller_than_the_data_only_costs_time() {
    let bed = Arc::new(Bed::with_cache(MemoryStore::new(), 64 * sextant_redo::PAGE_SIZE).await);
    let index = bed.index(false).await;
    let mut ids = Vec::new();
    for n in 0..3000i64 {
        let mut txn = bed.begin();
        let new = [&[1 + (n % 200) as u8][..], &row(1)[1..], &[b'x'; 500]].concat();
        ids.push(bed.insert_indexed(&mut txn, &index, &new).await.unwrap());
        txn.commit().await.unwrap();
    }
    let old = bed.now();
    let mut tasks = Vec::new();
    for task in 0..4u64 {
        let (bed, ids) = (bed.clone(), ids.clone());
        tasks.push(tokio::spawn(async move {
            let mut dice = Dice(task);
            for _ in 0..300 {
                let mut txn = bed.begin();
                let id = ids[dice.roll(ids.len())];
                let (outcome, mut new) = bed.lock(&mut txn, id).await.unwrap();
                assert!(matches!(outcome, LockOutcome::Locked | LockOutcome::Updated));
                new[100] = new[100].wrapping_add(1);
                bed.system.update(&mut txn, &bed.table, id, &new).await.unwrap();
                match dice.roll(4) {
                    0 => txn.rollback(),
                    _ => {
                        txn.commit().await.unwrap();
                    }
                }
            }
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    assert!(bed.scan(&old).await.iter().all(|(_, row)| row[100] == b'x'));
    drop(old);
    bed.system.tidy().await.unwrap();
    bed.system.vacuum_table(&bed.table, &[index]).await.unwrap();
    let rows = bed.scan(&bed.now()).await;
    let changes: u64 = rows.iter().map(|(_, row)| u64::from(row[100] - b'x')).sum();
    assert!(rows.len() == 3000 && (600..=1200).contains(&changes), "{} {changes}", rows.len());
    assert!(bed.store.page_reads() > 1000);
}
