//! Freeing what is listed, beside everything else that goes on.

use std::ops::Bound;

use sextant_redo::Lsn;

use super::list::{Entry, Fate};
use super::pace::Pace;
use crate::btree::Tree;
use crate::buffer::{Stop, StorageError};
use crate::mtr::MiniTxn;
use crate::txn::{METRICS, TransactionSystem};

impl TransactionSystem {
    /// One pass over the list. It takes as long as what is to be freed is large; nobody waits for it.
    pub(crate) async fn free_dropped(&self) -> Result<(), StorageError> {
        let _one = self.drops.freeing.lock().await;
        let horizon = self.horizon().lsn;
        let mut waiting = 0;
        let mut from = Some(Bound::Unbounded);
        while let Some(start) = from {
            let (entries, next) = self.drops.list.read(self.pool(), start).await?;
            for entry in entries {
                waiting += i64::from(self.settle_drop(&entry, horizon).await?);
            }
            from = next;
        }
        METRICS.trees_to_free.set(waiting);
        Ok(())
    }

    /// True when the tree is to be freed, but was not yet.
    async fn settle_drop(&self, entry: &Entry, horizon: Lsn) -> Result<bool, StorageError> {
        let fate = self.pool().run(|| Ok(entry.fate(self.outcome(entry.by)?, horizon))).await?;
        match fate {
            Fate::Undecided => Ok(false),
            Fate::InUse => Ok(true),
            Fate::Forget => {
                self.pool().write(|mtr| self.drops.list.remove(mtr, entry)).await?;
                Ok(false)
            }
            Fate::Free if self.drops.given_up.lock().contains(&entry.root) => Ok(true),
            Fate::Free => match self.free_tree(entry).await {
                Ok(()) => Ok(false),
                Err(error @ StorageError::Volume(_)) => Err(error),
                Err(error) if error.is_retryable() => Err(error),
                Err(error) => {
                    tracing::error!(%error, root = entry.root.0, "a dropped tree could not be freed; its pages stay listed until the next start");
                    METRICS.tree_free_failures.inc();
                    self.drops.given_up.lock().insert(entry.root);
                    Ok(true)
                }
            },
        }
    }

    /// Frees the tree piece by piece; the entry goes with the root. After a crash or an error half-way it is done again
    /// with what is left.
    async fn free_tree(&self, entry: &Entry) -> Result<(), StorageError> {
        let tree = Tree { root: entry.root };
        self.forget_table(tree);
        let mut pace = Pace::new(self.commits.begun());
        let step = |mtr: &mut MiniTxn<'_>| {
            let freed = tree.free_some(mtr)?;
            if freed.root {
                self.drops.list.remove(mtr, entry)?;
            }
            Ok::<_, Stop>(freed)
        };
        loop {
            let (freed, _) = self.pool().write(step).await?;
            METRICS.freed_pages.inc_by(freed.pages as u64);
            if freed.root {
                return Ok(());
            }
            if let Some(pause) = pace.after(self.commits.begun()) {
                tokio::time::sleep(pause).await;
            }
        }
    }
}
