//! The catalog: what tables, indexes, sequences and schemas there are.
//!
//! It is kept in tables of PostgreSQL's names (`system`), versioned like all others, so DDL is transactional. Statements
//! do not read those: they use a [`CatalogView`], an immutable state in memory. What a transaction has changed is kept
//! with it as an overlay and joins the committed state when it commits, before its locks are released.
//!
//! What must hold: whoever changes a relation holds its lock AccessExclusive to the end of the transaction; whoever
//! uses one locks it first and then looks again whether the view it was planned with is still current.

mod bootstrap;
mod builtin;
mod change;
mod domain;
mod index;
mod load;
mod model;
pub(crate) mod relation;
mod sequence;
pub(crate) mod stored;
mod system;
#[cfg(test)]
mod tests;
mod types;
mod view;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use sextant_redo::Lsn;

pub use change::{NewColumn, NewForeignKey, NewIndex, NewSequence, NewTable};
pub use domain::{DomainCheck, DomainInfo};
pub use index::{IndexColumn, IndexInfo, KeySource};
use model::Change;
pub use model::{
    CatalogView, CheckInfo, ColumnInfo, ConstraintTiming, FIRST_USER_OID, ForeignAction, ForeignKeyInfo,
    PG_CATALOG, PUBLIC, Relation, SequenceInfo, TableInfo,
};
pub(crate) use sequence::Sequences;
pub use types::{TypeInfo, TypeKind};
pub use view::{Meant, ViewDefinition, ViewInfo};

use crate::txn::{Attached, Transaction, TransactionSystem};
use crate::types::SqlResult;

/// The catalog of one database.
pub struct Catalog {
    system: Arc<TransactionSystem>,
    state: Arc<State>,
    pub(crate) sequences: Sequences,
}

/// What commits change.
struct State {
    /// Version of `committed`, readable without its lock.
    version: AtomicU64,
    next_version: AtomicU64,
    /// Where the newest change was committed.
    lsn: AtomicU64,
    next_oid: AtomicU32,
    committed: RwLock<Arc<CatalogView>>,
    /// One commit at a time.
    publishing: Mutex<()>,
}

/// A transaction's own changes.
struct Overlay {
    state: Arc<State>,
    changes: Vec<Change>,
    /// The committed version that `view` stands on.
    base: u64,
    view: Arc<CatalogView>,
}

impl State {
    fn fresh_version(&self) -> u64 {
        self.next_version.fetch_add(1, Ordering::Relaxed)
    }
}

impl Attached for Overlay {
    /// Runs before the transaction's locks are released, so nobody can use a changed relation by its old description.
    fn committed(&mut self, lsn: Lsn) {
        let _one = self.state.publishing.lock();
        let mut view = CatalogView::clone(&self.state.committed.read());
        for change in &self.changes {
            view.apply(&change.settled());
        }
        view.version = self.state.fresh_version();
        let version = view.version;
        *self.state.committed.write() = Arc::new(view);
        self.state.lsn.fetch_max(lsn.0, Ordering::AcqRel);
        self.state.version.store(version, Ordering::Release);
    }

    fn mark(&self) -> usize {
        self.changes.len()
    }

    fn rollback_to(&mut self, mark: usize) {
        if mark < self.changes.len() {
            self.changes.truncate(mark);
            let committed = self.state.committed.read().clone();
            self.base = committed.version;
            self.rebuild(&committed);
        }
    }
}

impl Catalog {
    /// Opens the catalog; makes it in a new volume.
    pub async fn open(system: Arc<TransactionSystem>) -> SqlResult<Catalog> {
        let root = bootstrap::ensure(&system).await?;
        let (mut view, mut next_oid) = load::load(&system, root).await?;
        if bootstrap::complete(&system, &view).await? {
            (view, next_oid) = load::load(&system, root).await?;
        }
        builtin::add(&mut view)?;
        let sequences = Sequences::open(system.shared_pool()).await?;
        view.version = 1;
        let state = State {
            version: AtomicU64::new(1),
            next_version: AtomicU64::new(2),
            lsn: AtomicU64::new(0),
            next_oid: AtomicU32::new(next_oid),
            committed: RwLock::new(Arc::new(view)),
            publishing: Mutex::new(()),
        };
        Ok(Catalog { system, state: Arc::new(state), sequences })
    }

    /// What `txn` sees: the newest committed state with its own changes.
    #[must_use]
    pub fn view(&self, txn: Option<&mut Transaction>) -> Arc<CatalogView> {
        let overlay = txn.and_then(|t| t.attached_mut::<Overlay>());
        let Some(overlay) = overlay else {
            return self.state.committed.read().clone();
        };
        let committed = self.state.committed.read().clone();
        if overlay.base != committed.version {
            overlay.base = committed.version;
            overlay.rebuild(&committed);
        }
        overlay.view.clone()
    }

    /// The version of [`Catalog::view`], without making one; 0, which no plan is made for, when it would have to be made
    /// anew.
    #[must_use]
    pub fn version(&self, txn: Option<&Transaction>) -> u64 {
        let committed = self.state.version.load(Ordering::Acquire);
        match txn.and_then(|t| t.attached::<Overlay>()) {
            None => committed,
            Some(overlay) if overlay.base == committed => overlay.view.version,
            Some(_) => 0,
        }
    }

    /// Waits until the newest state is durable: what a statement shows must not be taken back by a crash, and a snapshot
    /// taken afterwards sees the rows that were committed with it.
    pub async fn settled(&self) -> SqlResult<()> {
        let lsn = Lsn(self.state.lsn.load(Ordering::Acquire));
        let store = self.system.pool().store();
        if lsn > store.vdl() {
            store.durable(lsn).await.map_err(crate::buffer::StorageError::from)?;
        }
        Ok(())
    }

    fn fresh_oid(&self) -> u32 {
        self.state.next_oid.fetch_add(1, Ordering::Relaxed)
    }

    fn change(&self, txn: &mut Transaction, change: Change) {
        if txn.attached::<Overlay>().is_none() {
            let committed = self.state.committed.read().clone();
            txn.attach(Box::new(Overlay {
                state: self.state.clone(),
                changes: Vec::new(),
                base: committed.version,
                view: committed,
            }));
        }
        let committed = self.state.committed.read().clone();
        if let Some(overlay) = txn.attached_mut::<Overlay>() {
            overlay.changes.push(change);
            overlay.base = committed.version;
            overlay.rebuild(&committed);
        }
    }
}

impl Overlay {
    fn rebuild(&mut self, committed: &CatalogView) {
        let mut view = committed.clone();
        for change in &self.changes {
            view.apply(change);
        }
        view.version = self.state.fresh_version();
        self.view = Arc::new(view);
    }
}
