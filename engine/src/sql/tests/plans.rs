//! Which plans are chosen.

use super::*;

#[tokio::test]
async fn access_paths() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key, k int, c char(10))", "create index t_k on t (k, id desc)"])
        .await;
    for (sql, wanted) in [
        ("select * from t", "Seq Scan on t"),
        (
            "select * from t where id = 5",
            "Index Scan using t_pkey on t\n  Index Cond: (id = 5)\n  Filter: (id = 5)",
        ),
        (
            "select * from t where id = $1 and c = 'x'",
            "Index Scan using t_pkey on t\n  Index Cond: (id = $1)\n  Filter: ((id = $1) AND (c = 'x'))",
        ),
        (
            "select * from t where 5 < id and id <= 9",
            "Index Scan using t_pkey on t\n  Index Cond: (id > 5 AND id <= 9)\n  Filter: ((5 < id) AND (id <= 9))",
        ),
        (
            "select * from t where id = 5::bigint",
            "Index Scan using t_pkey on t\n  Index Cond: (id = 5)\n  Filter: (id = 5)",
        ),
        (
            "select * from t where id in (1, 2)",
            "Index Scan using t_pkey on t\n  Index Cond: (id IN (1, 2))\n  Filter: (id IN (1, 2))",
        ),
        (
            "select * from t where k = 1 and id > 2",
            "Index Scan using t_k on t\n  Index Cond: (k = 1 AND id > 2)\n  Filter: ((k = 1) AND (id > 2))",
        ),
        ("select * from t where k + 1 = 2", "Seq Scan on t\n  Filter: ((k + 1) = 2)"),
        ("select * from t where id <> 1", "Seq Scan on t\n  Filter: (id <> 1)"),
        ("select id from t order by id limit 1", "Limit\n  ->  Index Scan using t_pkey on t"),
        ("select id from t order by id desc", "Index Scan Backward using t_pkey on t"),
        (
            "select id from t where k = 1 order by id",
            "Index Scan Backward using t_k on t\n  Index Cond: (k = 1)\n  Filter: (k = 1)",
        ),
        ("select k from t order by k, id desc", "Index Scan using t_k on t"),
        ("select k from t order by k, id", "Sort\n  Sort Key: #1, #2\n  ->  Seq Scan on t"),
        ("select count(*) from t group by k", "HashAggregate\n  Group Key: #2\n  ->  Seq Scan on t"),
        (
            "select 1 from t a join t b on a.id = b.k where a.id = 3",
            "Hash Join\n  Hash Cond: (#1 = #5)\n  ->  Index Scan using t_pkey on t a\n        Index Cond: (id = 3)\n        Filter: (id = 3)\n  ->  Seq Scan on t b",
        ),
        (
            "update t set k = 1 where id = 2",
            "Update on t\n  ->  Index Scan using t_pkey on t\n        Index Cond: (id = 2)\n        Filter: (id = 2)",
        ),
        ("insert into t values (1)", "Insert on t\n  ->  Values Scan"),
    ] {
        assert_eq!(explain(&mut c, sql).await, wanted, "{sql}");
    }
}

async fn explain(c: &mut Client, sql: &str) -> String {
    let prepared = c.prepare(&format!("explain {sql}"), &[]).await.unwrap();
    let params = vec![Datum::Int4(1); prepared.parameters.len()];
    let (rows, tag) = c.execute(&prepared, params).await.unwrap();
    assert_eq!(tag, "EXPLAIN");
    rows.iter().map(|row| row[0].as_str().unwrap()).collect::<Vec<_>>().join("\n")
}

#[tokio::test]
async fn every_access_path_gives_the_same_rows() {
    let mut c = fresh().await;
    c.run(&["create table i (a int, b int, c text)", "create table s (a int, b int, c text)"]).await;
    c.run(&[
        "create index on i (a, b desc)",
        "create index on i (b desc nulls last)",
        "create index on i (c, a)",
    ])
    .await;
    for t in ["i", "s"] {
        let rows = format!(
            "insert into {t} select nullif(n % 17, 3), nullif((n * 7) % 13, 5), 'x' || n % 5 from generate_series(1, 400) n"
        );
        c.sql(&rows).await;
    }
    for condition in [
        "a = 4",
        "a = 3",
        "a is null",
        "a > 10",
        "a <= 2",
        "a between 5 and 7",
        "a = 4 and b > 6",
        "a = 4 and b <= 6",
        "a in (1, 2, 99) and b = 4",
        "b < 3",
        "b >= 11",
        "b between 4 and 6",
        "c = 'x1'",
        "c > 'x3'",
        "c = 'x2' and a < 5",
        "a = 1 or b = 1",
        "a = 2147483648",
        "a < 3000000000",
        "b > -3000000000",
        "a = null",
        "c in ('x1', 'nope')",
        "a = 4 and b in (1, 2, 3)",
        "a >= 16 and a < 16",
        "a > 5 and a < 4",
    ] {
        for order in ["a, b, c", "b desc nulls last, a, c", "c, a, b", "a desc, b, c"] {
            let of = |t: &str| format!("select a, b, c from {t} where {condition} order by {order}");
            assert_eq!(c.sql(&of("i")).await, c.sql(&of("s")).await, "{condition} order by {order}");
        }
        let count = |t: &str| format!("select count(*), sum(a), sum(b) from {t} where {condition}");
        assert_eq!(c.sql(&count("i")).await, c.sql(&count("s")).await, "{condition}");
    }
}
