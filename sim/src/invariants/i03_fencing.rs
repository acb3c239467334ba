//! I3, fencing: one writing epoch per volume; nothing in a truncated range is ever visible. Source: P18 section 2.4,
//! "changes the locks on the door". That nothing void is visible is seen by every page read (I4).
//!
//! On a live cluster: [`copies_know_one_opening`] over the answers of a group's copies to `Status`.

use sextant_redo::wire::SegmentState;
use sextant_redo::{Lsn, NodeId, VolumeEpoch};

use super::{Checked, check};
use crate::model::Model;

/// A writer of `epoch` acknowledges `cpl`: no later opening has declared it void.
pub fn ack_is_not_void(model: &Model, epoch: VolumeEpoch, cpl: Lsn) -> Checked {
    let voided = model.openings.iter().find(|o| o.epoch > epoch && cpl > o.vdl);
    check("I3", voided.is_none(), || format!("{epoch:?} acknowledged {cpl}, which is void since {voided:?}"))
}

/// A writer of `epoch` has allocated LSNs from `first` to `cpl`: above its own truncation range, and inside the range of
/// every later opening.
pub fn allocation_is_disjoint(model: &Model, epoch: VolumeEpoch, first: Lsn, cpl: Lsn) -> Checked {
    let wrong = model.openings.iter().find(|o| if o.epoch <= epoch { first <= o.base } else { cpl > o.base });
    check("I3", wrong.is_none(), || {
        format!("{epoch:?} allocated {first} to {cpl}, which another epoch may use too: {wrong:?}")
    })
}

/// An opening came through whose range ends at `base`: nothing older lies above it.
pub fn range_covers_all(model: &Model, epoch: VolumeEpoch, base: Lsn) -> Checked {
    let above = model.commits.range(Lsn(base.0 + 1)..).find(|(_, commit)| commit.epoch < epoch);
    check("I3", above.is_none(), || {
        format!(
            "the truncation range of {epoch:?} ends at {base}, but an older writer has allocated {above:?}"
        )
    })
}

/// The copies of a group, asked at about the same time; afterwards the metadata service said that it had granted epochs
/// up to `granted`. None is ahead of that, and two that know the range of one opening know one list.
pub fn copies_know_one_opening(granted: VolumeEpoch, copies: &[(NodeId, SegmentState)]) -> Checked {
    for (node, copy) in copies {
        let epochs = || copy.truncations.iter().map(|range| range.epoch);
        let known = copy.epochs.volume <= granted && epochs().all(|epoch| epoch <= copy.epochs.volume);
        let ordered = epochs().is_sorted_by(|a, b| a < b) && copy.truncations.iter().all(|r| r.from <= r.to);
        check("I3", known && ordered, || {
            format!(
                "the copy on node {node} is of an opening that nobody was granted ({granted:?}): {copy:?}"
            )
        })?;
    }
    let last = |copy: &SegmentState| copy.truncations.last().map(|range| range.epoch);
    for (n, (node, copy)) in copies.iter().enumerate() {
        let other = copies[..n]
            .iter()
            .find(|(_, other)| last(other) == last(copy) && other.truncations != copy.truncations);
        check("I3", other.is_none(), || {
            format!("one opening truncated in two ways: node {node} has {copy:?}, and there is {other:?}")
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use sextant_redo::TruncationRange;

    use super::*;
    use crate::invariants::tests::state;

    #[test]
    fn one_opening_has_one_list() {
        let with = |to: u64| {
            let mut copy = state(3, 100);
            let range = TruncationRange { epoch: VolumeEpoch(3), from: Lsn(100), to: Lsn(to) };
            copy.truncations.push(range);
            copy
        };
        let copies = [(NodeId(1), with(200)), (NodeId(2), with(200)), (NodeId(3), state(2, 90))];
        assert_eq!(copies_know_one_opening(VolumeEpoch(3), &copies), Ok(()));
        assert!(copies_know_one_opening(VolumeEpoch(2), &copies).is_err());
        let copies = [(NodeId(1), with(200)), (NodeId(2), with(300))];
        assert!(copies_know_one_opening(VolumeEpoch(3), &copies).is_err());
    }
}
