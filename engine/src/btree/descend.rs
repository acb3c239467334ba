//! Finding a leaf. One latch at a time: a child is latched after its parent was let go of, so in between it may have
//! been split, or left the tree.
//! - Split: its high fence says so; what is looked for is to the right (Lehman and Yao).
//! - Left the tree: it is marked dead, or is another tree's, another level's, or starts behind what is looked for. Then
//!   the search starts over at the root, which never moves; the entry that led there is gone by then, since parent and
//!   child changed in one MTR.
//!
//! Nodes are believed no more than that, so a search for a leaf may as well begin at any page: where the last one ended
//! ([`Near`]), or where one for the same or a neighbouring key did ([`hint`]).

use sextant_redo::PageId;

use super::Tree;
use super::node::Node;
use crate::buffer::{BufferPool, ReadGuard, Spot, Step, Stop, StorageError};
use crate::mtr::{MiniTxn, PageHandle};

/// A search that starts over so often is not unlucky: the tree is damaged.
const MAX_RESTARTS: usize = 1000;

/// Where the last key of several was found: rows that an index names one after another often lie one behind the other.
#[derive(Clone, Copy, Debug, Default)]
pub struct Near {
    leaf: Option<Spot>,
    /// The entry behind the last one found.
    next: usize,
    /// The last key was not near the one before.
    apart: bool,
}

impl Near {
    /// True when the last key was not near the one before, so that the next one is likely not to be either.
    #[must_use]
    pub fn is_apart(&self) -> bool {
        self.apart
    }
}

/// What is looked for.
#[derive(Clone, Copy, Debug)]
pub(super) enum Target<'k> {
    /// The node where this key is or would be.
    At(&'k [u8]),
    /// The node where the greatest key below this one is or would be.
    Below(&'k [u8]),
    /// The last node of its level.
    Last,
}

/// Where a search goes from a node.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// This is the node.
    Here,
    /// To its right sibling.
    Right(PageId),
    /// To a child.
    Down(PageId),
    /// Back to the root.
    Restart,
}

impl Target<'_> {
    fn is_right_of(&self, high: &[u8]) -> bool {
        match self {
            Target::At(key) => *key >= high,
            Target::Below(key) => *key > high,
            Target::Last => true,
        }
    }

    fn is_left_of(&self, low: &[u8]) -> bool {
        match self {
            Target::At(key) => *key < low,
            Target::Below(key) => *key <= low && !low.is_empty(),
            Target::Last => false,
        }
    }

    /// The entry of an inner node to follow.
    fn child(&self, node: Node<'_>) -> Option<PageId> {
        let n = match self {
            Target::At(key) => match node.search(key) {
                Ok(n) => n,
                Err(n) => n.checked_sub(1)?,
            },
            // The first child starts at the node's own low fence: nothing is left of it.
            Target::Below(key) => match node.search(key) {
                Ok(n) | Err(n) => n.saturating_sub(1),
            },
            Target::Last => node.count().checked_sub(1)?,
        };
        (n < node.count()).then(|| node.child(n)).flatten()
    }
}

/// Where to go from `node` to reach the target's node at `level`. `expected` is the level that the way here promised.
pub(super) fn way(tree: Tree, node: Node<'_>, target: Target<'_>, level: u8, expected: Option<u8>) -> Way {
    let known = node.is_of(tree.root) && expected.is_none_or(|e| e == node.level());
    if !known || node.level() < level || target.is_left_of(node.low()) {
        return Way::Restart;
    }
    if let (Some(high), Some(right)) = (node.high(), node.right())
        && target.is_right_of(high)
    {
        return Way::Right(right);
    }
    if node.level() == level {
        return Way::Here;
    }
    target.child(node).map_or(Way::Restart, Way::Down)
}

impl Tree {
    pub(super) fn damaged(&self) -> StorageError {
        StorageError::Corrupt {
            page: self.root,
            what: "it is not the root of a B+tree whose nodes can be reached",
        }
    }

    /// The target's leaf under a shared latch.
    pub(super) fn find_leaf<'p>(&self, pool: &'p BufferPool, target: Target<'_>) -> Step<ReadGuard<'p>> {
        Ok(self.descend(pool, target)?.1)
    }

