//! Three nodes start while the metadata service cannot be asked: they know of no volume, and keep their copies. Then the lease
//! lapses and the volume is dropped, while the writer, cut off from the metadata service, goes on appending and one node is
//! away. In the end nothing is left on any node, nor of the writer. Pins the mutant `drop-unnamed`.

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::SECOND;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "dropped-volume",
    shows: "a dropped volume leaves nothing behind, and only a dropped one does",
    catches: &[Mutant::DropUnnamed],
    profile: |profile| {
        profile.pending_records_max = 100;
        profile.fault_time = 60 * SECOND;
    },
    steps: || {
        vec![
            Step::new(
                "three nodes lose power, and nobody reaches the metadata service",
                |w| w.acked_count() > 200,
                |w| {
                    w.cut_meta_off();
                    w.power_off(&[0, 1, 2]);
                    w.power_on();
                    w.remember_now();
                },
            ),
            Step::new(
                "the volume is dropped while the writer appends and node 5 is away",
                |w| w.since_remembered() > 4 * SECOND && w.is_serving(),
                |w| {
                    w.power_off(&[5]);
                    w.remember_acked();
                    w.drop_volume();
                },
            ),
            Step::new(
                "the nodes hear of it",
                |w| w.is_dropped() && w.acked_since() > 20,
                |w| w.end_meta_cut(),
            ),
            Step::new(
                "node 5 is back",
                |w| (0..5).all(|node| w.has_freed(node)) && !w.has_writer(),
                |w| w.power_on(),
            ),
            Step::new("it finds out too", |w| w.has_freed(5), |_| ()),
        ]
    },
};
