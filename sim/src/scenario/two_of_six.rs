//! A batch reaches two of six copies; the writer is killed; both copies are away while the next writer opens the volume,
//! finds the batch nowhere and writes on. When they come back, what they hold is void and must never be seen. Pins
//! the mutant `no-truncation`.

use sextant_redo::wire::Request;

use super::{Scenario, Step};
use crate::mutant::Mutant;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "two-of-six",
    shows: "a batch that two copies had and the next opening did not find stays void",
    catches: &[Mutant::NoTruncation],
    profile: |_| (),
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
                    w.remember_acked();
                },
            ),
            Step::new("0 and 1 come back", |w| w.openings() == 2 && w.acked_since() > 50, |w| w.power_on()),
            Step::new("the writer is killed again", |w| w.acked_since() > 100, |w| w.kill_writer()),
            Step::new("the volume is open again", |w| w.openings() == 3, |_| ()),
        ]
    },
};
