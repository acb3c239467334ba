//! The page index of one segment: for each page its base image (a slot of the page store, or the zero page) and the
//! records behind it that still lie only in the log.
//!
//! What must hold: the pending records of a page are in LSN order, all above its base; a page that has neither is the
//! zero page. Where the block of the map that knows the base is not in memory, records that the base holds already may be
//! among the pending ones, when a batch came twice: they are dropped when the block is there.

use std::collections::{BTreeMap, BTreeSet};

use sextant_redo::{Lsn, PageId};

use super::chains::Chains;
use super::map::{BLOCK_PAGES, BlockBytes, Looked, MapBlock, PageMap};
use super::{Cut, LogAddress};

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
    /// Where its batch starts.
    pub batch: LogAddress,
    /// Bytes of the batch.
    pub batch_len: u32,
    /// Where the record starts in the batch.
    pub offset: u32,
    /// Bytes of the record.
    pub len: u32,
    /// CRC32C of the record's bytes, so that one record can be read back and trusted without its whole batch.
    pub crc: u32,
}

impl PendingRecord {
    /// Where the record itself starts.
    #[must_use]
    pub fn at(&self) -> LogAddress {
        self.batch.advance(self.offset)
    }
}

/// What makes one page as of one read point.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PagePlan {
    /// Which page.
    pub page: PageId,
    /// Start from this image, or from the zero page.
    pub base: Option<PageBase>,
    /// This block of the page map says what the base is; to be read and given to [`PagePlan::resolve`] first.
    pub block: Option<MapBlock>,
    /// Then apply these, in order.
    pub records: Vec<PendingRecord>,
}

impl PagePlan {
    /// The block that the plan waited for is `bytes`.
    pub fn resolve(&mut self, bytes: &BlockBytes) {
        self.block = None;
        self.base = bytes.get(self.page);
        if let Some(base) = self.base {
            self.records.retain(|record| record.lsn > base.lsn);
        }
    }
}

