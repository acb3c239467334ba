//! The metadata service as the driver needs it: a seam, so that tests can stand in for it.

use sextant_meta::{Grant, MetaClient, MetaError, VolumeInfo};
use sextant_redo::{ClusterId, Geometry, MembershipEpoch, NodeId, PgId, Segments, VolumeEpoch, VolumeId};

use crate::{BoxFuture, VolumeError};

/// Who asks for the right to write.
#[derive(Debug, Clone)]
pub(crate) struct Instance {
    pub(crate) name: String,
    pub(crate) advertise: String,
    pub(crate) http: String,
}

type Answer<'a, T> = BoxFuture<'a, Result<T, MetaError>>;

pub(crate) trait Directory: Send + Sync + 'static {
    fn cluster(&self) -> Answer<'_, ClusterId>;
    /// The volume of that name, created when there is none.
    fn create_volume<'a>(
        &'a self,
        name: &'a str,
        geometry: Geometry,
        segments: Segments,
    ) -> Answer<'a, VolumeInfo>;
    fn volume<'a>(&'a self, name: &'a str) -> Answer<'a, VolumeInfo>;
    fn acquire<'a>(&'a self, volume: VolumeId, instance: &'a Instance) -> Answer<'a, Grant>;
    /// Milliseconds that the lease runs from now.
    fn renew<'a>(&'a self, volume: VolumeId, instance: &'a Instance, epoch: VolumeEpoch) -> Answer<'a, u64>;
    fn release<'a>(&'a self, volume: VolumeId, instance: &'a Instance, epoch: VolumeEpoch) -> Answer<'a, ()>;
    fn add_pg(&self, volume: VolumeId, epoch: VolumeEpoch, pg: PgId) -> Answer<'_, VolumeInfo>;
    fn mark_created(
        &self,
        volume: VolumeId,
        epoch: VolumeEpoch,
        pg: (PgId, MembershipEpoch),
        node: NodeId,
    ) -> Answer<'_, VolumeInfo>;
    /// Puts on record that a successor has everything durable.
    fn mark_hydrated(
        &self,
        volume: VolumeId,
        epoch: VolumeEpoch,
        pg: PgId,
        new: NodeId,
    ) -> Answer<'_, VolumeInfo>;
    /// Ends a replacement: the old member leaves.
    fn finish_replacement(
        &self,
        volume: VolumeId,
        pg: PgId,
        membership: MembershipEpoch,
        pair: (NodeId, NodeId),
    ) -> Answer<'_, VolumeInfo>;
}

impl Directory for MetaClient {
    fn cluster(&self) -> Answer<'_, ClusterId> {
        Box::pin(async { Ok(MetaClient::cluster(self).await?.cluster) })
    }

    fn create_volume<'a>(
        &'a self,
        name: &'a str,
        geometry: Geometry,
        segments: Segments,
    ) -> Answer<'a, VolumeInfo> {
        Box::pin(self.create_volume(name, geometry, segments))
    }

    fn volume<'a>(&'a self, name: &'a str) -> Answer<'a, VolumeInfo> {
        Box::pin(self.volume(name))
    }

    fn acquire<'a>(&'a self, volume: VolumeId, instance: &'a Instance) -> Answer<'a, Grant> {
        Box::pin(self.acquire_writer(volume, &instance.name, &instance.advertise, &instance.http))
    }

    fn renew<'a>(&'a self, volume: VolumeId, instance: &'a Instance, epoch: VolumeEpoch) -> Answer<'a, u64> {
        Box::pin(self.renew(volume, &instance.name, epoch))
    }

    fn release<'a>(&'a self, volume: VolumeId, instance: &'a Instance, epoch: VolumeEpoch) -> Answer<'a, ()> {
        Box::pin(self.release(volume, &instance.name, epoch))
    }

    fn add_pg(&self, volume: VolumeId, epoch: VolumeEpoch, pg: PgId) -> Answer<'_, VolumeInfo> {
        Box::pin(self.add_pg(volume, epoch, pg))
    }

    fn mark_created(
        &self,
        volume: VolumeId,
        epoch: VolumeEpoch,
        pg: (PgId, MembershipEpoch),
        node: NodeId,
    ) -> Answer<'_, VolumeInfo> {
        Box::pin(async move { self.mark_created(volume, epoch, pg, &[node]).await })
    }

    fn mark_hydrated(
        &self,
        volume: VolumeId,
        epoch: VolumeEpoch,
        pg: PgId,
        new: NodeId,
    ) -> Answer<'_, VolumeInfo> {
        Box::pin(self.mark_hydrated(volume, epoch, pg, new))
    }

    fn finish_replacement(
        &self,
        volume: VolumeId,
        pg: PgId,
        membership: MembershipEpoch,
        pair: (NodeId, NodeId),
    ) -> Answer<'_, VolumeInfo> {
        Box::pin(self.finish_replacement(volume, pg, membership, pair))
    }
}

/// The metadata service's error as the driver's caller sees it.
pub(crate) fn from_meta(error: &MetaError, ours: VolumeEpoch) -> VolumeError {
    match error {
        MetaError::Fenced { current } => VolumeError::Fenced { ours, current: *current },
        MetaError::VolumeDropped { id } => VolumeError::Dropped { volume: *id },
        MetaError::LeaseHeld { holder, remaining_ms } => {
            VolumeError::LeaseHeld { holder: holder.clone(), remaining_ms: *remaining_ms }
        }
        other => VolumeError::Meta(other.to_string()),
    }
}
