//! What of a read counts under SERIALIZABLE: two transactions read and write crosswise, and one of them is refused exactly
//! where each wrote what the other had read, or had looked for.

use super::*;

const REFUSED: &str = "could not serialize access due to read/write dependencies among transactions";

/// Rows 10, 20, ... 20,000 in many leaves.
const SETUP: [&str; 4] = [
    "create table t (id int primary key, n int, word text)",
    "create index t_n on t (n, word)",
    "insert into t select 10 * g, 10 * g, 'word' from generate_series(1, 2000) as g",
    "create table other (id int)",
];

struct Crossing {
    reads: [&'static str; 2],
    writes: [&'static str; 2],
}

/// Whether one of the two is refused.
async fn collide(crossing: &Crossing) -> bool {
    let mut a = fresh().await;
    a.run(&SETUP).await;
    let mut b = Client::new(&a.db);
    a.begin(Isolation::Serializable);
    b.begin(Isolation::Serializable);
    a.sql(crossing.reads[0]).await;
    b.sql(crossing.reads[1]).await;
    a.sql(crossing.writes[0]).await;
    let mut refused = None;
    match b.try_sql(crossing.writes[1]).await {
        Ok(_) => a.commit().await,
        Err(error) => refused = Some(error),
    }
    match b.txn.take().unwrap().commit().await {
        Ok(_) => {}
        Err(error) => refused = Some(error.into()),
    }
    if let Some(error) = &refused {
        assert_eq!((error.sqlstate, error.message.as_str()), ("40001", REFUSED));
        assert_eq!(error.hint.as_deref(), Some("The transaction might succeed if retried."));
    }
    refused.is_some()
}

async fn collides(reads: [&'static str; 2], writes: [&'static str; 2]) {
    assert!(collide(&Crossing { reads, writes }).await, "{reads:?} {writes:?}");
}

async fn passes(reads: [&'static str; 2], writes: [&'static str; 2]) {
    assert!(!collide(&Crossing { reads, writes }).await, "{reads:?} {writes:?}");
}

const A: &str = "select n from t where id = 100";
const B: &str = "select n from t where id = 200";

#[tokio::test]
async fn rows() {
    let writes = ["update t set word = 'a' where id = 200", "update t set word = 'b' where id = 100"];
    collides([A, B], writes).await;
    collides([A, B], ["delete from t where id = 200", "delete from t where id = 100"]).await;
    passes([A, B], ["update t set n = 1 where id = 110", "update t set n = 1 where id = 210"]).await;
    passes([A, B], ["insert into t values (205, 0)", "insert into t values (105, 0)"]).await;
}

#[tokio::test]
async fn keys_that_are_not_there() {
    let reads = ["select n from t where id = 105", "select n from t where id = 205"];
    collides(reads, ["insert into t values (205, 0)", "insert into t values (105, 0)"]).await;
    collides(reads, ["update t set id = 205 where id = 10", "update t set id = 105 where id = 20"]).await;
    passes(reads, ["insert into t values (206, 0)", "insert into t values (104, 0)"]).await;
}

#[tokio::test]
async fn ranges_and_their_edges() {
    let reads =
        ["select id from t where id > 100 and id <= 140", "select id from t where id >= 200 and id < 240"];
    collides(reads, ["insert into t values (239, 0)", "insert into t values (101, 0)"]).await;
    collides(reads, ["delete from t where id = 200", "delete from t where id = 140"]).await;
    passes(reads, ["update t set n = 0 where id = 240", "update t set n = 0 where id = 100"]).await;
    passes(reads, ["insert into t values (199, 0)", "insert into t values (141, 0)"]).await;
}

#[tokio::test]
async fn the_first_rows_of_an_order_in_either_direction() {
    let reads = ["select id from t order by id limit 1", "select id from t order by id desc limit 1"];
    collides(reads, ["insert into t values (20001, 0)", "insert into t values (1, 0)"]).await;
    collides(reads, ["delete from t where id = 20000", "delete from t where id = 10"]).await;
    passes(reads, ["insert into t values (10001, 0)", "insert into t values (10002, 0)"]).await;
}

#[tokio::test]
async fn conditions_on_the_first_column_of_an_index() {
    let reads = ["select id from t where n = 105", "select id from t where n = 205 and word = 'x'"];
    collides(reads, ["insert into t values (1, 205, 'x')", "insert into t values (2, 105, 'y')"]).await;
    collides(reads, ["update t set n = 205, word = 'x' where id = 10", "update t set n = 105 where id = 20"])
        .await;
    passes(reads, ["insert into t values (1, 205, 'y')", "insert into t values (2, 106, 'y')"]).await;
}

#[tokio::test]
async fn whole_tables() {
    let reads = ["select count(*) from t where word = 'x'", "select count(*) from other"];
    collides(reads, ["insert into other values (1)", "insert into t values (1, 1, 'y')"]).await;
    passes(reads, ["insert into t values (1, 1, 'y')", "insert into other values (1)"]).await;
    let reads = ["select count(*) from other", "select id from t where id = 10"];
    collides(reads, ["delete from t where id = 10", "insert into other select 1"]).await;
}

#[tokio::test]
async fn reads_of_changes_joins_and_subqueries() {
    let reads = [
        "update other set id = 1 where id in (select id from t where id = 100)",
        "select * from other join t on t.id = 200 where other.id = 0",
    ];
    collides(reads, ["insert into other values (0)", "update t set n = 0 where id = 100"]).await;
    passes(["select 1", "select 2"], ["insert into other values (0)", "update t set n = 0 where id = 100"])
        .await;
}

#[tokio::test]
async fn tables_that_are_emptied_and_indexes_that_go() {
    let mut a = fresh().await;
    a.run(&SETUP).await;
    let (mut b, mut c) = (Client::new(&a.db), Client::new(&a.db));
    for ddl in ["truncate t", "drop table t"] {
        // a missed what b does, b missed what c did first.
        b.begin(Isolation::Serializable);
        b.sql("select * from other").await;
        a.begin(Isolation::Serializable);
        c.begin(Isolation::Serializable);
        a.sql("select n from t where n = 105").await;
        a.sql("insert into other values (7)").await;
        c.sql("insert into other values (8)").await;
        c.commit().await;
        a.commit().await;
        let error = b.err(ddl).await;
        assert_eq!(error.sqlstate, "40001", "{ddl}");
        b.rollback();
    }
    b.begin(Isolation::Serializable);
    b.sql("select * from other").await;
    a.begin(Isolation::Serializable);
    a.sql("select n from t where n = 105").await;
    a.sql("insert into other values (7)").await;
    a.commit().await;
    c.sql("drop index t_n").await;
    let error = b.err("insert into t values (105, 105)").await;
    assert_eq!(error.sqlstate, "40001", "it has no index to be found by, and a table");
}

#[tokio::test]
async fn who_only_reads_is_not_refused_before_others_commit() {
    let mut a = fresh().await;
    a.run(&SETUP).await;
    let mut b = Client::new(&a.db);
    for _ in 0..3 {
        a.begin(Isolation::Serializable);
        b.begin(Isolation::Serializable);
        a.sql("select count(*) from t").await;
        b.sql("update t set n = n + 1 where id = 10").await;
        b.commit().await;
        a.sql("select n from t where id = 10").await;
        a.commit().await;
    }
}

#[tokio::test]
async fn a_key_that_was_freed_meanwhile_is_not_taken_again() {
    let mut a = fresh().await;
    a.run(&SETUP).await;
    let mut b = Client::new(&a.db);
    a.begin(Isolation::Serializable);
    a.sql("select * from other").await;
    b.sql("delete from t where id = 100").await;
    assert_eq!(a.err("insert into t values (100)").await.sqlstate, "40001");
    a.rollback();
    // It is free for whoever freed it, and for whoever came behind.
    a.begin(Isolation::Serializable);
    a.run(&["insert into t values (100)", "delete from t where id = 200", "insert into t values (200)"])
        .await;
    a.run(&["update t set id = id + 10 where id > 19990", "insert into t values (20000)"]).await;
    a.commit().await;
    assert_eq!(a.sql("select count(*) from t").await, "2001");
}
