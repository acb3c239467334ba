//! CHECK constraints where one session shows little: COPY, the catalog, engines to come.

use super::*;

#[tokio::test]
async fn a_constraint_holds_for_copy_and_for_the_next_engine() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.sql("create table t (a int check (a > 0), b int default 1, check (a <> b))").await;
    let error = c.copy("copy t (a) from stdin", &[&[Some("5")], &[Some("0")]]).await.unwrap_err();
    assert_eq!((error.sqlstate, error.constraint.as_deref()), ("23514", Some("t_a_check")));
    assert_eq!(error.message, "new row for relation \"t\" violates check constraint \"t_a_check\"");
    assert_eq!(error.detail.as_deref(), Some("Failing row contains (0, 1)."));
    let error = c.copy("copy t (a) from stdin", &[&[Some("1")]]).await.unwrap_err();
    assert_eq!(error.constraint.as_deref(), Some("t_check"));
    assert_eq!(c.copy("copy t from stdin", &[&[None, Some("3")], &[Some("2"), Some("3")]]).await.unwrap(), 2);
    let mut next = open(&store.crash()).await;
    assert_eq!(next.err("insert into t values (0, 9)").await.constraint.as_deref(), Some("t_a_check"));
    assert_eq!(next.sql("select relchecks from pg_class where relname = 't'").await, "2");
    next.run(&["alter table t drop constraint t_a_check", "insert into t values (0, 9)", "drop table t"])
        .await;
    assert_eq!(next.sql("select count(*) from pg_constraint where conrelid > 16383").await, "0");
}

#[tokio::test]
async fn what_is_rolled_back_asks_nobody() {
    let mut c = fresh().await;
    c.sql("create table t (a int)").await;
    c.begin(Isolation::ReadCommitted);
    c.sql("alter table t add constraint positive check (a > 0)").await;
    assert_eq!(c.err("insert into t values (0)").await.sqlstate, "23514");
    c.rollback();
    c.sql("insert into t values (0)").await;
    let error = c.err("alter table t add constraint positive check (a > 0)").await;
    assert_eq!(error.message, "check constraint \"positive\" of relation \"t\" is violated by some row");
}

#[tokio::test]
async fn the_next_engine_defers_what_was_declared_so() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&[
        "create table t (id int, constraint t_id unique (id) deferrable initially deferred)",
        "create table p (id int primary key)",
        "create table c (p int constraint refers references p deferrable initially deferred)",
    ])
    .await;
    let mut next = open(&store.crash()).await;
    for c in [&mut c, &mut next] {
        let error = c.err("insert into t values (1), (1)").await;
        assert_eq!(error.message, "duplicate key value violates unique constraint \"t_id\"");
        assert_eq!(error.detail.as_deref(), Some("Key (id)=(1) already exists."));
        assert_eq!((error.table.as_deref(), error.constraint.as_deref()), (Some("t"), Some("t_id")));
        let error = c.err("insert into c values (1)").await;
        assert_eq!(error.detail.as_deref(), Some("Key (p)=(1) is not present in table \"p\"."));
        c.begin(Isolation::ReadCommitted);
        c.run(&["insert into c values (1)", "insert into p values (1)"]).await;
        c.run(&["insert into t values (5), (5)", "delete from t"]).await;
        c.commit().await;
        c.run(&["delete from c", "delete from p"]).await;
    }
}

#[tokio::test]
async fn a_key_that_may_be_there_twice_for_a_while_gives_both_rows() {
    let mut c = fresh().await;
    c.run(&[
        "create table t (id int unique deferrable initially deferred, n int)",
        "insert into t values (1, 1)",
    ])
    .await;
    c.begin(Isolation::ReadCommitted);
    c.check(&[
        ("insert into t values (1, 2)", "INSERT 0 1"),
        ("select n from t where id = 1 order by n", "1\n2"),
        ("update t set id = n", "UPDATE 2"),
    ])
    .await;
    c.commit().await;
    assert_eq!(c.sql("select * from t order by id").await, "1|1\n2|2");
}
