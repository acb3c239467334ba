//! Many threads at once on one tree, over a store whose reads take their time and whose VDL lags.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use sextant_volume::memory::MemoryStore;

use super::check::{check, check_cache, check_space};
use super::{Direction, Edit, Resume, Tree, answered, fresh, get, put, random, remove};
use crate::buffer::BufferPool;
use crate::buffer::tests::store::{Failing, TestStore};

/// Lets the VDL lag and catch up until told to stop.
fn lagging(store: Arc<MemoryStore>, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<()> {
    std::thread::spawn(move || {
        while !stop.load(Ordering::Relaxed) {
            store.hold_vdl(true);
            std::thread::sleep(Duration::from_micros(700));
            store.hold_vdl(false);
            std::thread::sleep(Duration::from_micros(300));
        }
    })
}

const WRITERS: u64 = 4;

/// Each writer owns the keys that are its number modulo the number of writers, so it knows what they hold.
async fn writer(pool: Arc<BufferPool>, tree: Tree, number: u64, ops: u64) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut seed = 1 + number;
    let mut model = BTreeMap::new();
    for n in 0..ops {
        let key = ((random(&mut seed) % 3000) * WRITERS + number).to_be_bytes().to_vec();
        // Grow and shrink by turns, so that leaves split and empty.
        match (random(&mut seed) % 10, n / 3000 % 2) {
            (0, _) => assert_eq!(get(&pool, tree, &key).await, model.get(&key).cloned()),
            (1..=3, 0) | (1..=8, 1) => {
                assert_eq!(remove(&pool, tree, &key).await.0, model.remove(&key).is_some());
            }
            _ => {
                let value = vec![n as u8; (random(&mut seed) % 200) as usize];
                put(&pool, tree, &key, &value).await;
                model.insert(key, value);
            }
        }
    }
    model
}

/// Scans all the time; keys come in order, and those that nobody changes are all there.
async fn scanner(pool: Arc<BufferPool>, tree: Tree, direction: Direction, stop: Arc<AtomicBool>, fixed: u64) {
    while !stop.load(Ordering::Relaxed) {
        let mut from = Bound::Unbounded;
        let (mut last, mut seen): (Option<Vec<u8>>, u64) = (None, 0);
        loop {
            let step = || {
                let mut keys = Vec::new();
                let bound = from.as_ref().map(Vec::as_slice);
                let resume = tree.scan_leaf(&pool, bound, direction, &mut |key, _| {
                    keys.push(key.to_vec());
                    ControlFlow::Continue(())
                })?;
                Ok((resume, keys))
            };
            let (resume, keys) = answered!(pool.run(&step));
            for key in keys {
                let ordered = last.as_ref().is_none_or(|last| match direction {
                    Direction::Forward => *last < key,
                    Direction::Backward => *last > key,
                });
                assert!(ordered, "{last:?} then {key:?}");
                seen += u64::from(key.len() == 9);
                last = Some(key);
            }
            match resume {
                Resume::Continue(next) => from = next,
                _ => break,
            }
        }
        assert_eq!(seen, fixed, "{direction:?}");
        tokio::task::yield_now().await;
    }
}

