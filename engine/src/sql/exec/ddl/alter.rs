//! ALTER TABLE and TRUNCATE.

use std::sync::Arc;

use sqlparser::ast::{self, AlterTableOperation, RenameTableNameKind, TableConstraint};

use super::create_table::{no_key_column, several_primary_keys, table_key};
use super::foreign_key::ForeignSpec;
use super::{Ddl, refuse_pending};
use crate::catalog::{Relation, TableInfo};
use crate::sql::bind::undefined_table;
use crate::sql::parse::is_alter_view;
use crate::sql::{Notice, names};
use crate::table::{RowBatch, TableScan};
use crate::txn::{LockWait, TableLock};
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
        let view = self.lock_view(&alter.name).await?;
        if view.is_none()
            && is_alter_view(alter)
            && let Some(other) = self.find(&alter.name)?
        {
            let message = format!("\"{}\" is not a view", other.name().1);
            return Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message));
        }
        for operation in &alter.operations {
            if let Some(view) = &view {
                self.alter_view(view, operation).await?;
                continue;
            }
            match operation {
                AlterTableOperation::AddConstraint { constraint, not_valid } => {
                    self.add_constraint(&alter.name, constraint, !not_valid).await?
                }
                AlterTableOperation::ValidateConstraint { name } => {
                    self.validate_constraint(&alter.name, name).await?
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
                AlterTableOperation::DropColumn { column_names, if_exists, drop_behavior, .. } => {
                    let cascade = *drop_behavior == Some(ast::DropBehavior::Cascade);
                    for column in column_names {
                        self.drop_column(&alter.name, column, *if_exists, cascade).await?;
                    }
                }
                AlterTableOperation::RenameColumn { old_column_name, new_column_name } => {
                    self.rename_column(&alter.name, old_column_name, new_column_name).await?
                }
                AlterTableOperation::RenameTable { table_name } => {
                    let (RenameTableNameKind::As(to) | RenameTableNameKind::To(to)) = table_name;
                    self.rename_table(&alter.name, to).await?
                }
                AlterTableOperation::RenameConstraint { old_name, new_name } => {
                    self.rename_constraint(&alter.name, old_name, new_name).await?
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
        valid: bool,
    ) -> SqlResult<()> {
        if let TableConstraint::Check(check) = constraint {
            let table = self.lock(name, TableLock::AccessExclusive).await?;
            self.add_check(table, check.name.as_ref().map(names::fold), &check.expr, valid).await?;
            return Ok(());
        }
        if let TableConstraint::ForeignKey(key) = constraint {
            let table = self.lock(name, TableLock::AccessExclusive).await?;
            self.add_foreign_key(table, ForeignSpec::of_table(key), valid).await?;
            return Ok(());
        }
        if !valid {
            let what = match constraint {
                TableConstraint::PrimaryKey(_) => "PRIMARY KEY",
                _ => "UNIQUE",
            };
            let message = format!("{what} constraints cannot be marked NOT VALID");
            return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message));
        }
        let key = table_key(constraint)?;
        let mut table = self.lock(name, TableLock::AccessExclusive).await?;
        if key.primary {
            if table.primary_key().is_some() {
                return Err(several_primary_keys(&table.name));
            }
            table = self.forbid_nulls(table, key.columns.iter().map(|c| c.name.as_str())).await?;
        }
        self.add_index(&table, key).await?;
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
        if truncate.partitions.is_some() {
            return Err(SqlError::unsupported("TRUNCATE with partitions"));
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
        if truncate.cascade == Some(ast::CascadeOption::Cascade) {
            self.add_referrers(&mut tables).await?;
        }
        self.refuse_truncate(&tables.iter().map(|table| table.oid).collect::<Vec<_>>())?;
        for table in &tables {
            self.db.catalog.truncate(self.txn, table).await?;
        }
        if truncate.identity == Some(ast::TruncateIdentityOption::Restart) {
            for table in &tables {
                self.restart_sequences(table.oid).await?;
            }
        }
        Ok(())
    }

    /// TRUNCATE CASCADE: all tables whose rows refer to those of the tables, or to theirs.
    async fn add_referrers(&mut self, tables: &mut Vec<Arc<TableInfo>>) -> SqlResult<()> {
        let mut n = 0;
        while let Some(table) = tables.get(n) {
            for (child, _) in self.view().referring(table.oid) {
                if tables.iter().any(|other| other.oid == child.oid) {
                    continue;
                }
                self.notices.push(Notice::note(format!("truncate cascades to table \"{}\"", child.name)));
                self.txn.lock_table(child.oid, TableLock::AccessExclusive, LockWait::Block).await?;
                self.txn.begin_statement();
                // As it is now that the lock is had.
                if let Some(child) = self.view().table(child.oid).cloned() {
                    refuse_pending("TRUNCATE", &child, self.txn)?;
                    tables.push(child);
                }
            }
            n += 1;
        }
        Ok(())
    }

    async fn restart_sequences(&mut self, table: u32) -> SqlResult<()> {
        let view = self.view();
        for relation in view.relations() {
            if let Relation::Sequence(sequence) = relation
                && sequence.owner.is_some_and(|(owner, _)| owner == table)
            {
                self.db.catalog.restart_sequence(self.txn, sequence).await?;
            }
        }
        Ok(())
    }

    async fn validate_constraint(&mut self, table: &ast::ObjectName, name: &ast::Ident) -> SqlResult<()> {
        let table = self.lock(table, TableLock::AccessExclusive).await?;
        let name = names::fold(name);
        let mut changed = (*table).clone();
        if let Some(check) = changed.checks.iter_mut().find(|check| check.name == name && !check.valid) {
            check.valid = true;
            self.ask_stored_check(&table, &name).await?;
        } else if let Some(key) = changed.foreign_keys.iter_mut().find(|key| key.name == name && !key.valid) {
            Arc::make_mut(key).valid = true;
            let key = key.clone();
            // Nobody may take a key away while the rows are checked.
            self.txn.lock_table(key.parent, TableLock::ShareRowExclusive, LockWait::Block).await?;
            self.txn.begin_statement();
            self.ask_keys(&table, &key).await?;
        } else if !table.has_constraint(&name) {
            let message = format!("constraint \"{name}\" of relation \"{}\" does not exist", table.name);
            return Err(SqlError::new(sqlstate::UNDEFINED_OBJECT, message));
        } else if table.indexes.iter().any(|index| index.constraint && index.name == name) {
            let message = format!(
                "constraint \"{name}\" of relation \"{}\" is not a foreign key or check constraint",
                table.name
            );
            return Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message));
        }
        self.db.catalog.alter_table(self.txn, &table, changed).await?;
        Ok(())
    }
}

pub(super) fn contains_nulls(table: &TableInfo, n: usize) -> SqlError {
    let column = &table.columns[n].name;
    SqlError::new(
        sqlstate::NOT_NULL_VIOLATION,
        format!("column \"{column}\" of relation \"{}\" contains null values", table.name),
    )
    .schema(table.schema.clone())
    .table(table.name.clone())
    .column(column.clone())
}
