//! Joins and set operations on random rows: with little memory they give what they give with much, hold no more than they may,
//! and leave no file behind, however they end.

use std::time::Duration;

use proptest::prelude::*;

use super::*;
use crate::types::sqlstate;

/// Less than anybody can set, so that few rows are partitioned several times.
const TINY: usize = 8 << 10;
/// What a row and its key can take beyond the limit.
const ROW: usize = 1 << 10;

fn with_memory(db: &Arc<Database>, kilobytes: usize) -> Client {
    let mut client = Client::new(db);
    client.ctx.change(|session| {
        session.settings.insert("work_mem".to_owned(), format!("{kilobytes}kB"));
        session.settings.insert("hash_mem_multiplier".to_owned(), "1".to_owned());
    });
    client
}

/// The same volume with little memory, and counts of its own.
async fn tight(c: &Client) -> Client {
    let db = Database::open(c.db.txns.pool().store().clone(), 32 << 20).await.unwrap();
    with_memory(&db, TINY >> 10)
}

/// Rows of one side.
#[derive(Debug, Clone)]
struct Rows {
    count: usize,
    /// How many keys there are.
    keys: usize,
    /// Each row of so many has the key 1, and each of so many none.
    skew: usize,
    nulls: usize,
    /// Bytes of the longest string.
    len: usize,
}

fn rows(most: usize) -> impl Strategy<Value = Rows> {
    let count = prop_oneof![1 => Just(0), 2 => 1..most / 10, 6 => most / 2..most];
    let keys = prop_oneof![Just(1), 2usize..20, 20usize..2000];
    let each = || prop_oneof![Just(1_000_000), 2usize..10, Just(1)];
    (count, keys, each(), prop_oneof![Just(1_000_000), 2usize..20], 1usize..120)
        .prop_map(|(count, keys, skew, nulls, len)| Rows { count, keys, skew, nulls, len })
}

impl Rows {
    async fn fill(&self, c: &mut Client, table: &str) {
        let Rows { count, keys, skew, nulls, len } = self;
        c.sql(&format!("create table {table} (id int, k int, b bigint, s text, v int)")).await;
        c.sql(&format!(
            "insert into {table} select n, case when n % {nulls} = 0 then null when n % {skew} = 0 then 1 else (n * 7919) % {keys} end, \
             n % 5, case when n % 11 = 0 then null else repeat('s', n % {len}) end, n % 37 from generate_series(1, {count}) n"
        ))
        .await;
    }
}

fn in_order(rows: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = rows.lines().collect();
    lines.sort_unstable();
    lines
}

/// Runs queries with much memory and with little.
async fn compare(left: Rows, right: Rows, queries: &[&str]) -> Result<(), TestCaseError> {
    let c = fresh().await;
    let mut roomy = with_memory(&c.db, 1 << 20);
    left.fill(&mut roomy, "l").await;
    right.fill(&mut roomy, "r").await;
    for sql in queries {
        let wanted = roomy.sql(sql).await;
        prop_assert_eq!(roomy.db.spill.bytes(), 0, "{} fits a gigabyte", sql);
        let mut tight = tight(&roomy).await;
        let found = tight.sql(sql).await;
        let (found, wanted) = (in_order(&found), in_order(&wanted));
        prop_assert!(found == wanted, "{}: {} rows, not {}", sql, found.len(), wanted.len());
        let peak = tight.db.spill.peak();
        prop_assert!(peak <= TINY + ROW, "{} held {} bytes", sql, peak);
        prop_assert_eq!(tight.db.spill.now(), (0, 0), "{} left files behind", sql);
    }
    Ok(())
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(12))]

    #[test]
    fn hash_joins_are_the_same_in_any_memory(left in rows(400), right in rows(400)) {
        // What would be very many rows is added up.
        let queries = [
            "select count(*), sum(l.id * 7 + r.id), sum(length(l.s) + length(r.s)) from l join r on l.k = r.k",
            "select l.id, r.id, l.s, r.s from l join r on l.k = r.k and l.s = r.s and l.b = r.v where l.v < 30",
            "select l.id, count(r.id), sum(r.id) from l left join r on l.k = r.k group by l.id",
            "select l.id, l.s, r.id from l left join r on l.b = r.v and l.v < r.v - 20 and r.id % 7 = 0",
            "select r.id, count(l.id), sum(l.v) from l right join r on l.k = r.b and l.v > r.v group by r.id",
            "select l.id, count(*) from l left join r on l.k = r.k left join r q on q.id = r.id where l.id < 9 group by 1",
        ];
        runtime().block_on(compare(left, right, &queries))?;
    }

    #[test]
    fn joins_without_keys_are_the_same_in_any_memory(left in rows(150), right in rows(150)) {
        let queries = [
            "select count(*), sum(l.id * 7 + r.id) from l, r",
            "select l.id, r.id, r.s from l join r on l.v + 30 < r.v",
            "select l.id, r.id, l.s from l left join r on l.v > r.v + 30",
            "select r.id, count(l.id) from l right join r on l.k < r.k and l.s > r.s group by r.id",
        ];
        runtime().block_on(compare(left, right, &queries))?;
    }

    #[test]
    fn set_operations_are_the_same_in_any_memory(left in rows(800), right in rows(800)) {
        let queries = [
            "select k, s from l intersect select k, s from r",
            "select k, s from l intersect all select k, s from r",
            "select k, s from l except select k, s from r",
            "select k, s from l except all select k, s from r",
            "select k, s from l union select k, s from r",
            "select id, s from l except select id, s from r where id % 3 = 0",
            "select id, s from l intersect all select id, s from r where id % 3 = 0",
        ];
        runtime().block_on(compare(left, right, &queries))?;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    #[test]
    fn lists_are_the_same_in_any_memory(left in rows(800), right in rows(800)) {
        let queries = [
            "select id from l where k in (select k from r)",
            "select id from l where k not in (select k from r)",
            "select id from l where id not in (select id from r where s is not null)",
            "select id, s in (select s from r), k not in (select id from r), null in (select b from r) from l",
            "select id, case when k in (select id from r) then 1 when v > 30 or b in (select id from r) then 2 end from l",
            "select l.id, r.id from l left join r on l.id = r.id and l.s || l.id in (select s || id from r)",
            "select k, count(*) filter (where id in (select id from r)) from l group by k having k not in (select v from r)",
            "update l set v = v + 1 where id in (select id from r where s in (select s from l)) returning id, v",
            "delete from l where k in (select id from r) or s || id not in (select s || id from r) returning id",
        ];
        runtime().block_on(compare_lists(left, right, &queries))?;
    }
}

