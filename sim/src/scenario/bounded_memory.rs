//! Storage nodes have room for few records that are in no page, and a reader holds an old read point now and then, so that no
//! pages can be made. Log must wait at the nodes then and no memory be taken for it, and all must go on once the reader is
//! gone: the writer has to tell so by itself, for no batch of it is taken that could. Pins the mutants `take-all-log` and
//! `tell-nothing`.

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::MS;

/// Records that a node may know of that are in no page.
const ROOM: usize = 60;
/// Those, and a batch of each of two groups at most.
const BOUND: usize = 3 * ROOM;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "bounded-memory",
    shows: "log waits at a node that has no room for it, and goes on when pages can be made",
    catches: &[Mutant::TakeAllLog, Mutant::TellNothing],
    profile: |profile| {
        profile.pending_records_max = ROOM;
        profile.snapshots = true;
        profile.commit_gap = MS;
        // Batches are small because of that.
        profile.commits_waiting = 20;
    },
    steps: || {
        vec![
            Step::new("the nodes have been short of room", |w| w.acked_count() > 2_000, |_| ()),
            Step::new("they never took more than they may", |w| w.most_pending() <= BOUND, |_| ()),
        ]
    },
};
