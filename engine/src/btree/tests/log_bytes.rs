//! How much log a change takes. Run with `--nocapture` to see the figures.

use sextant_volume::memory::MemoryStore;

use super::check::check;
use super::{fresh, put, random, remove};

/// A row as the table layer writes it: a version header, then columns.
fn row(n: u64, version: u64, text: &str) -> Vec<u8> {
    let mut row = version.to_be_bytes().to_vec();
    row.extend_from_slice(&n.to_be_bytes());
    row.extend_from_slice(text.as_bytes());
    row.extend_from_slice(&[b' '; 60]);
    row
}

#[tokio::test]
async fn a_single_row_change_logs_tens_of_bytes() {
    let store = MemoryStore::new();
    let (pool, tree) = fresh(store.clone(), 1024).await;
    for n in 0..2000u64 {
        put(&pool, tree, &(2 * n).to_be_bytes(), &row(n, 1, "abc")).await;
    }
    for n in 0..2000u64 {
        // Room in every page.
        if n % 5 == 0 {
            remove(&pool, tree, &(2 * n).to_be_bytes()).await;
        }
    }
    // The first that needs room compacts the page; that is not what is measured here.
    put(&pool, tree, &1498u64.to_be_bytes(), &row(749, 2, "abcdef")).await;
    let mut before = store.log_bytes();
    let mut took = move |store: &MemoryStore| {
        let now = store.log_bytes();
        let took = now - before;
        before = now;
        took
    };
    took(&store);
    let key = 1502u64.to_be_bytes();
    put(&pool, tree, &key, &row(751, 2, "abc")).await;
    let update = took(&store);
    put(&pool, tree, &key, &row(751, 2, "abcdef")).await;
    let grow = took(&store);
    put(&pool, tree, &key, &row(751, 3, "ab")).await;
    let shrink = took(&store);
    let new = row(751, 1, "abc");
    put(&pool, tree, &1503u64.to_be_bytes(), &new).await;
    let insert = took(&store);
    put(&pool, tree, &[&1505u64.to_be_bytes()[..], &[1; 8]].concat(), &[]).await;
    let index_insert = took(&store);
    remove(&pool, tree, &1503u64.to_be_bytes()).await;
    let delete = took(&store);
    println!("log bytes: update in place {update}, grow {grow}, shrink {shrink}, delete {delete}");
    println!("log bytes: insert of {} bytes {insert}, index entry of 16 bytes {index_insert}", 8 + new.len());
    assert!(update <= 20, "{update}");
    assert!(grow <= 60, "{grow}");
    assert!(shrink <= 60, "{shrink}");
    assert!(insert <= 8 + new.len() as u64 + 45, "{insert}");
    assert!(index_insert <= 16 + 45, "{index_insert}");
    assert!(delete <= 30, "{delete}");
    check(&pool, tree).await;
}

#[tokio::test]
async fn ascending_keys_leave_a_tenth_free_and_descending_ones_full_leaves_and_little_log() {
    for descending in [false, true] {
        let store = MemoryStore::new();
        let (pool, tree) = fresh(store.clone(), 1024).await;
        let (rows, mut payload) = (5000u64, 0);
        for n in 0..rows {
            let key = if descending { u64::MAX - n } else { n };
            let value = row(n, 1, "abc");
            payload += 8 + value.len() as u64;
            put(&pool, tree, &key.to_be_bytes(), &value).await;
        }
        let sound = check(&pool, tree).await;
        let leaves = sound.leaf_fill.len();
        let inner = if descending { &sound.leaf_fill[1..] } else { &sound.leaf_fill[..leaves - 1] };
        let fill = inner.iter().sum::<usize>() * 100 / (inner.len() * 8128);
        let overhead = (store.log_bytes() - payload) / rows;
        println!(
            "descending {descending}: {leaves} leaves, {fill} % full, {overhead} bytes of log a row besides it"
        );
        let (least, most) = if descending { (90, 100) } else { (86, 90) };
        assert!((least..=most).contains(&fill), "{fill} %");
        assert!(overhead < if descending { 200 } else { 50 }, "{overhead}");
    }
}

#[tokio::test]
async fn a_run_of_rows_logs_little_more_than_the_rows() {
    let store = MemoryStore::new();
    let (pool, tree) = fresh(store.clone(), 1024).await;
    let keys: Vec<_> = (0..5000u64).map(u64::to_be_bytes).collect();
    let values: Vec<_> = (0..5000u64).map(|n| row(n, 1, "abc")).collect();
    let run: Vec<_> = keys.iter().zip(&values).map(|(k, v)| (&k[..], &v[..])).collect();
    let payload: usize = run.iter().map(|(k, v)| k.len() + v.len()).sum();
    let mut rest = &run[..];
    while let Some((key, value)) = rest.first() {
        let (done, _) = pool.write(|mtr| tree.insert_run(mtr, rest)).await.unwrap();
        if done == 0 {
            put(&pool, tree, key, value).await;
        }
        rest = &rest[done.max(1)..];
    }
    let sound = check(&pool, tree).await;
    assert_eq!(sound.entries.len(), 5000);
    let overhead = (store.log_bytes() - payload as u64) as f64 / 5000.0;
    println!("a run of rows: {overhead:.1} bytes of log a row besides it");
    assert!(overhead < 10.0, "{overhead}");
    let fill = sound.leaf_fill.iter().sum::<usize>() * 100 / (sound.leaf_fill.len() * 8128);
    assert!((86..=90).contains(&fill), "{fill} %");
}

#[tokio::test]
async fn random_keys_leave_leaves_two_thirds_full() {
    let store = MemoryStore::new();
    let (pool, tree) = fresh(store.clone(), 1024).await;
    let (rows, mut payload, mut seed) = (10_000u64, 0, 42);
    for n in 0..rows {
        let value = row(n, 1, "abc");
        payload += 8 + value.len() as u64;
        put(&pool, tree, &random(&mut seed).to_be_bytes(), &value).await;
    }
    let sound = check(&pool, tree).await;
    let fill = sound.leaf_fill.iter().sum::<usize>() * 100 / (sound.leaf_fill.len() * 8128);
    let overhead = (store.log_bytes() - payload) / rows;
    println!(
        "random: {} leaves, {fill} % full, {overhead} bytes of log a row besides it",
        sound.leaf_fill.len()
    );
    assert!((60..=80).contains(&fill), "{fill} %");
    assert!(overhead < 160, "{overhead}");
}