async fn storm(frames: usize, ops: u64, failing: Failing) {
    let slow = TestStore::new();
    let store = slow.memory.clone();
    let (pool, tree) = fresh(slow.clone(), frames).await;
    // Keys of nine bytes lie between the writers' and are never touched.
    let fixed = 300u64;
    for n in 0..fixed {
        put(&pool, tree, &[&(n * 19).to_be_bytes()[..], b"x"].concat(), b"fixed").await;
    }
    *slow.failing.lock() = failing;
    let stop = Arc::new(AtomicBool::new(false));
    let lag = lagging(store.clone(), stop.clone());
    let scans: Vec<_> = [Direction::Forward, Direction::Backward]
        .map(|d| tokio::spawn(scanner(pool.clone(), tree, d, stop.clone(), fixed)))
        .into();
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(writer(pool.clone(), tree, n, ops))).collect();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for writer in writers {
        model.extend(writer.await.unwrap());
    }
    stop.store(true, Ordering::Relaxed);
    for scan in scans {
        scan.await.unwrap();
    }
    lag.join().unwrap();
    *slow.failing.lock() = Failing::Never;
    let sound = check(&pool, tree).await;
    let entries: BTreeMap<_, _> = sound.entries.clone().into_iter().filter(|(k, _)| k.len() == 8).collect();
    assert!(entries == model, "the tree lost or kept what it should not");
    check_space(&pool, &[&sound]).await;
    check_cache(&pool).await;
    let stats = pool.stats();
    let failed = slow.failed.load(Ordering::Relaxed);
    println!("{frames} frames, {} pages, {failed} reads failed: {stats:?}", sound.pages.len());
    assert_eq!(failed > 100, matches!(failing, Failing::OneIn(_)), "{failed} reads failed");
    assert_eq!(slow.reserved.load(Ordering::Relaxed), 0);
    let after = BufferPool::new(store.crash(), 1 << 20).unwrap();
    assert_eq!(check(&after, tree).await.entries, sound.entries);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_do_not_disturb_each_other_in_a_large_cache() {
    storm(4096, 30_000, Failing::Never).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_do_not_disturb_each_other_in_a_tiny_cache() {
    storm(40, 8000, Failing::Never).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn threads_do_not_disturb_each_other_when_reads_fail() {
    storm(40, 8000, Failing::OneIn(10)).await;
}

/// Leaves of a handful of entries that are filled and emptied all the time: on the way to a leaf it splits, leaves the tree,
/// and comes back as another one.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn leaves_come_and_go_under_everyones_feet() {
    let (pool, tree) = fresh(MemoryStore::new(), 512).await;
    let churn = |pool: Arc<BufferPool>, number: u64| async move {
        let mut model = BTreeMap::new();
        let mut seed = 31 + number;
        for _ in 0..700 {
            // A run of neighbours appears and goes again; the writers' keys are interleaved.
            let start = random(&mut seed) % 200;
            let keys = (start..start + 12).map(|n| (n * WRITERS + number).to_be_bytes().to_vec());
            let fill = random(&mut seed).is_multiple_of(2);
            for key in keys {
                if fill {
                    put(&pool, tree, &key, &[number as u8; 1500]).await;
                    model.insert(key, vec![number as u8; 1500]);
                } else {
                    assert_eq!(remove(&pool, tree, &key).await.0, model.remove(&key).is_some());
                }
            }
            let key = ((start + random(&mut seed) % 12) * WRITERS + number).to_be_bytes().to_vec();
            assert_eq!(get(&pool, tree, &key).await, model.get(&key).cloned());
        }
        model
    };
    let writers: Vec<_> = (0..WRITERS).map(|n| tokio::spawn(churn(pool.clone(), n))).collect();
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for writer in writers {
        model.extend(writer.await.unwrap());
    }
    let sound = check(&pool, tree).await;
    assert!(sound.entries == model, "the tree lost or kept what it should not");
    check_space(&pool, &[&sound]).await;
    check_cache(&pool).await;
}

async fn increment(pool: Arc<BufferPool>, tree: Tree, mut seed: u64) {
    for _ in 0..3000 {
        let key = (random(&mut seed) % 10).to_be_bytes();
        let step = |mtr: &mut crate::mtr::MiniTxn<'_>| {
            tree.edit(mtr, &key, |old, _| {
                let old = old.map_or(0, |v| u64::from_be_bytes(v.try_into().unwrap()));
                Ok((Edit::Put((old + 1).to_be_bytes().to_vec()), ()))
            })
        };
        pool.write(step).await.unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn concurrent_increments_of_few_keys_all_count() {
    let (pool, tree) = fresh(MemoryStore::new(), 64).await;
    let mut tasks = tokio::task::JoinSet::new();
    for n in 0..6 {
        tasks.spawn(increment(pool.clone(), tree, 99 + n));
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    let sum: u64 = check(&pool, tree)
        .await
        .entries
        .values()
        .map(|v| u64::from_be_bytes(v[..].try_into().unwrap()))
        .sum();
    assert_eq!(sum, 18_000);
}
