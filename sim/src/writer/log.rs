//! The writer's log: LSNs under the allocation limit, records linked three ways, batches in rounds. A twin of the
//! driver's `log` without its lock.

use bytes::Bytes;
use sextant_redo::{BatchBuilder, Geometry, Lsn, Mtr, RecordLinks, SegmentId, VolumeEpoch};
use sextant_volume::tracker::SealedBatch;

use crate::mutant::Mutant;

/// A batch over this size is closed: small, so that runs have many.
const BATCH_BYTES: usize = 8 * 1024;

struct Group {
    segment: SegmentId,
    last: Lsn,
    builder: BatchBuilder,
    start: Start,
}

#[derive(Debug, Clone, Copy, Default)]
struct Start {
    first: Lsn,
    prev_volume: Lsn,
    cpl_before: Lsn,
    prev_pg: Lsn,
}

struct Filled {
    group: usize,
    start: Start,
    builder: BatchBuilder,
}

/// A sealed batch, ready to be sent.
pub(crate) struct OutBatch {
    pub(crate) bytes: Bytes,
    pub(crate) prev_pg: Lsn,
    pub(crate) last: Lsn,
}

/// Everything logged since the round before.
pub(crate) struct Round {
    pub(crate) batches: Vec<(SealedBatch, OutBatch)>,
    pub(crate) last: Lsn,
}

/// See the module.
pub(crate) struct Log {
    epoch: VolumeEpoch,
    geometry: Geometry,
    lal: u64,
    base: Lsn,
    pub(crate) next: Lsn,
    pub(crate) last: Lsn,
    groups: Vec<Group>,
    full: Vec<Filled>,
    mutant: Option<Mutant>,
}

impl Log {
    pub(crate) fn new(
        epoch: VolumeEpoch,
        geometry: Geometry,
        last: Lsn,
        base: Lsn,
        lal: u64,
        mutant: Option<Mutant>,
    ) -> Log {
        let next = base.advance(1);
        Log { epoch, geometry, lal, base, next, last, groups: Vec::new(), full: Vec::new(), mutant }
    }

    pub(crate) fn add_group(&mut self, segment: SegmentId, last: Lsn) {
        let builder = BatchBuilder::new(segment, self.epoch);
        self.groups.push(Group { segment, last, builder, start: Start::default() });
    }

    /// Groups that can be written.
    pub(crate) fn groups(&self) -> usize {
        self.groups.len()
    }

    /// True when `bytes` more stay below the allocation limit.
    pub(crate) fn has_room(&self, vdl: Lsn, bytes: u64) -> bool {
        let limit = self.base.max(vdl).advance(self.lal);
        self.next.advance(bytes) <= limit || self.mutant == Some(Mutant::NoAllocationLimit)
    }

    /// Appends a mini-transaction and returns its consistency point.
    pub(crate) fn append(&mut self, mtr: &mut Mtr) -> Lsn {
        let cpl_before = self.last;
        let count = mtr.changes().len();
        for (n, change) in mtr.changes_mut().iter_mut().enumerate() {
            let index = self.geometry.pg_of(change.page).0 as usize;
            let group = &mut self.groups[index];
            change.lsn = self.next;
            let is_cpl = n + 1 == count || self.mutant == Some(Mutant::VdlInsideMtr);
            let links = RecordLinks { lsn: self.next, prev_volume: self.last, prev_pg: group.last, is_cpl };
            if group.builder.is_empty() {
                let RecordLinks { lsn: first, prev_volume, prev_pg, .. } = links;
                let cpl_before =
                    if self.mutant == Some(Mutant::VdlInsideMtr) { prev_volume } else { cpl_before };
                group.start = Start { first, prev_volume, cpl_before, prev_pg };
            }
            let len = group.builder.push(links, change);
            (group.last, self.last) = (links.lsn, links.lsn);
            self.next = links.lsn.advance(len as u64);
            if group.builder.len() >= BATCH_BYTES {
                self.full.push(group.close(index, self.epoch));
            }
        }
        self.last
    }

    /// Takes everything that was logged.
    pub(crate) fn take(&mut self, vdl: Lsn, floor: Lsn) -> Option<Round> {
        for (index, group) in self.groups.iter_mut().enumerate() {
            if !group.builder.is_empty() {
                self.full.push(group.close(index, self.epoch));
            }
        }
        self.full.sort_by_key(|filled| filled.start.first);
        let ahead = self.mutant == Some(Mutant::VdlAhead);
        let seal = |Filled { group, start, mut builder }: Filled| {
            let vdl = if ahead { builder.last() } else { vdl };
            let (header, bytes) = builder.seal(vdl, floor.min(vdl));
            let Start { first, prev_volume, cpl_before, prev_pg } = start;
            let sealed = SealedBatch { group, first, prev_volume, cpl_before, last: header.last };
            (sealed, OutBatch { bytes, prev_pg, last: header.last })
        };
        let batches: Vec<_> = self.full.drain(..).map(seal).collect();
        (!batches.is_empty()).then_some(Round { batches, last: self.last })
    }
}

impl Group {
    fn close(&mut self, index: usize, epoch: VolumeEpoch) -> Filled {
        let empty = BatchBuilder::new(self.segment, epoch);
        Filled { group: index, start: self.start, builder: std::mem::replace(&mut self.builder, empty) }
    }
}
