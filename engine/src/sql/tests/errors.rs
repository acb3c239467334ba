//! SQLSTATEs and messages, as PostgreSQL 15 has them.

use super::*;

#[tokio::test]
async fn codes_and_wording() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key, k int not null, v varchar(3), n numeric(4,2), b bool)"])
        .await;
    for (sql, code, message) in [
        ("select * from nowhere", "42P01", "relation \"nowhere\" does not exist"),
        ("select * from s.nowhere", "42P01", "relation \"s.nowhere\" does not exist"),
        ("select nothing from t", "42703", "column \"nothing\" does not exist"),
        ("select t.nothing from t", "42703", "column t.nothing does not exist"),
        ("select x.id from t", "42P01", "missing FROM-clause entry for table \"x\""),
        ("select id from t a, t b", "42702", "column reference \"id\" is ambiguous"),
        ("select 1 from t, t", "42712", "table name \"t\" specified more than once"),
        ("selec 1", "42601", "syntax error at or near \"selec\""),
        ("select 1/0", "22012", "division by zero"),
        ("select 1 % 0", "22012", "division by zero"),
        ("select 1.0 / 0", "22012", "division by zero"),
        ("select 2147483647 + 1", "22003", "integer out of range"),
        ("select 9223372036854775807 + 1", "22003", "bigint out of range"),
        ("select 32767::int2 + 1::int2", "22003", "smallint out of range"),
        ("select 40000::int2", "22003", "smallint out of range"),
        ("select '99999999999'::int", "22003", "value \"99999999999\" is out of range for type integer"),
        ("select 'abc'::int", "22P02", "invalid input syntax for type integer: \"abc\""),
        ("select 'abc' + 1", "22P02", "invalid input syntax for type integer: \"abc\""),
        ("select '2026-02-30'::date", "22008", "date/time field value out of range: \"2026-02-30\""),
        ("select 'x'::timestamp", "22007", "invalid input syntax for type timestamp: \"x\""),
        ("select 1 + true", "42883", "operator does not exist: integer + boolean"),
        ("select 'a'::text = 1", "42883", "operator does not exist: text = integer"),
        ("select nofunction(1, 'x')", "42883", "function nofunction(integer, unknown) does not exist"),
        ("select upper(1)", "42883", "function upper(integer) does not exist"),
        ("select true::bigint", "42846", "cannot cast type boolean to bigint"),
        ("select 1 where 1", "42804", "argument of WHERE must be type boolean, not type integer"),
        (
            "select case when 1 = 1 then 1 else true end",
            "42804",
            "CASE types boolean and integer cannot be matched",
        ),
        ("select 1 union select true", "42804", "UNION types integer and boolean cannot be matched"),
        ("select 1 union select 1, 2", "42601", "each UNION query must have the same number of columns"),
        (
            "select id, count(*) from t",
            "42803",
            "column \"t.id\" must appear in the GROUP BY clause or be used in an aggregate function",
        ),
        ("select 1 order by 2", "42P10", "ORDER BY position 2 is not in select list"),
        ("select 1 limit -1", "2201W", "LIMIT must not be negative"),
        ("select 1 offset -1", "2201X", "OFFSET must not be negative"),
        ("select $1 + $2", "42725", "operator is not unique: unknown + unknown"),
        (
            "insert into t values (1, null)",
            "23502",
            "null value in column \"k\" of relation \"t\" violates not-null constraint",
        ),
        ("insert into t values (1, 1, 'abcd')", "22001", "value too long for type character varying(3)"),
        ("insert into t values (1, 1, 'abc', 100)", "22003", "numeric field overflow"),
        ("insert into t values (1, 'x')", "22P02", "invalid input syntax for type integer: \"x\""),
        (
            "insert into t values (1, true)",
            "42804",
            "column \"k\" is of type integer but expression is of type boolean",
        ),
        (
            "insert into t values (1, 2, 3, 4, true, 6)",
            "42601",
            "INSERT has more expressions than target columns",
        ),
        ("insert into t (id, k) values (1)", "42601", "INSERT has more target columns than expressions"),
        ("insert into t (id, x) values (1, 2)", "42703", "column \"x\" of relation \"t\" does not exist"),
        ("insert into t (id, id) values (1, 2)", "42701", "column \"id\" specified more than once"),
        ("update t set x = 1", "42703", "column \"x\" of relation \"t\" does not exist"),
        ("update t set k = 1, k = 2", "42601", "multiple assignments to same column \"k\""),
        ("update t set b = 1", "42804", "column \"b\" is of type boolean but expression is of type integer"),
        ("delete from nowhere", "42P01", "relation \"nowhere\" does not exist"),
        ("create table t (id int)", "42P07", "relation \"t\" already exists"),
        ("create table x (a int, a int)", "42701", "column \"a\" specified more than once"),
        ("create table x (a nosuchtype)", "42704", "type \"nosuchtype\" does not exist"),
        ("create table x (a int, primary key (b))", "42703", "column \"b\" named in key does not exist"),
        (
            "create table x (a int primary key, primary key (a))",
            "42P16",
            "multiple primary keys for table \"x\" are not allowed",
        ),
        ("create table nos.x (a int)", "3F000", "schema \"nos\" does not exist"),
        ("create table x (a int default 'abc')", "22P02", "invalid input syntax for type integer: \"abc\""),
        ("drop table nowhere", "42P01", "table \"nowhere\" does not exist"),
        ("drop index t", "42809", "\"t\" is not an index"),
        ("drop table t_pkey", "42809", "\"t_pkey\" is not a table"),
        (
            "drop index t_pkey",
            "2BP01",
            "cannot drop index t_pkey because constraint t_pkey on table t requires it",
        ),
        (
            "alter table t add primary key (k)",
            "42P16",
            "multiple primary keys for table \"t\" are not allowed",
        ),
        ("create index on t (nothing)", "42703", "column \"nothing\" does not exist"),
        ("delete from pg_class", "42501", "permission denied: \"pg_class\" is a system catalog"),
        ("select sum(count(*)) from t", "42803", "aggregate function calls cannot be nested"),
        (
            "select (select 1 union select 2)",
            "21000",
            "more than one row returned by a subquery used as an expression",
        ),
        ("select (select 1, 2)", "42601", "subquery must return only one column"),
        ("select row_number() over () from t", "0A000", "a window function is not supported"),
        ("create materialized view v as select 1", "0A000", "CREATE MATERIALIZED VIEW is not supported"),
        ("select 'ab' like 'a\\'", "22025", "LIKE pattern must not end with escape character"),
        ("select ln(0)", "2201E", "cannot take logarithm of zero"),
        ("select sqrt(-1)", "2201F", "cannot take square root of a negative number"),
    ] {
        let e = c.err(sql).await;
        assert_eq!((e.sqlstate, e.message.as_str()), (code, message), "{sql}");
    }
    assert_eq!(c.sql("select count(*) from t").await, "0");
}

