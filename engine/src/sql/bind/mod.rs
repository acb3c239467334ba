//! The binder: names to columns, operators to functions, everything typed, parameters inferred. It makes the logical
//! tree ([`Rel`]) that the planner turns into a plan.
//!
//! | module | binds |
//! | --- | --- |
//! | `expr`, `predicate`, `operator`, `call` | expressions |
//! | `coerce` | conversions, and the types of literals and parameters |
//! | `from`, `select`, `query`, `aggregate` | queries |
//! | `locking` | FOR UPDATE and its kin |
//! | `dml` | INSERT, UPDATE, DELETE |
//! | `rules` | generated columns and CHECK constraints, expressions of indexes |
//! | `alter` | what ALTER TABLE makes of rows that are there |
//! | `view` | views, read and written through |
//! | `domain` | what values of domains go through |
//! | `types` | names of types, and types that users made |
//! | `foreign` | what foreign keys want of a change |

mod aggregate;
mod alter;
mod call;
mod coerce;
mod dml;
mod domain;
mod expr;
mod foreign;
mod from;
mod locking;
mod operator;
mod predicate;
mod query;
mod rel;
mod rules;
mod select;
mod types;
mod view;

use std::sync::Arc;

use sqlparser::ast;

use super::expr::{EvalCx, Expr};
use super::{Column, Database, SessionContext, names};
use crate::catalog::{CatalogView, ColumnInfo, PG_CATALOG, Relation, TableInfo, TypeInfo, ViewInfo};
use crate::txn::TableLock;
use crate::types::{SqlError, SqlResult, SqlType, sqlstate};

pub(crate) use aggregate::{AggregateCall, AggregateKind};
pub(crate) use call::figured_name;
pub(crate) use dml::{BoundDelete, BoundInsert, BoundUpdate, Source, columns_named};
pub(crate) use foreign::{Link, Linked, Referential, same_keys};
pub(crate) use rel::{JoinKind, LockMark, Rel, RowLocking, SetOperation, SortKey};
pub(crate) use rules::{Check, Rules};
pub(crate) use select::key_order;
pub(crate) use types::{Declared, find_type, undefined_type};

/// An expression with its type. A literal string or NULL, and a parameter nobody gave a type, have type unknown.
#[derive(Debug, Clone)]
pub(crate) struct Typed {
    pub(crate) expr: Expr,
    pub(crate) ty: SqlType,
}

/// A column that a query may name.
#[derive(Debug, Clone)]
pub(crate) struct ScopeColumn {
    /// The table's alias or name.
    pub(crate) table: String,
    pub(crate) name: String,
    pub(crate) ty: SqlType,
    pub(crate) table_oid: u32,
    pub(crate) attnum: i16,
    /// Merged into another by USING: found only with its table's name, and not part of `*`.
    pub(crate) merged: bool,
}

/// The columns of an input row, in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Scope {
    pub(crate) columns: Vec<ScopeColumn>,
}

/// A bound query.
#[derive(Debug)]
pub(crate) struct BoundQuery {
    pub(crate) rel: Rel,
    pub(crate) columns: Vec<Column>,
}

/// A subquery that does not depend on the row it stands in: run once, before the statement.
#[derive(Debug)]
pub(crate) struct Subquery {
    pub(crate) rel: Rel,
    pub(crate) kind: SubqueryKind,
    /// The type of its column.
    pub(crate) ty: SqlType,
}

/// What is wanted of a subquery.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum SubqueryKind {
    /// One value; 21000 for several rows.
    Scalar,
    /// Whether there is a row.
    Exists,
    /// All values of its column.
    List,
}

/// See the module. One per statement.
pub(crate) struct Binder<'a> {
    db: Option<&'a Database>,
    pub(crate) ctx: &'a SessionContext,
    pub(crate) view: Arc<CatalogView>,
    /// Types of the parameters as far as they are known.
    pub(crate) params: Vec<Option<SqlType>>,
    /// Those that were declared as types that users made.
    declared: Vec<Option<Arc<TypeInfo>>>,
    /// Subqueries found on the way.
    pub(crate) subqueries: Vec<Subquery>,
    /// Tables used, to be locked: with true when rows are changed or locked.
    pub(crate) tables: Vec<(u32, TableLock)>,
    ctes: Vec<(String, ast::TableAlias, ast::Query)>,
    /// Aggregates of the query being bound, where they are allowed.
    aggregates: Option<Vec<AggregateCall>>,
    /// Why there are none where they are not.
    no_aggregate: &'static str,
    depth: usize,
    /// The views whose queries are being bound, the innermost last.
    within: Vec<Arc<ViewInfo>>,
    /// Of a view that is being made.
    recorder: Option<view::Recorder>,
}

