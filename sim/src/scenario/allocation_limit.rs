//! The writer goes on logging while not one copy answers. It must stop at VDL + LAL: the next opening voids that much,
//! and a batch above its range that comes late would be taken for live. Pins the mutant `no-allocation-limit`.

use sextant_redo::wire::Request;

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::{MS, SECOND};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "allocation-limit",
    shows: "a writer that hears nothing stops logging at VDL + LAL",
    catches: &[Mutant::NoAllocationLimit],
    profile: |profile| {
        profile.lal = 4 << 10;
        profile.commits_waiting = 300;
        profile.commit_gap = 2 * MS;
    },
    steps: || {
        vec![
            Step::new(
                "no batch arrives any more",
                |w| w.acked_count() > 50,
                |w| {
                    w.lose_requests(Some(|_, request| matches!(request, Request::Append(_))));
                    w.remember_now();
                },
            ),
            Step::new(
                "the writer is killed",
                |w| w.since_remembered() > SECOND,
                |w| {
                    w.lose_requests(None);
                    w.kill_writer();
                },
            ),
            Step::new("the volume is open again", |w| w.openings() == 2, |_| ()),
        ]
    },
};
