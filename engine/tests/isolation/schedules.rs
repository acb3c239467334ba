//! Random schedules of two to four sessions, over one table or over two of which one refers to the other, played here and by
//! PostgreSQL 15: step by step the same rows, tags and SQLSTATEs, the same steps that wait and the same that go on.
//!
//! A schedule is drawn from its seed alone, so a seed names it for good. `SEXTANT_SCHEDULES=0..2000` plays others than the
//! ordinary run. What differs is printed as a script: made smaller, it belongs into `scripts/`.
//!
//! Statements reach rows in the order of their ids on both sides (PostgreSQL is kept from scanning its heap), since who is
//! waited for first depends on it.
//!
//! PostgreSQL does not always do the same: whom an end wakes first of two who wait for the same row is up to the system. So a
//! schedule that differs is played by it again, some times; it must do once what is done here.
//! docs/testing.md tells more.

use std::ops::Range;

use crate::player::{Stage, play};
use crate::postgres::{self, Postgres};
use crate::script::Script;

const ORDINARY: Range<u64> = 0..40;
/// Where one end wakes two who wait for the same row, PostgreSQL does not say who is first: it does now one, now the other.
/// What comes here must be what it does in one of so many rounds; the first one is enough but for few seeds (27).
const ROUNDS: usize = 20;
const STEPS: usize = 22;

/// What the ordinary run must have come across, or it would show little.
const REACHED: [&str; 7] = ["-> waits", "goes on", "! 23505", "! 25P02", "! 40001", "! 40P01", "! 55P03"];

/// The same where there are foreign keys.
const REFERRING_REACHED: [&str; 4] = ["-> waits", "goes on", "! 23503", "! 40001"];

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

/// The same of two tables, one of which refers to the other, or of a table that refers to itself.
fn referring_statement(random: &mut Random) -> String {
    let (id, key) = (1 + random.below(5), 1 + random.below(5));
    match random.below(28) {
        0..=4 => format!("insert into c values ({}, {key})", 1 + random.below(9)),
        5..=6 => format!("update c set p = {key} where id = {id}"),
        7 => format!("update c set p = null where id = {id}"),
        8..=9 => format!("delete from c where id = {id}"),
        10..=12 => format!("delete from p where id = {key}"),
        13..=14 => format!("update p set id = {} where id = {key}", 1 + random.below(6)),
        15 => format!("insert into p values ({key}, 0)"),
        16..=17 => format!("update p set n = n + 1 where id = {key}"),
        18 => "select * from p order by id".to_owned(),
        19 => "select * from c order by id".to_owned(),
        20..=21 => {
            let strength = random.pick(&["update", "no key update", "share", "key share"]);
            let waits = random.pick(&["", "", " nowait", " skip locked"]);
            format!("select * from p where id = {key} for {strength}{waits}")
        }
        22 => random.pick(&["set constraints all deferred", "set constraints all immediate"]).to_owned(),
        23 => "savepoint s".to_owned(),
        24 => "rollback to s".to_owned(),
        25 => "release s".to_owned(),
        26 => "commit".to_owned(),
        _ => "rollback".to_owned(),
    }
}

/// The tables of a seed that has foreign keys: the actions, and when they are asked, are drawn.
fn referring_setup(random: &mut Random) -> Vec<String> {
    let actions = ["no action", "restrict", "cascade", "set null", "set default"];
    let (delete, update) = (random.pick(&actions), random.pick(&actions));
    let when = random.pick(&["", " deferrable", " deferrable initially deferred"]);
    vec![
        "create table p (id int primary key, n int not null)".to_owned(),
        format!(
            "create table c (id int primary key, p int default 4 references p \
             on delete {delete} on update {update}{when})"
        ),
        "create index c_p on c (p, id)".to_owned(),
        "insert into p values (1, 10), (2, 20), (3, 30), (4, 40)".to_owned(),
        "insert into c values (1, 1), (2, 2), (3, 2), (4, null)".to_owned(),
    ]
}

/// What schedules are made of.
struct Kind {
    setup: fn(&mut Random) -> Vec<String>,
    statement: fn(&mut Random) -> String,
    /// Read when all is over.
    tables: &'static [&'static str],
}

