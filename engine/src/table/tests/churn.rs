//! Keys that move about while the cleaner and vacuum remove what is left behind.

use std::collections::BTreeSet;
use std::ops::Bound;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::stress::Dice;
use super::*;
use crate::btree::Direction;
use crate::table::{Cleanable, IndexScan, Tables};

const KEYS: usize = 60;

/// One random transaction: moves a row to another key, deletes it, or inserts one.
async fn step(bed: &Bed, index: &Index, dice: &mut Dice) -> Result<(), TxnError> {
    let mut txn = bed.begin();
    let rows = bed.scan(&txn.snapshot()).await;
    let key = 1 + dice.roll(KEYS) as u8;
    let row = (!rows.is_empty()).then(|| rows[dice.roll(rows.len())].0);
    match (dice.roll(4), row) {
        (0, _) | (_, None) => {
            bed.insert_indexed(&mut txn, index, &[key, 7]).await?;
        }
        (1, Some(row)) => {
            bed.delete(&mut txn, row).await?;
        }
        (_, Some(row)) => {
            let outcome = bed.update(&mut txn, row, &[key, 8]).await?;
            if matches!(outcome, LockOutcome::Locked | LockOutcome::Updated) {
                bed.system.index_insert(&mut txn, index, &bed.table, &[key], row, true).await?;
            }
        }
    }
    match dice.roll(5) {
        0 => txn.rollback(),
        _ => {
            txn.commit().await?;
        }
    }
    Ok(())
}

/// Every live row has an entry, and no key has two live rows.
async fn check(bed: &Bed, index: &Index) {
    let snapshot = bed.now();
    let rows = bed.scan(&snapshot).await;
    let keys: BTreeSet<u8> = rows.iter().map(|(_, row)| row[0]).collect();
    assert_eq!(keys.len(), rows.len(), "no key twice: {rows:?}");
    let mut scan = IndexScan::new(&bed.now(), index, Bound::Unbounded, Bound::Unbounded, Direction::Forward);
    let mut entries = BTreeSet::new();
    let mut batch = RowBatch::new();
    while scan.next_batch(&bed.system, &mut batch).await.unwrap() {
        entries.extend(batch.iter().map(|(row, key)| (key[0], row)));
    }
    for (row, bytes) in &rows {
        assert!(entries.contains(&(bytes[0], *row)), "{row:?} {bytes:?} has no entry");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_index_leads_to_every_live_row_however_keys_move() {
    let bed = Arc::new(Bed::new().await);
    let index = bed.index(true).await;
    let cleanable = Cleanable { table: bed.table.clone(), indexes: vec![index.clone()] };
    let tables: Tables = Box::new(move || vec![cleanable.clone()]);
    let over = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for task in 0..6 {
        let (bed, index) = (bed.clone(), index.clone());
        writers.push(tokio::spawn(async move {
            let mut dice = Dice(task);
            for _ in 0..1500 {
                match step(&bed, &index, &mut dice).await {
                    Ok(()) | Err(TxnError::UniqueViolation { .. } | TxnError::Deadlock) => {}
                    Err(error) => panic!("{error}"),
                }
            }
        }));
    }
    let cleaner = {
        let (bed, index, over) = (bed.clone(), index.clone(), over.clone());
        tokio::spawn(async move {
            let mut removed = 0;
            while !over.load(Ordering::Relaxed) {
                removed += bed.system.clean(&tables).await.unwrap().entries_removed;
                bed.system.tidy().await.unwrap();
                check(&bed, &index).await;
                let report = bed.system.vacuum_table(&bed.table, std::slice::from_ref(&index)).await;
                report.unwrap();
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            bed.system.clean(&tables).await.unwrap();
            removed
        })
    };
    for writer in writers {
        tokio::time::timeout(Duration::from_secs(60), writer).await.unwrap().unwrap();
    }
    over.store(true, Ordering::Relaxed);
    assert!(cleaner.await.unwrap() > 0);
    check(&bed, &index).await;
    bed.system.vacuum_table(&bed.table, std::slice::from_ref(&index)).await.unwrap();
    check(&bed, &index).await;
    let again = bed.system.vacuum_table(&bed.table, std::slice::from_ref(&index)).await.unwrap();
    let live = bed.scan(&bed.now()).await.len() as u64;
    assert_eq!((again.rows_seen, again.entries_seen), (live, live), "nothing else is left");
}
