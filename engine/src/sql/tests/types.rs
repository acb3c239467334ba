//! Types that users made: what PostgreSQL says besides the message, what a crash keeps, and how values travel.

use super::*;
use crate::types::sqlstate;

#[tokio::test]
async fn details_and_hints_of_enums_are_postgresqls() {
    let mut c = fresh().await;
    c.run(&[
        "create type mood as enum ('sad', 'ok')",
        "create table t (a int primary key, m mood, w text default 'ok'::mood)",
        "create view v as select m from t",
    ])
    .await;
    let e = c.err("select 'x'::mood").await;
    assert_eq!(
        (e.sqlstate, e.message.as_str()),
        (sqlstate::INVALID_TEXT, "invalid input value for enum mood: \"x\"")
    );
    let e = c.err("drop type mood").await;
    assert_eq!(e.sqlstate, sqlstate::DEPENDENT_OBJECTS);
    assert_eq!(e.message, "cannot drop type mood because other objects depend on it");
    assert_eq!(
        e.detail.as_deref(),
        Some(
            "column m of table t depends on type mood\ndefault value for column w of table t depends on type mood"
        )
    );
    let e = c.err(&format!("alter type mood add value '{}'", "x".repeat(64))).await;
    assert_eq!(e.sqlstate, sqlstate::INVALID_NAME);
    assert_eq!(e.detail.as_deref(), Some("Labels must be 63 bytes or less."));
    let e = c.err("select m > 1 from t").await;
    assert_eq!(e.message, "operator does not exist: mood > integer");
    let e = c.err("insert into t (a, m) values (1, 2)").await;
    assert_eq!(e.message, "column \"m\" is of type mood but expression is of type integer");
    let e = c.err("create type range as range (subtype = int4)").await;
    assert_eq!((e.sqlstate, e.message.as_str()), ("0A000", "CREATE TYPE of a range type is not supported"));
    let e = c.err("create type pair as (a int, b int)").await;
    assert_eq!(
        (e.sqlstate, e.message.as_str()),
        ("0A000", "CREATE TYPE of a composite type is not supported")
    );
    c.begin(Isolation::ReadCommitted);
    c.run(&["alter type mood add value 'new' before 'sad'"]).await;
    let e = c.err("select 'new'::mood").await;
    assert_eq!(
        (e.sqlstate, e.message.as_str()),
        (sqlstate::UNSAFE_NEW_ENUM_VALUE, "unsafe use of new value \"new\" of enum type mood")
    );
    assert_eq!(e.hint.as_deref(), Some("New enum values must be committed before they can be used."));
    c.rollback();
}

#[tokio::test]
async fn a_view_keeps_a_label_from_another_name() {
    let mut c = fresh().await;
    c.run(&[
        "create type mood as enum ('sad', 'ok')",
        "create table t (a int primary key, m mood)",
        "create view v as select a from t where m = 'ok'",
        "alter type mood rename value 'sad' to 'blue'",
    ])
    .await;
    let e = c.err("alter type mood rename value 'ok' to 'fine'").await;
    assert_eq!(e.sqlstate, sqlstate::FEATURE_NOT_SUPPORTED);
    assert!(e.message.contains("view \"v\""), "{}", e.message);
    c.run(&["alter type mood rename to feeling", "insert into t values (1, 'ok'), (2, 'blue')"]).await;
    c.check(&[("select * from v", "1")]).await;
}

#[tokio::test]
async fn a_crash_keeps_enums() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&[
        "create type mood as enum ('sad', 'ok', 'happy')",
        "create table t (a int primary key, m mood)",
        "insert into t values (1, 'happy'), (2, 'sad')",
        "create index on t (m)",
        "create index on t (a) where m > 'sad'",
        "alter table t add column more mood default 'ok' check (more > 'sad')",
        "alter type mood add value 'first' before 'sad'",
        "alter type mood add value 'between' after 'sad'",
        "insert into t values (3, 'first', 'happy'), (4, 'between', 'happy')",
        "alter type mood rename value 'ok' to 'fine'",
        "alter type mood rename to feeling",
        "create type gone as enum ('x')",
        "drop type gone",
    ])
    .await;
    c.begin(Isolation::ReadCommitted);
    c.run(&["alter type feeling add value 'never'", "create type never as enum ('x')"]).await;
    for _ in 0..2 {
        let mut again = open(&store.crash()).await;
        again
            .check(&[
                (
                    "select a, m, more from t order by m",
                    "3|first|happy\n2|sad|fine\n4|between|happy\n1|happy|fine",
                ),
                ("select a from t where m = 'between'", "4"),
                ("select enumlabel from pg_enum order by enumsortorder", "first\nsad\nbetween\nfine\nhappy"),
                ("insert into t values (5, 'fine') returning more", "fine"),
            ])
            .await;
        assert_eq!(again.err("insert into t values (6, 'ok')").await.sqlstate, sqlstate::INVALID_TEXT);
        assert_eq!(again.err("select 'never'::feeling").await.sqlstate, sqlstate::INVALID_TEXT);
        assert_eq!(
            again.err("insert into t values (6, 'sad', 'sad')").await.sqlstate,
            sqlstate::CHECK_VIOLATION
        );
        for gone in ["gone", "never", "mood"] {
            let e = again.err(&format!("select 'x'::{gone}")).await;
            assert_eq!(e.sqlstate, sqlstate::UNDEFINED_OBJECT);
        }
        again.run(&["create type new as enum ('fine')", "alter type feeling add value 'last'"]).await;
        again.check(&[("select m from t where m < 'last' and a = 5", "fine")]).await;
        let oids = again.sql("select count(distinct oid), count(*) from pg_enum").await;
        assert_eq!(oids, "7|7", "no OID is given twice");
    }
}

