//! INSERT, UPDATE, DELETE.
//!
//! UPDATE and DELETE lock each row that their snapshot shows and that passes the condition. Under READ COMMITTED a row
//! that somebody changed meanwhile is judged again in its newest version, and changed from there, as PostgreSQL does;
//! under REPEATABLE READ that is 40001. What a statement changes it does not see, so no row is changed twice.

use std::sync::Arc;

use super::foreign::Changes;
use super::node::{Node, project};
use super::returned::{Returned, ReturnedRows};
use super::scan::Scanner;
use super::watched::measured;
use super::{Cx, deferred};
use crate::catalog::{TableInfo, relation};
use crate::sql::RowBatch;
use crate::sql::bind::{BoundDelete, BoundInsert, BoundUpdate, Referential, Rules, Source};
use crate::sql::expr::Expr;
use crate::sql::plan::{self, Plan, Scan, Shown, Watch};
use crate::table::{LockOutcome, RowId};
use crate::txn::{LockWait, RowLock};
use crate::types::{Datum, SqlResult};

/// A planned change of rows.
#[derive(Debug)]
pub(crate) struct Change {
    pub(crate) table: Arc<TableInfo>,
    pub(crate) kind: Kind,
    /// What each new row goes through.
    rules: Rules,
    /// What foreign keys want of it.
    referential: Referential,
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
        /// Columns of unique keys that are set, perhaps to what they are.
        keys: Vec<usize>,
    },
    Delete(Arc<Scan>),
}

/// What was done.
pub(crate) struct Changed {
    pub(crate) count: u64,
    pub(crate) returned: ReturnedRows,
}

