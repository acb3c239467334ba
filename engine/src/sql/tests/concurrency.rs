//! Two transactions at once.

use std::time::Duration;

use super::*;
use crate::types::sqlstate;

async fn accounts() -> (Client, Client) {
    let mut c = fresh().await;
    c.run(&[
        "create table t (id int primary key, n int, tag text)",
        "insert into t values (1, 10, 'a'), (2, 20, 'a')",
    ])
    .await;
    let other = Client::new(&c.db);
    (c, other)
}

/// Starts a statement in a transaction of its own; it should wait.
async fn blocked(
    mut client: Client,
    sql: &'static str,
) -> tokio::task::JoinHandle<(Client, SqlResult<String>)> {
    let task = tokio::spawn(async move {
        let result = client.try_sql(sql).await;
        (client, result)
    });
    tokio::time::sleep(Duration::from_millis(30)).await;
    assert!(!task.is_finished(), "{sql} should wait");
    task
}

#[tokio::test]
async fn read_committed_adds_to_the_newest_version() {
    let (mut a, mut b) = accounts().await;
    a.begin(Isolation::ReadCommitted);
    b.begin(Isolation::ReadCommitted);
    a.sql("update t set n = n + 1 where id = 1").await;
    let task = blocked(b, "update t set n = n + 100 where id = 1 returning n").await;
    a.commit().await;
    let (mut b, result) = task.await.unwrap();
    assert_eq!(result.unwrap(), "111");
    b.commit().await;
    assert_eq!(a.sql("select n from t where id = 1").await, "111");
}

#[tokio::test]
async fn read_committed_judges_the_newest_version_again() {
    let (mut a, mut b) = accounts().await;
    a.begin(Isolation::ReadCommitted);
    b.begin(Isolation::ReadCommitted);
    a.sql("update t set tag = 'b' where id = 1").await;
    let task = blocked(b, "delete from t where tag = 'a'").await;
    a.commit().await;
    let (mut b, result) = task.await.unwrap();
    assert_eq!(result.unwrap(), "DELETE 1", "row 1 is no longer meant");
    b.commit().await;
    assert_eq!(a.sql("select id, tag from t").await, "1|b");
}

#[tokio::test]
async fn a_row_deleted_meanwhile_is_skipped_and_one_rolled_back_is_not() {
    let (mut a, mut b) = accounts().await;
    a.begin(Isolation::ReadCommitted);
    b.begin(Isolation::ReadCommitted);
    a.sql("delete from t where id = 1").await;
    let task = blocked(b, "update t set n = 0 where id = 1").await;
    a.commit().await;
    let (mut b, result) = task.await.unwrap();
    assert_eq!(result.unwrap(), "UPDATE 0");
    b.rollback();
    a.begin(Isolation::ReadCommitted);
    a.sql("update t set n = 99 where id = 2").await;
    b.begin(Isolation::ReadCommitted);
    let task = blocked(b, "update t set n = n + 1 where id = 2 returning n").await;
    a.rollback();
    let (_, result) = task.await.unwrap();
    assert_eq!(result.unwrap(), "21");
}

#[tokio::test]
async fn repeatable_read_raises_40001_and_keeps_its_snapshot() {
    let (mut a, mut b) = accounts().await;
    b.begin(Isolation::RepeatableRead);
    assert_eq!(b.sql("select n from t where id = 1").await, "10");
    a.sql("update t set n = 11 where id = 1").await;
    assert_eq!(b.sql("select n from t where id = 1").await, "10");
    let e = b.err("update t set n = n + 1 where id = 1").await;
    assert_eq!(e.sqlstate, sqlstate::SERIALIZATION_FAILURE);
    b.rollback();
    assert_eq!(b.sql("select n from t where id = 1").await, "11");
}

#[tokio::test]
async fn a_deadlock_has_one_victim() {
    let (mut a, mut b) = accounts().await;
    a.begin(Isolation::ReadCommitted);
    b.begin(Isolation::ReadCommitted);
    a.sql("update t set n = 1 where id = 1").await;
    b.sql("update t set n = 2 where id = 2").await;
    let task = blocked(b, "update t set n = 2 where id = 1").await;
    let e = a.err("update t set n = 1 where id = 2").await;
    assert_eq!(e.sqlstate, sqlstate::DEADLOCK);
    a.rollback();
    let (mut b, result) = task.await.unwrap();
    assert_eq!(result.unwrap(), "UPDATE 1");
    b.commit().await;
}

#[tokio::test]
async fn select_for_update_locks_and_rereads() {
    let (mut a, mut b) = accounts().await;
    a.begin(Isolation::ReadCommitted);
    assert_eq!(a.sql("select n from t where id = 1 for update").await, "10");
    b.begin(Isolation::ReadCommitted);
    let e = b.err("select n from t where id = 1 for update nowait").await;
    assert_eq!(e.sqlstate, sqlstate::LOCK_NOT_AVAILABLE);
    b.rollback();
    b.begin(Isolation::ReadCommitted);
    assert_eq!(b.sql("select id from t order by id for update skip locked").await, "2");
    b.rollback();
    b.begin(Isolation::ReadCommitted);
    assert_eq!(b.sql("select n from t where id = 1").await, "10", "readers never wait");
    let task = blocked(b, "select n from t where id = 1 for update").await;
    a.sql("update t set n = 15 where id = 1").await;
    a.commit().await;
    let (_, result) = task.await.unwrap();
    assert_eq!(result.unwrap(), "15");
}

#[tokio::test]
async fn the_second_of_two_equal_keys_waits_for_the_first() {
    let (mut a, mut b) = accounts().await;
    a.begin(Isolation::ReadCommitted);
    a.sql("insert into t values (3, 0, 'x')").await;
    b.begin(Isolation::ReadCommitted);
    let task = blocked(b, "insert into t values (3, 1, 'y')").await;
    a.rollback();
    let (mut b, result) = task.await.unwrap();
    assert_eq!(result.unwrap(), "INSERT 0 1");
    let mut c = Client::new(&a.db);
    c.begin(Isolation::ReadCommitted);
    let task = blocked(c, "insert into t values (3, 2, 'z')").await;
    b.commit().await;
    let (_, result) = task.await.unwrap();
    assert_eq!(result.unwrap_err().sqlstate, sqlstate::UNIQUE_VIOLATION);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn concurrent_increments_are_all_there() {
    let (mut a, _) = accounts().await;
    let tasks: Vec<_> = (0..8)
        .map(|_| {
            let mut c = Client::new(&a.db);
            tokio::spawn(async move {
                for _ in 0..50 {
                    c.sql("update t set n = n + 1 where id = 1").await;
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.unwrap();
    }
    assert_eq!(a.sql("select n from t where id = 1").await, "410");
}
