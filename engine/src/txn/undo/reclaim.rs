//! Reclaiming undo pages, and repairing what rolled-back transactions left in tables.
//!
//! A sealed page is reusable once (1) all transactions that wrote records into it have ended, (2) every snapshot in use
//! sees those of them that committed, so nobody goes back behind their versions, and (3) of those that rolled back no
//! version can be reached any more, and every reader that may have reached one has gone. For (3) a head that is rolled
//! back is overwritten here with the version that it hides. Redoing any of this after a crash changes nothing more.
//!
//! What must hold for (3): a version that is rolled back is only reached through a head that is, for whoever writes links
//! past them; but that head may be another's, a subtransaction's over its transaction's. A transaction ends after its
//! subtransactions, so behind the end of a version's writer no head above it is still in progress.

use std::collections::BTreeSet;
use std::ops::{Bound, ControlFlow};

use sextant_redo::{Lsn, PageId};

use super::page::each_record;
use super::space::Sealed;
use crate::btree::{Direction, Edit, Resume, Tree};
use crate::buffer::{Step, Stop, StorageError};
use crate::table::row_key;
use crate::txn::snapshot::Horizon;
use crate::txn::version::Header;
use crate::txn::{Outcome, TransactionSystem};

/// Sealed pages looked at in one pass.
const PAGES_PER_PASS: usize = 512;

/// What a pass did.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct ReclaimReport {
    /// Pages made reusable.
    pub(crate) reclaimed: usize,
    /// Rows whose rolled-back head was overwritten.
    pub(crate) repaired: usize,
}

/// A row at whose head a rolled-back transaction may have left a version: its tree's root, its id.
type Suspect = (PageId, u64);

/// What the records of a page say.
#[derive(Default)]
struct Survey {
    in_progress: bool,
    newest_commit: Lsn,
    suspects: BTreeSet<Suspect>,
}

impl TransactionSystem {
    /// One pass over the oldest sealed pages.
    pub(crate) async fn reclaim_undo(&self) -> Result<ReclaimReport, StorageError> {
        let loaded = self.undo.state.lock().loaded;
        if !loaded {
            let _loading = self.undo.loading.lock().await;
            let pages = self.undo_directory().await?;
            self.undo.adopt(pages);
        }
        let mut report = ReclaimReport::default();
        let count = self.undo.state.lock().sealed.len().min(PAGES_PER_PASS);
        for _ in 0..count {
            let Some(sealed) = self.undo.state.lock().sealed.pop_front() else {
                break;
            };
            let page = sealed.page;
            match self.reclaim_page(sealed, &mut report).await {
                Ok(None) => {
                    report.reclaimed += 1;
                    self.undo.state.lock().reusable.push(page);
                }
                Ok(Some(later)) => self.undo.state.lock().sealed.push_back(later),
                Err(error) => {
                    let later = Sealed { page, until: None };
                    self.undo.state.lock().sealed.push_back(later);
                    return Err(error);
                }
            }
        }
        self.free_surplus_undo().await?;
        Ok(report)
    }

    /// `None` when the page is reusable.
    async fn reclaim_page(
        &self,
        sealed: Sealed,
        report: &mut ReclaimReport,
    ) -> Result<Option<Sealed>, StorageError> {
        let until = match sealed.until {
            Some(until) => until,
            None => match self.settle(sealed.page, report).await? {
                Some(until) => until,
                None => return Ok(Some(sealed)),
            },
        };
        let horizon = self.horizon();
        let passed = horizon.lsn >= until.lsn && horizon.number >= until.number;
        Ok((!passed).then_some(Sealed { page: sealed.page, until: Some(until) }))
    }

    /// Repairs what the page's rolled-back writers left, and says how far the horizon must get; `None` while one of its
    /// writers is in progress.
    async fn settle(
        &self,
        page: PageId,
        report: &mut ReclaimReport,
    ) -> Result<Option<Horizon>, StorageError> {
        let survey = self.pool().run(|| self.survey(page)).await?;
        if survey.in_progress {
            return Ok(None);
        }
        for suspect in &survey.suspects {
            report.repaired += usize::from(self.repair(*suspect).await?);
        }
        let number = if survey.suspects.is_empty() { 0 } else { self.next_pin_number() };
        Ok(Some(Horizon { lsn: survey.newest_commit, number }))
    }