/// As [`compare`], for statements that change rows, too: in a transaction that is given up.
async fn compare_lists(left: Rows, right: Rows, statements: &[&str]) -> Result<(), TestCaseError> {
    let c = fresh().await;
    let mut roomy = with_memory(&c.db, 1 << 20);
    left.fill(&mut roomy, "l").await;
    right.fill(&mut roomy, "r").await;
    for sql in statements {
        let mut answers = Vec::new();
        for memory in [1 << 20, TINY >> 10] {
            let mut one = with_memory(&c.db, memory);
            one.begin(Isolation::ReadCommitted);
            answers.push(one.sql(sql).await);
            one.rollback();
        }
        prop_assert!(in_order(&answers[0]) == in_order(&answers[1]), "{}", sql);
        prop_assert_eq!(c.db.spill.now(), (0, 0), "{} left files behind", sql);
    }
    Ok(())
}

#[tokio::test]
async fn a_list_that_does_not_fit_is_asked_within_memory() {
    let mut c = fresh().await;
    MANY.fill(&mut c, "l").await;
    for (sql, wanted) in [
        ("select count(*) from l where id in (select id * 2 from l)", "2500"),
        ("select count(*) from l where id not in (select id * 2 from l)", "2500"),
        ("select count(*) from l where id not in (select nullif(id, 107) from l where id > 100)", "0"),
        ("select count(*) from l where s || id in (select s || id from l where id % 3 = 0)", "1515"),
        ("select sum(case when id in (select id * 2 from l) then 1 else 0 end) from l", "2500"),
        ("select max(id) from l where id in (select id from l where k in (select id from l))", "4999"),
        ("update l set v = 1 where id in (select id * 2 from l)", "UPDATE 2500"),
        ("select count(*) from (select * from l where id in (select id * 2 from l) for update) x", "2500"),
        ("delete from l where id in (select id * 2 from l)", "DELETE 2500"),
    ] {
        let mut tight = tight(&c).await;
        assert_eq!(tight.sql(sql).await, wanted, "{sql}");
        let spill = &tight.db.spill;
        assert!(spill.bytes() > 4 * TINY, "{sql} wrote {} bytes", spill.bytes());
        assert!(spill.peak() <= TINY + ROW, "{sql} held {} bytes", spill.peak());
        assert_eq!(spill.now(), (0, 0), "{sql} left files behind");
    }
}

const MANY: Rows = Rows { count: 5000, keys: 5000, skew: 1_000_000, nulls: 1_000_000, len: 100 };
const ONE_KEY: Rows = Rows { count: 600, keys: 1, skew: 1, nulls: 1_000_000, len: 100 };