#[tokio::test]
async fn enums_are_sorted_and_grouped_on_disk_too() {
    let mut c = fresh().await;
    c.ctx.change(|session| {
        session.settings.insert("work_mem".to_owned(), "64kB".to_owned());
    });
    c.run(&[
        "create type mood as enum ('z', 'a', 'm')",
        "create table t (a int primary key, m mood)",
        "create table n (x int)",
    ])
    .await;
    c.run(&["insert into n values (0), (1), (2), (3), (4), (5), (6), (7), (8), (9)"]).await;
    c.run(&["insert into t select a.x + 10 * b.x + 100 * c.x + 1000 * d.x, case (a.x + b.x) % 3 when 0 then 'z'::mood when 1 then 'a' else 'm' end \
             from n a, n b, n c, n d"])
        .await;
    c.check(&[
        ("select m, count(*) from t group by m order by m", "z|3400\na|3300\nm|3300"),
        ("select m from (select m, a from t order by m desc, a) x limit 1", "m"),
        ("select count(*) from (select distinct m, a from t) x", "10000"),
    ])
    .await;
}

#[tokio::test]
async fn rows_of_a_label_that_is_newer_than_the_plan_are_read() {
    let mut c = fresh().await;
    c.run(&["create type mood as enum ('sad')", "create table t (a int primary key, m mood)"]).await;
    let old = c.db.catalog.view(None);
    let Some(crate::catalog::Relation::Table(old)) = old.find(crate::catalog::PUBLIC, "t").cloned() else {
        panic!("t is there");
    };
    c.run(&["alter type mood add value 'new' before 'sad'", "insert into t values (1, 'new')"]).await;
    let mut txn = c.db.txns.begin(Isolation::ReadCommitted);
    txn.begin_statement();
    let rows = crate::catalog::relation::scan(&c.db.txns, txn.snapshot(), &old).await.unwrap();
    let Datum::Enum(label) = &rows[0][1] else { panic!("{rows:?}") };
    assert_eq!(&*label.name, "new");
    txn.rollback();
}

#[tokio::test]
async fn errors_of_domains_name_type_and_constraint() {
    let mut c = fresh().await;
    c.run(&[
        "create domain d as int not null constraint pos check (value > 0)",
        "create table t (a d)",
        "insert into t values (1)",
    ])
    .await;
    let e = c.err("insert into t values (0)").await;
    assert_eq!(e.sqlstate, sqlstate::CHECK_VIOLATION);
    assert_eq!(e.message, "value for domain d violates check constraint \"pos\"");
    assert_eq!(
        (e.schema.as_deref(), e.data_type.as_deref(), e.constraint.as_deref()),
        (Some("public"), Some("d"), Some("pos"))
    );
    let e = c.err("insert into t values (null)").await;
    assert_eq!(
        (e.sqlstate, e.message.as_str()),
        (sqlstate::NOT_NULL_VIOLATION, "domain d does not allow null values")
    );
    assert_eq!(e.data_type.as_deref(), Some("d"));
    let e = c.err("alter domain d add constraint big check (value > 1)").await;
    assert_eq!(e.message, "column \"a\" of table \"t\" contains values that violate the new constraint");
    assert_eq!((e.table.as_deref(), e.column.as_deref()), (Some("t"), Some("a")));
    c.run(&["create domain over as d"]).await;
    let e = c.err("drop domain d").await;
    assert_eq!(e.message, "cannot drop type d because other objects depend on it");
    assert_eq!(
        e.detail.as_deref(),
        Some("type over depends on type d\ncolumn a of table t depends on type d")
    );
    let e = c.err("insert into t values ('x'::text)").await;
    assert_eq!(e.message, "column \"a\" is of type d but expression is of type text");
}

