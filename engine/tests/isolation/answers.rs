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
