//! CREATE and DROP INDEX CONCURRENTLY where an engine is killed on the way. What sessions see of each other is in the isolation
//! suite's scripts.

use super::*;
use crate::btree::Tree;
use crate::catalog::Relation;
use crate::txn::drops::check::account;

/// Of the index `t_n`: valid, ready; nothing when there is none.
const FLAGS: &str =
    "select indisvalid, indisready from pg_index join pg_class c on c.oid = indexrelid where relname = 't_n'";
const ROWS: usize = 60;

async fn filled(store: &Arc<MemoryStore>) -> Client {
    let mut c = open(store).await;
    c.sql("create table t (id int primary key, n int)").await;
    c.sql(&format!("insert into t select g, g * 7 from generate_series(1, {ROWS}) g")).await;
    c
}

/// Every page is accounted for, and nothing is left to be freed.
async fn nothing_is_lost(c: &Client) {
    c.db.txns.free_dropped().await.unwrap();
    let mut trees: Vec<Tree> = Vec::new();
    for relation in c.db.catalog.view(None).relations() {
        if let Relation::Table(table) = relation {
            trees.push(table.store.tree);
            trees.extend(table.indexes.iter().map(|index| index.store.tree));
        }
    }
    assert_eq!(account(c.db.txns.pool(), &trees).await, 0);
}

/// Runs a statement, then kills the engine behind each mini-transaction of it: which flags the index had, in order. Readers
/// find their rows wherever it was, the index can be dropped and made anew, and no page is lost.
async fn killed_everywhere(store: &Arc<MemoryStore>, c: &mut Client, sql: &str) -> Vec<String> {
    let from = store.batches().len();
    c.sql(sql).await;
    let to = store.batches().len();
    let mut flags: Vec<String> = Vec::new();
    for count in from..=to {
        let mut after = open(&store.crash_after(count)).await;
        let now = after.sql(FLAGS).await;
        if flags.last() != Some(&now) {
            flags.push(now);
        }
        after
            .check(&[
                ("select id from t where n = 7 * 13", "13"),
                ("insert into t values (1000, 1000)", "INSERT 0 1"),
                ("select id from t where n = 1000", "1000"),
                ("drop index if exists t_n", "DROP INDEX"),
            ])
            .await;
        nothing_is_lost(&after).await;
        after.sql("create unique index t_n on t (n)").await;
        assert_eq!(after.err("insert into t values (1001, 7)").await.sqlstate, "23505");
    }
    flags
}

#[tokio::test]
async fn killed_anywhere_in_create_index_concurrently() {
    let store = MemoryStore::new();
    let mut c = filled(&store).await;
    let flags = killed_everywhere(&store, &mut c, "create unique index concurrently t_n on t (n)").await;
    assert_eq!(flags, ["", "f|t", "t|t"]);
    nothing_is_lost(&c).await;
}

#[tokio::test]
async fn killed_anywhere_in_create_index_concurrently_that_fails() {
    let store = MemoryStore::new();
    let mut c = filled(&store).await;
    c.sql("update t set n = 7 where id = 60").await;
    let from = store.batches().len();
    let error = c.err("create unique index concurrently t_n on t (n)").await;
    assert_eq!((error.sqlstate, &*error.message), ("23505", "could not create unique index \"t_n\""));
    let mut seen = Vec::new();
    for count in from..=store.batches().len() {
        let mut after = open(&store.crash_after(count)).await;
        let now = after.sql(FLAGS).await;
        if seen.last() != Some(&now) {
            seen.push(now);
        }
        assert_eq!(after.sql("select id from t where n = 7 order by id").await, "1\n60");
        after.sql("drop index if exists t_n").await;
        nothing_is_lost(&after).await;
    }
    assert_eq!(seen, ["", "f|t", "f|f"]);
}

#[tokio::test]
async fn killed_anywhere_in_drop_index_concurrently() {
    let store = MemoryStore::new();
    let mut c = filled(&store).await;
    c.sql("create unique index t_n on t (n)").await;
    let flags = killed_everywhere(&store, &mut c, "drop index concurrently t_n").await;
    assert_eq!(flags, ["t|t", "f|t", "f|f", ""]);
    nothing_is_lost(&c).await;
}

