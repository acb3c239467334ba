//! The list of pending drops: a tree in root slot [`Roots::PENDING_DROPS`], with an entry for each tree whose pages may
//! have to be freed, and under which condition.
//!
//! Key: root page (u64 BE), transaction id (u64 BE), reason (one byte). No value.

use std::ops::{Bound, ControlFlow};

use sextant_redo::{Lsn, PageId};

use crate::btree::{Direction, Edit, Resume, Tree};
use crate::buffer::{BufferPool, Step, Stop, StorageError};
use crate::mtr::MiniTxn;
use crate::space::Roots;
use crate::txn::commit_table::rooted_tree;
use crate::txn::{Outcome, TxId};

const KEY_LEN: usize = 17;
const CREATED: u8 = 0;
const DROPPED: u8 = 1;

/// Why a tree is listed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reason {
    /// Made under this id: it goes unless that commits.
    Created,
    /// Dropped under this id: it goes once that has committed.
    Dropped,
}

/// One of the list.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) root: PageId,
    /// A transaction or subtransaction.
    pub(super) by: TxId,
    pub(super) reason: Reason,
}

/// What is to be done about an entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fate {
    /// Nobody can find the tree any more: it is freed.
    Free,
    /// The entry says nothing any more: the tree is in use, or its drop never happened.
    Forget,
    /// The transaction has not ended.
    Undecided,
    /// It is dropped, but a snapshot may still read it.
    InUse,
}

impl Entry {
    fn key(&self) -> [u8; KEY_LEN] {
        let mut key = [0; KEY_LEN];
        key[..8].copy_from_slice(&self.root.0.to_be_bytes());
        key[8..16].copy_from_slice(&self.by.0.to_be_bytes());
        key[16] = match self.reason {
            Reason::Created => CREATED,
            Reason::Dropped => DROPPED,
        };
        key
    }

    fn of(key: &[u8]) -> Option<Entry> {
        let key: &[u8; KEY_LEN] = key.try_into().ok()?;
        let number = |at: usize| {
            let mut raw = [0; 8];
            raw.copy_from_slice(&key[at..at + 8]);
            u64::from_be_bytes(raw)
        };
        let reason = match key[16] {
            CREATED => Reason::Created,
            DROPPED => Reason::Dropped,
            _ => return None,
        };
        Some(Entry { root: PageId(number(0)), by: TxId(number(8)), reason })
    }

    /// What its transaction's outcome makes of it, when nobody reads below `horizon`. Once it is [`Fate::Free`] or
    /// [`Fate::Forget`] it stays that.
    pub(super) fn fate(&self, outcome: Outcome, horizon: Lsn) -> Fate {
        match (self.reason, outcome) {
            (_, Outcome::InProgress) => Fate::Undecided,
            (Reason::Created, Outcome::Committed(_)) | (Reason::Dropped, Outcome::Aborted) => Fate::Forget,
            // Only its own transaction ever knew of it.
            (Reason::Created, Outcome::Aborted) => Fate::Free,
            (Reason::Dropped, Outcome::Committed(lsn)) if lsn <= horizon => Fate::Free,
            (Reason::Dropped, Outcome::Committed(_)) => Fate::InUse,
        }
    }
}

/// Entries of one leaf of the list, and where to go on.
type Part = (Vec<Entry>, Option<Bound<Vec<u8>>>);

/// The list. Its entries change in the mini-transactions of what they speak of.
#[derive(Debug)]
pub(super) struct List(Tree);

impl List {
    /// Opens it without reading it; makes it in a volume that is older than it.
    pub(super) async fn open(pool: &BufferPool) -> Result<List, StorageError> {
        Ok(List(rooted_tree(pool, Roots::PENDING_DROPS).await?))
    }

    pub(super) fn add(&self, mtr: &mut MiniTxn<'_>, entry: &Entry) -> Step<()> {
        self.0.edit(mtr, &entry.key(), |_, _| Ok((Edit::Put(Vec::new()), ())))
    }

    pub(super) fn remove(&self, mtr: &mut MiniTxn<'_>, entry: &Entry) -> Step<()> {
        self.0.edit(mtr, &entry.key(), |_, _| Ok((Edit::Remove, ())))
    }

    /// The entries of the leaf that `from` leads to.
    pub(super) async fn read(&self, pool: &BufferPool, from: Bound<Vec<u8>>) -> Result<Part, StorageError> {
        let from = from.as_ref().map(Vec::as_slice);
        let step = || {
            let (mut entries, mut sound) = (Vec::new(), true);
            let resume = self.0.scan_leaf(pool, from, Direction::Forward, &mut |key, _| {
                match Entry::of(key) {
                    Some(entry) => entries.push(entry),
                    None => sound = false,
                }
                ControlFlow::Continue(())
            })?;
            if !sound {
                let what = "the list of pending drops has an entry that is none";
                return Err(StorageError::Corrupt { page: self.0.root, what }.into());
            }
            Ok::<_, Stop>((entries, resume))
        };
        let (entries, resume) = pool.run(step).await?;
        let next = match resume {
            Resume::Continue(next) => Some(next),
            Resume::Done | Resume::Stopped => None,
        };
        Ok((entries, next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back_and_nothing_else_is() {
        for reason in [Reason::Created, Reason::Dropped] {
            let entry = Entry { root: PageId(0x0102), by: TxId(u64::MAX / 3), reason };
            assert_eq!(Entry::of(&entry.key()), Some(entry));
            assert_eq!(Entry::of(&entry.key()[..16]), None);
        }
        assert_eq!(Entry::of(&[7; KEY_LEN]), None);
    }

    #[test]
    fn a_tree_goes_when_nobody_can_find_it() {
        let entry = |reason| Entry { root: PageId(9), by: TxId(4), reason };
        let fates = |reason| {
            let committed = |lsn| Outcome::Committed(Lsn(lsn));
            let outcomes = [Outcome::InProgress, Outcome::Aborted, committed(50), committed(51)];
            outcomes.map(|outcome| entry(reason).fate(outcome, Lsn(50)))
        };
        assert_eq!(fates(Reason::Created), [Fate::Undecided, Fate::Free, Fate::Forget, Fate::Forget]);
        assert_eq!(fates(Reason::Dropped), [Fate::Undecided, Fate::Forget, Fate::Free, Fate::InUse]);
    }
}
