//! CHECK constraints, and dropping constraints. Whoever writes rows asks them: [`crate::sql::exec::check_row`].

use std::sync::Arc;

use sqlparser::ast;

use super::Ddl;
use crate::catalog::{TableInfo, stored};
use crate::sql::bind::Check;
use crate::sql::exec::{Cx, check_row};
use crate::sql::{Notice, names};
use crate::table::{RowBatch, TableScan};
use crate::txn::TableLock;
use crate::types::{SqlError, SqlResult, sqlstate};

impl Ddl<'_> {
    /// Adds a CHECK constraint; if it is to be valid, 23514 when a row breaks it. The table is locked, or new.
    pub(super) async fn add_check(
        &mut self,
        table: Arc<TableInfo>,
        name: Option<String>,
        condition: &ast::Expr,
        valid: bool,
    ) -> SqlResult<Arc<TableInfo>> {
        let bound = self.binder()?.check(&table, condition)?;
        let name = name_of_constraint(&table, name, || {
            let mut columns = Vec::new();
            bound.columns(&mut columns);
            usual_name(&table, &columns)
        })?;
        let check = Check { name, condition: bound };
        if valid {
            self.ask_rows(&table, &check).await?;
        }
        let text = self.binder()?.kept_text(condition)?;
        self.db.catalog.add_check(self.txn, &table, check.name, text, valid).await
    }

    /// Asks the rows that are there for a constraint that the table has.
    pub(super) async fn ask_stored_check(&mut self, table: &TableInfo, name: &str) -> SqlResult<()> {
        let rules = self.binder()?.rules(table)?;
        match rules.checks.iter().find(|check| check.name == name) {
            Some(check) => self.ask_rows(table, check).await,
            None => Ok(()),
        }
    }

    async fn ask_rows(&mut self, table: &TableInfo, check: &Check) -> SqlResult<()> {
        let snapshot = self.txn.snapshot();
        let mut scan = TableScan::new(&table.store, snapshot.clone());
        let cx = Cx::plain(self.db, self.ctx, self.txn, &snapshot);
        let (mut batch, mut wanted) = (RowBatch::new(), Vec::new());
        check.condition.columns(&mut wanted);
        while scan.next_batch(&self.db.txns, &mut batch).await? {
            for (id, bytes) in batch.iter() {
                let row = stored::decode(&self.db.txns, table, id, bytes, |n| wanted.contains(&n)).await?;
                let asked = check_row(table, std::slice::from_ref(check), &row, &cx).await;
                asked.map_err(|error| broken(error, table, check))?;
            }
        }
        Ok(())
    }

    pub(super) async fn drop_constraint(
        &mut self,
        table: &ast::ObjectName,
        constraint: &ast::Ident,
        if_exists: bool,
        cascade: bool,
    ) -> SqlResult<()> {
        let mut table = self.lock(table, TableLock::AccessExclusive).await?;
        let name = names::fold(constraint);
        if table.checks.iter().any(|check| check.name == name) {
            self.db.catalog.drop_check(self.txn, &table, &name).await?;
        } else if let Some(key) = table.foreign_keys.iter().find(|key| key.name == name) {
            self.db.catalog.drop_foreign_key(self.txn, &table, key).await?;
        } else if let Some(index) = table.indexes.iter().find(|i| i.constraint && i.name == name).cloned() {
            let (what, on) = (format!("constraint {name} on table {}", table.name), format!("index {name}"));
            self.release_referrers(table.oid, Some(index.oid), &[], (&what, &on), cascade).await?;
            // One of its own foreign keys may be gone.
            table = self.view().table(table.oid).cloned().unwrap_or(table);
            self.db.catalog.drop_index(self.txn, &table, &index).await?;
        } else {
            let message = format!("constraint \"{name}\" of relation \"{}\" does not exist", table.name);
            if !if_exists {
                return Err(SqlError::new(sqlstate::UNDEFINED_OBJECT, message));
            }
            self.notices.push(Notice::note(format!("{message}, skipping")));
        }
        Ok(())
    }
}

/// What PostgreSQL says of a row that was there before the constraint.
pub(super) fn broken(error: SqlError, table: &TableInfo, check: &Check) -> SqlError {
    if error.sqlstate != sqlstate::CHECK_VIOLATION {
        return error;
    }
    let message =
        format!("check constraint \"{}\" of relation \"{}\" is violated by some row", check.name, table.name);
    SqlError::new(sqlstate::CHECK_VIOLATION, message)
        .schema(table.schema.clone())
        .table(table.name.clone())
        .constraint(check.name.clone())
}

/// The name that was given, 42710 when another constraint of the table has it; else the usual one, with a number when that
/// is taken.
pub(super) fn name_of_constraint(
    table: &TableInfo,
    given: Option<String>,
    usual: impl FnOnce() -> String,
) -> SqlResult<String> {
    match given {
        Some(name) if table.has_constraint(&name) => {
            let message = format!("constraint \"{name}\" for relation \"{}\" already exists", table.name);
            Err(SqlError::new(sqlstate::DUPLICATE_OBJECT, message))
        }
        Some(name) => Ok(name),
        None => {
            let base = usual();
            let numbered = (1..).map(|n| format!("{base}{n}"));
            let mut names = std::iter::once(base.clone()).chain(numbered);
            Ok(names.find(|name| !table.has_constraint(name)).unwrap_or(base))
        }
    }
}

/// `t_a_check` for a condition on the column a, `t_check` for one on several.
fn usual_name(table: &TableInfo, columns: &[usize]) -> String {
    match columns {
        [first, rest @ ..] if rest.iter().all(|column| column == first) => {
            format!("{}_{}_check", table.name, table.columns[*first].name)
        }
        _ => format!("{}_check", table.name),
    }
}
