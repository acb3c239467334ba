//! Each model under so many schedules that all of them take some seconds. `SEXTANT_MODEL_SCHEDULES=100000` tries more.

use sextant_models::explore::explore;
use sextant_models::{cache, latches, trees};

#[test]
fn pins_and_evictions() {
    explore(20_000, cache::pins_and_evictions);
}

#[test]
fn one_frame_for_all() {
    explore(20_000, cache::one_frame_for_all);
}

#[test]
fn hints_against_evictions() {
    explore(10_000, cache::hints_against_evictions);
}

#[test]
fn fetches_that_meet() {
    explore(3_000, cache::fetches_that_meet);
}

#[test]
fn fetches_that_fail_or_are_dropped() {
    explore(3_000, cache::fetches_that_fail_or_are_dropped);
}

#[test]
fn no_change_is_lost() {
    explore(3_000, cache::no_change_is_lost);
}

#[test]
fn mini_transactions_are_seen_whole() {
    explore(3_000, latches::mini_transactions_are_seen_whole);
}

#[test]
fn latches_in_opposite_order() {
    explore(3_000, latches::latches_in_opposite_order);
}

#[test]
fn new_pages_against_fetches() {
    explore(3_000, latches::new_pages_against_fetches);
}

#[test]
fn splits_under_readers() {
    explore(1_000, trees::splits_under_readers);
}

#[test]
fn unlinked_leaves_under_readers() {
    explore(1_000, trees::unlinked_leaves_under_readers);
}

#[test]
fn puts_into_a_leaf_that_goes() {
    explore(1_000, trees::puts_into_a_leaf_that_goes);
}
