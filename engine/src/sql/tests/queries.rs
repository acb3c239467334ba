//! SELECT.

use super::*;
use crate::types::sqlstate;

async fn with_rows() -> Client {
    let mut c = fresh().await;
    c.run(&[
        "create table t (id int primary key, k int, name text)",
        "create index t_k on t (k)",
        "insert into t values (1, 10, 'a'), (2, 20, 'b'), (3, 10, 'c'), (4, null, 'd'), (5, 30, null)",
        "create table u (id int primary key, t_id int, w numeric)",
        "insert into u values (1, 1, 1.5), (2, 1, 2.5), (3, 3, 4), (4, 9, 8)",
    ])
    .await;
    c
}

#[tokio::test]
async fn order_limit_distinct() {
    let mut c = with_rows().await;
    c.check(&[
        ("select id from t order by k, id", "1\n3\n2\n5\n4"),
        ("select id from t order by k desc, id desc", "4\n5\n2\n3\n1"),
        ("select id from t order by k nulls first, id limit 2", "4\n1"),
        ("select id from t order by k desc nulls last, id limit 2 offset 1", "2\n1"),
        ("select distinct k from t order by k", "10\n20\n30\n-"),
        ("select distinct on (k) k, id from t order by k, id desc", "10|3\n20|2\n30|5\n-|4"),
        ("select id as x from t order by x desc limit 1", "5"),
        ("select name, id from t order by 2 offset 3", "d|4\n-|5"),
        ("select id from t order by -id limit all offset 3", "2\n1"),
        ("select id from t fetch first 1 row only", "1"),
        ("select id from t limit 0", ""),
        ("select t.* from t where id = 2", "2|20|b"),
        ("select id from t where k is null", "4"),
        ("select id from t where k = 10 and name = 'c'", "3"),
        ("select id from t where k in (10, 30) and id > 1 order by id", "3\n5"),
        ("select id from t where id in (5, 1, 1, 7) order by id", "1\n5"),
        ("select id from t where k > 10 order by k", "2\n5"),
        ("select id from t where k >= 10 and k < 30 order by k desc, id", "2\n1\n3"),
    ])
    .await;
}

#[tokio::test]
async fn aggregates() {
    let mut c = with_rows().await;
    c.check(&[
        (
            "select count(*), count(k), sum(k), avg(k), min(name), max(k) from t",
            "5|4|70|17.5000000000000000|a|30",
        ),
        ("select count(*), sum(k), min(k) from t where id > 100", "0|-|-"),
        ("select k, count(*) from t group by k order by k", "10|2\n20|1\n30|1\n-|1"),
        ("select k, sum(id) as s from t group by k having count(*) > 1", "10|4"),
        (
            "select k * 2 as d, count(*) from t where k is not null group by k * 2 order by d desc",
            "60|1\n40|1\n20|2",
        ),
        ("select k * 2 as d, count(*) from t where k is not null group by d order by 1", "20|2\n40|1\n60|1"),
        ("select count(distinct k), sum(distinct k) from t", "3|60"),
        ("select count(*) filter (where k = 10) from t", "2"),
        ("select sum(w), avg(w), max(w) from u", "16.0|4.0000000000000000|8"),
        ("select bool_and(id > 0), bool_or(id > 4), string_agg(name, ',') from t", "t|t|a,b,c,d"),
        ("select sum(2000000000::int) from t", "10000000000"),
        ("select max(id) + 1 from t", "6"),
        (
            "select sum(id::bigint), pg_typeof(sum(id::bigint)), pg_typeof(sum(id)) from t",
            "15|numeric|bigint",
        ),
        ("select 1 from t having count(*) > 3", "1"),
        ("select k from t group by k having k > 10 order by sum(id)", "20\n30"),
    ])
    .await;
}

