//! ALTER TABLE ADD COLUMN and ALTER COLUMN.
//!
//! No row is touched: a row says how many columns it has, and the catalog what older rows have in a newer column. That is
//! DEFAULT, evaluated once, as in PostgreSQL; a default that differs from row to row would need them rewritten and is refused.

use std::sync::Arc;

use sqlparser::ast::{self, AlterColumnOperation};

use super::Ddl;
use super::create_table::{COLUMNS_MAX, several_primary_keys};
use crate::catalog::{ColumnInfo, NewColumn, TableInfo};
use crate::sql::exec::Cx;
use crate::sql::{Notice, names};
use crate::table::{RowBatch, TableScan};
use crate::txn::TableLock;
use crate::types::{Datum, SqlError, SqlResult, sqlstate};

impl Ddl<'_> {
    pub(super) async fn add_column(
        &mut self,
        name: &ast::ObjectName,
        column: &ast::ColumnDef,
        if_not_exists: bool,
    ) -> SqlResult<()> {
        let mut table = self.lock(name, TableLock::AccessExclusive).await?;
        let definition = self.definition(column)?;
        let new = definition.column;
        if table.column(&new.name).is_some() {
            let message = format!("column \"{}\" of relation \"{}\" already exists", new.name, table.name);
            if if_not_exists {
                self.notices.push(Notice::skipping(format!("{message}, skipping")));
                return Ok(());
            }
            return Err(SqlError::new(sqlstate::DUPLICATE_COLUMN, message));
        }
        if table.columns.len() >= COLUMNS_MAX {
            let message = format!("tables can have at most {COLUMNS_MAX} columns");
            return Err(SqlError::new(sqlstate::TOO_MANY_COLUMNS, message));
        }
        if definition.sequence.is_some() {
            return Err(SqlError::unsupported("ADD COLUMN with values from a sequence"));
        }
        let primary = definition.keys.iter().any(|key| key.primary);
        if primary && table.primary_key().is_some() {
            return Err(several_primary_keys(&table.name));
        }
        let mut column = ColumnInfo {
            name: new.name,
            ty: new.ty,
            not_null: new.not_null || primary,
            default: new.default,
            generated: new.generated,
            identity: None,
            missing: Datum::Null,
            dropped: false,
        };
        if column.generated && self.has_rows(&table).await? {
            return Err(SqlError::unsupported("ADD COLUMN of a generated column to a table with rows"));
        }
        column.missing = self.value_of_default(&column).await?;
        if column.not_null && column.missing.is_null() && self.has_rows(&table).await? {
            let message =
                format!("column \"{}\" of relation \"{}\" contains null values", column.name, table.name);
            return Err(SqlError::new(sqlstate::NOT_NULL_VIOLATION, message)
                .schema(table.schema.clone())
                .table(table.name.clone())
                .column(column.name.clone()));
        }
        table = self.db.catalog.add_column(self.txn, &table, column).await?;
        self.binder()?.rules(&table)?;
        for key in definition.keys {
            let index = self.new_index(&table, key)?;
            table = self.db.catalog.create_index(self.txn, &table, index).await?;
        }
        for (name, condition) in definition.checks {
            table = self.add_check(table, name, condition).await?;
        }
        for key in definition.foreign_keys {
            table = self.add_foreign_key(table, key).await?;
        }
        Ok(())
    }

    pub(super) async fn alter_column(
        &mut self,
        name: &ast::ObjectName,
        column: &ast::Ident,
        operation: &AlterColumnOperation,
    ) -> SqlResult<()> {
        let table = self.lock(name, TableLock::AccessExclusive).await?;
        let column = names::fold(column);
        let n = table.column(&column).ok_or_else(|| {
            let message = format!("column \"{column}\" of relation \"{}\" does not exist", table.name);
            SqlError::new(sqlstate::UNDEFINED_COLUMN, message)
        })?;
        let info = &table.columns[n];
        match operation {
            AlterColumnOperation::SetNotNull => {
                self.forbid_nulls(table, std::iter::once(column.as_str())).await?;
            }
            AlterColumnOperation::DropNotNull => {
                let in_key = table.primary_key().is_some_and(|key| key.has_column(n));
                if in_key || info.identity.is_some() {
                    let why = if in_key {
                        format!("column \"{column}\" is in a primary key")
                    } else {
                        format!("column \"{column}\" of relation \"{}\" is an identity column", table.name)
                    };
                    let code =
                        if in_key { sqlstate::INVALID_TABLE_DEFINITION } else { sqlstate::SYNTAX_ERROR };
                    return Err(SqlError::new(code, why));
                }
                self.db.catalog.set_not_null(self.txn, &table, &[n], false).await?;
            }
            AlterColumnOperation::SetDefault { .. } | AlterColumnOperation::DropDefault
                if info.identity.is_some() || info.generated =>
            {
                let kind = if info.generated { "a generated" } else { "an identity" };
                let message = format!("column \"{column}\" of relation \"{}\" is {kind} column", table.name);
                return Err(SqlError::new(sqlstate::SYNTAX_ERROR, message));
            }
            AlterColumnOperation::SetDefault { value } => {
                let new = NewColumn {
                    name: column,
                    ty: info.ty,
                    not_null: info.not_null,
                    default: None,
                    generated: false,
                    identity: None,
                };
                self.check_default(&new, value)?;
                self.db.catalog.set_default(self.txn, &table, n, Some(value.to_string())).await?;
            }
            AlterColumnOperation::DropDefault => {
                self.db.catalog.set_default(self.txn, &table, n, None).await?;
            }
            AlterColumnOperation::SetDataType { .. } | AlterColumnOperation::AddGenerated { .. } => {
                return Err(SqlError::unsupported("ALTER COLUMN TYPE and ADD GENERATED"));
            }
        }
        Ok(())
    }

    /// What DEFAULT is for all rows that are there.
    async fn value_of_default(&mut self, column: &ColumnInfo) -> SqlResult<Datum> {
        let expr = self.binder()?.default_of(column)?;
        if !expr.is_stable() {
            return Err(SqlError::unsupported("ADD COLUMN with a default that differs from row to row")
                .hint("Add the column without it, update the rows, then set it."));
        }
        let snapshot = self.txn.snapshot();
        let cx = Cx::plain(self.db, self.ctx, self.txn, &snapshot);
        cx.evaluate(&mut |eval| Ok(expr.eval(&[], eval)?.into_owned())).await
    }

    async fn has_rows(&mut self, table: &Arc<TableInfo>) -> SqlResult<bool> {
        let mut scan = TableScan::new(&table.store, self.txn.snapshot());
        let mut batch = RowBatch::new();
        while scan.next_batch(&self.db.txns, &mut batch).await? {
            if !batch.is_empty() {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
