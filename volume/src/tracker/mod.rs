//! The points of the log, as the writer knows them: PGCL of each group, VCL, VDL (P18 section 2.3). A pure core: sealed
//! batches and acknowledgements in, points out.
//!
//! Bookkeeping is by batch, not by record. What must hold:
//! - Batches are announced in rounds. A round holds everything that was logged since the round before, so what was
//!   announced is always a prefix of the volume's log and ends at a consistency point.
//! - The VCL is the volume predecessor of the first record that has not met its quorum, so a batch keeps that
//!   predecessor and the last consistency point at or below it: a queue of consistency points is not needed. A batch
//!   counts as complete only as a whole, which can only put the points too low, never too high.
//! - No point ever regresses, whatever happens to the members: what met its quorum is durable, and what did not must meet
//!   the quorum of the day.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::VecDeque;

use sextant_redo::Lsn;

use crate::quorum::QuorumSet;

#[cfg(test)]
mod tests;

/// A batch as the tracker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedBatch {
    /// Index of its protection group.
    pub group: usize,
    /// LSN of its first record.
    pub first: Lsn,
    /// Volume predecessor of the first record.
    pub prev_volume: Lsn,
    /// Last consistency point below the first record.
    pub cpl_before: Lsn,
    /// LSN of its last record.
    pub last: Lsn,
}

struct Pending {
    batch: SealedBatch,
    complete: bool,
}

struct Group {
    quorums: QuorumSet,
    scls: Vec<Lsn>,
    pgcl: Lsn,
    /// Sequence numbers and last LSNs of the batches that have not met their quorum.
    incomplete: VecDeque<(u64, Lsn)>,
    /// Last LSN of the newest batch with a record at or below the VCL.
    durable_last: Lsn,
}

/// See the module.
pub struct Tracker {
    groups: Vec<Group>,
    /// Batches from the first incomplete one on, in the order of their first LSNs.
    pending: VecDeque<Pending>,
    /// Sequence number of the first of `pending`.
    base: u64,
    /// Last record announced; a consistency point.
    end: Lsn,
    vcl: Lsn,
    vdl: Lsn,
}

impl Tracker {
    /// A volume that is durable and complete to `vdl`.
    #[must_use]
    pub fn new(vdl: Lsn) -> Tracker {
        Tracker { groups: Vec::new(), pending: VecDeque::new(), base: 0, end: vdl, vcl: vdl, vdl }
    }

    /// Adds a group of so many members whose last record at or below the VDL is `last`; returns its index.
    pub fn add_group(&mut self, quorums: QuorumSet, members: usize, last: Lsn) -> usize {
        self.groups.push(Group {
            quorums,
            scls: vec![Lsn::ZERO; members],
            pgcl: Lsn::ZERO,
            incomplete: VecDeque::new(),
            durable_last: last,
        });
        self.groups.len() - 1
    }

    /// Announces a batch of the current round, in the order of first LSNs.
    pub fn sealed(&mut self, batch: SealedBatch) {
        debug_assert!(batch.first > self.end && batch.last >= batch.first && batch.prev_volume < batch.first);
        debug_assert!(self.pending.back().is_none_or(|p| p.batch.first < batch.first));
        let seq = self.base + self.pending.len() as u64;
        self.groups[batch.group].incomplete.push_back((seq, batch.last));
        self.pending.push_back(Pending { batch, complete: false });
    }

    /// Ends a round: `last` is the last record of the log so far, and a consistency point.
    pub fn round_end(&mut self, last: Lsn) {
        debug_assert!(last >= self.end);
        self.end = last;
    }

    /// A member's SCL. Returns true when the VDL moved. An SCL lower than one seen before changes nothing: what a
    /// quorum once had stays durable.
    pub fn ack(&mut self, index: usize, member: usize, scl: Lsn) -> bool {
        let group = &mut self.groups[index];
        if scl <= group.scls[member] {
            return false;
        }
        group.scls[member] = scl;
        self.count(index)
    }

    /// Changes a group's quorums, which speak of so many members. Returns true when the VDL moved.
    pub fn set_quorums(&mut self, group: usize, quorums: QuorumSet, members: usize) -> bool {
        let of = &mut self.groups[group];
        of.quorums = quorums;
        of.scls.resize(members.max(of.scls.len()), Lsn::ZERO);
        self.count(group)
    }

    /// From here on the index means another member, which has nothing yet. It must be in no quorum.
    pub fn reuse(&mut self, group: usize, member: usize) {
        self.groups[group].scls[member] = Lsn::ZERO;
    }

    fn count(&mut self, group: usize) -> bool {
        let group = &mut self.groups[group];
        let pgcl = group.quorums.write.point(&group.scls);
        if pgcl <= group.pgcl {
            return false;
        }
        group.pgcl = pgcl;
        while let Some((seq, _)) = group.incomplete.pop_front_if(|(_, last)| *last <= pgcl) {
            self.pending[(seq - self.base) as usize].complete = true;
        }
        self.advance()
    }

    fn advance(&mut self) -> bool {
        while let Some(done) = self.pending.pop_front_if(|p| p.complete) {
            self.base += 1;
            let group = &mut self.groups[done.batch.group];
            group.durable_last = group.durable_last.max(done.batch.last);
        }
        let before = self.vdl;
        let (vcl, vdl) = match self.pending.front() {
            Some(first) => (first.batch.prev_volume, first.batch.cpl_before),
            None => (self.end, self.end),
        };
        debug_assert!(vcl >= self.vcl && vdl >= self.vdl && vdl <= vcl);
        (self.vcl, self.vdl) = (vcl, vdl);
        self.vdl > before
    }

    /// Volume complete LSN.
    #[must_use]
    pub fn vcl(&self) -> Lsn {
        self.vcl
    }

    /// Volume durable LSN.
    #[must_use]
    pub fn vdl(&self) -> Lsn {
        self.vdl
    }

    /// Protection group complete LSN.
    #[must_use]
    pub fn pgcl(&self, group: usize) -> Lsn {
        self.groups[group].pgcl
    }

    /// Batches that have not met their quorum, or wait for one before them.
    #[must_use]
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// The SCL that a segment of `group` must have to serve reads at the VDL: it covers the last record of the group at
    /// or below the VDL, it is not above the VDL, and a write quorum has it.
    #[must_use]
    pub fn required_scl(&self, group: usize) -> Lsn {
        self.groups[group].durable_last.min(self.vdl)
    }
}