/// Queries may nest this deep.
const DEPTH_MAX: usize = 40;

impl<'a> Binder<'a> {
    pub(crate) fn new(
        db: &'a Database,
        ctx: &'a SessionContext,
        view: Arc<CatalogView>,
        declared: &[u32],
    ) -> SqlResult<Binder<'a>> {
        let of_user = |oid: u32| view.type_info(oid).map(|info| info.value_type());
        let known = |oid: &u32| match *oid {
            0 | crate::types::oids::UNKNOWN => Ok(None),
            oid => SqlType::from_oid(oid).or_else(|| of_user(oid)).map(Some).ok_or_else(|| {
                SqlError::new(sqlstate::UNDEFINED_OBJECT, format!("type with OID {oid} does not exist"))
            }),
        };
        let params = declared.iter().map(known).collect::<SqlResult<_>>()?;
        let declared = declared.iter().map(|oid| view.type_info(*oid).cloned()).collect();
        Ok(Binder { db: Some(db), params, declared, ..Binder::detached(ctx, view) })
    }

    /// Of expressions that look at nothing but a row.
    pub(crate) fn detached(ctx: &'a SessionContext, view: Arc<CatalogView>) -> Binder<'a> {
        Binder {
            db: None,
            ctx,
            view,
            params: Vec::new(),
            declared: Vec::new(),
            subqueries: Vec::new(),
            tables: Vec::new(),
            ctes: Vec::new(),
            aggregates: None,
            no_aggregate: "aggregate functions are not allowed here",
            depth: 0,
            within: Vec::new(),
            recorder: None,
        }
    }

    /// For evaluating constants.
    fn eval_cx(&self) -> EvalCx<'_> {
        self.db.map_or_else(|| EvalCx::detached(self.ctx), |db| EvalCx::new(db, self.ctx, &[]))
    }

    /// The types of all parameters; one that nothing says a type of is 42P18.
    pub(crate) fn finish_params(&self) -> SqlResult<Vec<SqlType>> {
        let all = self.params.iter().enumerate().map(|(n, ty)| {
            ty.ok_or_else(|| {
                SqlError::new(
                    sqlstate::INDETERMINATE_DATATYPE,
                    format!("could not determine data type of parameter ${}", n + 1),
                )
            })
        });
        all.collect()
    }

    /// A relation by a name in the statement: in its schema, else along the search path, pg_catalog first.
    pub(crate) fn find(&self, name: &ast::ObjectName) -> SqlResult<Option<Relation>> {
        let (schema, name) = names::qualified(name)?;
        self.find_parts(schema.as_deref(), &name)
    }

    /// As [`Binder::find`].
    pub(crate) fn find_parts(&self, schema: Option<&str>, name: &str) -> SqlResult<Option<Relation>> {
        if let Some(meant) = self.meant(schema, name) {
            return Ok(Some(meant));
        }
        let found = find_relation(&self.view, self.ctx, schema, name)?;
        if let Some(found) = &found {
            self.note_relation(schema, name, found);
        }
        Ok(found)
    }

    /// A table that must be there, noted for locking.
    pub(crate) fn table(&mut self, name: &ast::ObjectName, lock: TableLock) -> SqlResult<Arc<TableInfo>> {
        let table = match self.find(name)? {
            Some(Relation::Table(table)) => table,
            Some(other) => return Err(wrong_kind(&other)),
            None => return Err(undefined_table(name)),
        };
        if lock != TableLock::AccessShare && table.is_system() {
            return Err(SqlError::new(
                sqlstate::INSUFFICIENT_PRIVILEGE,
                format!("permission denied: \"{}\" is a system catalog", table.name),
            ));
        }
        self.tables.push((table.oid, lock));
        Ok(table)
    }

    fn nested<T>(&mut self, f: impl FnOnce(&mut Self) -> SqlResult<T>) -> SqlResult<T> {
        if self.depth >= DEPTH_MAX {
            return Err(SqlError::new(
                sqlstate::STATEMENT_TOO_COMPLEX,
                "the statement's queries are nested too deeply",
            ));
        }
        self.depth += 1;
        let result = f(self);
        self.depth -= 1;
        result
    }
}