/// What was done so far.
struct Progress {
    count: u64,
    returned: Returned,
    keys: Changes,
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
            rules: bound.rules,
            referential: bound.referential,
            returning: bound.returning.exprs,
        }
    }

    pub(crate) fn update(bound: BoundUpdate) -> Change {
        let of_key = |column: usize| {
            bound.table.indexes.iter().any(|index| index.is_key() && index.has_column(column))
        };
        let changed = bound.sets.iter().chain(&bound.rules.generated).map(|(column, _)| *column);
        let keys = changed.filter(|column| of_key(*column)).collect();
        let mut looked_at = of_constraints(&bound.table, &bound.referential);
        let generated = bound.rules.generated.iter().map(|(_, value)| value);
        let checks = bound.rules.checks.iter().map(|check| &check.condition);
        let values = bound.sets.iter().map(|(_, value)| value);
        for expr in values.chain(generated).chain(checks).chain(&bound.returning.exprs) {
            expr.columns(&mut looked_at);
        }
        let scan = plan::plan_target(bound.table.clone(), bound.alias, bound.filter, &looked_at);
        Change {
            table: bound.table,
            kind: Kind::Update { scan, sets: bound.sets, keys },
            rules: bound.rules,
            referential: bound.referential,
            returning: bound.returning.exprs,
        }
    }

    pub(crate) fn delete(bound: BoundDelete) -> Change {
        let mut looked_at = of_constraints(&bound.table, &bound.referential);
        bound.returning.exprs.iter().for_each(|expr| expr.columns(&mut looked_at));
        let scan = plan::plan_target(bound.table.clone(), bound.alias, bound.filter, &looked_at);
        Change {
            table: bound.table,
            kind: Kind::Delete(scan),
            rules: Rules::default(),
            referential: bound.referential,
            returning: bound.returning.exprs,
        }
    }

    /// As EXPLAIN shows it.
    pub(crate) fn explain(&self, shown: &mut Shown<'_>) {
        let scanned;
        let (verb, below) = match &self.kind {
            Kind::Insert(source) => ("Insert", source),
            Kind::Update { scan, .. } => {
                scanned = Plan::Scan(scan.clone());
                ("Update", &scanned)
            }
            Kind::Delete(scan) => {
                scanned = Plan::Scan(scan.clone());
                ("Delete", &scanned)
            }
        };
        shown.change(verb, &self.table.name, self.place(), below);
    }

    /// Where it lies. Not all of it: that may be where its plan lies, too.
    fn place(&self) -> usize {
        std::ptr::from_ref(&self.table).addr()
    }

    /// Does it, all of it, and what foreign keys want to be done.
    pub(crate) async fn run(&self, cx: &mut Cx<'_>, watch: Option<&Watch>) -> SqlResult<Changed> {
        let returned = Returned::new(self.returning.len());
        let mut changed = Progress { count: 0, returned, keys: Changes::default() };
        self.change_rows(cx, watch, &mut changed).await?;
        Box::pin(end_statement(changed.keys, &self.referential, cx)).await?;
        Ok(Changed { count: changed.count, returned: changed.returned.finish().await? })
    }

    /// The same under EXPLAIN ANALYZE.
    pub(crate) async fn run_watched(&self, cx: &mut Cx<'_>, watch: &Watch) -> SqlResult<()> {
        let seen = watch.of(self.place());
        let mut cx = Cx { spill: seen.spill(), ..cx.part() };
        let began = seen.begin();
        let changed = self.run(&mut cx, Some(watch)).await?;
        let given = if self.returning.is_empty() { 0 } else { changed.count };
        seen.end(began, usize::try_from(given).unwrap_or(usize::MAX));
        Ok(())
    }

    async fn change_rows(
        &self,
        cx: &mut Cx<'_>,
        watch: Option<&Watch>,
        changed: &mut Progress,
    ) -> SqlResult<()> {
        let seen_of = |scan: &Arc<Scan>| watch.map(|watch| watch.of(Arc::as_ptr(scan).addr()));
        match &self.kind {
            Kind::Insert(source) => self.run_insert(Node::watched(source, watch), cx, changed).await?,
            Kind::Update { scan, sets, keys } => {
                let (mut scanner, seen) = (Scanner::new(scan.clone()), seen_of(scan));
                let mut bytes = Vec::new();
                while let Some(rows) = measured(seen.as_deref(), scanner.next(cx)).await? {
                    for n in 0..rows.len() {
                        let target = Target { scan, id: scanner.ids[n], seen: rows.row(n) };
                        let made = self.lock_to_update(&target, sets, keys, &mut bytes, cx).await?;
                        let Some((old, new)) = made else { continue };
                        let db = cx.db.clone();
                        relation::update(&db.txns, cx.txn, &self.table, target.id, &old, &new).await?;
                        changed.count += 1;
                        self.note(changed, Some(&old), Some(&new))?;
                        self.returned_one(new, cx, changed).await?;
                    }
                }
            }
            Kind::Delete(scan) => {
                let (mut scanner, seen) = (Scanner::new(scan.clone()), seen_of(scan));
                let mut bytes = Vec::new();
                while let Some(rows) = measured(seen.as_deref(), scanner.next(cx)).await? {
                    for n in 0..rows.len() {
                        let target = Target { scan, id: scanner.ids[n], seen: rows.row(n) };
                        let Some(old) = target.lock(RowLock::Update, &mut bytes, cx).await? else { continue };
                        let db = cx.db.clone();
                        db.txns.delete(cx.txn, &self.table.store, target.id).await?;
                        changed.count += 1;
                        self.note(changed, Some(&old), None)?;
                        self.returned_one(old, cx, changed).await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn note(&self, changed: &mut Progress, old: Option<&[Datum]>, new: Option<&[Datum]>) -> SqlResult<()> {
        changed.keys.note(&self.referential, self.table.oid, old, new)
    }

    async fn run_insert(&self, mut node: Node, cx: &mut Cx<'_>, changed: &mut Progress) -> SqlResult<()> {
        let db = cx.db.clone();
        while let Some(batch) = node.next_boxed(cx).await? {
            let batch = self.rules.complete_all(batch, cx).await?;
            for row in batch.rows() {
                self.rules.ask(&self.table, row, cx).await?;
            }
            relation::insert_batch(&db.txns, cx.txn, &self.table, &batch).await?;
            changed.count += batch.len() as u64;
            for row in batch.rows() {
                self.note(changed, None, Some(row))?;
            }
            if !self.returning.is_empty() {
                self.returned(&batch, cx, changed).await?;
            }
        }
        Ok(())
    }

    /// Locks a row, and makes the new one: both, or `None` when it is gone or no longer meant.
    ///
    /// A key's column that is set to what it is leaves the key alone, so whoever holds the row FOR KEY SHARE is not waited
    /// for. Which lock is needed is known when the new row is: as in PostgreSQL it is made of the row that was seen, and once
    /// more when that is not the newest.
    async fn lock_to_update(
        &self,
        target: &Target<'_>,
        sets: &[(usize, Expr)],
        keys: &[usize],
        bytes: &mut Vec<u8>,
        cx: &mut Cx<'_>,
    ) -> SqlResult<Option<(Vec<Datum>, Vec<Datum>)>> {
        if keys.is_empty() {
            let Some(old) = target.lock(RowLock::NoKeyUpdate, bytes, cx).await? else { return Ok(None) };
            let new = self.new_row(sets, &old, cx).await?;
            return Ok(Some((old, new)));
        }
        let new = self.new_row(sets, target.seen, cx).await?;
        let lock = lock_for(keys, target.seen, &new);
        let old = match target.lock_version(lock, bytes, cx).await? {
            None => return Ok(None),
            Some(Version::Seen) => return Ok(Some((target.seen.to_vec(), new))),
            Some(Version::Newest(old)) => old,
        };
        // Nobody changes it any more.
        let new = self.new_row(sets, &old, cx).await?;
        let stronger = lock_for(keys, &old, &new);
        if stronger != lock && target.lock_version(stronger, bytes, cx).await?.is_none() {
            return Ok(None);
        }
        Ok(Some((old, new)))
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
        self.rules.complete(&mut new, cx).await?;
        self.rules.ask(&self.table, &new, cx).await?;
        Ok(new)
    }

    async fn returned_one(&self, row: Vec<Datum>, cx: &Cx<'_>, changed: &mut Progress) -> SqlResult<()> {
        if self.returning.is_empty() {
            return Ok(());
        }
        let mut one = RowBatch::new(row.len());
        one.push(row);
        self.returned(&one, cx, changed).await
    }

    async fn returned(&self, rows: &RowBatch, cx: &Cx<'_>, changed: &mut Progress) -> SqlResult<()> {
        let mut done = 0;
        while done < rows.len() {
            let returned = project(rows, &mut done, &self.returning, cx).await?;
            changed.returned.add(returned, cx).await?;
        }
        Ok(())
    }
}

/// What constraints want at the end of a statement: unique keys first, for foreign keys look them up.
pub(super) async fn end_statement(
    keys: Changes,
    referential: &Referential,
    cx: &mut Cx<'_>,
) -> SqlResult<()> {
    deferred::end_statement(cx).await?;
    if !keys.is_empty() {
        keys.settle(referential, cx).await?;
        // What actions changed has keys, too.
        deferred::end_statement(cx).await?;
    }
    Ok(())
}

/// The columns that indexes and foreign keys look at when a row is changed.
fn of_constraints(table: &TableInfo, referential: &Referential) -> Vec<usize> {
    let mut columns: Vec<usize> =
        table.indexes.iter().flat_map(|index| index.store.reads.iter().copied()).collect();
    if let Some(linked) = referential.tables.get(&table.oid) {
        columns.extend(linked.referred.iter().flat_map(|link| &link.key.parent_columns));
        columns.extend(linked.refers.iter().flat_map(|link| &link.key.columns));
    }
    columns
}

/// A row that is about to be changed.
struct Target<'a> {
    scan: &'a Scan,
    id: RowId,
    /// As the snapshot sees it.
    seen: &'a [Datum],
}

/// What a change of a row locks it with.
pub(super) fn lock_for(keys: &[usize], old: &[Datum], new: &[Datum]) -> RowLock {
    let moves = keys.iter().any(|column| old[*column] != new[*column]);
    if moves { RowLock::Update } else { RowLock::NoKeyUpdate }
}

/// Which version of it is there to be changed.
enum Version {
    Seen,
    Newest(Vec<Datum>),
}

impl Target<'_> {
    /// Locks the row. The version to change; `None` when it is gone or no longer meant.
    async fn lock(
        &self,
        lock: RowLock,
        bytes: &mut Vec<u8>,
        cx: &mut Cx<'_>,
    ) -> SqlResult<Option<Vec<Datum>>> {
        Ok(self.lock_version(lock, bytes, cx).await?.map(|version| match version {
            Version::Seen => self.seen.to_vec(),
            Version::Newest(row) => row,
        }))
    }

    async fn lock_version(
        &self,
        lock: RowLock,
        bytes: &mut Vec<u8>,
        cx: &mut Cx<'_>,
    ) -> SqlResult<Option<Version>> {
        let db = cx.db.clone();
        let table = &self.scan.table.store;
        let outcome = db.txns.lock_row(cx.txn, table, self.id, lock, LockWait::Block, bytes).await?;
        match outcome {
            LockOutcome::Locked => Ok(Some(Version::Seen)),
            LockOutcome::Updated => {
                let mut newest = RowBatch::new(self.seen.len());
                let still_meant = self.scan.decode(self.id, bytes, cx, &mut newest).await?;
                Ok(still_meant.then(|| Version::Newest(newest.row(0).to_vec())))
            }
            LockOutcome::Gone | LockOutcome::SelfModified => Ok(None),
        }
    }
}