const PLAIN: Kind = Kind { setup: |_| SETUP.map(str::to_owned).to_vec(), statement, tables: &["t"] };

const REFERRING: Kind = Kind { setup: referring_setup, statement: referring_statement, tables: &["p", "c"] };

/// The script of a seed. Each session begins, and begins anew after its end; at last all end and what is left is read.
fn schedule(kind: &Kind, seed: u64) -> String {
    let mut random = Random(seed);
    let sessions = &['a', 'b', 'c', 'd'][..2 + random.below(3) as usize];
    let level = random.pick(&["read committed", "repeatable read"]);
    let mut text = format!("# Seed {seed}.\n\nsetup\n");
    for sql in (kind.setup)(&mut random) {
        text.push_str(&format!("    {sql}\n"));
    }
    text.push_str("steps\n");
    for session in sessions {
        text.push_str(&format!("    {session}: begin isolation level {{level}}\n"));
    }
    for _ in 0..STEPS {
        let session = sessions[random.below(sessions.len() as u64) as usize];
        let sql = (kind.statement)(&mut random);
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
    for table in kind.tables {
        text.push_str(&format!("    z: select * from {table} order by id\n"));
    }
    text.push_str(&format!("\n{level}\n"));
    text
}

fn seeds() -> Range<u64> {
    let Ok(asked) = std::env::var("SEXTANT_SCHEDULES") else { return ORDINARY };
    let (from, to) = asked.split_once("..").expect("SEXTANT_SCHEDULES is FROM..TO");
    from.parse().expect("the first seed")..to.parse().expect("the seed behind the last one")
}

/// Plays all seeds of a kind here and there, and gives what came here.
async fn compare(kind: &Kind, name: &str) -> Option<String> {
    let postgres = Postgres::start_if_installed().await?;
    let (mut wrong, mut all) = (Vec::new(), String::new());
    for seed in seeds() {
        let script = Script::parse(&schedule(kind, seed));
        let level = script.levels().next().expect("the seed's level").to_owned();
        let ours = postgres::plain(&play(&Stage::open().await, &script, &level).await);
        let mut theirs = String::new();
        for round in 0..ROUNDS {
            let hall = format!("{name}{seed}_{round}");
            let hall = postgres.hall(&hall, &["enable_seqscan", "enable_bitmapscan"]).await;
            theirs = postgres::plain(&play(&hall, &script, &level).await);
            if ours == theirs {
                if round > 0 {
                    println!("seed {seed}: PostgreSQL did otherwise in {round} rounds before");
                }
                break;
            }
        }
        if ours != theirs {
            wrong.push(difference(seed, &script, &ours, &theirs));
        }
        all.push_str(&ours);
    }
    assert!(wrong.is_empty(), "PostgreSQL does otherwise:\n\n{}", wrong.join("\n\n"));
    Some(all)
}

fn difference(seed: u64, script: &Script, ours: &str, theirs: &str) -> String {
    let same = ours.lines().zip(theirs.lines()).take_while(|(a, b)| a == b).count();
    let rest = |text: &str| text.lines().skip(same).take(3).collect::<Vec<_>>().join("\n");
    let shared = ours.lines().take(same).collect::<Vec<_>>().join("\n");
    let setup = script.setup.join("\n");
    format!("seed {seed}:\n{setup}{shared}\n  here:\n{}\n  PostgreSQL:\n{}", rest(ours), rest(theirs))
}

fn reaches(all: &str, what: &[&str]) {
    if seeds() == ORDINARY {
        for what in what {
            assert!(all.contains(what), "no schedule comes to: {what}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn random_schedules_come_out_as_in_postgresql() {
    let Some(all) = compare(&PLAIN, "schedule").await else { return };
    reaches(&all, &REACHED);
}

#[tokio::test(flavor = "multi_thread")]
async fn random_schedules_with_foreign_keys_come_out_as_in_postgresql() {
    let Some(all) = compare(&REFERRING, "referring").await else { return };
    reaches(&all, &REFERRING_REACHED);
}