#[tokio::test]
async fn large_values_are_asked_too() {
    let mut c = fresh().await;
    c.run(&[
        "create table t (id int primary key, s text)",
        "insert into t select g, repeat('x', 100000) || g from generate_series(1, 12) g",
    ])
    .await;
    c.sql("create unique index concurrently t_s on t (right(s, 20))").await;
    assert_eq!(c.sql("select id from t where right(s, 20) = repeat('x', 18) || 12").await, "12");
    let error = c.err("insert into t values (20, repeat('x', 100000) || '7')").await;
    assert_eq!((error.sqlstate, error.constraint.as_deref()), ("23505", Some("t_s")));
    c.run(&["drop index concurrently t_s", "insert into t values (20, repeat('x', 100000) || '7')"]).await;
    let error = c.err("create unique index concurrently t_s on t (right(s, 20))").await;
    assert_eq!((error.sqlstate, &*error.message), ("23505", "could not create unique index \"t_s\""));
    c.run(&["drop index t_s", "delete from t where id = 20"]).await;
    // More than a key may be made of.
    c.sql("insert into t values (21, repeat('y', 300000))").await;
    assert_eq!(c.err("create unique index concurrently t_s on t (right(s, 20))").await.sqlstate, "54000");
    c.run(&["drop index concurrently t_s", "delete from t where id = 21"]).await;
    c.sql("create unique index concurrently t_s on t (right(s, 20))").await;
    nothing_is_lost(&c).await;
}

#[tokio::test]
async fn what_drop_index_concurrently_refuses() {
    let mut c = fresh().await;
    c.run(&[
        "create table t (id int primary key, u int, n int)",
        "create unique index t_u on t (u)",
        "create index t_n on t (n)",
        "create table r (u int references t (u))",
    ])
    .await;
    let refused = |error: SqlError| (error.sqlstate, error.message.to_string());
    for (sql, code, message) in [
        (
            "drop index concurrently t_n, t_u",
            "0A000",
            "DROP INDEX CONCURRENTLY does not support dropping multiple objects",
        ),
        ("drop index concurrently t_n cascade", "0A000", "DROP INDEX CONCURRENTLY does not support CASCADE"),
        (
            "drop index concurrently t_pkey",
            "2BP01",
            "cannot drop index t_pkey because constraint t_pkey on table t requires it",
        ),
        ("drop index concurrently t_u", "2BP01", "cannot drop index t_u because other objects depend on it"),
        ("drop index concurrently t", "42809", "\"t\" is not an index"),
        ("drop index concurrently gone", "42704", "index \"gone\" does not exist"),
    ] {
        assert_eq!(refused(c.err(sql).await), (code, message.to_owned()), "{sql}");
    }
    assert_eq!(c.err("drop index concurrently").await.sqlstate, "42601");
    let at = c.err("drop index concurrently t_n t_u").await;
    assert_eq!((at.sqlstate, at.position), ("42601", Some(29)));
    c.check(&[
        ("drop index concurrently if exists gone", "DROP INDEX"),
        ("drop index concurrently public.t_n restrict", "DROP INDEX"),
    ])
    .await;
    assert_eq!(c.notices, ["index \"gone\" does not exist, skipping"]);
    nothing_is_lost(&c).await;
}

#[tokio::test]
async fn a_crash_while_an_index_is_built_beside_writers_leaves_one_that_is_not_valid() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&["create table t (id int primary key, n int)", "insert into t values (1, 1), (2, 2)"]).await;
    let mut writer = Client::new(&c.db);
    writer.begin(Isolation::ReadCommitted);
    writer.sql("insert into t values (3, 3)").await;
    let mut builder = Client::new(&c.db);
    let build =
        tokio::spawn(async move { builder.try_sql("create unique index concurrently t_n on t (n)").await });
    let declared = async {
        while c.sql(FLAGS).await.is_empty() {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    };
    tokio::time::timeout(std::time::Duration::from_secs(60), declared).await.expect("declared");
    let mut midst = open(&store.crash()).await;
    assert_eq!(midst.sql(FLAGS).await, "f|t", "killed while it waits for the writer");
    assert_eq!(midst.sql("select id from t where n = 2").await, "2", "readers do without it");
    midst.run(&["drop index t_n", "insert into t values (4, 2)"]).await;
    writer.commit().await;
    build.await.unwrap().unwrap();
    let mut next = open(&store.crash()).await;
    assert_eq!(next.sql(FLAGS).await, "t|t", "killed behind it");
    assert_eq!(next.sql("select id from t where n = 3").await, "3");
    assert_eq!(next.err("insert into t values (5, 3)").await.constraint.as_deref(), Some("t_n"));
}