#[tokio::test]
async fn what_fits_in_part_stays_in_part() {
    let mut c = with_memory(&fresh().await.db, 1 << 20);
    MANY.fill(&mut c, "l").await;
    let sql = "select count(*) from l join l r on l.id = r.id";
    assert_eq!(c.sql(sql).await, "5000");
    let held = c.db.spill.peak();
    // A tenth too much for memory: not all of both sides is written.
    let mut less = with_memory(&c.db, (held * 9 / 10) >> 10);
    assert_eq!(less.sql(sql).await, "5000");
    let some = c.db.spill.bytes();
    let mut tight = tight(&c).await;
    assert_eq!(tight.sql(sql).await, "5000");
    let all = tight.db.spill.bytes();
    assert!(some > 0 && some < all * 2 / 3, "{some} of {all} bytes were written");
}

#[tokio::test]
async fn one_key_only_is_joined_in_blocks() {
    let mut c = with_memory(&fresh().await.db, 1 << 20);
    ONE_KEY.fill(&mut c, "l").await;
    ONE_KEY.fill(&mut c, "r").await;
    let sql = "select count(*), sum(r.id) from l left join r on l.k = r.k and r.id > l.id - 2";
    let wanted = c.sql(sql).await;
    let mut tight = tight(&c).await;
    assert_eq!(tight.sql(sql).await, wanted);
    let once = 2 * 600 * 80;
    assert!(
        tight.db.spill.bytes() < once * 3 / 2,
        "{} bytes: it was divided in vain",
        tight.db.spill.bytes()
    );
}

#[tokio::test]
async fn a_full_disk_ends_the_statement_and_not_the_session() {
    let mut c = fresh().await;
    MANY.fill(&mut c, "l").await;
    let mut tight = tight(&c).await;
    let queries = [
        "select count(*) from l join l r on l.id = r.id",
        "select count(*) from (select id, s from l intersect select id, s from l) x",
        "select count(*) from l left join l r on l.id < r.id and l.id > 4990",
        "select count(*) from l where id in (select id from l)",
        "insert into l select id + 10000, k, b, s, v from l returning *",
    ];
    let room = &tight.db.clone().spill;
    for sql in queries {
        room.room.store(20_000, std::sync::atomic::Ordering::Relaxed);
        let error = tight.err(sql).await;
        assert_eq!(error.sqlstate, sqlstate::DISK_FULL, "{sql}: {error}");
        assert_eq!(room.now(), (0, 0), "{sql}");
        assert_eq!(tight.sql("select count(*) from l").await, "5000");
        room.room.store(usize::MAX, std::sync::atomic::Ordering::Relaxed);
    }
    assert_eq!(tight.sql(queries[0]).await, "5000");
}

#[tokio::test]
async fn a_statement_that_is_given_up_leaves_no_file() {
    let mut c = fresh().await;
    MANY.fill(&mut c, "l").await;
    let mut tight = tight(&c).await;
    let db = tight.db.clone();
    for sql in [
        "select count(*) from l join l r on l.id = r.id join l q on q.id = r.id",
        "select count(*) from (select id, s from l except select id + 1, s from l) x",
        "select count(*) from l, l r where l.id < r.v",
        "select count(*) from l where id in (select id from l)",
    ] {
        tight.begin(Isolation::ReadCommitted);
        let spilled = async {
            while db.spill.now().1 == 0 {
                tokio::time::sleep(Duration::from_micros(200)).await;
            }
        };
        tokio::select! {
            biased;
            () = spilled => {}
            found = tight.try_sql(sql) => panic!("{sql} wrote nothing: {found:?}"),
        }
        tight.rollback();
        // A block that is being written has the file until it is.
        tokio::time::timeout(Duration::from_secs(10), async {
            while db.spill.now() != (0, 0) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        })
        .await
        .expect("the files go");
        assert_eq!(tight.sql("select count(*) from l").await, "5000");
    }
}

#[tokio::test]
async fn rows_of_returning_are_kept_within_memory() {
    let mut c = fresh().await;
    MANY.fill(&mut c, "l").await;
    let mut tight = tight(&c).await;
    let wanted = tight.sql("select id, s from l order by id").await;
    let sorted = tight.db.spill.bytes();
    let found = tight.sql("update l set v = v + 1 returning id, s").await;
    assert_eq!(in_order(&found), in_order(&wanted));
    assert!(tight.db.spill.bytes() > sorted + 200_000, "{} bytes", tight.db.spill.bytes());
    assert!(tight.db.spill.peak() <= TINY + ROW, "{} bytes held", tight.db.spill.peak());
    assert_eq!(tight.db.spill.now(), (0, 0));
    assert_eq!(tight.sql("delete from l where id <= 3 returning id").await, "1\n2\n3");
}
