//! A large table is dropped while others commit: what that costs them.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use sextant_redo::{Batch, PageId};

use super::drops::{dropped, filled, sound};
use super::*;
use crate::btree::tests::check::{check, page};

const CLIENTS: usize = 4;
const ROWS: usize = 12_000;

/// Clients that insert a row and commit, again and again until they are told to stop; how long each commit took.
async fn commit_until(bed: &Arc<Bed>, stop: &Arc<AtomicBool>) -> Vec<Duration> {
    let client = || {
        let (bed, stop) = (bed.clone(), stop.clone());
        tokio::spawn(async move {
            let mut took = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                let begun = Instant::now();
                // Every other one takes a page.
                bed.committed(&[1; 3500]).await;
                took.push(begun.elapsed());
                tokio::task::yield_now().await;
            }
            took
        })
    };
    let clients: Vec<_> = (0..CLIENTS).map(|_| client()).collect();
    let mut all = Vec::new();
    for client in clients {
        all.extend(client.await.unwrap());
    }
    all.sort();
    all
}

fn p99(sorted: &[Duration]) -> Duration {
    sorted[sorted.len() * 99 / 100]
}

/// Inner nodes of a tree: every mini-transaction that frees some of it changes one of them.
async fn inner_nodes(bed: &Bed, tree: Tree) -> (BTreeSet<PageId>, usize) {
    let (pool, mut inner) = (bed.system.pool(), BTreeSet::new());
    let pages = check(pool, tree).await.pages;
    for id in &pages {
        let level = page(pool, *id).await[25];
        if level > 0 {
            inner.insert(*id);
        }
    }
    (inner, pages.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_go_on_while_a_large_table_is_freed() {
    let bed = Arc::new(Bed::new().await);
    let tree = filled(&bed, ROWS).await;
    let (inner, pages) = inner_nodes(&bed, tree).await;
    assert!(pages > ROWS / 2 && inner.len() > 5);

    let stop = Arc::new(AtomicBool::new(false));
    let timer = {
        let stop = stop.clone();
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            stop.store(true, Ordering::Relaxed);
        })
    };
    let before = commit_until(&bed, &stop).await;
    timer.await.unwrap();

    dropped(&bed, tree).await;
    let first = bed.store.batches().len();
    stop.store(false, Ordering::Relaxed);
    let freeing = {
        let (bed, stop) = (bed.clone(), stop.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            bed.system.free_dropped().await.unwrap();
            stop.store(true, Ordering::Relaxed);
            begun.elapsed()
        })
    };
    let during = commit_until(&bed, &stop).await;
    let took = freeing.await.unwrap();
    assert_eq!(sound(&bed, &[]).await, 0);
    println!(
        "{pages} pages freed in {took:?}; commits: p99 {:?} of {} before, {:?} of {} meanwhile",
        p99(&before),
        before.len(),
        p99(&during),
        during.len()
    );
    // Generous: the machine may be busy with something else.
    assert!(p99(&during) < 20 * p99(&before) + Duration::from_millis(20));

    // What no machine changes: the pieces are small, and others come between them.
    let batches = bed.store.batches();
    let mut inner = inner;
    let (mut pieces, mut alone, mut others) = (0, 0, 0);
    for bytes in &batches[first..] {
        let batch = Batch::decode(bytes).unwrap();
        let records = batch.records().flatten().map(|(_, record)| record.page);
        let touched: Vec<PageId> = records.filter(|page| inner.contains(page)).collect();
        if touched.is_empty() {
            others += 1;
            continue;
        }
        // A node that leaves its parent may be somebody's next; the root goes alone.
        if touched.contains(&tree.root) {
            inner.retain(|page| !touched.contains(page) || (*page == tree.root && touched.len() > 1));
        }
        assert!(bytes.len() < 2048, "{} bytes in one mini-transaction", bytes.len());
        pieces += 1;
        alone += usize::from(others == 0);
        others = 0;
    }
    assert!(pieces >= pages / crate::btree::FREED_AT_ONCE, "{pieces} pieces of {pages} pages");
    assert!(alone * 4 < pieces, "{alone} of {pieces} came right behind another");
}
