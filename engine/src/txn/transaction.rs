//! The life of one transaction.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use sextant_redo::Lsn;
use sextant_volume::OpenTransaction;

use super::active::Active;
use super::lock::{Mode, Taken};
use super::savepoint::Savepoint;
use super::snapshot::Pin;
use super::undo::Slot;
use super::{
    Attached, Isolation, KeyRange, LockKey, LockWait, METRICS, Own, Owner, RowLock, SessionLocks, Snapshot,
    TableLock, Tracked, TransactionSystem, TxId, TxnError,
};
use crate::btree::Tree;

/// A transaction of one session. Dropping it rolls it back.
///
/// Work on it is cancelled by dropping the future that does it; after that, or after any error, roll it back, all of it
/// or to a savepoint set before that work began.
pub struct Transaction {
    pub(super) system: Arc<TransactionSystem>,
    pub(super) owner: Owner,
    isolation: Isolation,
    pub(super) session: Option<Arc<SessionLocks>>,
    /// While it may commit.
    open: OpenTransaction,
    active: Option<Arc<Active>>,
    /// Subtransactions that wrote and are not rolled back.
    pub(super) subs: Vec<Arc<Active>>,
    pub(super) own: Own,
    pub(super) savepoints: Vec<Savepoint>,
    command: u32,
    pin: Option<Arc<Pin>>,
    read_only: bool,
    /// It waits for a safe snapshot.
    deferrable: bool,
    tracked: Option<Arc<Tracked>>,
    /// Modes gained, in that order.
    pub(super) locks: Vec<Taken>,
    undo: Option<Slot>,
    /// Newest commit that this transaction built on or showed; it may not be durable yet.
    observed: Lsn,
    lock_timeout: Option<Duration>,
    /// Rows inserted lately, all in one table.
    pub(super) fresh: Option<(Tree, Range<u64>)>,
    /// At most one of each type, in the order in which they came.
    pub(super) attached: Vec<Box<dyn Attached>>,
    /// Large values written so far.
    values: u32,
}

impl Transaction {
    pub(super) fn new(system: Arc<TransactionSystem>, owner: Owner, isolation: Isolation) -> Transaction {
        let open = system.pool().store().open_transaction();
        Transaction {
            system,
            owner,
            isolation,
            session: None,
            open,
            active: None,
            subs: Vec::new(),
            own: Own::default(),
            savepoints: Vec::new(),
            command: 0,
            pin: None,
            read_only: false,
            deferrable: false,
            tracked: None,
            locks: Vec::new(),
            undo: None,
            observed: Lsn::ZERO,
            lock_timeout: None,
            fresh: None,
            attached: Vec::new(),
            values: 0,
        }
    }

    /// The system that it belongs to.
    #[must_use]
    pub fn system(&self) -> &Arc<TransactionSystem> {
        &self.system
    }

    /// Its level.
    #[must_use]
    pub fn isolation(&self) -> Isolation {
        self.isolation
    }

    /// Its id, which is not that of its subtransactions; `None` until it writes.
    #[must_use]
    pub fn id(&self) -> Option<TxId> {
        self.active.as_ref().map(|a| a.id)
    }

    /// How long it waits for a lock; `None`: for ever.
    pub fn set_lock_timeout(&mut self, timeout: Option<Duration>) {
        self.lock_timeout = timeout;
    }

    /// Says, before its first statement, that it will write nothing. Nothing holds it to that; a serializable transaction
    /// gets by with fewer conflicts then.
    pub fn declare_read_only(&mut self) {
        self.read_only = true;
    }

    /// Says, before its first statement, that it can wait until its snapshot is safe. That means something only if it is
    /// serializable and writes nothing: then it is never refused, and nothing of it is noted.
    pub fn declare_deferrable(&mut self) {
        self.deferrable = true;
    }

