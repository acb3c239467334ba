//! A copy was away and its peers do not hear it, so the writer must copy log to it; the peer that is asked first cannot read
//! its disk. Another one must be asked. Pins the find of seeds 246 and 310 (`volume/src/driver/join.rs`: the same damaged
//! peer was asked for ever) and the mutant `ask-the-same-peer`.

use super::{Scenario, Step};
use crate::mutant::Mutant;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "failing-peer",
    shows: "a lagging copy whose peer cannot read its log turns to the next peer",
    catches: &[Mutant::SamePeer],
    profile: |profile| {
        profile.peers_silent = true;
        profile.retained_bytes = 0;
        profile.log_cache_bytes = 0;
    },
    steps: || {
        vec![
            Step::new(
                "node 5 is away",
                |w| w.acked_count() > 20,
                |w| {
                    w.power_off(&[5]);
                    w.remember_acked();
                },
            ),
            Step::new("the client rests", |w| w.acked_since() > 100, |w| w.stop_work()),
            Step::new(
                "node 0 reads nothing, node 5 is back",
                |w| w.is_idle(),
                |w| {
                    w.fail_reads(0);
                    w.power_on();
                    w.remember_ends(&[1]);
                },
            ),
            Step::new("node 5 is where node 1 was", |w| w.has_reached(5), |_| ()),
        ]
    },
};
