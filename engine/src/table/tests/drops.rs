//! Trees that transactions make and drop: freed once, whenever the engine is killed.

use std::collections::BTreeSet;

use sextant_redo::PageId;

use super::*;
use crate::buffer::{Stop, StorageError};
use crate::txn::drops::check::account;

/// Rows of which a leaf holds two.
const WIDE: [u8; 3500] = [7; 3500];

/// A table with so many rows in a tree of its own, committed.
pub(super) async fn filled(bed: &Bed, rows: usize) -> Tree {
    let mut txn = bed.begin();
    let tree = txn.create_tree().await.unwrap();
    fill(bed, &mut txn, tree, rows).await;
    txn.commit().await.unwrap();
    tree
}

async fn fill(bed: &Bed, txn: &mut Transaction, tree: Tree, rows: usize) {
    let table = bed.system.table(9, tree);
    let first = bed.system.row_ids(&table, rows as u64).await.unwrap();
    let wide = [&WIDE[..]; 64];
    for at in (0..rows).step_by(wide.len()) {
        let bytes: Vec<RowBytes<'_>> = wide[..wide.len().min(rows - at)].iter().map(RowBytes::from).collect();
        let first = RowId(first.0 + at as u64);
        bed.system.insert_many(txn, &table, first, &bytes).await.unwrap();
    }
}

pub(super) async fn dropped(bed: &Bed, tree: Tree) {
    let mut txn = bed.begin();
    txn.drop_tree(tree).await.unwrap();
    txn.commit().await.unwrap();
}

async fn usage(bed: &Bed) -> crate::space::Usage {
    let pool = bed.system.pool();
    pool.run(|| crate::space::usage(pool)).await.unwrap()
}

/// Every page is free, the engine's own, or in one of `trees` or the bed's table; nothing is lost and nothing has two
/// uses. How many drops are listed.
pub(super) async fn sound(bed: &Bed, trees: &[Tree]) -> usize {
    let all: Vec<Tree> = trees.iter().copied().chain([bed.table.tree]).collect();
    account(bed.system.pool(), &all).await
}

#[tokio::test]
async fn a_dropped_tree_is_freed_once_nobody_looks() {
    let bed = Bed::new().await;
    let tree = filled(&bed, 300).await;
    let table = bed.system.table(9, tree);
    let reader = bed.now();
    dropped(&bed, tree).await;
    bed.system.free_dropped().await.unwrap();
    let before = usage(&bed).await;
    let (mut scan, mut batch, mut rows) = (TableScan::new(&table, reader.clone()), RowBatch::new(), 0);
    while scan.next_batch(&bed.system, &mut batch).await.unwrap() {
        assert!(batch.iter().all(|(_, row)| row == WIDE));
        rows += batch.iter().count();
    }
    assert_eq!(rows, 300, "a snapshot from before still reads all of it");
    assert_eq!(sound(&bed, &[tree]).await, 1);
    drop((scan, reader));
    bed.system.free_dropped().await.unwrap();
    assert!(usage(&bed).await.free >= before.free + 150);
    assert_eq!(sound(&bed, &[]).await, 0);
}

#[tokio::test]
async fn a_snapshot_of_before_the_drop_reads_on_while_others_drop() {
    let bed = Bed::new().await;
    let (kept, gone) = (filled(&bed, 100).await, filled(&bed, 100).await);
    let gone_before = bed.now();
    dropped(&bed, kept).await;
    drop(gone_before);
    let reader = bed.now();
    dropped(&bed, gone).await;
    bed.system.free_dropped().await.unwrap();
    assert_eq!(sound(&bed, &[gone]).await, 1, "the older drop is done, the younger one waits for the reader");
    drop(reader);
    bed.system.free_dropped().await.unwrap();
    assert_eq!(sound(&bed, &[]).await, 0);
}

#[tokio::test]
async fn rolled_back_creations_are_freed_and_rolled_back_drops_are_forgotten() {
    let bed = Bed::new().await;
    let tree = filled(&bed, 100).await;
    let mut txn = bed.begin();
    let made = txn.create_tree().await.unwrap();
    fill(&bed, &mut txn, made, 200).await;
    txn.drop_tree(tree).await.unwrap();
    bed.system.free_dropped().await.unwrap();
    assert_eq!(sound(&bed, &[tree, made]).await, 2, "nothing is decided");
    txn.rollback();
    bed.system.free_dropped().await.unwrap();
    assert_eq!(sound(&bed, &[tree]).await, 0);
    // Made and dropped by one transaction, whatever becomes of that.
    for commits in [true, false] {
        let mut txn = bed.begin();
        let made = txn.create_tree().await.unwrap();
        fill(&bed, &mut txn, made, 20).await;
        txn.drop_tree(made).await.unwrap();
        if commits {
            txn.commit().await.unwrap();
        } else {
            txn.rollback();
        }
        bed.system.free_dropped().await.unwrap();
        assert_eq!(sound(&bed, &[tree]).await, 0);
    }
}

#[tokio::test]
async fn a_savepoint_takes_its_trees_back() {
    let bed = Bed::new().await;
    let tree = filled(&bed, 50).await;
    let mut txn = bed.begin();
    let first = txn.create_tree().await.unwrap();
    let savepoint = txn.set_savepoint();
    let second = txn.create_tree().await.unwrap();
    fill(&bed, &mut txn, second, 50).await;
    txn.drop_tree(tree).await.unwrap();
    txn.drop_tree(first).await.unwrap();
    txn.rollback_to_savepoint(savepoint);
    bed.system.free_dropped().await.unwrap();
    assert_eq!(
        sound(&bed, &[tree, first]).await,
        1,
        "what was behind it is taken back, the rest not decided"
    );
    let third = txn.create_tree().await.unwrap();
    txn.release_savepoint(savepoint);
    txn.commit().await.unwrap();
    bed.system.free_dropped().await.unwrap();
    assert_eq!(sound(&bed, &[tree, first, third]).await, 0);
    let after = bed.crash().await;
    after.system.free_dropped().await.unwrap();
    assert_eq!(sound(&after, &[tree, first, third]).await, 0);
}

