//! Which plans are chosen.

use super::*;

#[tokio::test]
async fn access_paths() {
    let mut c = fresh().await;
    c.run(&["create table t (id int primary key, k int, c char(10))", "create index t_k on t (k, id desc)"])
        .await;
    for (sql, wanted) in [
        ("select * from t", "Seq Scan on t"),
        ("select * from t where id = 5", "Index Scan using t_pkey on t\n  Index Cond: (id = 5)"),
        (
            "select * from t where id = $1 and c = 'x'",
            "Index Scan using t_pkey on t\n  Index Cond: (id = $1)\n  Filter: ((id = $1) AND (c = 'x'))",
        ),
        (
            "select * from t where 5 < id and id <= 9",
            "Index Scan using t_pkey on t\n  Index Cond: (id > 5 AND id <= 9)",
        ),
        ("select * from t where id = 5::bigint", "Index Scan using t_pkey on t\n  Index Cond: (id = 5)"),
        (
            "select * from t where id in (1, 2)",
            "Index Scan using t_pkey on t\n  Index Cond: (id IN (1, 2))\n  Filter: (id IN (1, 2))",
        ),
        (
            "select * from t where k = 1 and id > 2",
            "Index Scan using t_k on t\n  Index Cond: (k = 1 AND id > 2)",
        ),
        (
            "select count(*) from t where k between 1 and 2 or k >= 5 and id < 3",
            "Aggregate\n  ->  Index Scan using t_k on t\n        Index Cond: ((k >= 1 AND k <= 2) OR (k >= 5))\n        Filter: (((k >= 1) AND (k <= 2)) OR ((k >= 5) AND (id < 3)))",
        ),
        ("select * from t where k = 1 or id = 2", "Seq Scan on t\n  Filter: ((k = 1) OR (id = 2))"),
        ("select * from t where k + 1 = 2", "Seq Scan on t\n  Filter: ((k + 1) = 2)"),
        ("select * from t where id <> 1", "Seq Scan on t\n  Filter: (id <> 1)"),
        ("select id from t order by id limit 1", "Limit\n  ->  Index Scan using t_pkey on t"),
        ("select id from t order by id desc", "Index Scan Backward using t_pkey on t"),
        (
            "select id from t where k = 1 order by id",
            "Index Scan Backward using t_k on t\n  Index Cond: (k = 1)",
        ),
        ("select k from t order by k, id desc", "Index Scan using t_k on t"),
        ("select k from t order by k, id", "Sort\n  Sort Key: #1, #2\n  ->  Seq Scan on t"),
        ("select count(*) from t group by k", "HashAggregate\n  Group Key: #2\n  ->  Seq Scan on t"),
        (
            "select 1 from t a join t b on a.id = b.k where a.id = 3",
            "Hash Join\n  Hash Cond: (#1 = #5)\n  ->  Index Scan using t_pkey on t a\n        Index Cond: (id = 3)\n  ->  Seq Scan on t b",
        ),
        (
            "update t set k = 1 where id = 2",
            "Update on t\n  ->  Index Scan using t_pkey on t\n        Index Cond: (id = 2)",
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
        "a between 2 and 5 or a between 4 and 7 or a = 12",
        "b between 2 and 3 or b > 11 or b < 1",
        "a = 4 and (b < 3 or b = 7 or b between 6 and 8)",
        "a in (1, 4) and (b < 3 or 5 < b)",
        "a < 3 or a is null",
        "a = null or a = 2",
        "a > 15 or a < 3000000000",
        "a > 5 and a < 4 or a = 9 and b = 1",
        "c < 'x1' or c > 'x3' and a > 2",
        "a > 3 and a > 5 and a < 9",
        "a >= 5 and a > 5",
        "a = 4 and a = 5",
        "a = 4 and a > 2 and b > 6::smallint",
        "a = 4::bigint and b <= 6::bigint and b <> 1",
        "5 < a and 9 >= a",
        "a = 4 and b > 9 and b < 3",
        "a = 4 and b < 9.5",
    ] {
        for order in ["a, b, c", "b desc nulls last, a, c", "c, a, b", "a desc, b, c"] {
            let of = |t: &str| format!("select a, b, c from {t} where {condition} order by {order}");
            assert_eq!(c.sql(&of("i")).await, c.sql(&of("s")).await, "{condition} order by {order}");
        }
        let count = |t: &str| format!("select count(*), sum(a), sum(b) from {t} where {condition}");
        assert_eq!(c.sql(&count("i")).await, c.sql(&count("s")).await, "{condition}");
    }
}

#[tokio::test]
async fn partial_and_expression_indexes_are_used_where_they_have_every_row() {
    let mut c = fresh().await;
    c.run(&[
        "create table t (a int, b int, word varchar(9), gone bool)",
        "create index t_word on t (lower(word)) where b > 10 and gone is null",
        "create index t_sum on t ((a + b))",
        "create index t_gone on t (a) where gone",
    ])
    .await;
    for (condition, wanted) in [
        ("lower(word) = 'x' and b > 10 and gone is null", "Index Scan using t_word on t"),
        ("gone is null and b = 12 and lower(word) > 'x'", "Index Scan using t_word on t"),
        ("lower(word) = 'x' and b in (11, 12) and gone is null", "Index Scan using t_word on t"),
        ("lower(word) = 'x' and b > $1 and gone is null", "Seq Scan on t"),
        ("lower(word) = 'x' and b > 10", "Seq Scan on t"),
        ("lower(word) = 'x' and b >= 10 and gone is null", "Seq Scan on t"),
        ("a + b = 5", "Index Scan using t_sum on t"),
        ("7 > a + b", "Index Scan using t_sum on t"),
        ("b + a = 5", "Seq Scan on t"),
        ("gone", "Index Scan using t_gone on t"),
        ("gone is true and a = 1", "Index Scan using t_gone on t"),
        ("not gone and a = 1", "Seq Scan on t"),
    ] {
        let shown = explain(&mut c, &format!("select * from t where {condition}")).await;
        assert!(shown.starts_with(wanted), "{condition}: {shown}");
    }
}

#[tokio::test]
async fn a_partial_index_gives_the_rows_of_the_table() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&[
        "create table i (id int primary key, n int, w text)",
        "create index on i ((n % 7), w desc) where n > 20",
        "create unique index on i ((id * 2)) where w <> 'x1'",
        "insert into i select g, (g * 13) % 100, 'x' || g % 5 from generate_series(1, 300) g",
        "update i set n = n + 15 where id % 3 = 0",
        "update i set w = 'x1' where id % 10 = 1",
        "delete from i where id % 11 = 0",
        "create table s (id int primary key, n int, w text)",
        "insert into s select * from i",
    ])
    .await;
    let mut next = open(&store.crash()).await;
    next.run(&["update i set n = 21 - n where id < 50", "update s set n = 21 - n where id < 50"]).await;
    for c in [&mut c, &mut next] {
        for condition in
            ["n % 7 = 3 and n > 20", "n > 25", "n % 7 > 2 and n = 40", "id * 2 = 24 and w <> 'x1'"]
        {
            let of = |t: &str| format!("select id from {t} where {condition} order by id");
            assert_eq!(c.sql(&of("i")).await, c.sql(&of("s")).await, "{condition}");
        }
    }
    next.sql("insert into i values (1000, 1, 'x1'), (1001, 1, 'x1')").await;
    let error = next.err("insert into i values (1002, 1, 'a'), (1002, 2, 'b')").await;
    assert_eq!(error.constraint.as_deref(), Some("i_pkey"));
    next.sql("alter table i drop constraint i_pkey").await;
    let error = next.err("insert into i values (2000, 1, 'a'), (2000, 2, 'b')").await;
    assert_eq!(error.constraint.as_deref(), Some("i_expr_idx"));
    assert_eq!(error.detail.as_deref(), Some("Key ((id * 2))=(4000) already exists."));
}

