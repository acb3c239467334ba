//! I2, monotone points: VCL and VDL never regress inside an epoch, VDL is at most VCL and a consistency point; a commit
//! is acknowledged only when its LSN is at or below the VDL. Source: P17 section 4.2.1, P18 section 2.3.

use sextant_redo::{Lsn, VolumeEpoch};

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
