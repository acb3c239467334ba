//! Scenarios are clean without a mutant and catch the mutants they name.

use sextant_sim::mutant::Mutant;
use sextant_sim::play;
use sextant_sim::scenario::ALL;

#[test]
fn scenarios_are_clean() {
    for scenario in ALL {
        let found = play(scenario, None, false);
        assert!(found.failure.is_none(), "{}: {:?}", scenario.name, found.failure);
        assert!(
            found.stats.acked > 0 && found.stats.pages > 0,
            "{} did nothing: {}",
            scenario.name,
            found.stats
        );
    }
}

#[test]
fn scenarios_catch_what_they_name() {
    for scenario in ALL {
        for mutant in scenario.catches {
            let found = play(scenario, Some(*mutant), false);
            assert!(found.failure.is_some(), "{} survives {}", mutant.name(), scenario.name);
        }
    }
}

#[test]
fn a_scenario_is_one_run() {
    for scenario in ALL {
        let (a, b) = (play(scenario, None, false), play(scenario, None, true));
        assert_eq!((a.hash, a.stats), (b.hash, b.stats), "{}", scenario.name);
    }
}

/// Every mutant has a name of its own.
#[test]
fn mutants_have_names() {
    for mutant in Mutant::ALL {
        assert_eq!(mutant.name().parse(), Ok(*mutant));
    }
}