#[tokio::test]
async fn copy_asks_domains() {
    let mut c = fresh().await;
    c.run(&[
        "create domain d as int default 7 not null check (value > 0)",
        "create table t (a int, b d, c d)",
    ])
    .await;
    assert_eq!(c.copy("copy t (a, b) from stdin", &[&[Some("1"), Some("2")]]).await.unwrap(), 1);
    c.check(&[("select * from t", "1|2|7")]).await;
    for (field, code) in [(Some("0"), sqlstate::CHECK_VIOLATION), (None, sqlstate::NOT_NULL_VIOLATION)] {
        let error = c.copy("copy t (a, b) from stdin", &[&[Some("1"), field]]).await.unwrap_err();
        assert_eq!((error.sqlstate, error.data_type.as_deref()), (code, Some("d")));
    }
}

#[tokio::test]
async fn a_crash_keeps_domains() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&[
        "create type mood as enum ('sad', 'ok')",
        "create domain good as mood default 'ok' check (value > 'sad')",
        "create domain short as varchar(3) check (value <> 'no')",
        "create domain over as short not null constraint last check (value <> 'x')",
        "create table t (a int primary key, g good, o over default 'a')",
        "insert into t (a) values (1)",
        "alter domain good add constraint never check (value is null) not valid",
        "alter domain good rename to fine",
        "create domain gone as int",
        "drop domain gone",
    ])
    .await;
    c.begin(Isolation::ReadCommitted);
    c.run(&["alter domain over drop constraint last", "create domain never as int"]).await;
    for _ in 0..2 {
        let mut again = open(&store.crash()).await;
        again.check(&[("select * from t", "1|ok|a"), ("select 'abcdef'::over", "abc")]).await;
        for (sql, code) in [
            ("insert into t values (2, 'sad', 'a')", sqlstate::CHECK_VIOLATION),
            ("insert into t values (2, 'ok', 'a')", sqlstate::CHECK_VIOLATION),
            ("insert into t values (2, null, 'x')", sqlstate::CHECK_VIOLATION),
            ("insert into t values (2, null, 'no')", sqlstate::CHECK_VIOLATION),
            ("insert into t values (2, null, null)", sqlstate::NOT_NULL_VIOLATION),
            ("insert into t values (2, null, 'abcd')", sqlstate::STRING_TOO_LONG),
            ("alter domain fine validate constraint never", sqlstate::CHECK_VIOLATION),
            ("select 1::gone", sqlstate::UNDEFINED_OBJECT),
            ("select 1::never", sqlstate::UNDEFINED_OBJECT),
            ("drop type mood", sqlstate::DEPENDENT_OBJECTS),
        ] {
            assert_eq!(again.err(sql).await.sqlstate, code, "{sql}");
        }
        again.run(&["alter type mood add value 'best'", "alter domain fine drop constraint never"]).await;
        again.check(&[("insert into t values (2, 'best', 'b') returning g", "best")]).await;
        again.run(&["create domain new as int check (value > 0)", "create table u (a new)"]).await;
        assert_eq!(again.err("insert into u values (0)").await.sqlstate, sqlstate::CHECK_VIOLATION);
    }
}

#[tokio::test]
async fn a_label_in_a_domains_expressions_keeps_its_name() {
    let mut c = fresh().await;
    c.run(&[
        "create type mood as enum ('sad', 'ok')",
        "create domain good as mood default 'ok' check (value > 'sad')",
        "create table t (a int, g good)",
    ])
    .await;
    let e = c.err("alter type mood rename value 'sad' to 'blue'").await;
    assert_eq!(e.sqlstate, sqlstate::FEATURE_NOT_SUPPORTED);
    c.run(&["alter type mood rename to feeling", "insert into t (a) values (1)"]).await;
    c.check(&[("select g from t", "ok")]).await;
}

#[tokio::test]
async fn what_is_of_a_domain_is_not_asked_again() {
    let mut c = fresh().await;
    c.run(&[
        "create domain d as int",
        "create domain e as int check (value < 9)",
        "create table t (id int primary key, a d, b d, c e, n int)",
        "insert into t values (1, -1, 1, 1, -7)",
        "alter domain d add constraint positive check (value > 0) not valid",
        "create view v as select b as y, a as x from t",
    ])
    .await;
    c.check(&[
        ("update t set a = a", "UPDATE 1"),
        ("update t set b = a, n = 10", "UPDATE 1"),
        ("update v set y = x", "UPDATE 1"),
        ("select a, b from t", "-1|-1"),
    ])
    .await;
    for (sql, domain) in [
        ("update t set a = a + 0", "d"),
        ("update v set x = x + 0", "d"),
        ("update t set a = n - 20", "d"),
        ("update t set c = n", "e"),
        ("update t set c = id + 8", "e"),
    ] {
        let error = c.err(sql).await;
        assert_eq!(error.sqlstate, sqlstate::CHECK_VIOLATION, "{sql}: {error}");
        assert!(error.message.starts_with(&format!("value for domain {domain} ")), "{sql}: {error}");
    }
}
