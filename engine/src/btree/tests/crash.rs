//! Whatever the VDL at which an engine dies, the next one finds sound trees and no leaked page.

use std::collections::BTreeMap;

use sextant_volume::LogStore;
use sextant_volume::memory::MemoryStore;

use super::check::{check, check_space};
use super::{fresh, put, random, remove};
use crate::buffer::BufferPool;
use crate::space;

#[tokio::test]
async fn the_tree_is_sound_at_any_vdl() {
    let mut seed = 0x5eed;
    let mut store = MemoryStore::new();
    let (mut pool, tree) = fresh(store.clone(), 512).await;
    let mut durable: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for _ in 0..60 {
        // The model follows the VDL: while it is held, changes are lost in a crash.
        let mut model = durable.clone();
        let held_from = random(&mut seed) % 300;
        for n in 0..300 {
            if n == held_from {
                store.hold_vdl(true);
                durable = model.clone();
            }
            let key = (random(&mut seed) % 5000).to_be_bytes().to_vec();
            if random(&mut seed).is_multiple_of(3) {
                remove(&pool, tree, &key).await;
                model.remove(&key);
            } else {
                let value = vec![n as u8; (random(&mut seed) % 400) as usize];
                put(&pool, tree, &key, &value).await;
                model.insert(key, value);
            }
        }
        store = store.crash();
        pool = BufferPool::new(store.clone(), 512 * 8192).unwrap();
        assert!(!space::format_if_new(&pool).await.unwrap());
        let sound = check(&pool, tree).await;
        assert_eq!(sound.entries, durable);
        check_space(&pool, &[&sound]).await;
    }
}

/// Every prefix of the log that ends in a consistency point, one MTR at a time, over a run of splits and unlinks.
#[tokio::test]
async fn the_tree_is_sound_after_every_mtr() {
    let store = MemoryStore::new();
    let (pool, tree) = fresh(store.clone(), 512).await;
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    let mut seed = 77;
    for n in 0..400u64 {
        let key = (random(&mut seed) % 100).to_be_bytes().to_vec();
        if n < 250 {
            let value = vec![n as u8; 1200];
            put(&pool, tree, &key, &value).await;
            model.insert(key, value);
        } else {
            remove(&pool, tree, &key).await;
            model.remove(&key);
        }
        let after = BufferPool::new(store.crash(), 512 * 8192).unwrap();
        assert_eq!(after.store().vdl(), store.vdl());
        let sound = check(&after, tree).await;
        assert_eq!(sound.entries, model);
        check_space(&after, &[&sound]).await;
    }
}
