//! A tree does what an ordered map does, with a cache so small that pages come and go all the time.

use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::atomic::Ordering;

use proptest::prelude::*;
use sextant_volume::memory::MemoryStore;

use super::check::{check, check_cache, check_space};
use super::{Direction, Edit, Tree, answered, fresh, get, put, remove, scan};
use crate::btree::max_value;
use crate::buffer::BufferPool;
use crate::buffer::tests::store::{Failing, TestStore};

#[derive(Debug, Clone)]
enum Op {
    Put(Vec<u8>, Vec<u8>),
    PutRun(Vec<Vec<u8>>, Vec<u8>),
    Remove(Vec<u8>),
    RemoveRange(Vec<u8>, usize),
    Get(Vec<u8>),
    Forward(Bound<Vec<u8>>),
    Backward(Bound<Vec<u8>>),
    LastKey,
}

fn key() -> impl Strategy<Value = Vec<u8>> {
    prop_oneof![
        8 => (0u32..600).prop_map(|n| n.to_be_bytes().to_vec()),
        4 => "[ab]{0,12}".prop_map(String::into_bytes),
        2 => (0u8..4, 0usize..1500).prop_map(|(b, len)| vec![b; len]),
        1 => proptest::collection::vec(any::<u8>(), 0..40),
    ]
}

fn value() -> impl Strategy<Value = Vec<u8>> {
    let len = prop_oneof![4 => 0usize..40, 4 => 80usize..120, 1 => 300usize..1000];
    (len, any::<u8>()).prop_map(|(len, b)| (0..len).map(|i| b ^ (i as u8 & 3)).collect())
}

fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
    prop_oneof![key().prop_map(Bound::Included), key().prop_map(Bound::Excluded), Just(Bound::Unbounded)]
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        20 => (key(), value()).prop_map(|(k, v)| Op::Put(k, v)),
        2 => (proptest::collection::btree_set(key(), 1..40), value())
            .prop_map(|(keys, v)| Op::PutRun(keys.into_iter().collect(), v)),
        6 => key().prop_map(Op::Remove),
        1 => (key(), 1usize..200).prop_map(|(k, n)| Op::RemoveRange(k, n)),
        4 => key().prop_map(Op::Get),
        1 => bound().prop_map(Op::Forward),
        1 => bound().prop_map(Op::Backward),
        1 => Just(Op::LastKey),
    ]
}

/// Inserts what is not there yet, a leaf's worth at a time.
async fn put_run(
    pool: &BufferPool,
    tree: Tree,
    model: &mut BTreeMap<Vec<u8>, Vec<u8>>,
    keys: &[Vec<u8>],
    value: &[u8],
) {
    let entries: Vec<_> =
        keys.iter().map(|k| (&k[..], &value[..value.len().min(max_value(k.len()))])).collect();
    let mut rest = &entries[..];
    while let Some((key, value)) = rest.first() {
        let (done, _) = answered!(pool.write(|mtr| tree.insert_run(mtr, rest)));
        if done == 0 {
            put(pool, tree, key, value).await;
        }
        rest = &rest[done.max(1)..];
    }
    for (key, value) in entries {
        model.entry(key.to_vec()).or_insert_with(|| value.to_vec());
    }
}

async fn run(ops: Vec<Op>, failing: Failing) {
    let store = TestStore::new();
    let (pool, tree) = fresh(store.clone(), 1).await;
    *store.failing.lock() = failing;
    let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
    for op in ops {
        match op {
            Op::Put(k, v) => {
                let v = v[..v.len().min(max_value(k.len()))].to_vec();
                put(&pool, tree, &k, &v).await;
                model.insert(k, v);
            }
            Op::PutRun(keys, v) => put_run(&pool, tree, &mut model, &keys, &v).await,
            Op::Remove(k) => {
                let removed = remove(&pool, tree, &k).await.0;
                assert_eq!(removed, model.remove(&k).is_some());
            }
            Op::RemoveRange(k, n) => {
                let keys: Vec<_> = model.range(k..).take(n).map(|(k, _)| k.clone()).collect();
                for k in keys {
                    assert!(remove(&pool, tree, &k).await.0);
                    model.remove(&k);
                }
            }
            Op::Get(k) => assert_eq!(get(&pool, tree, &k).await, model.get(&k).cloned()),
            Op::Forward(from) => {
                let expected: Vec<_> = model
                    .range((from.clone(), Bound::Unbounded))
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                assert_eq!(scan(&pool, tree, from, Direction::Forward).await, expected);
            }
            Op::Backward(from) => {
                let expected: Vec<_> = model
                    .range((Bound::Unbounded, from.clone()))
                    .rev()
                    .map(|(k, v)| (k.clone(), v.clone()))
                    .collect();
                assert_eq!(scan(&pool, tree, from, Direction::Backward).await, expected);
            }
            Op::LastKey => {
                let last = answered!(pool.run(|| tree.last_key_below(&pool, &[0xff; 2001])));
                assert_eq!(last.as_ref(), model.last_key_value().map(|(k, _)| k));
            }
        }
    }
    *store.failing.lock() = Failing::Never;
    let sound = check(&pool, tree).await;
    assert_eq!(sound.entries, model);
    check_space(&pool, &[&sound]).await;
    assert!(check_cache(&pool).await > 0);
    assert_eq!(store.reserved.load(Ordering::Relaxed), 0);
}

