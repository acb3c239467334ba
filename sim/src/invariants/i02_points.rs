//! I2, monotone points: VCL and VDL never regress inside an epoch, VDL is at most VCL and a consistency point; a commit
//! is acknowledged only when its LSN is at or below the VDL. A copy's SCL goes back only where a truncation list tells it
//! to. Source: P17 section 4.2.1, P18 section 2.3.
//!
//! On a live cluster: [`copy_advances`] over two answers of one copy to `Status`.

use sextant_redo::wire::SegmentState;
use sextant_redo::{Lsn, NodeId, VolumeEpoch};

use super::{Checked, check};
use crate::model::Model;

/// The points of one writer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Points {
    /// Volume complete LSN.
    pub vcl: Lsn,
    /// Volume durable LSN.
    pub vdl: Lsn,
}

/// The points have moved.
pub fn points_advance(model: &Model, epoch: VolumeEpoch, before: Points, now: Points) -> Checked {
    check("I2", now.vcl >= before.vcl && now.vdl >= before.vdl && now.vdl <= now.vcl, || {
        format!("the points of {epoch:?} went from {before:?} to {now:?}")
    })?;
    check("I2", model.is_consistency_point(now.vdl, epoch), || {
        format!("the VDL of {epoch:?} is {}, inside a mini-transaction or in a void range", now.vdl)
    })
}

/// A client hears that the commit at `cpl` is durable.
pub fn ack_below_vdl(epoch: VolumeEpoch, cpl: Lsn, points: Points) -> Checked {
    check("I2", cpl <= points.vdl, || format!("{epoch:?} acknowledged {cpl} at {points:?}"))
}

/// The copy on `node` was asked twice, and answered `before` first.
pub fn copy_advances(node: NodeId, before: &SegmentState, now: &SegmentState) -> Checked {
    let kept = now.epochs.volume >= before.epochs.volume
        && now.epochs.membership >= before.epochs.membership
        && now.vdl >= before.vdl;
    let truncated = now.truncations != before.truncations;
    let complete = truncated || now.scl >= before.scl && now.highest >= before.highest;
    check("I2", kept && complete && now.scl <= now.highest, || {
        format!("the copy on node {node} went back from {before:?} to {now:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::state;

    #[test]
    fn a_copy_goes_back_only_when_it_is_truncated() {
        let before = state(3, 100);
        assert_eq!(copy_advances(NodeId(1), &before, &state(3, 120)), Ok(()));
        assert!(copy_advances(NodeId(1), &before, &state(3, 90)).is_err());
        assert!(copy_advances(NodeId(1), &before, &state(2, 100)).is_err());
        let mut truncated = state(4, 90);
        let (from, to) = (Lsn(90), Lsn(500));
        truncated.truncations.push(sextant_redo::TruncationRange { epoch: VolumeEpoch(4), from, to });
        assert_eq!(copy_advances(NodeId(1), &before, &truncated), Ok(()));
    }
}
