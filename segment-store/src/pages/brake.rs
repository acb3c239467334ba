//! How long the foreground waits so that the background keeps up: the longer the closer memory is to its bound, or the further log
//! is over its own. So every sender is a little slower, and hardly any meets the bound at which log waits for room
//! ([`crate::inflow`]), which comes in bursts: none while the log for the next pages is read.
//!
//! Nobody measures how fast the background is: there is a place between the two ends at which as much log comes as goes.

use std::time::Duration;

use crate::node::Node;

use super::keeper::is_full;

/// How many times the log's budget is taken when there is no time to lose, and the foreground begins to wait.
const LOG_URGENT: f64 = 1.5;
/// How many times it is when the foreground waits as long as it ever does.
const LOG_END: f64 = 3.0;
/// The same of the records that memory has room for.
const MEMORY_URGENT: f64 = 0.75;
const MEMORY_END: f64 = 1.0;
/// How long a mebibyte of log waits at the end.
const PER_MIB: Duration = Duration::from_millis(60);
/// How long a group waits at most: somebody waits for an answer.
const MAX: Duration = Duration::from_millis(200);
/// Shorter waits are put together: timers are no finer.
const LEAST: Duration = Duration::from_millis(1);

/// How far something has come from where there is no time to lose to where the foreground waits longest: below 0 there is time.
fn pressure(now: f64, max: f64, from: f64, to: f64) -> f64 {
    (now / max.max(1.0) - from) / (to - from)
}

fn of_log(node: &Node) -> f64 {
    let log = node.log.borrow().bytes_used() as f64;
    pressure(log, node.options.log_budget_bytes as f64, LOG_URGENT, LOG_END)
}

fn of_memory(node: &Node) -> f64 {
    let pending = node.store.borrow().pending_records() as f64;
    pressure(pending, node.options.pending_records_max as f64, MEMORY_URGENT, MEMORY_END)
}

/// There is no time to lose.
pub(super) fn is_urgent(node: &Node) -> bool {
    of_log(node) > 0.0 || of_memory(node) > 0.0 || node.inflow.borrow().is_waited_for()
}

/// What the foreground is to wait for log that it has written.
#[derive(Debug, Default)]
pub(crate) struct Brake {
    owed: Duration,
}

impl Brake {
    /// A group of `bytes` was written: how long to wait now. Not at all where there is no space for images, and not for log
    /// that is kept for a reason that time alone mends.
    pub(crate) fn pause(&mut self, node: &Node, bytes: usize) -> Duration {
        let is_stuck = node.background.retry_at.get().is_some();
        let pressure = if is_full(node) {
            0.0
        } else if is_stuck {
            of_memory(node)
        } else {
            of_log(node).max(of_memory(node))
        };
        let mib = bytes as f64 / f64::from(1 << 20);
        self.owed = (self.owed + PER_MIB.mul_f64(pressure.clamp(0.0, 1.0) * mib)).min(MAX);
        if self.owed < LEAST { Duration::ZERO } else { self.owed }
    }

    /// It has waited so long.
    pub(crate) fn waited(&mut self, time: Duration) {
        self.owed = self.owed.saturating_sub(time);
    }
}
