//! Values that are larger than a page.

use super::*;
use crate::types::sqlstate;

/// A table of ten rows, each with a value of 100 kB.
async fn documents() -> Client {
    let mut c = fresh().await;
    c.run(&[
        "create table t (id int primary key, n int, body text)",
        "insert into t select n, n * 10, repeat(n::text, 100000) from generate_series(1, 10) n",
    ])
    .await;
    c
}

/// The same volume with an empty cache, and how many pages a statement reads then.
async fn pages_read(store: &Arc<MemoryStore>, warm: &str, sql: &str) -> (u64, String) {
    let mut c = open(store).await;
    c.sql(warm).await;
    let before = store.page_reads();
    let result = c.sql(sql).await;
    (store.page_reads() - before, result)
}

#[tokio::test]
async fn large_values_are_values() {
    let mut c = documents().await;
    c.check(&[
        ("select count(*), sum(length(body)) from t", "10|1100000"),
        ("select id from t where body = repeat('7', 100000)", "7"),
        ("select length(body), substring(body, 1, 4) from t where id = 10", "200000|1010"),
        ("update t set n = n + 1 where id = 3 returning n, length(body)", "31|100000"),
        ("update t set body = body || 'x' where id = 3 returning length(body)", "100001"),
        ("update t set body = 'short' where id = 4", "UPDATE 1"),
        ("update t set body = null where id = 5", "UPDATE 1"),
        ("select id, length(body) from t where id between 3 and 5 order by id", "3|100001\n4|5\n5|-"),
        ("delete from t where length(body) > 100000 returning id", "3\n10"),
        ("select count(*) from t", "8"),
        ("insert into t select id + 100, n, body from t where id = 1", "INSERT 0 1"),
        ("select a.id, b.id from t a join t b on a.body = b.body and a.id < b.id", "1|101"),
        ("vacuum t", "VACUUM"),
        ("select sum(length(body)) from t", "700005"),
    ])
    .await;
    let mut again = Client::new(&c.db);
    again.begin(Isolation::RepeatableRead);
    assert_eq!(again.sql("select length(body) from t where id = 7").await, "100000");
    c.run(&["update t set body = 'now' where id = 7", "vacuum t"]).await;
    assert_eq!(again.sql("select length(body) from t where id = 7").await, "100000");
    again.commit().await;
    assert_eq!(c.sql("truncate t").await, "TRUNCATE TABLE");
    assert_eq!(c.sql("select count(*) from t").await, "0");
    assert_eq!(c.sql("drop table t").await, "DROP TABLE");
}

#[tokio::test]
async fn a_value_is_read_only_when_somebody_looks_at_it() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&[
        "create table t (id int primary key, n int, body text)",
        "insert into t select n, n * 10, repeat(n::text, 1000000) from generate_series(1, 9) n",
    ])
    .await;
    let warm = "select id from t where id = 1";
    for sql in [
        "select count(*) from t",
        "select sum(n) from t where n > 20",
        "select id from t where n = 50",
        "update t set n = n + 1",
        "select length(body) from t where n = 77",
        "delete from t where n = 21",
    ] {
        let (read, _) = pages_read(&store, warm, sql).await;
        assert!(read < 40, "{sql} read {read} pages");
    }
    let (read, result) = pages_read(&store, warm, "select length(body) from t where id = 5").await;
    assert_eq!(result, "1000000");
    assert!((130..170).contains(&read), "one value lies in {read} pages");
}

#[tokio::test]
async fn what_an_update_leaves_alone_is_not_written_again() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    // While somebody may still see every version the cleaner has nothing to write, which would count as the statement's.
    let mut reader = Client::new(&c.db);
    reader.begin(Isolation::RepeatableRead);
    reader.sql("select 1").await;
    c.run(&[
        "create table t (id int primary key, n int, body text, more text, check (length(body) > 5))",
        "insert into t values (1, 1, repeat('b', 1000000), repeat('m', 500000))",
    ])
    .await;
    for (sql, limit) in [
        ("update t set n = 2", 1_000),
        ("update t set n = 3 returning *", 1_000),
        ("update t set more = repeat('n', 500000)", 530_000),
        ("update t set more = null", 1_000),
    ] {
        let before = store.log_bytes();
        c.sql(sql).await;
        let logged = store.log_bytes() - before;
        assert!(logged < limit, "{sql} logged {logged} bytes");
    }
    reader.rollback();
    assert_eq!(c.sql("select n, length(body), more from t").await, "3|1000000|-");
    assert_eq!(c.err("update t set body = 'few'").await.sqlstate, sqlstate::CHECK_VIOLATION);
}

