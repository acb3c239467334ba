//! Finding a leaf. One latch at a time: a child is latched after its parent was let go of, so in between it may have
//! been split, or left the tree.
//! - Split: its high fence says so; what is looked for is to the right (Lehman and Yao).
//! - Left the tree: it is marked dead, or is another tree's, another level's, or starts behind what is looked for. Then
//!   the search starts over at the root, which never moves; the entry that led there is gone by then, since parent and
//!   child changed in one MTR.

use sextant_redo::PageId;

use super::Tree;
use super::node::Node;
use crate::buffer::{BufferPool, ReadGuard, Step, StorageError};
use crate::mtr::{MiniTxn, PageHandle};

/// A search that starts over so often is not unlucky: the tree is damaged.
const MAX_RESTARTS: usize = 1000;

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
        for _ in 0..MAX_RESTARTS {
            let (mut page, mut expected) = (self.root, None);
            loop {
                let guard = pool.read(page)?;
                let node = Node(&guard);
                match way(*self, node, target, 0, expected) {
                    Way::Here => return Ok(guard),
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
        for _ in 0..MAX_RESTARTS {
            if let Some(found) = self.try_find_to_change(mtr, target, level, wait)? {
                return Ok(found);
            }
        }
        Err(self.damaged().into())
    }

    fn try_find_to_change(
        &self,
        mtr: &mut MiniTxn<'_>,
        target: Target<'_>,
        level: u8,
        wait: bool,
    ) -> Step<Option<PageHandle>> {
        let (mut page, mut expected) = (self.root, None);
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
