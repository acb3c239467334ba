//! Batches reach the copies unevenly, then one opening after the other dies, each a few answers later than the one
//! before. Dying at any point of an opening changes nothing: what was acknowledged is found by the last one. Pins
//! the mutant `chain-from-a-lagging-copy`.

use sextant_redo::wire::Request;

use super::{Scenario, Step};
use crate::mutant::Mutant;

const OPENINGS: usize = 12;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dying-openings",
    shows: "an opening may die after any answer, and the next one finds everything acknowledged",
    catches: &[Mutant::LaggingChain],
    profile: |profile| profile.fault_time *= 2,
    steps: || {
        let mut steps = vec![
            Step::new(
                "nodes 0 and 1 hear nothing",
                |w| w.acked_count() > 50,
                |w| {
                    w.lose_requests(Some(|node, request| node < 2 && matches!(request, Request::Append(_))));
                    w.remember_acked();
                },
            ),
            Step::new(
                "the writer is killed",
                |w| w.acked_since() > 50,
                |w| {
                    w.lose_requests(None);
                    w.kill_writer();
                    w.kill_openings_later_and_later();
                },
            ),
        ];
        let again = || {
            Step::new(
                "the next opening dies later",
                |w| w.opening_died() || w.is_serving(),
                |w| {
                    w.kill_writer();
                    w.kill_openings_later_and_later();
                },
            )
        };
        steps.extend((1..OPENINGS).map(|_| again()));
        steps.push(Step::new(
            "the last one may come through",
            |w| w.opening_died() || w.is_serving(),
            |w| {
                w.spare_openings();
            },
        ));
        steps.push(Step::new("the volume is open again", |w| w.is_serving(), |_| ()));
        steps
    },
};
