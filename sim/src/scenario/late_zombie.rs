//! A writer stands still with batches under way to every copy, another one opens the volume and commits, the first one
//! wakes up and goes on; nothing but its batches gets through. The door must be closed to it everywhere. Pins `no-epoch-check`.

use sextant_redo::wire::Request;

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::{MS, SECOND};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "late-zombie",
    shows: "batches of a writer that was superseded while it stood still are refused by every copy",
    catches: &[Mutant::NoEpochCheck],
    profile: |profile| profile.commit_gap = 2 * MS,
    steps: || {
        vec![
            Step::new(
                "the writer stands still, another starts",
                |w| w.acked_count() > 50,
                |w| {
                    w.pause_writer(3 * SECOND);
                    w.start_other_writer();
                    w.remember_now();
                    w.remember_acked();
                },
            ),
            Step::new(
                "the other one has committed",
                |w| w.openings() == 2 && w.acked_since() > 20,
                |w| {
                    w.cut_meta_off();
                    w.lose_requests(Some(|_, request| !matches!(request, Request::Append(_))));
                },
            ),
            Step::new(
                "the first one is awake",
                |w| w.since_remembered() > 3 * SECOND + 50 * MS,
                |w| {
                    w.lose_requests(None);
                    w.remember_acked();
                },
            ),
            Step::new("the other one goes on", |w| w.acked_since() > 50, |_| ()),
        ]
    },
};
