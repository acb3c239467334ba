//! Locks that wait, at each level of isolation.

use std::time::Duration;

use super::*;

/// Long enough for a task that is not blocked to get through.
async fn a_while() {
    tokio::time::sleep(Duration::from_millis(30)).await;
}

#[tokio::test]
async fn read_committed_waits_and_goes_on_from_the_newest_version() {
    let bed = Arc::new(Bed::new().await);
    let id = bed.committed(&[10]).await;
    let mut first = bed.begin();
    bed.update(&mut first, id, &[11]).await.unwrap();
    let second = {
        let bed = bed.clone();
        tokio::spawn(async move {
            let mut txn = bed.begin();
            let (outcome, row) = bed.lock(&mut txn, id).await.unwrap();
            assert_eq!(outcome, LockOutcome::Updated);
            bed.system.update(&mut txn, &bed.table, id, &[row[0] + 1]).await.unwrap();
            txn.commit().await.unwrap();
        })
    };
    a_while().await;
    assert!(!second.is_finished());
    first.commit().await.unwrap();
    second.await.unwrap();
    assert_eq!(bed.get(&bed.now(), id).await, Some(vec![12]));
}

#[tokio::test]
async fn repeatable_read_refuses_to_lose_an_update() {
    let bed = Bed::new().await;
    let id = bed.committed(&[10]).await;
    let mut reader = bed.begin_at(Isolation::RepeatableRead);
    assert_eq!(bed.get(&reader.snapshot(), id).await, Some(vec![10]));
    let mut writer = bed.begin();
    bed.update(&mut writer, id, &[11]).await.unwrap();
    writer.commit().await.unwrap();
    reader.begin_statement();
    assert_eq!(bed.get(&reader.snapshot(), id).await, Some(vec![10]), "its snapshot stands");
    let refused = bed.update(&mut reader, id, &[99]).await.unwrap_err();
    assert_eq!(refused.sqlstate(), "40001");
    assert!(refused.is_retryable());
    reader.rollback();
    // The same for a row that was deleted.
    let mut reader = bed.begin_at(Isolation::RepeatableRead);
    reader.snapshot();
    let mut writer = bed.begin();
    bed.delete(&mut writer, id).await.unwrap();
    writer.commit().await.unwrap();
    assert!(matches!(bed.lock(&mut reader, id).await, Err(TxnError::Serialization)));
}

#[tokio::test]
async fn who_waited_for_a_rollback_finds_the_row_as_it_was() {
    let bed = Arc::new(Bed::new().await);
    let id = bed.committed(&[10]).await;
    for isolation in [Isolation::ReadCommitted, Isolation::RepeatableRead] {
        let mut first = bed.begin();
        bed.delete(&mut first, id).await.unwrap();
        let second = {
            let bed = bed.clone();
            tokio::spawn(async move {
                let mut txn = bed.begin_at(isolation);
                bed.lock(&mut txn, id).await.unwrap()
            })
        };
        a_while().await;
        first.rollback();
        assert_eq!(second.await.unwrap(), (LockOutcome::Locked, vec![10]));
    }
}

#[tokio::test]
async fn a_row_deleted_meanwhile_is_gone() {
    let bed = Arc::new(Bed::new().await);
    let id = bed.committed(&[10]).await;
    let mut first = bed.begin();
    bed.delete(&mut first, id).await.unwrap();
    let second = {
        let bed = bed.clone();
        tokio::spawn(async move {
            let mut txn = bed.begin();
            bed.lock(&mut txn, id).await.unwrap().0
        })
    };
    a_while().await;
    first.commit().await.unwrap();
    assert_eq!(second.await.unwrap(), LockOutcome::Gone);
}

#[tokio::test]
async fn a_deadlock_costs_one_victim() {
    let bed = Arc::new(Bed::new().await);
    let (a, b) = (bed.committed(&[1]).await, bed.committed(&[2]).await);
    let mut first = bed.begin();
    let mut second = bed.begin();
    bed.update(&mut first, a, &[3]).await.unwrap();
    bed.update(&mut second, b, &[4]).await.unwrap();
    let waits = {
        let bed = bed.clone();
        tokio::spawn(async move {
            let outcome = bed.update(&mut first, b, &[5]).await.unwrap();
            first.commit().await.unwrap();
            outcome
        })
    };
    a_while().await;
    let victim = bed.update(&mut second, a, &[6]).await.unwrap_err();
    assert_eq!(victim.sqlstate(), "40P01");
    second.rollback();
    assert_eq!(waits.await.unwrap(), LockOutcome::Locked);
    assert_eq!(bed.get(&bed.now(), b).await, Some(vec![5]));
}

#[tokio::test]
async fn shared_row_locks_and_timeouts() {
    let bed = Bed::new().await;
    let id = bed.committed(&[1]).await;
    let lock = |lock, wait| {
        let bed = &bed;
        async move {
            let mut txn = bed.begin();
            txn.set_lock_timeout(Some(Duration::from_millis(20)));
            let got = bed.system.lock_row(&mut txn, &bed.table, id, lock, wait, &mut Vec::new()).await;
            got.map(|_| txn)
        }
    };
    let key_share = lock(RowLock::KeyShare, LockWait::Block).await.unwrap();
    let no_key_update = lock(RowLock::NoKeyUpdate, LockWait::NoWait).await.unwrap();
    let busy = lock(RowLock::Share, LockWait::NoWait).await.err().unwrap();
    assert_eq!(busy.sqlstate(), "55P03");
    let late = lock(RowLock::Update, LockWait::Block).await.err().unwrap();
    assert!(matches!(late, TxnError::LockTimeout));
    drop((key_share, no_key_update));
    lock(RowLock::Update, LockWait::NoWait).await.unwrap();
}

#[tokio::test]
async fn table_locks_keep_ddl_and_writers_apart() {
    use crate::txn::TableLock;
    let bed = Bed::new().await;
    let mut writer = bed.begin();
    let mut other = bed.begin();
    let mut ddl = bed.begin();
    for txn in [&mut writer, &mut other] {
        txn.lock_table(1, TableLock::RowExclusive, LockWait::NoWait).await.unwrap();
    }
    let refused = ddl.lock_table(1, TableLock::AccessExclusive, LockWait::NoWait).await;
    assert!(matches!(refused, Err(TxnError::LockNotAvailable)));
    writer.commit().await.unwrap();
    other.rollback();
    ddl.lock_table(1, TableLock::AccessExclusive, LockWait::NoWait).await.unwrap();
    let mut reader = bed.begin();
    let refused = reader.lock_table(1, TableLock::AccessShare, LockWait::NoWait).await;
    assert!(refused.is_err());
    reader.lock_table(2, TableLock::AccessShare, LockWait::NoWait).await.unwrap();
}

#[tokio::test]
async fn a_cancelled_wait_leaves_nothing_behind() {
    let bed = Arc::new(Bed::new().await);
    let id = bed.committed(&[10]).await;
    let mut first = bed.begin();
    bed.update(&mut first, id, &[11]).await.unwrap();
    let second = {
        let bed = bed.clone();
        tokio::spawn(async move {
            let mut txn = bed.begin();
            let _ = bed.lock(&mut txn, id).await;
        })
    };
    a_while().await;
    second.abort();
    assert!(second.await.unwrap_err().is_cancelled());
    first.commit().await.unwrap();
    let mut third = bed.begin();
    let mut out = Vec::new();
    let got = bed.system.lock_row(&mut third, &bed.table, id, RowLock::Update, LockWait::NoWait, &mut out);
    assert_eq!(got.await.unwrap(), LockOutcome::Locked);
    assert_eq!(out, [11]);
}
