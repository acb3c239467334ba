//! Trees come and go with transactions; what nobody can find any more is freed in the background, also after a crash.
//!
//! Whoever makes or drops a tree notes it in a durable list (`list`) under the id that it writes under: "free it unless
//! this commits", "free it once this has committed". So the commit record decides about trees as it does about rows: nothing is
//! written at the end of a transaction, and a crash or a rollback needs no undoing
//! ([decision 20](../../../../docs/decisions/0020-what-is-to-be-freed-is-listed.md)).
//!
//! What must hold:
//! - An entry is written in the mini-transaction that makes its tree, or before the commit record of the transaction that
//!   drops it. It is removed in the mini-transaction that frees the root, or when it can say nothing any more.
//! - So at every VDL a tree that nobody can find is listed, and a root page that was freed is not: the list never speaks of
//!   another tree that came to lie there.

#[cfg(test)]
pub(crate) mod check;
mod free;
mod list;
mod pace;

use std::collections::HashSet;

use parking_lot::Mutex;
use sextant_redo::PageId;

use self::list::{Entry, List, Reason};
use super::{Transaction, TxnError};
use crate::btree::Tree;
use crate::buffer::{BufferPool, Stop, StorageError};
use crate::mtr::MiniTxn;

/// What the transaction system has of it.
#[derive(Debug)]
pub(super) struct PendingDrops {
    list: List,
    /// One pass at a time.
    freeing: tokio::sync::Mutex<()>,
    /// Trees that could not be freed. They stay listed, and are tried again by the next engine.
    given_up: Mutex<HashSet<PageId>>,
}

impl PendingDrops {
    /// Opens it without reading the list.
    pub(super) async fn open(pool: &BufferPool) -> Result<PendingDrops, StorageError> {
        let list = List::open(pool).await?;
        Ok(PendingDrops { list, freeing: tokio::sync::Mutex::default(), given_up: Mutex::default() })
    }
}

impl Transaction {
    /// A new, empty tree for a table or an index. Its pages are freed if this does not commit (CREATE, TRUNCATE).
    pub async fn create_tree(&mut self) -> Result<Tree, TxnError> {
        let by = self.write_id().await?;
        let system = self.system.clone();
        let step = |mtr: &mut MiniTxn<'_>| {
            let tree = Tree::create(mtr)?;
            let entry = Entry { root: tree.root, by, reason: Reason::Created };
            system.drops.list.add(mtr, &entry)?;
            Ok::<_, Stop>(tree)
        };
        let (tree, _) = system.pool().write(step).await?;
        Ok(tree)
    }

    /// Frees the tree's pages once this has committed and no snapshot needs them (DROP, TRUNCATE).
    pub async fn drop_tree(&mut self, tree: Tree) -> Result<(), TxnError> {
        let entry = Entry { root: tree.root, by: self.write_id().await?, reason: Reason::Dropped };
        let system = self.system.clone();
        system.pool().write(|mtr| system.drops.list.add(mtr, &entry)).await?;
        Ok(())
    }
}
