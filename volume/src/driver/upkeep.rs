//! What runs beside the data path: the lease, nodes that say nothing, the state for /health, and growing by protection
//! groups.

use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sextant_meta::MetaError;
use sextant_redo::wire::Request;
use sextant_redo::{Lsn, PgId, SegmentId, VolumeEpoch, frame};
use tokio::time::Instant;

use super::Driver;
use super::state::{Core, Outgoing};
use crate::VolumeError;
use crate::directory::from_meta;
use crate::metrics::METRICS;
use crate::recovery::Place;
use crate::status::{GroupStatus, MemberStatus, NodeStatus};
use crate::tracker::Tracker;

/// Pause before the metadata service is asked again.
const PAUSE: Duration = Duration::from_millis(200);

impl Driver {
    /// Renews the lease at a third of its length. That the metadata service is away stops nobody: safety is the epoch's,
    /// and storage still accepts this writer. That the epoch is over, or the volume dropped, does.
    pub(crate) async fn keep_lease(self: Rc<Self>, mut lease_ms: u64) {
        loop {
            tokio::time::sleep(Duration::from_millis((lease_ms / 3).max(10))).await;
            let setup = &self.setup;
            match setup.directory.renew(setup.volume, &setup.instance, setup.epoch).await {
                Ok(granted) => lease_ms = granted,
                Err(error @ (MetaError::Fenced { .. } | MetaError::VolumeDropped { .. })) => {
                    self.lose(from_meta(&error, setup.epoch));
                    return;
                }
                Err(error) => {
                    tracing::warn!(%error, "the lease could not be renewed; storage still accepts this writer")
                }
            }
        }
    }

    /// Every so often: fills holes, tells how far the volume is durable, breaks connections on which answers are due but
    /// nothing comes, and publishes the state.
    pub(crate) fn tick(self: &Rc<Self>, check_stalls: bool) {
        let mut core = self.core.borrow_mut();
        let lagging = core.fill_holes();
        if let Some(shared) = self.shared.get() {
            core.tell_points(self.setup.epoch, shared.read_floor());
        }
        if check_stalls {
            core.break_stalled(self.setup.tuning.stalled_ticks);
        }
        drop(core);
        lagging.into_iter().for_each(|at| self.spawn_join(at));
        let core = self.core.borrow();
        let Some(shared) = self.shared.get() else { return };
        METRICS.vdl_distance.set(shared.log.next_lsn().since(shared.commits.vdl()) as i64);
        let status = (core.group_statuses(), core.node_statuses());
        *shared.members.lock() = status;
    }

    /// Adds protection groups until `pg` is one of them.
    pub(crate) async fn grow(self: Rc<Self>, pg: PgId) -> Result<(), VolumeError> {
        let Some(shared) = self.shared.get().cloned() else { return Err(VolumeError::Closed) };
        let _one_at_a_time = self.growing.lock().await;
        while shared.log.groups() <= pg.0 as usize {
            let index = shared.log.groups();
            self.add_group(index).await?;
            let segment = self.core.borrow().groups[index].segment;
            shared.log.add_group(segment, Lsn::ZERO);
        }
        Ok(())
    }

    /// Has the group placed, creates its segments, and waits until it can be written.
    async fn add_group(self: &Rc<Self>, index: usize) -> Result<(), VolumeError> {
        let deadline = Instant::now() + self.setup.tuning.grow_deadline;
        let pg = PgId(index as u32);
        let setup = &self.setup;
        if self.core.borrow().groups.len() == index {
            let info = loop {
                match setup.directory.add_pg(setup.volume, setup.epoch, pg).await {
                    Ok(info) => break info,
                    Err(error) if error.is_retryable() && Instant::now() < deadline => {
                        tokio::time::sleep(PAUSE).await
                    }
                    Err(error) => {
                        let error = from_meta(&error, setup.epoch);
                        if error.is_final() {
                            self.lose(error.clone());
                        }
                        return Err(error);
                    }
                }
            };
            let Some(placed) = info.pgs.get(index).filter(|p| p.pg == pg) else {
                return Err(VolumeError::Meta(format!(
                    "{pg:?} was added but is not among the volume's groups"
                )));
            };
            self.core.borrow_mut().add_group(SegmentId { volume: setup.volume, pg }, placed);
            self.connect_members();
        }
        let members = self.core.borrow().groups[index].members.len();
        for member in 0..members {
            let at = Place { group: index, member };
            let connected = self.core.borrow().nodes[self.core.borrow().node_of(at)].is_ready();
            if connected {
                self.spawn_join(at);
            }
        }
        self.writable(index, deadline).await
    }

