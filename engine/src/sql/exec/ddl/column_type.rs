//! ALTER COLUMN TYPE.

use std::sync::Arc;

use sqlparser::ast;

use super::Ddl;
use super::foreign_key::refuse_types;
use crate::catalog::TableInfo;
use crate::sql::expr::Expr;
use crate::txn::{LockWait, TableLock};
use crate::types::{SqlError, SqlResult, sqlstate};

impl Ddl<'_> {
    /// Gives a column another type. The table is locked.
    pub(super) async fn alter_type(
        &mut self,
        table: Arc<TableInfo>,
        n: usize,
        ty: &ast::DataType,
        using: Option<&ast::Expr>,
    ) -> SqlResult<()> {
        let to = self.binder()?.type_named(ty)?;
        self.hold_type(to.user.as_ref()).await?;
        self.refuse_dependents(&table, n)?;
        let value = self.binder()?.conversion(&table, n, &to, using)?;
        let mut changed = (*table).clone();
        changed.columns[n].ty = to.ty;
        changed.columns[n].declared.clone_from(&to.user);
        self.binder()?.default_after(&table.columns[n], &to)?;
        changed.layout = TableInfo::layout_of(&changed.columns);
        let view = self.view();
        for index in &mut changed.indexes {
            *index = index.rebound(&changed.name, &changed.columns, &view, &|text| Ok(text.to_owned()))?;
        }
        self.refuse_key_types(&changed, n)?;
        let changed = match value {
            // The bytes are the same.
            Expr::Column(same) if same == n => {
                self.binder()?.rules(&changed)?;
                self.db.catalog.alter_table(self.txn, &table, changed).await?
            }
            value => self.rewrite(&table, changed, &[(n, value)]).await?,
        };
        self.ask_keys_of(&changed, n).await
    }

    /// What is computed of a column, or keeps its type.
    fn refuse_dependents(&mut self, table: &TableInfo, n: usize) -> SqlResult<()> {
        let name = &table.columns[n].name;
        self.refuse_viewed(table.oid, n, name)?;
        if table.columns[n].identity.is_some() || table.columns[n].generated {
            return Err(SqlError::unsupported("ALTER COLUMN TYPE of an identity or generated column"));
        }
        let rules = self.binder()?.rules(table)?;
        for (generated, value) in &rules.generated {
            let mut columns = Vec::new();
            value.columns(&mut columns);
            if columns.contains(&n) {
                let message = "cannot alter type of a column used by a generated column";
                let other = &table.columns[*generated].name;
                return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
                    .detail(format!("Column \"{name}\" is used by generated column \"{other}\".")));
            }
        }
        Ok(())
    }

    /// Foreign keys of the column, in both directions, must still compare.
    fn refuse_key_types(&mut self, changed: &TableInfo, n: usize) -> SqlResult<()> {
        let view = self.view();
        for key in changed.foreign_keys.iter().filter(|key| key.columns.contains(&n)) {
            let parent = view.table(key.parent).filter(|parent| parent.oid != changed.oid);
            let parent = parent.map_or(changed, |parent| parent);
            for (own, other) in key.columns.iter().zip(&key.parent_columns) {
                refuse_types(&key.name, changed, *own, parent, *other)?;
            }
        }
        for (child, key) in view.referring(changed.oid) {
            let child = if child.oid == changed.oid { changed } else { &child };
            for (own, other) in key.columns.iter().zip(&key.parent_columns) {
                refuse_types(&key.name, child, *own, changed, *other)?;
            }
        }
        Ok(())
    }

    /// Asks the rows of both ends of the column's foreign keys again.
    async fn ask_keys_of(&mut self, table: &Arc<TableInfo>, n: usize) -> SqlResult<()> {
        for key in table.foreign_keys.iter().filter(|key| key.valid && key.columns.contains(&n)) {
            self.ask_keys(table, key).await?;
        }
        for (child, key) in self.view().referring(table.oid) {
            if key.valid && child.oid != table.oid && key.parent_columns.contains(&n) {
                self.txn.lock_table(child.oid, TableLock::ShareRowExclusive, LockWait::Block).await?;
                self.txn.begin_statement();
                self.ask_keys(&child, &key).await?;
            }
        }
        Ok(())
    }
}
