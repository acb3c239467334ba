//! What the volume must hold, kept naively: every record that any writer logged, every commit that was acknowledged,
//! every opening that came through. What a writer must see follows by definition, not by the cores' code.

use std::collections::BTreeMap;

use sextant_redo::{Lsn, Page, PageId, PgId, VolumeEpoch, page};

/// A version of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// The writer's epoch.
    pub epoch: VolumeEpoch,
    /// Checksum of the page's bytes at that version.
    pub sum: u32,
}

/// A mini-transaction, by its consistency point.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Commit {
    /// The writer's epoch.
    pub epoch: VolumeEpoch,
    /// A client was told that it is durable.
    pub acked: bool,
}

/// A volume opening that came through.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Opening {
    /// Its epoch.
    pub epoch: VolumeEpoch,
    /// What it found durable: the rest of older epochs is void.
    pub vdl: Lsn,
    /// End of its truncation range.
    pub base: Lsn,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Model {
    versions: BTreeMap<PageId, BTreeMap<Lsn, Version>>,
    records: BTreeMap<PgId, BTreeMap<Lsn, VolumeEpoch>>,
    /// By consistency point.
    pub commits: BTreeMap<Lsn, Commit>,
    /// In the order in which they came through.
    pub openings: Vec<Opening>,
}

impl Model {
    /// A writer of `epoch` has logged a mini-transaction that ends at `cpl`: pages, LSNs, checksums.
    pub fn logged(
        &mut self,
        epoch: VolumeEpoch,
        cpl: Lsn,
        pages_per_pg: u64,
        changes: &[(PageId, Lsn, u32)],
    ) {
        for (page, lsn, sum) in changes {
            self.versions.entry(*page).or_default().insert(*lsn, Version { epoch, sum: *sum });
            let pg = PgId((page.0 / pages_per_pg) as u32);
            self.records.entry(pg).or_default().insert(*lsn, epoch);
        }
        self.commits.insert(cpl, Commit { epoch, acked: false });
    }

    /// True when a reader of epoch `reader` must see what `epoch` wrote at `lsn`, if its read point reaches there.
    #[must_use]
    pub fn is_live(&self, epoch: VolumeEpoch, lsn: Lsn, reader: VolumeEpoch) -> bool {
        let voids = |o: &Opening| o.epoch > epoch && o.epoch <= reader && lsn > o.vdl;
        epoch <= reader && !self.openings.iter().any(voids)
    }

    /// LSN and checksum of `page` as a reader of epoch `reader` must see it at `read_point`.
    #[must_use]
    pub fn page(&self, page: PageId, read_point: Lsn, reader: VolumeEpoch) -> (Lsn, u32) {
        let versions = self.versions.get(&page);
        let newest = versions.and_then(|versions| {
            let seen = |(lsn, v): &(&Lsn, &Version)| self.is_live(v.epoch, **lsn, reader);
            versions.range(..=read_point).rev().find(seen)
        });
        newest.map_or_else(|| (Lsn::ZERO, page::checksum(&Page::zero().0)), |(lsn, v)| (*lsn, v.sum))
    }

    /// The last record of a group at or below `at`, for a reader of epoch `reader`.
    #[must_use]
    pub fn last_record(&self, pg: PgId, at: Lsn, reader: VolumeEpoch) -> Lsn {
        let records = self.records.get(&pg);
        let newest = records.and_then(|records| {
            let seen = |(lsn, epoch): &(&Lsn, &VolumeEpoch)| self.is_live(**epoch, **lsn, reader);
            records.range(..=at).rev().find(seen)
        });
        newest.map_or(Lsn::ZERO, |(lsn, _)| *lsn)
    }

    /// True when `lsn` ends a mini-transaction that is live for `reader`, or is the beginning of the log.
    #[must_use]
    pub fn is_consistency_point(&self, lsn: Lsn, reader: VolumeEpoch) -> bool {
        lsn == Lsn::ZERO || self.commits.get(&lsn).is_some_and(|c| self.is_live(c.epoch, lsn, reader))
    }

    /// Highest consistency point logged.
    #[must_use]
    pub fn end(&self) -> Lsn {
        self.commits.last_key_value().map_or(Lsn::ZERO, |(lsn, _)| *lsn)
    }
}