#[tokio::test]
async fn deep_nesting_is_refused_and_does_not_overflow_the_stack() {
    let mut c = fresh().await;
    let deep = format!("select {}1{}", "(select ".repeat(60), ")".repeat(60));
    assert_eq!(c.err(&deep).await.sqlstate, "54001");
    let chain = format!("select 1{}", " + 1".repeat(20));
    assert_eq!(c.sql(&chain).await, "21");
    let chain = |n: usize, op: &str, part: &str| vec![part; n].join(op);
    for (n, fits) in [(300, true), (1500, true), (100_000, false)] {
        let result = c.try_sql(&format!("select 1 where {}", chain(n, " or ", "1 = 2"))).await;
        assert_eq!(
            result.map_err(|e| e.sqlstate),
            if fits { Ok(String::new()) } else { Err("54001") },
            "{n} ORs"
        );
    }
    for (n, fits) in [(300, true), (100_000, false)] {
        let result = c.try_sql(&format!("select {}", chain(n, " + ", "1"))).await;
        assert_eq!(
            result.map_err(|e| e.sqlstate),
            if fits { Ok(n.to_string()) } else { Err("54001") },
            "{n} sums"
        );
    }
    for text in ["- ", "not ", "((((", "case when "] {
        let result = c.try_sql(&format!("select {}1", text.repeat(20_000))).await;
        assert!(result.is_err_and(|e| e.sqlstate == "54001" || e.sqlstate == "42601"), "{text}");
    }
    for tail in ["::int", " is null", "[1]", " collate \"C\"", " ->> 1"] {
        assert!(c.try_sql(&format!("select 1{}", tail.repeat(20_000))).await.is_err(), "{tail}");
    }
    let unions = chain(500, " union all ", "select 1");
    assert_eq!(c.sql(&format!("select count(*) from ({unions}) x")).await, "500");
    let many: Vec<String> = (0..5000).map(|n| n.to_string()).collect();
    assert_eq!(c.sql(&format!("select 4999 in ({})", many.join(","))).await, "t");
    let rows: Vec<String> = (0..5000).map(|n| format!("({n}+1, 'x')")).collect();
    assert_eq!(c.sql(&format!("select count(*) from (values {}) v", rows.join(","))).await, "5000");
    assert_eq!(c.err(&format!("select 1 from {}", chain(100, ", ", "pg_class"))).await.sqlstate, "54001");
}