#[tokio::test]
async fn rows_of_many_middling_values_fit_too() {
    let mut c = fresh().await;
    c.run(&[
        "create table t (id int primary key, a text, b text, c text, d text, e text, f numeric)",
        "create index on t (b)",
        "insert into t select n, repeat('a', 1500), repeat('b', 1400) || n, repeat('c', 1300), repeat('d', 1200), \
         repeat('e', 1100), 7 from generate_series(1, 50) n",
    ])
    .await;
    c.check(&[
        ("select id from t where b = repeat('b', 1400) || 33", "33"),
        ("update t set b = 'now' where id = 33", "UPDATE 1"),
        ("select id from t where b = repeat('b', 1400) || 33", ""),
        ("select id from t where b = 'now'", "33"),
        ("delete from t where id <= 20", "DELETE 20"),
        ("vacuum t", "VACUUM"),
        ("select count(*), sum(length(a) + length(c) + length(d) + length(e)) from t", "30|153000"),
    ])
    .await;
    c.sql("create unique index on t (b)").await;
    let error = c.err("insert into t select 99, a, b, c, d, e, f from t where id = 40").await;
    assert_eq!(error.sqlstate, sqlstate::UNIQUE_VIOLATION);
    c.sql("create unique index on t (d, id)").await;
    assert_eq!(c.err("create unique index on t (d)").await.sqlstate, sqlstate::UNIQUE_VIOLATION);
}

#[tokio::test]
async fn a_key_has_a_limit_and_says_so() {
    let mut c = fresh().await;
    c.run(&["create table t (id int, body text)", "create index by_body on t (body)"]).await;
    let error = c.err("insert into t values (1, repeat('x', 5000))").await;
    assert_eq!(error.sqlstate, sqlstate::PROGRAM_LIMIT);
    assert!(error.message.starts_with("index row size 50"), "{error}");
    assert!(error.message.ends_with("for index \"by_body\""), "{error}");
    c.run(&["drop index by_body", "insert into t values (1, repeat('x', 5000))"]).await;
    assert_eq!(c.err("create index on t (body)").await.sqlstate, sqlstate::PROGRAM_LIMIT);
    c.sql("insert into t values (2, repeat('x', 500000))").await;
    assert_eq!(c.err("create index on t (body)").await.sqlstate, sqlstate::PROGRAM_LIMIT);
    assert_eq!(c.sql("select id, length(body) from t order by id").await, "1|5000\n2|500000");
}

#[tokio::test]
async fn savepoints_crashes_and_copy_with_large_values() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.sql("create table t (id int primary key, body text)").await;
    let long = "y".repeat(300_000);
    let lines: Vec<Vec<Option<&str>>> = vec![vec![Some("1"), Some(&long)], vec![Some("2"), Some("short")]];
    let lines: Vec<&[Option<&str>]> = lines.iter().map(Vec::as_slice).collect();
    assert_eq!(c.copy("copy t from stdin", &lines).await.unwrap(), 2);
    c.begin(Isolation::ReadCommitted);
    c.sql("update t set body = repeat('z', 200000)").await;
    let mut after = open(&store.crash()).await;
    after
        .check(&[("select id, length(body) from t order by id", "1|300000\n2|5"), ("vacuum t", "VACUUM")])
        .await;
    after.sql("update t set body = body || body").await;
    assert_eq!(after.sql("select sum(length(body)) from t").await, "600010");
    c.rollback();
    c.check(&[("vacuum t", "VACUUM"), ("select id, length(body) from t order by id", "1|300000\n2|5")]).await;
}

#[tokio::test]
async fn foreign_keys_and_the_catalog_with_large_values() {
    let mut c = fresh().await;
    c.run(&[
        "create table p (id int primary key)",
        "create table ch (id int primary key, p int references p on delete set null on update cascade, body text)",
        "insert into p values (1), (2)",
        "insert into ch select n, 1, repeat('x', 50000) from generate_series(1, 3) n",
        "update p set id = 3 where id = 1",
        "delete from p where id = 3",
    ])
    .await;
    assert_eq!(
        c.sql("select id, p, length(body) from ch order by id").await,
        "1|-|50000\n2|-|50000\n3|-|50000"
    );
    let list = (0..3000).map(|n| n.to_string()).collect::<Vec<_>>().join(", ");
    c.sql(&format!("create table k (n int check (n in ({list})))")).await;
    c.sql("insert into k values (2999)").await;
    assert_eq!(c.err("insert into k values (3000)").await.sqlstate, sqlstate::CHECK_VIOLATION);
    assert_eq!(c.sql("alter table ch add column extra int not null default 5").await, "ALTER TABLE");
    assert_eq!(c.sql("select sum(extra), sum(length(body)) from ch").await, "15|150000");
}
