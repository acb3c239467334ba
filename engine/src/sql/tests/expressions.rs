//! Expressions, with PostgreSQL 15's results.

use super::*;

#[tokio::test]
async fn arithmetic_and_types() {
    let mut c = fresh().await;
    c.check(&[
        ("select 1 + 1, 7 / 2, -7 / 2, 7 % 3, -7 % 3", "2|3|-3|1|-1"),
        ("select 1.5 + 1, 2 * 1.50, 1 / 3.0", "2.5|3.00|0.33333333333333333333"),
        ("select 0.1 + 0.2, 0.1::float8 + 0.2::float8", "0.3|0.30000000000000004"),
        ("select 2147483647 + 1::bigint, -2147483648", "2147483648|-2147483648"),
        ("select -9223372036854775808, 9223372036854775808", "-9223372036854775808|9223372036854775808"),
        (
            "select pg_typeof(1), pg_typeof(3000000000), pg_typeof(1.0), pg_typeof(1::real + 1)",
            "integer|bigint|numeric|double precision",
        ),
        ("select 5 & 3, 5 | 3, 5 # 3, 2 ^ 10", "1|7|6|1024"),
        ("select round(2.5), round(-2.5), round(2.5::float8), round(1.2345, 2)", "3|-3|2|1.23"),
        ("select abs(-5), ceil(1.2), floor(-1.2), mod(7, 3), sign(-2.5::float8)", "5|2|-2|1|-1"),
        ("select 10::numeric(5,2), 1e3, 1.0e-2", "10.00|1000|0.010"),
        ("select greatest(1, 3, 2), least(1, null, 2), nullif(1, 1), nullif(1, 2)", "3|1|-|1"),
    ])
    .await;
}

#[tokio::test]
async fn logic_and_null() {
    let mut c = fresh().await;
    c.check(&[
        ("select true and null, false and null, true or null, false or null, not null::bool", "-|f|t|-|-"),
        ("select null is null, 1 is not null, null = null, 1 is distinct from null", "t|t|-|t"),
        ("select 1 in (1, 2), 3 in (1, null), 3 not in (1, 2), 1 not in (1, null)", "t|-|t|f"),
        ("select 2 between 1 and 3, 2 not between 1 and 3, true is true, null::bool is not true", "t|f|t|t"),
        (
            "select case when 1 > 2 then 'a' when 2 > 1 then 'b' end, case 3 when 1 then 'x' else 'y' end",
            "b|y",
        ),
        ("select coalesce(null, null, 3), coalesce(null, 'x')", "3|x"),
        ("select 1 = 1.0, 1::smallint = 1::bigint, 'a' < 'b', 'B' < 'a'", "t|t|t|t"),
    ])
    .await;
}

#[tokio::test]
async fn strings() {
    let mut c = fresh().await;
    c.check(&[
        ("select 'a' || 'b', 'n=' || 5, null || 'x'", "ab|n=5|-"),
        ("select length('héllo'), upper('abc'), substr('hello', 2, 3), substring('hello' from 3)", "5|ABC|ell|llo"),
        ("select trim('  x '), trim(leading 'x' from 'xxa'), position('l' in 'hello'), strpos('abc', 'z')", "x|a|3|0"),
        ("select replace('aXbX', 'X', '-'), left('hello', 2), right('hello', -1), lpad('7', 3, '0'), repeat('ab', 2)", "a-b-|he|ello|007|abab"),
        ("select 'hello' like 'h%', 'hello' like '_ello', 'HELLO' ilike 'h%', 'a%' like 'a\\%', 'x' not like 'y'", "t|t|t|t|t"),
        ("select 'a'::char(3) = 'a', 'a'::char(3)::text || '.', length('a'::char(3)), octet_length('a'::char(3))", "t|a.|1|3"),
        ("select 'abc'::varchar(2), 'abc'::char(2), ''::char(2) = '   '", "ab|ab|t"),
        ("select concat('a', null, 1, true), concat_ws('-', 'a', null, 'b'), split_part('a,b,c', ',', 2)", "a1t|a-b|b"),
        ("select E'a\\nb' = E'a\\x0ab', $$it's$$, 'it''s'", "t|it's|it's"),
        ("select ascii('A'), chr(66), reverse('abc'), initcap('hello world'), quote_ident('A b')", "65|B|cba|Hello World|\"A b\""),
        ("select '\\x0102'::bytea, length('\\x0102'::bytea), '\\x01'::bytea || '\\x02'::bytea", "\\x0102|2|\\x0102"),
    ])
    .await;
}

#[tokio::test]
async fn dates_and_times() {
    let mut c = fresh().await;
    c.check(&[
        ("select date '2026-11-22' + 1, date '2026-11-22' - date '2026-11-20'", "2026-11-23|2"),
        ("select timestamp '2026-11-22 21:34:05.5', '2026-11-22 10:00+02'::timestamptz", "2026-11-22 21:34:05.5|2026-11-22 08:00:00+00"),
        ("select extract(year from date '2026-11-22'), extract(dow from date '2026-11-22')", "2026|0"),
        ("select extract(epoch from timestamp '2000-01-01 00:00:00'), date_trunc('hour', timestamp '2026-11-22 21:34:05')", "946684800.000000|2026-11-22 21:00:00"),
        ("select date_trunc('week', date '2026-11-22')::date, date_trunc('month', timestamp '2026-11-22')", "2026-11-16|2026-11-01 00:00:00"),
        ("select now() = current_timestamp, now() <= clock_timestamp(), current_date = now()::date", "t|t|t"),
        ("select '2026-11-22'::date::timestamp, timestamp '2026-11-22 12:00' > date '2026-11-22'", "2026-11-22 00:00:00|t"),
    ])
    .await;
}

