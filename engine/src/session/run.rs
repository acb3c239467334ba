//! Running a planned statement: its transaction, its rows, its end.

use std::borrow::Cow;
use std::future::Future;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use super::block::level_of;
use super::portal::{Portal, Progress, Running};
use super::{Failure, Interrupt, Session, metrics, report, rows};
use crate::sql::{self, IsolationLevel, Prepared, RowBatch, StatementKind};
use crate::types::{Datum, SqlError, SqlResult, TimeZone, sqlstate};
use crate::wire::Wire;

/// A command tag: `INSERT 0 1`.
pub(super) type Tag = Cow<'static, str>;

/// What running a portal came to.
pub(super) enum Ran {
    /// It is done.
    Done(Tag),
    /// The row limit was reached first.
    Suspended,
}

/// When the statement that runs must be over.
#[derive(Debug, Default)]
pub(super) struct Clock {
    deadline: Option<Instant>,
}

impl Clock {
    pub(super) fn start(&mut self, limit: Option<Duration>) {
        self.deadline = limit.map(|limit| Instant::now() + limit);
    }
}

/// What is made of the settings once a change, not once a statement.
pub(super) struct Derived {
    pub(super) isolation: IsolationLevel,
    pub(super) read_only: bool,
    pub(super) deferrable: bool,
    pub(super) statement_timeout: Option<Duration>,
    pub(super) lock_timeout: Option<Duration>,
    pub(super) idle_timeout: Option<Duration>,
    /// NOTICEs are sent.
    notices: bool,
    /// WARNINGs are sent.
    warnings: bool,
    pub(super) zone: TimeZone,
}

impl Derived {
    pub(super) fn of(settings: &super::Settings) -> Derived {
        Derived {
            isolation: level_of(settings.get("default_transaction_isolation"))
                .unwrap_or(IsolationLevel::ReadCommitted),
            read_only: settings.get("default_transaction_read_only") == "on",
            deferrable: settings.get("default_transaction_deferrable") == "on",
            statement_timeout: settings.timeout("statement_timeout"),
            lock_timeout: settings.timeout("lock_timeout"),
            idle_timeout: settings.timeout("idle_in_transaction_session_timeout"),
            notices: !matches!(settings.get("client_min_messages"), "warning" | "error"),
            warnings: settings.get("client_min_messages") != "error",
            zone: settings.time_zone(),
        }
    }
}

/// Waits for `work`, unless somebody stops it or its time is over. Work that never waits is not slowed down, and is not
/// moved: the state of an executor is large.
pub(super) async fn guarded<T>(
    interrupt: &Interrupt,
    clock: &Clock,
    work: Pin<&mut impl Future<Output = SqlResult<T>>>,
) -> SqlResult<T> {
    tokio::select! {
        biased;
        result = work => result,
        error = interrupt.wait_stopped() => Err(error),
        () = expire(clock.deadline) => Err(timed_out()),
    }
}

async fn expire(deadline: Option<Instant>) {
    match deadline {
        Some(deadline) => tokio::time::sleep_until(deadline).await,
        None => std::future::pending().await,
    }
}

fn timed_out() -> SqlError {
    SqlError::new(sqlstate::QUERY_CANCELED, "canceling statement due to statement timeout")
}

impl Session {
    /// Brings what is derived from the settings up to date.
    pub(super) fn refresh(&mut self) {
        if self.settings.generation() == self.settings_in_context {
            return;
        }
        self.settings_in_context = self.settings.generation();
        self.derived = Derived::of(&self.settings);
        self.share_settings();
    }

    /// A statement begins: its transaction, its snapshot, its time.
    pub(super) fn begin_statement(&mut self, kind: &StatementKind) -> SqlResult<()> {
        if matches!(kind, StatementKind::Lock) && !self.block.is_explicit() {
            let message = "LOCK TABLE can only be used in transaction blocks";
            return Err(SqlError::new(sqlstate::NO_ACTIVE_TRANSACTION, message));
        }
        self.ensure_transaction()?;
        if self.read_only() {
            refuse_write(kind)?;
        }
        self.block.used = true;
        self.context.start_statement();
        if let Some(txn) = self.block.txn.as_mut() {
            txn.set_lock_timeout(self.derived.lock_timeout);
        }
        Ok(())
    }

    /// Makes a plan.
    pub(super) async fn plan(
        &mut self,
        parsed: &sql::ParsedStatement,
        declared: &[u32],
    ) -> SqlResult<Arc<Prepared>> {
        metrics::PLANS_MADE.inc();
        let txn = self.block.txn.as_mut();
        let mut work = Box::pin(sql::prepare(&self.db, &self.context, txn, parsed, declared));
        guarded(&self.interrupt, &self.clock, work.as_mut()).await
    }

    /// Starts a plan; nothing has been pulled yet.
    pub(super) fn start(
        &mut self,
        plan: &Arc<Prepared>,
        kind: &StatementKind,
        parameters: Vec<Datum>,
    ) -> SqlResult<Running> {
        self.begin_statement(kind)?;
        let txn = self.block.txn.as_mut().ok_or_else(no_transaction)?;
        Ok(Running {
            execution: sql::execute(&self.db, &self.context, txn, plan, parameters),
            batch: RowBatch::default(),
            next: 0,
        })
    }

