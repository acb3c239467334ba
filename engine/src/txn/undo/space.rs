//! Which undo pages there are and who appends to which.
//!
//! A directory of all undo pages, a tree in root slot [`Roots::UNDO`] (page id u64 BE -> nothing), is durable; the rest
//! is in memory. Pages circulate: reusable -> held by a transaction -> open (given back with room) or sealed (full)
//! -> reusable once nobody needs their records. In steady state no page is allocated and the directory stands still.

use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use sextant_redo::PageId;

use super::page;
use crate::btree::{Edit, Tree};
use crate::buffer::{BufferPool, StorageError};
use crate::space::Roots;
use crate::txn::commit_table::rooted_tree;
use crate::txn::metrics::METRICS;

/// Pages kept for reuse; more are given back to the volume.
const REUSABLE_MAX: usize = 512;

/// An undo page and the right to append to it.
#[derive(Debug)]
pub(crate) struct Slot {
    /// The page.
    pub(crate) page: PageId,
    /// What it holds is of no use to anybody: the first append starts at its beginning.
    reused: AtomicBool,
}

impl Slot {
    fn new(page: PageId, reused: bool) -> Slot {
        let reused = AtomicBool::new(reused);
        Slot { page, reused }
    }

    /// Whether the next append starts at the page's beginning.
    pub(super) fn is_reused(&self) -> bool {
        self.reused.load(Ordering::Relaxed)
    }

    /// An append went to the log. Said when its LSN is known, so that no cancelled future can lose it.
    pub(crate) fn appended(&self) {
        self.reused.store(false, Ordering::Relaxed);
    }
}

/// A page that waits until its records are no longer needed.
#[derive(Debug)]
pub(super) struct Sealed {
    pub(super) page: PageId,
    /// What has to pass before, once all of its writers have ended.
    pub(super) until: Option<crate::txn::snapshot::Horizon>,
}

#[derive(Debug, Default)]
pub(super) struct State {
    /// Given back with room; the last one first, its page is the likeliest to be cached.
    open: Vec<PageId>,
    pub(super) reusable: Vec<PageId>,
    pub(super) sealed: VecDeque<Sealed>,
    /// Pages known to this engine while the directory of the engines before it has not been read.
    known: HashSet<PageId>,
    pub(super) loaded: bool,
}

/// See the module.
pub(crate) struct UndoSpace {
    pub(super) directory: Tree,
    pub(super) state: Mutex<State>,
    /// Held while the directory is read and taken over, and while a page enters it before that.
    pub(super) loading: tokio::sync::Mutex<()>,
}

impl UndoSpace {
    /// Opens it without reading the directory: that is left to the first background pass.
    pub(crate) async fn open(pool: &BufferPool) -> Result<UndoSpace, StorageError> {
        Ok(UndoSpace {
            directory: rooted_tree(pool, Roots::UNDO).await?,
            state: Mutex::default(),
            loading: tokio::sync::Mutex::default(),
        })
    }

    /// A page to append to.
    pub(crate) async fn take(&self, pool: &BufferPool) -> Result<Slot, StorageError> {
        {
            let mut state = self.state.lock();
            if let Some(page) = state.open.pop() {
                return Ok(Slot::new(page, false));
            }
            if let Some(page) = state.reusable.pop() {
                return Ok(Slot::new(page, true));
            }
        }
        let step = |mtr: &mut crate::mtr::MiniTxn<'_>| {
            let handle = mtr.allocate()?;
            page::format(mtr, handle);
            let page = mtr.page(handle);
            self.directory.edit(mtr, &page.0.to_be_bytes(), |_, _| Ok((Edit::Put(Vec::new()), ())))?;
            Ok(page)
        };
        // Not between the reading of the directory and the taking over of what it lists: see `adopt`.
        let loaded = self.state.lock().loaded;
        let _loading = match loaded {
            true => None,
            false => Some(self.loading.lock().await),
        };
        let (page, _) = pool.write(step).await?;
        let mut state = self.state.lock();
        if !state.loaded {
            state.known.insert(page);
        }
        METRICS.undo_pages.inc();
        Ok(Slot::new(page, false))
    }

    /// A transaction's page comes back at its end.
    pub(crate) fn give_back(&self, slot: Slot) {
        let mut state = self.state.lock();
        if slot.is_reused() {
            state.reusable.push(slot.page);
        } else {
            state.open.push(slot.page);
        }
    }

    /// A page is full.
    pub(crate) fn seal(&self, slot: Slot) {
        self.state.lock().sealed.push_back(Sealed { page: slot.page, until: None });
    }

    /// The pages of earlier engines, taken over as sealed.
    pub(super) fn adopt(&self, pages: Vec<PageId>) {
        let mut state = self.state.lock();
        let known = std::mem::take(&mut state.known);
        for page in pages {
            if !known.contains(&page) {
                METRICS.undo_pages.inc();
                state.sealed.push_back(Sealed { page, until: None });
            }
        }
        state.loaded = true;
    }

    /// Reusable pages beyond what is worth keeping.
    pub(super) fn surplus(&self) -> Vec<PageId> {
        let mut state = self.state.lock();
        let keep = state.reusable.len().min(REUSABLE_MAX);
        state.reusable.split_off(keep)
    }

    /// Pages held neither by a transaction nor open: (sealed, reusable).
    #[cfg(test)]
    pub(crate) fn counts(&self) -> (usize, usize) {
        let state = self.state.lock();
        (state.sealed.len(), state.reusable.len())
    }
}
