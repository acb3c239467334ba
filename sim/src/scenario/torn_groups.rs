//! Node 0 loses power in the middle of a log write, again and again. What is torn was never acknowledged: recovery must
//! drop it whole, and start. Pins the mutant `ignore-torn-group`.

use super::{Scenario, Step};
use crate::mutant::Mutant;
use crate::schedule::MS;

const TIMES: usize = 150;

pub(super) const SCENARIO: Scenario = Scenario {
    name: "torn-groups",
    shows: "a group that tore is dropped whole, and the node starts",
    catches: &[Mutant::IgnoreTornGroup],
    profile: |profile| {
        profile.sector = 512;
        profile.write_time = 3 * MS;
        profile.mtr_pages = 6;
        profile.commit_gap = 2 * MS;
    },
    steps: || {
        let off = || Step::new("node 0 loses power", |w| w.is_writing(0), |w| w.power_off(&[0]));
        let on = || Step::new("node 0 starts", |w| w.is_down(0), |w| w.power_on());
        (0..TIMES).flat_map(|_| [off(), on()]).collect()
    },
};
