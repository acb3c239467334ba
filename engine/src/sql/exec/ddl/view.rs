//! CREATE VIEW, and what becomes of views when that goes which they look at.

use std::collections::HashSet;
use std::sync::Arc;

use sqlparser::ast;

use super::Ddl;
use crate::catalog::{CatalogView, ColumnInfo, FIRST_USER_OID, Relation, ViewDefinition, ViewInfo};
use crate::sql::prepare::lock_tables;
use crate::sql::{Column, names};
use crate::txn::{LockWait, TableLock};
use crate::types::{Datum, SqlError, SqlResult, SqlType, sqlstate};

impl Ddl<'_> {
    pub(super) async fn create_view(&mut self, create: &ast::CreateView) -> SqlResult<()> {
        refuse_rare(create)?;
        let (namespace, name) = self.place(&create.name)?;
        if self.view().find_type(namespace, &name).is_some() {
            self.refuse_type_name(namespace, &name)?;
        }
        loop {
            let view = self.view();
            let version = view.version;
            let mut binder = self.binder()?;
            let (bound, meant) = binder.view_query(&create.query)?;
            let tables: Vec<(u32, TableLock)> =
                binder.tables.iter().filter(|(oid, _)| *oid >= FIRST_USER_OID).copied().collect();
            let columns = columns(&bound.columns, &create.columns)?;
            let old = view.find(namespace, &name).cloned();
            lock_tables(self.txn, &tables).await?;
            if let Some(old) = old.as_ref().filter(|_| create.or_replace) {
                self.txn.lock_table(old.oid(), TableLock::AccessExclusive, LockWait::Block).await?;
            }
            self.txn.begin_statement();
            // What was waited for may have changed what the query means.
            if self.view().version != version {
                continue;
            }
            let definition = ViewDefinition::new(&create.query, meant)?;
            return match old {
                Some(Relation::View(old)) if create.or_replace => {
                    let binder = self.binder()?;
                    refuse_change(&old.columns, &columns, &|ty| match ty.is_enum() {
                        true => binder.shown(ty),
                        false => ty.spelled(),
                    })?;
                    let changed = ViewInfo { columns, definition: Arc::new(definition), ..(*old).clone() };
                    self.db.catalog.alter_view(self.txn, changed).await
                }
                Some(_) if create.or_replace => {
                    Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a view")))
                }
                _ => {
                    self.is_taken(namespace, &name, false)?;
                    self.db.catalog.create_view(self.txn, (namespace, name), columns, definition).await
                }
            };
        }
    }

    /// Locks a view and describes it as it is then; `None` when the name is another relation's.
    pub(super) async fn lock_view(&mut self, name: &ast::ObjectName) -> SqlResult<Option<Arc<ViewInfo>>> {
        while let Some(Relation::View(view)) = self.find(name)? {
            refuse_system_view(&view)?;
            self.txn.lock_table(view.oid, TableLock::AccessExclusive, LockWait::Block).await?;
            if let Some(Relation::View(again)) = self.find(name)?
                && again.oid == view.oid
            {
                self.txn.begin_statement();
                return Ok(Some(again));
            }
        }
        Ok(None)
    }

    /// ALTER VIEW, and what of ALTER TABLE is for views too.
    pub(super) async fn alter_view(
        &mut self,
        view: &ViewInfo,
        operation: &ast::AlterTableOperation,
    ) -> SqlResult<()> {
        use ast::AlterTableOperation as Op;
        let mut changed = view.clone();
        match operation {
            Op::RenameTable { table_name } => {
                let (ast::RenameTableNameKind::As(to) | ast::RenameTableNameKind::To(to)) = table_name;
                let (None, to) = names::qualified(to)? else {
                    return Err(SqlError::syntax("syntax error at or near \".\""));
                };
                self.is_taken(view.namespace, &to, false)?;
                changed.name = to;
            }
            Op::RenameColumn { old_column_name, new_column_name } => {
                let (from, to) = (names::fold(old_column_name), names::fold(new_column_name));
                if changed.columns.iter().any(|c| c.name == to) {
                    let message = format!("column \"{to}\" of relation \"{}\" already exists", view.name);
                    return Err(SqlError::new(sqlstate::DUPLICATE_COLUMN, message));
                }
                let column = changed.columns.iter_mut().find(|c| c.name == from).ok_or_else(|| {
                    SqlError::new(sqlstate::UNDEFINED_COLUMN, format!("column \"{from}\" does not exist"))
                })?;
                column.name = to;
            }
            Op::OwnerTo { .. } => return Ok(()),
            other => {
                let text = other.to_string();
                let words: Vec<&str> = text.split_whitespace().take(2).collect();
                let action = words.join(" ");
                let message =
                    format!("ALTER action {action} cannot be performed on relation \"{}\"", view.name);
                return Err(SqlError::new(sqlstate::WRONG_OBJECT_TYPE, message)
                    .detail("This operation is not supported for views."));
            }
        }
        self.db.catalog.alter_view(self.txn, changed).await
    }

    /// Takes away, with CASCADE, the views that look at a relation or at a column of it (from 0), and those on them; 2BP01
    /// without. `what` is what goes; views that go `along` with it are not asked.
    pub(super) async fn release_views(
        &mut self,
        oid: u32,
        column: Option<usize>,
        what: &str,
        along: &[u32],
        cascade: bool,
    ) -> SqlResult<()> {
        let view = self.view();
        let mut found = Vec::new();
        let mut seen: HashSet<u32> = along.iter().copied().chain([oid]).collect();
        dependents(&view, oid, column, what, &mut seen, &mut found);
        found.reverse();
        if found.is_empty() {
            return Ok(());
        }
        if !cascade {
            let detail: Vec<String> =
                found.iter().map(|(view, on)| format!("view {} depends on {on}", view.name)).collect();
            let message = format!("cannot drop {what} because other objects depend on it");
            return Err(SqlError::new(sqlstate::DEPENDENT_OBJECTS, message)
                .detail(detail.join("\n"))
                .hint("Use DROP ... CASCADE to drop the dependent objects too."));
        }
        let shown: Vec<String> = found.iter().map(|(view, _)| format!("view {}", view.name)).collect();
        self.note_cascade(&shown);
        for (view, _) in found.iter().rev() {
            self.txn.lock_table(view.oid, TableLock::AccessExclusive, LockWait::Block).await?;
            self.txn.begin_statement();
            // It may be gone now that the lock is had.
            if self.view().relation(view.oid).is_some() {
                self.db.catalog.drop_view(self.txn, view.oid).await?;
            }
        }
        Ok(())
    }

    /// 0A000 when a view looks at a column.
    pub(super) fn refuse_viewed(&mut self, oid: u32, n: usize, name: &str) -> SqlResult<()> {
        let Some(view) = self.view().views_on(oid, Some(n)).into_iter().next() else { return Ok(()) };
        let message = "cannot alter type of a column used by a view or rule";
        Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message)
            .detail(format!("rule _RETURN on view {} depends on column \"{name}\"", view.name)))
    }
}