#[tokio::test]
async fn entries_of_rows_that_left_a_partial_index_are_cleaned_up() {
    let mut c = fresh().await;
    c.run(&[
        "create table t (id int primary key, n int)",
        "create index t_n on t (n) where n > 0",
        "insert into t select g, g from generate_series(1, 200) g",
        "update t set n = -n where id <= 150",
    ])
    .await;
    let cleaned = async || {
        let view = c.db.catalog.view(None);
        let Some(crate::catalog::Relation::Index(index)) = view.find(crate::catalog::PUBLIC, "t_n") else {
            panic!("t_n is gone")
        };
        let snapshot = c.db.txns.begin(Isolation::ReadCommitted).snapshot();
        let unbounded = std::ops::Bound::Unbounded;
        let forward = crate::btree::Direction::Forward;
        let mut scan =
            crate::table::IndexScan::new(&snapshot, &index.store, unbounded.clone(), unbounded, forward);
        let (mut batch, mut count) = (crate::table::RowBatch::new(), 0);
        while scan.next_batch(&c.db.txns, &mut batch).await.unwrap() {
            count += batch.len();
        }
        count
    };
    for _ in 0..200 {
        if cleaned().await == 50 {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    panic!("{} entries are left", cleaned().await);
}

#[tokio::test]
async fn few_values_of_a_sub_query_are_looked_up() {
    let store = MemoryStore::new();
    let mut c = open(&store).await;
    c.run(&[
        "create table t (id int primary key, k int, s text)",
        "create index t_k on t (k, id desc)",
        "insert into t select n, n % 2000, repeat('s', 100) || n from generate_series(1, 20000) n",
        "create table f (b bigint)",
        "insert into f values (7), (7), (null), (3000000000), (19000)",
    ])
    .await;
    for (sql, wanted) in [
        (
            "select * from t where id in (select b from f)",
            "Index Scan using t_pkey on t\n  Index Cond: (id IN (SubPlan 0))\n  Unless Few: Seq Scan\n  \
             Filter: (id IN (SubPlan 0))\n  SubPlan 0\n    ->  Seq Scan on f",
        ),
        (
            "delete from t where k = 3 and id in (select b from f)",
            "Delete on t\n  ->  Index Scan using t_k on t\n        Index Cond: (k = 3 AND id IN (SubPlan 0))\n        \
             Unless Few: Index Scan using t_k\n        Filter: ((k = 3) AND (id IN (SubPlan 0)))\n  SubPlan 0\n    ->  Seq Scan on f",
        ),
        (
            "select id from t where id in (select b from f) order by id limit 3",
            "Limit\n  ->  Index Scan using t_pkey on t\n        Index Cond: (id IN (SubPlan 0))\n        \
             Unless Few: Index Scan using t_pkey\n        Filter: (id IN (SubPlan 0))\n  SubPlan 0\n    ->  Seq Scan on f",
        ),
        (
            "select * from t where id not in (select b from f)",
            "Seq Scan on t\n  Filter: (id NOT IN (SubPlan 0))\n  SubPlan 0\n    ->  Seq Scan on f",
        ),
    ] {
        assert_eq!(explain(&mut c, sql).await, wanted, "{sql}");
    }
    let all = "select count(s) from t";
    for (sql, wanted, few) in [
        ("select id from t where id in (select b from f)", "7\n19000", true),
        ("select count(*), min(id) from t where k in (select b from f)", "10|7", true),
        ("update t set s = 'x' where id in (select b from f) returning id", "7\n19000", true),
        ("select count(*) from t where k in (select b from f where b is null)", "0", true),
        ("select count(*) from t where id in (select n from generate_series(1, 1500) n)", "1500", false),
        ("select count(*) from t where id in (select n from generate_series(1, 15000) n)", "15000", false),
        (
            "delete from t where k in (select b from f) returning id",
            "18007\n16007\n14007\n12007\n10007\n8007\n6007\n4007\n2007\n7",
            true,
        ),
        (all, "19990", false),
    ] {
        // With an empty cache, and a count of rows that nobody has asked for yet.
        let mut next = open(&store).await;
        let before = store.page_reads();
        assert_eq!(next.sql(sql).await, wanted, "{sql}");
        let read = store.page_reads() - before;
        assert_eq!(read < 100, few, "{sql} read {read} pages");
    }
}