    /// Starts a statement: what the ones before wrote becomes visible, and under READ COMMITTED what others committed.
    /// To be called before each statement, and between parts of one that must see what the part before did.
    pub fn begin_statement(&mut self) {
        // 4 billion commands: a session that got there has other troubles; it stops seeing its own newest changes.
        self.command = self.command.saturating_add(1);
        match self.isolation {
            Isolation::ReadCommitted => self.pin = Some(self.system.pin()),
            Isolation::RepeatableRead | Isolation::Serializable => _ = self.pinned(),
        }
    }

    /// Says that no statement runs: under READ COMMITTED the snapshot is let go, so that an idle transaction holds
    /// nothing back.
    pub fn end_statement(&mut self) {
        if self.isolation == Isolation::ReadCommitted {
            self.pin = None;
        }
    }

    /// What the current statement sees.
    pub fn snapshot(&mut self) -> Snapshot {
        let own = self.own.clone();
        let command = self.command;
        let pin = self.pinned().clone();
        Snapshot { lsn: pin.lsn, own, command, tracked: self.tracked.clone(), _pin: pin }
    }

    /// Everything that is committed and whatever this transaction did in commands before, at any level: what a constraint
    /// asks behind its locks. A lock ends when a commit is logged, so this sees commits that are not yet durable; whoever
    /// commits afterwards is behind them in the log. What is read so is not noted for SERIALIZABLE: the locks see to that.
    pub(crate) fn newest(&mut self) -> Snapshot {
        let snapshot = self.snapshot();
        Snapshot { lsn: Lsn(u64::MAX), tracked: None, ..snapshot }
    }

    /// Takes the snapshot of a level that keeps one for the whole transaction: before anything is waited for, so that what
    /// was waited for is not in it.
    pub(crate) async fn keep_snapshot(&mut self) -> Result<(), TxnError> {
        if self.pin.is_none()
            && self.deferrable
            && self.read_only
            && self.isolation == Isolation::Serializable
        {
            self.pin = Some(self.system.pin_safe().await?);
        }
        if self.isolation.keeps_snapshot() {
            self.pinned();
        }
        Ok(())
    }

    /// The registration that keeps older versions in place while this transaction works.
    pub(crate) fn pinned(&mut self) -> &Arc<Pin> {
        let (system, tracked) = (&self.system, &mut self.tracked);
        self.pin.get_or_insert_with(|| match self.isolation {
            Isolation::ReadCommitted | Isolation::RepeatableRead => system.pin(),
            Isolation::Serializable => {
                let (pin, begun) = system.pin_serializable(self.read_only);
                *tracked = begun;
                pin
            }
        })
    }

    /// Whose versions are its own.
    pub(crate) fn own(&self) -> &Own {
        &self.own
    }

    pub(crate) fn owner(&self) -> Owner {
        self.owner
    }

    pub(crate) fn command(&self) -> u32 {
        self.command
    }

    pub(crate) fn lock_timeout(&self) -> Option<Duration> {
        self.lock_timeout
    }

    /// Whether its reads and writes matter to others (SERIALIZABLE).
    pub(crate) fn is_tracked(&self) -> bool {
        self.tracked.is_some()
    }

    /// After it has written in these keys of a table or an index.
    pub(crate) fn wrote(&self, relation: u32, range: impl FnOnce() -> KeyRange) -> Result<(), TxnError> {
        match &self.tracked {
            None => Ok(()),
            Some(tracked) => tracked.wrote(relation, &range()),
        }
    }

    /// After it has taken all that there was from a table and its indexes (DROP, TRUNCATE): whoever has read any of it
    /// missed that.
    pub(crate) fn emptied(&self, relations: impl IntoIterator<Item = u32>) -> Result<(), TxnError> {
        relations.into_iter().try_for_each(|relation| self.wrote(relation, KeyRange::all))
    }

    pub(crate) fn observe(&mut self, commit: Lsn) {
        self.observed = self.observed.max(commit);
    }

