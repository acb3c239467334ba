//! Freeing a whole tree, piece by piece from its right end, in mini-transactions of bounded size. Leaves are freed by
//! the numbers in their parents, without reading them.

use super::Tree;
use super::change::{remove, truncate};
use super::node::Node;
use crate::buffer::Step;
use crate::mtr::MiniTxn;
use crate::space::{PAGE_TYPE, page_type};

/// Leaves freed in one MTR: under two kilobytes of log, and the control page, which every split wants, is latched for
/// microseconds.
pub(crate) const FREED_AT_ONCE: usize = 32;

/// What [`Tree::free_some`] did.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Freed {
    /// Pages freed.
    pub(crate) pages: usize,
    /// The root was among them: the tree is no more.
    pub(crate) root: bool,
}

impl Tree {
    /// Frees some pages at the right end; the root is the last. Nobody may use the tree any more, and once the root is
    /// freed nobody may find it again: that page will be someone else's. Between two calls there may be a crash.
    ///
    /// # Errors
    /// [`crate::buffer::StorageError::Corrupt`] when the root is no root.
    pub(crate) fn free_some(&self, mtr: &mut MiniTxn<'_>) -> Step<Freed> {
        let mut h = mtr.latch(self.root)?;
        if !Node(mtr.bytes(h)).is_of(self.root) {
            return Err(self.damaged().into());
        }
        let mut parent = None;
        loop {
            let node = Node(mtr.bytes(h));
            let (level, count) = (node.level(), node.count());
            if level == 0 || count == 0 {
                break;
            }
            let last = node.child(count - 1).ok_or_else(|| self.damaged())?;
            if level == 1 {
                let keep = count.saturating_sub(FREED_AT_ONCE);
                let leaves: Vec<_> = (keep..count).filter_map(|n| node.child(n)).collect();
                truncate(mtr, h, keep);
                for leaf in &leaves {
                    mtr.free(*leaf)?;
                }
                return Ok(Freed { pages: leaves.len(), root: false });
            }
            parent = Some((h, count - 1));
            h = mtr.latch(last)?;
        }
        mtr.set(h, PAGE_TYPE, &[page_type::DEAD]);
        if parent.is_none() {
            // Its leaves still say whose they were, and this page may become the root of another tree.
            mtr.pool().forget_hints();
        }
        mtr.free(mtr.page(h))?;
        if let Some((parent, at)) = parent {
            remove(mtr, parent, at);
        }
        Ok(Freed { pages: 1, root: parent.is_none() })
    }
}
