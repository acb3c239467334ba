//! DDL: transactional, durable, and what it does to plans.

use super::*;
use crate::types::sqlstate;

#[tokio::test]
async fn ddl_rolls_back() {
    let mut c = fresh().await;
    c.run(&["create table keep (id int primary key)", "insert into keep values (1)"]).await;
    c.begin(Isolation::ReadCommitted);
    c.run(&[
        "create table made (id serial primary key)",
        "insert into made default values",
        "drop table keep",
        "create table keep (other text)",
        "insert into keep values ('x')",
    ])
    .await;
    assert_eq!(c.sql("select * from keep").await, "x");
    c.rollback();
    assert_eq!(c.sql("select * from keep").await, "1");
    assert_eq!(c.err("select * from made").await.sqlstate, sqlstate::UNDEFINED_TABLE);
    c.check(&[("select count(*) from pg_class where relname in ('made', 'made_id_seq', 'made_pkey')", "0")])
        .await;
    c.run(&["create table made (id int)"]).await;
}

#[tokio::test]
async fn truncate_is_transactional() {
    let mut c = fresh().await;
    c.run(&["create table a (id int primary key)", "create table b (x int)"]).await;
    c.run(&["insert into a select n from generate_series(1, 500) n", "insert into b values (1)"]).await;
    c.begin(Isolation::ReadCommitted);
    c.check(&[
        ("truncate table a, b", "TRUNCATE TABLE"),
        ("select count(*) from a", "0"),
        ("insert into a values (1)", "INSERT 0 1"),
        ("select count(*) from a", "1"),
    ])
    .await;
    c.rollback();
    c.check(&[
        ("select count(*) from a", "500"),
        ("truncate a", "TRUNCATE TABLE"),
        ("select count(*) from a", "0"),
    ])
    .await;
    c.check(&[("insert into a values (7)", "INSERT 0 1"), ("select * from a where id = 7", "7")]).await;
}

#[tokio::test]
async fn notices() {
    let mut c = fresh().await;
    c.run(&["drop table if exists x, y", "create table x (a int)", "create table if not exists x (b int)"])
        .await;
    assert_eq!(
        c.notices,
        [
            "table \"x\" does not exist, skipping",
            "table \"y\" does not exist, skipping",
            "relation \"x\" already exists, skipping",
        ]
    );
}

#[tokio::test]
async fn primary_keys_and_indexes_over_existing_rows() {
    let mut c = fresh().await;
    c.run(&[
        "create table t (a int, b int)",
        "insert into t select n, n % 10 from generate_series(1, 1000) n",
    ])
    .await;
    c.check(&[
        ("alter table t add primary key (a)", "ALTER TABLE"),
        ("create index on t (b)", "CREATE INDEX"),
        ("create unique index u on t (b, a desc)", "CREATE INDEX"),
        ("select count(*) from t where b = 3", "100"),
        ("select a from t where b = 3 order by a desc limit 1", "993"),
        ("drop index t_b_idx", "DROP INDEX"),
    ])
    .await;
    assert_eq!(c.err("insert into t values (1, 1)").await.constraint.as_deref(), Some("t_pkey"));
    assert_eq!(c.err("insert into t values (null, 1)").await.sqlstate, sqlstate::NOT_NULL_VIOLATION);
    let e = c.err("create unique index on t (b)").await;
    assert_eq!(
        (e.sqlstate, e.message.as_str()),
        (sqlstate::UNIQUE_VIOLATION, "could not create unique index \"t_b_idx\"")
    );
    assert!(e.detail.as_deref().unwrap().ends_with("is duplicated."), "{e:?}");
    c.run(&["create table n (a int)", "insert into n values (null)"]).await;
    let e = c.err("alter table n add primary key (a)").await;
    assert_eq!(e.message, "column \"a\" of relation \"n\" contains null values");
    assert_eq!(c.sql("select attnotnull from pg_attribute where attrelid = 'n'::regclass").await, "f");
}

