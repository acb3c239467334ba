//! The transaction block.
//!
//! | state | entered by | ReadyForQuery |
//! | --- | --- | --- |
//! | idle | start, COMMIT, ROLLBACK, the end of an implicit transaction | `I` |
//! | implicit | the first statement outside a block; ends with its query string, or at Sync | (never seen) |
//! | open | BEGIN; before the first statement there is no transaction below it yet | `T` |
//! | failed | an error in an open block; what it did since its last savepoint, or all of it, is rolled back at once | `E` |

use std::time::Instant;

use super::interrupt::End;
use super::run::guarded;
use super::savepoint::Savepoint;
use super::{Failure, Session, codes, metrics};
use crate::sql::{self, IsolationLevel, TransactionModes};
use crate::txn::{Isolation, Transaction};
use crate::types::{SqlError, SqlResult, sqlstate};
use crate::wire::Wire;
use crate::wire::backend::Status;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum State {
    #[default]
    Idle,
    Implicit,
    Open,
    Failed,
}

/// See the module.
#[derive(Default)]
pub(super) struct Block {
    pub(super) state: State,
    pub(super) txn: Option<Transaction>,
    /// What BEGIN or SET TRANSACTION said; else the session's default counts.
    isolation: Option<IsolationLevel>,
    pub(super) read_only: Option<bool>,
    deferrable: Option<bool>,
    /// A statement has run: the isolation level stands.
    pub(super) used: bool,
    /// The outermost first; each has its number in the transaction below.
    pub(super) savepoints: Vec<Savepoint>,
    /// Savepoints set so far: what is made behind one has a higher number than it.
    pub(super) serial: u64,
}

impl Block {
    /// As ReadyForQuery says it.
    pub(super) fn status(&self) -> Status {
        match self.state {
            State::Idle | State::Implicit => Status::Idle,
            State::Open => Status::InBlock,
            State::Failed => Status::Failed,
        }
    }

    /// True between BEGIN and its end.
    pub(super) fn is_explicit(&self) -> bool {
        matches!(self.state, State::Open | State::Failed)
    }
}

/// The error for anything but the end of a failed block.
pub(super) fn in_failed_block() -> SqlError {
    SqlError::new(
        sqlstate::IN_FAILED_TRANSACTION,
        "current transaction is aborted, commands ignored until end of transaction block",
    )
}

impl Session {
    fn warn(&self, code: &'static str, message: &str, wire: &mut Wire) {
        self.notify("WARNING", &SqlError::new(code, message), wire);
    }

    fn warn_no_transaction(&self, wire: &mut Wire) {
        self.warn(sqlstate::NO_ACTIVE_TRANSACTION, "there is no transaction in progress", wire);
    }

    /// Warns that `what` does nothing outside a block.
    pub(super) fn warn_no_block(&self, what: &str, wire: &mut Wire) {
        let message = format!("{what} can only be used in transaction blocks");
        self.warn(sqlstate::NO_ACTIVE_TRANSACTION, &message, wire);
    }

    /// Makes sure that a statement has a transaction to run in.
    pub(super) fn ensure_transaction(&mut self) -> SqlResult<()> {
        if self.block.state == State::Failed {
            return Err(in_failed_block());
        }
        if self.block.txn.is_none() {
            self.start_transaction();
        }
        if self.block.state == State::Idle {
            self.block.state = State::Implicit;
        }
        Ok(())
    }

    fn start_transaction(&mut self) {
        let isolation = match self.isolation() {
            IsolationLevel::RepeatableRead => Isolation::RepeatableRead,
            IsolationLevel::ReadUncommitted | IsolationLevel::ReadCommitted => Isolation::ReadCommitted,
            IsolationLevel::Serializable => Isolation::Serializable,
        };
        let mut txn = match self.context.shared_locks() {
            Some(locks) => self.db.txns.begin_in(locks, isolation),
            None => self.db.txns.begin(isolation),
        };
        // Defaults that are set meanwhile count for the next one.
        let (read_only, deferrable) = (self.read_only(), self.deferrable());
        (self.block.isolation, self.block.read_only) = (Some(self.isolation()), Some(read_only));
        self.block.deferrable = Some(deferrable);
        if read_only {
            txn.declare_read_only();
        }
        if deferrable {
            txn.declare_deferrable();
        }
        self.block.txn = Some(txn);
        self.context.start_transaction();
    }

