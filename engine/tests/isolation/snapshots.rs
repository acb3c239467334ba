//! Which sessions hold back vacuum: who reads, and who may still read as of then; nobody else.

use std::time::Duration;

use crate::player::Stage;

/// Waits until no snapshot is in use; the passes in the background take some now and then.
async fn let_go(stage: &Stage) -> bool {
    for _ in 0..400 {
        if stage.database.txns.oldest_snapshot().is_none() {
            return true;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    false
}

const TABLE: &str = "create table t (id int primary key, n int); insert into t values (1, 1), (2, 2), (3, 3)";

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_transaction_at_read_committed_holds_nothing_back() {
    let stage = Stage::open().await;
    let client = stage.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    for step in [
        "begin",
        "select * from t",
        "update t set n = n + 1 where id = 1",
        "insert into t values (4, 4)",
        "prepare p (int) as select n from t where id = $1",
        "execute p (1)",
        "create table u (id int)",
        "savepoint a",
        "delete from t where id = 2",
        "rollback to a",
        "select n from t where id = 1 for update",
        "declare c cursor for select * from t",
        "fetch 1 from c",
        "close c",
        "explain select 1",
        "show transaction_isolation",
    ] {
        client.batch_execute(step).await.unwrap_or_else(|e| panic!("{step}: {e}"));
        let open_cursor = step.starts_with("declare") || step.starts_with("fetch");
        if !open_cursor {
            assert!(let_go(&stage).await, "a snapshot is held after: {step}");
        }
    }
    client.batch_execute("savepoint b").await.unwrap();
    client.batch_execute("select 1 / 0 from t").await.unwrap_err();
    assert!(let_go(&stage).await, "a failed block holds none");
    client.batch_execute("rollback to b").await.unwrap();
    let statement = client.prepare("select id from t where id > $1").await.unwrap();
    client.query(&statement, &[&0i32]).await.unwrap();
    assert!(let_go(&stage).await, "nor the extended protocol");
    client.batch_execute("commit").await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn who_may_still_read_keeps_the_snapshot() {
    let stage = Stage::open().await;
    let client = stage.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    assert!(let_go(&stage).await);
    client.batch_execute("begin isolation level repeatable read; select 1 from t").await.unwrap();
    let held = stage.database.txns.oldest_snapshot().expect("one is held");
    let other = stage.connect().await;
    other.batch_execute("update t set n = 100").await.unwrap();
    assert_eq!(stage.database.txns.oldest_snapshot(), Some(held));
    client.batch_execute("commit; begin; declare c cursor for select n from t where id = 1").await.unwrap();
    other.batch_execute("update t set n = 200").await.unwrap();
    let rows = client.simple_query("fetch all from c").await.unwrap();
    let shown = rows.iter().find_map(|message| match message {
        tokio_postgres::SimpleQueryMessage::Row(row) => row.get(0).map(str::to_owned),
        _ => None,
    });
    assert_eq!(shown.as_deref(), Some("100"), "a cursor shows what was there when it was declared");
    client.batch_execute("commit").await.unwrap();
    assert!(let_go(&stage).await);
}
