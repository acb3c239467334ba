//! The longest keys and values, emptied leaves, freed trees.

use sextant_volume::memory::MemoryStore;

use super::check::{check, check_cache, check_space, page};
use super::{Edit, free_all, fresh, get, put, remove};
use crate::btree::{MAX_KEY, Tree, max_value};
use crate::buffer::StorageError;
use crate::space::{self, page_type};

#[tokio::test]
async fn the_longest_keys_and_values_split_well() {
    for key_len in [8, 500, MAX_KEY] {
        let (pool, tree) = fresh(MemoryStore::new(), 64).await;
        let key = |n: u32| {
            // Long common start: separators are as long as they get.
            let mut key = vec![7; key_len];
            key[key_len - 4..].copy_from_slice(&n.to_be_bytes());
            key
        };
        for n in 0..200u32 {
            let n = n.wrapping_mul(2_654_435_761);
            put(&pool, tree, &key(n), &vec![1; max_value(key_len)]).await;
        }
        let sound = check(&pool, tree).await;
        assert_eq!(sound.entries.len(), 200);
        check_space(&pool, &[&sound]).await;
        for n in 0..200u32 {
            assert!(remove(&pool, tree, &key(n.wrapping_mul(2_654_435_761))).await.0);
        }
        let sound = check(&pool, tree).await;
        assert!(sound.entries.is_empty());
        check_space(&pool, &[&sound]).await;
        for n in 0..400u32 {
            put(&pool, tree, &key(n), b"again").await;
        }
        free_all(&pool, tree).await.unwrap();
        check_space(&pool, &[]).await;
        check_cache(&pool).await;
    }
}

#[tokio::test]
async fn longer_ones_are_refused() {
    let (pool, tree) = fresh(MemoryStore::new(), 64).await;
    let edit = async |key: &[u8], len: usize| {
        let step =
            |mtr: &mut crate::mtr::MiniTxn<'_>| tree.edit(mtr, key, |_, _| Ok((Edit::Put(vec![0; len]), ())));
        pool.write(step).await.unwrap_err()
    };
    let (len, limit) = (MAX_KEY + 1, MAX_KEY);
    assert_eq!(edit(&vec![0; len], 1).await, StorageError::KeyTooLarge { len, limit });
    let (len, limit) = (max_value(8) + 1, max_value(8));
    assert_eq!(edit(&[0; 8], len).await, StorageError::ValueTooLarge { len, limit });
    assert!(check(&pool, tree).await.entries.is_empty());
}

#[tokio::test]
async fn a_queue_does_not_grow() {
    let (pool, tree) = fresh(MemoryStore::new(), 256).await;
    let depth = 500u64;
    for n in 0..30_000u64 {
        put(&pool, tree, &n.to_be_bytes(), &[1; 100]).await;
        if n >= depth {
            assert!(remove(&pool, tree, &(n - depth).to_be_bytes()).await.0);
        }
    }
    let sound = check(&pool, tree).await;
    assert_eq!(sound.entries.len() as u64, depth);
    check_space(&pool, &[&sound]).await;
    let usage = pool.run(|| space::usage(&pool)).await.unwrap();
    assert!(usage.pages < 40, "{usage:?}");
    for n in 30_000 - depth..30_000 {
        assert!(remove(&pool, tree, &n.to_be_bytes()).await.0);
    }
    // Who is on the way to a leaf that has left the tree sees that.
    let free = space::tests::free_pages(&pool).await;
    assert!(free.len() > 3);
    for id in free {
        let kind = page(&pool, id).await[space::PAGE_TYPE];
        assert!([page_type::DEAD, page_type::TRUNK].contains(&kind), "{id:?} is {kind}");
    }
}

#[tokio::test]
async fn freed_pages_are_used_again() {
    let (pool, keep) = fresh(MemoryStore::new(), 64).await;
    let mut pages = Vec::new();
    for round in 0..3u64 {
        let (tree, _) = pool.write(Tree::create).await.unwrap();
        for n in 0..3000u64 {
            put(&pool, tree, &(n * 7919 % 3001).to_be_bytes(), &[round as u8; 500]).await;
        }
        assert_eq!(check(&pool, tree).await.entries.len(), 3000);
        free_all(&pool, tree).await.unwrap();
        put(&pool, keep, &round.to_be_bytes(), b"kept").await;
        check_space(&pool, &[&check(&pool, keep).await]).await;
        check_cache(&pool).await;
        pages.push(pool.run(|| space::usage(&pool)).await.unwrap().pages);
        assert!(free_all(&pool, tree).await.is_err(), "the root is gone");
    }
    assert_eq!(pages[0], pages[1]);
    assert_eq!(pages[1], pages[2]);
    assert_eq!(get(&pool, keep, &1u64.to_be_bytes()).await.as_deref(), Some(&b"kept"[..]));
}
