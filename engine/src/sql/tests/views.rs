//! Views: what stands behind them, what PostgreSQL says besides the message, and what a crash keeps.

use super::*;
use crate::types::sqlstate;

#[tokio::test]
async fn details_and_hints_are_postgresqls() {
    let mut c = fresh().await;
    c.run(&[
        "create table t (a int primary key, b int)",
        "create view v as select a, b from t",
        "create view w as select a from v",
        "create view other as select a from t",
    ])
    .await;
    let e = c.err("drop table t").await;
    assert_eq!(e.sqlstate, sqlstate::DEPENDENT_OBJECTS);
    assert_eq!(e.message, "cannot drop table t because other objects depend on it");
    assert_eq!(
        e.detail.as_deref(),
        Some("view v depends on table t\nview w depends on view v\nview other depends on table t")
    );
    assert_eq!(e.hint.as_deref(), Some("Use DROP ... CASCADE to drop the dependent objects too."));
    let e = c.err("alter table t drop b").await;
    assert_eq!(e.message, "cannot drop column b of table t because other objects depend on it");
    assert_eq!(e.detail.as_deref(), Some("view v depends on column b of table t\nview w depends on view v"));
    let e = c.err("alter table t alter b type text").await;
    assert_eq!(e.detail.as_deref(), Some("rule _RETURN on view v depends on column \"b\""));
    let e = c.err("create or replace view v as select a as x, b from t").await;
    assert_eq!(
        e.hint.as_deref(),
        Some("Use ALTER VIEW ... RENAME COLUMN ... to change name of view column instead.")
    );
    c.run(&["create view d as select distinct a from t"]).await;
    let e = c.err("insert into d values (1)").await;
    assert_eq!(e.detail.as_deref(), Some("Views containing DISTINCT are not automatically updatable."));
    assert_eq!(
        e.hint.as_deref(),
        Some(
            "To enable inserting into the view, provide an INSTEAD OF INSERT trigger or an unconditional ON INSERT DO \
             INSTEAD rule."
        )
    );
    c.notices.clear();
    c.run(&["drop table t cascade"]).await;
    assert_eq!(c.notices, ["drop cascades to 4 other objects"]);
    assert_eq!(c.err("select * from w").await.sqlstate, sqlstate::UNDEFINED_TABLE);
}

#[tokio::test]
async fn a_simple_view_has_the_plan_of_its_table() {
    let mut c = fresh().await;
    c.run(&[
        "create table t (a int primary key, b int, c text)",
        "create index on t (b)",
        "create view v as select a as x, b + 1 as y, b, c from t where c is not null",
        "create view w as select x, b from v where x > 0",
    ])
    .await;
    for (sql, wanted) in [
        ("explain select * from v where x = 3", "Index Scan using t_pkey on t"),
        ("explain select * from w where b = 3", "Index Scan using t_b_idx on t"),
        ("explain update w set b = 4 where x = 3", "Index Scan using t_pkey on t"),
        ("explain delete from v where b = 3", "Index Scan using t_b_idx on t"),
    ] {
        let plan = c.sql(sql).await;
        assert!(plan.contains(wanted), "{sql}: {plan}");
    }
}

#[tokio::test]
async fn a_crash_keeps_views() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&[
        "create table t (a int primary key, b text)",
        "insert into t values (1, 'it''s'), (2, 'two')",
        "create view v (x, y) as select a, b from t where b <> 'it''s'",
        "alter table t rename column b to renamed",
        "create view gone as select 1",
        "drop view gone",
    ])
    .await;
    c.begin(Isolation::ReadCommitted);
    c.run(&["create view never as select 1"]).await;
    let mut again = open(&store.crash()).await;
    again.check(&[("select x, y from v", "2|two"), ("insert into v values (3, 'c')", "INSERT 0 1")]).await;
    assert_eq!(again.err("select * from gone").await.sqlstate, sqlstate::UNDEFINED_TABLE);
    assert_eq!(again.err("select * from never").await.sqlstate, sqlstate::UNDEFINED_TABLE);
    assert_eq!(again.err("drop table t").await.sqlstate, sqlstate::DEPENDENT_OBJECTS);
    again.check(&[("select renamed from t where a = 3", "c")]).await;
}
