//! What does not fit `work_mem` comes to the same as what does, and takes no more memory.

use super::*;

const SMALL: usize = 64 << 10;

/// 20,000 rows with 10,000 different keys and long strings: two megabytes.
async fn crowd(store: &Arc<MemoryStore>) -> Client {
    let mut c = open(store).await;
    c.run(&[
        "create table t (id int primary key, k int, s text, f numeric, b bytea, d timestamp)",
        "insert into t select n, (n * 7919) % 10000, repeat('s', 50) || ((n * 31) % 5000), (n % 777) / 7.0, \
         case when n % 5 = 0 then null else '\\x0102'::bytea end, '2024-01-01'::timestamp \
         from generate_series(1, 20000) n",
    ])
    .await;
    c
}

fn with_memory(c: &Client, kilobytes: &str) -> Client {
    with(c, "work_mem", kilobytes)
}

fn with(c: &Client, setting: &str, value: &str) -> Client {
    let mut other = Client::new(&c.db);
    other.ctx.change(|session| {
        session.settings.insert(setting.to_owned(), value.to_owned());
        session.settings.insert("hash_mem_multiplier".to_owned(), "1".to_owned());
    });
    other
}

fn in_order(rows: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = rows.lines().collect();
    lines.sort_unstable();
    lines
}

#[tokio::test]
async fn spilled_or_not_results_are_the_same_and_memory_is_bounded() {
    let store = MemoryStore::new();
    let roomy = crowd(&store).await;
    let mut roomy = with_memory(&roomy, "1GB");
    // Whether the order counts.
    let queries = [
        ("select * from t order by s, id", true),
        ("select id, s from t order by k desc, f, id limit 7000", true),
        ("select distinct s, f from t", false),
        ("select distinct on (k) k, id from t order by k, id desc", true),
        ("select k, count(*), sum(f), min(s), max(id), count(b) from t group by k", false),
        ("select s, avg(f) from t group by s order by s", true),
        ("select count(distinct s), sum(distinct k), count(*) from t", true),
        ("select k % 3, count(distinct s || k), count(distinct f) from t group by k % 3 order by 1", true),
        ("select s from t union select s || 'x' from t", false),
        ("select count(*) from (select k, s from t group by k, s) x", true),
    ];
    for (sql, ordered) in queries {
        let before = roomy.db.spill.bytes();
        let wanted = roomy.sql(sql).await;
        assert_eq!(roomy.db.spill.bytes(), before, "{sql} fits a gigabyte");
        let db = Database::open(store.crash(), 32 << 20).await.unwrap();
        let mut tight = with_memory(&Client::new(&db), "64kB");
        let found = tight.sql(sql).await;
        match ordered {
            true => assert!(found == wanted, "{sql}"),
            false => assert!(in_order(&found) == in_order(&wanted), "{sql}"),
        }
        assert!(db.spill.bytes() > 2 * SMALL, "{sql} spilled {} bytes", db.spill.bytes());
        assert!(db.spill.peak() < SMALL + 4096, "{sql} held {} bytes", db.spill.peak());
    }
}

#[tokio::test]
async fn an_index_is_built_within_its_memory() {
    let store = MemoryStore::new();
    let mut roomy = crowd(&store).await;
    roomy.sql("create index roomy on t (s, k)").await;
    assert_eq!(roomy.db.spill.bytes(), 0, "two megabytes fit the default");
    let db = Database::open(store.crash(), 32 << 20).await.unwrap();
    let mut c = with(&Client::new(&db), "maintenance_work_mem", "64kB");
    c.sql("drop index roomy").await;
    c.sql("create index on t (s, k)").await;
    assert!(db.spill.bytes() > 2 * SMALL, "{} bytes spilled", db.spill.bytes());
    assert!(db.spill.peak() < SMALL + 4096, "{} bytes held", db.spill.peak());
    // What a rewrite fills is bounded, too.
    let before = db.spill.bytes();
    c.sql("alter table t alter k type bigint").await;
    assert!(db.spill.bytes() > before + 2 * SMALL && db.spill.peak() < SMALL + 4096);
    assert_eq!(c.sql("select count(*) from t where s = repeat('s', 50) || 31").await, "4");
    c.sql("create unique index on t (k, id)").await;
    assert_eq!(
        c.err("create unique index on t (k)").await.sqlstate,
        crate::types::sqlstate::UNIQUE_VIOLATION
    );
}

#[tokio::test]
async fn a_disk_that_cannot_be_had_is_an_error_of_the_statement_alone() {
    let store = MemoryStore::new();
    let db = Database::open_with(store, 32 << 20, "/does/not/exist".into()).await.unwrap();
    let mut c = with_memory(&Client::new(&db), "64kB");
    c.sql("create table t (n int)").await;
    c.sql("insert into t select n from generate_series(1, 10000) n").await;
    assert_eq!(c.err("select n from t order by n desc").await.sqlstate, crate::types::sqlstate::IO_ERROR);
    assert_eq!(c.sql("select n from t order by n desc limit 1").await, "10000");
}