#[tokio::test]
async fn joins() {
    let mut c = with_rows().await;
    c.check(&[
        ("select t.id, u.id from t join u on u.t_id = t.id order by 1, 2", "1|1\n1|2\n3|3"),
        (
            "select t.id, u.w from t left join u on u.t_id = t.id where t.id < 4 order by 1, 2",
            "1|1.5\n1|2.5\n2|-\n3|4",
        ),
        ("select u.id, t.name from t right join u on u.t_id = t.id order by 1", "1|a\n2|a\n3|c\n4|-"),
        ("select count(*) from t, u", "20"),
        ("select t.id from t, u where t.id = u.t_id and u.w > 2 order by 1", "1\n3"),
        ("select a.id, b.id from t a join t b on a.k = b.k and a.id < b.id", "1|3"),
        ("select id, w from t join u using (id) order by id", "1|1.5\n2|2.5\n3|4\n4|8"),
        ("select * from t natural join u where id = 3", "3|10|c|3|4"),
        (
            "select t.id from t left join u on u.t_id = t.id and u.w > 100 where u.id is null order by 1",
            "1\n2\n3\n4\n5",
        ),
        ("select count(*) from t a cross join t b where a.id < b.id", "10"),
        ("select t.k, sum(u.w) from t join u on t.id = u.t_id group by t.k", "10|8.0"),
    ])
    .await;
}

#[tokio::test]
async fn subqueries_and_sets() {
    let mut c = with_rows().await;
    c.check(&[
        ("select * from (select id, k from t where k = 10) as s (a, b) where a > 1", "3|10"),
        ("with x as (select id from t where id > 3) select count(*) from x", "2"),
        ("select (select max(id) from t), exists (select 1 from t where id = 9)", "5|f"),
        ("select id from t where k = (select min(k) from t) order by id", "1\n3"),
        ("select id from t where id in (select t_id from u) order by id", "1\n3"),
        ("select id from t where id not in (select t_id from u) order by id", "2\n4\n5"),
        ("select id from t where id < 3 union select id from u order by 1", "1\n2\n3\n4"),
        ("select 1 union all select 1", "1\n1"),
        ("select id from t intersect select t_id from u order by 1", "1\n3"),
        ("select id from t except select t_id from u order by 1", "2\n4\n5"),
        ("select 1, 'a' union select 2, null order by 1", "1|a\n2|-"),
        ("values (1, 'x'), (2, 'y')", "1|x\n2|y"),
        ("select column2 from (values (1, 'x'), (2, 'y')) v where column1 = 2", "y"),
        ("select sum(n) from generate_series(1, 100) as n", "5050"),
        ("select n from generate_series(5, 1, -2) n", "5\n3\n1"),
        ("select 1 where false", ""),
        ("table u limit 1", "1|1|1.5"),
    ])
    .await;
}

#[tokio::test]
async fn the_catalog_is_tables() {
    let mut c = with_rows().await;
    c.check(&[
        ("select relname, relkind from pg_class where relname = 't'", "t|r"),
        ("select attname, atttypid, attnotnull from pg_attribute where attrelid = 't'::regclass and attnum > 0 order by attnum", "id|23|t\nk|23|f\nname|25|f"),
        ("select c.relname, i.indisunique, i.indkey from pg_index i join pg_class c on c.oid = i.indexrelid where i.indrelid = 't'::regclass order by 1", "t_k|f|2\nt_pkey|t|1"),
        ("select conname, contype from pg_constraint where conrelid = 'u'::regclass", "u_pkey|p"),
        ("select typname from pg_catalog.pg_type where oid = 23", "int4"),
        ("select n.nspname from pg_class c join pg_namespace n on n.oid = c.relnamespace where c.relname = 'pg_class'", "pg_catalog"),
        ("select format_type(atttypid, atttypmod) from pg_attribute where attrelid = 'u'::regclass and attname = 'w'", "numeric"),
        ("select pg_table_is_visible('t'::regclass)", "t"),
        ("select count(*) > 8 from pg_class", "t"),
    ])
    .await;
    // pgbench asks this; it goes on after an error.
    let partitions = "select o.n, p.partstrat, pg_catalog.count(i.inhparent) from pg_catalog.pg_class as c join pg_catalog.pg_namespace as n on (n.oid = c.relnamespace) cross join lateral (select pg_catalog.array_position(pg_catalog.current_schemas(true), n.nspname)) as o(n) left join pg_catalog.pg_partitioned_table as p on (p.partrelid = c.oid) left join pg_catalog.pg_inherits as i on (c.oid = i.inhparent) where c.relname = 'pgbench_accounts' and o.n is not null group by 1, 2 order by 1 asc limit 1";
    let e = c.err(partitions).await;
    assert!(["0A000", "42P01", "42883"].contains(&e.sqlstate), "{e}");
}