#[tokio::test]
async fn a_crash_keeps_schema_and_rows() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&[
        "create schema s",
        "create table s.t (id serial primary key, c char(4) default 'ab', n numeric(6,2))",
        "create index i on s.t (n desc)",
        "insert into s.t (n) values (1.5), (2.25)",
    ])
    .await;
    c.begin(Isolation::ReadCommitted);
    c.run(&["insert into s.t (n) values (9)", "create table gone (a int)"]).await;
    let mut again = open(&store.crash()).await;
    again
        .check(&[
            ("select id, c, n from s.t order by n desc", "2|ab  |2.25\n1|ab  |1.50"),
            ("select count(*) from pg_class where relname = 'gone'", "0"),
        ])
        .await;
    let id: i32 = again.sql("insert into s.t (n) values (3) returning id").await.parse().unwrap();
    assert!(id > 2, "no value twice: {id}");
    assert_eq!(again.err("insert into s.t (id) values (1)").await.constraint.as_deref(), Some("t_pkey"));
}

#[tokio::test]
async fn prepared_plans_follow_the_catalog() {
    let mut c = fresh().await;
    c.run(&["create table t (id int, v int)", "insert into t values (1, 10), (2, 20)"]).await;
    let p = c.prepare("select v from t where id = $1", &[]).await.unwrap();
    assert_eq!(c.execute(&p, vec![Datum::Int4(2)]).await.unwrap().0, [[Datum::Int4(20)]]);
    c.run(&["alter table t add primary key (id)"]).await;
    assert!(p.is_stale(&c.db, None));
    assert_eq!(c.execute(&p, vec![Datum::Int4(2)]).await.unwrap().0, [[Datum::Int4(20)]]);
    c.run(&["truncate t", "insert into t values (2, 22)"]).await;
    assert_eq!(c.execute(&p, vec![Datum::Int4(2)]).await.unwrap().0, [[Datum::Int4(22)]]);
    c.run(&["drop table t"]).await;
    let e = c.execute(&p, vec![Datum::Int4(2)]).await.unwrap_err();
    assert_eq!(e.sqlstate, sqlstate::UNDEFINED_TABLE);
    c.run(&["create table t (id int, v text)"]).await;
    let e = c.execute(&p, vec![Datum::Int4(2)]).await.unwrap_err();
    assert_eq!(e.sqlstate, sqlstate::FEATURE_NOT_SUPPORTED);
}

#[tokio::test]
async fn ddl_waits_for_users_of_the_table() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key)", "insert into t values (1)"]).await;
    let mut reader = Client::new(&c.db);
    reader.begin(Isolation::ReadCommitted);
    assert_eq!(reader.sql("select * from t").await, "1");
    let db = c.db.clone();
    let dropping = tokio::spawn(async move { Client::new(&db).sql("drop table t").await });
    tokio::time::sleep(std::time::Duration::from_millis(30)).await;
    assert!(!dropping.is_finished(), "the table is in use");
    assert_eq!(reader.sql("select * from t where id = 1").await, "1");
    reader.commit().await;
    assert_eq!(dropping.await.unwrap(), "DROP TABLE");
    assert_eq!(reader.err("select * from t").await.sqlstate, sqlstate::UNDEFINED_TABLE);
}

#[tokio::test]
async fn vacuum_takes_dead_rows_and_leaves_the_rest() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key, k int)", "create index on t (k)"]).await;
    c.run(&[
        "insert into t select n, n from generate_series(1, 300) n",
        "update t set k = -k",
        "delete from t where id > 100",
    ])
    .await;
    for sql in ["vacuum t", "vacuum analyze", "analyze t"] {
        let StatementKind::Vacuum(spec) = parse(sql).unwrap().remove(0).kind else { panic!() };
        vacuum(&c.db, &SessionContext::new("a", "b"), &spec).await.unwrap();
    }
    c.check(&[
        ("select count(*), sum(k) from t", "100|-5050"),
        ("select id from t where k = -100", "100"),
        ("select id from t where k = 100", ""),
    ])
    .await;
    let StatementKind::Vacuum(spec) = parse("vacuum nowhere").unwrap().remove(0).kind else { panic!() };
    let e = vacuum(&c.db, &SessionContext::new("a", "b"), &spec).await.unwrap_err();
    assert_eq!(e.sqlstate, sqlstate::UNDEFINED_TABLE);
}

#[tokio::test]
async fn a_dropped_key_leaves_no_constraint_behind() {
    let mut c = fresh().await;
    let left = "select count(*) from pg_constraint where conrelid > 16383";
    c.run(&["create table t (id int primary key, u int unique)"]).await;
    assert_eq!(c.sql(left).await, "2");
    c.sql("drop table t").await;
    assert_eq!(c.sql(left).await, "0");
}
