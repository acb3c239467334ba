//! Every fuzz target for a moment, on the stable compiler: its seeds, its seeds with small damage, and raw bytes.

use proptest::prelude::*;
use proptest::sample::Index;
use proptest::test_runner::TestRunner;
use sextant_fuzz_targets::{TARGETS, Target};

/// Something done to an input.
#[derive(Debug, Clone)]
enum Change {
    Flip(Index, u8),
    Cut(Index),
    Repeat(Index, Index),
    Number(Index, u64),
    Insert(Index, Vec<u8>),
    Splice(Index, Index, Index),
}

fn change() -> impl Strategy<Value = Change> {
    let place = any::<Index>;
    let number = prop_oneof![Just(0), Just(u64::MAX), Just(1 << 63), Just(u64::from(u32::MAX)), any::<u64>()];
    prop_oneof![
        4 => (place(), 1u8..).prop_map(|(at, byte)| Change::Flip(at, byte)),
        1 => place().prop_map(Change::Cut),
        1 => (place(), place()).prop_map(|(from, to)| Change::Repeat(from, to)),
        2 => (place(), number).prop_map(|(at, number)| Change::Number(at, number)),
        1 => (place(), proptest::collection::vec(any::<u8>(), 1..30)).prop_map(|(at, bytes)| Change::Insert(at, bytes)),
        1 => (place(), place(), place()).prop_map(|(seed, from, to)| Change::Splice(seed, from, to)),
    ]
}

fn apply(input: &mut Vec<u8>, change: &Change, seeds: &[Vec<u8>]) {
    let at = |index: &Index, len: usize| index.index(len + 1);
    let len = input.len();
    match change {
        Change::Flip(place, byte) if len > 0 => input[place.index(len)] ^= byte,
        Change::Flip(..) => {}
        Change::Cut(place) => input.truncate(at(place, len)),
        Change::Repeat(from, to) => {
            let (from, to) = (at(from, len), at(to, len));
            let part = input[from.min(to)..from.max(to)].to_vec();
            input.splice(to..to, part);
        }
        Change::Number(place, number) => {
            let from = at(place, len);
            input.splice(from..(from + 8).min(len), number.to_le_bytes());
        }
        Change::Insert(place, bytes) => {
            let from = at(place, len);
            input.splice(from..from, bytes.iter().copied());
        }
        Change::Splice(seed, from, to) => {
            let other = &seeds[seed.index(seeds.len())];
            input.truncate(at(from, len));
            input.extend_from_slice(&other[at(to, other.len())..]);
        }
    }
}

fn short(target: &Target, cases: u32) {
    let seeds = (target.seeds)();
    seeds.iter().for_each(|seed| (target.run)(seed));
    let mut runner =
        TestRunner::new(ProptestConfig { cases, max_shrink_iters: 2000, ..ProptestConfig::default() });
    let damaged = (any::<Index>(), proptest::collection::vec(change(), 1..6));
    let damaged = damaged.prop_map(|(seed, changes)| {
        let mut input = seeds[seed.index(seeds.len())].clone();
        changes.iter().for_each(|change| apply(&mut input, change, &seeds));
        input
    });
    let raw = proptest::collection::vec(any::<u8>(), 0..400);
    runner
        .run(&prop_oneof![3 => damaged, 1 => raw], |input| {
            (target.run)(&input);
            Ok(())
        })
        .unwrap_or_else(|error| panic!("{}: {error}", target.name));
}

fn named(name: &str) -> &'static Target {
    TARGETS.iter().find(|target| target.name == name).expect("a target")
}

macro_rules! short {
    ($($name:ident: $cases:literal,)*) => {
        $(#[test] fn $name() { short(named(stringify!($name)), $cases); })*

        #[test]
        fn every_target_is_here_and_under_cargo_fuzz() {
            let here = [$(stringify!($name)),*];
            let all: Vec<_> = TARGETS.iter().map(|target| target.name).collect();
            assert_eq!(here[..], all[..]);
            let manifest = include_str!("../../Cargo.toml");
            for name in all {
                assert!(manifest.contains(&format!("name = \"{name}\"")), "fuzz/Cargo.toml lacks {name}");
            }
        }
    };
}

short! {
    redo_decode: 20_000,
    redo_apply: 20_000,
    frames: 20_000,
    messages: 20_000,
    log_image: 10_000,
    log_damage: 3_000,
    checkpoint: 10_000,
    metadata_commands: 2_000,
    metadata_json: 10_000,
    pgwire: 20_000,
    btree: 500,
}