    async fn writable(&self, index: usize, deadline: Instant) -> Result<(), VolumeError> {
        loop {
            let changed = self.changed.notified();
            let (live, quorum, pg) = {
                let core = self.core.borrow();
                let group = &core.groups[index];
                (group.live(), group.membership.quorums().write.clone(), group.segment.pg)
            };
            if quorum.met(live) {
                return Ok(());
            }
            if let Some(error) = self.lost.borrow().clone() {
                return Err(error);
            }
            if tokio::time::timeout_at(deadline, changed).await.is_err() {
                return Err(VolumeError::NoQuorum {
                    pg,
                    what: "create it",
                    answered: live.len(),
                    needed: quorum.size(),
                });
            }
        }
    }
}

impl Core {
    /// A segment that answers but whose SCL stands still below what it was sent has a hole: it is sent what follows its
    /// SCL again. Returns those for whom that is not kept.
    fn fill_holes(&mut self) -> Vec<Place> {
        let mut lagging = Vec::new();
        for node in 0..self.nodes.len() {
            for at in self.places_on(node) {
                let member = self.member(at);
                let (scl, acks) = (member.scl, member.acks);
                let (scl_then, acks_then) = std::mem::replace(&mut member.seen, (scl, acks));
                if !member.live || member.sent_to <= scl || scl > scl_then || acks == acks_then {
                    continue;
                }
                tracing::debug!(node = %self.nodes[node].id, group = at.group, %scl, "a segment has a hole; sending again");
                if !self.go_live(at, scl) {
                    self.set_away(at);
                    lagging.push(at);
                }
            }
            self.flush(node);
        }
        lagging
    }

    /// Tells VDL and PGMRPL to segments that do not know that their log is durable and old. Batches tell them too, but the
    /// next one may never come, or wait at a storage node for the pages that it makes because of this.
    fn tell_points(&mut self, epoch: VolumeEpoch, read_floor: Lsn) {
        let Some(vdl) = self.tracker.as_ref().map(Tracker::vdl) else { return };
        let points = (vdl, read_floor.min(vdl));
        for group in 0..self.groups.len() {
            let epochs = self.epochs(group, epoch);
            let (segment, last) = (self.groups[group].segment, self.groups[group].last);
            let members: Vec<usize> = self.groups[group].membership.members().collect();
            for member in members {
                let id = self.next_request;
                let member = &mut self.groups[group].members[member];
                // One that is being brought up to date may not listen yet, and may wait for this.
                let knows = member.live && (member.told == points || member.told.1 >= last);
                let link = self.nodes[member.node].link.as_mut();
                let link = link.filter(|link| link.ready && !link.broken && link.out.is_empty());
                let Some(link) = link.filter(|_| member.kind.is_full() && !knows) else {
                    continue;
                };
                self.next_request += 1;
                member.told = points;
                let advance = Request::Advance { segment, epochs, vdl: points.0, pgmrpl: points.1 };
                let mut frame = Vec::new();
                frame::encode(&mut frame, advance.kind(), id, &advance.payload());
                link.push(Outgoing::Frame(frame, Bytes::new()));
                let node = member.node;
                self.flush(node);
            }
        }
    }

    fn break_stalled(&mut self, limit: u32) {
        for index in 0..self.nodes.len() {
            let waits = self
                .groups
                .iter()
                .flat_map(|g| &g.members)
                .any(|m| m.node == index && m.live && m.sent_to > m.scl);
            let node = &mut self.nodes[index];
            let Some(link) = &mut node.link else { continue };
            let silent = link.frames_received == link.frames_seen && (waits || !link.calls.is_empty());
            link.frames_seen = link.frames_received;
            link.idle_ticks = if silent { link.idle_ticks + 1 } else { 0 };
            if link.idle_ticks >= limit && !link.broken {
                node.last_error = Some("the node took requests but answered nothing".to_owned());
                link.broken = true;
                link.want_write.notify_one();
            }
        }
    }

    fn group_statuses(&self) -> Vec<GroupStatus> {
        let member =
            |m: &super::state::Member| MemberStatus { node: self.nodes[m.node].id, scl: m.scl, live: m.live };
        let group = |(index, g): (usize, &super::state::Group)| GroupStatus {
            pg: g.segment.pg,
            pgcl: self.tracker.as_ref().map_or(Lsn::ZERO, |t| t.pgcl(index)),
            membership: g.membership.epoch(),
            settled: g.membership.is_settled(),
            replacements: g.membership.replacements().to_vec(),
            writable: g.membership.quorums().write.met(g.live()),
            retained_batches: g.log.len(),
            members: g.membership.members().map(|m| member(&g.members[m])).collect(),
        };
        self.groups.iter().enumerate().map(group).collect()
    }

    fn node_statuses(&self) -> Vec<NodeStatus> {
        let node = |n: &super::state::Node| NodeStatus {
            node: n.id,
            az: n.az,
            addr: n.addr,
            connected: n.is_ready(),
            read_latency_us: n.read_latency.map_or(0, |l| l.as_micros() as u64),
            last_error: n.last_error.clone(),
        };
        let used = (0..self.nodes.len()).filter(|index| self.is_used(*index));
        used.map(|index| node(&self.nodes[index])).collect()
    }
}
