//! Statements that do not fit their memory, beside PostgreSQL 15 where it is installed: joins, set operations, groups and lists
//! of random rows come to the same.

use tokio_postgres::{Client, SimpleQueryMessage};

use crate::player::{Place, Stage};
use crate::postgres::Postgres;

const SETUP: &[&str] = &[
    "create table l (id int, k int, b bigint, s text, v int)",
    "create table r (id int, k int, b bigint, s text, v int)",
    "insert into l select n, case when n % 13 = 0 then null when n % 5 = 0 then 1 else (n * 7919) % 700 end, n % 5, \
     case when n % 11 = 0 then null else repeat('s', n % 90) end, n % 37 from generate_series(1, 3000) n",
    "insert into r select n, case when n % 7 = 0 then null when n % 50 = 0 then 1 else (n * 104729) % 900 end, n % 9, \
     case when n % 17 = 0 then null else repeat('s', n % 70) end, n % 41 from generate_series(1, 2000) n",
    // The least that can be set: every one of these is several times as much.
    "set work_mem = '64kB'",
    "set hash_mem_multiplier = 1",
];

const QUERIES: &[&str] = &[
    "select l.id, r.id, l.s, r.s from l join r on l.k = r.k where l.k > 1",
    "select count(*), sum(l.id), sum(r.id), max(length(r.s)) from l join r on l.k = r.k",
    "select l.id, l.s, r.id, r.s from l left join r on l.k = r.b and l.id % 90 = r.v and l.v < r.v - 5",
    "select l.id, l.s, r.id from l right join r on l.id = r.id and l.s = r.s",
    "select l.id, l.s, r.id from l left join r on l.k > r.k + 600 and r.id % 2 = 1",
    "select r.id, count(l.id), sum(l.v) from l right join r on l.b = r.k group by r.id",
    "select k, s from l intersect select k, s from r",
    "select k, s from l intersect all select k, s from r",
    "select k, s from l except select k, s from r",
    "select k, s from l except all select k, s from r",
    "select id, s from l union select id, s from r",
    "select k, s, count(*), sum(id), min(v) from l group by k, s",
    "select distinct s, v from l",
    "select id from l where k in (select id from r)",
    "select id from l where k not in (select id from r where id > 100)",
    "select count(*) from l where id not in (select nullif(id, 5) from r)",
    "select id, k in (select id from r where id % 50 <> 3), k not in (select nullif(id, 7) from r) from l",
    "select id, case when k in (select id from r) then 'in' when v > 30 or b in (select id from r) then 'or' end from l",
    "select l.id, r.id from l left join r on l.id = r.id and l.k in (select id from r)",
    "select l.id, r.id from l join r on l.id = r.id where l.id not in (select id * 2 from r)",
    "select k, count(*) filter (where id in (select id from r)) from l group by k having k in (select id from r)",
    "select id from l where s || id in (select s || id from r)",
    "select id, s from l where id in (select id from r where k in (select id from l)) for update",
    "select id from l where id not in (select id from r) order by id in (select id * 2 from r), id limit 70",
    "update l set v = v + 1 where id in (select id * 2 from r) returning id, v",
    "delete from l where id % 3 = 0 and id in (select id from r) returning id",
    "insert into l select id + 10000, k, b, s, v from r where id not in (select id from l where id > 500) returning id",
    "update l set v = v + 1 returning id, s, v",
];

/// These fit.
const LISTS: &[&str] = &[
    "select id from l where k in (select k from r)",
    "select count(*) from l where k not in (select k from r)",
    "select id from l where k not in (select k from r where k > 50)",
    "select id, k in (select b from r where b > 3), null in (select id from r where id < 0) from l",
];

/// Where an index leads to the values of a list.
const INDEXED: &[&str] = &[
    "create table t (id int primary key, k int, b bigint, n numeric, c char(6), s text, v int)",
    "create index on t (k desc nulls last, s)",
    "create index on t (b, id)",
    "create index on t (n)",
    "create index on t (c)",
    "create index on t ((v % 100)) where v > 500",
    "create table f (i int, b bigint, n numeric, c char(3), s text)",
    "insert into t select g, case when g % 9 = 0 then null else (g * 7919) % 2500 end, (g * 31) % 1700, (g % 1300) / 4.0, \
     'c' || g % 800, 's' || g % 40, g from generate_series(1, 6000) g",
    "insert into f values (7, 7, 1.50, 'c7', 's1'), (7, 7, 1.5, 'c7', 's1'), (null, null, null, null, null), (-1, 3000000000, 7.25, 'c9', 's2'), \
     (999999, -3000000000, 1e9, 'no', 's39'), (41, 300, 0, 'c41', 's3')",
];

