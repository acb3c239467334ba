//! I3, fencing: one writing epoch per volume; nothing in a truncated range is ever visible. Source: P18 section 2.4,
//! "changes the locks on the door". That nothing void is visible is seen by every page read (I4).

use sextant_redo::{Lsn, VolumeEpoch};

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