fn block_on(future: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(future);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, max_shrink_iters: 2000, ..ProptestConfig::default() })]
    #[test]
    fn a_tree_is_an_ordered_map(ops in proptest::collection::vec(op(), 1..1200)) {
        block_on(run(ops, Failing::Never));
    }

    #[test]
    fn a_tree_whose_reads_fail_now_and_then_is_an_ordered_map(
        ops in proptest::collection::vec(op(), 1..1200),
        one_in in 2u64..20,
    ) {
        block_on(run(ops, Failing::OneIn(one_in)));
    }
}

#[tokio::test]
async fn the_cache_was_too_small_for_the_tree() {
    let (pool, tree) = fresh(MemoryStore::new(), 1).await;
    for n in 0..20_000u32 {
        put(&pool, tree, &n.wrapping_mul(2_654_435_761).to_be_bytes(), &[7; 60]).await;
    }
    let sound = check(&pool, tree).await;
    assert_eq!(sound.entries.len(), 20_000);
    check_space(&pool, &[&sound]).await;
    check_cache(&pool).await;
    let stats = pool.stats();
    assert!(stats.evictions > 1000 && stats.misses > 1000, "{stats:?}");
    assert!(sound.pages.len() as u64 > 4 * stats.frames, "{stats:?}");
}

#[tokio::test]
async fn an_mtr_may_edit_one_leaf_many_times_and_split_it() {
    let (pool, tree) = fresh(MemoryStore::new(), 64).await;
    let step = |mtr: &mut crate::mtr::MiniTxn<'_>| {
        for n in 0..40u32 {
            let key = (n % 29).to_be_bytes();
            tree.edit(mtr, &key, |old, _| {
                let mut value = old.map_or_else(Vec::new, <[u8]>::to_vec);
                value.extend_from_slice(&[n as u8; 300]);
                Ok((Edit::Put(value), ()))
            })?;
        }
        Ok(())
    };
    pool.write(step).await.unwrap();
    let sound = check(&pool, tree).await;
    assert_eq!(sound.entries.len(), 29);
    assert_eq!(sound.entries[&3u32.to_be_bytes().to_vec()], [[3u8; 300], [32; 300]].concat());
    assert!(sound.pages.len() > 1);
    check_space(&pool, &[&sound]).await;
    check_cache(&pool).await;
}

#[tokio::test]
async fn a_dropped_step_changes_nothing() {
    let store = MemoryStore::new();
    let (pool, tree) = fresh(store.clone(), 64).await;
    put(&pool, tree, b"a", b"1").await;
    let (before, bytes) = (check(&pool, tree).await.entries, store.log_bytes());
    let failing = |mtr: &mut crate::mtr::MiniTxn<'_>| {
        for n in 0..200u32 {
            tree.edit(mtr, &n.to_be_bytes(), |_, _| Ok((Edit::Put(vec![1; 100]), ())))?;
        }
        let what = "for the test";
        Err::<(), _>(crate::buffer::StorageError::Corrupt { page: tree.root, what }.into())
    };
    pool.write(failing).await.unwrap_err();
    let sound = check(&pool, tree).await;
    assert_eq!((sound.entries.clone(), store.log_bytes()), (before, bytes));
    check_space(&pool, &[&sound]).await;
    check_cache(&pool).await;
}
