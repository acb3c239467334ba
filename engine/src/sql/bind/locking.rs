//! FOR UPDATE and its kin: which tables of a FROM clause are locked, how, and where.
//!
//! The rows of a single table are locked as they are found. Above a join or a sort they are locked as they are given:
//! each table carries the id of its row along in a column that no statement can name.

use sqlparser::ast;

use super::rel::{LockMark, Rel, RowLocking};
use super::{Binder, Scope, ScopeColumn};
use crate::catalog::TableInfo;
use crate::sql::Locking;
use crate::txn::{LockWait, RowLock};
use crate::types::{SqlError, SqlResult, SqlType, sqlstate};

/// The name of the column with a row's id. No identifier holds a zero byte.
const ID_COLUMN: &str = "\0id";

/// The locking clauses of a SELECT.
pub(super) struct Locks<'a> {
    clauses: &'a [Locking],
    /// Rows are locked above what FROM makes.
    above: bool,
}

fn refused(message: String) -> SqlError {
    SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
}

impl<'a> Locks<'a> {
    pub(super) fn none() -> Locks<'static> {
        Locks { clauses: &[], above: false }
    }

    /// Those of a SELECT; 0A000 where it gives something else than rows of tables.
    pub(super) fn of_select(
        clauses: &'a [Locking],
        select: &ast::Select,
        is_sorted: bool,
    ) -> SqlResult<Locks<'a>> {
        let Some(first) = clauses.first() else { return Ok(Locks::none()) };
        let what = Locking::spelled(first.lock);
        let is_grouped = !matches!(&select.group_by, ast::GroupByExpr::Expressions(e, _) if e.is_empty());
        let with = match () {
            () if select.distinct.is_some() => Some("DISTINCT clause"),
            () if is_grouped => Some("GROUP BY clause"),
            () if select.having.is_some() => Some("HAVING clause"),
            () => None,
        };
        if let Some(with) = with {
            return Err(refused(format!("{what} is not allowed with {with}")));
        }
        let is_single = select.from.len() == 1 && select.from.iter().all(|item| item.joins.is_empty());
        Ok(Locks { clauses, above: is_sorted || !is_single })
    }

    /// What was asked for, as messages name it.
    pub(super) fn spelled(&self) -> String {
        Locking::spelled(self.clauses.first().map_or(RowLock::Update, |clause| clause.lock))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.clauses.is_empty()
    }

    /// How the table of this name is locked: of several clauses the strongest lock, and NOWAIT before SKIP LOCKED.
    pub(super) fn of(&self, alias: &str) -> Option<RowLocking> {
        let meant =
            |clause: &&Locking| clause.of.as_ref().is_none_or(|of| of.iter().any(|name| name == alias));
        let meant = || self.clauses.iter().filter(meant);
        let lock = meant().map(|clause| clause.lock).max()?;
        let nowait = meant().any(|clause| clause.nowait);
        let skip_locked = !nowait && meant().any(|clause| clause.skip_locked);
        let wait = if nowait || skip_locked { LockWait::NoWait } else { LockWait::Block };
        Some(RowLocking { lock, wait, skip_locked })
    }

    /// A table of FROM, and its columns.
    pub(super) fn table(&self, table: std::sync::Arc<TableInfo>, alias: String) -> (Rel, Scope) {
        let mut scope = Scope::of_table(&table, &alias);
        if self.above {
            scope.columns.push(ScopeColumn {
                table: alias.clone(),
                name: ID_COLUMN.to_owned(),
                ty: SqlType::INT8,
                table_oid: table.oid,
                attnum: 0,
                merged: true,
            });
        }
        let locking = if self.above { None } else { self.of(&alias) };
        (Rel::Table { table, alias, locking, with_id: self.above }, scope)
    }

    /// Refuses what has no rows to lock, or none that could be found again.
    pub(super) fn refuse(&self, alias: &str, what: &str) -> SqlResult<()> {
        if self.above || self.of(alias).is_some() {
            return Err(refused(format!("{} together with {what} in FROM is not supported", self.spelled())));
        }
        Ok(())
    }

    /// Refuses to lock rows that an outer join may leave out.
    pub(super) fn refuse_nullable(&self, side: &[ScopeColumn]) -> SqlResult<()> {
        if !self.is_empty() && side.iter().any(|c| c.name == ID_COLUMN && self.of(&c.table).is_some()) {
            let what = self.spelled();
            return Err(refused(format!("{what} cannot be applied to the nullable side of an outer join")));
        }
        Ok(())
    }

    /// Refuses a clause that names what FROM does not have.
    pub(super) fn check_names(&self, scope: &Scope) -> SqlResult<()> {
        for clause in self.clauses {
            for name in clause.of.iter().flatten() {
                if !scope.columns.iter().any(|c| c.table == *name) {
                    let what = Locking::spelled(clause.lock);
                    return Err(SqlError::new(
                        sqlstate::UNDEFINED_TABLE,
                        format!("relation \"{name}\" in {what} clause not found in FROM clause"),
                    ));
                }
            }
        }
        Ok(())
    }
}

/// True for a column that no statement can name.
pub(super) fn is_id(column: &ScopeColumn) -> bool {
    column.name == ID_COLUMN
}

impl Binder<'_> {
    /// The tables whose rows are locked above, with the columns that have their ids; `at` is where the first of these
    /// comes among the columns that are locked.
    pub(super) fn lock_marks(&self, scope: &Scope, locks: &Locks<'_>, at: usize) -> SqlResult<Vec<LockMark>> {
        let ids = scope.columns.iter().filter(|c| is_id(c)).enumerate();
        ids.map(|(n, column)| {
            let table = self.view.table(column.table_oid).cloned();
            Ok(LockMark {
                table: table.ok_or_else(|| SqlError::internal("a table of FROM is not in the catalog"))?,
                alias: column.table.clone(),
                column: at + n,
                locking: locks.of(&column.table),
            })
        })
        .collect()
    }
}
