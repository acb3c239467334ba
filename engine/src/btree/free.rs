//! Freeing a whole tree, piece by piece from its right end, in mini-transactions of bounded size. Leaves are freed by
//! the numbers in their parents, without reading them.

use super::Tree;
use super::change::{remove, truncate};
use super::node::Node;
use crate::buffer::{BufferPool, Step, StorageError};
use crate::mtr::MiniTxn;
use crate::space::{PAGE_TYPE, page_type};

/// Leaves freed in one MTR: some kilobytes of log.
const AT_ONCE: usize = 256;

impl Tree {
    /// Frees every page of the tree, the root last. Nobody may use the tree any more, and nobody may find it again: the
    /// root page will be someone else's. After a crash half-way it can be called again, as long as the root was not freed
    /// (the last MTR; it fails with [`StorageError::Corrupt`] when the root is no root).
    pub async fn free_all(&self, pool: &BufferPool) -> Result<(), StorageError> {
        while !pool.write(|mtr| self.free_some(mtr)).await?.0 {}
        Ok(())
    }

    /// Frees some pages at the right end; true when the root was among them.
    fn free_some(&self, mtr: &mut MiniTxn<'_>) -> Step<bool> {
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
                let keep = count.saturating_sub(AT_ONCE);
                let leaves: Vec<_> = (keep..count).filter_map(|n| node.child(n)).collect();
                truncate(mtr, h, keep);
                for leaf in leaves {
                    mtr.free(leaf)?;
                }
                return Ok(false);
            }
            parent = Some((h, count - 1));
            h = mtr.latch(last)?;
        }
        mtr.set(h, PAGE_TYPE, &[page_type::DEAD]);
        mtr.free(mtr.page(h))?;
        match parent {
            Some((parent, at)) => remove(mtr, parent, at),
            None => return Ok(true),
        }
        Ok(false)
    }
}
