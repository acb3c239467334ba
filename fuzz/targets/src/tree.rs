//! A B+tree does what an ordered map does, over a cache of the smallest size; and the pages that its log makes hold the same.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

use sextant_engine::btree::{Direction, Edit, Resume, Tree, max_value};
use sextant_engine::buffer::BufferPool;
use sextant_engine::mtr::MiniTxn;
use sextant_engine::space;
use sextant_redo::PAGE_SIZE;
use sextant_volume::memory::MemoryStore;

use crate::input::{Input, noise};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// A program of puts, removes and look-ups.
pub fn against_a_map(data: &[u8]) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime");
    runtime.block_on(run(data));
}

async fn run(data: &[u8]) {
    let store = MemoryStore::new();
    let pool = BufferPool::new(store.clone(), PAGE_SIZE).expect("a pool");
    space::format_if_new(&pool).await.expect("a formatted volume");
    let (tree, _) = pool.write(Tree::create).await.expect("an empty tree");
    let mut model = Model::new();
    let mut input = Input::new(data);
    for _ in 0..2000 {
        if input.is_empty() {
            break;
        }
        let choice = input.u8();
        let key = key(&mut input);
        match choice % 8 {
            0..=4 => {
                let value = value(&mut input, max_value(key.len()));
                put(&pool, tree, &key, &value).await;
                model.insert(key, value);
            }
            5 | 6 => assert_eq!(remove(&pool, tree, &key).await, model.remove(&key).is_some()),
            _ => assert_eq!(get(&pool, tree, &key).await, model.get(&key).cloned()),
        }
    }
    same(&pool, tree, &model).await;
    // Everything again, from the log alone.
    let reopened = BufferPool::new(store.crash(), PAGE_SIZE).expect("a pool");
    same(&reopened, tree, &model).await;
}

/// Keys that are dense, share long prefixes, are long, or are anything.
fn key(input: &mut Input<'_>) -> Vec<u8> {
    match input.u8() % 4 {
        0 => u32::from(input.u16() % 600).to_be_bytes().to_vec(),
        1 => [&[b'a'; 40][..], &[input.u8()]].concat(),
        2 => vec![input.u8() % 4; input.below(1500)],
        _ => {
            let len = input.below(40);
            input.bytes(len).to_vec()
        }
    }
}

fn value(input: &mut Input<'_>, max: usize) -> Vec<u8> {
    let (len, byte) = (input.below(1000).min(max), input.u8());
    (0..len).map(|at| byte ^ (at as u8 & 3)).collect()
}

async fn put(pool: &Arc<BufferPool>, tree: Tree, key: &[u8], value: &[u8]) {
    let step = |mtr: &mut MiniTxn<'_>| tree.edit(mtr, key, |_, _| Ok((Edit::Put(value.to_vec()), ())));
    pool.write(step).await.expect("put");
}

async fn remove(pool: &Arc<BufferPool>, tree: Tree, key: &[u8]) -> bool {
    let step = |mtr: &mut MiniTxn<'_>| tree.edit(mtr, key, |old, _| Ok((Edit::Remove, old.is_some())));
    pool.write(step).await.expect("removed").0
}

async fn get(pool: &Arc<BufferPool>, tree: Tree, key: &[u8]) -> Option<Vec<u8>> {
    pool.run(|| tree.lookup(pool, key, |value| value.map(<[u8]>::to_vec))).await.expect("looked up")
}

async fn same(pool: &Arc<BufferPool>, tree: Tree, model: &Model) {
    let forward: Vec<_> = model.iter().map(|(k, v)| (k.clone(), v.clone())).collect();
    assert!(scan(pool, tree, Direction::Forward).await == forward, "scanned forward");
    let backward: Vec<_> = forward.into_iter().rev().collect();
    assert!(scan(pool, tree, Direction::Backward).await == backward, "scanned backward");
}

async fn scan(pool: &Arc<BufferPool>, tree: Tree, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
    let mut all = Vec::new();
    let mut from = Bound::Unbounded;
    loop {
        let step = || {
            let mut some = Vec::new();
            let resume =
                tree.scan_leaf(pool, from.as_ref().map(Vec::as_slice), direction, &mut |key, value| {
                    some.push((key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                })?;
            Ok((resume, some))
        };
        let (resume, some) = pool.run(step).await.expect("scanned");
        all.extend(some);
        match resume {
            Resume::Continue(next) => from = next,
            Resume::Done => return all,
            Resume::Stopped => unreachable!("the callback never breaks off"),
        }
    }
}

/// Programs.
#[must_use]
pub fn seeds() -> Vec<Vec<u8>> {
    (0..6).map(|n| noise(n + 60, 100 << n)).collect()
}
