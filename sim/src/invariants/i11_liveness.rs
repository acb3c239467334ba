//! I11, liveness: after healing, commits go on and copies converge within the deadlines; queues are bounded throughout.
//! Source: design/testing.md.

use super::{Checked, check};
use crate::schedule::{SECOND, Time};

/// From healing to the first new commit.
pub const COMMIT_DEADLINE: Time = 5 * SECOND;
/// From healing to equal copies.
pub const CONVERGE_DEADLINE: Time = 60 * SECOND;
/// Requests that may wait at a node, or at a writer.
pub const QUEUE_MAX: usize = 5_000;

/// Healing was so long ago; `done` tells whether it was reached.
pub fn in_time(what: &str, done: bool, since: Time, deadline: Time) -> Checked {
    check("I11", done || since <= deadline, || {
        format!("{what}: not reached {} ms after healing", since / 1000)
    })
}

/// A node has ended itself because of `why`, which no fault explains.
pub fn nodes_run(node: usize, why: Option<&String>) -> Checked {
    check("I11", why.is_none(), || format!("node {node} has ended itself: {why:?}"))
}

/// So much waits somewhere.
pub fn queues_are_bounded(whose: &str, length: usize) -> Checked {
    check("I11", length <= QUEUE_MAX, || format!("{length} requests wait at {whose}"))
}
