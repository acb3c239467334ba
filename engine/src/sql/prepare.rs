//! From a statement to something that can be executed again and again, and one such execution.

use std::sync::Arc;
use std::time::{Duration, Instant};

use sqlparser::ast;

use super::bind::Binder;
use super::exec::{Change, Cx, Node, ReturnedRows, create_concurrently, drop_concurrently, run_ddl};
use super::explain::{Explain, ExplainOptions, Explained};
use super::expr::Answer;
use super::plan::{self, Plan};
use super::statement::{Body, Definition};
use super::subquery::{PlannedSubquery, answers};
use super::{Column, Database, Notice, ParsedStatement, RowBatch, SessionContext, StatementKind};
use crate::txn::{LockWait, Snapshot, TableLock, Transaction, TxnError};
use crate::types::{Datum, EnumTypes, SqlError, SqlResult, SqlType, sqlstate};

/// A statement that is ready to be executed, any number of times.
pub struct Prepared {
    /// Types of the parameters $1, $2 ...
    pub parameters: Vec<SqlType>,
    /// The enum types among those.
    pub enums: EnumTypes,
    /// Columns of the result; empty for statements without rows.
    pub columns: Vec<Column>,
    /// What it is.
    pub kind: StatementKind,
    task: Task,
    subqueries: Vec<PlannedSubquery>,
    /// What is locked before anything is read.
    tables: Vec<(u32, TableLock)>,
    /// NOWAIT of LOCK TABLE.
    wait: LockWait,
    /// The catalog's version that it was made for.
    version: u64,
    statement: ParsedStatement,
}

enum Task {
    Query(Plan),
    Change(Change),
    Explain(Box<Explain>),
    Ddl(Definition),
    Lock,
}

impl Prepared {
    /// True when the catalog has changed since. [`execute`] makes the plan anew by itself, and fails with 0A000 when the
    /// result's columns are no longer the same.
    pub fn is_stale(&self, db: &Database, txn: Option<&Transaction>) -> bool {
        !matches!(self.task, Task::Ddl(_)) && db.catalog.version(txn) != self.version
    }
}

/// Binds and plans a statement whose kind says [`StatementKind::is_executed`]. `declared` are parameter types by OID, 0
/// to infer; it may be shorter than the parameters. `txn` is the session's transaction if there is one: what it changed
/// in the catalog is seen.
///
/// It is quick and waits for nothing; async, because that may change (statistics).
pub async fn prepare(
    db: &Arc<Database>,
    ctx: &SessionContext,
    txn: Option<&mut Transaction>,
    statement: &ParsedStatement,
    declared: &[u32],
) -> SqlResult<Arc<Prepared>> {
    let view = db.catalog.view(txn);
    let version = view.version;
    let mut binder = Binder::new(db, ctx, view, declared)?;
    let (task, columns) = match &statement.body {
        Body::Sql(tree) => task(&mut binder, tree)?,
        Body::Type(of) => (Task::Ddl(Definition::Type(of.clone())), Vec::new()),
        Body::None => {
            return Err(SqlError::internal("a statement of the session was given to the planner"));
        }
    };
    let tables =
        binder.tables.iter().filter(|(oid, _)| *oid >= crate::catalog::FIRST_USER_OID).copied().collect();
    let lock = match &statement.body {
        Body::Sql(tree) => match &**tree {
            ast::Statement::Lock(lock) => Some(lock),
            _ => None,
        },
        _ => None,
    };
    let (tables, wait) = match lock {
        Some(lock) if lock.nowait => (lock_targets(&binder, lock)?, LockWait::NoWait),
        Some(lock) => (lock_targets(&binder, lock)?, LockWait::Block),
        None => (tables, LockWait::Block),
    };
    let parameters = binder.finish_params()?;
    let enums = binder.enum_types(&parameters)?;
    let subqueries = binder.subqueries.into_iter().map(PlannedSubquery::new).collect();
    Ok(Arc::new(Prepared {
        parameters,
        enums,
        columns,
        kind: statement.kind.clone(),
        task,
        subqueries,
        tables,
        wait,
        version,
        statement: statement.clone(),
    }))
}

