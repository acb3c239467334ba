//! B+trees over pages: B-link trees (Lehman and Yao 1981) with variable-length keys and values. Any number of readers
//! and writers work on a tree at once; each latches one node at a time on its way down, so there is no lock of a whole
//! tree, and a split only stops those who want the nodes that it changes.
//!
//! | file | idea |
//! | --- | --- |
//! | `node` | the format of a node, reading it |
//! | `change`, `diff` | changing one node by small patches |
//! | `build` | writing a whole node |
//! | `descend` | finding a leaf while others split and unlink |
//! | `hint` | which keys share a hint to their leaf |
//! | `read` | look-up, scans |
//! | `edit`, `append` | one entry changed, a run of entries inserted |
//! | `split`, `unlink`, `free` | nodes come and go |
//! | `verify` | what every node that comes from storage must fulfil |
//!
//! What must hold:
//! - A node holds the keys from its low fence (inclusive) to its high fence (exclusive); its right sibling's low fence is
//!   its high fence. The last node of a level has neither high fence nor right sibling.
//! - The entry of a child in its parent has the child's low fence as its key, and there is exactly one.
//! - The root's page never changes.
//! - All of this changes in one MTR, so it holds at every VDL.

mod append;
mod build;
mod change;
mod descend;
mod diff;
mod edit;
mod free;
mod hint;
mod node;
mod read;
mod split;
#[cfg(test)]
pub(crate) mod tests;
mod unlink;
mod verify;

use std::ops::{Bound, ControlFlow};

use sextant_redo::PageId;

pub use append::RunEntry;
pub use descend::Near;
#[cfg(test)]
pub(crate) use free::FREED_AT_ONCE;
pub(crate) use verify::verify;

/// Longest key, in bytes.
pub const MAX_KEY: usize = 2000;

/// Longest value beside a key of `key_len` bytes, in bytes: such that two entries like it and the fences that they need
/// fit a page.
///
/// In a tree whose entries are all near the limit in very different ways (2,000-byte keys with short values among
/// 4,000-byte values with short keys) a value below the limit may still be refused.
#[must_use]
pub const fn max_value(key_len: usize) -> usize {
    // Twice the entry and twice a separator of the key's length, at most.
    (node::CAPACITY / 2 - node::ENTRY - 1).saturating_sub(2 * key_len)
}

/// A B+tree, named by its root page, which never moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tree {
    /// The root page.
    pub root: PageId,
}

/// What [`Tree::edit`] does to the key's entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Edit {
    /// Nothing.
    Keep,
    /// Inserts it, or replaces its value: only what differs is logged.
    Put(Vec<u8>),
    /// Removes it, if it is there.
    Remove,
}

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Direction {
    /// Ascending keys.
    Forward,
    /// Descending keys.
    Backward,
}

/// What a scan calls with each entry's key and value.
pub type OnEntry<'f> = dyn FnMut(&[u8], &[u8]) -> ControlFlow<()> + 'f;

/// How a scan goes on behind one leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// There is nothing further.
    Done,
    /// Call again with this bound.
    Continue(Bound<Vec<u8>>),
    /// The callback broke off. To go on behind the last entry that it took, call with `Excluded` of its key.
    Stopped,
}
