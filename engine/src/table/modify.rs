//! Locking, updating and deleting rows.

use std::ops::ControlFlow::{self, Break, Continue};

use sextant_redo::Lsn;

use super::garbage::{Candidate, What};
use super::{RowBytes, RowId, Table, row_key};
use crate::btree::Edit;
use crate::buffer::{Step, StorageError};
use crate::mtr::MiniTxn;
use crate::txn::undo::{Newer, Slot, append, encode};
use crate::txn::version::Header;
use crate::txn::{KeyRange, LockWait, Outcome, Own, RowLock, Transaction, TransactionSystem, TxId, TxnError};

/// What [`TransactionSystem::lock_row`] found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum LockOutcome {
    /// The row is as the snapshot sees it.
    Locked,
    /// Somebody changed it since and committed: the newest version is handed out; its conditions must be checked
    /// again (READ COMMITTED only).
    Updated,
    /// It is deleted, or never came to be.
    Gone,
    /// This very command changed or deleted it before.
    SelfModified,
}

/// What a step found at a row's head.
enum Head {
    None,
    Busy(TxId),
    Own { command: u32, deleted: bool },
    Committed { lsn: Lsn, deleted: bool },
}

/// What became of a change.
enum Changed {
    Done { was_large: bool },
    PageFull,
    Busy(TxId),
    Gone,
}

struct Change<'a> {
    table: &'a Table,
    row: RowId,
    /// `None` deletes.
    new: Option<RowBytes<'a>>,
    by: TxId,
    own: Own,
    command: u32,
}

impl TransactionSystem {
    /// Locks a row until the end of the transaction, and hands out its newest version in `out`. A row that is gone is not
    /// locked.
    pub async fn lock_row(
        &self,
        txn: &mut Transaction,
        table: &Table,
        row: RowId,
        lock: RowLock,
        wait: LockWait,
        out: &mut Vec<u8>,
    ) -> Result<LockOutcome, TxnError> {
        let mark = txn.locks_taken();
        self.take_row_lock(txn, table, row, lock, wait).await?;
        self.judge(txn, table, row, (lock, wait), mark, out).await
    }

    /// Whoever keeps a snapshot waits for nobody once the row is another than it sees: it fails whatever the other one does.
    async fn take_row_lock(
        &self,
        txn: &mut Transaction,
        table: &Table,
        row: RowId,
        lock: RowLock,
        wait: LockWait,
    ) -> Result<(), TxnError> {
        if !txn.isolation().keeps_snapshot() {
            return txn.lock_row_key(table.oid, row.0, lock, wait).await;
        }
        let busy = match txn.lock_row_key(table.oid, row.0, lock, LockWait::NoWait).await {
            Err(busy @ TxnError::LockNotAvailable) => busy,
            done => return done,
        };
        if self.changed_since(txn, table, row).await? {
            return Err(TxnError::Serialization);
        }
        match wait {
            LockWait::NoWait => Err(busy),
            LockWait::Block => txn.lock_row_key(table.oid, row.0, lock, wait).await,
        }
    }

    /// Whether somebody has changed the row and committed since the snapshot of the transaction was taken.
    async fn changed_since(
        &self,
        txn: &mut Transaction,
        table: &Table,
        row: RowId,
    ) -> Result<bool, TxnError> {
        let seen = txn.pinned().lsn;
        let changed = self.newest_version(table, row, |_, outcome, _| match outcome {
            Outcome::InProgress => Continue(()),
            outcome => Break(matches!(outcome, Outcome::Committed(lsn) if lsn > seen)),
        });
        Ok(changed.await?.unwrap_or_default())
    }

    /// What a row is whose lock was just taken. `mark` is how many locks there were before.
    pub(super) async fn judge(
        &self,
        txn: &mut Transaction,
        table: &Table,
        row: RowId,
        (lock, wait): (RowLock, LockWait),
        mark: usize,
        out: &mut Vec<u8>,
    ) -> Result<LockOutcome, TxnError> {
        let seen = txn.pinned().lsn;
        let outcome = loop {
            let head = self.head(txn, table, row, lock, out).await?;
            break match head {
                Head::None => LockOutcome::Gone,
                Head::Busy(by) => {
                    self.wait_for(txn, by, wait).await?;
                    continue;
                }
                Head::Own { command, .. } if command >= txn.command() => LockOutcome::SelfModified,
                Head::Own { deleted: true, .. } => LockOutcome::Gone,
                Head::Own { .. } => LockOutcome::Locked,
                Head::Committed { lsn, deleted } => {
                    txn.observe(lsn);
                    match (lsn > seen, deleted) {
                        (true, _) if txn.isolation().keeps_snapshot() => {
                            return Err(TxnError::Serialization);
                        }
                        (_, true) => LockOutcome::Gone,
                        (true, false) => LockOutcome::Updated,
                        (false, false) => LockOutcome::Locked,
                    }
                }
            };
        };
        if outcome == LockOutcome::Gone {
            // Nobody needs to wait for the end of who found nothing.
            txn.unlock_to(mark);
        }
        Ok(outcome)
    }

    async fn head(
        &self,
        txn: &Transaction,
        table: &Table,
        row: RowId,
        lock: RowLock,
        out: &mut Vec<u8>,
    ) -> Result<Head, TxnError> {
        let own = txn.own();
        // Whoever has a change in progress beside this lock leaves the keys alone: only what is committed counts.
        let passes_over = |txid| lock == RowLock::KeyShare && !own.contains(txid);
        let head = self.newest_version(table, row, |header, outcome, bytes| {
            if outcome == Outcome::InProgress && passes_over(header.txid) {
                return Continue(());
            }
            out.clear();
            out.extend_from_slice(bytes);
            Break(Head::of(header, outcome, own))
        });
        Ok(head.await?.unwrap_or(Head::None))
    }

