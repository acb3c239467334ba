//! Runs a model under two schedulers: one that draws who goes on at every step, and one that gives threads priorities and
//! changes them at few drawn steps (PCT, Burckhardt and others 2010), which finds what needs few switches at the right
//! moments. Both draw from a fixed seed, so a run of so many schedules is always the same run.
//!
//! A schedule that fails is printed; `shuttle::replay` plays it.

use shuttle::scheduler::{PctScheduler, RandomScheduler, Scheduler};
use shuttle::{Config, MaxSteps, Runner, UngracefulShutdownConfig};

/// Steps that change who is first, in a schedule of the second scheduler.
const CHANGES: usize = 3;
/// A schedule with more steps does not come to its end.
const STEPS_MAX: usize = 300_000;
/// Steps copy pages on the stack.
const STACK_BYTES: usize = 256 << 10;
const SEED: u64 = 0x5e87_a217;

/// Schedules of each scheduler: `ordinary`, or as many as `SEXTANT_MODEL_SCHEDULES` says.
fn schedules(ordinary: usize) -> usize {
    let asked = std::env::var("SEXTANT_MODEL_SCHEDULES").ok();
    asked.map_or(ordinary, |text| text.parse().expect("SEXTANT_MODEL_SCHEDULES is a number"))
}

/// Plays `model` under so many schedules; panics when one of them fails.
pub fn explore(ordinary: usize, model: fn()) {
    let schedules = schedules(ordinary);
    run(RandomScheduler::new_from_seed(SEED, schedules), model);
    run(PctScheduler::new_from_seed(SEED, CHANGES, schedules), model);
}

fn run(scheduler: impl Scheduler + 'static, model: fn()) {
    let mut config = Config::new();
    config.stack_size = STACK_BYTES;
    config.max_steps = MaxSteps::FailAfter(STEPS_MAX);
    // What is dropped behind a panic takes locks, which a second panic would make an abort without a word.
    let mut at_panic = UngracefulShutdownConfig::default();
    at_panic.immediately_return_on_panic = true;
    config.ungraceful_shutdown_config = at_panic;
    Runner::new(scheduler, config).run(model);
}
