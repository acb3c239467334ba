//! Volumes, their groups, their epochs and who may write.

use std::collections::BTreeSet;

use sextant_redo::{
    AzId, Geometry, GeometryEpoch, MembershipEpoch, NodeId, PgId, Segments, VolumeEpoch, VolumeId,
};

use super::nodes::check_name;
use super::placement::Need;
use super::{Applied, MetaState, PgMember, PgRecord, VolumeRecord, check_epoch, pg_index};
use crate::{Member, MetaError, PgInfo, Result, VolumeInfo, WriterInfo};

impl MetaState {
    pub(super) fn create_volume(
        &mut self,
        id: VolumeId,
        name: &str,
        (geometry, segments): (Geometry, Segments),
        alive: &BTreeSet<NodeId>,
    ) -> Result<Applied> {
        self.cluster()?;
        check_name("a volume's name", name)?;
        if let Some(known) = self.volume_named(name) {
            return self.volume_info(known).map(Applied::Volume);
        }
        if geometry.pages_per_pg == 0 {
            return Err(MetaError::refused("a protection group must hold at least one page"));
        }
        let members = self.place(segments, alive, Need::AllAlive)?;
        let volume = VolumeRecord {
            name: name.to_owned(),
            geometry,
            segments,
            geometry_epoch: GeometryEpoch(1),
            epoch: VolumeEpoch(0),
            writer: None,
            pgs: vec![PgRecord::new(members)],
        };
        self.volumes.insert(id, volume);
        self.volume_info(id).map(Applied::Volume)
    }

    /// The next epoch, if `expected` is still the newest. Loses to another grant with [`MetaError::Fenced`].
    pub(super) fn acquire(
        &mut self,
        id: VolumeId,
        expected: VolumeEpoch,
        writer: &WriterInfo,
    ) -> Result<Applied> {
        for (what, name) in
            [("instance", &writer.instance), ("advertise", &writer.advertise), ("http", &writer.http)]
        {
            check_name(what, name)?;
        }
        let volume = self.volume_mut(id)?;
        check_epoch(volume, expected)?;
        let next = expected
            .0
            .checked_add(1)
            .map(VolumeEpoch)
            .ok_or_else(|| MetaError::refused("the volume has used up its epochs"))?;
        volume.epoch = next;
        volume.writer = Some(WriterInfo { epoch: next, ..writer.clone() });
        self.volume_info(id).map(Applied::Volume)
    }

    pub(super) fn release(&mut self, id: VolumeId, instance: &str, epoch: VolumeEpoch) -> Result<Applied> {
        let volume = self.volume_mut(id)?;
        check_epoch(volume, epoch)?;
        match &volume.writer {
            Some(writer) if writer.instance != instance => Err(MetaError::Fenced { current: volume.epoch }),
            _ => {
                volume.writer = None;
                Ok(Applied::Done)
            }
        }
    }

    pub(super) fn add_pg(
        &mut self,
        id: VolumeId,
        epoch: VolumeEpoch,
        pg: PgId,
        alive: &BTreeSet<NodeId>,
    ) -> Result<Applied> {
        let volume = self.volume(id)?;
        check_epoch(volume, epoch)?;
        let have = volume.pgs.len();
        if pg_index(pg) > have {
            return Err(MetaError::refused(format!(
                "protection groups are added in order: the volume has {have}, so {pg} cannot be the next"
            )));
        }
        if pg_index(pg) == have {
            let members = self.place(volume.segments, alive, Need::WriteQuorumAlive)?;
            let volume = self.volume_mut(id)?;
            volume.pgs.push(PgRecord::new(members));
            volume.geometry_epoch.0 += 1;
        }
        self.volume_info(id).map(Applied::Volume)
    }

    pub(super) fn mark_created(
        &mut self,
        (id, pg): (VolumeId, PgId),
        epoch: VolumeEpoch,
        membership: Option<MembershipEpoch>,
        nodes: &[NodeId],
    ) -> Result<Applied> {
        check_epoch(self.volume(id)?, epoch)?;
        let group = self.group_mut((id, pg))?;
        let is_of_now = |member: &PgMember| membership.is_none_or(|told| told >= member.since);
        let current = group.membership;
        if group.members.iter().any(|member| nodes.contains(&member.node) && !is_of_now(member)) {
            return Err(MetaError::StaleMembership { current });
        }
        let stranger = nodes.iter().find(|node| group.members.iter().all(|member| member.node != **node));
        if let Some(node) = stranger {
            return Err(MetaError::refused(format!("node {node} is no member of protection group {pg}")));
        }
        for member in &mut group.members {
            member.created |= nodes.contains(&member.node);
        }
        self.volume_info(id).map(Applied::Volume)
    }

    /// A volume as clients see it.
    pub fn volume_info(&self, id: VolumeId) -> Result<VolumeInfo> {
        let volume = self.volume(id)?;
        let pgs = (0..).map(PgId).zip(&volume.pgs).map(|(pg, record)| self.pg_info(pg, record));
        Ok(VolumeInfo {
            id,
            name: volume.name.clone(),
            geometry: volume.geometry,
            segments: volume.segments,
            geometry_epoch: volume.geometry_epoch,
            epoch: volume.epoch,
            writer: volume.writer.clone(),
            pgs: pgs.collect::<Result<_>>()?,
        })
    }

    fn pg_info(&self, pg: PgId, record: &PgRecord) -> Result<PgInfo> {
        let mut members = Vec::with_capacity(record.members.len());
        for member in &record.members {
            let node = self.nodes.get(&member.node).ok_or(MetaError::UnknownNode { node: member.node })?;
            members.push(Member {
                node: member.node,
                az: AzId(node.az.0),
                addr: node.addr,
                created: member.created,
                kind: member.kind,
            });
        }
        let replacements = record.replacements.clone();
        let former = record.former.iter().copied().collect();
        Ok(PgInfo { pg, membership: record.membership, members, replacements, former })
    }
}