#[tokio::test]
async fn casts_and_literals() {
    let mut c = fresh().await;
    c.check(&[
        (
            "select '42'::int, 42::text, 't'::bool, 1::bool, true::int, 2.5::int, '1.5'::float8",
            "42|42|t|t|1|3|1.5",
        ),
        ("select cast('7' as bigint), int4 '8', 'pg_class'::regclass::oid", "7|8|1259"),
        (
            "select version() like 'PostgreSQL 15%', current_schema(), current_user, current_database()",
            "t|public|tester|test",
        ),
        ("select 1::int2 + 1::int2, pg_typeof(1::int2 + 1), 3::oid = 3", "2|integer|t"),
        ("select true, false, null", "t|f|-"),
    ])
    .await;
}

#[tokio::test]
async fn parameters_are_inferred() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key, k smallint, c char(5), v varchar(5), n numeric(6,2), ts timestamp)"]).await;
    let oids = async |c: &mut Client, sql: &str, declared: &[u32]| -> Vec<u32> {
        c.prepare(sql, declared).await.unwrap().parameters.iter().map(|t| t.oid).collect()
    };
    assert_eq!(
        oids(&mut c, "select * from t where id = $1 and k > $2 and c = $3", &[]).await,
        [23, 21, 1042]
    );
    assert_eq!(
        oids(&mut c, "insert into t values ($1, $2, $3, $4, $5, $6)", &[]).await,
        [23, 21, 1042, 1043, 1700, 1114]
    );
    assert_eq!(oids(&mut c, "update t set k = k + $1, v = $2 where id = $3", &[]).await, [21, 1043, 23]);
    assert_eq!(oids(&mut c, "select $1", &[]).await, [25]);
    assert_eq!(oids(&mut c, "select $1::int + $2", &[]).await, [23, 23]);
    assert_eq!(oids(&mut c, "select id from t where id between $1 and $2 limit $3", &[]).await, [23, 23, 20]);
    assert_eq!(oids(&mut c, "select id from t where id in ($1, $2)", &[]).await, [23, 23]);
    assert_eq!(oids(&mut c, "select coalesce($1, 1.5)", &[]).await, [1700]);
    // sysbench declares bigint for int columns and varchar for char(n).
    assert_eq!(oids(&mut c, "select c from t where id = $1", &[20]).await, [20]);
    assert_eq!(oids(&mut c, "update t set c = $1 where id = $2", &[1043, 20]).await, [1043, 20]);
    assert_eq!(c.prepare("select $2::int", &[]).await.err().unwrap().sqlstate, "42P18");
}

#[tokio::test]
async fn declared_types_convert() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key, c char(5))", "insert into t values (1, 'a'), (2, 'b')"])
        .await;
    let p = c.prepare("select id from t where id = $1", &[20]).await.unwrap();
    let one = |n| vec![Datum::Int8(n)];
    assert_eq!(c.execute(&p, one(2)).await.unwrap().0, [[Datum::Int4(2)]]);
    assert!(c.execute(&p, one(1 << 40)).await.unwrap().0.is_empty(), "beyond int4 there is nothing");
    let p = c.prepare("update t set c = $1 where id = $2", &[1043, 20]).await.unwrap();
    let (_, tag) = c.execute(&p, vec![Datum::text("xyz"), Datum::Int8(1)]).await.unwrap();
    assert_eq!(tag, "UPDATE 1");
    assert_eq!(c.sql("select c || '.', c from t where id = 1").await, "xyz.|xyz  ");
    let p = c.prepare("select id from t where id >= $1 order by id", &[20]).await.unwrap();
    assert_eq!(c.execute(&p, one(-(1 << 40))).await.unwrap().0.len(), 2);
    assert!(c.execute(&p, one(1 << 40)).await.unwrap().0.is_empty());
    assert!(c.execute(&p, vec![Datum::Null]).await.unwrap().0.is_empty());
}

#[tokio::test]
async fn types_that_postgresql_finds() {
    let mut c = fresh().await;
    for (expr, ty) in [
        ("-2147483648", "integer"),
        ("-(-2147483648)", "bigint"),
        ("-9223372036854775808", "bigint"),
        ("3 - 9223372036854775808", "numeric"),
        ("nullif(1.5, 2::float8)", "double precision"),
        ("nullif(1, 2::bigint)", "integer"),
        ("coalesce('a'::char(3), 'b'::text)", "character"),
        ("coalesce('a'::varchar(3), 'b'::text)", "character varying"),
        ("greatest(1, 2.5)", "numeric"),
        ("case when true then 1::smallint else 2::bigint end", "bigint"),
        ("1::real = 1", "boolean"),
        ("2 ^ 3", "double precision"),
    ] {
        assert_eq!(c.sql(&format!("select pg_typeof({expr})")).await, ty, "{expr}");
    }
    c.check(&[
        ("select 16777217 = 16777216::real, coalesce('abc'::varchar(2), 'longer')", "f|ab"),
        ("select -(2), - -3, -(-2147483648), abs(-2147483648::bigint)", "-2|3|2147483648|2147483648"),
    ])
    .await;
    assert_eq!(c.err("select - '1'").await.sqlstate, "42725");
}