    /// The id to write under, handed out at the first call: the transaction's, or behind a savepoint a
    /// subtransaction's.
    pub(crate) async fn write_id(&mut self) -> Result<TxId, TxnError> {
        self.pinned();
        let current = match self.savepoints.last() {
            None => &self.active,
            Some(savepoint) => &savepoint.id,
        };
        match current {
            Some(active) => Ok(active.id),
            None => self.new_id().await,
        }
    }

    async fn new_id(&mut self) -> Result<TxId, TxnError> {
        let commits = &self.system.commits;
        if self.active.is_none() {
            let top = commits.start(self.system.pool(), self.owner).await?;
            self.own.begin(top.id);
            self.writes_as(top.id);
            self.active = Some(top.clone());
            if self.savepoints.is_empty() {
                return Ok(top.id);
            }
        }
        let sub = commits.start(self.system.pool(), self.owner).await?;
        self.own.push(sub.id);
        self.writes_as(sub.id);
        self.subs.push(sub.clone());
        let id = sub.id;
        if let Some(savepoint) = self.savepoints.last_mut() {
            savepoint.id = Some(sub);
        }
        Ok(id)
    }

    fn writes_as(&self, id: TxId) {
        if let Some(tracked) = &self.tracked {
            tracked.writes_as(id);
        }
    }

    /// The undo page to append to.
    pub(crate) async fn undo_slot(&mut self) -> Result<&Slot, TxnError> {
        if self.undo.is_none() {
            self.undo = Some(self.system.undo.take(self.system.pool()).await?);
        }
        Ok(self.undo.as_ref().expect("it was just put there"))
    }

    /// The undo page is full.
    pub(crate) fn seal_undo(&mut self) {
        if let Some(slot) = self.undo.take() {
            self.system.undo.seal(slot);
        }
    }

    async fn lock(&mut self, key: LockKey, mode: Mode, wait: LockWait) -> Result<(), TxnError> {
        let gained = self.system.locks.acquire(self.owner, key, mode, wait, self.lock_timeout).await?;
        if let Some(before) = gained {
            self.locks.push(Taken { key, before });
        }
        Ok(())
    }

    /// Locks a table until the end of the transaction.
    pub async fn lock_table(&mut self, oid: u32, lock: TableLock, wait: LockWait) -> Result<(), TxnError> {
        self.lock(LockKey::Table(oid), lock.into(), wait).await
    }

    /// Waits until all who hold now what this lock conflicts with have ended; others may take it meanwhile.
    pub(crate) async fn wait_for_table(&mut self, oid: u32, lock: TableLock) -> Result<(), TxnError> {
        let key = LockKey::Table(oid);
        self.system.locks.wait_for_holders(self.owner, key, lock.into(), self.lock_timeout).await
    }

    pub(crate) async fn lock_row_key(
        &mut self,
        table: u32,
        row: u64,
        lock: RowLock,
        wait: LockWait,
    ) -> Result<(), TxnError> {
        self.lock(LockKey::Row(table, row), lock.into(), wait).await
    }

    /// How many locks it has gained.
    pub(crate) fn locks_taken(&self) -> usize {
        self.locks.len()
    }

    /// Gives back what it has gained since it had `mark` locks.
    pub(crate) fn unlock_to(&mut self, mark: usize) {
        let since = self.locks.split_off(mark);
        self.system.locks.retract(self.owner, &since);
    }

    /// Remembers rows that this transaction has just inserted.
    pub(crate) fn inserted(&mut self, tree: &Tree, rows: Range<u64>) {
        match &mut self.fresh {
            Some((fresh, before)) if fresh == tree && before.end == rows.start => before.end = rows.end,
            fresh => *fresh = Some((*tree, rows)),
        }
    }

    /// A number for a large value that no other of this transaction's has.
    pub(crate) fn next_value(&mut self) -> u32 {
        self.values += 1;
        self.values
    }

    /// Forgets them when one of them is changed again.
    pub(crate) fn changed(&mut self, tree: &Tree, row: u64) {
        if self.is_fresh(tree, row) {
            self.fresh = None;
        }
    }

