//! The page map of one segment: which slot of the page store holds the newest image of a page, and at which page LSN. It
//! lies on the device in blocks of 8 KiB, each for 680 pages in a row; memory holds where every block lies (16 bytes for
//! 5 MiB of pages) and as many blocks as the node's budget allows.
//!
//! What must hold:
//! - a block on the device is never changed: a changed one goes to a new slot, and the checkpoint names it with its
//!   checksum, so a lost, misdirected or torn write of a block is found when it is read;
//! - what differs from the device is in memory (`dirty`) until it is written, and is not given up before;
//! - no I/O here: where a block is missing, [`Looked::InBlock`] says which one the shell has to read.
//!
//! ```text
//! 0..4    magic "SXM1"
//! 4..8    CRC32C of bytes 8..8192, u32
//! 8..16   number of the block, u64: page number / 680
//! 16..32  reserved, zero
//! 32..    680 entries: page LSN u64 (0: the page has no image), slot u32
//! ```

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};

use sextant_redo::{Lsn, PAGE_SIZE, PageId};

use super::{PageBase, Slot};

const MAGIC: [u8; 4] = *b"SXM1";
const CRC_AT: usize = 4;
const CHECKED_FROM: usize = 8;
const HEADER: usize = 32;
const ENTRY: usize = 12;
/// Pages of one block.
pub const BLOCK_PAGES: u64 = 680;

const _: () = assert!(HEADER + ENTRY * BLOCK_PAGES as usize == PAGE_SIZE);

/// A block on the device.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MapBlock {
    /// Its number: that of its pages divided by [`BLOCK_PAGES`].
    pub number: u64,
    /// Where it lies.
    pub slot: Slot,
    /// Its checksum.
    pub crc: u32,
}

/// Bytes that are not the block that is meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error(
    "block {} of the page map has checksum {computed:#010x}, not {:#010x}, or is another one",
    wanted.number,
    wanted.crc
)]
pub struct WrongBlock {
    wanted: MapBlock,
    computed: u32,
}

/// The bytes of a block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BlockBytes(Box<[u8; PAGE_SIZE]>);

impl BlockBytes {
    fn new(number: u64) -> BlockBytes {
        let mut bytes = Box::new([0; PAGE_SIZE]);
        bytes[..4].copy_from_slice(&MAGIC);
        bytes[8..16].copy_from_slice(&number.to_le_bytes());
        BlockBytes(bytes)
    }

    /// Checks bytes that were read for `wanted`.
    pub fn check(bytes: &[u8], wanted: MapBlock) -> Result<BlockBytes, WrongBlock> {
        let wrong = |computed| WrongBlock { wanted, computed };
        let bytes: &[u8; PAGE_SIZE] = bytes.try_into().map_err(|_| wrong(0))?;
        let computed = crc32c::crc32c(&bytes[CHECKED_FROM..]);
        let is_it = bytes[..4] == MAGIC && bytes[8..16] == wanted.number.to_le_bytes();
        if computed != wanted.crc || !is_it {
            return Err(wrong(computed));
        }
        Ok(BlockBytes(Box::new(*bytes)))
    }

    fn seal(&mut self) -> u32 {
        let crc = crc32c::crc32c(&self.0[CHECKED_FROM..]);
        self.0[CRC_AT..CHECKED_FROM].copy_from_slice(&crc.to_le_bytes());
        crc
    }

    /// The image of a page of this block.
    #[must_use]
    pub fn get(&self, page: PageId) -> Option<PageBase> {
        self.entry((page.0 % BLOCK_PAGES) as usize)
    }

    fn entry(&self, at: usize) -> Option<PageBase> {
        let entry = &self.0[HEADER + at * ENTRY..][..ENTRY];
        let (lsn, slot) = entry.split_at(8);
        let lsn = Lsn(u64::from_le_bytes(lsn.try_into().ok()?));
        let slot = Slot(u32::from_le_bytes(slot.try_into().ok()?));
        (lsn != Lsn::ZERO).then_some(PageBase { lsn, slot })
    }

    fn set(&mut self, page: PageId, base: PageBase) {
        let entry = &mut self.0[HEADER + (page.0 % BLOCK_PAGES) as usize * ENTRY..][..ENTRY];
        entry[..8].copy_from_slice(&base.lsn.0.to_le_bytes());
        entry[8..].copy_from_slice(&base.slot.0.to_le_bytes());
    }

