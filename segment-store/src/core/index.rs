//! The page index of one segment: for each page its base image (a slot of the page store, or the zero page) and the
//! records behind it that still lie only in the log.
//!
//! What must hold: the pending records of a page are in LSN order, all above its base; a page that has neither is the
//! zero page.

use std::collections::BTreeMap;

use sextant_redo::{Lsn, PageId};

use super::{Cut, LogAddress};

/// Most pages looked at by one [`PageIndex::select`]: bounds how long it takes.
const SELECT_MAX: usize = 4096;

/// A place of the page store, counted in pages.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Slot(pub u32);

/// The newest materialised image of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageBase {
    /// Its page LSN, checked at each read from disk.
    pub lsn: Lsn,
    /// Where it lies.
    pub slot: Slot,
}

/// A record that is not in a page image yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PendingRecord {
    /// Its LSN.
    pub lsn: Lsn,
    /// Where its batch starts; the whole batch is read and its checksum verified.
    pub batch: LogAddress,
    /// Bytes of the batch.
    pub batch_len: u32,
    /// Where the record starts in the batch.
    pub offset: u32,
    /// Bytes of the record.
    pub len: u32,
}

/// What makes one page as of one read point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePlan {
    /// Which page.
    pub page: PageId,
    /// Start from this image, or from the zero page.
    pub base: Option<PageBase>,
    /// Then apply these, in order.
    pub records: Vec<PendingRecord>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct PageIndex {
    pending: BTreeMap<PageId, Vec<PendingRecord>>,
    bases: BTreeMap<PageId, PageBase>,
    pending_records: usize,
}

impl PageIndex {
    /// The index that a checkpoint describes; pending records come back with the log.
    #[must_use]
    pub fn restore(bases: BTreeMap<PageId, PageBase>) -> PageIndex {
        PageIndex { bases, ..PageIndex::default() }
    }

    /// Adds a live record and says how many are pending on the page now. A record that the page already has is
    /// ignored.
    pub fn insert(&mut self, page: PageId, record: PendingRecord) -> usize {
        if self.bases.get(&page).is_some_and(|base| base.lsn >= record.lsn) {
            return self.pending.get(&page).map_or(0, Vec::len);
        }
        let chain = self.pending.entry(page).or_default();
        match chain.last() {
            Some(last) if last.lsn >= record.lsn => {
                match chain.binary_search_by_key(&record.lsn, |known| known.lsn) {
                    Ok(_) => return chain.len(),
                    Err(at) => chain.insert(at, record),
                }
            }
            _ => chain.push(record),
        }
        self.pending_records += 1;
        chain.len()
    }

    /// Drops the records that truncation cut off.
    pub fn cut(&mut self, cuts: &[Cut]) {
        if cuts.is_empty() {
            return;
        }
        let keep: BTreeMap<LogAddress, Lsn> = cuts.iter().map(|cut| (cut.at, cut.keep)).collect();
        self.pending.retain(|_, chain| {
            chain.retain(|record| keep.get(&record.batch).is_none_or(|keep| record.lsn <= *keep));
            !chain.is_empty()
        });
        self.pending_records = self.pending.values().map(Vec::len).sum();
    }

    /// What makes `page` as of `read_point`.
    #[must_use]
    pub fn plan(&self, page: PageId, read_point: Lsn) -> PagePlan {
        let chain = self.pending.get(&page).map_or(&[][..], |chain| &chain[..]);
        let wanted = chain.partition_point(|record| record.lsn <= read_point);
        PagePlan { page, base: self.bases.get(&page).copied(), records: chain[..wanted].to_vec() }
    }

    /// An image of `page` with everything at or below `base.lsn` now lies in the page store. Returns the image that it
    /// replaces.
    pub fn materialised(&mut self, page: PageId, base: PageBase) -> Option<PageBase> {
        if let Some(chain) = self.pending.get_mut(&page) {
            let done = chain.partition_point(|record| record.lsn <= base.lsn);
            chain.drain(..done);
            self.pending_records -= done;
            if chain.is_empty() {
                self.pending.remove(&page);
            }
        }
        self.bases.insert(page, base)
    }

    /// The pages from `from` on, at most `limit` of them, that have a pending record at or below `cap` for which
    /// `wanted` (given the chain's records at or below `cap`) holds; and where to go on, if not at the end.
    pub fn select(
        &self,
        from: PageId,
        limit: usize,
        cap: Lsn,
        wanted: impl Fn(&[PendingRecord]) -> bool,
    ) -> (Vec<PageId>, Option<PageId>) {
        let mut found = Vec::new();
        for (looked_at, (page, chain)) in self.pending.range(from..).enumerate() {
            if found.len() == limit || looked_at == SELECT_MAX {
                return (found, Some(*page));
            }
            let ready = chain.partition_point(|record| record.lsn <= cap);
            if ready > 0 && wanted(&chain[..ready]) {
                found.push(*page);
            }
        }
        (found, None)
    }

    /// The first place in the log that a pending record needs.
    #[must_use]
    pub fn oldest_needed(&self) -> Option<LogAddress> {
        self.pending.values().flatten().map(|record| record.batch).min()
    }

    /// How many records are pending.
    #[must_use]
    pub fn pending_records(&self) -> usize {
        self.pending_records
    }

    /// The materialised images in page order.
    #[must_use]
    pub fn bases(&self) -> &BTreeMap<PageId, PageBase> {
        &self.bases
    }

    /// Panics when a rule of the module is broken.
    pub fn check_invariants(&self) {
        for (page, chain) in &self.pending {
            assert!(!chain.is_empty(), "{page:?} keeps an empty chain");
            assert!(chain.windows(2).all(|two| two[0].lsn < two[1].lsn), "{page:?} is out of order");
            if let Some(base) = self.bases.get(page) {
                assert!(chain[0].lsn > base.lsn, "{page:?} has records below its base");
            }
        }
        assert_eq!(self.pending_records, self.pending.values().map(Vec::len).sum::<usize>());
    }
}
