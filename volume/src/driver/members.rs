//! Following changes of members (protocol.md, "Membership change"). The metadata service is asked every so often, and at
//! once when a segment knows a newer membership. What is counted by meanwhile is [`crate::membership`]'s to say.
//!
//! The newer membership epoch goes out with everything at once: a connection keeps its order, so no segment sees the
//! older one after it. Beside that each live segment is asked to record it. A successor joins like any other segment:
//! created, told the truncation ranges, brought up to date from a peer. Once it has everything that is durable, that is
//! put on record and the old member leaves.

use std::rc::Rc;
use std::time::Duration;

use sextant_meta::{MetaError, PgInfo, VolumeInfo};
use sextant_redo::{MembershipEpoch, NodeId, PgId};

use super::Driver;
use super::state::Core;
use crate::VolumeError;
use crate::directory::from_meta;
use crate::recovery::Place;

/// How often the volume is asked for while its members stand.
const REFRESH: Duration = Duration::from_secs(2);
/// And while they change.
const CHANGING: Duration = Duration::from_millis(250);

/// What a replacement needs of the metadata service next.
enum Step {
    MarkHydrated { pg: PgId, new: NodeId },
    Finish { pg: PgId, membership: MembershipEpoch, pair: (NodeId, NodeId) },
}

impl Driver {
    /// Follows storage nodes that moved and members that change, and ends replacements that are through.
    pub(crate) async fn follow_volume(self: Rc<Self>) {
        loop {
            let pause = if self.core.borrow().is_changing() { CHANGING } else { REFRESH };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = self.ask_members.notified() => {}
            }
            let step = self.core.borrow().next_step();
            let taken = match step {
                Some(step) => Some(self.take_step(step).await),
                None => None,
            };
            let asked = match taken {
                // A step that is refused once is refused for ever if somebody else, an operator say, changed the members
                // meanwhile: what they are now decides the next one.
                None | Some(Err(MetaError::Refused { .. } | MetaError::StaleMembership { .. })) => {
                    self.setup.directory.volume(&self.setup.name).await
                }
                Some(answer) => answer,
            };
            match asked {
                // Under the name of one that was dropped there may be another volume.
                Ok(info) if info.id != self.setup.volume => return self.lose_dropped(),
                Err(MetaError::UnknownVolume { .. }) => return self.lose_dropped(),
                Ok(info) => self.follow(&info),
                Err(error @ (MetaError::Fenced { .. } | MetaError::VolumeDropped { .. })) => {
                    return self.lose(from_meta(&error, self.setup.epoch));
                }
                // The service is away: it is asked again.
                Err(error) => tracing::debug!(%error, "the members of the volume could not be followed"),
            }
        }
    }

    fn lose_dropped(&self) {
        self.lose(VolumeError::Dropped { volume: self.setup.volume });
    }

    async fn take_step(&self, step: Step) -> Result<VolumeInfo, MetaError> {
        let setup = &self.setup;
        match step {
            Step::MarkHydrated { pg, new } => {
                tracing::info!(%pg, node = %new, "a new copy has everything that is durable");
                setup.directory.mark_hydrated(setup.volume, setup.epoch, pg, new).await
            }
            Step::Finish { pg, membership, pair } => {
                tracing::info!(%pg, old = %pair.0, new = %pair.1, "a member has been replaced");
                setup.directory.finish_replacement(setup.volume, pg, membership, pair).await
            }
        }
    }

    fn follow(self: &Rc<Self>, info: &VolumeInfo) {
        self.core.borrow_mut().follow_addresses(info);
        // An opening keeps the members that it was granted.
        if self.is_serving() {
            info.pgs.iter().for_each(|pg| self.learn(pg));
            self.connect_members();
            self.settle();
        }
    }

    fn learn(self: &Rc<Self>, info: &PgInfo) {
        let group = info.pg.0 as usize;
        let Some(members) = self.core.borrow_mut().learn(group, info, self.setup.epoch) else { return };
        tracing::info!(pg = %info.pg, membership = %info.membership, "a protection group's members change");
        for member in members {
            let at = Place { group, member };
            let (live, connected) = {
                let mut core = self.core.borrow_mut();
                let node = core.node_of(at);
                (core.member(at).live, core.nodes[node].is_ready())
            };
            if live {
                tokio::task::spawn_local(Rc::clone(self).record_members(at));
            } else if connected {
                self.spawn_join(at);
            }
        }
    }

    /// Has a live segment record the newest members. One that cannot joins again, and does it then.
    async fn record_members(self: Rc<Self>, at: Place) {
        let node = self.core.borrow().node_of(at);
        match self.open_segment(at).await {
            Ok(_) => self.settle(),
            Err(error) => {
                let mut core = self.core.borrow_mut();
                if core.node_of(at) != node {
                    return;
                }
                tracing::warn!(group = at.group, member = at.member, %error, "a segment did not record its new members; it joins again");
                core.set_away(at);
                drop(core);
                self.spawn_join(at);
            }
        }
    }
}

