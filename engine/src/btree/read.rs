//! Looking up and scanning.

use std::ops::{Bound, ControlFlow};

use super::descend::{Near, Target};
use super::node::Node;
use super::{Direction, OnEntry, Resume, Tree};
use crate::buffer::{BufferPool, Step};

impl Tree {
    /// Looks a key up. `f` sees its value under the leaf's shared latch, so it must not touch the pool.
    pub fn lookup<R>(&self, pool: &BufferPool, key: &[u8], f: impl FnOnce(Option<&[u8]>) -> R) -> Step<R> {
        self.lookup_near(pool, key, &mut Near::default(), f)
    }

    /// The same for one of several keys that may lie close together.
    pub fn lookup_near<R>(
        &self,
        pool: &BufferPool,
        key: &[u8],
        near: &mut Near,
        f: impl FnOnce(Option<&[u8]>) -> R,
    ) -> Step<R> {
        let (leaf, at) = self.find_near(pool, key, near)?;
        Ok(f(at.ok().map(|n| Node(&leaf).value(n))))
    }

    /// Shows `f` (key, value) the entries of **one** leaf from `from` on, under the leaf's shared latch: `f` must not touch
    /// the pool. [`Resume`] says how to go on. Between two leaves nothing is held, so entries that come or go
    /// meanwhile may be seen or not; none that stays is missed or seen twice.
    pub fn scan_leaf(
        &self,
        pool: &BufferPool,
        from: Bound<&[u8]>,
        direction: Direction,
        f: &mut OnEntry<'_>,
    ) -> Step<Resume> {
        match direction {
            Direction::Forward => self.scan_forward(pool, from, f),
            Direction::Backward => self.scan_backward(pool, from, f),
        }
    }

    fn scan_forward(&self, pool: &BufferPool, from: Bound<&[u8]>, f: &mut OnEntry<'_>) -> Step<Resume> {
        let start = match from {
            Bound::Included(key) | Bound::Excluded(key) => key,
            Bound::Unbounded => &[],
        };
        let leaf = self.find_leaf(pool, Target::At(start))?;
        let node = Node(&leaf);
        let first = match (node.search(start), from) {
            (Ok(n), Bound::Excluded(_)) => n + 1,
            (Ok(n) | Err(n), _) => n,
        };
        if show(node, first..node.count(), f).is_break() {
            return Ok(Resume::Stopped);
        }
        Ok(match node.high() {
            Some(high) => Resume::Continue(Bound::Included(high.to_vec())),
            None => Resume::Done,
        })
    }

    fn scan_backward(&self, pool: &BufferPool, from: Bound<&[u8]>, f: &mut OnEntry<'_>) -> Step<Resume> {
        let target = match from {
            Bound::Included(key) => Target::At(key),
            Bound::Excluded([]) => return Ok(Resume::Done),
            Bound::Excluded(key) => Target::Below(key),
            Bound::Unbounded => Target::Last,
        };
        let leaf = self.find_leaf(pool, target)?;
        let node = Node(&leaf);
        let behind = match from {
            Bound::Included(key) => node.search(key).map_or_else(|n| n, |n| n + 1),
            Bound::Excluded(key) => node.search(key).unwrap_or_else(|n| n),
            Bound::Unbounded => node.count(),
        };
        if show(node, (0..behind).rev(), f).is_break() {
            return Ok(Resume::Stopped);
        }
        Ok(match node.low() {
            [] => Resume::Done,
            low => Resume::Continue(Bound::Excluded(low.to_vec())),
        })
    }

    /// The greatest key below `end`.
    pub fn last_key_below(&self, pool: &BufferPool, end: &[u8]) -> Step<Option<Vec<u8>>> {
        let mut found = None;
        let mut from = Bound::Excluded(end.to_vec());
        loop {
            let mut keep_first = |key: &[u8], _: &[u8]| {
                found = Some(key.to_vec());
                ControlFlow::Break(())
            };
            let bound = from.as_ref().map(Vec::as_slice);
            match self.scan_leaf(pool, bound, Direction::Backward, &mut keep_first)? {
                Resume::Continue(next) => from = next,
                Resume::Done | Resume::Stopped => return Ok(found),
            }
        }
    }
}

fn show(node: Node<'_>, entries: impl Iterator<Item = usize>, f: &mut OnEntry<'_>) -> ControlFlow<()> {
    let prefix = node.prefix();
    if prefix.is_empty() {
        for n in entries {
            f(node.suffix(n), node.value(n))?;
        }
        return ControlFlow::Continue(());
    }
    let mut key = prefix.to_vec();
    for n in entries {
        key.truncate(prefix.len());
        key.extend_from_slice(node.suffix(n));
        f(&key, node.value(n))?;
    }
    ControlFlow::Continue(())
}
