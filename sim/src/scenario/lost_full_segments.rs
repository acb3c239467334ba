//! Of three full segments two are away, each in a zone of its own, while the volume is written with one of them and the three
//! tails. Then the zone of the third is lost with it, as the two come back. What was acknowledged meanwhile is in no page and
//! on no full segment that is there: tails must have kept it. Pins the mutant `tail-frees-early`.

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::profile::Profile;
use crate::schedule::{MS, SECOND};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "lost-full-segments",
    shows: "tails keep log until every full segment has it, and full segments that were away get it from them",
    catches: &[Mutant::TailFreesEarly],
    profile: small_log_with_tails,
    steps: || {
        vec![
            Step::new(
                "tails have given log up; the full segments 2 and 4 lose power",
                |w| w.has_given_up_log(1) && w.has_given_up_log(3),
                |w| {
                    w.power_off(&[2, 4]);
                    w.remember_acked();
                    w.remember_now();
                },
            ),
            Step::new(
                "2 and 4 come back as zone 0 is lost, and the writer with it",
                |w| w.acked_since() > 400 && w.since_remembered() > 8 * SECOND,
                |w| {
                    w.remember_ends(&[3]);
                    w.power_on();
                    w.power_off(&[0, 1]);
                    w.kill_writer();
                    w.remember_acked();
                },
            ),
            Step::new(
                "zone 0 is back",
                |w| w.acked_since() > 100 && w.has_reached(2) && w.has_reached(4),
                |w| w.power_on(),
            ),
        ]
    },
};

/// One group whose full segments are those of nodes 0, 2 and 4, on nodes that keep little log.
pub(super) fn small_log_with_tails(profile: &mut Profile) {
    profile.segments = sextant_redo::Segments::FullTail;
    profile.groups = 1;
    profile.log_file_bytes = 64 << 10;
    profile.log_budget_files = 2;
    profile.pending_records_max = 100;
    profile.pages_per_pg = 8;
    profile.mtr_pages = 6;
    profile.commit_gap = 2 * MS;
    profile.fault_time = 120 * SECOND;
}
