//! CREATE INDEX, and the indexes of constraints.

use std::sync::Arc;
use std::time::Duration;

use sqlparser::ast;

use super::Ddl;
use super::create_table::no_key_column;
use crate::catalog::{ConstraintTiming, IndexColumn, KeySource, NewIndex, TableInfo};
use crate::sql::bind::{figured_name, key_order};
use crate::sql::{Database, Notice, SessionContext, names};
use crate::txn::{Isolation, TableLock, Transaction};
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
    pub(super) fn new_index(&mut self, table: &TableInfo, key: KeySpec) -> SqlResult<NewIndex> {
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
        self.db.catalog.create_index(self.txn, &table, index).await?;
        Ok(())
    }

    /// The index that a statement wants; `None` when it is there and that is all right.
    fn index_to_make(&mut self, table: &TableInfo, create: &ast::CreateIndex) -> SqlResult<Option<NewIndex>> {
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

/// CREATE INDEX CONCURRENTLY, in transactions of its own. When it fails on the way the index stays, not used by readers, until
/// it is dropped.
pub(crate) async fn create_concurrently(
    db: &Arc<Database>,
    ctx: &SessionContext,
    create: &ast::CreateIndex,
    lock_timeout: Option<Duration>,
    notices: &mut Vec<Notice>,
) -> SqlResult<()> {
    // Held to the end: keeps other definitions and vacuum away, and lets writers through.
    let mut guard = db.txns.begin(Isolation::ReadCommitted);
    guard.set_lock_timeout(lock_timeout);
    let mut unused = Vec::new();
    let mut ddl = Ddl { db, ctx, txn: &mut guard, notices: &mut unused };
    let table = ddl.lock(&create.table_name, TableLock::ShareUpdateExclusive).await?;
    guard.end_statement();

    let mut txn = begin(db);
    let mut ddl = Ddl { db, ctx, txn: &mut txn, notices };
    let Some(new) = ddl.index_to_make(&table, create)? else { return Ok(()) };
    let index = db.catalog.declare_index(&mut txn, &table, new).await?;
    txn.commit().await?;
    // Whoever has the table locked since before may write rows without knowing of the index.
    guard.wait_for_table(table.oid, TableLock::Share).await?;

    let view = db.catalog.view(None);
    let Some(table) = view.table(table.oid) else { return Ok(()) };
    let Some(index) = table.indexes.iter().find(|other| other.oid == index) else { return Ok(()) };
    let mut txn = begin(db);
    txn.set_lock_timeout(lock_timeout);
    if let Err(error) = db.catalog.complete_index(&mut txn, table, index).await {
        txn.rollback();
        let mut txn = begin(db);
        db.catalog.give_up_index(&mut txn, table, index).await?;
        txn.commit().await?;
        return Err(error);
    }
    txn.commit().await?;
    Ok(())
}

fn begin(db: &Database) -> Transaction {
    let mut txn = db.txns.begin(Isolation::ReadCommitted);
    txn.begin_statement();
    txn
}
