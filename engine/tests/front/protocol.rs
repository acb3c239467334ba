//! The wire protocol as bytes: startup, limits, garbage, pipelines, and what is answered when.

use std::time::Duration;

use crate::harness::{Front, in_time};
use crate::raw::{Message, Raw, bind, describe, execute, message, parse, query, sync};
use sextant_engine::server::Limits;
use sextant_engine::session::End;

fn state(messages: &[Message]) -> String {
    messages.last().expect("messages").text()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_session_is_greeted_as_by_postgresql_15() {
    let front = Front::start().await;
    let (_raw, greeting) = Raw::session(front.addr, &[("application_name", "tests")]).await;
    let reported: Vec<String> = greeting.iter().filter(|m| m.tag == 'S').map(|m| m.text()).collect();
    for name in [
        "server_version\0",
        "TimeZone\0UTC",
        "DateStyle\0ISO, MDY",
        "application_name\0tests",
        "integer_datetimes\0on",
    ] {
        assert!(reported.iter().any(|said| said.starts_with(name)), "{name} in {reported:?}");
    }
    assert!(reported.iter().any(|said| said.starts_with("server_version\u{0}15.")));
    assert!(greeting.iter().any(|m| m.tag == 'K' && m.body.len() == 8));
    assert_eq!(state(&greeting), "I");
}

#[tokio::test(flavor = "multi_thread")]
async fn encryption_is_declined_and_newer_protocols_negotiated() {
    let front = Front::start().await;
    let mut raw = Raw::connect(front.addr).await;
    raw.packet(&[80_877_103]).await;
    assert_eq!(raw.byte().await, b'N');
    raw.packet(&[80_877_104]).await;
    assert_eq!(raw.byte().await, b'N');
    raw.startup(196_610, &[("_pq_.new", "1")]).await;
    let greeting = raw.until_ready().await;
    assert_eq!(greeting[0].tag, 'v');
    assert_eq!(greeting[0].body[..4], 196_608u32.to_be_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_the_protocol_is_refused_and_closed() {
    let front = Front::start().await;
    let garbage: [&[u8]; 5] = [
        b"GET / HTTP/1.1\r\n\r\n",
        &[0, 0, 0, 3],
        &[0, 0, 0, 8, 0, 2, 0, 0],
        &[0, 0, 0, 9, 0, 3, 0, 0, 65],
        &[255; 64],
    ];
    for bytes in garbage {
        let mut raw = Raw::connect(front.addr).await;
        raw.send(bytes).await;
        let said = raw.until_closed().await;
        assert_eq!(said.len(), 1, "{bytes:?}: {said:?}");
        assert_eq!(said[0].field('S').as_deref(), Some("FATAL"), "{bytes:?}");
    }
    assert_eq!(front.server.connections(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_silent_client_is_dropped_in_time() {
    let limits = Limits { startup: Duration::from_millis(100), ..Limits::default() };
    let front = Front::with(limits).await;
    let mut raw = Raw::connect(front.addr).await;
    raw.send(&[0, 0]).await;
    assert!(raw.until_closed().await.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn one_client_too_many_is_told_so() {
    let front = Front::with(Limits { connections_max: 1, ..Limits::default() }).await;
    let (first, _) = Raw::session(front.addr, &[]).await;
    let mut second = Raw::connect(front.addr).await;
    second.startup(196_608, &[]).await;
    let said = second.until_closed().await;
    assert_eq!(said[0].field('C').as_deref(), Some("53300"));
    drop(first);
    in_time(async {
        while front.server.connections() > 0 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    })
    .await;
    Raw::session(front.addr, &[]).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_bad_startup_setting_is_fatal() {
    let front = Front::start().await;
    for (setting, code) in [
        (("no_such", "1"), "42704"),
        (("options", "-c work_mem=x"), "22023"),
        (("replication", "true"), "0A000"),
    ] {
        let mut raw = Raw::connect(front.addr).await;
        raw.startup(196_608, &[setting]).await;
        let said = raw.until_closed().await;
        assert_eq!(said.last().unwrap().field('C').as_deref(), Some(code), "{setting:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn malformed_messages_are_errors_and_the_session_goes_on() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    // A Bind that says it has 65535 parameters and carries none.
    let mut bytes = message('B', &[0, 0, 0, 0, 255, 255]);
    bytes.extend(execute("", 0));
    bytes.extend(sync());
    let (tags, said) = raw.ask(&bytes).await;
    assert_eq!(tags, "EZ");
    assert_eq!(said[0].field('C').as_deref(), Some("08P01"));
    let (tags, said) = raw.ask(&message('Q', b"show \xff\0")).await;
    assert_eq!((tags.as_str(), said[0].field('C').as_deref()), ("EZ", Some("22021")));
    let (tags, _) = raw.ask(&message('F', &[1, 2, 3])).await;
    assert_eq!(tags, "EZ");
    let (tags, _) = raw.ask(&query("show server_version_num")).await;
    assert_eq!(tags, "TDCZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_out_of_step_is_closed() {
    let front = Front::with(Limits { message_bytes_max: 1 << 16, ..Limits::default() }).await;
    let long = [&b"Q"[..], &(1u32 << 20).to_be_bytes()].concat();
    let short = [&b"Q"[..], &3u32.to_be_bytes()].concat();
    let negative = [&b"Q"[..], &u32::MAX.to_be_bytes()].concat();
    for bytes in [long, short, negative, message('?', b"x"), message('p', b"secret\0")] {
        let (mut raw, _) = Raw::session(front.addr, &[]).await;
        raw.send(&bytes).await;
        let said = raw.until_closed().await;
        assert_eq!(said.len(), 1, "{bytes:?}: {said:?}");
        assert_eq!(said[0].field('C').as_deref(), Some("08P01"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_come_byte_by_byte() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    for byte in query("show work_mem") {
        raw.send(&[byte]).await;
    }
    let said = raw.until_ready().await;
    assert_eq!(said[1].body, b"\0\x01\0\0\0\x034MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn empty_queries_are_answered_in_both_protocols() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    assert_eq!(raw.ask(&query("")).await.0, "IZ");
    assert_eq!(raw.ask(&query(" ; -- nothing\n ;")).await.0, "IZ");
    let bytes = [parse("", ""), bind("", "", &[]), describe('P', ""), execute("", 0), sync()].concat();
    assert_eq!(raw.ask(&bytes).await.0, "12nIZ");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_block_is_open_failed_and_over() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    let (tags, said) = raw.ask(&query("begin")).await;
    assert_eq!((tags.as_str(), state(&said).as_str()), ("CZ", "T"));
    let (tags, said) = raw.ask(&query("begin")).await;
    assert_eq!((tags.as_str(), said[0].field('C').as_deref()), ("NCZ", Some("25001")));
    let (_, said) = raw.ask(&query("nonsense")).await;
    assert_eq!((said[0].field('C').as_deref(), state(&said).as_str()), (Some("42601"), "E"));
    let (_, said) = raw.ask(&query("show work_mem")).await;
    assert_eq!(said[0].field('C').as_deref(), Some("25P02"));
    let (_, said) = raw.ask(&query("commit")).await;
    assert_eq!((said[0].text().as_str(), state(&said).as_str()), ("ROLLBACK", "I"));
    let (tags, said) = raw.ask(&query("commit")).await;
    assert_eq!((tags.as_str(), said[0].field('C').as_deref()), ("NCZ", Some("25P01")));
    let (_, said) = raw.ask(&query("begin isolation level serializable; show transaction_isolation")).await;
    assert_eq!(&said[2].body[6..], b"serializable");
    let (_, said) =
        raw.ask(&query("set default_transaction_read_only = on; show transaction_read_only")).await;
    assert_eq!(&said[2].body[6..], b"off", "a default counts for the next transaction");
    assert_eq!(raw.ask(&query("rollback")).await.0, "CSZ");
    let (_, said) =
        raw.ask(&query("begin isolation level repeatable read, read only; show transaction_isolation")).await;
    assert_eq!(&said[2].body[6..], b"repeatable read");
    assert_eq!(raw.ask(&query("rollback and chain; show transaction_read_only")).await.0, "CTDCZ");
    let (_, said) = raw.ask(&query("rollback; show transaction_isolation")).await;
    assert_eq!(&said[2].body[6..], b"read committed");
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_follow_the_transaction_and_are_reported() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    let (tags, said) = raw.ask(&query("set application_name = 'a'")).await;
    assert_eq!((tags.as_str(), said[1].text().as_str()), ("CSZ", "application_name\0a"));
    assert_eq!(raw.ask(&query("begin; set application_name = 'b'")).await.0, "CCSZ");
    let (tags, said) = raw.ask(&query("rollback")).await;
    assert_eq!((tags.as_str(), said[1].text().as_str()), ("CSZ", "application_name\0a"));
    let (_, said) = raw.ask(&query("set nothing.at_all to 1")).await;
    assert_eq!(said[0].field('C').as_deref(), Some("42704"));
    let (_, said) = raw.ask(&query("set local work_mem = '8MB'")).await;
    assert_eq!(said[0].field('C').as_deref(), Some("25P01"));
    assert_eq!(raw.ask(&query("discard all")).await.0, "CSZ");
    let (_, said) = raw.ask(&query("show all")).await;
    assert!(said.len() > 30);
}

#[tokio::test(flavor = "multi_thread")]
async fn after_an_error_a_pipeline_is_skipped_to_sync() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    let bytes = [
        parse("", "show work_mem"),
        bind("", "no_such_statement", &[]),
        execute("", 0),
        parse("x", "show work_mem"),
        sync(),
        parse("x", "show work_mem"),
        bind("", "x", &[]),
        describe('S', "x"),
        execute("", 0),
        sync(),
    ]
    .concat();
    let (tags, said) = raw.ask(&bytes).await;
    assert_eq!((tags.as_str(), said[1].field('C').as_deref()), ("1EZ", Some("26000")));
    let tags: String = raw.until_ready().await.iter().map(|m| m.tag).collect();
    assert_eq!(tags, "12tTDCZ");
    let (_, said) = raw.ask(&[parse("x", "show work_mem"), sync()].concat()).await;
    assert_eq!(said[0].field('C').as_deref(), Some("42P05"));
    let (tags, _) = raw.ask(&[message('C', b"Sx\0"), parse("x", "show jit"), sync()].concat()).await;
    assert_eq!(tags, "31Z");
    let (_, said) = raw.ask(&[execute("no_such_portal", 0), sync()].concat()).await;
    assert_eq!(said[0].field('C').as_deref(), Some("34000"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_tells_idle_sessions() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    assert!(front.server.end(End::Drain, Duration::from_secs(5)).await);
    let said = raw.until_closed().await;
    assert_eq!(said[0].field('C').as_deref(), Some("57P01"));
    let mut late = Raw::connect(front.addr).await;
    late.startup(196_608, &[]).await;
    let said = late.until_closed().await;
    assert_eq!(said.last().unwrap().field('C').as_deref(), Some("57P01"));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_transaction_is_ended_when_the_session_says_so() {
    let front = Front::start().await;
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    raw.ask(&query("set idle_in_transaction_session_timeout = '50ms'; begin")).await;
    let said = raw.until_closed().await;
    assert_eq!(said[0].field('C').as_deref(), Some("25P03"));
}

/// Numbers that look random and are the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn body(&mut self) -> Vec<u8> {
        const PIECES: [&[u8]; 9] = [
            b"\0",
            b"s\0",
            b"select 1\0",
            b"\0\0",
            b"\0\x01",
            b"\xff\xff",
            b"\0\0\0\x01",
            b"show jit\0",
            b"\xc3\x28\0",
        ];
        (0..self.next(8)).flat_map(|_| PIECES[self.next(9) as usize].to_vec()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_messages_are_answered_or_refused_but_never_break_a_session() {
    let front = Front::start().await;
    let mut numbers = Numbers(7);
    let (mut raw, _) = Raw::session(front.addr, &[]).await;
    for round in 0..2000 {
        let tags = b"QPBDECHdcfF";
        let mut bytes = Vec::new();
        for _ in 0..1 + numbers.next(4) {
            let tag = char::from(tags[numbers.next(tags.len() as u64) as usize]);
            // Query and FunctionCall answer with a ReadyForQuery of their own: the last of all is that of the mark.
            bytes.extend(message(tag, &numbers.body()));
        }
        bytes.extend(sync());
        bytes.extend(query("set application_name = ''; show port_of_the_mark"));
        raw.send(&bytes).await;
        loop {
            let said = raw.until_ready().await;
            let is_mark = |m: &Message| m.field('M').is_some_and(|text| text.contains("port_of_the_mark"));
            if said.iter().any(is_mark) {
                break;
            }
            assert!(said.len() < 100, "round {round}");
        }
    }
}
