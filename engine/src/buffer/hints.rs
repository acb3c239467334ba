//! Where searches ended: a frame for the hash of what was looked for, so that the next one for it or its neighbours need
//! neither come down from the root nor look the page up. InnoDB's adaptive hash index keeps the same; this one is a table of
//! one word a slot, written without a lock, in which a newer entry takes an older one's place.
//!
//! An entry is a hint: the frame may hold another page by now, or none. Whoever follows it asks the page what a search asks
//! every node. That says nothing about pages of a tree that is freed, whose root a later tree may get: so everything is
//! forgotten when a root is freed, and entries are made only by those who keep their tree from being freed.

use crate::sync::{AtomicU64, Ordering};

/// Slots a frame: a leaf of rows of two hundred bytes has three to four ranges of keys with a hash of their own.
const SLOTS_PER_FRAME: usize = 4;
/// 8 MiB. Forgetting them all takes a millisecond or two.
const SLOTS_MAX: usize = 1 << 20;
/// Low half of a slot: the frame. High half: bits of the hash that tell its entries from others'.
const FRAME_MASK: u64 = 0xffff_ffff;

/// See the module.
pub(super) struct FrameHints {
    /// A power of two of them.
    slots: Box<[AtomicU64]>,
}

impl FrameHints {
    pub(super) fn new(frames: usize) -> FrameHints {
        let slots = (frames * SLOTS_PER_FRAME).next_power_of_two().min(SLOTS_MAX);
        FrameHints { slots: (0..slots).map(|_| AtomicU64::new(0)).collect() }
    }

    fn slot(&self, hash: u64) -> &AtomicU64 {
        // A remainder would be a division, several times a row.
        &self.slots[hash as usize & (self.slots.len() - 1)]
    }

    /// Where the entry for this hash lies.
    pub(super) fn address(&self, hash: u64) -> *const u8 {
        std::ptr::from_ref(self.slot(hash)).cast()
    }

    /// In which frame a search with this hash ended.
    pub(super) fn get(&self, hash: u64) -> Option<u32> {
        let entry = self.slot(hash).load(Ordering::Relaxed);
        ((entry ^ hash) & !FRAME_MASK == 0).then_some(entry as u32)
    }

    /// A search with this hash ended in `frame`.
    pub(super) fn set(&self, hash: u64, frame: u32) {
        self.slot(hash).store(hash & !FRAME_MASK | u64::from(frame), Ordering::Relaxed);
    }

    /// Forgets everything.
    pub(super) fn clear(&self) {
        self.slots.iter().for_each(|slot| slot.store(0, Ordering::Relaxed));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hint_is_found_by_its_own_hash_alone_until_another_takes_its_slot() {
        let hints = FrameHints::new(32);
        assert_eq!(hints.slots.len(), 128);
        let (one, same_slot) = (5 << 32 | 7, 6 << 32 | 7);
        assert_eq!(hints.get(one), None);
        hints.set(one, u32::MAX);
        assert_eq!((hints.get(one), hints.get(same_slot), hints.get(one + 1)), (Some(u32::MAX), None, None));
        hints.set(same_slot, 88);
        assert_eq!((hints.get(one), hints.get(same_slot)), (None, Some(88)));
        hints.clear();
        assert_eq!(hints.get(same_slot), None);
    }

    #[test]
    fn memory_is_bounded() {
        assert_eq!(FrameHints::new(1 << 30).slots.len(), SLOTS_MAX);
    }
}
