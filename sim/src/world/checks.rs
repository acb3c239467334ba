//! What a writer tells, against the model: every invariant that a single event can break.

use sextant_meta::MetaError;
use sextant_redo::wire::SegmentState;
use sextant_redo::{Lsn, NodeId, SegmentId, VolumeEpoch};

use super::World;
use super::phases::Phase;
use crate::invariants::i02_points::{self, Points};
use crate::invariants::i08_membership::{self, Membership};
use crate::invariants::i10_metadata::{self, Asked, Said};
use crate::invariants::{
    Checked, Violation, i01_durability, i03_fencing, i04_page_truth, i06_no_lie, i07_order, i09_garbage,
};
use crate::meta::{MetaReply, node_at};
use crate::model::Opening;
use crate::writer::{Out, ReadKind};

impl World {
    /// Checks one thing that writer `number` tells.
    pub(super) fn told(&mut self, number: usize, out: &Out) -> Checked {
        let Some(epoch) = self.writers.get(&number).map(|p| p.writer.epoch) else { return Ok(()) };
        match out {
            Out::Opened { vdl, base } => self.opened(number, epoch, *vdl, *base),
            Out::Logged { first, cpl, changes } => {
                self.stats.logged += 1;
                i03_fencing::allocation_is_disjoint(&self.model, epoch, *first, *cpl)?;
                self.model.logged(epoch, *cpl, self.profile.pages_per_pg, changes);
                Ok(())
            }
            Out::Points { vcl, vdl } => self.moved(number, epoch, Points { vcl: *vcl, vdl: *vdl }),
            Out::Acked { cpl } => self.acked(number, epoch, *cpl),
            Out::Page { page, read_point, image, kind } => {
                let image = i06_no_lie::page_is_sealed(*page, image)?;
                let vdl = self.writers.get(&number).map_or(Lsn::ZERO, |p| p.points.vdl);
                i07_order::reads_stay_at_or_below_vdl(*read_point, vdl)?;
                i07_order::page_is_not_from_the_future(*page, image.lsn(), *read_point)?;
                i04_page_truth::page_is_its_records(&self.model, epoch, *page, *read_point, &image)?;
                self.stats.pages += 1;
                if *kind == ReadKind::Final {
                    self.compared();
                }
                Ok(())
            }
            Out::Refused { read_point, floor, error } => {
                i09_garbage::refusal_passes(*read_point, *floor, error)
            }
            Out::Broken { what } => Err(Violation { invariant: "I3", what: what.clone() }),
            Out::Ended { why } => {
                self.note(|_| format!("writer {number} ends: {why}"));
                Ok(())
            }
            Out::ToNode { .. } | Out::ToMeta { .. } | Out::Timer { .. } => Ok(()),
        }
    }

    fn opened(&mut self, number: usize, epoch: VolumeEpoch, vdl: Lsn, base: Lsn) -> Checked {
        self.note(|_| format!("writer {number} has opened under {epoch:?}: VDL {vdl}, range to {base}"));
        self.stats.openings += 1;
        i01_durability::opening_keeps_commits(&self.model, epoch, vdl)?;
        i03_fencing::range_covers_all(&self.model, epoch, base)?;
        self.model.openings.push(Opening { epoch, vdl, base });
        let points = Points { vcl: vdl, vdl };
        if let Some(process) = self.writers.get_mut(&number) {
            (process.points, process.last_ack) = (points, vdl);
        }
        i02_points::points_advance(&self.model, epoch, Points::default(), points)?;
        self.on_a_quorum(epoch, vdl)
    }

    fn moved(&mut self, number: usize, epoch: VolumeEpoch, points: Points) -> Checked {
        let Some(process) = self.writers.get_mut(&number) else { return Ok(()) };
        let before = std::mem::replace(&mut process.points, points);
        i02_points::points_advance(&self.model, epoch, before, points)?;
        if points.vdl > before.vdl { self.on_a_quorum(epoch, points.vdl) } else { Ok(()) }
    }

    /// What is declared durable stands on the disks of a write quorum of each group. The bad disk counts as it says.
    fn on_a_quorum(&self, epoch: VolumeEpoch, vdl: Lsn) -> Checked {
        let Some(info) = self.meta.info() else { return Ok(()) };
        for pg in &info.pgs {
            let segment = sextant_redo::SegmentId { volume: info.id, pg: pg.pg };
            let standing = |node: usize| match self.nodes[node].disk.is_damaged() {
                true => Lsn::MAX,
                false => self.nodes[node].scl(segment),
            };
            let copies: Vec<_> = pg.members.iter().map(|m| (m.kind, standing(node_at(m.addr)))).collect();
            i01_durability::durable_on_a_quorum(&self.model, epoch, vdl, pg.pg, &copies)?;
        }
        Ok(())
    }

