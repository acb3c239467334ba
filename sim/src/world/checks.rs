//! What a writer tells, against the model: every invariant that a single event can break.

use sextant_redo::{Lsn, VolumeEpoch};

use super::World;
use super::phases::Phase;
use crate::invariants::i02_points::{self, Points};
use crate::invariants::{
    Checked, Violation, i01_durability, i03_fencing, i04_page_truth, i06_no_lie, i07_order, i09_garbage,
};
use crate::meta::node_at;
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
                i07_order::page_is_not_from_the_future(*page, image.lsn(), *read_point)?;
                i04_page_truth::page_is_its_records(&self.model, epoch, *page, *read_point, &image)?;
                self.stats.pages += 1;
                if *kind == ReadKind::Final {
                    self.compared();
                }
                Ok(())
            }
            Out::TooOld { read_point, floor } => {
                i09_garbage::read_points_in_use_are_kept(*read_point, *floor)
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
            let scls: Vec<Lsn> = pg.members.iter().map(|m| standing(node_at(m.addr))).collect();
            i01_durability::durable_on_a_quorum(&self.model, epoch, vdl, pg.pg, &scls)?;
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