    /// Takes the locks and the snapshot of a query, whose rows are pulled later.
    pub(super) async fn open(&mut self, running: &mut Running) -> SqlResult<()> {
        let txn = self.block.txn.as_mut().ok_or_else(no_transaction)?;
        let work = pin!(running.execution.open(txn));
        guarded(&self.interrupt, &self.clock, work).await
    }

    /// Gets the next batch; false at the end. Lets others run from time to time, however much is in the cache.
    pub(super) async fn pull(&mut self, running: &mut Running) -> SqlResult<bool> {
        tokio::task::consume_budget().await;
        if let Some(error) = self.interrupt.stopped() {
            return Err(error);
        }
        let txn = self.block.txn.as_mut().ok_or_else(no_transaction)?;
        let work = pin!(running.execution.next_batch(txn));
        match guarded(&self.interrupt, &self.clock, work).await? {
            Some(batch) => {
                running.batch = batch;
                running.next = 0;
                Ok(true)
            }
            None => Ok(false),
        }
    }

    /// Runs a portal of a planned statement for at most `limit` rows (0: all), rows into the write buffer.
    pub(super) async fn run_planned(
        &mut self,
        portal: &mut Portal,
        limit: u64,
        wire: &mut Wire,
    ) -> Result<Ran, Failure> {
        let plan = portal.plan.clone().ok_or_else(no_transaction)?;
        let mut running = match std::mem::replace(&mut portal.progress, Progress::Done) {
            Progress::Ready(parameters) => self.start(&plan, portal.kind(), parameters)?,
            Progress::Running(running) => *running,
            Progress::Done => return finished(portal).map(Ran::Done).map_err(Failure::Sql),
        };
        let sent = self.send(&mut running, portal, limit, wire).await?;
        self.notices(&mut running, wire);
        metrics::ROWS.inc_by(portal.sent);
        // A portal that is suspended keeps its snapshot by itself.
        self.end_statement();
        match sent {
            Sent::All => {
                Ok(Ran::Done(
                    match portal.kind() {
                        // Of this fetch, not of the portal's whole life.
                        StatementKind::Query => format!("SELECT {}", portal.sent),
                        _ => running.execution.command_tag(),
                    }
                    .into(),
                ))
            }
            Sent::Limit => {
                portal.progress = Progress::Running(Box::new(running));
                Ok(Ran::Suspended)
            }
        }
    }

    async fn send(
        &mut self,
        running: &mut Running,
        portal: &mut Portal,
        limit: u64,
        wire: &mut Wire,
    ) -> Result<Sent, Failure> {
        portal.sent = 0;
        loop {
            while running.next < running.batch.len() {
                let row = running.batch.row(running.next);
                rows::write(&mut wire.out, row, portal.columns(), &portal.formats, &self.derived.zone);
                running.next += 1;
                portal.sent += 1;
                if portal.sent == limit {
                    // As PostgreSQL: suspended when the limit is reached, without looking whether there is more.
                    return Ok(Sent::Limit);
                }
            }
            self.send_if_full(wire).await?;
            if !self.pull(running).await? {
                return Ok(Sent::All);
            }
        }
    }

    /// Where a client that does not read holds its statement back. Only the engine's end breaks the wait.
    pub(super) async fn send_if_full(&mut self, wire: &mut Wire) -> Result<(), Failure> {
        tokio::select! {
            biased;
            sent = wire.flush_if_full() => Ok(sent?),
            end = self.interrupt.wait_forced() => Err(Failure::Fatal(end.error())),
        }
    }

    /// No statement runs: an idle transaction under READ COMMITTED holds no snapshot.
    pub(super) fn end_statement(&mut self) {
        if let Some(txn) = self.block.txn.as_mut() {
            txn.end_statement();
        }
    }

    /// Tells what the statement wants to be told.
    pub(super) fn notices(&mut self, running: &mut Running, wire: &mut Wire) {
        for notice in running.execution.take_notices() {
            self.notify(notice.severity, &notice.fields, wire);
        }
    }

    /// A WARNING, NOTICE or the like, if the client wants it (`client_min_messages`). INFO always goes.
    pub(super) fn notify(&self, severity: &str, notice: &SqlError, wire: &mut Wire) {
        let wanted = match severity {
            "INFO" => true,
            "WARNING" => self.derived.warnings,
            _ => self.derived.notices,
        };
        if wanted {
            report::notice(&mut wire.out, severity, notice);
        }
    }
}

enum Sent {
    All,
    Limit,
}

/// The answer to running a portal again that is done.
fn finished(portal: &Portal) -> SqlResult<Tag> {
    match portal.kind() {
        StatementKind::Query | StatementKind::Explain(_) => Ok(Cow::Borrowed("SELECT 0")),
        _ => {
            Err(SqlError::new(sqlstate::OBJECT_NOT_IN_STATE, "portal cannot be run: it has been run already"))
        }
    }
}

fn no_transaction() -> SqlError {
    SqlError::internal("a statement without plan or transaction")
}

fn refuse_write(kind: &StatementKind) -> SqlResult<()> {
    let name = match kind {
        StatementKind::Insert => "INSERT",
        StatementKind::Update => "UPDATE",
        StatementKind::Delete => "DELETE",
        StatementKind::Ddl => "a statement that changes the catalog",
        StatementKind::CopyFrom(_) => "COPY FROM",
        StatementKind::Explain(Some(runs)) => return refuse_write(runs),
        _ => return Ok(()),
    };
    Err(SqlError::new(
        sqlstate::READ_ONLY_TRANSACTION,
        format!("cannot execute {name} in a read-only transaction"),
    ))
}