const LOOKED_UP: &[&str] = &[
    "select * from t where id in (select i from f)",
    "select * from t where id in (select b from f)",
    "select * from t where b in (select i from f)",
    "select * from t where b in (select b from f) and id > 300",
    "select * from t where b = 7 and id in (select id from t where b = 7 and id % 2 = 0)",
    "select * from t where k in (select i from f)",
    "select * from t where k in (select k from t where id < 90)",
    "select * from t where k in (select k from t where id < 5000) and v < 900",
    "select * from t where n in (select n from f)",
    "select * from t where c in (select c from f)",
    "select * from t where v % 100 in (select i from f) and v > 500",
    "select * from t where id in (select i from f where i is null) or id = 3",
    "select count(*) from t where id in (select i from f where i is null)",
    "select count(*) from t where id in (select i from f where false)",
    "select count(*) from t where id not in (select i from f)",
    "select count(*) from t where id not in (select i from f where i is not null)",
    "select count(*) from t where not (id in (select i from f where i is not null))",
    "select id, k from t where k in (select i from f) order by k desc nulls last, s, id limit 2",
    "select string_agg(id::text, ',') from (select id from t where id in (select b * 3 from f) order by id) x",
    "select string_agg(id::text, ',') from (select id from t where id in (select id * 2 from t where b < 40) order by id desc limit 7) x",
    "select string_agg(id::text, ',') from (select id from t where id in (select id from t where s > 's20') order by id desc limit 7) x",
    "select string_agg(k || s || id, ',') from (select * from t where k in (select i from f) order by k desc nulls last, s, id) x",
    "select t.id, x.id from t join t x on t.id = x.k where x.id in (select i from f)",
    "select f.i, x.id, x.s from f left join t x on x.id = f.i and x.id in (select i from f where i > 7)",
    "select id from t where id in (select i from f) and b in (select b from t where id < 50)",
    "select id from t where id in (select i from f where i in (select id from t where id < 30))",
    "select id from t where id = any (select i from f) for update",
    "update t set v = v + 1000 where id in (select i from f) returning id, v",
    "update t set k = k + 1, b = b + 7 where b in (select b from f) returning id, k, b",
    "update t set id = id + 10000 where k in (select i from f) returning id",
    "delete from t where n in (select n from f) returning id",
    "delete from t where id in (select b from f) returning id",
    "select count(*), sum(id), sum(k), sum(b), sum(v) from t",
];

async fn answer(client: &Client, sql: &str) -> Vec<String> {
    let messages = client.simple_query(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    let mut rows: Vec<String> = messages
        .iter()
        .filter_map(|message| match message {
            SimpleQueryMessage::Row(row) => {
                let field = |n| row.get(n).unwrap_or("-").to_owned();
                Some((0..row.len()).map(field).collect::<Vec<_>>().join("|"))
            }
            _ => None,
        })
        .collect();
    rows.sort_unstable();
    rows
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_fit_memory_comes_to_what_postgresql_says() {
    let Some(postgres) = Postgres::start_if_installed().await else { return };
    let (hall, stage) = (postgres.hall("answers", &[]).await, Stage::open().await);
    let (theirs, ours) = (hall.connect().await, stage.connect().await);
    for sql in SETUP {
        theirs.batch_execute(sql).await.expect("PostgreSQL takes it");
        ours.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let all = QUERIES.iter().map(|sql| (sql, true)).chain(LISTS.iter().map(|sql| (sql, false)));
    for (sql, needs_disk) in all {
        let before = stage.database.spill.bytes();
        let (wanted, found) = (answer(&theirs, sql).await, answer(&ours, sql).await);
        assert!(!wanted.is_empty(), "{sql} says something");
        assert!(found == wanted, "{sql}: {} rows, not {}", found.len(), wanted.len());
        let is_spilled = stage.database.spill.bytes() > before;
        assert_eq!(is_spilled, needs_disk, "{sql}: whether it needs the disk");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn values_that_are_looked_up_in_an_index_are_those_of_postgresql() {
    let Some(postgres) = Postgres::start_if_installed().await else { return };
    let (hall, stage) = (postgres.hall("looked_up", &[]).await, Stage::open().await);
    let (theirs, ours) = (hall.connect().await, stage.connect().await);
    for sql in INDEXED {
        theirs.batch_execute(sql).await.expect("PostgreSQL takes it");
        ours.batch_execute(sql).await.unwrap_or_else(|error| panic!("{sql}: {error:?}"));
    }
    let mut by_index = 0;
    for sql in LOOKED_UP {
        let plan = answer(&ours, &format!("explain {sql}")).await;
        by_index += usize::from(plan.iter().any(|line| line.contains("Unless Few: ")));
        let (wanted, found) = (answer(&theirs, sql).await, answer(&ours, sql).await);
        assert!(found == wanted, "{sql}:\n{found:?}\nnot\n{wanted:?}");
    }
    assert!(by_index >= 20, "{by_index} plans");
}
