//! ALTER TABLE RENAME. The catalog keeps expressions as text, so a new name is written into them, and then they must mean what
//! they meant.

use std::sync::Arc;

use sqlparser::ast;

use super::Ddl;
use crate::catalog::{IndexInfo, TableInfo};
use crate::sql::bind::Scope;
use crate::sql::names;
use crate::sql::parse::{Renaming, parse_expression, rename};
use crate::txn::TableLock;
use crate::types::{SqlError, SqlResult, sqlstate};

impl Ddl<'_> {
    pub(super) async fn rename_column(
        &mut self,
        table: &ast::ObjectName,
        old: &ast::Ident,
        new: &ast::Ident,
    ) -> SqlResult<()> {
        let table = self.lock(table, TableLock::AccessExclusive).await?;
        let (from, to) = (names::fold(old), names::fold(new));
        let n = table.column(&from).ok_or_else(|| {
            SqlError::new(sqlstate::UNDEFINED_COLUMN, format!("column \"{from}\" does not exist"))
        })?;
        if table.column(&to).is_some() {
            let message = format!("column \"{to}\" of relation \"{}\" already exists", table.name);
            return Err(SqlError::new(sqlstate::DUPLICATE_COLUMN, message));
        }
        let mut changed = (*table).clone();
        changed.columns[n].name.clone_from(&to);
        self.write_names(&table, &mut changed, Renaming::Column { from: &from, to: &to })?;
        self.db.catalog.alter_table(self.txn, &table, changed).await?;
        Ok(())
    }

    pub(super) async fn rename_table(
        &mut self,
        table: &ast::ObjectName,
        to: &ast::ObjectName,
    ) -> SqlResult<()> {
        let table = self.lock(table, TableLock::AccessExclusive).await?;
        let (None, to) = names::qualified(to)? else {
            return Err(SqlError::syntax("syntax error at or near \".\""));
        };
        self.is_taken(table.namespace, &to, false)?;
        let mut changed = (*table).clone();
        changed.name.clone_from(&to);
        self.write_names(&table, &mut changed, Renaming::Table { from: &table.name, to: &to })?;
        self.db.catalog.alter_table(self.txn, &table, changed).await?;
        Ok(())
    }

    pub(super) async fn rename_constraint(
        &mut self,
        table: &ast::ObjectName,
        old: &ast::Ident,
        new: &ast::Ident,
    ) -> SqlResult<()> {
        let table = self.lock(table, TableLock::AccessExclusive).await?;
        let (from, to) = (names::fold(old), names::fold(new));
        if !table.has_constraint(&from) {
            let message = format!("constraint \"{from}\" for table \"{}\" does not exist", table.name);
            return Err(SqlError::new(sqlstate::UNDEFINED_OBJECT, message));
        }
        let mut changed = (*table).clone();
        if let Some(index) = changed.indexes.iter_mut().find(|i| i.constraint && i.name == from) {
            self.is_taken(table.namespace, &to, false)?;
            *index = Arc::new(IndexInfo { name: to.clone(), ..(**index).clone() });
        }
        if table.has_constraint(&to) {
            let message = format!("constraint \"{to}\" for relation \"{}\" already exists", table.name);
            return Err(SqlError::new(sqlstate::DUPLICATE_OBJECT, message));
        }
        changed.checks.iter_mut().filter(|c| c.name == from).for_each(|c| c.name.clone_from(&to));
        changed.checks.sort_by(|a, b| a.name.cmp(&b.name));
        for key in changed.foreign_keys.iter_mut().filter(|key| key.name == from) {
            Arc::make_mut(key).name.clone_from(&to);
        }
        self.db.catalog.alter_table(self.txn, &table, changed).await?;
        Ok(())
    }

    /// Writes a new name into all expressions of a table.
    fn write_names(&mut self, old: &TableInfo, changed: &mut TableInfo, what: Renaming<'_>) -> SqlResult<()> {
        let (before, after) = (Scope::of_table(old, &old.name), Scope::of_table(changed, &changed.name));
        let view = self.view();
        let mut binder = self.binder()?;
        let mut write = |text: &mut String| {
            let new = rename(text, what)?;
            let was = binder.over_row(&parse_expression(text)?, &before)?;
            if new != *text && binder.over_row(&parse_expression(&new)?, &after).ok() != Some(was) {
                return Err(SqlError::unsupported(format!("a new name inside the expression {text}")));
            }
            *text = new;
            Ok(())
        };
        for column in changed.columns.iter_mut().filter(|column| column.generated) {
            column.default.as_mut().map_or(Ok(()), &mut write)?;
        }
        changed.checks.iter_mut().try_for_each(|check| write(&mut check.condition))?;
        for index in &mut changed.indexes {
            let again = index.rebound(&changed.name, &changed.columns, &view, &|text| rename(text, what))?;
            if !same_expressions(index, &again) {
                let message = format!("a new name inside an expression of index \"{}\"", index.name);
                return Err(SqlError::unsupported(message));
            }
            *index = again;
        }
        Ok(())
    }
}

fn same_expressions(a: &IndexInfo, b: &IndexInfo) -> bool {
    let exprs = |index: &IndexInfo| -> Vec<crate::sql::expr::Expr> {
        let of_columns = index.columns.iter().filter_map(|part| part.formula());
        of_columns.chain(index.predicate.as_ref()).map(|formula| formula.expr().clone()).collect()
    };
    exprs(a) == exprs(b)
}
