//! The metadata leader applies a grant and dies before it answers. The next leader waits a lease out that it knows nothing
//! about; the writer asks again and is granted a later epoch. The epoch in between has no writer and no opening, and does
//! no harm. Pins `lease-instead-of-epoch`.

use super::{Scenario, Step};
use crate::mutant::Mutant;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "lost-grant",
    shows: "a grant whose answer got lost is given again under a later epoch",
    catches: &[Mutant::LeaseInsteadOfEpoch],
    profile: |_| (),
    steps: || {
        vec![
            Step::new(
                "the writer is killed",
                |w| w.acked_count() > 50,
                |w| {
                    w.lose_the_next_grant();
                    w.kill_writer();
                },
            ),
            Step::new("the answer of a grant got lost", |w| w.grant_was_lost(), |w| w.change_meta_leader()),
            Step::new("the volume is open again", |w| w.openings() == 2, |w| w.remember_acked()),
            Step::new("it is written", |w| w.acked_since() > 20, |_| ()),
        ]
    },
};
