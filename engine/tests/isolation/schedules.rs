//! Random schedules of two to four sessions, played here and by PostgreSQL 15: step by step the same rows, tags and
//! SQLSTATEs, the same steps that wait and the same that go on.
//!
//! A schedule is drawn from its seed alone, so a seed names it for good. `SEXTANT_SCHEDULES=0..2000` plays others than the
//! ordinary run. What differs is printed as a script: made smaller, it belongs into `scripts/`.
//!
//! Statements reach rows in the order of their ids on both sides (PostgreSQL is kept from scanning its heap), since who is
//! waited for first depends on it.
//!
//! What is known to differ: whom an end wakes first of two who wait for the same row or key.
//! docs/testing.md tells more.

use std::ops::Range;

use crate::player::{Stage, play};
use crate::postgres::{self, Postgres};
use crate::script::Script;

const ORDINARY: Range<u64> = 0..40;
/// Left out of the ordinary run: one end wakes two who wait for the same row, and PostgreSQL does not say who is first.
const EITHER_WAY: [u64; 1] = [27];
const STEPS: usize = 22;

/// What the ordinary run must have come across, or it would show little.
const REACHED: [&str; 7] = ["-> waits", "goes on", "! 23505", "! 25P02", "! 40001", "! 40P01", "! 55P03"];

const SETUP: [&str; 2] = [
    "create table t (id int primary key, n int not null)",
    "insert into t values (1, 10), (2, 20), (3, 30), (4, 40)",
];

/// SplitMix64.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % bound
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len() as u64) as usize]
    }
}

fn statement(random: &mut Random) -> String {
    let id = 1 + random.below(5);
    match random.below(24) {
        0..=4 => format!("update t set n = n + 1 where id = {id}"),
        5..=6 => format!("update t set n = n + 5 where id >= {id} and n < 40"),
        7 => format!("update t set id = {} where id = {id}", 1 + random.below(6)),
        8..=9 => format!("delete from t where id = {id}"),
        10..=11 => format!("insert into t values ({id}, {})", 10 * random.below(6)),
        12..=13 => "select * from t order by id".to_owned(),
        14..=17 => {
            let strength = random.pick(&["update", "no key update", "share", "key share"]);
            let waits = random.pick(&["", "", " nowait", " skip locked"]);
            format!("select * from t where id = {id} for {strength}{waits}")
        }
        18 => "savepoint s".to_owned(),
        19 => "rollback to s".to_owned(),
        20 => "release s".to_owned(),
        21 => {
            let mode = random.pick(&["row exclusive", "share", "exclusive"]);
            format!("lock table t in {mode} mode{}", random.pick(&["", " nowait"]))
        }
        22 => "commit".to_owned(),
        _ => "rollback".to_owned(),
    }
}

/// The script of a seed. Each session begins, and begins anew after its end; at last all end and what is left is read.
fn schedule(seed: u64) -> String {
    let mut random = Random(seed);
    let sessions = &['a', 'b', 'c', 'd'][..2 + random.below(3) as usize];
    let level = random.pick(&["read committed", "repeatable read"]);
    let mut text = format!("# Seed {seed}.\n\nsetup\n");
    for sql in SETUP {
        text.push_str(&format!("    {sql}\n"));
    }
    text.push_str("steps\n");
    for session in sessions {
        text.push_str(&format!("    {session}: begin isolation level {{level}}\n"));
    }
    for _ in 0..STEPS {
        let session = sessions[random.below(sessions.len() as u64) as usize];
        let sql = statement(&mut random);
        text.push_str(&format!("    {session}: {sql}\n"));
        if sql == "commit" || sql == "rollback" {
            text.push_str(&format!("    {session}: begin isolation level {{level}}\n"));
        }
    }
    // An end frees at least one of those who wait, so as many rounds as sessions end them all.
    for _ in sessions {
        for session in sessions {
            text.push_str(&format!("    {session}: commit\n"));
        }
    }
    text.push_str(&format!("    z: select * from t order by id\n\n{level}\n"));
    text
}

fn seeds() -> Range<u64> {
    let Ok(asked) = std::env::var("SEXTANT_SCHEDULES") else { return ORDINARY };
    let (from, to) = asked.split_once("..").expect("SEXTANT_SCHEDULES is FROM..TO");
    from.parse().expect("the first seed")..to.parse().expect("the seed behind the last one")
}

#[tokio::test(flavor = "multi_thread")]
async fn random_schedules_come_out_as_in_postgresql() {
    let Some(postgres) = Postgres::start_if_installed().await else { return };
    let (mut wrong, mut all) = (Vec::new(), String::new());
    for seed in seeds().filter(|seed| seeds() != ORDINARY || !EITHER_WAY.contains(seed)) {
        let script = Script::parse(&schedule(seed));
        let level = script.levels().next().expect("the seed's level").to_owned();
        let ours = postgres::plain(&play(&Stage::open().await, &script, &level).await);
        let hall = postgres.hall(&format!("schedule{seed}"), &["enable_seqscan", "enable_bitmapscan"]).await;
        let theirs = postgres::plain(&play(&hall, &script, &level).await);
        if ours != theirs {
            let same = ours.lines().zip(theirs.lines()).take_while(|(a, b)| a == b).count();
            let rest = |text: &str| text.lines().skip(same).take(3).collect::<Vec<_>>().join("\n");
            let shared = ours.lines().take(same).collect::<Vec<_>>().join("\n");
            wrong.push(format!(
                "seed {seed}:{shared}\n  here:\n{}\n  PostgreSQL:\n{}",
                rest(&ours),
                rest(&theirs)
            ));
        }
        all.push_str(&ours);
    }
    assert!(wrong.is_empty(), "PostgreSQL does otherwise:\n\n{}", wrong.join("\n\n"));
    if seeds() == ORDINARY {
        for what in REACHED {
            assert!(all.contains(what), "no schedule comes to: {what}");
        }
    }
}