    /// All images of the block numbered `number`, in page order.
    pub fn images(&self, number: u64) -> impl Iterator<Item = (PageId, PageBase)> + '_ {
        let page = move |at: usize| PageId(number.saturating_mul(BLOCK_PAGES).saturating_add(at as u64));
        (0..BLOCK_PAGES as usize).filter_map(move |at| Some((page(at), self.entry(at)?)))
    }

    /// The bytes as they go to the device.
    #[must_use]
    pub fn bytes(&self) -> &[u8; PAGE_SIZE] {
        &self.0
    }
}

/// What the map says of a page.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Looked {
    /// Its newest image, or that it has none.
    Known(Option<PageBase>),
    /// This block says it, and it is not in memory.
    InBlock(MapBlock),
}

#[derive(Debug, Clone)]
struct Cached {
    bytes: BlockBytes,
    /// Counts changes, to see whether one came while the block was being written.
    changes: u64,
    /// Looked at since the hand of the clock last passed.
    used: Cell<bool>,
}

/// A changed block on its way to the device.
#[derive(Debug)]
pub struct BlockOut {
    /// Which.
    pub number: u64,
    /// Sealed.
    pub bytes: BlockBytes,
    crc: u32,
    changes: u64,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct PageMap {
    places: BTreeMap<u64, MapBlock>,
    cached: BTreeMap<u64, Cached>,
    dirty: BTreeSet<u64>,
    /// Where the search for a block to give up goes on.
    hand: u64,
}

fn block_of(page: PageId) -> u64 {
    page.0 / BLOCK_PAGES
}

impl PageMap {
    /// The map whose blocks a checkpoint names.
    #[must_use]
    pub fn restore(blocks: impl IntoIterator<Item = MapBlock>) -> PageMap {
        let places = blocks.into_iter().map(|block| (block.number, block)).collect();
        PageMap { places, ..PageMap::default() }
    }

    /// Looks a page up.
    #[must_use]
    pub fn get(&self, page: PageId) -> Looked {
        let number = block_of(page);
        match (self.cached.get(&number), self.places.get(&number)) {
            (Some(cached), _) => {
                cached.used.set(true);
                Looked::Known(cached.bytes.get(page))
            }
            (None, Some(place)) => Looked::InBlock(*place),
            (None, None) => Looked::Known(None),
        }
    }

    /// Says where the newest image of a page lies, and what it replaces. Fails where the page's block must be loaded first.
    pub fn set(&mut self, page: PageId, base: PageBase) -> Result<Option<PageBase>, MapBlock> {
        let number = block_of(page);
        if !self.cached.contains_key(&number) {
            if let Some(place) = self.places.get(&number) {
                return Err(*place);
            }
            let bytes = BlockBytes::new(number);
            self.cached.insert(number, Cached { bytes, changes: 0, used: Cell::new(true) });
        }
        let Some(cached) = self.cached.get_mut(&number) else {
            return Ok(None);
        };
        let before = cached.bytes.get(page);
        cached.bytes.set(page, base);
        cached.changes += 1;
        cached.used.set(true);
        self.dirty.insert(number);
        Ok(before)
    }

    /// Takes a block that was read, unless the map has moved on. True when it is in memory now because of this.
    pub fn load(&mut self, block: MapBlock, bytes: BlockBytes) -> bool {
        if self.places.get(&block.number) != Some(&block) || self.cached.contains_key(&block.number) {
            return false;
        }
        self.cached.insert(block.number, Cached { bytes, changes: 0, used: Cell::new(true) });
        true
    }

    /// Gives up a block that is not dirty.
    pub fn unload(&mut self, number: u64) {
        if !self.dirty.contains(&number) {
            self.cached.remove(&number);
        }
    }

    /// The images of a block that is in memory.
    pub fn images(&self, number: u64) -> impl Iterator<Item = (PageId, PageBase)> + '_ {
        let cached = self.cached.get(&number);
        cached.into_iter().flat_map(move |cached| cached.bytes.images(number))
    }

