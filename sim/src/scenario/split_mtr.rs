//! Mini-transactions over two groups, of which one hears nothing: the half that arrived is complete in its group and in
//! the volume up to the first record that is missing, and still nobody may be answered, nor may an opening keep the half.
//! Pins `ack-before-the-mtr-ends` and `vdl-inside-mtr`.

use sextant_redo::PgId;
use sextant_redo::wire::Request;

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::MS;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "split-mtr",
    shows: "half a mini-transaction is neither acknowledged nor kept",
    catches: &[Mutant::AckBeforeMtrEnds, Mutant::VdlInsideMtr],
    profile: |profile| profile.mtr_pages = 6,
    steps: || {
        vec![
            Step::new(
                "group 1 hears nothing",
                |w| w.acked_count() > 50 && w.writable_groups() == 2,
                |w| {
                    w.lose_requests(Some(|_, request| match request {
                        Request::Append(append) => append.segment.pg == PgId(1),
                        _ => false,
                    }));
                    w.remember_now();
                    w.remember_ends(&[0, 1, 2, 3]);
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
