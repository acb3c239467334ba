//! ALTER TABLE ADD COLUMN and ALTER COLUMN.
//!
//! Mostly no row is touched: a row says how many columns it has, and the catalog what older rows have in a newer column. That
//! is DEFAULT, evaluated once, as in PostgreSQL. For what differs from row to row the rows are copied (`rewrite`).

use std::sync::Arc;

use sqlparser::ast::{self, AlterColumnOperation};

use super::Ddl;
use super::alter::contains_nulls;
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
        self.hold_type(definition.column.declared.as_ref()).await?;
        let mut new = definition.column;
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
        let primary = definition.keys.iter().any(|key| key.primary);
        if primary && table.primary_key().is_some() {
            return Err(several_primary_keys(&table.name));
        }
        let sequence = match definition.sequence {
            Some(options) => {
                let (default, sequence) =
                    self.column_sequence(table.namespace, &table.name, &new, options).await?;
                new.default = Some(default);
                Some(sequence)
            }
            None => None,
        };
        let column = ColumnInfo {
            name: new.name,
            ty: new.ty,
            declared: new.declared,
            not_null: new.not_null || primary,
            default: new.default,
            generated: new.generated,
            identity: new.identity,
            missing: Datum::Null,
            dropped: false,
        };
        table = self.with_column(table, column).await?;
        self.binder()?.rules(&table)?;
        if let Some(sequence) = sequence {
            let last = table.columns.len() - 1;
            self.db.catalog.own_sequence(self.txn, &sequence, table.oid, last).await?;
        }
        for key in definition.keys {
            table = self.add_index(&table, key).await?;
        }
        for (name, condition) in definition.checks {
            table = self.add_check(table, name, condition, true).await?;
        }
        for key in definition.foreign_keys {
            table = self.add_foreign_key(table, key, true).await?;
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
                    declared: info.declared.clone(),
                    not_null: info.not_null,
                    default: None,
                    generated: false,
                    identity: None,
                };
                self.check_default(&new, value)?;
                let text = self.binder()?.kept_text(value)?;
                self.db.catalog.set_default(self.txn, &table, n, Some(text)).await?;
            }
            AlterColumnOperation::DropDefault => {
                self.db.catalog.set_default(self.txn, &table, n, None).await?;
            }
            AlterColumnOperation::SetDataType { data_type, using, .. } => {
                self.alter_type(table.clone(), n, data_type, using.as_ref()).await?;
            }
            AlterColumnOperation::AddGenerated { .. } => {
                return Err(SqlError::unsupported("ALTER COLUMN ADD GENERATED"));
            }
        }
        Ok(())
    }

    /// The table with a new last column, which has its value in every row.
    async fn with_column(
        &mut self,
        table: Arc<TableInfo>,
        mut column: ColumnInfo,
    ) -> SqlResult<Arc<TableInfo>> {
        let n = table.columns.len();
        let value = self.binder()?.default_of(&column)?;
        let has_rows = self.has_rows(&table).await?;
        if has_rows && (column.generated || !value.is_stable()) {
            let values = if column.generated { Vec::new() } else { vec![(n, value)] };
            let mut changed = (*table).clone();
            changed.columns.push(column);
            return self.rewrite(&table, changed, &values).await;
        }
        // Without rows nothing has it, and a domain that refuses it refuses nothing.
        if value.is_stable() && (has_rows || column.domain().is_none()) {
            let snapshot = self.txn.snapshot();
            let cx = Cx::plain(self.db, self.ctx, self.txn, &snapshot);
            column.missing = cx.evaluate(&mut |eval| Ok(value.eval(&[], eval)?.into_owned())).await?;
        }
        if column.not_null && column.missing.is_null() && has_rows {
            let mut changed = (*table).clone();
            changed.columns.push(column);
            return Err(contains_nulls(&changed, n));
        }
        self.db.catalog.add_column(self.txn, &table, column).await
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
