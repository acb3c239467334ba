//! What one session sees of another, version by version.

use super::*;

#[tokio::test]
async fn a_row_is_seen_once_its_transaction_is_committed() {
    let bed = Bed::new().await;
    let before = bed.now();
    let mut txn = bed.begin();
    let id = bed.insert(&mut txn, b"hello").await;
    assert_eq!(bed.get(&bed.now(), id).await, None, "not committed");
    assert_eq!(bed.get(&txn.snapshot(), id).await, None, "not by the command that wrote it");
    txn.begin_statement();
    assert_eq!(bed.get(&txn.snapshot(), id).await, Some(b"hello".to_vec()));
    let lsn = txn.commit().await.unwrap();
    assert!(lsn <= bed.now().lsn);
    assert_eq!(bed.get(&bed.now(), id).await, Some(b"hello".to_vec()));
    assert_eq!(bed.get(&before, id).await, None, "an older snapshot does not see it");
    assert_eq!(bed.scan(&bed.now()).await, vec![(id, b"hello".to_vec())]);
    assert_eq!(bed.scan(&before).await, vec![]);
}

#[tokio::test]
async fn every_snapshot_sees_its_own_version() {
    let bed = Bed::new().await;
    let id = bed.committed(b"version 0").await;
    let mut snapshots = vec![(bed.now(), b"version 0".to_vec())];
    for n in 1..300u32 {
        let row = format!("version {n}{}", "x".repeat(n as usize % 40)).into_bytes();
        let mut txn = bed.begin();
        assert_eq!(bed.update(&mut txn, id, &row).await.unwrap(), LockOutcome::Locked);
        txn.commit().await.unwrap();
        if n % 7 == 0 {
            snapshots.push((bed.now(), row));
        }
    }
    let mut txn = bed.begin();
    bed.delete(&mut txn, id).await.unwrap();
    txn.commit().await.unwrap();
    bed.system.tidy().await.unwrap();
    for (snapshot, row) in &snapshots {
        assert_eq!(bed.get(snapshot, id).await.as_ref(), Some(row));
        assert_eq!(bed.scan(snapshot).await, vec![(id, row.clone())]);
    }
    assert_eq!(bed.get(&bed.now(), id).await, None);
}

#[tokio::test]
async fn a_transaction_sees_its_commands_one_by_one() {
    let bed = Bed::new().await;
    let id = bed.committed(b"a").await;
    let mut txn = bed.begin();
    let first = txn.snapshot();
    assert_eq!(bed.update(&mut txn, id, b"b").await.unwrap(), LockOutcome::Locked);
    assert_eq!(bed.update(&mut txn, id, b"c").await.unwrap(), LockOutcome::SelfModified);
    assert_eq!(bed.get(&txn.snapshot(), id).await, Some(b"a".to_vec()));
    txn.begin_statement();
    let second = txn.snapshot();
    assert_eq!(bed.update(&mut txn, id, b"c").await.unwrap(), LockOutcome::Locked);
    assert_eq!(bed.get(&first, id).await, Some(b"a".to_vec()));
    assert_eq!(bed.get(&second, id).await, Some(b"b".to_vec()));
    txn.begin_statement();
    assert_eq!(bed.get(&txn.snapshot(), id).await, Some(b"c".to_vec()));
    assert_eq!(bed.get(&bed.now(), id).await, Some(b"a".to_vec()), "others see what was committed");
    assert_eq!(bed.delete(&mut txn, id).await.unwrap(), LockOutcome::Locked);
    txn.begin_statement();
    assert_eq!(bed.get(&txn.snapshot(), id).await, None);
    assert_eq!(bed.update(&mut txn, id, b"d").await.unwrap(), LockOutcome::Gone);
    txn.commit().await.unwrap();
    assert_eq!(bed.get(&bed.now(), id).await, None);
}

#[tokio::test]
async fn what_is_rolled_back_never_happened() {
    let bed = Bed::new().await;
    let id = bed.committed(b"kept").await;
    let mut txn = bed.begin();
    let other = bed.insert(&mut txn, b"never").await;
    bed.update(&mut txn, id, b"changed").await.unwrap();
    txn.begin_statement();
    bed.update(&mut txn, id, b"changed again").await.unwrap();
    txn.rollback();
    assert_eq!(bed.get(&bed.now(), id).await, Some(b"kept".to_vec()));
    assert_eq!(bed.get(&bed.now(), other).await, None);
    // Dropped without a word, and by a deletion.
    let mut txn = bed.begin();
    bed.delete(&mut txn, id).await.unwrap();
    drop(txn);
    assert_eq!(bed.scan(&bed.now()).await, vec![(id, b"kept".to_vec())]);
    // The next writer builds on what was committed.
    let mut txn = bed.begin();
    assert_eq!(bed.lock(&mut txn, id).await.unwrap(), (LockOutcome::Locked, b"kept".to_vec()));
    bed.system.update(&mut txn, &bed.table, id, b"new").await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(bed.get(&bed.now(), id).await, Some(b"new".to_vec()));
}

