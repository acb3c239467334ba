//! A mini-transaction (MTR) under construction: which pages it changes and how. It becomes a run of records with
//! consecutive LSNs, one a page, the last of them a consistency point (CPL); no reader and no recovery ever sees a
//! part of it.

use crate::patch::Patch;
use crate::{Lsn, PageId};

/// What one MTR does to one page: one record to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PageChange {
    /// The page.
    pub page: PageId,
    /// LSN of the page before: its page back-link.
    pub prev_page: Lsn,
    /// Encoded patches, in order.
    pub patches: Vec<u8>,
    /// The record's own LSN, set when the log allocates it.
    pub lsn: Lsn,
}

/// The changes of one mini-transaction, in the order of each page's first change. Reusable: [`Mtr::clear`] keeps the
/// buffers.
#[derive(Debug, Default)]
pub struct Mtr {
    changes: Vec<PageChange>,
    used: usize,
}

impl Mtr {
    /// An empty one.
    #[must_use]
    pub fn new() -> Mtr {
        Mtr::default()
    }

    /// Forgets all changes and keeps the memory.
    pub fn clear(&mut self) {
        self.used = 0;
    }

    /// True when nothing was recorded.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.used == 0
    }

    /// Starts the record of `page`, whose page LSN is `prev_page`, and says its index. A page is added once.
    pub fn add_page(&mut self, page: PageId, prev_page: Lsn) -> usize {
        debug_assert!(self.changes().iter().all(|c| c.page != page));
        if self.used == self.changes.len() {
            self.changes.push(PageChange::default());
        }
        let change = &mut self.changes[self.used];
        change.page = page;
        change.prev_page = prev_page;
        change.patches.clear();
        change.lsn = Lsn::ZERO;
        self.used += 1;
        self.used - 1
    }

    /// Records a patch of the page at `index`.
    pub fn patch(&mut self, index: usize, patch: Patch<'_>) {
        debug_assert!(patch.check().is_ok(), "{patch:?}");
        patch.encode(&mut self.changes[index].patches);
    }

    /// What was recorded.
    #[must_use]
    pub fn changes(&self) -> &[PageChange] {
        &self.changes[..self.used]
    }

    /// For the log, which fills in the LSNs.
    pub fn changes_mut(&mut self) -> &mut [PageChange] {
        &mut self.changes[..self.used]
    }

    /// Upper bound of the log bytes that this MTR takes.
    #[must_use]
    pub fn max_log_bytes(&self) -> usize {
        self.changes().iter().map(|c| c.patches.len() + crate::record::MAX_RECORD_OVERHEAD).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buffers_are_reused_without_leaking_old_changes() {
        let mut mtr = Mtr::new();
        let a = mtr.add_page(PageId(1), Lsn(5));
        mtr.patch(a, Patch::Set { offset: 30, bytes: b"abc" });
        mtr.clear();
        assert!(mtr.is_empty());
        mtr.add_page(PageId(2), Lsn(6));
        assert_eq!(mtr.changes().len(), 1);
        assert!(mtr.changes()[0].patches.is_empty());
        assert_eq!(mtr.changes()[0].prev_page, Lsn(6));
    }
}