    /// Whether the row is one of them: nobody has made anything of it obsolete.
    pub(crate) fn is_fresh(&self, tree: &Tree, row: u64) -> bool {
        matches!(&self.fresh, Some((fresh, rows)) if fresh == tree && rows.contains(&row))
    }

    /// Keeps something with the transaction until it ends.
    pub fn attach(&mut self, attached: Box<dyn Attached>) {
        self.attached.push(attached);
    }

    /// What is kept, if it is a `T`.
    #[must_use]
    pub fn attached<T: Attached>(&self) -> Option<&T> {
        self.attached.iter().find_map(|one| {
            let any: &dyn Any = &**one;
            any.downcast_ref()
        })
    }

    /// What is kept, to change it, if it is a `T`.
    pub fn attached_mut<T: Attached>(&mut self) -> Option<&mut T> {
        self.attached.iter_mut().find_map(|one| {
            let any: &mut dyn Any = &mut **one;
            any.downcast_mut()
        })
    }

    /// Commits. Returns when the commit is durable, with the LSN of its record; `Lsn::ZERO` when nothing was written.
    /// Whoever begins a statement after that, in any session, sees it.
    pub async fn commit(mut self) -> Result<Lsn, TxnError> {
        let system = self.system.clone();
        let store = system.pool().store();
        if let Some(tracked) = &self.tracked {
            tracked.prepare()?;
        }
        let Some(active) = self.active.clone() else {
            let observed = self.observed;
            if let Some(tracked) = self.tracked.take() {
                tracked.committed(None);
            }
            self.finish();
            // What it showed to its client must not be taken back by a crash.
            if observed > store.vdl() {
                let durable = store.durable(observed).await;
                durable.map_err(|e| TxnError::Storage(e.into()))?;
            }
            return Ok(Lsn::ZERO);
        };
        let appended = system.commits.commit(system.pool(), &active, &self.subs).await;
        self.finish();
        let lsn = match (appended, active.commit_lsn()) {
            (Ok(lsn), _) => lsn,
            (Err(error), Some(_)) => return Err(TxnError::CommitUnknown(error)),
            (Err(error), None) => return Err(TxnError::Storage(error)),
        };
        let durable = store.durable(lsn).await;
        durable.map_err(|e| TxnError::CommitUnknown(e.into()))?;
        Ok(lsn)
    }

    /// Rolls back: its versions are void from now on. No page is touched.
    pub fn rollback(mut self) {
        self.finish();
    }

    /// Lets go of everything. Whether it is committed was decided before. Idempotent.
    fn finish(&mut self) {
        let system = &self.system;
        self.open = OpenTransaction::default();
        if let Some(slot) = self.undo.take() {
            system.undo.give_back(slot);
        }
        let commit = self.active.as_ref().and_then(|a| a.commit_lsn());
        // The last first: whoever finds a transaction ended finds its subtransactions ended, too.
        for sub in self.subs.drain(..).rev() {
            system.commits.end(&sub);
        }
        if let Some(active) = self.active.take() {
            let counter = if commit.is_some() { &METRICS.commits } else { &METRICS.rollbacks };
            counter.inc();
            system.commits.end(&active);
        }
        // The snapshot is let go behind it: `ssi` knows who may still miss whose writes.
        match (self.tracked.take(), commit) {
            (Some(tracked), Some(lsn)) => tracked.committed(Some(lsn)),
            (Some(tracked), None) => tracked.rolled_back(),
            (None, _) => {}
        }
        self.pin = None;
        for mut attached in self.attached.drain(..) {
            if let Some(lsn) = commit {
                attached.committed(lsn);
            }
        }
        system.locks.release(self.owner, self.locks.drain(..).map(|taken| taken.key));
        if let Some(session) = self.session.take() {
            session.end_transaction();
        }
    }
}

impl Drop for Transaction {
    fn drop(&mut self) {
        self.finish();
    }
}
