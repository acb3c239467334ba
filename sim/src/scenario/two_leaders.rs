//! The metadata group has a new leader, and the old one has not noticed: for a while requests reach both. Only the one
//! with the quorum may answer, or a superseded writer would be told that it still holds the volume. Pins the mutant
//! `meta-without-quorum`.

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::SECOND;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "two-leaders",
    shows: "a metadata leader that lost its quorum answers nobody",
    catches: &[Mutant::MetaWithoutQuorum],
    profile: |_| (),
    steps: || {
        vec![
            Step::new(
                "the leader is replaced and does not know; the writer stands still",
                |w| w.acked_count() > 50,
                |w| {
                    w.depose_meta_leader(6 * SECOND);
                    w.pause_writer(3 * SECOND);
                    w.start_other_writer();
                    w.remember_acked();
                },
            ),
            Step::new("everybody asks the old leader", |w| w.openings() == 2, |w| w.all_ask_the_deposed()),
            Step::new("the other one goes on", |w| w.acked_since() > 500, |_| ()),
        ]
    },
};