/// Kills the engine behind every mini-transaction of a table's life, one after the other.
#[tokio::test]
async fn a_kill_at_any_point_loses_no_page_and_frees_none_twice() {
    let bed = Bed::new().await;
    let old = filled(&bed, 150).await;
    bed.system.free_dropped().await.unwrap();
    let before = bed.store.batches().len();
    // TRUNCATE, in short: a new tree for an old one.
    let mut txn = bed.begin();
    let new = txn.create_tree().await.unwrap();
    fill(&bed, &mut txn, new, 150).await;
    txn.drop_tree(old).await.unwrap();
    let undecided = bed.store.batches().len();
    txn.commit().await.unwrap();
    let committed = bed.store.batches().len();
    bed.system.free_dropped().await.unwrap();
    // What was freed serves others by now.
    let other = filled(&bed, 30).await;
    let all = bed.store.batches().len();
    assert!(all > committed + 5, "freeing takes some mini-transactions");
    let (mut rolled_back, mut free) = (0, BTreeSet::new());
    for count in before..=all {
        let after = Bed::open(bed.store.crash_after(count)).await;
        after.system.free_dropped().await.unwrap();
        let stays = if count < committed { old } else { new };
        rolled_back += usize::from(count < committed);
        // The last of the log made another table, of which only the commit counts.
        let trees = if count == all { vec![stays, other] } else { vec![stays] };
        assert_eq!(sound(&after, &trees).await, 0, "killed behind {count} of {all}");
        if count <= undecided {
            free.insert(usage(&after).await.pages - usage(&after).await.free);
        }
        let table = after.system.table(9, stays);
        let (mut scan, mut batch, mut rows) = (TableScan::new(&table, after.now()), RowBatch::new(), 0);
        while scan.next_batch(&after.system, &mut batch).await.unwrap() {
            rows += batch.iter().count();
        }
        assert_eq!(rows, 150, "killed behind {count} of {all}");
    }
    assert!(rolled_back > 5);
    assert_eq!(free.len(), 1, "as many pages are in use wherever it was killed: {free:?}");
}

#[tokio::test]
async fn a_volume_that_is_older_than_the_list_is_given_one() {
    let bed = Bed::new().await;
    let pool = bed.system.pool();
    let list = pool.run(|| Roots::get(pool, Roots::PENDING_DROPS)).await.unwrap();
    pool.write(|mtr| {
        Roots::set(mtr, Roots::PENDING_DROPS, 0)?;
        mtr.free(PageId(list))
    })
    .await
    .unwrap();
    let id = bed.committed(b"kept").await;
    let after = bed.crash().await;
    assert_eq!(after.get(&after.now(), id).await, Some(b"kept".to_vec()));
    let held = after.system.hold_drops().await;
    let tree = filled(&after, 20).await;
    dropped(&after, tree).await;
    assert_eq!(sound(&after, &[tree]).await, 2);
    let again = after.crash().await;
    drop(held);
    let after = again;
    after.system.free_dropped().await.unwrap();
    assert_eq!(sound(&after, &[]).await, 0);
}

#[tokio::test]
async fn a_tree_that_cannot_be_freed_stays_listed_and_stops_no_other() {
    let bed = Bed::new().await;
    let (broken, other) = (filled(&bed, 20).await, filled(&bed, 20).await);
    let pool = bed.system.pool();
    let byte = async |value: u8| {
        let step = |mtr: &mut crate::mtr::MiniTxn<'_>| {
            let root = mtr.latch(broken.root)?;
            mtr.set(root, crate::space::PAGE_TYPE, &[value]);
            Ok::<_, Stop>(())
        };
        pool.write(step).await.unwrap();
    };
    byte(0).await;
    let failures = crate::txn::METRICS.tree_free_failures.get();
    dropped(&bed, broken).await;
    dropped(&bed, other).await;
    for _ in 0..3 {
        bed.system.free_dropped().await.unwrap();
    }
    assert!(crate::txn::METRICS.tree_free_failures.get() > failures);
    byte(crate::space::page_type::TREE).await;
    bed.system.free_dropped().await.unwrap();
    assert_eq!(sound(&bed, &[broken]).await, 1, "the other is gone, this one is not tried for ever");
    let after = bed.crash().await;
    after.system.free_dropped().await.unwrap();
    assert_eq!(sound(&after, &[]).await, 0, "but once more by the next engine");
}

#[tokio::test]
async fn a_creation_whose_future_is_dropped_leaves_nothing() {
    let bed = Bed::new().await;
    for polls in 1..6 {
        let mut txn = bed.begin();
        bed.insert(&mut txn, b"x").await;
        {
            let mut create = std::pin::pin!(txn.create_tree());
            for _ in 0..polls {
                let once = std::future::poll_fn(|cx| std::task::Poll::Ready(create.as_mut().poll(cx)));
                if once.await.is_ready() {
                    break;
                }
            }
        }
        txn.rollback();
        bed.system.free_dropped().await.unwrap();
        assert_eq!(sound(&bed, &[]).await, 0);
    }
    let error = bed.system.pool().write(|mtr| Tree { root: PageId(0) }.free_some(mtr)).await;
    assert!(matches!(error, Err(StorageError::Corrupt { .. })));
}
