//! INSERT, UPDATE, DELETE.
//!
//! UPDATE and DELETE lock each row that their snapshot shows and that passes the condition. Under READ COMMITTED a row
//! that somebody changed meanwhile is judged again in its newest version, and changed from there, as PostgreSQL does;
//! under REPEATABLE READ that is 40001. What a statement changes it does not see, so no row is changed twice.

use std::sync::Arc;

use super::Cx;
use super::node::{Node, project};
use super::scan::Scanner;
use crate::catalog::{TableInfo, relation};
use crate::sql::RowBatch;
use crate::sql::bind::{BoundDelete, BoundInsert, BoundUpdate, Check, Source};
use crate::sql::expr::Expr;
use crate::sql::plan::{self, Plan, Scan};
use crate::table::{LockOutcome, RowId};
use crate::txn::{LockWait, RowLock};
use crate::types::{Datum, SqlError, SqlResult, TimeZone, sqlstate, text_of};

/// A planned change of rows.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) table: Arc<TableInfo>,
    pub(crate) kind: Kind,
    /// What each new row is asked.
    checks: Vec<Check>,
    /// RETURNING, over the table's row; none when there is none.
    pub(crate) returning: Vec<Expr>,
}

/// What is done.
#[derive(Debug)]
pub(crate) enum Kind {
    /// Rows as wide as the table.
    Insert(Plan),
    Update {
        scan: Arc<Scan>,
        /// Column, new value over the old row.
        sets: Vec<(usize, Expr)>,
        lock: RowLock,
    },
    Delete(Arc<Scan>),
}

/// What was done.
pub(crate) struct Changed {
    pub(crate) count: u64,
    pub(crate) returned: RowBatch,
}

impl Change {
    pub(crate) fn insert(bound: BoundInsert) -> Change {
        let width = bound.table.columns.len();
        let source = match bound.source {
            Source::Values(rows) => Plan::Values(Arc::new(rows), width),
            Source::Query(rel) => plan::plan(rel),
        };
        Change {
            table: bound.table,
            kind: Kind::Insert(source),
            checks: bound.checks,
            returning: bound.returning.exprs,
        }
    }

    pub(crate) fn update(bound: BoundUpdate) -> Change {
        let of_key = |column: usize| {
            let unique = bound.table.indexes.iter().filter(|i| i.unique);
            unique.flat_map(|i| &i.columns).any(|part| part.column == column)
        };
        let lock = if bound.sets.iter().any(|(column, _)| of_key(*column)) {
            RowLock::Update
        } else {
            RowLock::NoKeyUpdate
        };
        let scan = plan::plan_target(bound.table.clone(), bound.alias, bound.filter);
        Change {
            table: bound.table,
            kind: Kind::Update { scan, sets: bound.sets, lock },
            checks: bound.checks,
            returning: bound.returning.exprs,
        }
    }

    pub(crate) fn delete(bound: BoundDelete) -> Change {
        let scan = plan::plan_target(bound.table.clone(), bound.alias, bound.filter);
        Change {
            table: bound.table,
            kind: Kind::Delete(scan),
            checks: Vec::new(),
            returning: bound.returning.exprs,
        }
    }

    /// As EXPLAIN shows it.
    pub(crate) fn explain(&self) -> Vec<String> {
        let (verb, mut below) = match &self.kind {
            Kind::Insert(source) => ("Insert", plan::explain(source)),
            Kind::Update { scan, .. } => ("Update", plan::explain(&Plan::Scan(scan.clone()))),
            Kind::Delete(scan) => ("Delete", plan::explain(&Plan::Scan(scan.clone()))),
        };
        for (n, line) in below.iter_mut().enumerate() {
            line.insert_str(0, if n == 0 { "  ->  " } else { "      " });
        }
        below.insert(0, format!("{verb} on {}", self.table.name));
        below
    }

    /// Does it, all of it.
    pub(crate) async fn run(&self, cx: &mut Cx<'_>) -> SqlResult<Changed> {
        let mut changed = Changed { count: 0, returned: RowBatch::new(self.returning.len()) };
        match &self.kind {
            Kind::Insert(source) => self.run_insert(source, cx, &mut changed).await?,
            Kind::Update { scan, sets, lock } => {
                let mut scanner = Scanner::new(scan.clone());
                let mut bytes = Vec::new();
                while let Some(rows) = scanner.next(cx).await? {
                    for n in 0..rows.len() {
                        let target = Target { scan, id: scanner.ids[n], seen: rows.row(n) };
                        let Some(old) = target.lock(*lock, &mut bytes, cx).await? else { continue };
                        let new = self.new_row(sets, &old, cx).await?;
                        let db = cx.db.clone();
                        relation::update(&db.txns, cx.txn, &self.table, target.id, &old, &new).await?;
                        changed.count += 1;
                        self.returned(new, cx, &mut changed).await?;
                    }
                }
            }
            Kind::Delete(scan) => {
                let mut scanner = Scanner::new(scan.clone());
                let mut bytes = Vec::new();
                while let Some(rows) = scanner.next(cx).await? {
                    for n in 0..rows.len() {
                        let target = Target { scan, id: scanner.ids[n], seen: rows.row(n) };
                        let Some(old) = target.lock(RowLock::Update, &mut bytes, cx).await? else { continue };
                        let db = cx.db.clone();
                        db.txns.delete(cx.txn, &self.table.store, target.id).await?;
                        changed.count += 1;
                        self.returned(old, cx, &mut changed).await?;
                    }
                }
            }
        }
        Ok(changed)
    }

