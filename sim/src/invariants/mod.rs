//! What must hold, one file each: the statement, where it comes from, and the check. Checks take plain views: what a
//! storage node answers to `Status`, what the metadata service says of a volume, a page's bytes. Those that need nothing
//! else can be called on a live cluster as well:
//!
//! | check | over |
//! | --- | --- |
//! | [`i01_durability::nothing_durable_is_rare`] | the copies of a group, after the writer told its VDL |
//! | [`i02_points::copy_advances`] | two answers of one copy, in order |
//! | [`i03_fencing::copies_know_one_opening`] | the copies of a group, and the epoch granted |
//! | [`i05_convergence::copy_has_caught_up`] | a copy, a while after another one was asked |
//! | [`i05_convergence::copies_are_equal`], [`i05_convergence::pages_are_equal`] | the copies of a group at rest |
//! | [`i06_no_lie::page_is_sealed`] | a page that was served |
//! | [`i08_membership::is_sound`], [`i08_membership::step_is_sound`], [`i08_membership::copy_is_not_ahead`] | a group's members, now and one step before |
//! | [`i09_garbage::tails_spare_full_segments`] | the copies of a group, the full ones asked after the tails |
//! | [`i10_metadata::is_linearizable`] | requests to the metadata service with their times |

pub mod i01_durability;
pub mod i02_points;
pub mod i03_fencing;
pub mod i04_page_truth;
pub mod i05_convergence;
pub mod i06_no_lie;
pub mod i07_order;
pub mod i08_membership;
pub mod i09_garbage;
pub mod i10_metadata;
pub mod i11_liveness;

/// An invariant that does not hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Violation {
    /// I1 to I11, or "panic".
    pub invariant: &'static str,
    /// What was seen.
    pub what: String,
}

impl std::fmt::Display for Violation {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.invariant, self.what)
    }
}

/// A check's answer.
pub type Checked = Result<(), Violation>;

/// The check of `invariant`: `what` tells what was seen when `holds` is false.
pub(crate) fn check(invariant: &'static str, holds: bool, what: impl FnOnce() -> String) -> Checked {
    if holds { Ok(()) } else { Err(Violation { invariant, what: what() }) }
}

#[cfg(test)]
pub(crate) mod tests {
    use sextant_redo::wire::{Epochs, SegmentState};
    use sextant_redo::{Lsn, MembershipEpoch, PgId, SegmentId, VolumeEpoch, VolumeId};

    /// A copy of a group that is complete to `scl`.
    pub(crate) fn state(epoch: u64, scl: u64) -> SegmentState {
        SegmentState {
            segment: SegmentId { volume: VolumeId(1), pg: PgId(0) },
            epochs: Epochs { volume: VolumeEpoch(epoch), membership: MembershipEpoch(1) },
            scl: Lsn(scl),
            highest: Lsn(scl),
            vdl: Lsn::ZERO,
            log_start: Lsn::ZERO,
            truncations: Vec::new(),
        }
    }
}
