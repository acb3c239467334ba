//! Which version of a row a reader sees, and how older versions are rebuilt.
//!
//! Everything here is a step: synchronous, over resident pages, redone when one is missing.

use std::borrow::Cow;

use super::undo::read_record;
use super::version::Header;
use super::{Outcome, Snapshot, TransactionSystem, TxId};
use crate::btree::Tree;
use crate::buffer::{Step, Stop, StorageError};

/// The newest version of a row that is not rolled back.
#[derive(Debug)]
pub(crate) struct Current<'a> {
    /// Its header.
    pub(crate) header: Header,
    /// Committed, or in progress.
    pub(crate) outcome: Outcome,
    /// Its bytes.
    pub(crate) row: Cow<'a, [u8]>,
}

/// What a snapshot makes of a row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sight {
    /// The version that it sees, which is not a deletion.
    pub(crate) seen: Option<Header>,
    /// Who made of the version that it sees, or of nothing, the next one, which it does not see.
    pub(crate) missed: Option<TxId>,
}

impl TransactionSystem {
    /// What became of a transaction.
    pub(crate) fn outcome(&self, id: TxId) -> Step<Outcome> {
        self.commits.outcome(self.pool(), id)
    }

    /// Whether the snapshot sees a version of this outcome.
    pub(crate) fn decide(snapshot: &Snapshot, header: &Header, outcome: Outcome) -> bool {
        match outcome {
            Outcome::Committed(lsn) => lsn <= snapshot.lsn,
            Outcome::InProgress | Outcome::Aborted => {
                header.command < snapshot.command && snapshot.own.contains(header.txid)
            }
        }
    }

    /// Whether the snapshot sees this version, if that can be said without touching a page.
    pub(crate) fn sees_at_once(&self, snapshot: &Snapshot, header: &Header) -> Option<bool> {
        let outcome = self.commits.known(header.txid)?;
        Some(Self::decide(snapshot, header, outcome))
    }

    /// Goes from a version to the one before: `row` becomes its bytes. `None` when there is none.
    pub(crate) fn older(
        &self,
        tree: &Tree,
        row_id: u64,
        newer: &Header,
        row: &mut Vec<u8>,
    ) -> Step<Option<Header>> {
        let Some(at) = newer.undo else {
            return Ok(None);
        };
        read_record(self.pool(), at, |record| {
            if (record.writer, record.root, record.row) != (newer.txid, tree.root, row_id) {
                return Err("an undo record belongs to another version than the one that points at it");
            }
            if !record.rebuild(row) {
                return Err("an undo record does not fit the version that points at it");
            }
            Ok(Some(record.old))
        })
    }

    /// The version that the snapshot sees, into `out`.
    pub(crate) fn visible(
        &self,
        snapshot: &Snapshot,
        tree: &Tree,
        row_id: u64,
        value: &[u8],
        out: &mut Vec<u8>,
    ) -> Step<Sight> {
        let (mut header, row) = split(tree, value)?;
        out.clear();
        out.extend_from_slice(row);
        let mut missed = None;
        loop {
            let outcome = self.outcome(header.txid)?;
            if Self::decide(snapshot, &header, outcome) {
                return Ok(Sight { seen: (!header.deleted).then_some(header), missed });
            }
            if outcome != Outcome::Aborted && !snapshot.own.contains(header.txid) {
                missed = Some(header.txid);
            }
            match self.older(tree, row_id, &header, out)? {
                Some(older) => header = older,
                None => return Ok(Sight { seen: None, missed }),
            }
        }
    }

    /// The newest version that is not rolled back; `None` when the row never came to be.
    pub(crate) fn current<'a>(&self, tree: &Tree, row_id: u64, value: &'a [u8]) -> Step<Option<Current<'a>>> {
        let (mut header, bytes) = split(tree, value)?;
        let mut row = Cow::Borrowed(bytes);
        loop {
            let outcome = self.outcome(header.txid)?;
            if outcome != Outcome::Aborted {
                return Ok(Some(Current { header, outcome, row }));
            }
            match self.older(tree, row_id, &header, row.to_mut())? {
                Some(older) => header = older,
                None => return Ok(None),
            }
        }
    }

    /// Calls `f` with each version that is not rolled back, the newest first, until it says false or there is none.
    /// The caller has a registered snapshot, and stops at the latest behind the first version that the horizon sees.
    pub(crate) fn each_version(
        &self,
        tree: &Tree,
        row_id: u64,
        value: &[u8],
        mut f: impl FnMut(&Header, Outcome, &[u8]) -> Step<bool>,
    ) -> Step<()> {
        let (mut header, bytes) = split(tree, value)?;
        let mut row = bytes.to_vec();
        loop {
            let outcome = self.outcome(header.txid)?;
            if outcome != Outcome::Aborted && !f(&header, outcome, &row)? {
                return Ok(());
            }
            match self.older(tree, row_id, &header, &mut row)? {
                Some(older) => header = older,
                None => return Ok(()),
            }
        }
    }
}

/// Header and row of a stored value.
pub(crate) fn split<'a>(tree: &Tree, value: &'a [u8]) -> Step<(Header, &'a [u8])> {
    Header::split(value).ok_or(Stop::Failed(StorageError::Corrupt {
        page: tree.root,
        what: "a row is shorter than its version header",
    }))
}