/// One pending record fewer in `file`.
fn forget(per_file: &mut BTreeMap<u32, usize>, file: u32) {
    if let Some(count) = per_file.get_mut(&file) {
        *count -= 1;
        if *count == 0 {
            per_file.remove(&file);
        }
    }
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct PageIndex {
    pending: Chains,
    map: PageMap,
    pending_records: usize,
    /// How many pending records lie in each log file.
    per_file: BTreeMap<u32, usize>,
}

impl PageIndex {
    /// The index over the blocks that a checkpoint names; pending records come back from its list and with the log.
    #[must_use]
    pub fn restore(blocks: impl IntoIterator<Item = MapBlock>) -> PageIndex {
        PageIndex { map: PageMap::restore(blocks), ..PageIndex::default() }
    }

    /// Adds a live record and says how many are pending on the page now. A record that is in the page's image is ignored;
    /// one that is pending already is only moved, to this copy if it `counts`.
    pub fn insert(&mut self, page: PageId, record: PendingRecord, counts: bool) -> usize {
        let (added, pending) = match self.pending.get_mut(page) {
            // Above a pending record is above the image.
            Some(chain) if chain.last().is_some_and(|last| last.lsn < record.lsn) => {
                chain.push(record);
                (true, chain.len())
            }
            _ => self.insert_out_of_order(page, record, counts),
        };
        if added {
            self.pending_records += 1;
            self.count(record.batch.file());
        }
        pending
    }

    /// One pending record more in `file`, nearly always the newest one.
    fn count(&mut self, file: u32) {
        match self.per_file.last_entry() {
            Some(mut newest) if *newest.key() == file => *newest.get_mut() += 1,
            _ => *self.per_file.entry(file).or_default() += 1,
        }
    }

    /// Adds a record that is the first of its page, or not its last: says whether there is one more, and how many there
    /// are.
    fn insert_out_of_order(&mut self, page: PageId, record: PendingRecord, counts: bool) -> (bool, usize) {
        if let Looked::Known(Some(base)) = self.map.get(page)
            && base.lsn >= record.lsn
        {
            return (false, self.pending.get(page).map_or(0, Vec::len));
        }
        let Some(chain) = self.pending.get_mut(page) else {
            self.pending.insert(page, vec![record]);
            return (true, 1);
        };
        match chain.binary_search_by_key(&record.lsn, |known| known.lsn) {
            Ok(at) if counts => {
                let before = std::mem::replace(&mut chain[at], record);
                forget(&mut self.per_file, before.batch.file());
                *self.per_file.entry(record.batch.file()).or_default() += 1;
                (false, chain.len())
            }
            Ok(_) => (false, chain.len()),
            Err(at) => {
                chain.insert(at, record);
                (true, chain.len())
            }
        }
    }

    /// Puts the pending records of a page back that the list of a checkpoint names.
    pub fn put_back(&mut self, page: PageId, chain: Vec<PendingRecord>) {
        if chain.is_empty() {
            return;
        }
        self.pending_records += chain.len();
        for record in &chain {
            *self.per_file.entry(record.batch.file()).or_default() += 1;
        }
        if let Some(before) = self.pending.insert(page, chain) {
            // A list names a page once; whatever came of another one is not counted twice.
            self.pending_records -= before.len();
            before.iter().for_each(|record| forget(&mut self.per_file, record.batch.file()));
        }
    }

    /// Takes a block of the page map as it is read at a start: drops pending records that its images hold, and keeps the
    /// block if `keep`.
    pub fn settle(&mut self, block: MapBlock, bytes: BlockBytes, keep: bool) {
        if self.map.load(block, bytes) {
            self.drop_done(block.number);
            if !keep {
                self.map.unload(block.number);
            }
        }
    }

    /// The block of the map at `lost` cannot be read; these images of its pages came from a peer, each with every record
    /// that the lost one had. False when the map has moved on.
    pub fn rebuild(&mut self, lost: MapBlock, images: &[(PageId, PageBase)]) -> bool {
        let rebuilt = self.map.rebuild(lost, images);
        if rebuilt {
            self.drop_done(lost.number);
        }
        rebuilt
    }

    fn count_anew(&mut self) {
        self.per_file.clear();
        self.pending_records = 0;
        for record in self.pending.iter().flat_map(|(_, chain)| chain) {
            self.pending_records += 1;
            *self.per_file.entry(record.batch.file()).or_default() += 1;
        }
    }

    /// Drops the records that truncation cut off.
    pub fn cut(&mut self, cuts: &[Cut]) {
        if cuts.is_empty() {
            return;
        }
        let keep: BTreeMap<LogAddress, Lsn> = cuts.iter().map(|cut| (cut.at, cut.keep)).collect();
        self.pending.edit(|chain| {
            chain.retain(|record| keep.get(&record.batch).is_none_or(|keep| record.lsn <= *keep));
        });
        self.count_anew();
    }

    /// What makes `page` as of `read_point`.
    #[must_use]
    pub fn plan(&self, page: PageId, read_point: Lsn) -> PagePlan {
        let chain = self.pending.get(page).map_or(&[][..], |chain| &chain[..]);
        let wanted = chain.partition_point(|record| record.lsn <= read_point);
        let (base, block) = match self.map.get(page) {
            Looked::Known(base) => (base, None),
            Looked::InBlock(block) => (None, Some(block)),
        };
        PagePlan { page, base, block, records: chain[..wanted].to_vec() }
    }

    /// Takes a block of the page map that was read. True when it is in memory now because of this.
    pub fn load(&mut self, block: MapBlock, bytes: BlockBytes) -> bool {
        let loaded = self.map.load(block, bytes);
        if loaded {
            self.drop_done(block.number);
        }
        loaded
    }

    /// Drops pending records that the images of a block hold.
    fn drop_done(&mut self, number: u64) {
        let first = PageId(number.saturating_mul(BLOCK_PAGES));
        let last = PageId(first.0.saturating_add(BLOCK_PAGES - 1));
        if self.pending.from(first).next().is_none_or(|(page, _)| page > last) {
            return;
        }
        let images: Vec<(PageId, PageBase)> = self.map.images(number).collect();
        for (page, base) in images {
            self.drop_up_to(page, base.lsn);
        }
    }

    /// Drops the pending records of a page at or below `lsn`.
    fn drop_up_to(&mut self, page: PageId, lsn: Lsn) {
        let Some(chain) = self.pending.get_mut(page) else {
            return;
        };
        let done = chain.partition_point(|record| record.lsn <= lsn);
        for record in chain.drain(..done) {
            forget(&mut self.per_file, record.batch.file());
        }
        self.pending_records -= done;
        if chain.is_empty() {
            self.pending.remove(page);
        }
    }

    /// The pages from `from` on that were ever written, in order: at most `limit` of them, all of one block of the map; and
    /// where to go on, if not at the end. Fails where that block must be loaded first.
    pub fn pages_from(&self, from: PageId, limit: usize) -> Result<(Vec<PageId>, Option<PageId>), MapBlock> {
        let mapped = self.map.numbers_from(from.0 / BLOCK_PAGES).next();
        let pending = self.pending.from(from).next().map(|(page, _)| page.0 / BLOCK_PAGES);
        let Some(number) = mapped.into_iter().chain(pending).min() else {
            return Ok((Vec::new(), None));
        };
        if let Looked::InBlock(block) = self.map.get(PageId(number * BLOCK_PAGES)) {
            return Err(block);
        }
        let images = self.map.images(number).map(|(page, _)| page).filter(|page| *page >= from);
        let pending = self.pending.from(from).map(|(page, _)| page);
        let pending = pending.take_while(|page| page.0 / BLOCK_PAGES == number);
        let both: BTreeSet<PageId> = images.chain(pending).collect();
        let mut pages: Vec<PageId> = both.into_iter().take(limit.saturating_add(1)).collect();
        if pages.len() > limit {
            let next = pages.pop();
            return Ok((pages, next));
        }
        let behind = (number + 1).checked_mul(BLOCK_PAGES).map(PageId);
        let more = |behind: &PageId| {
            self.map.numbers_from(number + 1).next().is_some() || self.pending.from(*behind).next().is_some()
        };
        Ok((pages, behind.filter(more)))
    }

    /// Where the first pending record of `page` lies, and how many are pending.
    #[must_use]
    pub fn chain(&self, page: PageId) -> Option<(LogAddress, usize)> {
        let chain = self.pending.get(page)?;
        chain.first().map(|record| (record.batch, chain.len()))
    }

    /// An image of `page` with everything at or below `base.lsn` now lies in the page store. Returns the image that it
    /// replaces. Fails, having changed nothing, where a block of the page map must be loaded first.
    pub fn materialised(&mut self, page: PageId, base: PageBase) -> Result<Option<PageBase>, MapBlock> {
        let before = self.map.set(page, base)?;
        self.drop_up_to(page, base.lsn);
        Ok(before)
    }

    /// The first log file from `from` on that a pending record needs.
    #[must_use]
    pub fn first_file_needed(&self, from: u32) -> Option<u32> {
        self.per_file.range(from..).next().map(|(file, _)| *file)
    }

    /// The batches in log files up to `file` that pending records lie in, with their lengths.
    pub fn batches_needed(&self, file: u32) -> BTreeMap<LogAddress, u32> {
        let needed =
            self.pending.iter().flat_map(|(_, chain)| chain).filter(|record| record.batch.file() <= file);
        needed.map(|record| (record.batch, record.batch_len)).collect()
    }

    /// The pages that wait for records of the batch at `at`, each with the last such record.
    #[must_use]
    pub fn waiting_for(&self, at: LogAddress) -> Vec<(PageId, Lsn)> {
        let last = |chain: &[PendingRecord]| chain.iter().rev().find(|r| r.batch == at).map(|r| r.lsn);
        self.pending.iter().filter_map(|(page, chain)| Some((page, last(chain)?))).collect()
    }

    /// How many records are pending.
    #[must_use]
    pub fn pending_records(&self) -> usize {
        self.pending_records
    }

    /// The pages with pending records from `from` on, in order.
    pub fn pending_from(&self, from: PageId) -> impl Iterator<Item = (PageId, &[PendingRecord])> + '_ {
        self.pending.from(from).map(|(page, chain)| (page, &chain[..]))
    }

    /// Where the images are.
    #[must_use]
    pub fn map(&self) -> &PageMap {
        &self.map
    }

    /// The same, to write its blocks and to give them up.
    pub fn map_mut(&mut self) -> &mut PageMap {
        &mut self.map
    }

    /// Panics when a rule of the module is broken.
    pub fn check_invariants(&self) {
        self.pending.check_invariants();
        for (page, chain) in self.pending.iter() {
            assert!(chain.windows(2).all(|two| two[0].lsn < two[1].lsn), "{page:?} is out of order");
            if let Looked::Known(Some(base)) = self.map.get(page) {
                assert!(chain[0].lsn > base.lsn, "{page:?} has records below its base");
            }
        }
        self.map.check_invariants();
        let mut counted = PageIndex { pending: self.pending.clone(), ..PageIndex::default() };
        counted.count_anew();
        assert_eq!((self.pending_records, &self.per_file), (counted.pending_records, &counted.per_file));
    }
}
