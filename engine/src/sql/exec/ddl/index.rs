//! CREATE INDEX, and the indexes of constraints.

use std::sync::Arc;

use sqlparser::ast;

use super::Ddl;
use super::create_table::no_key_column;
use crate::catalog::{ConstraintTiming, IndexColumn, KeySource, NewIndex, TableInfo};
use crate::sql::bind::{figured_name, key_order};
use crate::sql::names;
use crate::txn::TableLock;
use crate::types::key::KeyOrder;
use crate::types::{SqlError, SqlResult, sqlstate};

/// Columns of one index, as PostgreSQL limits them.
const COLUMNS_MAX: usize = 32;

/// A column of a key.
pub(super) struct KeyColumn {
    /// The table's column, or what an expression is called.
    pub(super) name: String,
    expr: Option<ast::Expr>,
    order: KeyOrder,
}

impl KeyColumn {
    fn of(expr: &ast::Expr, order: KeyOrder) -> KeyColumn {
        match expr {
            ast::Expr::Nested(inner) => KeyColumn::of(inner, order),
            ast::Expr::Identifier(ident) => KeyColumn { name: names::fold(ident), expr: None, order },
            other => {
                let name = figured_name(other).unwrap_or_else(|| "expr".to_owned());
                KeyColumn { name, expr: Some(other.clone()), order }
            }
        }
    }
}

/// An index or constraint to be made.
pub(super) struct KeySpec {
    name: Option<String>,
    pub(super) columns: Vec<KeyColumn>,
    pub(super) primary: bool,
    unique: bool,
    constraint: bool,
    timing: ConstraintTiming,
    predicate: Option<ast::Expr>,
}

impl KeySpec {
    /// A constraint of one column.
    pub(super) fn column(
        column: &str,
        name: Option<String>,
        primary: bool,
        timing: ConstraintTiming,
    ) -> KeySpec {
        KeySpec {
            name,
            columns: vec![KeyColumn { name: column.to_owned(), expr: None, order: KeyOrder::default() }],
            primary,
            unique: true,
            constraint: true,
            timing,
            predicate: None,
        }
    }

    pub(super) fn new(
        name: Option<String>,
        columns: &[ast::IndexColumn],
        primary: bool,
        constraint: bool,
        timing: ConstraintTiming,
    ) -> SqlResult<KeySpec> {
        let columns = columns
            .iter()
            .map(|c| {
                if c.operator_class.is_some() {
                    return Err(SqlError::unsupported("an operator class"));
                }
                Ok(KeyColumn::of(&c.column.expr, key_order(&c.column.options)?))
            })
            .collect::<SqlResult<Vec<_>>>()?;
        if columns.len() > COLUMNS_MAX {
            let message = format!("cannot use more than {COLUMNS_MAX} columns in an index");
            return Err(SqlError::new(sqlstate::TOO_MANY_COLUMNS, message));
        }
        Ok(KeySpec { name, columns, primary, unique: constraint, constraint, timing, predicate: None })
    }
}

impl Ddl<'_> {
    /// The index that a key needs, with a name.
    fn new_index(&mut self, table: &TableInfo, key: KeySpec) -> SqlResult<NewIndex> {
        let mut columns: Vec<IndexColumn> = Vec::with_capacity(key.columns.len());
        for part in &key.columns {
            let column = self.index_column(table, part, key.constraint)?;
            let twice = |other: &IndexColumn| other.column().is_some() && other.column() == column.column();
            if key.constraint && columns.iter().any(twice) {
                let which = if key.primary { "primary key" } else { "unique" };
                let message = format!("column \"{}\" appears twice in {which} constraint", part.name);
                return Err(SqlError::new(sqlstate::DUPLICATE_COLUMN, message));
            }
            columns.push(column);
        }
        let predicate = match &key.predicate {
            Some(expr) => Some(Arc::new(self.binder()?.index_predicate(table, expr)?)),
            None => None,
        };
        let name = match key.name {
            Some(name) => {
                self.is_taken(table.namespace, &name, false)?;
                name
            }
            None if key.primary => self.free_name(table.namespace, &[&table.name], "pkey"),
            None => {
                let mut parts = vec![table.name.clone()];
                for column in &key.columns {
                    let numbered = (1..).map(|n| format!("{}{n}", column.name));
                    let mut free = std::iter::once(column.name.clone()).chain(numbered);
                    parts.extend(free.find(|name| !parts[1..].contains(name)));
                }
                let parts: Vec<&str> = parts.iter().map(String::as_str).collect();
                self.free_name(table.namespace, &parts, if key.constraint { "key" } else { "idx" })
            }
        };
        Ok(NewIndex {
            name,
            unique: key.unique,
            primary: key.primary,
            constraint: key.constraint,
            timing: key.timing,
            columns,
            predicate,
        })
    }

    fn index_column(
        &mut self,
        table: &TableInfo,
        part: &KeyColumn,
        constraint: bool,
    ) -> SqlResult<IndexColumn> {
        if let Some(expr) = &part.expr {
            let formula = self.binder()?.index_expression(table, expr)?;
            let (ty, source) = (formula.ty(), KeySource::Expr(Arc::new(formula)));
            return Ok(IndexColumn { source, ty, order: part.order });
        }
        let column = table.column(&part.name).ok_or_else(|| {
            if constraint {
                return no_key_column(&part.name);
            }
            let message = format!("column \"{}\" does not exist", part.name);
            SqlError::new(sqlstate::UNDEFINED_COLUMN, message)
        })?;
        Ok(IndexColumn::of(&table.columns, column, part.order))
    }

    pub(super) async fn create_index(&mut self, create: &ast::CreateIndex) -> SqlResult<()> {
        let table = self.lock(&create.table_name, TableLock::Share).await?;
        let Some(index) = self.index_to_make(&table, create)? else { return Ok(()) };
        self.make_index(&table, index).await?;
        Ok(())
    }

    /// Makes the index of a key. The table with it.
    pub(super) async fn add_index(&mut self, table: &TableInfo, key: KeySpec) -> SqlResult<Arc<TableInfo>> {
        let index = self.new_index(table, key)?;
        self.make_index(table, index).await
    }

    async fn make_index(&mut self, table: &TableInfo, index: NewIndex) -> SqlResult<Arc<TableInfo>> {
        let memory = self.ctx.maintenance_memory();
        self.db.catalog.create_index(self.txn, table, index, memory).await
    }

    /// The index that a statement wants; `None` when it is there and that is all right.
    pub(super) fn index_to_make(
        &mut self,
        table: &TableInfo,
        create: &ast::CreateIndex,
    ) -> SqlResult<Option<NewIndex>> {
        let rare = [
            (!create.include.is_empty(), "INCLUDE"),
            (create.nulls_distinct == Some(false), "NULLS NOT DISTINCT"),
            (!matches!(create.using, None | Some(ast::IndexType::BTree)), "an index that is not a btree"),
        ];
        if let Some((_, what)) = rare.iter().find(|(there, _)| *there) {
            return Err(SqlError::unsupported(what));
        }
        let name = create.name.as_ref().map(names::qualified).transpose()?.map(|(_, name)| name);
        if let Some(name) = &name
            && self.is_taken(table.namespace, name, create.if_not_exists)?
        {
            return Ok(None);
        }
        let mut key = KeySpec::new(name, &create.columns, false, false, ConstraintTiming::Fixed)?;
        key.unique = create.unique;
        key.predicate.clone_from(&create.predicate);
        self.new_index(table, key).map(Some)
    }
}
