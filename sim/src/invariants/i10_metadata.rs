//! I10, metadata: linearizable grants, and `apply` is pure and equal on all replicas. Source: P18 section 2.4 (volume
//! epoch), meta/src/state.rs.

use sextant_redo::VolumeEpoch;

use super::{Checked, check};

/// Epochs in the order in which they were granted.
pub fn epochs_only_grow(granted: &[VolumeEpoch]) -> Checked {
    check("I10", granted.is_sorted_by(|a, b| a < b), || {
        format!("epochs were granted in this order: {granted:?}")
    })
}

/// Two replicas have applied the same log.
pub fn replicas_are_equal(equal: bool) -> Checked {
    check("I10", equal, || "two replicas that applied the same log differ".to_owned())
}
