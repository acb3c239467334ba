//! ALTER TYPE RENAME VALUE. Rows and keys do not have a label's name; expressions that the catalog keeps as text do, and there
//! the new name is written into them.

use std::sync::Arc;

use super::Ddl;
use super::type_enum::{enum_of, no_label, refuse_label, with_labels};
use crate::catalog::{CatalogView, ColumnInfo, Relation, TableInfo, TypeInfo};
use crate::sql::Formula;
use crate::sql::bind::Binder;
use crate::sql::expr::Expr;
use crate::sql::parse::{has_literal, keeps_type, parse_expression, relabelled};
use crate::txn::{LockWait, TableLock};
use crate::types::{EnumLabel, SqlError, SqlResult, sqlstate};

/// A label's name, and the name that it is to have.
type Names<'a> = (&'a str, &'a str);

impl Ddl<'_> {
    pub(super) async fn rename_value(&mut self, info: &TypeInfo, from: &str, to: &str) -> SqlResult<()> {
        let of = enum_of(info)?;
        refuse_label(to)?;
        if of.find(from).is_none() {
            return Err(no_label(from));
        }
        if of.find(to).is_some() {
            let message = format!("enum label \"{to}\" already exists");
            return Err(SqlError::new(sqlstate::DUPLICATE_OBJECT, message));
        }
        let renamed = |label: &Arc<EnumLabel>| {
            let name = if *label.name == *from { to.into() } else { label.name.clone() };
            EnumLabel { name, ..(**label).clone() }
        };
        let changed = with_labels(info, of, of.labels().iter().map(renamed).collect());
        let before = self.view();
        let after = Arc::new(before.with_type(changed.clone()));
        self.refuse_elsewhere(&before, info, from)?;
        let tables: Vec<Arc<TableInfo>> = tables_naming(&before, info.oid, from);
        self.db.catalog.alter_type(self.txn, info, changed).await?;
        for table in tables {
            self.txn.lock_table(table.oid, TableLock::AccessExclusive, LockWait::Block).await?;
            self.txn.begin_statement();
            // As it is now that the lock is had.
            let Some(table) = self.view().table(table.oid).cloned() else { continue };
            let changed = self.with_label_in(&table, (&before, &after), (from, to))?;
            self.db.catalog.alter_table(self.txn, &table, changed).await?;
        }
        Ok(())
    }

    fn refuse_elsewhere(&self, view: &CatalogView, info: &TypeInfo, label: &str) -> SqlResult<()> {
        let mut domains = view.types().filter(|other| other.oid != info.oid && other.is_over(info.oid));
        let named = |text: &str| has_literal(text, label);
        if let Some(over) = domains.find(|over| over.domain().is_some_and(|of| of.texts().any(named))) {
            let message = format!("another name for a label that domain \"{}\" has as a literal", over.name);
            return Err(SqlError::unsupported(message));
        }
        let mut views = view.views_on(info.oid, None).into_iter();
        match views.find(|view| has_literal(view.definition.text(), label)) {
            Some(view) => {
                let message =
                    format!("another name for a label that view \"{}\" has as a literal", view.name);
                Err(SqlError::unsupported(message))
            }
            None => Ok(()),
        }
    }

    /// The table with the label's new name in its expressions, which mean what they meant.
    fn with_label_in(
        &mut self,
        table: &TableInfo,
        (before, after): (&Arc<CatalogView>, &Arc<CatalogView>),
        (from, to): Names<'_>,
    ) -> SqlResult<TableInfo> {
        let (db, ctx) = (self.db, self.ctx);
        let rename = |text: &str, bind: &dyn Fn(&str, &mut Binder<'_>) -> SqlResult<Expr>| {
            if !has_literal(text, from) {
                return Ok(text.to_owned());
            }
            let meant = bind(text, &mut Binder::new(db, ctx, before.clone(), &[])?)?;
            let same = |new: &str| {
                let bound =
                    Binder::new(db, ctx, after.clone(), &[]).and_then(|mut binder| bind(new, &mut binder));
                bound.is_ok_and(|bound| bound == meant)
            };
            relabelled(text, from, to, &same)
                .ok_or_else(|| SqlError::unsupported(format!("another name for a label inside {text}")))
        };
        let mut changed = table.clone();
        for column in changed.columns.iter_mut().filter(|column| !column.dropped) {
            let Some(text) = column.default.clone() else { continue };
            let of = column.clone();
            let bind = |text: &str, binder: &mut Binder<'_>| match of.generated {
                true => binder.generation(table, &of, &parse_expression(text)?),
                false => binder.default_of(&ColumnInfo { default: Some(text.to_owned()), ..of.clone() }),
            };
            column.default = Some(rename(&text, &bind)?);
        }
        for check in &mut changed.checks {
            let bind = |text: &str, binder: &mut Binder<'_>| binder.check(table, &parse_expression(text)?);
            check.condition = rename(&check.condition, &bind)?;
        }
        for index in &mut changed.indexes {
            let bind = |text: &str, binder: &mut Binder<'_>| {
                Ok(Formula::of_text(text, &table.name, &table.columns, &binder.view)?.expr().clone())
            };
            let text = |text: &str| rename(text, &bind);
            *index = index.rebound(&table.name, &table.columns, after, &text)?;
        }
        Ok(changed)
    }
}

/// The tables that have something to do with a type and a literal like one of its labels.
fn tables_naming(view: &CatalogView, oid: u32, label: &str) -> Vec<Arc<TableInfo>> {
    let of_type = |column: &ColumnInfo| column.ty.oid == oid;
    let concerns = |table: &TableInfo| {
        let texts: Vec<&str> = table.texts().collect();
        let uses = table.columns.iter().any(of_type) || texts.iter().any(|text| keeps_type(text, oid));
        uses && texts.iter().any(|text| has_literal(text, label))
    };
    let mut tables: Vec<Arc<TableInfo>> = view
        .relations()
        .filter_map(|relation| match relation {
            Relation::Table(table) if concerns(table) => Some(table.clone()),
            _ => None,
        })
        .collect();
    tables.sort_by_key(|table| table.oid);
    tables
}
