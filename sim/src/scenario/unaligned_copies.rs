//! A batch reaches nodes 0 and 1. An opening that does not see them voids it, comes through, and its writer dies before it
//! writes anything. So for the next opening 0 and 1 are the most complete copies, by records that are void: it must give
//! them the newest list of ranges before it counts what they have. One that does not chooses records that are void, finds
//! nobody who has them once all know the ranges, and has to open again: caught by time. Pins the mutant `no-align`.

use sextant_redo::wire::Request;

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::SECOND;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "unaligned-copies",
    shows: "what an opening voided does not come back when nothing was written since",
    catches: &[Mutant::NoAlign],
    profile: |profile| {
        profile.fault_time = 5 * SECOND / 2;
        // They would tell each other what is void.
        profile.peers_silent = true;
    },
    steps: || {
        vec![
            Step::new(
                "batches reach nodes 0 and 1 only",
                |w| w.acked_count() > 50,
                |w| {
                    w.lose_requests(Some(|node, request| node > 1 && matches!(request, Request::Append(_))));
                    w.remember_ends(&[0, 1]);
                },
            ),
            Step::new(
                "the writer is killed, 0 and 1 lose power",
                |w| w.have_grown(),
                |w| {
                    w.kill_writer();
                    w.lose_requests(None);
                    w.power_off(&[0, 1]);
                },
            ),
            Step::new(
                "the next writer dies at once; 0 and 1 come back, 2 and 3 are not seen",
                |w| w.openings() == 2,
                |w| {
                    w.kill_writer();
                    w.power_on();
                    w.lose_requests(Some(|node, _| node == 2 || node == 3));
                },
            ),
            Step::new("the volume is open again", |w| w.openings() == 3, |w| w.lose_requests(None)),
        ]
    },
};
