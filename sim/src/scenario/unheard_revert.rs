//! An operator takes a replacement back in the very moment in which the writer has reported that the successor is up to
//! date, and the client rests. The writer asks to finish what is no longer under way, and is refused: it must look what the members are now. Pins
//! the find of seed 127 (`volume/src/driver/members.rs`: the refused step was repeated for ever) and the mutant
//! `repeat-a-refused-step`.

use sextant_redo::MembershipEpoch;

use super::{Scenario, Step};
use crate::mutant::Mutant;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "unheard-revert",
    shows: "a writer whose step of a replacement is refused looks what the members are now",
    catches: &[Mutant::RepeatStep],
    profile: |profile| profile.nodes_per_az = 3,
    steps: || {
        vec![
            Step::new("a replacement begins", |w| w.acked_count() > 50, |w| w.begin_replacement()),
            Step::new(
                "it is taken back",
                |w| w.is_hydrated(),
                |w| {
                    w.revert_replacement();
                    w.stop_work();
                },
            ),
            Step::new("all members have recorded that", |w| w.have_recorded(MembershipEpoch(3)), |_| ()),
        ]
    },
};