    fn survey(&self, page: PageId) -> Step<Survey> {
        let mut writers = BTreeSet::new();
        each_record(self.pool(), page, |record| {
            writers.insert(record.writer);
        })?;
        let mut survey = Survey::default();
        let mut aborted = BTreeSet::new();
        for writer in writers {
            match self.outcome(writer)? {
                Outcome::InProgress => survey.in_progress = true,
                Outcome::Committed(lsn) => survey.newest_commit = survey.newest_commit.max(lsn),
                Outcome::Aborted => {
                    aborted.insert(writer);
                }
            }
        }
        each_record(self.pool(), page, |record| {
            if aborted.contains(&record.writer) {
                survey.suspects.insert((record.root, record.row));
            }
        })?;
        Ok(survey)
    }

    /// Overwrites the head of the row if it is rolled back. True when it was.
    async fn repair(&self, (root, row_id): Suspect) -> Result<bool, StorageError> {
        let tree = Tree { root };
        let key = row_key(row_id);
        let done = self
            .pool()
            .write(|mtr| {
                tree.edit(mtr, &key, |value, _| {
                    let head = value.and_then(Header::split);
                    let Some((header, bytes)) = head else {
                        return Ok((Edit::Keep, false));
                    };
                    // A head without an older version hides nothing; vacuum removes such rows.
                    if header.undo.is_none() || self.outcome(header.txid)? != Outcome::Aborted {
                        return Ok((Edit::Keep, false));
                    }
                    let mut row = bytes.to_vec();
                    let header = self.unhide(&tree, row_id, header, &mut row)?;
                    Ok((Edit::Put(header.join(&row)), true))
                })
            })
            .await;
        match done {
            Ok((repaired, _)) => Ok(repaired),
            // The table was dropped and its pages serve something else: nothing is left to repair.
            Err(StorageError::Corrupt { .. }) => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// The first version behind a rolled-back one that is not rolled back itself, or the oldest.
    fn unhide(&self, tree: &Tree, row: u64, head: Header, bytes: &mut Vec<u8>) -> Step<Header> {
        let mut header = head;
        while self.outcome(header.txid)? == Outcome::Aborted {
            match self.older(tree, row, &header, bytes)? {
                Some(older) => header = older,
                None => break,
            }
        }
        Ok(header)
    }

    async fn undo_directory(&self) -> Result<Vec<PageId>, StorageError> {
        let mut pages = Vec::new();
        let mut from = Bound::Unbounded;
        loop {
            let start = from.clone();
            let (found, resume) = self
                .pool()
                .run(|| {
                    let mut found = Vec::new();
                    let mut take = |key: &[u8], _: &[u8]| {
                        if let Ok(raw) = key.try_into() {
                            found.push(PageId(u64::from_be_bytes(raw)));
                        }
                        ControlFlow::Continue(())
                    };
                    let from = start.as_ref().map(Vec::as_slice);
                    let resume =
                        self.undo.directory.scan_leaf(self.pool(), from, Direction::Forward, &mut take)?;
                    Ok::<_, Stop>((found, resume))
                })
                .await?;
            pages.extend(found);
            match resume {
                Resume::Continue(next) => from = next,
                Resume::Done | Resume::Stopped => return Ok(pages),
            }
        }
    }

    async fn free_surplus_undo(&self) -> Result<(), StorageError> {
        for page in self.undo.surplus() {
            self.pool()
                .write(|mtr| {
                    self.undo.directory.edit(mtr, &page.0.to_be_bytes(), |_, _| Ok((Edit::Remove, ())))?;
                    mtr.free(page)
                })
                .await?;
            crate::txn::metrics::METRICS.undo_pages.dec();
        }
        Ok(())
    }
}