    /// The leaf of `key`, and its entry or where that would be, by way of where the last search ended.
    pub(super) fn find_near<'p>(
        &self,
        pool: &'p BufferPool,
        key: &[u8],
        near: &mut Near,
    ) -> Step<(ReadGuard<'p>, Result<usize, usize>)> {
        let beside = self.beside(pool, key, *near);
        let apart = beside.is_none();
        let (page, leaf, at) = match beside {
            Some(found) => found,
            None => {
                let (page, leaf) = self.descend(pool, Target::At(key))?;
                let at = Node(&leaf).search(key);
                (page, leaf, at)
            }
        };
        *near = Near { leaf: Some(leaf.spot(page)), next: at.map_or_else(|n| n, |n| n + 1), apart };
        Ok((leaf, at))
    }

    /// The leaf of the last search, if it is this key's too, or the one behind it where that search ended with its last entry.
    /// Both are asked what any node on the way down is asked, so one that has been split, emptied or used again meanwhile
    /// is not taken. An entry with the key needs no fences: no two leaves of a tree have it.
    fn beside<'p>(
        &self,
        pool: &'p BufferPool,
        key: &[u8],
        near: Near,
    ) -> Option<(PageId, ReadGuard<'p>, Result<usize, usize>)> {
        let (spot, mut next) = (near.leaf?, near.next);
        let (mut page, mut leaf) = (spot.page, pool.read_at(spot)?);
        loop {
            let node = Node(&leaf);
            if node.is_of(self.root) && node.level() == 0 && node.has_key(next, key) {
                return Some((page, leaf, Ok(next)));
            }
            match way(*self, node, Target::At(key), 0, Some(0)) {
                Way::Here => {
                    let at = node.search(key);
                    return Some((page, leaf, at));
                }
                Way::Right(right) if next > 0 && next == node.count() => {
                    drop(leaf);
                    (page, leaf, next) = (right, pool.read_resident(right)?, 0);
                }
                _ => return None,
            }
        }
    }

    /// Where the hint for a key leads: to its leaf, or to the left sibling of that.
    pub(super) fn hinted<'p>(
        &self,
        pool: &'p BufferPool,
        target: Target<'_>,
    ) -> Option<(PageId, ReadGuard<'p>)> {
        let (page, leaf) = pool.read_hinted(self.hint(target)?)?;
        match way(*self, Node(&leaf), target, 0, Some(0)) {
            Way::Here => Some((page, leaf)),
            Way::Right(right) => {
                drop(leaf);
                let leaf = pool.read_resident(right)?;
                (way(*self, Node(&leaf), target, 0, Some(0)) == Way::Here).then_some((right, leaf))
            }
            Way::Down(_) | Way::Restart => None,
        }
    }

    /// The target's leaf, and a hint to it for the next search. Whoever reads keeps the tree from being freed.
    fn descend<'p>(&self, pool: &'p BufferPool, target: Target<'_>) -> Step<(PageId, ReadGuard<'p>)> {
        if let Some(found) = self.hinted(pool, target) {
            return Ok(found);
        }
        let (page, leaf) = self.descend_from_root(pool, target)?;
        if let Some(hint) = self.hint(target) {
            pool.leave_hint(hint, &leaf);
        }
        Ok((page, leaf))
    }

    fn descend_from_root<'p>(
        &self,
        pool: &'p BufferPool,
        target: Target<'_>,
    ) -> Step<(PageId, ReadGuard<'p>)> {
        for _ in 0..MAX_RESTARTS {
            let (mut page, mut expected) = (self.root, None);
            loop {
                let guard = pool.read(page)?;
                let node = Node(&guard);
                match way(*self, node, target, 0, expected) {
                    Way::Here => return Ok((page, guard)),
                    Way::Right(right) => page = right,
                    Way::Down(child) => {
                        expected = Some(node.level() - 1);
                        page = child;
                    }
                    Way::Restart => break,
                }
            }
        }
        Err(self.damaged().into())
    }

    /// The target's node at `level`, latched exclusively in `mtr`, whose view of it is up to date. Shared latches on the
    /// way. `wait` says whether the exclusive latch may be waited for.
    pub(super) fn find_to_change(
        &self,
        mtr: &mut MiniTxn<'_>,
        target: Target<'_>,
        level: u8,
        wait: bool,
    ) -> Step<PageHandle> {
        if level == 0
            && let Some(leaf) = self.hint(target).and_then(|hint| mtr.pool().hinted(hint))
        {
            match self.try_find_to_change(mtr, target, level, wait, (leaf, Some(0))) {
                Ok(None) | Err(Stop::Missing(_)) => {}
                Ok(Some(found)) => return Ok(found),
                Err(stop) => return Err(stop),
            }
        }
        for _ in 0..MAX_RESTARTS {
            if let Some(found) = self.try_find_to_change(mtr, target, level, wait, (self.root, None))? {
                return Ok(found);
            }
        }
        Err(self.damaged().into())
    }

    /// One try from a page on, of which this is the level that the way there promised.
    fn try_find_to_change(
        &self,
        mtr: &mut MiniTxn<'_>,
        target: Target<'_>,
        level: u8,
        wait: bool,
        from: (PageId, Option<u8>),
    ) -> Step<Option<PageHandle>> {
        let (mut page, mut expected) = from;
        loop {
            if expected == Some(level) {
                let (h, fresh) = if wait { mtr.latch_fresh(page)? } else { mtr.try_latch(page)? };
                mtr.refresh(h);
                let way = way(*self, Node(mtr.bytes(h)), target, level, expected);
                if way != Way::Here && fresh {
                    mtr.release(h);
                }
                match way {
                    Way::Here => return Ok(Some(h)),
                    Way::Right(right) => page = right,
                    Way::Down(_) | Way::Restart => return Ok(None),
                }
                continue;
            }
            let view = mtr.peek(page)?;
            let node = Node(&view);
            match way(*self, node, target, level, expected) {
                Way::Here => expected = Some(level),
                Way::Right(right) => page = right,
                Way::Down(child) => {
                    expected = Some(node.level() - 1);
                    page = child;
                }
                Way::Restart => return Ok(None),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::node::{LEVEL, RIGHT, ROOT};
    use super::*;
    use crate::btree::tests::{fresh, put};
    use crate::space::{PAGE_TYPE, page_type};
    use sextant_redo::PAGE_SIZE;
    use sextant_volume::memory::MemoryStore;

    /// A leaf in the middle of a tree.
    async fn middle() -> (Tree, Box<[u8; PAGE_SIZE]>) {
        let (pool, tree) = fresh(MemoryStore::new(), 64).await;
        for n in 0..1000u64 {
            put(&pool, tree, &n.to_be_bytes(), &[1; 100]).await;
        }
        let leaf = pool.run(|| Ok(Box::new(*tree.find_leaf(&pool, Target::At(&500u64.to_be_bytes()))?)));
        (tree, leaf.await.unwrap())
    }

    #[tokio::test]
    async fn a_node_that_is_not_what_was_promised_sends_back_to_the_root() {
        let (tree, leaf) = middle().await;
        let key = 500u64.to_be_bytes();
        let to =
            |page: &[u8; PAGE_SIZE], expected| way(tree, Node(page), Target::At(&key), 0, Some(expected));
        assert_eq!(to(&leaf, 0), Way::Here);
        assert_eq!(to(&leaf, 1), Way::Restart, "another level");
        for (at, byte) in
            [(PAGE_TYPE, page_type::DEAD), (PAGE_TYPE, page_type::TRUNK), (ROOT, 77), (LEVEL, 3)]
        {
            let mut other = leaf.clone();
            other[at] = byte;
            assert_eq!(to(&other, 0), Way::Restart, "byte {at} is {byte}");
        }
    }

    #[tokio::test]
    async fn a_leaf_that_was_near_is_taken_only_while_it_holds_the_key() {
        let pool_and_tree = fresh(MemoryStore::new(), 64).await;
        let (pool, tree) = (&pool_and_tree.0, pool_and_tree.1);
        for n in 0..1000u64 {
            put(pool, tree, &n.to_be_bytes(), &[1; 100]).await;
        }
        let mut near = Near::default();
        let mut find = |n: u64| {
            let key = n.to_be_bytes();
            let Ok((leaf, at)) = tree.find_near(pool, &key, &mut near) else { panic!("{n} is not resident") };
            assert_eq!(at, Node(&leaf).search(&key));
            assert!(at.is_ok(), "{n} is not there");
            drop(leaf);
            near.leaf
        };
        let first = find(500);
        assert!(first.is_some());
        assert_eq!(find(501), first, "its neighbour");
        assert!((502..700).map(&mut find).any(|leaf| leaf != first), "on into the next leaf");
        assert_eq!(find(500), first);
        assert_ne!(find(900), first);
        assert_ne!(find(10), first);
        assert_eq!(find(500), first);
        // A page that is no leaf, and places where the key is not.
        let Ok(root) = pool.read(tree.root) else { panic!("the root is not resident") };
        let root = root.spot(tree.root);
        for wrong in [
            Near { leaf: Some(root), ..Near::default() },
            Near { next: 3, ..near },
            Near { next: 9999, ..near },
        ] {
            let key = 7u64.to_be_bytes();
            let Ok((leaf, at)) = tree.find_near(pool, &key, &mut { wrong }) else {
                panic!("7 is not resident")
            };
            assert!(at.is_ok() && at == Node(&leaf).search(&key));
        }
    }

    #[tokio::test]
    async fn fences_say_where_a_key_is() {
        let (tree, leaf) = middle().await;
        let node = Node(&leaf);
        let (low, high, right) = (node.low(), node.high().unwrap(), node.right().unwrap());
        let to = |target| way(tree, node, target, 0, Some(0));
        assert_eq!(to(Target::At(low)), Way::Here);
        assert_eq!(to(Target::At(high)), Way::Right(right));
        assert_eq!(to(Target::Below(high)), Way::Here);
        assert_eq!(to(Target::Below(low)), Way::Restart);
        assert_eq!(to(Target::Last), Way::Right(right));
        // A page that was freed and serves a later part of the same tree.
        assert_eq!(to(Target::At(&low[..low.len() - 1])), Way::Restart);
        let mut last = leaf.clone();
        last[RIGHT..RIGHT + 8].fill(0);
        assert_eq!(way(tree, Node(&last), Target::Last, 0, None), Way::Here);
    }
}
