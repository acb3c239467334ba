//! Slots of the page store that are free, one bit each; and runs of them, the unit in which space goes to the device and comes
//! back.

use crate::core::Slot;

/// Slots of a run: 1 MiB, so that the holes of a file are few.
pub(super) const RUN: u32 = 128;

/// So many slots, from a multiple of their number on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Run(u32);

impl Run {
    /// Its slots.
    pub(super) fn slots(self) -> impl Iterator<Item = Slot> {
        (self.0 * RUN..(self.0 + 1) * RUN).map(Slot)
    }

    /// Its first slot.
    pub(super) fn first(self) -> Slot {
        Slot(self.0 * RUN)
    }
}

/// Slots that are free, one bit each. The lowest are handed out first: the file stays short.
#[derive(Debug, Default)]
pub(super) struct FreeSlots {
    words: Vec<u64>,
    count: usize,
    /// No slot of a word in front of it is free.
    first: usize,
}

impl FreeSlots {
    pub(super) fn insert(&mut self, slot: Slot) {
        let (word, bit) = (slot.0 as usize / 64, slot.0 % 64);
        if self.words.len() <= word {
            self.words.resize(word + 1, 0);
        }
        let was_free = self.words[word] >> bit & 1 == 1;
        debug_assert!(!was_free, "slot {} is freed twice", slot.0);
        self.words[word] |= 1 << bit;
        self.count += usize::from(!was_free);
        self.first = self.first.min(word);
    }

    /// True when the slot was free.
    pub(super) fn remove(&mut self, slot: Slot) -> bool {
        let (word, bit) = (slot.0 as usize / 64, slot.0 % 64);
        let found = self.words.get(word).is_some_and(|bits| bits >> bit & 1 == 1);
        if found {
            self.words[word] &= !(1 << bit);
            self.count -= 1;
        }
        found
    }

    pub(super) fn pop(&mut self) -> Option<Slot> {
        while let Some(bits) = self.words.get(self.first) {
            if *bits != 0 {
                let slot = Slot((self.first * 64) as u32 + bits.trailing_zeros());
                self.remove(slot);
                return Some(slot);
            }
            self.first += 1;
        }
        None
    }

    /// How many are free.
    pub(super) fn count(&self) -> usize {
        self.count
    }

    /// Takes the last run all of whose slots are free.
    pub(super) fn take_run(&mut self) -> Option<Run> {
        let (runs, _) = self.words.as_chunks_mut::<{ RUN as usize / 64 }>();
        let (number, words) = runs
            .iter_mut()
            .enumerate()
            .rev()
            .find(|(_, words)| words.iter().all(|word| *word == u64::MAX))?;
        words.fill(0);
        self.count -= RUN as usize;
        Some(Run(number as u32))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn runs_are_taken_from_the_end_and_only_whole_ones() {
        let mut free = FreeSlots::default();
        (0..3 * RUN + 64).for_each(|slot| free.insert(Slot(slot)));
        assert!(free.remove(Slot(2 * RUN + 5)), "the third run is not whole");
        assert_eq!((free.take_run(), free.take_run(), free.take_run()), (Some(Run(1)), Some(Run(0)), None));
        assert_eq!(free.count(), RUN as usize - 1 + 64);
        assert_eq!(free.pop(), Some(Slot(2 * RUN)), "what is left is handed out");
        Run(0).slots().for_each(|slot| free.insert(slot));
        assert_eq!((free.pop(), free.take_run()), (Some(Slot(0)), None));
    }
}
