//! Batches of group 0 are lost on all links while those of group 1 arrive; then the writer is killed. Batches may carry
//! only a VDL that the writer knows to be durable: an opening starts from the highest VDL that any copy heard of, so one
//! that runs ahead hides the hole. Pins the mutant `vdl-ahead`.

use sextant_redo::PgId;
use sextant_redo::wire::Request;

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::MS;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "vdl-of-a-lost-batch",
    shows: "the VDL in a batch is one that was durable before it, so a hole in another group is seen",
    catches: &[Mutant::VdlAhead],
    profile: |_| (),
    steps: || {
        vec![
            Step::new(
                "group 0 hears nothing",
                |w| w.acked_count() > 50 && w.writable_groups() == 2,
                |w| {
                    w.lose_requests(Some(|_, request| match request {
                        Request::Append(append) => append.segment.pg == PgId(0),
                        _ => false,
                    }));
                    w.remember_now();
                    w.remember_ends(&[0, 1, 2, 3, 4, 5]);
                },
            ),
            Step::new(
                "the writer is killed",
                |w| w.have_grown() && w.since_remembered() > 200 * MS,
                |w| {
                    w.kill_writer();
                    w.lose_requests(None);
                },
            ),
            Step::new("the volume is open again", |w| w.openings() == 2, |_| ()),
        ]
    },
};
