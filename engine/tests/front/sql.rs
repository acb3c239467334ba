//! Statements through real clients: both protocols, transactions, portals, COPY, cancellation, durability.

use std::time::Duration;

use sextant_engine::server::Limits;
use tokio_postgres::SimpleQueryMessage;
use tokio_postgres::error::SqlState;

use crate::harness::{Front, feed, in_time};
use crate::raw::{Raw, bind, describe, execute, message, parse, query, sync};

const TABLE: &str = "create table t (id int primary key, name text, at timestamp default current_timestamp)";

async fn count(client: &tokio_postgres::Client) -> i64 {
    client.query_one("select count(*) from t", &[]).await.expect("counted").get(0)
}

fn code(error: &tokio_postgres::Error) -> &str {
    error.code().map_or("none", SqlState::code)
}

#[tokio::test(flavor = "multi_thread")]
async fn prepared_statements_carry_values_in_binary() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    let insert = client.prepare("insert into t (id, name) values ($1, $2)").await.unwrap();
    for id in 0..10i32 {
        let name = (id % 2 == 0).then(|| format!("n{id}"));
        assert_eq!(client.execute(&insert, &[&id, &name]).await.unwrap(), 1);
    }
    let select = client.prepare("select id, name from t where id = $1").await.unwrap();
    let row = client.query_one(&select, &[&4i32]).await.unwrap();
    assert_eq!((row.get::<_, i32>(0), row.get::<_, Option<&str>>(1)), (4, Some("n4")));
    let row = client.query_one(&select, &[&5i32]).await.unwrap();
    assert_eq!(row.get::<_, Option<&str>>(1), None);
    assert!(client.query_opt(&select, &[&99i32]).await.unwrap().is_none());
    assert_eq!(client.execute("update t set name = 'x' where id < $1", &[&3i32]).await.unwrap(), 3);
    assert_eq!(client.execute("delete from t where id >= $1", &[&8i32]).await.unwrap(), 2);
    assert_eq!(count(&client).await, 8);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_prepared_before_a_change_of_the_catalog_still_runs() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    let select = client.prepare("select name from t where id = $1").await.unwrap();
    let other = front.connect().await;
    other.batch_execute("insert into t values (1, 'a'); create index on t (name)").await.unwrap();
    assert_eq!(client.query_one(&select, &[&1i32]).await.unwrap().get::<_, &str>(0), "a");
    other.batch_execute("drop table t").await.unwrap();
    let error = client.query(&select, &[&1i32]).await.unwrap_err();
    assert_eq!(code(&error), "42P01");
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_carry_their_fields() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    client.execute("insert into t values (1, 'a')", &[]).await.unwrap();
    let error = client.execute("insert into t values (1, 'b')", &[]).await.unwrap_err();
    let fields = error.as_db_error().unwrap();
    assert_eq!(fields.code(), &SqlState::UNIQUE_VIOLATION);
    assert_eq!((fields.table(), fields.constraint()), (Some("t"), Some("t_pkey")));
    let error = client.simple_query("select nope from t").await.unwrap_err();
    assert_eq!(code(&error), "42703");
    let error = client.simple_query("select 1 1 1").await.unwrap_err();
    let fields = error.as_db_error().unwrap();
    assert_eq!((fields.code().code(), fields.position().is_some()), ("42601", true));
    assert_eq!(count(&client).await, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_committed_never_happened() {
    let front = Front::start().await;
    let mut client = front.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    let transaction = client.transaction().await.unwrap();
    transaction.execute("insert into t values (1, 'a')", &[]).await.unwrap();
    transaction.rollback().await.unwrap();
    assert_eq!(count(&client).await, 0);
    let transaction = client.transaction().await.unwrap();
    transaction.execute("insert into t values (2, 'b')", &[]).await.unwrap();
    transaction.commit().await.unwrap();
    // An error in a string of statements takes all of it back; a block of its own inside keeps what it committed.
    assert!(
        client.batch_execute("insert into t values (3, 'c'); insert into t values (2, 'd')").await.is_err()
    );
    assert_eq!(count(&client).await, 1);
    let string = "begin; insert into t values (4, 'e'); commit; insert into t values (5, 'f'); select 1/0";
    assert!(client.batch_execute(string).await.is_err());
    assert_eq!(count(&client).await, 2);
    // A session that goes away leaves nothing behind.
    {
        let gone = front.connect().await;
        gone.batch_execute("begin; insert into t values (6, 'g')").await.unwrap();
    }
    client.execute("insert into t values (6, 'h')", &[]).await.unwrap();
    assert_eq!(count(&client).await, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_one_transaction_up_to_sync() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    let insert = |id: &str| [bind("", "i", &[id]), execute("", 0)].concat();
    let prepare = parse("i", "insert into t values ($1, 'x')");
    let (tags, _) = raw.ask(&[prepare, insert("1"), insert("2"), sync()].concat()).await;
    assert_eq!(tags, "12C2CZ");
    // The third takes the first two of its pipeline with it.
    let (tags, said) = raw.ask(&[insert("3"), insert("4"), insert("1"), insert("5"), sync()].concat()).await;
    assert_eq!((tags.as_str(), said[5].field('C').as_deref()), ("2C2C2EZ", Some("23505")));
    assert_eq!(count(&client).await, 2);
    // Several Syncs may be under way at once.
    let many = [insert("6"), sync(), insert("1"), sync(), insert("7"), sync()].concat();
    raw.send(&many).await;
    let mut tags = Vec::new();
    for _ in 0..3 {
        tags.push(raw.until_ready().await.iter().map(|m| m.tag).collect::<String>());
    }
    assert_eq!(tags, ["2CZ", "2EZ", "2CZ"]);
    assert_eq!(count(&client).await, 4);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pipeline_is_answered_by_one_write() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    raw.ask(&[parse("s", "select 1"), sync()].concat()).await;
    let pipeline = [bind("", "s", &[]), describe('P', ""), execute("", 0), sync()].concat();
    for _ in 0..20 {
        raw.send(&pipeline).await;
        let pieces = raw.pieces_until_ready().await;
        assert_eq!(pieces, 1);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_portal_is_fetched_in_parts() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    for id in 0..5i32 {
        client.execute("insert into t values ($1, 'x')", &[&id]).await.unwrap();
    }
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    let start = [
        query("begin"),
        parse("", "select id from t order by id"),
        bind("p", "", &[]),
        execute("p", 2),
        sync(),
    ];
    raw.send(&start.concat()).await;
    raw.until_ready().await;
    let tags = |said: &[crate::raw::Message]| said.iter().map(|m| m.tag).collect::<String>();
    assert_eq!(tags(&raw.until_ready().await), "12DDsZ");
    assert_eq!(raw.ask(&[execute("p", 2), sync()].concat()).await.0, "DDsZ");
    let (last, said) = raw.ask(&[execute("p", 2), sync()].concat()).await;
    assert_eq!((last.as_str(), said[1].text().as_str()), ("DCZ", "SELECT 1"));
    // A named portal ends with its transaction, and is then unknown.
    raw.ask(&query("commit")).await;
    let (_, said) = raw.ask(&[execute("p", 2), sync()].concat()).await;
    assert_eq!(said[0].field('C').as_deref(), Some("34000"));
    // Outside a block it ends with its Sync.
    let whole = [parse("", "select id from t"), bind("", "", &[]), execute("", 1), sync()].concat();
    assert_eq!(raw.ask(&whole).await.0, "12DsZ");
    assert_eq!(raw.ask(&[execute("", 1), sync()].concat()).await.0, "EZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn cursors_and_named_statements_of_sql() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    raw.ask(&query(TABLE)).await;
    raw.ask(&query("insert into t (id, name) values (1, 'a'), (2, 'b'), (3, 'c')")).await;
    raw.ask(&query("begin; declare c cursor for select id from t order by id")).await;
    let (tags, said) = raw.ask(&query("fetch forward 2 from c")).await;
    assert_eq!((tags.as_str(), said[3].text().as_str()), ("TDDCZ", "FETCH 2"));
    let (tags, said) = raw.ask(&query("fetch all from c")).await;
    assert_eq!((tags.as_str(), said[2].text().as_str()), ("TDCZ", "FETCH 1"));
    assert_eq!(raw.ask(&query("fetch c")).await.0, "TCZ");
    assert_eq!(raw.ask(&query("close c; commit")).await.0, "CCZ");
    let (_, said) = raw.ask(&query("fetch c")).await;
    assert_eq!(said[0].field('C').as_deref(), Some("34000"));
    raw.ask(&query("prepare p (int) as select name from t where id = $1")).await;
    let (tags, said) = raw.ask(&query("execute p (1 + 1)")).await;
    assert_eq!((tags.as_str(), &said[1].body[6..]), ("TDCZ", &b"b"[..]));
    let (_, said) = raw.ask(&query("execute p")).await;
    assert_eq!(said[0].field('C').as_deref(), Some("42601"));
    raw.ask(&query("deallocate p")).await;
    let (_, said) = raw.ask(&query("execute p (1)")).await;
    assert_eq!(said[0].field('C').as_deref(), Some("26000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_large_result_is_streamed() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    raw.ask(&query(TABLE)).await;
    raw.ask(&query("insert into t select g, repeat('x', 100) from generate_series(1, 20000) as g")).await;
    let (tags, said) = raw.ask(&query("select id, name from t")).await;
    assert_eq!(tags.chars().filter(|tag| *tag == 'D').count(), 20_000);
    assert_eq!(said[said.len() - 2].text(), "SELECT 20000");
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_in_takes_rows_in_both_protocols() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    // tokio-postgres: extended protocol, with a Sync before the data.
    let sink = client.copy_in::<_, bytes::Bytes>("copy t (id, name) from stdin").await.unwrap();
    let mut sink = Box::pin(sink);
    feed(sink.as_mut(), &["1\ta\n2\t", "\\N\n3\tc"]).await;
    assert_eq!(sink.as_mut().finish().await.unwrap(), 3);
    assert_eq!(count(&client).await, 3);
    // The simple protocol: one row a message and the end mark, as pgbench does.
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    raw.send(&query("copy t (id, name) from stdin with (freeze off)")).await;
    assert_eq!(raw.next().await.unwrap().tag, 'G');
    let data = [message('d', b"4\td\n"), message('d', b"5\te\n"), message('d', b"\\.\n"), message('c', b"")];
    let (tags, said) = raw.ask(&data.concat()).await;
    assert_eq!((tags.as_str(), said[0].text().as_str()), ("CZ", "COPY 2"));
    // An error in the data, and data still under way: skipped, and nothing stays.
    raw.send(&query("copy t (id, name) from stdin")).await;
    raw.next().await.unwrap();
    let bad = [message('d', b"6\tf\nx\tg\n"), message('d', b"7\th\n"), message('c', b"")];
    let (_, said) = raw.ask(&bad.concat()).await;
    assert_eq!(said[0].field('C').as_deref(), Some("22P02"));
    // The client gives up.
    raw.send(&query("copy t (id, name) from stdin")).await;
    raw.next().await.unwrap();
    let (_, said) = raw.ask(&[message('d', b"8\ti\n"), message('f', b"enough\0")].concat()).await;
    assert_eq!(said[0].field('C').as_deref(), Some("57014"));
    assert_eq!(count(&client).await, 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn copy_out_gives_lines() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    raw.ask(&query(TABLE)).await;
    raw.ask(&query("insert into t (id, name) values (1, 'a\tb'), (2, null)")).await;
    let (tags, said) = raw.ask(&query("copy t (id, name) to stdout")).await;
    assert_eq!(tags, "HddcCZ");
    assert_eq!((&said[1].body[..], &said[2].body[..]), (&b"1\ta\\tb\n"[..], &b"2\t\\N\n"[..]));
    let (_, said) =
        raw.ask(&query("copy (select id, name from t) to stdout with (format csv, header)")).await;
    assert_eq!(&said[1].body, b"id,name\n");
    assert_eq!(said[said.len() - 2].text(), "COPY 2");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_waiting_statement_can_be_cancelled() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    client.batch_execute("insert into t values (1, 'a')").await.unwrap();
    client.batch_execute("begin; update t set name = 'b' where id = 1").await.unwrap();
    let waiter = front.connect().await;
    let cancel = waiter.cancel_token();
    let blocked = tokio::spawn(async move {
        let error = waiter.execute("update t set name = 'c' where id = 1", &[]).await.unwrap_err();
        // The session goes on.
        waiter.simple_query("select 1").await.unwrap();
        code(&error).to_owned()
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!blocked.is_finished(), "the row is locked");
    cancel.cancel_query(tokio_postgres::NoTls).await.unwrap();
    assert_eq!(in_time(blocked).await.unwrap(), "57014");
    // A timeout does the same by itself.
    let hasty = front.connect().await;
    hasty.batch_execute("set statement_timeout = '50ms'").await.unwrap();
    let error = in_time(hasty.execute("update t set name = 'd' where id = 1", &[])).await.unwrap_err();
    assert_eq!(code(&error), "57014");
    hasty.batch_execute("set statement_timeout = 0; set lock_timeout = '50ms'").await.unwrap();
    let error = in_time(hasty.execute("update t set name = 'd' where id = 1", &[])).await.unwrap_err();
    assert_eq!(code(&error), "55P03");
    client.batch_execute("commit").await.unwrap();
    assert_eq!(hasty.execute("update t set name = 'e' where id = 1", &[]).await.unwrap(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadlock_has_one_victim() {
    let front = Front::start().await;
    let (one, two) = (front.connect().await, front.connect().await);
    one.batch_execute(TABLE).await.unwrap();
    one.batch_execute("insert into t values (1, 'a'), (2, 'b')").await.unwrap();
    one.batch_execute("begin; update t set name = 'x' where id = 1").await.unwrap();
    two.batch_execute("begin; update t set name = 'y' where id = 2").await.unwrap();
    let (a, b) = in_time(async {
        tokio::join!(
            async {
                let outcome = one.batch_execute("update t set name = 'x' where id = 2").await;
                one.batch_execute("rollback").await.unwrap();
                outcome
            },
            async {
                let outcome = two.batch_execute("update t set name = 'y' where id = 1").await;
                two.batch_execute("rollback").await.unwrap();
                outcome
            }
        )
    })
    .await;
    let victims: Vec<String> =
        [a, b].iter().filter_map(|r| r.as_ref().err()).map(|e| code(e).to_owned()).collect();
    assert_eq!(victims, ["40P01"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_acknowledged_commit_survives_and_one_on_its_way_waits() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    client.execute("insert into t values (1, 'a')", &[]).await.unwrap();
    front.store.hold_vdl(true);
    let slow = front.connect().await;
    let waiting = tokio::spawn(async move { slow.execute("insert into t values (2, 'b')", &[]).await });
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished(), "answered before it was durable");
    assert_eq!(in_time(count(&client)).await, 1, "readers do not wait, and do not see it");
    let crashed = Front::over(front.store.crash(), Limits::default()).await;
    assert_eq!(count(&crashed.connect().await).await, 1);
    front.store.hold_vdl(false);
    assert_eq!(in_time(waiting).await.unwrap().unwrap(), 1);
    let crashed = Front::over(front.store.crash(), Limits::default()).await;
    assert_eq!(count(&crashed.connect().await).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn simple_queries_seen_again_use_their_plan_until_the_catalog_changes() {
    let front = Front::start().await;
    let client = front.connect().await;
    client.batch_execute(TABLE).await.unwrap();
    for _ in 0..4 {
        client.simple_query("select * from t").await.unwrap();
    }
    client.batch_execute("drop table t").await.unwrap();
    assert!(client.simple_query("select * from t").await.is_err());
    client.batch_execute("create table t (more int)").await.unwrap();
    client.batch_execute("insert into t values (7)").await.unwrap();
    let said = client.simple_query("select * from t").await.unwrap();
    let row = said.iter().find_map(|m| match m {
        SimpleQueryMessage::Row(row) => Some(row),
        _ => None,
    });
    assert_eq!(row.unwrap().get("more"), Some("7"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_text_parsed_again_uses_its_plan_with_the_same_declared_types() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    raw.ask(&query(TABLE)).await;
    raw.ask(&query("insert into t (id, name) values (1, 'a')")).await;
    let sql = "select name from t where id = $1";
    for _ in 0..4 {
        let whole = [parse("", sql), bind("", "", &["1"]), execute("", 0), sync()].concat();
        let (tags, said) = raw.ask(&whole).await;
        assert_eq!((tags.as_str(), &said[2].body[6..]), ("12DCZ", &b"a"[..]));
    }
    // int8 declared: another plan, whose parameter is described as such.
    let mut body = [&b"\0"[..], sql.as_bytes(), &[0, 0, 1, 0, 0, 0, 20]].concat();
    body = message('P', &body);
    let (tags, said) = raw.ask(&[body, describe('S', ""), sync()].concat()).await;
    assert_eq!((tags.as_str(), &said[1].body[..]), ("1tTZ", &[0, 1, 0, 0, 0, 20][..]));
    // The same text as a simple query has no value for its parameter.
    let (_, said) = raw.ask(&query(sql)).await;
    assert_eq!(said[0].field('C').as_deref(), Some("42P02"));
}
