//! A batch reaches nodes 0 and 1. The first opening does not see them, finds the batch nowhere, tells node 2 alone that
//! it is void, and dies. The second opening sees 0 and 1, not 2: it keeps the batch and makes it durable. So the range on
//! node 2 belongs to an opening that never came through, and must go: a list replaces, it is not added. Pins the mutant
//! `merge-ranges`.

use sextant_redo::VolumeEpoch;
use sextant_redo::wire::Request;

use super::{Scenario, Step};
use crate::mutant::Mutant;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "merged-ranges",
    shows: "a copy forgets the range of an opening that never came through",
    catches: &[Mutant::MergeRanges],
    profile: |profile| profile.groups = 1,
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
                "the writer is killed; 0 and 1 are not seen, truncations reach 2",
                |w| w.have_grown(),
                |w| {
                    w.kill_writer();
                    w.lose_requests(Some(|node, request| {
                        node < 2 || node > 2 && matches!(request, Request::Truncate { .. })
                    }));
                },
            ),
            Step::new(
                "the opening dies; 2 is not seen",
                |w| w.knows_range_of(2, VolumeEpoch(2)),
                |w| {
                    w.kill_writer();
                    w.lose_requests(Some(|node, _| node == 2));
                    w.remember_acked();
                },
            ),
            Step::new(
                "2 is seen again",
                |w| w.openings() == 2 && w.acked_since() > 20,
                |w| w.lose_requests(None),
            ),
        ]
    },
};