/// The OIDs of types that a statement names.
pub fn type_oids(
    db: &Arc<Database>,
    ctx: &SessionContext,
    txn: Option<&mut Transaction>,
    types: &[ast::DataType],
) -> SqlResult<Vec<u32>> {
    let binder = Binder::new(db, ctx, db.catalog.view(txn), &[])?;
    let oid = |ty| binder.type_named(ty).map(|of| of.user.map_or(of.ty.oid, |user| user.oid));
    types.iter().map(oid).collect()
}

fn task(binder: &mut Binder<'_>, tree: &Arc<ast::Statement>) -> SqlResult<(Task, Vec<Column>)> {
    Ok(match &**tree {
        ast::Statement::Query(query) => {
            let bound = binder.query(query)?;
            (Task::Query(plan::plan(bound.rel)), bound.columns)
        }
        ast::Statement::Insert(insert) => {
            let mut bound = binder.insert(insert)?;
            let columns = std::mem::take(&mut bound.returning.columns);
            (Task::Change(Change::insert(bound)), columns)
        }
        ast::Statement::Update(update) => {
            let mut bound = binder.update(update)?;
            let columns = std::mem::take(&mut bound.returning.columns);
            (Task::Change(Change::update(bound)), columns)
        }
        ast::Statement::Delete(delete) => {
            let mut bound = binder.delete(delete)?;
            let columns = std::mem::take(&mut bound.returning.columns);
            (Task::Change(Change::delete(bound)), columns)
        }
        ast::Statement::Explain { statement, .. } => {
            let options = ExplainOptions::of(tree)?;
            let began = Instant::now();
            let (task, _) = task(binder, &Arc::new((**statement).clone()))?;
            let explained = match task {
                Task::Query(plan) => Explained::Query(plan),
                Task::Change(change) => Explained::Change(change),
                _ => return Err(SqlError::unsupported("EXPLAIN of this statement")),
            };
            let column = Column { name: "QUERY PLAN".to_owned(), ty: SqlType::TEXT, table_oid: 0, attnum: 0 };
            let explain = Explain { explained, options, planning: began.elapsed() };
            (Task::Explain(Box::new(explain)), vec![column])
        }
        ast::Statement::Lock(_) => (Task::Lock, Vec::new()),
        _ => (Task::Ddl(Definition::Sql(tree.clone())), Vec::new()),
    })
}

fn lock_targets(binder: &Binder<'_>, lock: &ast::Lock) -> SqlResult<Vec<(u32, TableLock)>> {
    use ast::LockTableMode as M;
    let mode = match lock.lock_mode {
        Some(M::AccessShare) => TableLock::AccessShare,
        Some(M::RowShare) => TableLock::RowShare,
        Some(M::RowExclusive) => TableLock::RowExclusive,
        Some(M::ShareUpdateExclusive) => TableLock::ShareUpdateExclusive,
        Some(M::Share) => TableLock::Share,
        Some(M::ShareRowExclusive) => TableLock::ShareRowExclusive,
        Some(M::Exclusive) => TableLock::Exclusive,
        Some(M::AccessExclusive) | None => TableLock::AccessExclusive,
    };
    let one = |target: &ast::LockTableTarget| match binder.find(&target.name)? {
        Some(crate::catalog::Relation::Table(table)) => Ok((table.oid, mode)),
        Some(other) => {
            let message = format!("\"{}\" is not a table", other.name().1);
            Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message))
        }
        None => Err(super::bind::undefined_table(&target.name)),
    };
    lock.tables.iter().map(one).collect()
}

/// Locks tables until the end of the transaction.
pub(crate) async fn lock_tables(txn: &mut Transaction, tables: &[(u32, TableLock)]) -> SqlResult<()> {
    for (oid, lock) in tables {
        txn.lock_table(*oid, *lock, LockWait::Block).await?;
    }
    Ok(())
}

