//! Real processes under fire: the run that `sextant-fire` makes, short.

use std::time::Duration;

use sextant_fire::{Limit, Wish};

use crate::cluster::{SEXTANT, turn};

/// Long enough for one fault of each of the opening's kinds on a busy machine.
const UNDER_FIRE: Duration = Duration::from_secs(25);

#[test]
fn a_bank_under_fire_loses_nothing() {
    let _turn = turn();
    let wish = Wish { sextant: SEXTANT.into(), limit: Limit::Time(UNDER_FIRE), seed: 1 };
    let report = sextant_fire::run(&wish).expect("a verdict");
    assert!(report.is_clean(), "{report}");
    assert!(report.verdicts[0].acked > 0 && report.kills + report.whole_kills > 0, "{report}");
    assert!(report.reads.snapshots > 0, "{report}");
}