#[tokio::test]
async fn rolled_back_heads_are_repaired_and_their_undo_pages_used_again() {
    let bed = Bed::new().await;
    let mut ids = Vec::new();
    for n in 0..50u8 {
        ids.push(bed.committed(&[n; 200]).await);
    }
    let reader = bed.now();
    for round in 0..40u8 {
        let mut txn = bed.begin();
        for id in &ids {
            bed.update(&mut txn, *id, &[200 + round; 200]).await.unwrap();
        }
        txn.rollback();
    }
    let report = bed.system.tidy().await.unwrap();
    assert!(report.repaired > 0);
    assert_eq!(report.reclaimed, 0, "somebody may still go through them");
    for (n, id) in ids.iter().enumerate() {
        assert_eq!(bed.get(&reader, *id).await, Some(vec![n as u8; 200]));
    }
    drop(reader);
    let report = bed.system.tidy().await.unwrap();
    assert!(report.reclaimed >= 10, "{report:?}");
    let pages = bed.system.undo.counts();
    // The same again finds the pages it needs.
    for _ in 0..40u8 {
        let mut txn = bed.begin();
        for id in &ids {
            bed.update(&mut txn, *id, &[7; 200]).await.unwrap();
        }
        txn.commit().await.unwrap();
        bed.system.tidy().await.unwrap();
    }
    let after = bed.system.undo.counts();
    assert!(after.0 + after.1 <= pages.0 + pages.1 + 2, "{pages:?} then {after:?}");
    let rows = bed.scan(&bed.now()).await;
    assert!(rows.iter().all(|(_, row)| row == &[7; 200]) && rows.len() == 50);
}

#[tokio::test]
async fn a_large_scan_spans_leaves_and_survives_changes_under_it() {
    let bed = Bed::new().await;
    let mut txn = bed.begin();
    let rows: Vec<Vec<u8>> = (0..2000u32).map(|n| n.to_be_bytes().repeat(20)).collect();
    let ids = bed.insert_many(&mut txn, &rows).await;
    txn.commit().await.unwrap();
    let snapshot = bed.now();
    let mut scan = TableScan::new(&bed.table, snapshot);
    let mut batch = RowBatch::new();
    let mut seen = Vec::new();
    let mut n = 0;
    while scan.next_batch(&bed.system, &mut batch).await.unwrap() {
        seen.extend(batch.iter().map(|(id, row)| (id, row.to_vec())));
        let mut txn = bed.begin();
        bed.update(&mut txn, ids[1999 - n], b"changed meanwhile").await.unwrap();
        bed.delete(&mut txn, ids[1000 + n]).await.unwrap();
        bed.insert(&mut txn, b"new").await;
        txn.commit().await.unwrap();
        n += 1;
    }
    assert!(n > 10);
    let wanted: Vec<_> = ids.into_iter().zip(rows).collect();
    assert_eq!(seen, wanted);
}

#[tokio::test]
async fn nothing_is_repaired_in_a_tree_that_was_dropped() {
    let bed = Bed::new().await;
    let tree = new_tree(&bed.system).await;
    let table = bed.system.table(7, tree);
    let mut txn = bed.begin();
    let id = bed.system.insert(&mut txn, &table, &[1; 300]).await.unwrap();
    txn.commit().await.unwrap();
    let mut txn = bed.begin();
    for n in 0..60u8 {
        txn.begin_statement();
        let mut out = Vec::new();
        let (lock, wait) = (RowLock::Update, LockWait::Block);
        let locked = bed.system.lock_row(&mut txn, &table, id, lock, wait, &mut out);
        assert_eq!(locked.await.unwrap(), LockOutcome::Locked);
        bed.system.update(&mut txn, &table, id, &[n; 300]).await.unwrap();
    }
    txn.rollback();
    let mut drop = bed.begin();
    drop.drop_tree(tree).await.unwrap();
    drop.commit().await.unwrap();
    bed.system.free_dropped().await.unwrap();
    let report = bed.system.tidy().await.unwrap();
    assert_eq!(report.repaired, 0);
    assert!(report.reclaimed > 0);
    // The page is another tree's by now, with rows of the same ids.
    let again = new_tree(&bed.system).await;
    assert_eq!(again.root, tree.root);
    let table = bed.system.table(8, again);
    let mut txn = bed.begin();
    let id = bed.system.insert(&mut txn, &table, b"another").await.unwrap();
    txn.commit().await.unwrap();
    assert_eq!(id, RowId(1));
    bed.system.tidy().await.unwrap();
    let mut out = Vec::new();
    assert!(bed.system.get(&bed.now(), &table, id, &mut out).await.unwrap());
    assert_eq!(out, b"another");
}