/// Runs CREATE or DROP INDEX CONCURRENTLY, outside of any transaction; what it wants to tell. `lock_timeout` bounds each of its
/// waits for others.
pub async fn index_concurrently(
    db: &Arc<Database>,
    ctx: &SessionContext,
    statement: &ParsedStatement,
    lock_timeout: Option<Duration>,
) -> SqlResult<Vec<Notice>> {
    let mut notices = Vec::new();
    let Body::Sql(tree) = &statement.body else {
        return Err(SqlError::internal("CONCURRENTLY without a tree"));
    };
    match &**tree {
        ast::Statement::CreateIndex(create) => {
            Box::pin(create_concurrently(db, ctx, create, lock_timeout, &mut notices)).await?;
        }
        ast::Statement::Drop { names, if_exists, cascade, .. } => {
            let what = (&names[..], *if_exists, *cascade);
            Box::pin(drop_concurrently(db, ctx, what, lock_timeout, &mut notices)).await?;
        }
        _ => return Err(SqlError::internal("this statement has no CONCURRENTLY")),
    }
    Ok(notices)
}

/// One run of a statement.
pub struct Execution {
    db: Arc<Database>,
    ctx: SessionContext,
    prepared: Arc<Prepared>,
    params: Vec<Datum>,
    snapshot: Option<Snapshot>,
    subqueries: Vec<Answer>,
    state: State,
    rows: u64,
    /// The command tag of DDL.
    tag: &'static str,
    notices: Vec<Notice>,
}

enum State {
    Start,
    Query(Node),
    Returned(ReturnedRows),
    Done,
}

/// Starts a statement. Nothing happens before the first [`Execution::next_batch`], which locks the tables and takes the
/// snapshot ([`Transaction::begin_statement`] is called there); a snapshot that is kept is taken first. `params` have the types of [`Prepared::parameters`] or
/// are NULL.
#[must_use]
pub fn execute(
    db: &Arc<Database>,
    ctx: &SessionContext,
    _txn: &mut Transaction,
    prepared: &Arc<Prepared>,
    params: Vec<Datum>,
) -> Execution {
    Execution {
        db: db.clone(),
        ctx: ctx.clone(),
        prepared: prepared.clone(),
        params,
        snapshot: None,
        subqueries: Vec::new(),
        state: State::Start,
        rows: 0,
        tag: "",
        notices: Vec::new(),
    }
}

impl Execution {
    /// The next rows, `None` at the end. Statements that change something do all of it in the first call, before
    /// the first rows of RETURNING, if any. After an error the transaction can only be rolled back.
    pub async fn next_batch(&mut self, txn: &mut Transaction) -> SqlResult<Option<RowBatch>> {
        if matches!(self.state, State::Start) {
            self.state = State::Done;
            if let Some(batch) = self.start(txn).await? {
                return Ok(Some(batch));
            }
        }
        if let State::Returned(rows) = &mut self.state {
            let batch = rows.next().await?;
            if batch.is_none() {
                self.state = State::Done;
            }
            return Ok(batch);
        }
        let (State::Query(node), Some(snapshot)) = (&mut self.state, &self.snapshot) else {
            return Ok(None);
        };
        let mut cx = Cx {
            params: &self.params,
            subqueries: &self.subqueries,
            ..Cx::plain(&self.db, &self.ctx, txn, snapshot)
        };
        let batch = node.next(&mut cx).await?;
        match &batch {
            Some(batch) => self.rows += batch.len() as u64,
            None => {
                self.state = State::Done;
                self.snapshot = None;
            }
        }
        Ok(batch)
    }

    /// Takes the locks and the snapshot of a query now, so that [`Execution::next_batch`] shows rows as of now.
    pub async fn open(&mut self, txn: &mut Transaction) -> SqlResult<()> {
        if matches!((&self.state, &self.prepared.task), (State::Start, Task::Query(_))) {
            self.state = State::Done;
            self.start(txn).await?;
        }
        Ok(())
    }

