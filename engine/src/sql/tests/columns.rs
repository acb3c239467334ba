//! ALTER TABLE on columns: rows that are there are not touched, and are as if they had been.

use super::*;

const SETUP: [&str; 3] = [
    "create table t (id int primary key, word text)",
    "create index t_word on t (word)",
    "insert into t values (1, 'one'), (2, null)",
];

/// With rows of both widths, and of transactions that never were.
async fn vacuum_t(c: &Client) {
    let StatementKind::Vacuum(spec) = parse("vacuum t").unwrap().remove(0).kind else { panic!() };
    vacuum(&c.db, &SessionContext::new("a", "b"), &spec).await.unwrap();
}

#[tokio::test]
async fn a_column_is_there_for_rows_old_and_new() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&SETUP).await;
    c.check(&[
        ("alter table t add column n int default 7 not null", "ALTER TABLE"),
        ("alter table t add note text", "ALTER TABLE"),
        ("select * from t order by id", "1|one|7|-\n2|-|7|-"),
        ("insert into t values (3, 'three')", "INSERT 0 1"),
        ("insert into t (id, n, note) values (4, 40, 'x')", "INSERT 0 1"),
        ("alter table t alter n set default 8", "ALTER TABLE"),
        ("insert into t (id) values (5)", "INSERT 0 1"),
        ("select id, n, note from t order by id", "1|7|-\n2|7|-\n3|7|-\n4|40|x\n5|8|-"),
        ("update t set word = 'uno', note = 'changed' where id = 1", "UPDATE 1"),
        ("select * from t where word = 'uno'", "1|uno|7|changed"),
        ("select id from t where n = 7 order by id", "1\n2\n3"),
        ("delete from t where n = 7 and id = 2", "DELETE 1"),
    ])
    .await;
    vacuum_t(&c).await;
    c.check(&[
        ("create index t_n on t (n)", "CREATE INDEX"),
        ("select id from t where n = 7 order by id", "1\n3"),
        ("select attname, atthasmissing, attnotnull from pg_attribute where attname = 'n'", "n|t|t"),
        ("select relnatts from pg_class where relname = 't'", "4"),
    ])
    .await;
    // The next engine reads it from the catalog.
    let mut next = open(&store.crash()).await;
    next.check(&[
        ("select id, word, n, note from t order by id", "1|uno|7|changed\n3|three|7|-\n4|-|40|x\n5|-|8|-"),
        ("select id from t where word = 'three'", "3"),
        ("insert into t values (6)", "INSERT 0 1"),
        ("select n from t where id = 6", "8"),
    ])
    .await;
}

#[tokio::test]
async fn what_is_rolled_back_leaves_the_columns_as_they_were() {
    let mut c = fresh().await;
    c.run(&SETUP).await;
    c.begin(Isolation::ReadCommitted);
    c.run(&[
        "alter table t add n int default 1",
        "insert into t values (3, 'three', 3)",
        "update t set n = 2 where id = 1",
    ])
    .await;
    assert_eq!(c.sql("select * from t order by id").await, "1|one|2\n2|-|1\n3|three|3");
    c.rollback();
    assert_eq!(c.sql("select * from t order by id").await, "1|one\n2|-");
    c.run(&["alter table t add m text default 'm'", "insert into t values (3, 'three')"]).await;
    vacuum_t(&c).await;
    assert_eq!(c.sql("select * from t order by id").await, "1|one|m\n2|-|m\n3|three|m");
    assert_eq!(c.sql("select id from t where word = 'three'").await, "3");
}

#[tokio::test]
async fn keys_and_defaults_of_a_new_column() {
    let mut c = fresh().await;
    c.run(&["create table t (a int)", "insert into t values (1)"]).await;
    c.run(&[
        "alter table t add id int primary key default 5",
        "alter table t add u int unique, add v date default now()",
    ])
    .await;
    assert_eq!(c.sql("select a, id, u, v is null from t").await, "1|5|-|f");
    assert_eq!(c.err("insert into t (a) values (2)").await.sqlstate, "23505");
    c.sql("insert into t values (2, 6, 1)").await;
    assert_eq!(c.err("insert into t values (3, 7, 1)").await.constraint.as_deref(), Some("t_u_key"));
    // One moment for all rows that were there.
    assert_eq!(c.sql("select count(distinct v) from t where a = 1").await, "1");
}

#[tokio::test]
async fn not_null_and_defaults_come_and_go() {
    let mut c = fresh().await;
    c.run(&SETUP).await;
    assert_eq!(c.err("alter table t alter word set not null").await.sqlstate, "23502");
    c.run(&["update t set word = 'two' where id = 2", "alter table t alter word set not null"]).await;
    assert_eq!(c.err("insert into t values (3, null)").await.sqlstate, "23502");
    c.run(&["alter table t alter column word drop not null", "insert into t values (3, null)"]).await;
    c.run(&["alter table t alter word set default 'none'", "insert into t values (4)"]).await;
    c.run(&["alter table t alter word drop default", "insert into t values (5)"]).await;
    assert_eq!(c.sql("select id, word from t where id > 2 order by id").await, "3|-\n4|none\n5|-");
    assert_eq!(c.sql("select count(*) from pg_attrdef where adrelid > 16383").await, "0");
}

#[tokio::test]
async fn what_cannot_be() {
    let mut c = fresh().await;
    c.run(&SETUP).await;
    for (sql, code, says) in [
        ("alter table t add word int", "42701", "column \"word\" of relation \"t\" already exists"),
        ("alter table t add n int not null", "23502", "column \"n\" of relation \"t\" contains null values"),
        (
            "alter table t add n int primary key",
            "42P16",
            "multiple primary keys for table \"t\" are not allowed",
        ),
        ("alter table t add n int default 'x'", "22P02", "invalid input syntax for type integer: \"x\""),
        (
            "alter table t alter gone drop default",
            "42703",
            "column \"gone\" of relation \"t\" does not exist",
        ),
        ("alter table t alter id drop not null", "42P16", "column \"id\" is in a primary key"),
        ("alter table t add n int default 1 / 0", "22012", "division by zero"),
    ] {
        let error = c.err(sql).await;
        assert_eq!((error.sqlstate, error.message.as_str()), (code, says), "{sql}");
    }
    c.sql("alter table t add if not exists word int").await;
    assert_eq!(c.notices, ["column \"word\" of relation \"t\" already exists, skipping"]);
    c.run(&["create table e (a int)", "alter table e add b int not null"]).await;
    assert_eq!(c.sql("select * from t order by id").await, "1|one\n2|-");
}
