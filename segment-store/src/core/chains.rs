//! The pending records of a segment's pages: an ordered map from page to chain, made for being hit at random.
//!
//! Pages lie in leaves of 64 page numbers in a row; a leaf holds the chains of those that have one, in page order, and a
//! bit for each says which. So the tree above has a sixty-fourth of the entries, and a lookup in a segment of a million
//! pages touches few lines of memory that are not in the processor's cache.
//!
//! What must hold: a leaf has as many chains as bits, and at least one; no chain is empty.

use std::collections::BTreeMap;

use sextant_redo::PageId;

use super::PendingRecord;

/// Page numbers of a leaf.
const LEAF: u64 = 64;

/// The records of one page, in LSN order.
pub(super) type PageChain = Vec<PendingRecord>;

#[derive(Debug, Clone, Default)]
struct Leaf {
    used: u64,
    chains: Vec<PageChain>,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub(super) struct Chains {
    leaves: BTreeMap<u64, Leaf>,
}

fn place(page: PageId) -> (u64, u64) {
    (page.0 / LEAF, 1 << (page.0 % LEAF))
}

impl Leaf {
    /// How many chains lie in front of that of `bit`.
    fn rank(&self, bit: u64) -> usize {
        (self.used & (bit - 1)).count_ones() as usize
    }

    fn get(&self, bit: u64) -> Option<&PageChain> {
        (self.used & bit != 0).then(|| &self.chains[self.rank(bit)])
    }

    /// The chains of pages at or behind `bit`.
    fn from(&self, number: u64, bit: u64) -> impl Iterator<Item = (PageId, &PageChain)> + '_ {
        let mut left = self.used & !(bit - 1);
        self.chains[self.rank(bit)..].iter().map(move |chain| {
            let page = PageId(number * LEAF + u64::from(left.trailing_zeros()));
            left &= left.wrapping_sub(1);
            (page, chain)
        })
    }
}

impl Chains {
    pub(super) fn get(&self, page: PageId) -> Option<&PageChain> {
        let (number, bit) = place(page);
        self.leaves.get(&number)?.get(bit)
    }

    pub(super) fn get_mut(&mut self, page: PageId) -> Option<&mut PageChain> {
        let (number, bit) = place(page);
        let leaf = self.leaves.get_mut(&number)?;
        let at = leaf.rank(bit);
        (leaf.used & bit != 0).then(|| &mut leaf.chains[at])
    }

    /// Puts a chain that is not empty in place and returns what it replaces.
    pub(super) fn insert(&mut self, page: PageId, chain: PageChain) -> Option<PageChain> {
        debug_assert!(!chain.is_empty());
        let (number, bit) = place(page);
        let leaf = self.leaves.entry(number).or_default();
        let at = leaf.rank(bit);
        if leaf.used & bit != 0 {
            return Some(std::mem::replace(&mut leaf.chains[at], chain));
        }
        leaf.used |= bit;
        leaf.chains.insert(at, chain);
        None
    }

    pub(super) fn remove(&mut self, page: PageId) {
        let (number, bit) = place(page);
        let Some(leaf) = self.leaves.get_mut(&number) else { return };
        if leaf.used & bit != 0 {
            let at = leaf.rank(bit);
            leaf.chains.remove(at);
            leaf.used &= !bit;
        }
        if leaf.used == 0 {
            self.leaves.remove(&number);
        }
    }

    /// The chains of the pages from `from` on, in page order.
    pub(super) fn from(&self, from: PageId) -> impl Iterator<Item = (PageId, &PageChain)> + '_ {
        let (first, bit) = place(from);
        let leaves = self.leaves.range(first..);
        leaves.flat_map(move |(number, leaf)| leaf.from(*number, if *number == first { bit } else { 1 }))
    }

    /// All chains, in page order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (PageId, &PageChain)> + '_ {
        self.from(PageId(0))
    }

    /// Lets `edit` change every chain; those that it leaves empty go.
    pub(super) fn edit(&mut self, mut edit: impl FnMut(&mut PageChain)) {
        self.leaves.retain(|_, leaf| {
            let (mut left, mut kept) = (leaf.used, leaf.used);
            leaf.chains.retain_mut(|chain| {
                let bit = left & left.wrapping_neg();
                left &= !bit;
                edit(chain);
                if chain.is_empty() {
                    kept &= !bit;
                }
                !chain.is_empty()
            });
            leaf.used = kept;
            kept != 0
        });
    }

    /// Panics when a rule of the module is broken.
    pub(super) fn check_invariants(&self) {
        for leaf in self.leaves.values() {
            assert_eq!(leaf.used.count_ones() as usize, leaf.chains.len());
            assert!(leaf.used != 0 && leaf.chains.iter().all(|chain| !chain.is_empty()));
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sextant_redo::Lsn;

    use super::*;
    use crate::core::LogAddress;

    fn chain(lsn: u64) -> PageChain {
        let batch = LogAddress::new(1, 4096);
        vec![PendingRecord { lsn: Lsn(lsn), batch, batch_len: 1, offset: 0, len: 1, crc: 0 }]
    }

    #[derive(Debug, Clone)]
    enum Step {
        Insert(u64),
        Remove(u64),
        EmptyEvery(u64),
        From(u64),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let page = || prop_oneof![0..200u64, (u64::MAX - 70)..=u64::MAX];
        let step = prop_oneof![
            6 => page().prop_map(Step::Insert),
            3 => page().prop_map(Step::Remove),
            1 => (2..5u64).prop_map(Step::EmptyEvery),
            2 => page().prop_map(Step::From),
        ];
        prop::collection::vec(step, 0..200)
    }

    proptest! {
        #[test]
        fn it_is_an_ordered_map(steps in steps()) {
            let (mut chains, mut model) = (Chains::default(), BTreeMap::new());
            for (n, step) in steps.into_iter().enumerate() {
                match step {
                    Step::Insert(page) => {
                        let lsn = n as u64 + 1;
                        let before = model.insert(PageId(page), chain(lsn));
                        prop_assert_eq!(chains.insert(PageId(page), chain(lsn)), before);
                    }
                    Step::Remove(page) => {
                        model.remove(&PageId(page));
                        chains.remove(PageId(page));
                    }
                    Step::EmptyEvery(n) => {
                        model.retain(|_, chain| chain[0].lsn.0 % n != 0);
                        chains.edit(|chain| chain.retain(|record| record.lsn.0 % n != 0));
                    }
                    Step::From(page) => {
                        let found: Vec<_> = chains.from(PageId(page)).map(|(page, chain)| (page, chain.clone())).collect();
                        let wanted: Vec<_> =
                            model.range(PageId(page)..).map(|(page, chain)| (*page, chain.clone())).collect();
                        prop_assert_eq!(found, wanted);
                        prop_assert_eq!(chains.get(PageId(page)), model.get(&PageId(page)));
                        prop_assert_eq!(chains.get_mut(PageId(page)), model.get_mut(&PageId(page)));
                    }
                }
                chains.check_invariants();
            }
            prop_assert!(chains.iter().map(|(page, _)| page).eq(model.keys().copied()));
        }
    }
}
