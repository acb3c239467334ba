//! Unique keys, index scans, building an index, vacuum.

use std::ops::Bound;
use std::time::Duration;

use super::*;
use crate::btree::Direction;
use crate::table::{BuildError, IndexScan, VacuumReport};

async fn keys(bed: &Bed, index: &Index, direction: Direction) -> Vec<(u8, RowId)> {
    range(bed, index, Bound::Unbounded, Bound::Unbounded, direction).await
}

async fn range(
    bed: &Bed,
    index: &Index,
    lower: Bound<Vec<u8>>,
    upper: Bound<Vec<u8>>,
    direction: Direction,
) -> Vec<(u8, RowId)> {
    let mut scan = IndexScan::new(&bed.now(), index, lower, upper, direction);
    let mut batch = RowBatch::new();
    let mut found = Vec::new();
    while scan.next_batch(&bed.system, &mut batch).await.unwrap() {
        found.extend(batch.iter().map(|(row, key)| (key[0], row)));
    }
    found
}

/// Updates row and index as an executor does.
async fn update_indexed(bed: &Bed, index: &Index, row: RowId, new: &[u8]) -> Result<(), TxnError> {
    let mut txn = bed.begin();
    bed.update(&mut txn, row, new).await?;
    let key = key_of(new).unwrap();
    bed.system.index_insert(&mut txn, index, &bed.table, &key.bytes, row, key.distinct).await?;
    txn.commit().await?;
    Ok(())
}

#[tokio::test]
async fn a_live_key_is_refused_and_a_dead_one_is_not() {
    let bed = Bed::new().await;
    let index = bed.index(true).await;
    let mut txn = bed.begin();
    let first = bed.insert_indexed(&mut txn, &index, &[5, 1]).await.unwrap();
    let again = bed.insert_indexed(&mut txn, &index, &[5, 2]).await.unwrap_err();
    assert!(matches!(again, TxnError::UniqueViolation { index: 2, row } if row == first.0));
    assert_eq!(again.sqlstate(), "23505");
    txn.rollback();
    // Rolled back: the key is free.
    let mut txn = bed.begin();
    let second = bed.insert_indexed(&mut txn, &index, &[5, 3]).await.unwrap();
    txn.commit().await.unwrap();
    let mut txn = bed.begin();
    assert!(bed.insert_indexed(&mut txn, &index, &[5, 4]).await.is_err());
    txn.rollback();
    // Deleted by the same transaction, then by one that committed.
    let mut txn = bed.begin();
    bed.delete(&mut txn, second).await.unwrap();
    let third = bed.insert_indexed(&mut txn, &index, &[5, 5]).await.unwrap();
    txn.commit().await.unwrap();
    // Moved to another key: 5 is free, 6 is not.
    update_indexed(&bed, &index, third, &[6, 5]).await.unwrap();
    let mut txn = bed.begin();
    bed.insert_indexed(&mut txn, &index, &[5, 6]).await.unwrap();
    assert!(bed.insert_indexed(&mut txn, &index, &[6, 6]).await.is_err());
    txn.rollback();
    // NULLs differ from each other.
    let mut txn = bed.begin();
    bed.insert_indexed(&mut txn, &index, &[0, 1]).await.unwrap();
    bed.insert_indexed(&mut txn, &index, &[0, 2]).await.unwrap();
    txn.commit().await.unwrap();
}

#[tokio::test]
async fn an_undecided_key_is_waited_for() {
    let bed = Arc::new(Bed::new().await);
    let index = bed.index(true).await;
    for commit in [false, true] {
        let key = if commit { 8 } else { 7 };
        let mut first = bed.begin();
        bed.insert_indexed(&mut first, &index, &[key, 1]).await.unwrap();
        let second = {
            let (bed, index) = (bed.clone(), index.clone());
            tokio::spawn(async move {
                let mut txn = bed.begin();
                let done = bed.insert_indexed(&mut txn, &index, &[key, 2]).await;
                if done.is_ok() {
                    txn.commit().await.unwrap();
                }
                done.is_ok()
            })
        };
        tokio::time::sleep(Duration::from_millis(30)).await;
        assert!(!second.is_finished());
        if commit {
            first.commit().await.unwrap();
        } else {
            first.rollback();
        }
        assert_eq!(second.await.unwrap(), !commit);
    }
}