    /// The level of this transaction, or of the next when there is none.
    pub(super) fn isolation(&self) -> IsolationLevel {
        self.block.isolation.unwrap_or(self.derived.isolation)
    }

    /// Whether this transaction, or the next, may not write.
    pub(super) fn read_only(&self) -> bool {
        self.block.read_only.unwrap_or(self.derived.read_only)
    }

    /// Whether this transaction, or the next, waits for a safe snapshot if it is serializable and may not write.
    pub(super) fn deferrable(&self) -> bool {
        self.block.deferrable.unwrap_or(self.derived.deferrable)
    }

    /// BEGIN.
    pub(super) fn begin(&mut self, modes: TransactionModes, wire: &mut Wire) -> SqlResult<()> {
        match self.block.state {
            State::Failed => return Err(in_failed_block()),
            State::Open => {
                self.warn(sqlstate::ACTIVE_TRANSACTION, "there is already a transaction in progress", wire)
            }
            State::Idle | State::Implicit => {}
        }
        // What ran before BEGIN in the same string belongs to the block, as in PostgreSQL.
        self.set_modes(modes)?;
        self.block.state = State::Open;
        if self.block.txn.is_none() {
            self.start_transaction();
        }
        Ok(())
    }

    /// SET TRANSACTION, and the modes of BEGIN: for this transaction only.
    pub(super) fn set_modes(&mut self, modes: TransactionModes) -> SqlResult<()> {
        if let Some(level) = modes.isolation {
            if self.block.used && self.isolation() != level {
                return Err(SqlError::new(
                    sqlstate::ACTIVE_TRANSACTION,
                    "SET TRANSACTION ISOLATION LEVEL must be called before any query",
                ));
            }
            if !self.block.savepoints.is_empty() && self.isolation() != level {
                return Err(SqlError::new(
                    sqlstate::ACTIVE_TRANSACTION,
                    "SET TRANSACTION ISOLATION LEVEL must not be called in a subtransaction",
                ));
            }
            self.block.isolation = Some(level);
        }
        if let Some(read_only) = modes.read_only {
            let fixed = self.block.used || !self.block.savepoints.is_empty();
            if fixed && self.read_only() && !read_only {
                return Err(SqlError::new(
                    sqlstate::ACTIVE_TRANSACTION,
                    "cannot set transaction read-write mode inside a read-only transaction",
                ));
            }
            self.block.read_only = Some(read_only);
        }
        if let Some(deferrable) = modes.deferrable {
            self.set_deferrable(deferrable)?;
        }
        if !self.block.used && self.block.savepoints.is_empty() && self.block.txn.is_some() {
            // Nothing has run: begin anew with the new modes.
            if let Some(txn) = self.block.txn.take() {
                txn.rollback();
            }
            self.start_transaction();
        }
        Ok(())
    }

    fn set_deferrable(&mut self, deferrable: bool) -> SqlResult<()> {
        let refused = if !self.block.savepoints.is_empty() {
            "SET TRANSACTION [NOT] DEFERRABLE cannot be called within a subtransaction"
        } else if self.block.used {
            "SET TRANSACTION [NOT] DEFERRABLE must be called before any query"
        } else {
            self.block.deferrable = Some(deferrable);
            return Ok(());
        };
        Err(SqlError::new(sqlstate::ACTIVE_TRANSACTION, refused))
    }

