//! A metadata service in memory: one volume.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use sextant_meta::{Grant, Member, MetaError, PgInfo, Replacement, VolumeInfo, WriterInfo};
use sextant_redo::{
    AzId, ClusterId, Geometry, GeometryEpoch, MembershipEpoch, NodeId, PgId, SegmentKind, Segments,
    VolumeEpoch, VolumeId,
};

use super::node::{CLUSTER, VOLUME};
use crate::BoxFuture;
use crate::directory::{Directory, Instance};

const LEASE: Duration = Duration::from_millis(300);

struct Inner {
    addrs: Vec<SocketAddr>,
    volume: Option<VolumeInfo>,
    lease_until: Option<Instant>,
    away: bool,
    dropped: bool,
}

pub(crate) struct FakeDirectory(Mutex<Inner>);

impl FakeDirectory {
    pub(crate) fn new(addrs: Vec<SocketAddr>) -> FakeDirectory {
        FakeDirectory(Mutex::new(Inner {
            addrs,
            volume: None,
            lease_until: None,
            away: false,
            dropped: false,
        }))
    }

    /// While away, every call fails.
    pub(crate) fn set_away(&self, away: bool) {
        self.0.lock().away = away;
    }

    pub(crate) fn info(&self) -> VolumeInfo {
        self.0.lock().volume.clone().expect("created")
    }

    /// The volume is dropped, and another one made under its name, of which nobody asks anything.
    pub(crate) fn drop_volume(&self) {
        let mut inner = self.0.lock();
        inner.dropped = true;
        inner.volume.as_mut().expect("created").id = VolumeId(VOLUME.0 + 1);
    }

    /// A node answers at another address from now on.
    pub(crate) fn moved(&self, node: u64, addr: SocketAddr) {
        let mut inner = self.0.lock();
        let volume = inner.volume.as_mut().expect("created");
        let members = volume.pgs.iter_mut().flat_map(|pg| &mut pg.members);
        members.filter(|m| m.node == NodeId(node)).for_each(|m| m.addr = addr);
    }

    /// Begins to replace a member of group 0 by a spare node.
    pub(crate) fn begin(&self, old: u64, new: u64) {
        let mut inner = self.0.lock();
        let successor = inner.member(new as usize - 1);
        let group = &mut inner.volume.as_mut().expect("created").pgs[0];
        group.members.push(successor);
        let (old, new) = (NodeId(old), NodeId(new));
        group.replacements.push(Replacement { old, new, hydrated: false, automatic: false });
        group.membership.0 += 1;
    }

    /// Takes it back.
    pub(crate) fn revert(&self, old: u64, new: u64) {
        let mut inner = self.0.lock();
        let group = &mut inner.volume.as_mut().expect("created").pgs[0];
        group.replacements.retain(|r| (r.old, r.new) != (NodeId(old), NodeId(new)));
        group.members.retain(|m| m.node != NodeId(new));
        group.membership.0 += 1;
    }

    fn with<T: Send + 'static>(
        &self,
        act: impl FnOnce(&mut Inner) -> Result<T, MetaError>,
    ) -> BoxFuture<'_, Result<T, MetaError>> {
        let mut inner = self.0.lock();
        let answer = if inner.away {
            Err(MetaError::Unavailable { reason: "away".to_owned() })
        } else {
            act(&mut inner)
        };
        Box::pin(std::future::ready(answer))
    }
}

impl Inner {
    fn group(&self, pg: u32) -> PgInfo {
        PgInfo {
            pg: PgId(pg),
            membership: MembershipEpoch(1),
            members: (0..6).map(|at| self.member(at)).collect(),
            replacements: Vec::new(),
            former: Vec::new(),
        }
    }

    fn member(&self, at: usize) -> Member {
        let (node, az) = (NodeId(at as u64 + 1), AzId(at as u16 / 2));
        Member { node, az, addr: self.addrs[at], created: false, kind: SegmentKind::Full }
    }

    fn current(&mut self, epoch: VolumeEpoch) -> Result<&mut VolumeInfo, MetaError> {
        if self.dropped {
            return Err(MetaError::VolumeDropped { id: VOLUME });
        }
        let volume = self.volume.as_mut().expect("created");
        if volume.epoch == epoch { Ok(volume) } else { Err(MetaError::Fenced { current: volume.epoch }) }
    }
}

