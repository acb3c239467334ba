//! The tail on node 3 is away for longer than anybody keeps log, and no writer reaches it when it is back: there are no pages
//! for it to copy, so it must begin where the full segments have the rest. Before that one full segment is away as well, and
//! as long as it is the tail must not begin: nobody knows what that one has.

use super::lost_full_segments::small_log_with_tails;
use super::{Scenario, Step};
use crate::schedule::SECOND;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "stranded-tail",
    shows: "a tail that no peer's log reaches begins where every full segment has what lies in front",
    catches: &[],
    profile: small_log_with_tails,
    steps: || {
        vec![
            Step::new("node 3 is away", |w| w.acked_count() > 20, |w| w.power_off(&[3])),
            Step::new(
                "it is back and hears no writer; the full segment 4 is away",
                |w| w.is_stranded(3) && w.has_given_up_log(1),
                |w| {
                    w.lose_requests(Some(|node, _| node == 3));
                    w.power_on();
                    w.power_off(&[4]);
                    w.remember_now();
                },
            ),
            Step::new(
                "it has not begun; 4 is back",
                |w| w.since_remembered() > 5 * SECOND && w.has_all_log(3) && w.is_stranded(3),
                |w| {
                    w.power_on();
                    w.remember_ends(&[1]);
                },
            ),
            Step::new(
                "it is where node 1 was",
                |w| w.has_reached(3) && w.has_given_up_log(3),
                |w| w.lose_requests(None),
            ),
        ]
    },
};
