//! For tests: where every page of a volume is.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use sextant_redo::PageId;

use crate::btree::tests::check::{Sound, check, check_space};
use crate::btree::{Direction, Resume, Tree};
use crate::buffer::{BufferPool, Stop};
use crate::space::Roots;
use crate::txn::TransactionSystem;

impl TransactionSystem {
    /// Nothing is freed while this is held.
    pub(crate) async fn hold_drops(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.drops.freeing.lock().await
    }
}

async fn entries(pool: &BufferPool, tree: Tree) -> Vec<(Vec<u8>, Vec<u8>)> {
    let (mut all, mut from) = (Vec::new(), Bound::Unbounded);
    loop {
        let start = from.clone();
        let step = || {
            let mut some = Vec::new();
            let start = start.as_ref().map(Vec::as_slice);
            let resume = tree.scan_leaf(pool, start, Direction::Forward, &mut |key, value| {
                some.push((key.to_vec(), value.to_vec()));
                ControlFlow::Continue(())
            })?;
            Ok::<_, Stop>((some, resume))
        };
        let (some, resume) = pool.run(step).await.unwrap();
        all.extend(some);
        match resume {
            Resume::Continue(next) => from = next,
            Resume::Done | Resume::Stopped => return all,
        }
    }
}

/// Panics unless every page is free, the transaction layer's own, or in one of `trees`, and only one of these. How many drops
/// are listed. Nobody changes anything meanwhile.
pub(crate) async fn account(pool: &BufferPool, trees: &[Tree]) -> usize {
    let mut roots = Vec::new();
    for slot in [Roots::COMMIT_TABLE, Roots::UNDO, Roots::PENDING_DROPS, Roots::SEQUENCES] {
        let root = pool.run(|| Roots::get(pool, slot)).await.unwrap();
        roots.push(Tree { root: PageId(root) });
    }
    let number = |raw: &[u8]| u64::from_le_bytes(raw.try_into().unwrap());
    let commits = entries(pool, roots[0]).await;
    let undo = entries(pool, roots[1]).await;
    let mut own: BTreeSet<PageId> = commits.iter().map(|(_, page)| PageId(number(page))).collect();
    own.extend(undo.iter().map(|(page, _)| PageId(number(page).swap_bytes())));
    let mut parts = vec![Sound { pages: own, ..Sound::default() }];
    for tree in roots.iter().chain(trees).filter(|tree| tree.root.0 != 0) {
        parts.push(check(pool, *tree).await);
    }
    check_space(pool, &parts.iter().collect::<Vec<_>>()).await;
    entries(pool, roots[2]).await.len()
}