/// A relation by name.
pub(crate) fn find_relation(
    view: &CatalogView,
    ctx: &SessionContext,
    schema: Option<&str>,
    name: &str,
) -> SqlResult<Option<Relation>> {
    if let Some(schema) = schema {
        return Ok(view.namespace(schema).and_then(|n| view.find(n, name)).cloned());
    }
    if let Some(found) = view.find(PG_CATALOG, name) {
        return Ok(Some(found.clone()));
    }
    let path = ctx.session().search_path.iter().filter_map(|schema| view.namespace(schema));
    for namespace in path {
        if let Some(found) = view.find(namespace, name) {
            return Ok(Some(found.clone()));
        }
    }
    Ok(None)
}

pub(crate) fn undefined_table(name: &ast::ObjectName) -> SqlError {
    let shown = names::parts(name).map_or_else(|_| name.to_string(), |parts| parts.join("."));
    SqlError::new(sqlstate::UNDEFINED_TABLE, format!("relation \"{shown}\" does not exist"))
}

fn wrong_kind(relation: &Relation) -> SqlError {
    let (_, name) = relation.name();
    let what = match relation {
        Relation::Table(_) => "a table",
        Relation::Index(_) => "an index",
        Relation::Sequence(_) => "a sequence",
        Relation::View(_) => "a view",
    };
    SqlError::new(sqlstate::WRONG_OBJECT_TYPE, format!("\"{name}\" is not a table"))
        .detail(format!("It is {what}."))
}

pub(crate) fn undefined_column(name: &str) -> SqlError {
    SqlError::new(sqlstate::UNDEFINED_COLUMN, format!("column \"{name}\" does not exist"))
}

impl Scope {
    /// The columns of a table under an alias.
    pub(crate) fn of_table(table: &TableInfo, alias: &str) -> Scope {
        Scope::of_columns(&table.columns, alias, table.oid)
    }

    /// The columns of a table that is being described.
    pub(crate) fn of_columns(columns: &[ColumnInfo], alias: &str, oid: u32) -> Scope {
        let columns = columns.iter().enumerate().map(|(n, c)| ScopeColumn {
            table: alias.to_owned(),
            name: if c.dropped { String::new() } else { c.name.clone() },
            ty: c.ty,
            table_oid: oid,
            attnum: n as i16 + 1,
            merged: c.dropped,
        });
        Scope { columns: columns.collect() }
    }

    /// A column by name.
    pub(crate) fn find(&self, table: Option<&str>, name: &str) -> SqlResult<usize> {
        let fits = |c: &ScopeColumn| match table {
            Some(table) => c.table == table && c.name == name,
            None => c.name == name && !c.merged,
        };
        let mut found = self.columns.iter().enumerate().filter(|(_, c)| fits(c)).map(|(n, _)| n);
        match (found.next(), found.next(), table) {
            (Some(n), None, _) => Ok(n),
            (Some(_), Some(_), _) => Err(SqlError::new(
                sqlstate::AMBIGUOUS_COLUMN,
                format!("column reference \"{name}\" is ambiguous"),
            )),
            (None, _, None) => Err(undefined_column(name)),
            (None, _, Some(table)) if self.columns.iter().any(|c| c.table == table) => Err(SqlError::new(
                sqlstate::UNDEFINED_COLUMN,
                format!("column {table}.{name} does not exist"),
            )),
            (None, _, Some(table)) => Err(SqlError::new(
                sqlstate::UNDEFINED_TABLE,
                format!("missing FROM-clause entry for table \"{table}\""),
            )),
        }
    }

    /// A column as an expression.
    pub(crate) fn typed(&self, n: usize) -> Typed {
        Typed { expr: Expr::Column(n), ty: self.columns[n].ty }
    }
}
