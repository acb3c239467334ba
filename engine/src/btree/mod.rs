//! B+trees.

use std::ops::{Bound, ControlFlow};

use sextant_redo::PageId;

use crate::buffer::{BufferPool, Step, StorageError};
use crate::mtr::MiniTxn;

/// Longest key, in bytes.
pub const MAX_KEY: usize = 2000;

/// Longest value beside a key of `key_len` bytes.
#[must_use]
pub const fn max_value(key_len: usize) -> usize {
    4060 - 2 * key_len
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
    /// Inserts or replaces.
    Put(Vec<u8>),
    /// Removes, if there is one.
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

/// How a scan goes on behind one leaf.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Resume {
    /// There is nothing further.
    Done,
    /// Call again with this bound.
    Continue(Bound<Vec<u8>>),
    /// The callback broke off: to go on, call with `Excluded` of the last key that it took.
    Stopped,
}

impl Tree {
    /// A new, empty tree.
    pub fn create(mtr: &mut MiniTxn<'_>) -> Step<Tree> {
        let _ = mtr;
        todo!()
    }
    /// The key's value under a shared latch; `f` must not touch the pool.
    pub fn lookup<R>(&self, pool: &BufferPool, key: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> Step<R> {
        let _ = (pool, key, f);
        todo!()
    }
    /// Entries of one leaf; `f` (key, value) must not touch the pool.
    pub fn scan_leaf(
        &self,
        pool: &BufferPool,
        from: Bound<&[u8]>,
        direction: Direction,
        f: &mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>,
    ) -> Step<Resume> {
        let _ = (pool, from, direction, f);
        todo!()
    }
    /// Changes one entry under its leaf's exclusive latch.
    pub fn edit<R>(
        &self,
        mtr: &mut MiniTxn<'_>,
        key: &[u8],
        f: impl FnOnce(Option<&[u8]>, &mut MiniTxn<'_>) -> Step<(Edit, R)>,
    ) -> Step<R> {
        let _ = (mtr, key, f);
        todo!()
    }
    /// The greatest key.
    pub fn last_key(&self, pool: &BufferPool) -> Step<Option<Vec<u8>>> {
        let _ = pool;
        todo!()
    }
    /// Frees every page, the root last, in bounded mini-transactions.
    pub async fn free_all(&self, pool: &BufferPool) -> Result<(), StorageError> {
        let _ = pool;
        todo!()
    }
}