#[tokio::test]
async fn result_columns_are_described() {
    let mut c = with_rows().await;
    let p = c
        .prepare(
            "select id, t.name as n, k + 1, count(*) over_all, upper(name) from t group by id, t.name, k",
            &[],
        )
        .await
        .unwrap();
    let names: Vec<&str> = p.columns.iter().map(|c| c.name.as_str()).collect();
    assert_eq!(names, ["id", "n", "?column?", "over_all", "upper"]);
    let p = c.prepare("select id, name from t", &[]).await.unwrap();
    assert_ne!(p.columns[0].table_oid, 0);
    assert_eq!((p.columns[0].attnum, p.columns[1].attnum), (1, 3));
    let p = c.prepare("select 1::numeric(5,2), 'x'::varchar(3), now(), case when true then 1 end, exists (select 1), 2::int8", &[]).await.unwrap();
    let shown: Vec<String> = p.columns.iter().map(|c| format!("{} {}", c.name, c.ty.spelled())).collect();
    assert_eq!(
        shown,
        [
            "numeric numeric(5,2)",
            "varchar character varying(3)",
            "now timestamp with time zone",
            "case integer",
            "exists boolean",
            "int8 bigint",
        ]
    );
}

#[tokio::test]
async fn literals_take_the_type_of_other_parts() {
    let mut c = fresh().await;
    c.run(&[
        "create type mood as enum ('sad', 'ok', 'happy')",
        "create table m (id int primary key, m mood)",
        "insert into m values (1, 'happy'), (2, 'sad')",
    ])
    .await;
    c.check(&[
        ("select m from m union select 'ok' order by 1", "sad\nok\nhappy"),
        ("select 'ok' as m union all select m from m order by m", "sad\nok\nhappy"),
        ("select m from m except select 'sad'", "happy"),
        ("select 'sad', 3 intersect select m, '3' from m", "sad|3"),
        ("select '7' union all select 3", "7\n3"),
        ("select null union select 3 order by 1", "3\n-"),
        ("((select '1')) intersect select 1", "1"),
        ("select 1 where false union all select null union all (select '5') order by 1", "5\n-"),
        ("select '2024-01-02' union select '2024-01-01'::date order by 1", "2024-01-01\n2024-01-02"),
        ("select 'b' union select 'a' order by 1", "a\nb"),
        ("select count(*), 'x' from m union select 2, '17' order by 2", "2|17\n2|x"),
        ("select id, '4' from m group by id union select 5, 6 order by 1", "1|4\n2|4\n5|6"),
        ("(select 'c' order by 1) union select 'a' order by 1", "a\nc"),
    ])
    .await;
    let e = c.err("select 'x' union select 3").await;
    let wanted = (sqlstate::INVALID_TEXT, "invalid input syntax for type integer: \"x\"");
    assert_eq!((e.sqlstate, e.message.as_str()), wanted);
    for sql in ["select 'a' union select 'b' union select 3", "select distinct '1' union select 3"] {
        let e = c.err(sql).await;
        let wanted = (sqlstate::DATATYPE_MISMATCH, "UNION types text and integer cannot be matched");
        assert_eq!((e.sqlstate, e.message.as_str()), wanted, "{sql}");
    }
    let prepared = c.prepare("select $1 union select 3::bigint", &[]).await.unwrap();
    assert_eq!(prepared.parameters, [crate::types::SqlType::INT8]);
    assert_eq!(prepared.columns[0].ty, crate::types::SqlType::INT8);
}

#[tokio::test]
async fn regular_expressions() {
    let mut c = with_rows().await;
    c.check(&[
        ("select id from t where name ~ '^[a-c]$' order by id", "1\n2\n3"),
        ("select id from t where name !~ 'a|b' order by id", "3\n4"),
        ("select 'Ab' ~* '^ab$', 'Ab' !~* 'B', 'Ab' ~ 'b', null ~ 'a'", "t|f|t|-"),
        ("select 'a' operator(pg_catalog.~) '^(a)$' collate pg_catalog.default", "t"),
        ("select 1 operator(pg_catalog.+) 2 operator(pg_catalog.=) 3", "t"),
        ("select 'x' like '_' and 'x' ~~ '%' and 'X' ~~* 'x'", "t"),
    ])
    .await;
    for (sql, code) in [
        ("select 'a' ~ '('", sqlstate::INVALID_REGULAR_EXPRESSION),
        ("select 1 operator(public.+) 2", sqlstate::FEATURE_NOT_SUPPORTED),
    ] {
        assert_eq!(c.err(sql).await.sqlstate, code, "{sql}");
    }
}
