//! Tests of the trees, over a log store in memory.

pub(crate) mod check;
mod crash;
mod failing;
mod limits;
mod log_bytes;
mod model;
mod stress;

use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use sextant_redo::Lsn;
use sextant_volume::LogStore;

use super::{Direction, Edit, Resume, Tree};
use crate::buffer::BufferPool;
use crate::space;

/// Asks again as long as no copy answers, which is what the store of some tests does now and then: what was asked for has
/// changed nothing then.
macro_rules! answered {
    ($ask:expr) => {
        loop {
            match $ask.await {
                Err(crate::buffer::StorageError::Volume(sextant_volume::VolumeError::Unreadable {
                    ..
                })) => {}
                result => break result.unwrap(),
            }
        }
    };
}
use answered;

/// Xorshift: tests repeat.
pub(super) fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// A formatted volume with an empty tree.
pub(super) async fn fresh(store: Arc<dyn LogStore>, frames: usize) -> (Arc<BufferPool>, Tree) {
    let pool = BufferPool::new(store, frames * sextant_redo::PAGE_SIZE).unwrap();
    assert!(space::format_if_new(&pool).await.unwrap());
    let (tree, _) = pool.write(Tree::create).await.unwrap();
    (pool, tree)
}

pub(super) async fn put(pool: &BufferPool, tree: Tree, key: &[u8], value: &[u8]) -> Lsn {
    let step =
        |mtr: &mut crate::mtr::MiniTxn<'_>| tree.edit(mtr, key, |_, _| Ok((Edit::Put(value.to_vec()), ())));
    answered!(pool.write(&step)).1
}

pub(super) async fn remove(pool: &BufferPool, tree: Tree, key: &[u8]) -> (bool, Lsn) {
    let step =
        |mtr: &mut crate::mtr::MiniTxn<'_>| tree.edit(mtr, key, |old, _| Ok((Edit::Remove, old.is_some())));
    answered!(pool.write(&step))
}

pub(super) async fn get(pool: &BufferPool, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
    answered!(pool.run(|| tree.lookup(pool, key, |v| v.map(<[u8]>::to_vec))))
}

type Entries = Vec<(Vec<u8>, Vec<u8>)>;

/// All entries from `from` on, in the scan's direction.
pub(super) async fn scan(
    pool: &BufferPool,
    tree: Tree,
    from: Bound<Vec<u8>>,
    direction: Direction,
) -> Entries {
    let mut all = Vec::new();
    let mut from = from;
    loop {
        let step = || {
            let mut some = Vec::new();
            let resume = tree.scan_leaf(pool, from.as_ref().map(Vec::as_slice), direction, &mut |k, v| {
                some.push((k.to_vec(), v.to_vec()));
                ControlFlow::Continue(())
            })?;
            Ok((resume, some))
        };
        let (resume, some) = answered!(pool.run(&step));
        all.extend(some);
        match resume {
            Resume::Continue(next) => from = next,
            Resume::Done => return all,
            Resume::Stopped => unreachable!("the callback never breaks off"),
        }
    }
}

/// Frees a tree whole.
pub(super) async fn free_all(pool: &BufferPool, tree: Tree) -> Result<(), crate::buffer::StorageError> {
    while !pool.write(|mtr| tree.free_some(mtr)).await?.0.root {}
    Ok(())
}