impl Core {
    fn is_changing(&self) -> bool {
        let changes = |group: &super::state::Group| {
            !group.membership.is_settled() || !group.membership.replacements().is_empty()
        };
        self.tracker.is_some() && self.groups.iter().any(changes)
    }

    /// Reports a successor that has everything durable, then ends its replacement.
    fn next_step(&self) -> Option<Step> {
        let tracker = self.tracker.as_ref()?;
        self.groups.iter().enumerate().filter(|(_, group)| group.membership.is_settled()).find_map(
            |(index, group)| {
                let durable = tracker.pgcl(index).max(tracker.required_scl(index));
                let complete = |new| {
                    let member = group.membership.index_of(new).map(|member| &group.members[member]);
                    member.is_some_and(|member| member.live && member.scl >= durable)
                };
                let ready = group.membership.replacements().iter().find(|r| complete(r.new))?;
                let (pg, membership) = (group.segment.pg, group.membership.epoch());
                Some(match ready.hydrated {
                    false => Step::MarkHydrated { pg, new: ready.new },
                    true => Step::Finish { pg, membership, pair: (ready.old, ready.new) },
                })
            },
        )
    }

    /// Storage nodes whose address changed.
    fn follow_addresses(&mut self, info: &VolumeInfo) {
        for member in info.pgs.iter().flat_map(|pg| &pg.members) {
            if let Some(node) = self.nodes.iter_mut().find(|n| n.id == member.node && n.addr != member.addr) {
                tracing::info!(node = %node.id, from = %node.addr, to = %member.addr, "a storage node has moved");
                node.addr = member.addr;
            }
        }
    }

    /// Takes over newer members; returns the indices of all of them.
    fn learn(
        &mut self,
        index: usize,
        info: &PgInfo,
        volume: sextant_redo::VolumeEpoch,
    ) -> Option<Vec<usize>> {
        let group = self.groups.get_mut(index)?;
        let joining: Vec<bool> = group.members.iter().map(|member| member.joining).collect();
        let change = group.membership.learn(info, |member| joining[member])?;
        for member in change.left {
            self.set_away(Place { group: index, member });
        }
        for member in change.joined {
            let told =
                info.members.iter().find(|m| self.groups[index].membership.index_of(m.node) == Some(member));
            let Some(told) = told else { continue };
            let new = self.new_member(told);
            let members = &mut self.groups[index].members;
            match (members.get_mut(member), &mut self.tracker) {
                (Some(slot), Some(tracker)) => {
                    *slot = new;
                    tracker.reuse(index, member);
                }
                _ => members.push(new),
            }
        }
        self.count_by_members(index);
        self.address_again(index, volume);
        Some(self.groups[index].membership.members().collect())
    }

    /// A segment on `node` has durably recorded a membership epoch.
    pub(super) fn on_recorded(&mut self, at: Place, node: usize, epoch: MembershipEpoch) {
        // Its index may be another member's by now.
        if self.node_of(at) == node && self.groups[at.group].membership.recorded(at.member, epoch) {
            self.count_by_members(at.group);
        }
    }

    fn count_by_members(&mut self, index: usize) {
        let membership = &self.groups[index].membership;
        if let Some(tracker) = &mut self.tracker {
            tracker.set_quorums(index, membership.quorums().clone(), membership.indices());
        }
    }
}