    /// The metadata service has answered writer `number`: what it said of the epoch fits all that it said before.
    pub(super) fn heard(&mut self, number: usize, id: u64, reply: &Result<MetaReply, MetaError>) -> Checked {
        let Some(sent) = self.asked.remove(&(number, id)) else { return Ok(()) };
        let said = match reply {
            Ok(MetaReply::Granted(grant)) => Said::Granted(grant.epoch),
            Ok(MetaReply::Renewed(epoch)) => Said::Current(*epoch),
            Ok(MetaReply::Volume(info)) => Said::Current(info.epoch),
            Err(MetaError::Fenced { current }) => Said::Current(*current),
            Ok(MetaReply::Done) | Err(_) => return Ok(()),
        };
        let asked = Asked { sent, answered: self.schedule.now(), said };
        i10_metadata::fits(&self.history, &asked)?;
        self.history.push(asked);
        Ok(())
    }

    /// Groups as the metadata service has them now, against what they were at the last look.
    pub(super) fn memberships_are_sound(&mut self) -> Checked {
        let Some(info) = self.meta.info() else { return Ok(()) };
        for pg in &info.pgs {
            let now = Membership::of(pg);
            match self.memberships.get(&pg.pg) {
                Some(before) if *before == now => continue,
                Some(before) => i08_membership::step_is_sound(before, &now)?,
                None => {}
            }
            i08_membership::is_sound(&now)?;
            self.memberships.insert(pg.pg, now);
        }
        Ok(())
    }

    /// Every copy's state by itself and beside its peers: no epoch that nobody was granted, one list an opening, no
    /// membership that was not decided, nothing collected that the writer still reads.
    pub(super) fn copies_are_sound(&self) -> Checked {
        let Some(info) = self.meta.info() else { return Ok(()) };
        for pg in &info.pgs {
            let segment = SegmentId { volume: info.id, pg: pg.pg };
            let copy = |node: NodeId, at: usize| Some((node, self.nodes[at].copy(segment)?));
            let members = pg.members.iter().map(|m| (m.node, node_at(m.addr)));
            let sound = members.filter(|(_, at)| !self.nodes[*at].disk.is_damaged());
            let copies: Vec<(NodeId, (SegmentState, Lsn))> =
                sound.filter_map(|(n, at)| copy(n, at)).collect();
            for (node, (state, pgmrpl)) in &copies {
                i08_membership::copy_is_not_ahead(&Membership::of(pg), *node, state)?;
                let reader = self.writers.values().find(|p| p.writer.epoch == state.epochs.volume);
                if let Some(reader) = reader.filter(|p| p.writer.is_serving()) {
                    i09_garbage::floor_spares_readers(*node, *pgmrpl, reader.writer.oldest_read())?;
                }
            }
            let states: Vec<_> = copies.into_iter().map(|(node, (state, _))| (node, state)).collect();
            // A successor has nothing yet, and counts for nothing.
            let counts = |m: &&sextant_meta::Member| pg.replacements.iter().all(|r| r.new != m.node);
            let kinds: Vec<_> = pg.members.iter().filter(counts).map(|m| (m.node, m.kind)).collect();
            i09_garbage::tails_spare_full_segments(&kinds, &states)?;
            i03_fencing::copies_know_one_opening(info.epoch, &states)?;
        }
        Ok(())
    }

    fn acked(&mut self, number: usize, epoch: VolumeEpoch, cpl: Lsn) -> Checked {
        let now = self.schedule.now();
        self.mix(cpl.0);
        let Some(process) = self.writers.get_mut(&number) else { return Ok(()) };
        let before = std::mem::replace(&mut process.last_ack, cpl);
        i07_order::acks_come_in_order(before, cpl)?;
        i02_points::ack_below_vdl(epoch, cpl, process.points)?;
        i03_fencing::ack_is_not_void(&self.model, epoch, cpl)?;
        if let Some(commit) = self.model.commits.get_mut(&cpl) {
            commit.acked = true;
        }
        self.stats.acked += 1;
        if self.phase == Phase::Faults {
            self.stats.stall = self.stats.stall.max(now - self.last_ack);
        }
        self.last_ack = now;
        self.acked_after_heal(cpl);
        Ok(())
    }
}
