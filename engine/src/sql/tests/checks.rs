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