    /// Asks `f` about the versions of a row, newest first, until it breaks with an answer. It is asked from the start again
    /// when a page had to be fetched.
    async fn newest_version<T: Send>(
        &self,
        table: &Table,
        row: RowId,
        mut f: impl FnMut(&Header, Outcome, &[u8]) -> ControlFlow<T> + Send,
    ) -> Result<Option<T>, StorageError> {
        let key = row_key(row.0);
        let mut value = Vec::new();
        let step = || {
            let found = table.tree.lookup(self.pool(), &key, |found| {
                value.clear();
                value.extend_from_slice(found?);
                Some(())
            })?;
            let mut answer = None;
            if found.is_some() {
                self.each_version(&table.tree, row.0, &value, |header, outcome, bytes| {
                    answer = f(header, outcome, bytes).break_value();
                    Ok(answer.is_none())
                })?;
            }
            Ok(answer)
        };
        self.pool().run(step).await
    }

    /// Waits until another transaction has ended.
    pub(super) async fn wait_for(&self, txn: &Transaction, id: TxId, wait: LockWait) -> Result<(), TxnError> {
        let Some(active) = self.commits.active.get(id) else {
            return Ok(());
        };
        if wait == LockWait::NoWait {
            return Err(TxnError::LockNotAvailable);
        }
        let other = (active.owner, active.id);
        self.locks.wait_for_end(txn.owner(), other, active.ended(), txn.lock_timeout()).await
    }

    /// Replaces a row that this transaction has locked, in place. What it was goes to an undo page.
    pub async fn update<'r>(
        &self,
        txn: &mut Transaction,
        table: &Table,
        row: RowId,
        new: impl Into<RowBytes<'r>>,
    ) -> Result<(), TxnError> {
        self.change(txn, table, row, Some(new.into())).await
    }

    /// Deletes a row that this transaction has locked ([`RowLock::Update`]).
    pub async fn delete(&self, txn: &mut Transaction, table: &Table, row: RowId) -> Result<(), TxnError> {
        self.change(txn, table, row, None).await
    }

    async fn change(
        &self,
        txn: &mut Transaction,
        table: &Table,
        row: RowId,
        new: Option<RowBytes<'_>>,
    ) -> Result<(), TxnError> {
        let by = txn.write_id().await?;
        let change = Change { table, row, new, by, own: txn.own().clone(), command: txn.command() };
        txn.changed(&table.tree, row.0);
        tokio::task::coop::consume_budget().await;
        let mut undo = Vec::new();
        loop {
            let slot = txn.undo_slot().await?;
            let (changed, _) = self
                .pool()
                .write_with(|mtr| self.change_step(mtr, &change, slot, &mut undo), |_| slot.appended())
                .await?;
            match changed {
                Changed::Done { was_large } => {
                    let what = match new {
                        None => Some(What::Row),
                        Some(_) => was_large.then_some(What::Values),
                    };
                    if let Some(what) = what {
                        table.shared.garbage.add(Candidate { by: change.by, row, what });
                    }
                    return txn.wrote(table.oid, || KeyRange::numbers(row.0..row.0 + 1));
                }
                Changed::PageFull => txn.seal_undo(),
                Changed::Busy(by) => {
                    return Err(TxnError::NotLocked { table: table.oid, row: row.0, by });
                }
                Changed::Gone => {
                    return Err(TxnError::RowGone { table: table.oid, row: row.0 });
                }
            }
        }
    }

    /// Leaf, then undo page: the order in which everybody latches these two.
    fn change_step(
        &self,
        mtr: &mut MiniTxn<'_>,
        change: &Change<'_>,
        slot: &Slot,
        undo: &mut Vec<u8>,
    ) -> Step<Changed> {
        let tree = &change.table.tree;
        tree.edit(mtr, &row_key(change.row.0), |value, mtr| {
            let Some(value) = value else {
                return Ok((Edit::Keep, Changed::Gone));
            };
            let Some(current) = self.current(tree, change.row.0, value)? else {
                return Ok((Edit::Keep, Changed::Gone));
            };
            if current.outcome == Outcome::InProgress && !change.own.contains(current.header.txid) {
                return Ok((Edit::Keep, Changed::Busy(current.header.txid)));
            }
            if current.header.deleted {
                return Ok((Edit::Keep, Changed::Gone));
            }
            let newer = Newer {
                writer: change.by,
                root: tree.root,
                row: change.row.0,
                bytes: change.new.map_or(&*current.row, |new| new.bytes),
            };
            undo.clear();
            encode(newer, &current.header, &current.row, undo);
            let Some(at) = append(mtr, slot, undo)? else {
                return Ok((Edit::Keep, Changed::PageFull));
            };
            let header = Header {
                deleted: change.new.is_none(),
                large: change.new.map_or(current.header.large, |new| new.large),
                command: change.command,
                txid: change.by,
                undo: Some(at),
            };
            let done = Changed::Done { was_large: current.header.large };
            Ok((Edit::Put(header.join(newer.bytes)), done))
        })
    }
}

impl Head {
    fn of(header: &Header, outcome: Outcome, own: &Own) -> Head {
        let Header { deleted, command, txid, .. } = *header;
        match outcome {
            Outcome::Committed(lsn) => Head::Committed { lsn, deleted },
            _ if own.contains(txid) => Head::Own { command, deleted },
            _ => Head::Busy(txid),
        }
    }
}