    /// Changed blocks, at most `limit`, ready to be written.
    pub fn changed(&mut self, limit: usize) -> Vec<BlockOut> {
        let mut out = Vec::new();
        for number in self.dirty.iter().take(limit) {
            if let Some(cached) = self.cached.get_mut(number) {
                let crc = cached.bytes.seal();
                let bytes = cached.bytes.clone();
                out.push(BlockOut { number: *number, bytes, crc, changes: cached.changes });
            }
        }
        out
    }

    /// A changed block is in `slot` now. Returns the slot that is no longer needed: of the block before, or, when the block
    /// was changed again meanwhile, the new one.
    pub fn written(&mut self, out: &BlockOut, slot: Slot) -> Option<Slot> {
        let unchanged = self.cached.get(&out.number).is_some_and(|cached| cached.changes == out.changes);
        if !unchanged {
            return Some(slot);
        }
        self.dirty.remove(&out.number);
        let place = MapBlock { number: out.number, slot, crc: out.crc };
        self.places.insert(out.number, place).map(|before| before.slot)
    }

    /// Gives up one block that is not dirty and was not looked at lately; false when every one is dirty.
    pub fn give_up_one(&mut self) -> bool {
        // At the second pass nothing counts as looked at any more.
        for _ in 0..2 {
            let ahead = self.cached.range(self.hand..).chain(self.cached.range(..self.hand));
            let mut found = None;
            for (number, cached) in ahead {
                if !self.dirty.contains(number) && !cached.used.replace(false) {
                    found = Some(*number);
                    break;
                }
            }
            if let Some(number) = found {
                self.hand = number + 1;
                self.cached.remove(&number);
                return true;
            }
        }
        false
    }