impl Directory for FakeDirectory {
    fn cluster(&self) -> BoxFuture<'_, Result<ClusterId, MetaError>> {
        self.with(|_| Ok(CLUSTER))
    }

    fn create_volume<'a>(
        &'a self,
        name: &'a str,
        geometry: Geometry,
        segments: Segments,
    ) -> BoxFuture<'a, Result<VolumeInfo, MetaError>> {
        self.with(|inner| {
            let first = inner.group(0);
            let volume = inner.volume.get_or_insert_with(|| VolumeInfo {
                id: VOLUME,
                name: name.to_owned(),
                geometry,
                segments,
                geometry_epoch: GeometryEpoch(1),
                epoch: VolumeEpoch(0),
                writer: None,
                pgs: vec![first],
            });
            Ok(volume.clone())
        })
    }

    fn volume<'a>(&'a self, _: &'a str) -> BoxFuture<'a, Result<VolumeInfo, MetaError>> {
        self.with(|inner| Ok(inner.volume.clone().expect("created")))
    }

    fn acquire<'a>(&'a self, _: VolumeId, instance: &'a Instance) -> BoxFuture<'a, Result<Grant, MetaError>> {
        self.with(|inner| {
            let volume = inner.volume.as_mut().expect("created");
            let left =
                inner.lease_until.map_or(Duration::ZERO, |t| t.saturating_duration_since(Instant::now()));
            if let Some(writer) = &volume.writer
                && writer.instance != instance.name
                && !left.is_zero()
            {
                let remaining_ms = left.as_millis() as u64;
                return Err(MetaError::LeaseHeld { holder: writer.instance.clone(), remaining_ms });
            }
            volume.epoch = VolumeEpoch(volume.epoch.0 + 1);
            volume.writer = Some(WriterInfo {
                instance: instance.name.clone(),
                advertise: instance.advertise.clone(),
                http: instance.http.clone(),
                epoch: volume.epoch,
            });
            inner.lease_until = Some(Instant::now() + LEASE);
            Ok(Grant { epoch: volume.epoch, lease_ms: LEASE.as_millis() as u64, volume: volume.clone() })
        })
    }

    fn renew<'a>(
        &'a self,
        _: VolumeId,
        _: &'a Instance,
        epoch: VolumeEpoch,
    ) -> BoxFuture<'a, Result<u64, MetaError>> {
        self.with(|inner| {
            inner.current(epoch)?;
            inner.lease_until = Some(Instant::now() + LEASE);
            Ok(LEASE.as_millis() as u64)
        })
    }

    fn release<'a>(
        &'a self,
        _: VolumeId,
        _: &'a Instance,
        epoch: VolumeEpoch,
    ) -> BoxFuture<'a, Result<(), MetaError>> {
        self.with(|inner| {
            inner.current(epoch)?.writer = None;
            inner.lease_until = None;
            Ok(())
        })
    }

    fn add_pg(
        &self,
        _: VolumeId,
        epoch: VolumeEpoch,
        pg: PgId,
    ) -> BoxFuture<'_, Result<VolumeInfo, MetaError>> {
        self.with(|inner| {
            let group = inner.group(pg.0);
            let volume = inner.current(epoch)?;
            if volume.pgs.len() == pg.0 as usize {
                volume.pgs.push(group);
                volume.geometry_epoch = GeometryEpoch(volume.geometry_epoch.0 + 1);
            }
            Ok(volume.clone())
        })
    }

    fn mark_created(
        &self,
        _: VolumeId,
        epoch: VolumeEpoch,
        (pg, _): (PgId, MembershipEpoch),
        node: NodeId,
    ) -> BoxFuture<'_, Result<VolumeInfo, MetaError>> {
        self.with(|inner| {
            let volume = inner.current(epoch)?;
            let members = volume.pgs[pg.0 as usize].members.iter_mut();
            members.filter(|m| m.node == node).for_each(|m| m.created = true);
            Ok(volume.clone())
        })
    }

    fn mark_hydrated(
        &self,
        _: VolumeId,
        epoch: VolumeEpoch,
        pg: PgId,
        new: NodeId,
    ) -> BoxFuture<'_, Result<VolumeInfo, MetaError>> {
        self.with(|inner| {
            let volume = inner.current(epoch)?;
            let pending = volume.pgs[pg.0 as usize].replacements.iter_mut();
            pending.filter(|r| r.new == new).for_each(|r| r.hydrated = true);
            Ok(volume.clone())
        })
    }

    fn finish_replacement(
        &self,
        _: VolumeId,
        pg: PgId,
        membership: MembershipEpoch,
        (old, new): (NodeId, NodeId),
    ) -> BoxFuture<'_, Result<VolumeInfo, MetaError>> {
        self.with(|inner| {
            let volume = inner.volume.as_mut().expect("created");
            let group = &mut volume.pgs[pg.0 as usize];
            if group.membership != membership {
                return Err(MetaError::StaleMembership { current: group.membership });
            }
            let pending = group.replacements.iter().find(|r| (r.old, r.new) == (old, new));
            assert!(pending.is_some_and(|r| r.hydrated), "finished although its successor lacks log");
            group.replacements.retain(|r| r.old != old);
            group.members.retain(|m| m.node != old);
            group.membership.0 += 1;
            Ok(volume.clone())
        })
    }
}
