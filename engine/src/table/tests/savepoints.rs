//! Savepoints below the session: versions, the commit table, locks, crashes.

use super::*;
use crate::txn::{Outcome, TxId};

#[tokio::test]
async fn what_is_behind_a_savepoint_is_taken_back_alone() {
    let bed = Bed::new().await;
    let row = bed.committed(b"zero").await;
    let mut txn = bed.begin();
    bed.update(&mut txn, row, b"one").await.unwrap();
    let outer = txn.set_savepoint();
    txn.begin_statement();
    bed.update(&mut txn, row, b"two").await.unwrap();
    let inner = txn.set_savepoint();
    txn.begin_statement();
    bed.delete(&mut txn, row).await.unwrap();
    let made = bed.insert(&mut txn, b"made").await;
    txn.begin_statement();
    assert_eq!(bed.get(&txn.snapshot(), row).await, None);
    assert_eq!(bed.get(&txn.snapshot(), made).await.as_deref(), Some(&b"made"[..]));
    txn.rollback_to_savepoint(inner);
    assert_eq!(bed.get(&txn.snapshot(), row).await.as_deref(), Some(&b"two"[..]));
    assert_eq!(bed.get(&txn.snapshot(), made).await, None);
    txn.rollback_to_savepoint(outer);
    assert_eq!(bed.get(&txn.snapshot(), row).await.as_deref(), Some(&b"one"[..]));
    bed.update(&mut txn, row, b"three").await.unwrap();
    txn.release_savepoint(outer);
    assert_eq!(bed.get(&bed.now(), row).await.as_deref(), Some(&b"zero"[..]), "nobody else sees any of it");
    txn.commit().await.unwrap();
    assert_eq!(bed.get(&bed.now(), row).await.as_deref(), Some(&b"three"[..]));
    assert_eq!(bed.scan(&bed.now()).await.len(), 1);
}

#[tokio::test]
async fn a_row_outlives_the_undo_of_versions_that_were_rolled_back_on_top_of_each_other() {
    let bed = Bed::new().await;
    let (row, other) = (bed.committed(b"zero").await, bed.committed(&[0; 3000]).await);
    let fill = async |txn: &mut Transaction| {
        for n in 1..=12u8 {
            txn.begin_statement();
            bed.update(txn, other, &[n; 3000]).await.unwrap();
        }
    };
    let mut txn = bed.begin();
    bed.update(&mut txn, row, b"one").await.unwrap();
    // What leads from the second version back to the first lies in another page than what leads further.
    fill(&mut txn).await;
    txn.set_savepoint();
    txn.begin_statement();
    bed.update(&mut txn, row, b"two").await.unwrap();
    txn.rollback();
    assert!(bed.system.tidy().await.unwrap().reclaimed > 0);
    // The pages serve others now.
    for _ in 0..3 {
        let mut txn = bed.begin();
        fill(&mut txn).await;
        txn.commit().await.unwrap();
    }
    assert_eq!(bed.get(&bed.now(), row).await.as_deref(), Some(&b"zero"[..]));
}

/// So many that their links do not fit one mini-transaction, nor one page of the commit table.
const MANY: usize = 2500;

#[tokio::test]
async fn many_subtransactions_commit_at_one_lsn_or_not_at_all() {
    let bed = Bed::new().await;
    let mut txn = bed.begin();
    let mut kept = Vec::new();
    for n in 0..MANY {
        let savepoint = txn.set_savepoint();
        let row = bed.insert(&mut txn, &(n as u32).to_le_bytes()).await;
        if n % 3 == 0 {
            txn.rollback_to_savepoint(savepoint);
        } else {
            kept.push((row, (n as u32).to_le_bytes().to_vec()));
        }
        txn.release_savepoint(savepoint);
    }
    let before = bed.crash().await;
    assert!(before.scan(&before.now()).await.is_empty(), "nothing of it happened before the commit record");
    let early = bed.now();
    txn.commit().await.unwrap();
    assert!(bed.scan(&early).await.is_empty());
    assert_eq!(bed.scan(&bed.now()).await, kept);
    let after = bed.crash().await;
    assert_eq!(after.scan(&after.now()).await, kept, "the commit table says so after a crash, too");
    after.system.tidy().await.unwrap();
    assert_eq!(after.scan(&after.now()).await, kept);
}