pub(super) fn refuse_system_view(view: &ViewInfo) -> SqlResult<()> {
    if view.oid >= FIRST_USER_OID {
        return Ok(());
    }
    let message = format!("permission denied: \"{}\" is a system view", view.name);
    Err(SqlError::new(sqlstate::INSUFFICIENT_PRIVILEGE, message))
}

/// The views that depend on something, each with what it depends on: behind those that depend on it, the youngest first.
fn dependents(
    catalog: &CatalogView,
    oid: u32,
    column: Option<usize>,
    on: &str,
    seen: &mut HashSet<u32>,
    found: &mut Vec<(Arc<ViewInfo>, String)>,
) {
    for view in catalog.views_on(oid, column).into_iter().rev() {
        if seen.insert(view.oid) {
            dependents(catalog, view.oid, None, &format!("view {}", view.name), seen, found);
            found.push((view, on.to_owned()));
        }
    }
}

/// The columns of a view by its query and the list of names behind its own.
pub(crate) fn columns(bound: &[Column], named: &[ast::ViewColumnDef]) -> SqlResult<Vec<ColumnInfo>> {
    if named.len() > bound.len() {
        return Err(SqlError::syntax("CREATE VIEW specifies more column names than columns"));
    }
    let mut columns: Vec<ColumnInfo> = Vec::with_capacity(bound.len());
    for (n, column) in bound.iter().enumerate() {
        let name = named.get(n).map_or_else(|| column.name.clone(), |named| names::fold(&named.name));
        if columns.iter().any(|c| c.name == name) {
            let message = format!("column \"{name}\" specified more than once");
            return Err(SqlError::new(sqlstate::DUPLICATE_COLUMN, message));
        }
        columns.push(ColumnInfo {
            name,
            ty: column.ty,
            declared: None,
            not_null: false,
            default: None,
            generated: false,
            identity: None,
            missing: Datum::Null,
            dropped: false,
        });
    }
    Ok(columns)
}

/// 42P16 unless the new columns are the old ones, or those and more.
fn refuse_change(
    old: &[ColumnInfo],
    new: &[ColumnInfo],
    spelled: &dyn Fn(SqlType) -> String,
) -> SqlResult<()> {
    let refused = |message: String| SqlError::new(sqlstate::INVALID_TABLE_DEFINITION, message);
    if new.len() < old.len() {
        return Err(refused("cannot drop columns from view".to_owned()));
    }
    for (old, new) in old.iter().zip(new) {
        if old.name != new.name {
            let message = format!("cannot change name of view column \"{}\" to \"{}\"", old.name, new.name);
            return Err(refused(message)
                .hint("Use ALTER VIEW ... RENAME COLUMN ... to change name of view column instead."));
        }
        if old.ty != new.ty {
            return Err(refused(format!(
                "cannot change data type of view column \"{}\" from {} to {}",
                old.name,
                spelled(old.ty),
                spelled(new.ty)
            )));
        }
    }
    Ok(())
}

fn refuse_rare(create: &ast::CreateView) -> SqlResult<()> {
    let has_options = !matches!(create.options, ast::CreateTableOptions::None);
    let rare = [
        (create.materialized, "CREATE MATERIALIZED VIEW"),
        (create.temporary, "CREATE TEMPORARY VIEW"),
        (create.if_not_exists, "CREATE VIEW IF NOT EXISTS"),
        (has_options, "CREATE VIEW WITH (options)"),
        (!create.query.locks.is_empty(), "a view with FOR UPDATE"),
    ];
    match rare.iter().find(|(there, _)| *there) {
        Some((_, what)) => Err(SqlError::unsupported(*what)),
        None => Ok(()),
    }
}
