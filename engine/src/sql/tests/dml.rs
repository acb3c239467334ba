//! INSERT, UPDATE, DELETE, COPY.

use super::*;
use crate::types::sqlstate;

#[tokio::test]
async fn insert_update_delete() {
    let mut c = fresh().await;
    c.check(
        &[
            ("create table t (id int primary key, name text default 'none', n bigint)", "CREATE TABLE"),
            ("insert into t values (1, 'one', 10), (2, 'two', 20)", "INSERT 0 2"),
            ("insert into t (n, id) values (30, 3)", "INSERT 0 1"),
            ("insert into t values (4)", "INSERT 0 1"),
            ("insert into t values (5, default, 50) returning *", "5|none|50"),
            ("insert into t default values returning 1", "ERR"),
        ][..5],
    )
    .await;
    c.check(&[
        ("select * from t order by id", "1|one|10\n2|two|20\n3|none|30\n4|none|-\n5|none|50"),
        ("update t set n = n + 1 where id = 1", "UPDATE 1"),
        ("update t set n = id * 100, name = name || '!' where id in (2, 3) returning id, n", "2|200\n3|300"),
        ("update t set name = default where id = 2 returning name", "none"),
        ("update t set n = 0 where id = 99", "UPDATE 0"),
        ("delete from t where id = 4 returning *", "4|none|-"),
        ("delete from t where n > 1000", "DELETE 0"),
        ("insert into t select id + 10, name, n from t where id < 3", "INSERT 0 2"),
        ("select count(*), sum(n), min(id), max(id) from t", "6|772|1|12"),
        ("update t x set n = 1 where x.id = 11", "UPDATE 1"),
        ("delete from t", "DELETE 6"),
        ("select * from t", ""),
    ])
    .await;
}

#[tokio::test]
async fn an_update_of_the_key_moves_the_row_once() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key, k int)", "create index on t (k)"]).await;
    c.run(&["insert into t select n, n from generate_series(1, 100) n"]).await;
    c.check(&[
        ("update t set k = k + 50 where k between 1 and 60", "UPDATE 60"),
        ("select count(*), sum(k) from t", "100|8050"),
        ("select count(*) from t where k = 60", "1"),
        ("select count(*) from t where k between 51 and 60", "10"),
        ("select count(*) from t where k between 61 and 100", "80"),
        ("update t set id = -id where id <= 50", "UPDATE 50"),
        ("select count(*) from t where id < 0", "50"),
        ("select id from t where id between -2 and 51 order by id", "-2\n-1\n51"),
    ])
    .await;
}

#[tokio::test]
async fn a_failing_statement_changes_nothing() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key)", "insert into t values (5)"]).await;
    let e = c.err("insert into t values (1), (2), (5), (6)").await;
    assert_eq!(e.sqlstate, sqlstate::UNIQUE_VIOLATION);
    assert_eq!(e.constraint.as_deref(), Some("t_pkey"));
    assert_eq!(e.detail.as_deref(), Some("Key (id)=(5) already exists."));
    assert_eq!(c.sql("select * from t").await, "5");
}

#[tokio::test]
async fn unique_keys_and_null() {
    let mut c = fresh().await;
    c.run(&["create table t (a int, b text, unique (a, b))"]).await;
    c.run(&["insert into t values (1, 'x'), (1, null), (1, null), (null, 'x'), (null, 'x')"]).await;
    let e = c.err("insert into t values (1, 'x')").await;
    assert_eq!((e.sqlstate, e.constraint.as_deref()), (sqlstate::UNIQUE_VIOLATION, Some("t_a_b_key")));
    assert_eq!(e.detail.as_deref(), Some("Key (a, b)=(1, x) already exists."));
    c.check(&[
        ("delete from t where a = 1 and b = 'x'", "DELETE 1"),
        ("insert into t values (1, 'x')", "INSERT 0 1"),
    ])
    .await;
}

#[tokio::test]
async fn delete_and_insert_of_one_key_in_a_transaction() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key, v int)", "insert into t values (1, 1)"]).await;
    c.begin(Isolation::ReadCommitted);
    c.check(&[
        ("delete from t where id = 1", "DELETE 1"),
        ("insert into t values (1, 2)", "INSERT 0 1"),
        ("select * from t", "1|2"),
    ])
    .await;
    c.commit().await;
    assert_eq!(c.sql("select * from t where id = 1").await, "1|2");
}

#[tokio::test]
async fn serial_and_identity() {
    let mut c = fresh().await;
    c.run(&["create table t (id serial primary key, v text)"]).await;
    c.run(&["create table u (id int generated always as identity (increment by 5 start with 10), v int)"])
        .await;
    c.check(&[
        ("insert into t (v) values ('a'), ('b') returning id", "1\n2"),
        ("insert into t (v) select 'x' from generate_series(1, 100)", "INSERT 0 100"),
        ("select min(id), max(id), count(distinct id) from t", "1|102|102"),
        ("insert into u (v) values (1), (2) returning id", "10\n15"),
        ("select nextval('t_id_seq')", "103"),
        ("insert into t values (default, 'z') returning id", "104"),
    ])
    .await;
    assert_eq!(c.err("insert into u values (1, 2)").await.sqlstate, "428C9");
    c.run(&["drop table t"]).await;
    assert_eq!(c.err("select nextval('t_id_seq')").await.sqlstate, sqlstate::UNDEFINED_TABLE);
}

#[tokio::test]
async fn copy_in() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key, c char(3), d int default 7)"]).await;
    let rows: Vec<Vec<String>> = (0..1200).map(|n| vec![n.to_string(), "x".to_owned()]).collect();
    let rows: Vec<Vec<Option<&str>>> =
        rows.iter().map(|r| r.iter().map(|f| Some(f.as_str())).collect()).collect();
    let rows: Vec<&[Option<&str>]> = rows.iter().map(Vec::as_slice).collect();
    assert_eq!(c.copy("copy t (id, c) from stdin with (freeze on)", &rows).await.unwrap(), 1200);
    c.check(&[
        ("select count(*), sum(d), max(c) from t", "1200|8400|x  "),
        ("select id from t where id = 1199", "1199"),
    ])
    .await;
    let e = c
        .copy("copy t from stdin", &[&[Some("2000"), None, None], &[Some("1"), None, None]])
        .await
        .unwrap_err();
    assert_eq!(e.sqlstate, sqlstate::UNIQUE_VIOLATION);
    let e = c.copy("copy t from stdin", &[&[None, None, None]]).await.unwrap_err();
    assert_eq!(e.sqlstate, sqlstate::NOT_NULL_VIOLATION);
    let e = c.copy("copy t (id) from stdin", &[&[Some("abc")]]).await.unwrap_err();
    assert_eq!(e.sqlstate, sqlstate::INVALID_TEXT);
    let e = c.copy("copy nowhere from stdin", &[]).await.unwrap_err();
    assert_eq!(e.sqlstate, sqlstate::UNDEFINED_TABLE);
    assert_eq!(c.sql("select count(*) from t").await, "1200");
    let copy = c.prepare("copy t (c, id) to stdout", &[]).await.unwrap();
    let (rows, tag) = c.execute(&copy, vec![]).await.unwrap();
    assert_eq!((rows.len(), tag.as_str(), copy.columns[0].name.as_str()), (1200, "COPY 1200", "c"));
}
