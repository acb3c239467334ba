//! What pgbench and sysbench send, statement by statement.

use super::*;

#[tokio::test]
async fn pgbench_init_and_tpcb() {
    let mut c = fresh().await;
    c.run(&[
        "drop table if exists pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        "create table pgbench_history(tid int,bid int,aid    int,delta int,mtime timestamp,filler char(22))",
        "create table pgbench_tellers(tid int not null,bid int,tbalance int,filler char(84)) with (fillfactor=100)",
        "create table pgbench_accounts(aid    int not null,bid int,abalance int,filler char(84)) with (fillfactor=100)",
        "create table pgbench_branches(bid int not null,bbalance int,filler char(88)) with (fillfactor=100)",
    ])
    .await;
    c.begin(Isolation::ReadCommitted);
    c.run(&[
        "truncate table pgbench_accounts, pgbench_branches, pgbench_history, pgbench_tellers",
        "insert into pgbench_branches(bid,bbalance) values(1,0)",
        "insert into pgbench_tellers(tid,bid,tbalance) select n, 1, 0 from generate_series(1, 10) n",
        "insert into pgbench_accounts(aid,bid,abalance,filler) select aid, (aid - 1) / 100000 + 1, 0, '' from generate_series(1, 2000) as aid",
    ])
    .await;
    c.commit().await;
    c.run(&[
        "alter table pgbench_branches add primary key (bid)",
        "alter table pgbench_tellers add primary key (tid)",
        "alter table pgbench_accounts add primary key (aid)",
    ])
    .await;
    assert_eq!(c.sql("select count(*) from pgbench_branches").await, "1");
    for n in 0..20 {
        let (aid, tid, delta) = (n * 97 % 2000 + 1, n % 10 + 1, n * 13 - 100);
        c.begin(Isolation::ReadCommitted);
        let script = [
            format!("UPDATE pgbench_accounts SET abalance = abalance + {delta} WHERE aid = {aid};"),
            format!("SELECT abalance FROM pgbench_accounts WHERE aid = {aid};"),
            format!("UPDATE pgbench_tellers SET tbalance = tbalance + {delta} WHERE tid = {tid};"),
            format!("UPDATE pgbench_branches SET bbalance = bbalance + {delta} WHERE bid = 1;"),
            format!(
                "INSERT INTO pgbench_history (tid, bid, aid, delta, mtime) VALUES ({tid}, 1, {aid}, {delta}, CURRENT_TIMESTAMP);"
            ),
        ];
        let wanted = ["UPDATE 1", &delta.to_string(), "UPDATE 1", "UPDATE 1", "INSERT 0 1"];
        for (sql, wanted) in script.iter().zip(wanted) {
            assert_eq!(c.sql(sql).await, wanted, "{sql}");
        }
        if n % 4 == 3 { c.rollback() } else { c.commit().await }
    }
    let sums = "select (select sum(abalance) from pgbench_accounts), (select sum(tbalance) from pgbench_tellers), (select sum(bbalance) from pgbench_branches), (select sum(delta) from pgbench_history)";
    let row = c.sql(sums).await;
    let sums: Vec<&str> = row.split('|').collect();
    assert!(sums.iter().all(|s| *s == sums[0]), "{row}");
    assert_eq!(c.sql("select count(*) from pgbench_history where mtime <= now()").await, "15");
}

#[tokio::test]
async fn sysbench_statements() {
    let mut c = fresh().await;
    c.run(&[
        "CREATE TABLE sbtest1(\n  id SERIAL,\n  k INTEGER DEFAULT '0' NOT NULL,\n  c CHAR(120) DEFAULT '' NOT NULL,\n  pad CHAR(60) DEFAULT '' NOT NULL,\n  PRIMARY KEY (id)\n)",
        "INSERT INTO sbtest1(k, c, pad) VALUES(50, 'ccc-1', 'pad-1'),(51, 'ccc-2', 'pad-2'),(52, 'ccc-3', 'pad-3'),(53, 'ccc-4', 'pad-4')",
        "CREATE INDEX k_1 ON sbtest1(k)",
    ])
    .await;
    let int8 = Datum::Int8;
    let text = |s: &str| Datum::text(s);
    for (sql, declared, params, rows) in [
        ("SELECT c FROM sbtest1 WHERE id=$1", &[20][..], vec![int8(2)], 1),
        ("SELECT c FROM sbtest1 WHERE id BETWEEN $1 AND $2", &[20, 20], vec![int8(2), int8(3)], 2),
        ("SELECT SUM(k) FROM sbtest1 WHERE id BETWEEN $1 AND $2", &[20, 20], vec![int8(1), int8(3)], 1),
        ("SELECT c FROM sbtest1 WHERE id BETWEEN $1 AND $2 ORDER BY c", &[20, 20], vec![int8(1), int8(9)], 4),
        (
            "SELECT DISTINCT c FROM sbtest1 WHERE id BETWEEN $1 AND $2 ORDER BY c",
            &[20, 20],
            vec![int8(1), int8(9)],
            4,
        ),
        ("UPDATE sbtest1 SET k=k+1 WHERE id=$1", &[20], vec![int8(1)], 0),
        ("UPDATE sbtest1 SET c=$1 WHERE id=$2", &[1043, 20], vec![text("new"), int8(1)], 0),
        ("DELETE FROM sbtest1 WHERE id=$1", &[20], vec![int8(4)], 0),
        (
            "INSERT INTO sbtest1 (id, k, c, pad) VALUES ($1, $2, $3, $4)",
            &[20, 20, 1043, 1043],
            vec![int8(4), int8(9), text("c"), text("p")],
            0,
        ),
        (
            "SELECT id, k, c, pad FROM sbtest1 WHERE k IN ($1, $2, $3)",
            &[20, 20, 20],
            vec![int8(9), int8(52), int8(1)],
            2,
        ),
        (
            "SELECT count(k) FROM sbtest1 WHERE k BETWEEN $1 AND $2 OR k BETWEEN $3 AND $4",
            &[20, 20, 20, 20],
            vec![int8(1), int8(10), int8(52), int8(60)],
            1,
        ),
    ] {
        let p = c.prepare(sql, declared).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        let (found, _) = c.execute(&p, params).await.unwrap_or_else(|e| panic!("{sql}: {e}"));
        assert_eq!(found.len(), rows, "{sql}");
    }
    let padded = format!("4|9|{:<120}|{:<60}", "c", "p");
    assert_eq!(c.sql("select * from sbtest1 where id = 4").await, padded);
    assert_eq!(c.sql("select id, k from sbtest1 where c = 'new'").await, "1|51");
}
