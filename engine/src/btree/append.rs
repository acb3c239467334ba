//! Inserting a run of entries at once: rows that are loaded, indexes that are built.

use super::change::{entry_size, insert};
use super::descend::Target;
use super::node::Node;
use super::{MAX_KEY, Tree, max_value};
use crate::buffer::Step;
use crate::mtr::MiniTxn;

/// An entry to insert: key and value.
pub type RunEntry<'e> = (&'e [u8], &'e [u8]);

impl Tree {
    /// Inserts the first entries of a run in one MTR: as many as belong to one leaf and fit there. Keys ascend. Returns how
    /// many are dealt with; one whose key is there already keeps its old value. When it is none, the first entry needs
    /// a split, or is too large: [`Tree::edit`] does the one and refuses the other.
    pub fn insert_run(&self, mtr: &mut MiniTxn<'_>, run: &[RunEntry<'_>]) -> Step<usize> {
        let Some((first, _)) = run.first() else {
            return Ok(0);
        };
        let leaf = self.find_to_change(mtr, Target::At(first), 0, true)?;
        mtr.follow(leaf);
        let mut done = 0;
        for (key, value) in run {
            let node = Node(mtr.bytes(leaf));
            if done > 0 && node.high().is_some_and(|high| *key >= high) {
                break;
            }
            let Err(at) = node.search(key) else {
                done += 1;
                continue;
            };
            let suffix = key.get(node.prefix_len()..).ok_or_else(|| self.damaged())?;
            let legal = key.len() <= MAX_KEY && value.len() <= max_value(key.len());
            if !legal || entry_size(suffix.len(), value.len()) > node.free() {
                break;
            }
            insert(mtr, leaf, at, suffix, value);
            done += 1;
        }
        Ok(done)
    }
}
