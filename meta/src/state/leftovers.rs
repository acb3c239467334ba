//! What nobody needs any more: volumes that are dropped, and copies on nodes that left a group. The nodes that hold the copies
//! find out by themselves, whenever they ask, and free them.
//!
//! What must hold:
//! - a volume is dropped by who decided so on its newest epoch: a grant that came in between is not overlooked;
//! - a node is taken off a group's former members only when it says so under the group's membership epoch of now. It left
//!   under a lower one, so what it says is about the copy from then, and not about one that it was given since.

use sextant_redo::{MembershipEpoch, NodeId, PgId, VolumeEpoch, VolumeId};

use super::{Applied, MetaState, check_epoch};
use crate::Result;

impl MetaState {
    pub(super) fn drop_volume(&mut self, id: VolumeId, expected: VolumeEpoch) -> Result<Applied> {
        if !self.dropped.contains(&id) {
            check_epoch(self.volume(id)?, expected)?;
            self.volumes.remove(&id);
            self.dropped.insert(id);
        }
        Ok(Applied::Done)
    }

    pub(super) fn copy_gone(
        &mut self,
        at: (VolumeId, PgId),
        membership: MembershipEpoch,
        node: NodeId,
    ) -> Result<Applied> {
        let group = self.group_mut(at)?;
        if group.former.contains(&node) {
            group.check_membership(membership)?;
            group.former.remove(&node);
        }
        Ok(Applied::Done)
    }
}