    async fn start(&mut self, txn: &mut Transaction) -> SqlResult<Option<RowBatch>> {
        // Not for LOCK TABLE, so that a block can begin with it and see what it waited for; nor for DDL, whose snapshot
        // must have every change of the catalog.
        if matches!(self.prepared.task, Task::Query(_) | Task::Change(_) | Task::Explain(_)) {
            txn.keep_snapshot().await?;
        }
        self.lock_tables(txn).await?;
        // A lock that was waited for may have let a change of the catalog through.
        while self.prepared.is_stale(&self.db, Some(txn)) {
            self.prepare_again(txn).await?;
            self.lock_tables(txn).await?;
        }
        self.db.catalog.settled().await?;
        txn.begin_statement();
        let prepared = self.prepared.clone();
        if let Task::Ddl(tree) = &prepared.task {
            self.tag = Box::pin(run_ddl(&self.db, &self.ctx, txn, tree, &mut self.notices)).await?;
            return Ok(None);
        }
        let snapshot = txn.snapshot();
        let mut cx = Cx { params: &self.params, ..Cx::plain(&self.db, &self.ctx, txn, &snapshot) };
        if let Task::Explain(explain) = &prepared.task {
            return Box::pin(explain.rows(&prepared.subqueries, &mut cx)).await.map(Some);
        }
        self.subqueries = answers(&prepared.subqueries, &mut cx, None).await?;
        match &prepared.task {
            Task::Query(plan) => {
                self.state = State::Query(Node::new(plan));
                self.snapshot = Some(snapshot);
                Ok(None)
            }
            Task::Change(change) => {
                let mut cx = Cx { subqueries: &self.subqueries, ..cx.part() };
                let changed = change.run(&mut cx, None).await?;
                self.rows = changed.count;
                self.state = State::Returned(changed.returned);
                Ok(None)
            }
            Task::Ddl(_) | Task::Lock | Task::Explain(_) => Ok(None),
        }
    }

    async fn lock_tables(&self, txn: &mut Transaction) -> SqlResult<()> {
        let prepared = &self.prepared;
        if prepared.wait == LockWait::Block {
            return lock_tables(txn, &prepared.tables).await;
        }
        for (oid, lock) in &prepared.tables {
            txn.lock_table(*oid, *lock, LockWait::NoWait).await.map_err(|error| match error {
                TxnError::LockNotAvailable => {
                    let view = self.db.catalog.view(None);
                    let name = view.table(*oid).map_or_else(|| oid.to_string(), |t| t.name.clone());
                    let message = format!("could not obtain lock on relation \"{name}\"");
                    SqlError::new(sqlstate::LOCK_NOT_AVAILABLE, message)
                }
                other => other.into(),
            })?;
        }
        Ok(())
    }

    async fn prepare_again(&mut self, txn: &mut Transaction) -> SqlResult<()> {
        let declared: Vec<u32> = self.prepared.parameters.iter().map(|ty| ty.oid).collect();
        let statement = &self.prepared.statement;
        let again = prepare(&self.db, &self.ctx, Some(txn), statement, &declared).await?;
        if again.columns != self.prepared.columns || again.parameters != self.prepared.parameters {
            return Err(SqlError::unsupported("cached plan must not change result type: this"));
        }
        self.prepared = again;
        Ok(())
    }

    /// The command tag, once `next_batch` has said `None`: "UPDATE 1".
    #[must_use]
    pub fn command_tag(&self) -> String {
        let n = self.rows;
        match &self.prepared.kind {
            StatementKind::Insert => format!("INSERT 0 {n}"),
            StatementKind::Update => format!("UPDATE {n}"),
            StatementKind::Delete => format!("DELETE {n}"),
            StatementKind::CopyTo(_) => format!("COPY {n}"),
            StatementKind::Explain(_) => "EXPLAIN".to_owned(),
            StatementKind::Lock => "LOCK TABLE".to_owned(),
            StatementKind::Ddl => self.tag.to_owned(),
            _ => format!("SELECT {n}"),
        }
    }

    /// Notices since the last call.
    pub fn take_notices(&mut self) -> Vec<Notice> {
        std::mem::take(&mut self.notices)
    }
}
