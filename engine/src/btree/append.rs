//! Inserting a run of entries at once: rows that are loaded, indexes that are built.

use super::change::{entry_size, insert_all};
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
        while let Some((key, _)) = run.get(done) {
            let node = Node(mtr.bytes(leaf));
            if !holds(node, key) {
                break;
            }
            let Err(at) = node.search(key) else {
                done += 1;
                continue;
            };
            let prefix = node.prefix_len();
            let together = &run[done..done + neighbours(node, at, &run[done..])];
            if together.is_empty() {
                break;
            }
            insert_all(mtr, leaf, at, together.iter().map(|(key, value)| (&key[prefix..], *value)));
            done += together.len();
        }
        Ok(done)
    }
}

/// True when the key lies between the node's fences.
fn holds(node: Node<'_>, key: &[u8]) -> bool {
    key >= node.low() && node.high().is_none_or(|high| key < high)
}

/// How many entries of the run go in front of entry `at`, side by side, and fit there.
fn neighbours(node: Node<'_>, at: usize, run: &[RunEntry<'_>]) -> usize {
    let (prefix, mut room) = (node.prefix_len(), node.room_at(at));
    let behind = (at < node.count()).then(|| node.suffix(at));
    for (n, (key, value)) in run.iter().enumerate() {
        let ascends = n == 0 || run[n - 1].0 < *key;
        let legal = key.len() <= MAX_KEY && value.len() <= max_value(key.len());
        if !ascends || !legal || !holds(node, key) || behind.is_some_and(|behind| &key[prefix..] >= behind) {
            return n;
        }
        match room.checked_sub(entry_size(key.len() - prefix, value.len())) {
            Some(rest) => room = rest,
            None => return n,
        }
    }
    run.len()
}