    /// Where every block that was ever written lies, in order. What is dirty is newer in memory.
    pub fn blocks(&self) -> impl Iterator<Item = MapBlock> + '_ {
        self.places.values().copied()
    }

    /// The numbers of all blocks from `number` on, on the device or only in memory.
    pub fn numbers_from(&self, number: u64) -> impl Iterator<Item = u64> + '_ {
        let mut on_device = self.places.range(number..).map(|(number, _)| *number).peekable();
        let mut in_memory = self.cached.range(number..).map(|(number, _)| *number).peekable();
        std::iter::from_fn(move || {
            let next = match (on_device.peek(), in_memory.peek()) {
                (Some(one), Some(other)) => *one.min(other),
                (one, other) => *one.or(other)?,
            };
            on_device.next_if_eq(&next);
            in_memory.next_if_eq(&next);
            Some(next)
        })
    }

    /// Where a block lies, if it was ever written.
    #[must_use]
    pub fn place(&self, number: u64) -> Option<MapBlock> {
        self.places.get(&number).copied()
    }

    /// True when a block is in memory.
    #[must_use]
    pub fn is_loaded(&self, number: u64) -> bool {
        self.cached.contains_key(&number)
    }

    /// The block at `lost` cannot be read: these are the images of its pages now. False when the map has moved on, and
    /// nothing has changed.
    pub fn rebuild(&mut self, lost: MapBlock, images: &[(PageId, PageBase)]) -> bool {
        if self.places.get(&lost.number) != Some(&lost) || self.cached.contains_key(&lost.number) {
            return false;
        }
        let mut bytes = BlockBytes::new(lost.number);
        images.iter().for_each(|(page, base)| bytes.set(*page, *base));
        self.cached.insert(lost.number, Cached { bytes, changes: 1, used: Cell::new(true) });
        self.dirty.insert(lost.number);
        true
    }

    /// The block cannot be read, and what it names is free for others: from now on it is never believed, whatever a later
    /// read of it brings.
    pub fn disbelieve(&mut self, lost: MapBlock, error: &WrongBlock) {
        self.places.insert(lost.number, MapBlock { crc: !error.computed, ..lost });
    }

    /// A block on the device went bad: it is to be written anew. False when it is not in memory, and so is lost.
    pub fn write_again(&mut self, number: u64) -> bool {
        let loaded = self.is_loaded(number);
        if loaded {
            self.dirty.insert(number);
        }
        loaded
    }

    /// Blocks in memory.
    #[must_use]
    pub fn cached_blocks(&self) -> usize {
        self.cached.len()
    }

    /// Blocks that differ from the device.
    #[must_use]
    pub fn dirty_blocks(&self) -> usize {
        self.dirty.len()
    }

    /// Panics when a rule of the module is broken.
    pub fn check_invariants(&self) {
        assert!(
            self.dirty.iter().all(|number| self.cached.contains_key(number)),
            "a dirty block was given up"
        );
        for number in self.cached.keys() {
            assert!(
                self.places.contains_key(number) || self.dirty.contains(number),
                "block {number} is neither on the device nor to be written"
            );
        }
        assert!(self.places.iter().all(|(number, block)| *number == block.number));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn base(lsn: u64, slot: u32) -> PageBase {
        PageBase { lsn: Lsn(lsn), slot: Slot(slot) }
    }

    #[test]
    fn a_block_is_only_taken_for_the_one_that_is_meant() {
        let mut map = PageMap::default();
        assert_eq!(map.set(PageId(681), base(5, 9)), Ok(None));
        let out = map.changed(9).remove(0);
        assert_eq!(map.written(&out, Slot(3)), None);
        let place = map.blocks().next().expect("written");
        let good = out.bytes.bytes().to_vec();
        assert_eq!(BlockBytes::check(&good, place).expect("it is").get(PageId(681)), Some(base(5, 9)));
        for at in 0..PAGE_SIZE {
            let mut bad = good.clone();
            bad[at] ^= 0x10;
            let checked = BlockBytes::check(&bad, place);
            assert!(checked.is_err() || (4..8).contains(&at), "byte {at}");
        }
        assert!(BlockBytes::check(&good, MapBlock { number: 2, ..place }).is_err());
        assert!(BlockBytes::check(&good[..4096], place).is_err());
    }

    #[test]
    fn a_change_during_a_write_keeps_the_block_dirty() {
        let mut map = PageMap::default();
        map.set(PageId(1), base(1, 1)).expect("new");
        let out = map.changed(1).remove(0);
        map.set(PageId(2), base(2, 2)).expect("in memory");
        assert_eq!(map.written(&out, Slot(7)), Some(Slot(7)), "the new slot is of no use");
        assert_eq!(map.dirty_blocks(), 1);
        assert!(!map.give_up_one(), "dirty blocks stay");
        let out = map.changed(1).remove(0);
        assert_eq!(map.written(&out, Slot(8)), None);
        assert!(map.give_up_one() && !map.give_up_one());
        let Looked::InBlock(place) = map.get(PageId(1)) else { panic!("given up") };
        assert_eq!(map.set(PageId(1), base(3, 3)), Err(place));
        assert!(map.load(place, out.bytes.clone()) && !map.load(place, out.bytes));
        assert_eq!(map.set(PageId(1), base(3, 3)), Ok(Some(base(1, 1))));
        map.check_invariants();
    }

    proptest! {
        #[test]
        fn it_equals_a_plain_map_however_small_its_memory(
            steps in proptest::collection::vec((0u64..5000, 1u64..1000, 0u8..8), 1..200),
        ) {
            let (mut map, mut model) = (PageMap::default(), BTreeMap::new());
            let mut device: BTreeMap<Slot, BlockBytes> = BTreeMap::new();
            let mut next = 0;
            for (page, lsn, what) in steps {
                let page = PageId(page);
                if let Looked::InBlock(block) = map.get(page) {
                    map.load(block, BlockBytes::check(device[&block.slot].bytes(), block).expect("whole"));
                }
                prop_assert_eq!(map.get(page), Looked::Known(model.get(&page).copied()));
                match what {
                    0 => for out in map.changed(2) {
                        next += 1;
                        device.insert(Slot(next), out.bytes.clone());
                        if let Some(free) = map.written(&out, Slot(next)) {
                            device.remove(&free);
                        }
                    },
                    1 => while map.give_up_one() {},
                    2 => { map.give_up_one(); }
                    _ => prop_assert_eq!(map.set(page, base(lsn, 1)), Ok(model.insert(page, base(lsn, 1)))),
                }
                map.check_invariants();
            }
            let mut all = BTreeMap::new();
            for number in map.numbers_from(0).collect::<Vec<_>>() {
                if let Looked::InBlock(block) = map.get(PageId(number * BLOCK_PAGES)) {
                    map.load(block, device[&block.slot].clone());
                }
                all.extend(map.images(number));
            }
            prop_assert_eq!(all, model);
        }
    }
}