#[tokio::test]
async fn the_outcome_of_a_subtransaction_follows_its_transaction() {
    let bed = Bed::new().await;
    let mut txn = bed.begin();
    bed.insert(&mut txn, b"a").await;
    let top = txn.id().unwrap();
    let savepoint = txn.set_savepoint();
    let lost = {
        bed.insert(&mut txn, b"b").await;
        txn.write_id().await.unwrap()
    };
    txn.rollback_to_savepoint(savepoint);
    bed.insert(&mut txn, b"c").await;
    let kept = txn.write_id().await.unwrap();
    assert!(top < lost && lost < kept);
    assert_eq!(outcome(&bed, lost).await, Outcome::Aborted);
    assert_eq!(outcome(&bed, kept).await, Outcome::InProgress);
    let lsn = txn.commit().await.unwrap();
    assert_eq!(outcome(&bed, kept).await, Outcome::Committed(lsn));
    let after = bed.crash().await;
    let found = [outcome(&after, top).await, outcome(&after, lost).await, outcome(&after, kept).await];
    assert!(matches!(found, [Outcome::Committed(a), Outcome::Aborted, Outcome::Committed(b)] if a == b));
}

async fn outcome(bed: &Bed, id: TxId) -> Outcome {
    bed.system.pool().run(|| bed.system.outcome(id)).await.unwrap()
}

#[tokio::test]
async fn locks_go_back_to_what_they_were() {
    let bed = Bed::new().await;
    let (first, second) = (bed.committed(b"1").await, bed.committed(b"2").await);
    let mut a = bed.begin();
    let mut out = Vec::new();
    let (share, update) = (RowLock::KeyShare, RowLock::Update);
    bed.system.lock_row(&mut a, &bed.table, first, share, LockWait::Block, &mut out).await.unwrap();
    let savepoint = a.set_savepoint();
    bed.system.lock_row(&mut a, &bed.table, first, update, LockWait::Block, &mut out).await.unwrap();
    bed.update(&mut a, second, b"two").await.unwrap();
    let mut b = bed.begin();
    for row in [first, second] {
        let got = bed.system.lock_row(&mut b, &bed.table, row, share, LockWait::NoWait, &mut out).await;
        assert!(matches!(got, Err(TxnError::LockNotAvailable)));
    }
    a.rollback_to_savepoint(savepoint);
    for (row, lock) in [(first, RowLock::NoKeyUpdate), (second, update)] {
        bed.system.lock_row(&mut b, &bed.table, row, lock, LockWait::NoWait, &mut out).await.unwrap();
    }
    let got = bed.system.lock_row(&mut b, &bed.table, first, update, LockWait::NoWait, &mut out).await;
    assert!(matches!(got, Err(TxnError::LockNotAvailable)), "the key is still shared");
    a.rollback();
    bed.system.lock_row(&mut b, &bed.table, first, update, LockWait::NoWait, &mut out).await.unwrap();
}

#[tokio::test]
async fn garbage_of_what_was_taken_back_is_swept_and_nothing_else() {
    let bed = Bed::new().await;
    let index = bed.index(true).await;
    let mut txn = bed.begin();
    let row = bed.insert_indexed(&mut txn, &index, b"\x01a").await.unwrap();
    let savepoint = txn.set_savepoint();
    for key in 2..50u8 {
        txn.begin_statement();
        bed.update(&mut txn, row, &[key, key]).await.unwrap();
        bed.system.index_insert(&mut txn, &index, &bed.table, &[key], row, true).await.unwrap();
        let extra = bed.insert_indexed(&mut txn, &index, &[key + 100, 1]).await.unwrap();
        assert_ne!(extra, row);
        txn.rollback_to_savepoint(savepoint);
    }
    txn.commit().await.unwrap();
    let report = bed.system.vacuum_table(&bed.table, std::slice::from_ref(&index)).await.unwrap();
    assert_eq!((report.rows_removed, report.entries_removed), (48, 96));
    bed.system.tidy().await.unwrap();
    assert_eq!(bed.scan(&bed.now()).await, vec![(row, b"\x01a".to_vec())]);
}
