//! EXPLAIN ANALYZE: it runs, and tells what happened.

use super::*;
use crate::types::sqlstate;

async fn tables() -> Client {
    let mut c = fresh().await;
    c.run(&[
        "create table t (id int primary key, k int, s text)",
        "insert into t select n, n % 10, repeat('s', 100) || n from generate_series(1, 3000) n",
    ])
    .await;
    c
}

#[tokio::test]
async fn it_says_what_each_part_gave() {
    let mut c = tables().await;
    for (sql, wanted) in [
        (
            "select id, k + 1 from t where id <= 10 and k > 8",
            "Index Scan using t_pkey on t (actual rows=1 loops=1)\n  Index Cond: (id <= 10)\n  \
             Filter: ((id <= 10) AND (k > 8))",
        ),
        (
            "select a.id from t a join t b on a.id = b.id where a.id < 0 limit 2",
            "Limit (actual rows=0 loops=1)\n  ->  Hash Join (actual rows=0 loops=1)\n        Memory: 589kB\n        \
             Hash Cond: (#1 = #4)\n        ->  Index Scan using t_pkey on t a (actual rows=0 loops=1)\n              \
             Index Cond: (id < 0)\n        ->  Seq Scan on t b (actual rows=3000 loops=1)",
        ),
        (
            "select 1 where false union all select id from t where id = 3 limit 0",
            "Limit (actual rows=0 loops=1)\n  ->  Append (never executed)\n        ->  Filter (never executed)\n              \
             Filter: false\n              ->  Result (never executed)\n        \
             ->  Index Scan using t_pkey on t (never executed)\n              Index Cond: (id = 3)",
        ),
        (
            "select count(*) from t where k in (select id from t where id < 3) and id > (select 2500)",
            "Aggregate (actual rows=1 loops=1)\n  ->  Index Scan using t_pkey on t (actual rows=100 loops=1)\n        \
             Index Cond: (id > $1sub)\n        Filter: ((k IN (SubPlan 0)) AND (id > $1sub))\n  SubPlan 0\n    \
             Memory: 1kB\n    ->  Index Scan using t_pkey on t (actual rows=2 loops=1)\n          Index Cond: (id < 3)\n  SubPlan 1\n    ->  Result (actual rows=1 loops=1)",
        ),
        (
            "update t set k = 5 where id in (1, 2) returning id",
            "Update on t (actual rows=2 loops=1)\n  Memory: 1kB\n  \
             ->  Index Scan using t_pkey on t (actual rows=2 loops=1)\n        Index Cond: (id IN (1, 2))\n        \
             Filter: (id IN (1, 2))",
        ),
        (
            "insert into t select id + 5000, 1, null from t where id = 7",
            "Insert on t (actual rows=0 loops=1)\n  ->  Index Scan using t_pkey on t (actual rows=1 loops=1)\n        \
             Index Cond: (id = 7)",
        ),
        (
            "delete from t where id > 2990",
            "Delete on t (actual rows=0 loops=1)\n  ->  Index Scan using t_pkey on t (actual rows=11 loops=1)\n        \
             Index Cond: (id > 2990)",
        ),
    ] {
        let found = c.sql(&format!("explain (analyze, costs off, timing off, summary off) {sql}")).await;
        assert_eq!(found, wanted, "{sql}");
    }
    // They were run.
    assert_eq!(c.sql("select count(*), min(k) from t").await, "2990|0");
    assert_eq!(c.sql("select k from t where id < 3").await, "5\n5");
}

#[tokio::test]
async fn it_says_what_went_to_the_disk() {
    let mut c = tables().await;
    c.ctx.change(|session| {
        session.settings.insert("work_mem".to_owned(), "64kB".to_owned());
        session.settings.insert("hash_mem_multiplier".to_owned(), "1".to_owned());
    });
    let before = c.db.spill.bytes();
    let shown =
        c.sql("explain (analyze, timing off) select id from t where s in (select s from t) order by s").await;
    let disk = |line: &str| line.split_once("Disk: ").map(|(_, kb)| kb.replace("kB", "").parse().unwrap());
    let disks: Vec<usize> = shown.lines().filter_map(disk).collect();
    assert_eq!(disks.len(), 2, "the sort's and the list's: {shown}");
    let all = c.db.spill.bytes() - before;
    assert!((disks.iter().sum::<usize>() << 10).abs_diff(all) <= 2 << 10, "{all} bytes: {shown}");
    assert!(shown.contains("Planning Time: ") && shown.contains("Execution Time: "), "{shown}");
    assert_eq!(c.db.spill.now(), (0, 0));
    let timed = c.sql("explain analyze select count(*) from t").await;
    assert!(timed.starts_with("Aggregate (actual time=") && timed.contains(" rows=1 loops=1)"), "{timed}");
    // A sort under a LIMIT holds no more than it gives.
    let few = c.sql("explain (analyze) select id from t order by s limit 3").await;
    assert!(!few.contains("Disk"), "{few}");
}

