//! ALTER TABLE where one session shows little: engines that come after a crash, readers of before, the fields of errors.

use super::*;

/// Tables that every kind of ALTER TABLE has something to do with.
async fn tables(c: &mut Client) {
    c.run(&[
        "create table p (id int primary key, u int unique)",
        "create table t (id serial primary key, a int check (a < 100), b text default 'x', p int references p)",
        "create index t_a on t ((a + 1)) where b <> 'gone'",
        "insert into p select g, g from generate_series(1, 300) g",
        "insert into t (a, p) select g % 49, g from generate_series(1, 300) g",
    ])
    .await;
}

/// Every change, one after the other.
const CHANGES: [&str; 14] = [
    "alter table t alter a type bigint using a * 2",
    "alter table t rename a to amount",
    "alter table t rename to things",
    "alter table things rename constraint t_a_check to little",
    "alter table things add r float default random()",
    "alter table things add s serial",
    "alter table things drop column b",
    "alter table things add constraint odd check (amount <> 7) not valid",
    "alter table things validate constraint odd",
    "alter table p drop column u cascade",
    "alter table p alter id type bigint",
    "alter table things add b text default 'new'",
    "create index on things (lower(b), amount desc)",
    "delete from things where id > 200",
];

/// What a query over everything that was changed shows.
async fn shown(c: &mut Client) -> Vec<String> {
    let mut all = Vec::new();
    for sql in [
        "select relname, relkind, relnatts from pg_class where relnamespace = 2200 order by 1",
        "select attrelid::regclass, attnum, attname, atttypid, attnotnull, attisdropped from pg_attribute where attrelid > 16383 order by attrelid, attnum",
        "select conname, contype, convalidated, pg_get_constraintdef(oid) from pg_constraint where conrelid > 16383 order by 1",
        "select pg_get_indexdef(indexrelid) from pg_index where indrelid > 16383 order by 1",
    ] {
        all.push(c.sql(sql).await);
    }
    all
}

#[tokio::test]
async fn a_crash_after_each_change_keeps_it_and_one_in_its_midst_does_not() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    tables(&mut c).await;
    for change in CHANGES {
        let before = shown(&mut c).await;
        c.begin(Isolation::ReadCommitted);
        c.sql(change).await;
        let mut midst = open(&store.crash()).await;
        assert_eq!(shown(&mut midst).await, before, "killed in the midst of {change}");
        c.commit().await;
        let after = shown(&mut c).await;
        let mut next = open(&store.crash()).await;
        assert_eq!(shown(&mut next).await, after, "killed after {change}");
    }
    let mut next = open(&store.crash()).await;
    let rows = "select count(*), sum(amount), count(r), count(distinct s), min(b) from things";
    assert_eq!(next.sql(rows).await, c.sql(rows).await);
    assert_eq!(next.sql("select count(*) from things where amount = 40").await, "4");
    assert_eq!(
        next.err("insert into things (amount) values (100)").await.constraint.as_deref(),
        Some("little")
    );
    assert_eq!(next.err("insert into things (amount, p) values (1, 999)").await.sqlstate, "23503");
}

#[tokio::test]
async fn every_change_rolls_back() {
    let mut c = fresh().await;
    tables(&mut c).await;
    let before = shown(&mut c).await;
    let rows = "select * from t order by id";
    let (all, keys) = (c.sql(rows).await, c.sql("select * from p order by id").await);
    c.begin(Isolation::ReadCommitted);
    c.run(&CHANGES).await;
    c.rollback();
    assert_eq!(shown(&mut c).await, before);
    assert_eq!(c.sql(rows).await, all);
    assert_eq!(c.sql("select * from p order by id").await, keys);
    c.sql("insert into t (a) values (1)").await;
    assert_eq!(c.err("insert into t (a) values (100)").await.constraint.as_deref(), Some("t_a_check"));
}

#[tokio::test]
async fn errors_say_what_depends_on_what() {
    let mut c = fresh().await;
    tables(&mut c).await;
    c.sql("create table d (u int constraint to_u references p (u))").await;
    let error = c.err("alter table p drop column u").await;
    assert_eq!(error.message, "cannot drop column u of table p because other objects depend on it");
    assert_eq!(error.detail.as_deref(), Some("constraint to_u on table d depends on column u of table p"));
    assert_eq!(error.hint.as_deref(), Some("Use DROP ... CASCADE to drop the dependent objects too."));
    c.sql("alter table p drop column u cascade").await;
    assert_eq!(c.notices, ["drop cascades to constraint to_u on table d"]);
    let error = c.err("alter table t alter b type int").await;
    assert_eq!(error.message, "column \"b\" cannot be cast automatically to type integer");
    assert_eq!(error.hint.as_deref(), Some("You might need to specify \"USING b::integer\"."));
    let error = c.err("alter table t alter p type text").await;
    assert_eq!(error.message, "foreign key constraint \"t_p_fkey\" cannot be implemented");
    let detail = "Key columns \"p\" and \"id\" are of incompatible types: text and integer.";
    assert_eq!((error.sqlstate, error.detail.as_deref()), ("42804", Some(detail)));
    c.run(&["create schema s", "create table s.a (id int primary key)", "create sequence s.q"]).await;
    c.sql("create table r (a int constraint to_a references s.a)").await;
    let error = c.err("drop schema s").await;
    assert_eq!(
        error.detail.as_deref(),
        Some("table s.a depends on schema s\nsequence s.q depends on schema s")
    );
    c.notices.clear();
    c.sql("drop schema s cascade").await;
    assert_eq!(c.notices, ["drop cascades to 3 other objects"]);
}

#[tokio::test]
async fn plans_follow_what_is_altered() {
    let mut c = fresh().await;
    tables(&mut c).await;
    let select =
        c.prepare("select id from t where a + 1 = $1 and b <> 'gone' order by id limit 1", &[]).await;
    let (select, insert) =
        (select.unwrap(), c.prepare("insert into t (a, b) values ($1, 'y')", &[]).await.unwrap());
    c.run(&["alter table t drop column p", "alter table t add q int default 9"]).await;
    assert_eq!(c.execute(&select, vec![Datum::Int4(6)]).await.unwrap().0, [[Datum::Int4(5)]]);
    c.execute(&insert, vec![Datum::Int4(95)]).await.unwrap();
    assert_eq!(c.sql("select b, q from t where a = 95").await, "y|9");
    c.sql("alter table t rename a to z").await;
    assert_eq!(c.execute(&insert, vec![Datum::Int4(1)]).await.unwrap_err().sqlstate, "42703");
}
