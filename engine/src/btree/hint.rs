//! What keys must have in common to share a hint (`buffer/hints.rs`): the tree, and all of the key but its last
//! four bits. Sixteen rows with ids that follow one another share one, as do sixteen neighbouring numbers in an index.

use sextant_redo::PageId;

use super::Tree;
use super::descend::Target;
use crate::buffer::BufferPool;

/// Bits of a key's last byte in which keys that share a hint may differ.
const RANGE: u8 = 0x0f;
/// An odd number without a pattern in its bits (2^64 / golden ratio).
const ODD: u64 = 0x9e37_79b9_7f4a_7c15;

impl Tree {
    /// The hash under which the hint to the target's leaf is kept.
    pub(super) fn hint(&self, target: Target<'_>) -> Option<u64> {
        let Target::At(key) = target else { return None };
        Some(hash(self.root, key))
    }

    /// Has the processor fetch what leads to a key's leaf, and then the leaf's beginning, while others are looked up: `far` is
    /// to be looked up later, `soon` earlier and was `far` before. Every line that a search in a large tree touches
    /// is a miss of the processor's cache, and one at a time that is most of what the search takes.
    pub fn prefetch(&self, pool: &BufferPool, far: Option<&[u8]>, soon: Option<&[u8]>) {
        if let Some(key) = far {
            pool.prefetch_hint(hash(self.root, key));
        }
        if let Some(key) = soon {
            pool.prefetch_hinted(hash(self.root, key));
        }
    }
}

/// What is the same for all keys of a tree that share a hint, and for others hardly ever.
fn hash(root: PageId, key: &[u8]) -> u64 {
    let Some((last, front)) = key.split_last() else {
        return mix(root.0, u64::MAX);
    };
    let mut hash = mix(root.0, u64::from(last & !RANGE) | (key.len() as u64) << 8);
    let (words, rest) = front.as_chunks::<8>();
    for word in words {
        hash = mix(hash, u64::from_le_bytes(*word));
    }
    if rest.is_empty() {
        return hash;
    }
    let mut word = [0; 8];
    word[..rest.len()].copy_from_slice(rest);
    mix(hash, u64::from_le_bytes(word))
}

/// Every bit of both counts for every bit of the result: a slot is chosen by the low ones, and the high ones tell entries
/// from one another.
fn mix(hash: u64, word: u64) -> u64 {
    let product = u128::from(hash ^ word ^ ODD).wrapping_mul(u128::from(ODD));
    let folded = product as u64 ^ (product >> 64) as u64;
    (folded ^ (folded >> 29)).wrapping_mul(ODD)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::sync::Arc;

    use sextant_volume::memory::MemoryStore;

    use super::super::node::Node;
    use super::super::tests::{free_all, fresh, get, put, remove};
    use super::*;

    fn of(root: u64, key: impl AsRef<[u8]>) -> u64 {
        hash(PageId(root), key.as_ref())
    }

    #[test]
    fn sixteen_neighbours_share_a_hint() {
        let first = of(9, 320u64.to_be_bytes());
        assert!((320..336u64).all(|n| of(9, n.to_be_bytes()) == first));
        assert_ne!(of(9, 336u64.to_be_bytes()), first);
        assert_ne!(of(10, 320u64.to_be_bytes()), first, "another tree");
    }

    #[test]
    fn all_of_a_key_counts() {
        let keys = [
            "",
            "a",
            "q",
            "aa",
            "ab",
            "a\0",
            "a\0\0",
            "aaaaaaaaq",
            "baaaaaaaq",
            "aaaaaaaaaaaaaaaaq",
            "aaaaaaaabaaaaaaaq",
        ];
        let hashes: HashSet<u64> = keys.iter().map(|key| of(1, key)).collect();
        // "aa" and "ab" differ in the last four bits alone.
        assert_eq!(hashes.len(), keys.len() - 1);
    }

    #[test]
    fn low_and_high_bits_spread() {
        let hashes: Vec<u64> = (0..4096u64).map(|n| of(3, (n << 4).to_be_bytes())).collect();
        let distinct = |bits: fn(&u64) -> u64| hashes.iter().map(bits).collect::<HashSet<_>>().len();
        // Of so many balls in so many boxes 63 % of the boxes are hit.
        for found in [distinct(|h| h % 4096), distinct(|h| h >> 52)] {
            assert!((2450..2750).contains(&found), "{found}");
        }
    }

    const KEYS: u64 = 1000;

    /// A tree of some leaves, all of its ranges looked up once.
    async fn known() -> (Arc<BufferPool>, Tree) {
        let (pool, tree) = fresh(MemoryStore::new(), 64).await;
        for n in 0..KEYS {
            put(&pool, tree, &n.to_be_bytes(), &[1; 100]).await;
        }
        for n in 0..KEYS {
            assert!(get(&pool, tree, &n.to_be_bytes()).await.is_some());
        }
        (pool, tree)
    }

    /// How many of the keys are found by a hint alone, and that none is found where it is not.
    fn found(pool: &BufferPool, tree: Tree) -> usize {
        let is_found = |n: &u64| {
            let key = n.to_be_bytes();
            let Some((_, leaf)) = tree.hinted(pool, Target::At(&key)) else { return false };
            assert!(Node(&leaf).search(&key).is_ok());
            true
        };
        (0..KEYS).filter(is_found).count()
    }

    #[tokio::test]
    async fn hints_lead_to_leaves_until_their_pages_are_gone() {
        let (pool, tree) = known().await;
        // Two ranges may want one slot.
        assert!(found(&pool, tree) > KEYS as usize / 2, "{}", found(&pool, tree));
        for n in 0..200 {
            drop(pool.fetch(PageId(10_000 + n)).await);
        }
        assert_eq!(found(&pool, tree), 0, "the frames hold other pages");
        for n in 0..KEYS {
            assert!(get(&pool, tree, &n.to_be_bytes()).await.is_some());
        }
        assert!(found(&pool, tree) > KEYS as usize / 2);
    }

    #[tokio::test]
    async fn writers_follow_hints_and_look_again() {
        let (pool, tree) = known().await;
        for n in 0..KEYS {
            put(&pool, tree, &n.to_be_bytes(), &[2; 300]).await;
        }
        found(&pool, tree);
        for n in 0..KEYS {
            assert_eq!(get(&pool, tree, &n.to_be_bytes()).await, Some(vec![2; 300]), "leaves were split");
            assert!(remove(&pool, tree, &n.to_be_bytes()).await.0);
            assert_eq!(get(&pool, tree, &n.to_be_bytes()).await, None);
        }
    }

    #[tokio::test]
    async fn a_tree_that_gets_the_root_of_a_freed_one_has_none_of_its_entries() {
        let (pool, old) = known().await;
        free_all(&pool, old).await.unwrap();
        let mut new = pool.write(Tree::create).await.unwrap().0;
        while new != old {
            new = pool.write(Tree::create).await.unwrap().0;
        }
        for n in 0..KEYS {
            assert_eq!(get(&pool, new, &n.to_be_bytes()).await, None);
        }
    }
}
