//! Taking an emptied leaf out of the tree.
//!
//! The leaf's left sibling takes over its range and right link, the parent loses its entry, and the page is marked dead
//! and freed, in one MTR. Someone who is on the way to it finds it dead and starts over. It is done when parent and left
//! sibling can be latched at once (they are against the latch order) and the leaf is not its parent's first;
//! else the leaf stays, empty, and serves the keys of its range when they come. So at most one empty leaf a parent is
//! left by a queue that is filled at one end and drained at the other. Nodes that are merely sparse are not
//! merged (issue 5), inner nodes never leave.

use super::Tree;
use super::build::{Entry, Plan, SplitKey, build, size};
use super::change::remove;
use super::descend::Target;
use super::node::{CAPACITY, Node};
use crate::buffer::{Step, Stop};
use crate::mtr::{MiniTxn, PageHandle};
use crate::space::{PAGE_TYPE, page_type};

impl Tree {
    /// Unlinks a leaf whose last entry is about to go. False, with nothing staged, when that is not to be had now.
    pub(super) fn unlink(&self, mtr: &mut MiniTxn<'_>, leaf: PageHandle) -> Step<bool> {
        let low = Node(mtr.bytes(leaf)).low().to_vec();
        if low.is_empty() {
            return Ok(false);
        }
        let (parent, at, left) = match self.latch_neighbours(mtr, leaf, &low) {
            Ok(Some(latched)) => latched,
            Ok(None) | Err(Stop::Contended(_)) => return Ok(false),
            Err(stop) => return Err(stop),
        };
        let (left_copy, leaf_copy) = (*mtr.bytes(left), *mtr.bytes(leaf));
        let (node, gone) = (Node(&left_copy), Node(&leaf_copy));
        let plan =
            Plan { root: self.root, level: 0, low: node.low(), high: gone.high(), right: gone.right() };
        if size(&plan, entries(node)) > CAPACITY {
            return Ok(false);
        }
        mtr.set(leaf, PAGE_TYPE, &[page_type::DEAD]);
        mtr.free(mtr.page(leaf))?;
        build(mtr, left, &plan, entries(node));
        remove(mtr, parent, at);
        Ok(true)
    }

    /// Latches parent and left sibling without waiting; with the leaf's entry in the parent. None when the leaf is the
    /// parent's first.
    fn latch_neighbours(
        &self,
        mtr: &mut MiniTxn<'_>,
        leaf: PageHandle,
        low: &[u8],
    ) -> Step<Option<(PageHandle, usize, PageHandle)>> {
        let page = mtr.page(leaf);
        let parent = self.find_to_change(mtr, Target::At(low), 1, false)?;
        let node = Node(mtr.bytes(parent));
        let Ok(at) = node.search(low) else {
            return Ok(None);
        };
        let before = at.checked_sub(1).and_then(|n| node.child(n));
        let (Some(before), true) = (before, node.child(at) == Some(page)) else {
            return Ok(None);
        };
        let (left, _) = mtr.try_latch(before)?;
        mtr.refresh(left);
        let sibling = Node(mtr.bytes(left));
        let joined = sibling.is_of(self.root) && sibling.level() == 0 && sibling.right() == Some(page);
        Ok(joined.then_some((parent, at, left)))
    }
}

fn entries(node: Node<'_>) -> impl Iterator<Item = Entry<'_>> {
    let prefix = node.prefix();
    (0..node.count()).map(move |n| {
        let suffix = node.suffix(n);
        (SplitKey { prefix, suffix }, node.value(n))
    })
}
