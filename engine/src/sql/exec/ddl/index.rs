//! CREATE INDEX, and the indexes of constraints.

use sqlparser::ast;

use super::Ddl;
use super::create_table::no_key_column;
use crate::catalog::{IndexColumn, NewIndex, TableInfo};
use crate::sql::bind::key_order;
use crate::sql::names;
use crate::txn::TableLock;
use crate::types::key::KeyOrder;
use crate::types::{SqlError, SqlResult, sqlstate};

/// Columns of one index, as PostgreSQL limits them.
const COLUMNS_MAX: usize = 32;

/// A column of a key by its name.
pub(super) struct KeyColumn {
    pub(super) name: String,
    order: KeyOrder,
}

/// An index or constraint to be made.
pub(super) struct KeySpec {
    name: Option<String>,
    pub(super) columns: Vec<KeyColumn>,
    pub(super) primary: bool,
    unique: bool,
    constraint: bool,
}

impl KeySpec {
    /// A constraint of one column.
    pub(super) fn column(column: &str, name: Option<String>, primary: bool) -> KeySpec {
        KeySpec {
            name,
            columns: vec![KeyColumn { name: column.to_owned(), order: KeyOrder::default() }],
            primary,
            unique: true,
            constraint: true,
        }
    }

    pub(super) fn new(
        name: Option<String>,
        columns: &[ast::IndexColumn],
        primary: bool,
        constraint: bool,
    ) -> SqlResult<KeySpec> {
        let columns = columns
            .iter()
            .map(|c| {
                let ast::Expr::Identifier(ident) = &c.column.expr else {
                    return Err(SqlError::unsupported("an index on an expression"));
                };
                if c.operator_class.is_some() {
                    return Err(SqlError::unsupported("an operator class"));
                }
                Ok(KeyColumn { name: names::fold(ident), order: key_order(&c.column.options)? })
            })
            .collect::<SqlResult<Vec<_>>>()?;
        if columns.len() > COLUMNS_MAX {
            let message = format!("cannot use more than {COLUMNS_MAX} columns in an index");
            return Err(SqlError::new(sqlstate::TOO_MANY_COLUMNS, message));
        }
        Ok(KeySpec { name, columns, primary, unique: constraint, constraint })
    }
}

impl Ddl<'_> {
    /// The index that a key needs, with a name.
    pub(super) fn new_index(&mut self, table: &TableInfo, key: KeySpec) -> SqlResult<NewIndex> {
        let mut columns = Vec::with_capacity(key.columns.len());
        for part in &key.columns {
            let column = table.column(&part.name).ok_or_else(|| {
                if key.constraint {
                    no_key_column(&part.name)
                } else {
                    let message = format!("column \"{}\" does not exist", part.name);
                    SqlError::new(sqlstate::UNDEFINED_COLUMN, message)
                }
            })?;
            if key.constraint && columns.iter().any(|c: &IndexColumn| c.column == column) {
                let which = if key.primary { "primary key" } else { "unique" };
                let message = format!("column \"{}\" appears twice in {which} constraint", part.name);
                return Err(SqlError::new(sqlstate::DUPLICATE_COLUMN, message));
            }
            columns.push(IndexColumn { column, order: part.order });
        }
        let name = match key.name {
            Some(name) => {
                self.is_taken(table.namespace, &name, false)?;
                name
            }
            None if key.primary => self.free_name(table.namespace, &[&table.name], "pkey"),
            None => {
                let mut parts = vec![table.name.as_str()];
                parts.extend(key.columns.iter().map(|c| c.name.as_str()));
                self.free_name(table.namespace, &parts, if key.constraint { "key" } else { "idx" })
            }
        };
        Ok(NewIndex { name, unique: key.unique, primary: key.primary, constraint: key.constraint, columns })
    }

    pub(super) async fn create_index(&mut self, create: &ast::CreateIndex) -> SqlResult<()> {
        let rare = [
            (create.concurrently, "CREATE INDEX CONCURRENTLY"),
            (create.predicate.is_some(), "a partial index"),
            (!create.include.is_empty(), "INCLUDE"),
            (create.nulls_distinct == Some(false), "NULLS NOT DISTINCT"),
            (!matches!(create.using, None | Some(ast::IndexType::BTree)), "an index that is not a btree"),
        ];
        if let Some((_, what)) = rare.iter().find(|(there, _)| *there) {
            return Err(SqlError::unsupported(what));
        }
        let name = create.name.as_ref().map(names::qualified).transpose()?.map(|(_, name)| name);
        let table = self.lock(&create.table_name, TableLock::Share).await?;
        if let Some(name) = &name
            && self.is_taken(table.namespace, name, create.if_not_exists)?
        {
            return Ok(());
        }
        let mut key = KeySpec::new(name, &create.columns, false, false)?;
        key.unique = create.unique;
        let index = self.new_index(&table, key)?;
        self.db.catalog.create_index(self.txn, &table, index).await?;
        Ok(())
    }
}
