//! The n-th page read fails, for every n of a life of a tree: whoever asked is told, nothing is changed, and the next try
//! goes through.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use sextant_volume::VolumeError;

use super::check::{check, check_cache, check_space};
use super::{Direction, Edit, Tree, fresh, get, random, scan};
use crate::buffer::tests::store::{Failing, TestStore};
use crate::buffer::{BufferPool, StorageError};

type Model = BTreeMap<Vec<u8>, Vec<u8>>;

/// Five entries fill a leaf, so that puts split and removals unlink; with more leaves than the cache has frames.
const VALUE_BYTES: usize = 1500;
const KEYS: u64 = 240;
const STEPS: u64 = 150;

struct Life {
    store: Arc<TestStore>,
    pool: Arc<BufferPool>,
    tree: Tree,
    model: Model,
    refused: u64,
}

impl Life {
    async fn new() -> Life {
        let store = TestStore::new();
        let (pool, tree) = fresh(store.clone(), 1).await;
        let mut life = Life { store, pool, tree, model: Model::new(), refused: 0 };
        for n in 0..KEYS {
            life.put(n, n as u8).await;
        }
        life
    }

    async fn edit(&mut self, key: &[u8], edit: Edit) {
        loop {
            let step = |mtr: &mut crate::mtr::MiniTxn<'_>| {
                self.tree.edit(mtr, key, |old, _| Ok((edit.clone(), old.map(<[u8]>::to_vec))))
            };
            match self.pool.write(step).await {
                Ok((old, _)) => return assert_eq!(old, self.model.get(key).cloned()),
                Err(StorageError::Volume(VolumeError::Unreadable { .. })) => self.refused += 1,
                Err(error) => panic!("{error}"),
            }
            // What was refused has left the tree as it was.
            assert_eq!(get(&self.pool, self.tree, key).await, self.model.get(key).cloned());
        }
    }

    async fn put(&mut self, n: u64, byte: u8) {
        let (key, value) = (n.to_be_bytes().to_vec(), vec![byte; VALUE_BYTES]);
        self.edit(&key, Edit::Put(value.clone())).await;
        self.model.insert(key, value);
    }

    async fn remove(&mut self, n: u64) {
        let key = n.to_be_bytes();
        self.edit(&key, Edit::Remove).await;
        self.model.remove(&key[..]);
    }

    /// Runs of keys come and go, with looks in between.
    async fn go_on(&mut self) {
        let mut seed = 5;
        for n in 0..STEPS {
            let at = random(&mut seed) % KEYS;
            match n % 5 {
                // Removals of neighbours empty leaves.
                0 | 1 => {
                    for n in at..at + 7 {
                        self.remove(n).await;
                    }
                }
                2 | 3 => {
                    for n in 0..4 {
                        self.put(KEYS + at * 4 + n, n as u8).await;
                    }
                }
                _ => {
                    let key = at.to_be_bytes();
                    assert_eq!(get(&self.pool, self.tree, &key).await, self.model.get(&key[..]).cloned());
                }
            }
        }
        let all = scan(&self.pool, self.tree, Bound::Unbounded, Direction::Backward).await;
        assert!(all.into_iter().rev().eq(self.model.clone()));
    }

    async fn is_sound(&self) {
        let sound = check(&self.pool, self.tree).await;
        assert!(sound.entries == self.model, "the tree lost or kept what it should not");
        check_space(&self.pool, &[&sound]).await;
        check_cache(&self.pool).await;
        assert_eq!(self.store.reserved.load(Ordering::Relaxed), 0);
        let after = BufferPool::new(self.store.memory.crash(), 1 << 20).unwrap();
        assert!(check(&after, self.tree).await.entries == self.model);
    }
}

#[tokio::test]
async fn every_read_of_a_life_fails_once() {
    let mut life = Life::new().await;
    let before = life.store.reads.load(Ordering::Relaxed);
    life.go_on().await;
    let reads = life.store.reads.load(Ordering::Relaxed) - before;
    life.is_sound().await;
    assert!(reads > 100, "with {reads} reads this says little");
    let mut refused = 0;
    for n in 0..reads {
        let mut life = Life::new().await;
        *life.store.failing.lock() = Failing::After(n);
        life.go_on().await;
        assert_eq!(life.store.failed.load(Ordering::Relaxed), 1, "read {n}");
        refused += life.refused;
        life.is_sound().await;
    }
    println!("{reads} reads failed, one after the other; {refused} of them refused an edit");
    assert!(refused > reads / 3, "{refused} of {reads}");
}
