//! ALTER TABLE and TRUNCATE.

use std::sync::Arc;

use sqlparser::ast::{self, AlterTableOperation, TableConstraint};

use super::create_table::{no_key_column, several_primary_keys, table_key};
use super::foreign_key::ForeignSpec;
use super::{Ddl, refuse_pending};
use crate::catalog::{Relation, TableInfo};
use crate::sql::bind::undefined_table;
use crate::sql::{Notice, names};
use crate::table::{RowBatch, TableScan};
use crate::txn::TableLock;
use crate::types::{SqlError, SqlResult, sqlstate};

impl Ddl<'_> {
    pub(super) async fn alter_table(&mut self, alter: &ast::AlterTable) -> SqlResult<()> {
        if alter.if_exists && self.find(&alter.name)?.is_none() {
            let message = format!("relation \"{}\" does not exist, skipping", alter.name);
            self.notices.push(Notice::note(message));
            return Ok(());
        }
        if let Some(Relation::Table(table)) = self.find(&alter.name)? {
            refuse_pending("ALTER TABLE", &table, self.txn)?;
        }
        for operation in &alter.operations {
            match operation {
                AlterTableOperation::AddConstraint { constraint, not_valid: false } => {
                    self.add_constraint(&alter.name, constraint).await?
                }
                AlterTableOperation::AddColumn {
                    column_def, if_not_exists, column_position: None, ..
                } => self.add_column(&alter.name, column_def, *if_not_exists).await?,
                AlterTableOperation::AlterColumn { column_name, op } => {
                    self.alter_column(&alter.name, column_name, op).await?
                }
                AlterTableOperation::DropConstraint { if_exists, name, drop_behavior } => {
                    let cascade = *drop_behavior == Some(ast::DropBehavior::Cascade);
                    self.drop_constraint(&alter.name, name, *if_exists, cascade).await?
                }
                // Everything has one owner.
                AlterTableOperation::OwnerTo { .. } => {}
                other => {
                    let text = other.to_string();
                    let words: Vec<&str> = text.split_whitespace().take(2).collect();
                    return Err(SqlError::unsupported(format!("ALTER TABLE {}", words.join(" "))));
                }
            }
        }
        Ok(())
    }

    async fn add_constraint(
        &mut self,
        name: &ast::ObjectName,
        constraint: &TableConstraint,
    ) -> SqlResult<()> {
        if let TableConstraint::Check(check) = constraint {
            let table = self.lock(name, TableLock::AccessExclusive).await?;
            self.add_check(table, check.name.as_ref().map(names::fold), &check.expr).await?;
            return Ok(());
        }
        if let TableConstraint::ForeignKey(key) = constraint {
            let table = self.lock(name, TableLock::AccessExclusive).await?;
            self.add_foreign_key(table, ForeignSpec::of_table(key)).await?;
            return Ok(());
        }
        let key = table_key(constraint)?;
        let mut table = self.lock(name, TableLock::AccessExclusive).await?;
        if key.primary {
            if table.primary_key().is_some() {
                return Err(several_primary_keys(&table.name));
            }
            table = self.forbid_nulls(table, key.columns.iter().map(|c| c.name.as_str())).await?;
        }
        let index = self.new_index(&table, key)?;
        self.db.catalog.create_index(self.txn, &table, index).await?;
        Ok(())
    }

    /// Sets columns NOT NULL; 23502 when there are NULLs.
    pub(super) async fn forbid_nulls<'n>(
        &mut self,
        table: Arc<TableInfo>,
        names: impl Iterator<Item = &'n str>,
    ) -> SqlResult<Arc<TableInfo>> {
        let mut columns = Vec::new();
        for name in names {
            let n = table.column(name).ok_or_else(|| no_key_column(name))?;
            if !table.columns[n].not_null {
                columns.push(n);
            }
        }
        if columns.is_empty() {
            return Ok(table);
        }
        let snapshot = self.txn.snapshot();
        let mut scan = TableScan::new(&table.store, snapshot);
        let mut batch = RowBatch::new();
        while scan.next_batch(&self.db.txns, &mut batch).await? {
            for (_, bytes) in batch.iter() {
                let row = table.layout.read(bytes)?;
                for n in &columns {
                    if row.get(*n)?.is_null() {
                        return Err(contains_nulls(&table, *n));
                    }
                }
            }
        }
        self.db.catalog.set_not_null(self.txn, &table, &columns, true).await
    }

    pub(super) async fn truncate(&mut self, truncate: &ast::Truncate) -> SqlResult<()> {
        if truncate.partitions.is_some() || truncate.identity == Some(ast::TruncateIdentityOption::Restart) {
            return Err(SqlError::unsupported("TRUNCATE with RESTART IDENTITY or partitions"));
        }
        if truncate.cascade == Some(ast::CascadeOption::Cascade) {
            return Err(SqlError::unsupported("TRUNCATE CASCADE"));
        }
        let mut tables: Vec<Arc<TableInfo>> = Vec::new();
        for target in &truncate.table_names {
            if self.find(&target.name)?.is_none() {
                return Err(undefined_table(&target.name));
            }
            let table = self.lock(&target.name, TableLock::AccessExclusive).await?;
            refuse_pending("TRUNCATE", &table, self.txn)?;
            if !tables.iter().any(|other| other.oid == table.oid) {
                tables.push(table);
            }
        }
        self.refuse_truncate(&tables.iter().map(|table| table.oid).collect::<Vec<_>>())?;
        for table in tables {
            self.db.catalog.truncate(self.txn, &table).await?;
        }
        Ok(())
    }
}

fn contains_nulls(table: &TableInfo, n: usize) -> SqlError {
    let column = &table.columns[n].name;
    SqlError::new(
        sqlstate::NOT_NULL_VIOLATION,
        format!("column \"{column}\" of relation \"{}\" contains null values", table.name),
    )
    .schema(table.schema.clone())
    .table(table.name.clone())
    .column(column.clone())
}