#[tokio::test]
async fn options_and_what_is_not_run() {
    let mut c = tables().await;
    for (sql, code, message) in [
        ("explain (anal) select 1", sqlstate::SYNTAX_ERROR, "unrecognized EXPLAIN option \"anal\""),
        ("explain (analyze maybe) select 1", sqlstate::SYNTAX_ERROR, "analyze requires a Boolean value"),
        (
            "explain (timing on) select 1",
            sqlstate::INVALID_PARAMETER_VALUE,
            "EXPLAIN option TIMING requires ANALYZE",
        ),
        (
            "explain (format avro) select 1",
            sqlstate::INVALID_PARAMETER_VALUE,
            "unrecognized value for EXPLAIN option \"format\": \"avro\"",
        ),
        ("explain (analyze) select 1 / 0", sqlstate::DIVISION_BY_ZERO, "division by zero"),
    ] {
        let error = c.err(sql).await;
        assert_eq!((error.sqlstate, error.message.as_str()), (code, message), "{sql}");
    }
    for sql in ["explain", "explain (analyze off)", "explain (costs, verbose off, format text, timing false)"]
    {
        // Neither the change nor the sub-query is run.
        let shown = c.sql(&format!("{sql} delete from t where id > (select 1 / 0)")).await;
        assert!(shown.starts_with("Delete on t\n"), "{shown}");
    }
    assert_eq!(c.sql("select count(*) from t").await, "3000");
    let kind = |sql: &str| parse(sql).unwrap().remove(0).kind;
    let is_insert =
        |runs| matches!(runs, StatementKind::Explain(Some(kind)) if matches!(*kind, StatementKind::Insert));
    assert!(is_insert(kind("explain analyze insert into t values (1)")), "what a READ ONLY session refuses");
    assert!(matches!(kind("explain insert into t values (1)"), StatementKind::Explain(None)));
}

#[tokio::test]
async fn long_values_make_short_batches() {
    let mut c = tables().await;
    let prepared = c.prepare("select id, repeat('x', 500000) from t where id <= 7", &[]).await.unwrap();
    c.begin(Isolation::ReadCommitted);
    let mut txn = c.txn.take().unwrap();
    let mut execution = execute(&c.db, &c.ctx, &mut txn, &prepared, Vec::new());
    let mut rows = Vec::new();
    while let Some(batch) = execution.next_batch(&mut txn).await.unwrap() {
        rows.push(batch.len());
    }
    assert_eq!(rows, [3, 3, 1], "a megabyte, and what the last row goes beyond it");
    c.txn = Some(txn);
    c.rollback();
    let values = "insert into t values (9001, 1, repeat('x', 600000)), (9002, 2, repeat('y', 600000)), (9003, nextval('q')::int, 'z') \
                  returning id, repeat(s, 2) is null, k";
    c.sql("create sequence q").await;
    assert_eq!(c.sql(values).await, "9001|f|1\n9002|f|2\n9003|f|1");
}

#[tokio::test]
async fn other_formats_say_the_same() {
    let mut c = tables().await;
    let sql = "select count(*) from t where id in (select k from t where s <> E'<\\\\\"\\n') and k < 3";
    let json =
        c.sql(&format!("explain (analyze, buffers, format json, timing off, summary off) {sql}")).await;
    assert_eq!(
        json,
        r##"[
  {
    "Plan": {
      "Node Type": "Aggregate",
      "Strategy": "Plain",
      "Actual Rows": 1,
      "Actual Loops": 1,
      "Plans": [
        {
          "Node Type": "Index Scan",
          "Parent Relationship": "Outer",
          "Scan Direction": "Forward",
          "Index Name": "t_pkey",
          "Relation Name": "t",
          "Alias": "t",
          "Actual Rows": 2,
          "Actual Loops": 1,
          "Index Cond": "(id IN (SubPlan 0))",
          "Unless Few": "Seq Scan",
          "Filter": "((id IN (SubPlan 0)) AND (k < 3))"
        },
        {
          "Node Type": "Seq Scan",
          "Parent Relationship": "SubPlan",
          "Subplan Name": "SubPlan 0",
          "Relation Name": "t",
          "Alias": "t",
          "Actual Rows": 3000,
          "Actual Loops": 1,
          "Filter": "(s <> '<\\\"\n')",
          "List Peak Memory Usage": 1
        }
      ]
    }
  }
]"##
    );
    assert_eq!(
        c.sql("explain (format yaml, costs off) select k from t order by k, s desc").await,
        [
            "- Plan: ",
            "    Node Type: \"Sort\"",
            "    Sort Key: ",
            "      - \"#1\"",
            "      - \"#2 DESC\"",
            "    Plans: ",
            "      - Node Type: \"Seq Scan\"",
            "        Parent Relationship: \"Outer\"",
            "        Relation Name: \"t\"",
            "        Alias: \"t\"",
        ]
        .join("\n")
    );
    assert_eq!(
        c.sql("explain (format xml) delete from t x where s < '&' returning id").await,
        [
            "<explain xmlns=\"http://www.postgresql.org/2009/explain\">",
            "  <Query>",
            "    <Plan>",
            "      <Node-Type>ModifyTable</Node-Type>",
            "      <Operation>Delete</Operation>",
            "      <Relation-Name>t</Relation-Name>",
            "      <Plans>",
            "        <Plan>",
            "          <Node-Type>Seq Scan</Node-Type>",
            "          <Parent-Relationship>Outer</Parent-Relationship>",
            "          <Relation-Name>t</Relation-Name>",
            "          <Alias>x</Alias>",
            "          <Filter>(s &lt; '&amp;')</Filter>",
            "        </Plan>",
            "      </Plans>",
            "    </Plan>",
            "  </Query>",
            "</explain>",
        ]
        .join("\n")
    );
    let times = c.sql("explain (analyze, format json) update t set k = 1 where id = 7").await;
    for name in ["Planning Time", "Execution Time", "Actual Startup Time", "Actual Total Time"] {
        let at = times.split_once(&format!("\"{name}\": ")).map(|(_, rest)| rest);
        let number: String =
            at.unwrap_or_default().chars().take_while(|c| c.is_ascii_digit() || *c == '.').collect();
        assert!(number.parse::<f64>().is_ok(), "{name} in {times}");
    }
    assert_eq!(c.sql("select k from t where id = 7").await, "1", "it was run");
}
