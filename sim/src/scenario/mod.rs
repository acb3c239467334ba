//! Scripted runs: a fixed, quiet world in which given faults strike at given moments of the protocol. For what random
//! seeds meet too rarely, and for every bug that was found.
//!
//! A scenario is a profile and steps. A step waits for its moment, acts, and makes room for the next; when all are done,
//! the run goes on like a seed's: everything is healed, commits, converges and is compared. A script that does not come
//! to its end shows nothing, so that is a failure of its own.

mod allocation_limit;
mod bounded_memory;
mod dropped_volume;
mod dying_openings;
mod failing_peer;
mod late_zombie;
mod lost_full_segments;
mod lost_grant;
mod merged_ranges;
mod rotten_pages;
mod split_mtr;
mod stranded_copy;
mod stranded_tail;
mod torn_groups;
mod two_leaders;
mod two_of_six;
mod unaligned_copies;
mod unheard_revert;
mod vdl_of_a_lost_batch;

use crate::mutant::Mutant;
use crate::profile::Profile;
use crate::world::World;

/// See the module.
pub struct Scenario {
    /// Its name on the command line.
    pub name: &'static str,
    /// What it shows.
    pub shows: &'static str,
    /// Bugs put back that it must catch.
    pub catches: &'static [Mutant],
    /// Changes the quiet profile.
    pub(crate) profile: fn(&mut Profile),
    /// What happens, in order.
    pub(crate) steps: fn() -> Vec<Step>,
}

/// See the module.
pub(crate) struct Step {
    /// What it does, for the trace.
    pub(crate) what: &'static str,
    /// Its moment.
    pub(crate) when: fn(&World) -> bool,
    /// What happens then.
    pub(crate) act: fn(&mut World),
}

impl Step {
    pub(crate) fn new(what: &'static str, when: fn(&World) -> bool, act: fn(&mut World)) -> Step {
        Step { what, when, act }
    }
}

/// All of them.
pub const ALL: &[&Scenario] = &[
    &allocation_limit::SCENARIO,
    &bounded_memory::SCENARIO,
    &dropped_volume::SCENARIO,
    &dying_openings::SCENARIO,
    &failing_peer::SCENARIO,
    &late_zombie::SCENARIO,
    &lost_full_segments::SCENARIO,
    &lost_grant::SCENARIO,
    &merged_ranges::SCENARIO,
    &rotten_pages::SCENARIO,
    &split_mtr::SCENARIO,
    &stranded_copy::SCENARIO,
    &stranded_tail::SCENARIO,
    &torn_groups::SCENARIO,
    &two_leaders::SCENARIO,
    &two_of_six::SCENARIO,
    &unaligned_copies::SCENARIO,
    &unheard_revert::SCENARIO,
    &vdl_of_a_lost_batch::SCENARIO,
];

/// The scenario of that name.
#[must_use]
pub fn named(name: &str) -> Option<&'static Scenario> {
    ALL.iter().find(|scenario| scenario.name == name).copied()
}
