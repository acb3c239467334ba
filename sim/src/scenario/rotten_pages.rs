//! All page images of node 0 go bad, and nobody reads there: scrubbing must find them and get others from its peers. Pins
//! the mutant `scrub-sees-nothing`.

use sextant_redo::wire::Request;

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::SECOND;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "rotten-pages",
    shows: "page images that went bad are found by scrubbing and replaced by a peer's",
    catches: &[Mutant::ScrubBlind],
    profile: |profile| {
        profile.log_budget_files = 2;
        profile.pending_records_max = 100;
        profile.pages_per_pg = 8;
    },
    steps: || {
        vec![
            Step::new("the client rests", |w| w.acked_count() > 300, |w| w.stop_work()),
            Step::new(
                "a bit flips in every page image of node 0",
                |w| w.is_idle() && w.page_images(0) > 0,
                |w| {
                    w.lose_requests(Some(|node, request| {
                        node == 0 && matches!(request, Request::ReadPage { .. })
                    }));
                    w.rot_pages(0);
                    w.remember_now();
                },
            ),
            Step::new(
                "node 0 has good pages again",
                |w| w.since_remembered() > 5 * SECOND && w.has_good_pages(0),
                |w| w.lose_requests(None),
            ),
        ]
    },
};