#[tokio::test]
async fn crossed_unique_waits_are_a_deadlock() {
    let bed = Arc::new(Bed::new().await);
    let index = bed.index(true).await;
    let (mut first, mut second) = (bed.begin(), bed.begin());
    bed.insert_indexed(&mut first, &index, &[1]).await.unwrap();
    bed.insert_indexed(&mut second, &index, &[2]).await.unwrap();
    let waits = {
        let (bed, index) = (bed.clone(), index.clone());
        tokio::spawn(async move { bed.insert_indexed(&mut first, &index, &[2]).await.is_ok() })
    };
    tokio::time::sleep(Duration::from_millis(30)).await;
    let victim = bed.insert_indexed(&mut second, &index, &[1]).await;
    assert!(matches!(victim, Err(TxnError::Deadlock)));
    second.rollback();
    assert!(waits.await.unwrap());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_that_insert_a_key_one_wins() {
    let bed = Arc::new(Bed::new().await);
    let index = bed.index(true).await;
    let mut tasks = Vec::new();
    for task in 0..16u8 {
        let (bed, index) = (bed.clone(), index.clone());
        tasks.push(tokio::spawn(async move {
            let mut won = Vec::new();
            for key in 1..100u8 {
                let mut txn = bed.begin();
                match bed.insert_indexed(&mut txn, &index, &[key, task]).await {
                    Ok(_) if (key ^ task) % 3 == 0 => txn.rollback(),
                    Ok(_) => {
                        txn.commit().await.unwrap();
                        won.push(key);
                    }
                    Err(TxnError::UniqueViolation { .. }) => {}
                    Err(error) => panic!("{error}"),
                }
            }
            won
        }));
    }
    let mut won = Vec::new();
    for task in tasks {
        won.extend(task.await.unwrap());
    }
    won.sort_unstable();
    assert_eq!(won, (1..100).collect::<Vec<u8>>());
    assert_eq!(bed.scan(&bed.now()).await.len(), 99);
}

#[tokio::test]
async fn ranges_are_prefixes_in_both_directions() {
    let bed = Bed::new().await;
    let index = bed.index(false).await;
    let mut txn = bed.begin();
    let mut rows = Vec::new();
    for n in 0..1500u32 {
        let key = (n % 250) as u8;
        rows.push((key, bed.insert_indexed(&mut txn, &index, &[key, 1, 2, 3]).await.unwrap()));
    }
    txn.commit().await.unwrap();
    rows.sort_unstable();
    assert_eq!(keys(&bed, &index, Direction::Forward).await, rows);
    let mut reversed = rows.clone();
    reversed.reverse();
    assert_eq!(keys(&bed, &index, Direction::Backward).await, reversed);
    let (included, excluded) = (Bound::Included, Bound::Excluded);
    for direction in [Direction::Forward, Direction::Backward] {
        for (lower, upper, least, most) in [
            (included(vec![10]), included(vec![12]), 10, 12),
            (excluded(vec![10]), excluded(vec![12]), 11, 11),
            (included(vec![10]), included(vec![10]), 10, 10),
            (excluded(vec![240]), Bound::Unbounded, 241, 249),
            (Bound::Unbounded, excluded(vec![3]), 0, 2),
            (excluded(vec![255]), Bound::Unbounded, 255, 255),
        ] {
            let mut found = range(&bed, &index, lower.clone(), upper.clone(), direction).await;
            if direction == Direction::Backward {
                found.reverse();
            }
            let wanted: Vec<_> = rows.iter().copied().filter(|(k, _)| (least..=most).contains(k)).collect();
            assert_eq!(found, wanted, "{lower:?} to {upper:?} {direction:?}");
        }
    }
}

#[tokio::test]
async fn a_built_index_serves_old_snapshots_and_finds_duplicates() {
    let bed = Bed::new().await;
    let moved = bed.committed(&[1]).await;
    let gone = bed.committed(&[2]).await;
    bed.committed(&[255]).await;
    let reader = bed.now();
    let mut txn = bed.begin();
    bed.update(&mut txn, moved, &[9]).await.unwrap();
    bed.delete(&mut txn, gone).await.unwrap();
    txn.commit().await.unwrap();
    let newer = bed.committed(&[2]).await;
    let index = bed.index(true).await;
    let mut txn = bed.begin();
    assert_eq!(bed.system.build_index(&mut txn, &index, &bed.table, 64 << 10).await.unwrap(), 4);
    txn.commit().await.unwrap();
    let found = keys(&bed, &index, Direction::Forward).await;
    assert_eq!(found, vec![(1, moved), (2, gone), (2, newer), (9, moved)]);
    assert_eq!(bed.get(&reader, gone).await, Some(vec![2]));
    bed.committed(&[9]).await;
    let index = bed.index(true).await;
    let mut txn = bed.begin();
    let refused = bed.system.build_index(&mut txn, &index, &bed.table, 64 << 10).await;
    assert!(matches!(refused, Err(BuildError::Txn(TxnError::UniqueViolation { .. }))));
}

#[tokio::test]
async fn vacuum_removes_what_nobody_can_see_and_nothing_else() {
    let bed = Bed::new().await;
    let index = bed.index(true).await;
    let mut ids = Vec::new();
    for key in 1..=200u8 {
        let mut txn = bed.begin();
        ids.push(bed.insert_indexed(&mut txn, &index, &[key, 0]).await.unwrap());
        if key > 190 {
            txn.rollback();
        } else {
            txn.commit().await.unwrap();
        }
    }
    let reader = bed.now();
    for id in &ids[..100] {
        let mut txn = bed.begin();
        bed.delete(&mut txn, *id).await.unwrap();
        txn.commit().await.unwrap();
    }
    update_indexed(&bed, &index, ids[150], &[250, 1]).await.unwrap();
    let indexes = [index.clone()];
    let report = bed.system.vacuum_table(&bed.table, &indexes).await.unwrap();
    assert_eq!((report.rows_removed, report.entries_removed), (10, 10), "only what was rolled back");
    assert_eq!(bed.scan(&reader).await.len(), 190);
    drop(reader);
    let mut writer = bed.begin();
    bed.update(&mut writer, ids[120], &[121, 9]).await.unwrap();
    let report = bed.system.vacuum_table(&bed.table, &indexes).await.unwrap();
    assert_eq!((report.rows_removed, report.entries_removed), (100, 101));
    writer.rollback();
    let report = bed.system.vacuum_table(&bed.table, &indexes).await.unwrap();
    let nothing = VacuumReport { rows_seen: 90, entries_seen: 90, ..VacuumReport::default() };
    assert_eq!(report, nothing);
    let mut found: Vec<u8> = keys(&bed, &index, Direction::Forward).await.iter().map(|k| k.0).collect();
    found.retain(|k| *k != 250);
    let wanted: Vec<u8> = (101..=190).filter(|k| *k != 151).collect();
    assert_eq!(found, wanted);
    assert_eq!(bed.scan(&bed.now()).await.len(), 90);
}

#[tokio::test]
async fn an_index_built_in_bulk_has_every_row() {
    let bed = Bed::new().await;
    let mut txn = bed.begin();
    let rows: Vec<[u8; 4]> = (0..20_000u32).map(|n| [(n * 7919 % 254) as u8, 1, 2, 3]).collect();
    let ids = bed.insert_many(&mut txn, &rows).await;
    txn.commit().await.unwrap();
    let index = bed.index(false).await;
    let mut txn = bed.begin();
    assert_eq!(bed.system.build_index(&mut txn, &index, &bed.table, 64 << 10).await.unwrap(), 20_000);
    txn.commit().await.unwrap();
    let mut wanted: Vec<(u8, RowId)> = rows.iter().map(|r| r[0]).zip(ids).collect();
    wanted.sort_unstable();
    assert_eq!(keys(&bed, &index, Direction::Forward).await, wanted);
    assert_eq!(bed.scan(&bed.now()).await.len(), 20_000);
}

#[tokio::test]
async fn the_cleaner_removes_what_writers_leave() {
    let bed = Bed::new().await;
    let index = bed.index(true).await;
    let mut ids = Vec::new();
    for key in 1..=100u8 {
        let mut txn = bed.begin();
        ids.push(bed.insert_indexed(&mut txn, &index, &[key, 0]).await.unwrap());
        txn.commit().await.unwrap();
    }
    let cleanable = crate::table::Cleanable { table: bed.table.clone(), indexes: vec![index.clone()] };
    let tables: crate::table::Tables = Box::new(move || vec![cleanable.clone()]);
    let reader = bed.now();
    for n in 0..30 {
        let mut txn = bed.begin();
        bed.delete(&mut txn, ids[n]).await.unwrap();
        txn.commit().await.unwrap();
        update_indexed(&bed, &index, ids[50 + n], &[150 + n as u8, 1]).await.unwrap();
        update_indexed(&bed, &index, ids[50 + n], &[200 + n as u8, 1]).await.unwrap();
    }
    let mut undecided = bed.begin();
    bed.delete(&mut undecided, ids[40]).await.unwrap();
    assert_eq!(bed.system.clean(&tables).await.unwrap(), VacuumReport::default(), "a reader sees it all");
    drop(reader);
    let report = bed.system.clean(&tables).await.unwrap();
    assert_eq!((report.rows_removed, report.entries_removed), (30, 90));
    undecided.rollback();
    assert_eq!(bed.system.clean(&tables).await.unwrap(), VacuumReport::default());
    assert_eq!(
        bed.system.vacuum_table(&bed.table, std::slice::from_ref(&index)).await.unwrap().entries_removed,
        0
    );
    let found: Vec<u8> = keys(&bed, &index, Direction::Forward).await.iter().map(|k| k.0).collect();
    let wanted: Vec<u8> = (31..=50).chain(81..=100).chain(200..230).collect();
    assert_eq!(found, wanted);
    assert_eq!(bed.scan(&bed.now()).await.len(), 70);
}