    /// COMMIT. Its command tag: a failed block answers ROLLBACK.
    pub(super) async fn commit_block(
        &mut self,
        chain: bool,
        wire: &mut Wire,
    ) -> Result<&'static str, Failure> {
        let next = self.chained(chain)?;
        let tag = match self.block.state {
            State::Failed => {
                self.rollback();
                "ROLLBACK"
            }
            State::Idle | State::Implicit => {
                self.warn_no_transaction(wire);
                self.commit().await?;
                "COMMIT"
            }
            State::Open => {
                self.commit().await?;
                "COMMIT"
            }
        };
        self.chain(next, wire)?;
        Ok(tag)
    }

    /// ROLLBACK.
    pub(super) fn rollback_block(&mut self, chain: bool, wire: &mut Wire) -> SqlResult<()> {
        let next = self.chained(chain)?;
        if !self.block.is_explicit() {
            self.warn_no_transaction(wire);
        }
        self.rollback();
        self.chain(next, wire)
    }

    /// AND CHAIN: the modes of this transaction for the next.
    fn chained(&self, chain: bool) -> SqlResult<Option<TransactionModes>> {
        if chain && !self.block.is_explicit() {
            return Err(SqlError::new(
                sqlstate::NO_ACTIVE_TRANSACTION,
                "AND CHAIN can only be used in transaction blocks",
            ));
        }
        Ok(chain.then(|| TransactionModes {
            isolation: Some(self.isolation()),
            read_only: Some(self.read_only()),
            deferrable: Some(self.deferrable()),
        }))
    }

    fn chain(&mut self, modes: Option<TransactionModes>, wire: &mut Wire) -> SqlResult<()> {
        modes.map_or(Ok(()), |modes| self.begin(modes, wire))
    }

    /// Commits whatever transaction there is, and waits until it is durable. Whatever comes of it, the block is over.
    pub(super) async fn commit(&mut self) -> SqlResult<()> {
        let txn = self.block.txn.take();
        let result = match txn {
            None => Ok(()),
            Some(txn) => self.commit_below(txn).await,
        };
        self.leave(result.is_ok());
        result
    }

    async fn commit_below(&mut self, mut txn: Transaction) -> SqlResult<()> {
        {
            let mut asked = Box::pin(sql::settle(&self.db, &self.context, &mut txn));
            guarded(&self.interrupt, &self.clock, asked.as_mut()).await?;
        }
        let wrote = txn.id().is_some();
        let started = Instant::now();
        let result = tokio::select! {
            biased;
            result = txn.commit() => result.map(|_| ()).map_err(SqlError::from),
            end = self.interrupt.wait_forced() => Err(unknown_outcome(end)),
        };
        if wrote {
            metrics::COMMIT.observe(started.elapsed().as_secs_f64());
        }
        result
    }

    /// Rolls back whatever transaction there is.
    pub(super) fn rollback(&mut self) {
        if let Some(txn) = self.block.txn.take() {
            txn.rollback();
        }
        self.leave(false);
    }

    /// A statement failed: an implicit transaction is over, an open block waits for its end or for a way back to a
    /// savepoint.
    pub(super) fn fail(&mut self) {
        if !self.block.is_explicit() {
            return self.rollback();
        }
        if let Some(last) = self.block.savepoints.len().checked_sub(1) {
            self.take_back(last);
        } else {
            if let Some(txn) = self.block.txn.take() {
                txn.rollback();
            }
            self.portals.clear();
        }
        self.block.state = State::Failed;
    }

    fn leave(&mut self, committed: bool) {
        self.portals.clear();
        if self.block.state != State::Idle {
            self.settings.end_transaction(committed);
            self.block = Block::default();
        }
    }
}

fn unknown_outcome(end: End) -> SqlError {
    let why = match end {
        End::Lost => "this engine lost its volume",
        End::Drain | End::Stop => "this engine stopped",
    };
    SqlError::new(
        codes::TRANSACTION_RESOLUTION_UNKNOWN,
        format!("{why} while a commit was on its way to storage: its outcome is unknown"),
    )
    .hint("It may or may not hold. Reconnect and look before doing it again.")
}

/// A level as SHOW spells it.
pub(super) fn level_name(level: IsolationLevel) -> &'static str {
    match level {
        IsolationLevel::ReadUncommitted => "read uncommitted",
        IsolationLevel::ReadCommitted => "read committed",
        IsolationLevel::RepeatableRead => "repeatable read",
        IsolationLevel::Serializable => "serializable",
    }
}

/// The level that a setting's value spells.
pub(super) fn level_of(name: &str) -> Option<IsolationLevel> {
    [
        IsolationLevel::ReadUncommitted,
        IsolationLevel::ReadCommitted,
        IsolationLevel::RepeatableRead,
        IsolationLevel::Serializable,
    ]
    .into_iter()
    .find(|level| level_name(*level).eq_ignore_ascii_case(name.trim()))
}