    async fn run_insert(&self, source: &Plan, cx: &mut Cx<'_>, changed: &mut Changed) -> SqlResult<()> {
        let mut node = Node::new(source);
        let db = cx.db.clone();
        while let Some(batch) = node.next_boxed(cx).await? {
            for row in batch.rows() {
                check_not_null(&self.table, row)?;
                check_row(&self.table, &self.checks, row, cx).await?;
            }
            relation::insert_batch(&db.txns, cx.txn, &self.table, &batch).await?;
            changed.count += batch.len() as u64;
            if !self.returning.is_empty() {
                let returned = project(&batch, &self.returning, cx).await?;
                returned.into_rows().for_each(|row| changed.returned.push(row));
            }
        }
        Ok(())
    }

    async fn new_row(&self, sets: &[(usize, Expr)], old: &[Datum], cx: &Cx<'_>) -> SqlResult<Vec<Datum>> {
        let mut new = old.to_vec();
        cx.evaluate(&mut |eval| {
            for (column, value) in sets {
                new[*column] = value.eval(old, eval)?.into_owned();
            }
            Ok(())
        })
        .await?;
        check_not_null(&self.table, &new)?;
        check_row(&self.table, &self.checks, &new, cx).await?;
        Ok(new)
    }

    async fn returned(&self, row: Vec<Datum>, cx: &Cx<'_>, changed: &mut Changed) -> SqlResult<()> {
        if self.returning.is_empty() {
            return Ok(());
        }
        let mut one = RowBatch::new(row.len());
        one.push(row);
        let returned = project(&one, &self.returning, cx).await?;
        returned.into_rows().for_each(|row| changed.returned.push(row));
        Ok(())
    }
}

/// A row that is about to be changed.
struct Target<'a> {
    scan: &'a Scan,
    id: RowId,
    /// As the snapshot sees it.
    seen: &'a [Datum],
}

impl Target<'_> {
    /// Locks the row. The version to change; `None` when it is gone or no longer meant.
    async fn lock(
        &self,
        lock: RowLock,
        bytes: &mut Vec<u8>,
        cx: &mut Cx<'_>,
    ) -> SqlResult<Option<Vec<Datum>>> {
        let db = cx.db.clone();
        let table = &self.scan.table.store;
        let outcome = db.txns.lock_row(cx.txn, table, self.id, lock, LockWait::Block, bytes).await?;
        match outcome {
            LockOutcome::Locked => Ok(Some(self.seen.to_vec())),
            LockOutcome::Updated => {
                let mut newest = RowBatch::new(self.seen.len());
                let still_meant = self.scan.decode(self.id, bytes, cx, &mut newest)?;
                Ok(still_meant.then(|| newest.row(0).to_vec()))
            }
            LockOutcome::Gone | LockOutcome::SelfModified => Ok(None),
        }
    }
}

/// `23502` for a NULL where none may be.
pub(super) fn check_not_null(table: &TableInfo, row: &[Datum]) -> SqlResult<()> {
    let missing = |(n, column): &(usize, &crate::catalog::ColumnInfo)| {
        column.not_null && !column.dropped && row[*n].is_null()
    };
    let Some((_, column)) = table.columns.iter().enumerate().find(missing) else { return Ok(()) };
    Err(SqlError::new(
        sqlstate::NOT_NULL_VIOLATION,
        format!(
            "null value in column \"{}\" of relation \"{}\" violates not-null constraint",
            column.name, table.name
        ),
    )
    .detail(failing(table, row))
    .schema(table.schema.clone())
    .table(table.name.clone())
    .column(column.name.clone()))
}

/// `23514` for a row that a CHECK constraint forbids; what is neither true nor false forbids nothing.
pub(crate) async fn check_row(
    table: &TableInfo,
    checks: &[Check],
    row: &[Datum],
    cx: &Cx<'_>,
) -> SqlResult<()> {
    if checks.is_empty() {
        return Ok(());
    }
    cx.evaluate(&mut |eval| {
        for check in checks {
            if matches!(*check.condition.eval(row, eval)?, Datum::Bool(false)) {
                return Err(forbidden(table, &check.name, row));
            }
        }
        Ok(())
    })
    .await
}

fn forbidden(table: &TableInfo, check: &str, row: &[Datum]) -> SqlError {
    SqlError::new(
        sqlstate::CHECK_VIOLATION,
        format!("new row for relation \"{}\" violates check constraint \"{check}\"", table.name),
    )
    .detail(failing(table, row))
    .schema(table.schema.clone())
    .table(table.name.clone())
    .constraint(check.to_owned())
}

fn failing(table: &TableInfo, row: &[Datum]) -> String {
    let values: Vec<String> = table
        .live_columns()
        .map(|(n, c)| match &row[n] {
            Datum::Null => "null".to_owned(),
            value => text_of(value, c.ty, &TimeZone::default()),
        })
        .collect();
    format!("Failing row contains ({}).", values.join(", "))
}
