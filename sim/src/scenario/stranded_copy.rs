//! Node 5 is away for longer than the others keep log, and no writer reaches it when it is back: it must take a copy of
//! pages from its peers, then the log above it, while the volume is written to. Pins the mutant `copy-overwrites`.

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::{MS, SECOND};

pub(super) const SCENARIO: Scenario = Scenario {
    name: "stranded-copy",
    shows: "a copy that no peer's log reaches gets pages from its peers, without a writer",
    catches: &[Mutant::CopyOverwrites],
    profile: |profile| {
        profile.log_file_bytes = 64 << 10;
        profile.log_budget_files = 2;
        profile.pending_records_max = 100;
        profile.pages_per_pg = 8;
        profile.mtr_pages = 6;
        profile.commit_gap = 2 * MS;
        profile.fault_time = 60 * SECOND;
    },
    steps: || {
        vec![
            Step::new("node 5 is away", |w| w.acked_count() > 20, |w| w.power_off(&[5])),
            Step::new(
                "it is back, and hears no writer",
                |w| w.is_stranded(5),
                |w| {
                    w.lose_requests(Some(|node, _| node == 5));
                    w.power_on();
                    w.remember_ends(&[1]);
                },
            ),
            Step::new("it is where node 1 was", |w| w.has_reached(5), |w| w.lose_requests(None)),
        ]
    },
};
