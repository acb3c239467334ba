//! INSERT, UPDATE and DELETE.

use std::sync::Arc;

use sqlparser::ast;

use super::foreign::Referential;
use super::rel::Rel;
use super::rules::Rules;
use super::select::{Output, returning_columns};
use super::view::{Target, Verb};
use super::{Binder, Scope, Typed, names, undefined_column};
use crate::catalog::{ColumnInfo, TableInfo};
use crate::sql::Column;
use crate::sql::expr::Expr;
use crate::types::{Datum, SqlError, SqlResult, sqlstate};

/// RETURNING: expressions over the table's row, and their description.
#[derive(Debug, Default)]
pub(crate) struct Returning {
    pub(crate) exprs: Vec<Expr>,
    pub(crate) columns: Vec<Column>,
}

/// Where the rows of an INSERT come from; each is as wide as the table, converted and with defaults filled in.
#[derive(Debug)]
pub(crate) enum Source {
    Values(Vec<Vec<Expr>>),
    Query(Rel),
}

#[derive(Debug)]
pub(crate) struct BoundInsert {
    pub(crate) table: Arc<TableInfo>,
    pub(crate) rules: Rules,
    pub(crate) referential: Referential,
    pub(crate) source: Source,
    pub(crate) returning: Returning,
}

#[derive(Debug)]
pub(crate) struct BoundUpdate {
    pub(crate) table: Arc<TableInfo>,
    pub(crate) rules: Rules,
    pub(crate) referential: Referential,
    pub(crate) alias: String,
    pub(crate) filter: Option<Expr>,
    /// Column, new value over the old row.
    pub(crate) sets: Vec<(usize, Expr)>,
    pub(crate) returning: Returning,
}

#[derive(Debug)]
pub(crate) struct BoundDelete {
    pub(crate) table: Arc<TableInfo>,
    pub(crate) referential: Referential,
    pub(crate) alias: String,
    pub(crate) filter: Option<Expr>,
    pub(crate) returning: Returning,
}

/// The value of a column in VALUES or SET.
enum Given {
    Default,
    Value(Typed),
}

impl Binder<'_> {
    pub(crate) fn insert(&mut self, insert: &ast::Insert) -> SqlResult<BoundInsert> {
        if insert.on.is_some() || insert.ignore || insert.replace_into {
            return Err(SqlError::unsupported("INSERT with ON CONFLICT"));
        }
        let ast::TableObject::TableName(name) = &insert.table else {
            return Err(SqlError::unsupported("INSERT into anything but a table"));
        };
        let target = self.target(name, None, Verb::Insert)?;
        let table = target.table.clone();
        let (targets, named) = (targets(&target, &insert.columns)?, !insert.columns.is_empty());
        let defaults = self.defaults(&table)?;
        let source = match &insert.source {
            None => Source::Values(vec![defaults]),
            Some(query) => self.insert_source(query, &target, &targets, named, &defaults)?,
        };
        let returning = self.returning(insert.returning.as_deref(), &target)?;
        let rules = self.rules(&table)?;
        let referential = self.referential(&table)?;
        Ok(BoundInsert { table, rules, referential, source, returning })
    }

    fn insert_source(
        &mut self,
        query: &ast::Query,
        into: &Target,
        targets: &[usize],
        explicit: bool,
        defaults: &[Expr],
    ) -> SqlResult<Source> {
        let plain = query.with.is_none() && query.order_by.is_none() && query.limit_clause.is_none();
        if let ast::SetExpr::Values(values) = &*query.body
            && plain
        {
            let rows = values.rows.iter().map(|row| {
                let row = &row.content;
                check_width(row.len(), targets.len(), explicit)?;
                let mut full = defaults.to_vec();
                for (target, expr) in targets.iter().zip(row) {
                    let target = into.column(*target)?;
                    let column = &into.table.columns[target];
                    if let Given::Value(typed) = self.given(expr, &Scope::default())? {
                        refuse_generated(column)?;
                        full[target] = self.assign(typed, column)?;
                    }
                }
                Ok(full)
            });
            return Ok(Source::Values(rows.collect::<SqlResult<_>>()?));
        }
        let bound = self.query(query)?;
        check_width(bound.columns.len(), targets.len(), explicit)?;
        let mut full = defaults.to_vec();
        for (n, (target, given)) in targets.iter().zip(&bound.columns).enumerate() {
            let target = into.column(*target)?;
            let column = &into.table.columns[target];
            refuse_generated(column)?;
            let typed = Typed { expr: Expr::Column(n), ty: given.ty };
            full[target] = self.assign(typed, column)?;
        }
        Ok(Source::Query(Rel::Project(Box::new(bound.rel), full)))
    }

    fn given(&mut self, expr: &ast::Expr, scope: &Scope) -> SqlResult<Given> {
        if let ast::Expr::Identifier(ident) = expr
            && ident.quote_style.is_none()
            && ident.value.eq_ignore_ascii_case("default")
        {
            return Ok(Given::Default);
        }
        self.expr(expr, scope).map(Given::Value)
    }

    /// What each column gets when nothing is said about it.
    pub(crate) fn defaults(&mut self, table: &TableInfo) -> SqlResult<Vec<Expr>> {
        table.columns.iter().map(|column| self.default_of(column)).collect()
    }

    /// A column's DEFAULT, converted to its type.
    pub(crate) fn default_of(&mut self, column: &ColumnInfo) -> SqlResult<Expr> {
        if column.dropped || column.generated {
            return Ok(Expr::Const(Datum::Null));
        }
        let of_domain = || column.domain()?.default.as_deref();
        let typed = match column.default.as_deref().or_else(of_domain) {
            Some(text) => self.expr(&crate::sql::parse::parse_expression(text)?, &Scope::default())?,
            // A domain may refuse it.
            None => Typed { expr: Expr::Const(Datum::Null), ty: column.ty },
        };
        self.assign(typed, column)
    }

    pub(crate) fn update(&mut self, update: &ast::Update) -> SqlResult<BoundUpdate> {
        if update.from.is_some() || !update.table.joins.is_empty() || update.limit.is_some() {
            return Err(SqlError::unsupported("UPDATE with FROM or LIMIT"));
        }
        let target = self.factor_target(&update.table.relation, Verb::Update)?;
        let table = target.table.clone();
        let mut sets: Vec<(usize, Expr)> = Vec::new();
        for assignment in &update.assignments {
            let ast::AssignmentTarget::ColumnName(name) = &assignment.target else {
                return Err(SqlError::unsupported("SET (columns) = (values)"));
            };
            let (_, name) = names::qualified(name)?;
            let n = target.find(&name).ok_or_else(|| undefined_in(&name, &target.name))?;
            let n = target.column(n)?;
            if sets.iter().any(|(other, _)| *other == n) {
                let message = format!("multiple assignments to same column \"{name}\"");
                return Err(SqlError::syntax(message));
            }
            let column = &table.columns[n];
            let value = match self.given(&assignment.value, &target.scope)? {
                // A view's column has no default of its own.
                Given::Default if target.is_view() => Expr::Const(Datum::Null),
                Given::Default => self.default_of(column)?,
                Given::Value(typed) => {
                    refuse_update(column)?;
                    self.set_to(typed, column, &target)?
                }
            };
            sets.push((n, value));
        }
        let filter = target.filter(self.filter(update.selection.as_ref(), &target.scope)?);
        let returning = self.returning(update.returning.as_deref(), &target)?;
        let alias = target.alias;
        let rules = self.rules(&table)?;
        let referential = self.referential(&table)?;
        Ok(BoundUpdate { table, rules, referential, alias, filter, sets, returning })
    }

    /// A new value of a column, over the table's row. What is in a column of the same domain has met its conditions, or need not.
    fn set_to(&mut self, typed: Typed, column: &ColumnInfo, target: &Target) -> SqlResult<Expr> {
        let Typed { expr, ty } = self.assign_base(typed, column)?;
        let expr = target.over_table(expr);
        let declared = |column: &ColumnInfo| column.declared.as_ref().map(|declared| declared.oid);
        match expr {
            Expr::Column(n) if declared(&target.table.columns[n]) == declared(column) => Ok(expr),
            _ => Ok(self.value_of_declared(Typed { expr, ty }, column.declared.as_deref())?.expr),
        }
    }

    pub(crate) fn delete(&mut self, delete: &ast::Delete) -> SqlResult<BoundDelete> {
        let (ast::FromTable::WithFromKeyword(from) | ast::FromTable::WithoutKeyword(from)) = &delete.from;
        let [only] = &from[..] else {
            return Err(SqlError::unsupported("DELETE from several tables"));
        };
        if delete.using.is_some()
            || !only.joins.is_empty()
            || delete.limit.is_some()
            || !delete.tables.is_empty()
        {
            return Err(SqlError::unsupported("DELETE with USING or LIMIT"));
        }
        let target = self.factor_target(&only.relation, Verb::Delete)?;
        let table = target.table.clone();
        let filter = target.filter(self.filter(delete.selection.as_ref(), &target.scope)?);
        let returning = self.returning(delete.returning.as_deref(), &target)?;
        let alias = target.alias;
        let referential = self.referential(&table)?;
        Ok(BoundDelete { table, referential, alias, filter, returning })
    }

    fn factor_target(&mut self, factor: &ast::TableFactor, verb: Verb) -> SqlResult<Target> {
        let ast::TableFactor::Table { name, alias, .. } = factor else {
            return Err(SqlError::unsupported("changing anything but a table"));
        };
        self.target(name, alias.as_ref(), verb)
    }

    fn filter(&mut self, condition: Option<&ast::Expr>, scope: &Scope) -> SqlResult<Option<Expr>> {
        let Some(condition) = condition else { return Ok(None) };
        let typed = self.expr(condition, scope)?;
        self.condition(typed, "WHERE").map(Some)
    }

    fn returning(&mut self, items: Option<&[ast::SelectItem]>, target: &Target) -> SqlResult<Returning> {
        let Some(items) = items else { return Ok(Returning::default()) };
        let outputs: Vec<Output> = self.outputs(items, &target.scope)?;
        let columns = returning_columns(&outputs, &target.scope);
        let exprs = outputs.into_iter().map(|o| target.over_table(o.typed.expr)).collect();
        Ok(Returning { exprs, columns })
    }
}

/// The columns that an INSERT names, or all, by their place in the target's scope.
fn targets(target: &Target, names: &[ast::ObjectName]) -> SqlResult<Vec<usize>> {
    let named = names
        .iter()
        .map(|name| names::qualified(name).map(|(_, name)| name))
        .collect::<SqlResult<Vec<String>>>()?;
    let live = target.scope.columns.iter().enumerate().filter(|(_, c)| !c.merged).map(|(n, _)| n);
    chosen(live, |name| target.find(name), &target.name, &named)
}

/// Columns by name, in the order given; all columns when there are no names.
pub(crate) fn columns_named(table: &TableInfo, named: &[String]) -> SqlResult<Vec<usize>> {
    chosen(table.live_columns().map(|(n, _)| n), |name| table.column(name), &table.name, named)
}

fn chosen(
    all: impl Iterator<Item = usize>,
    find: impl Fn(&str) -> Option<usize>,
    relation: &str,
    named: &[String],
) -> SqlResult<Vec<usize>> {
    if named.is_empty() {
        return Ok(all.collect());
    }
    let mut found: Vec<usize> = Vec::with_capacity(named.len());
    for name in named {
        let n = find(name).ok_or_else(|| undefined_in(name, relation))?;
        if found.contains(&n) {
            return Err(SqlError::new(
                sqlstate::DUPLICATE_COLUMN,
                format!("column \"{name}\" specified more than once"),
            ));
        }
        found.push(n);
    }
    Ok(found)
}

fn undefined_in(column: &str, table: &str) -> SqlError {
    let message = format!("column \"{column}\" of relation \"{table}\" does not exist");
    SqlError::new(undefined_column(column).sqlstate, message)
}

fn check_width(given: usize, wanted: usize, explicit: bool) -> SqlResult<()> {
    if given > wanted {
        return Err(SqlError::syntax("INSERT has more expressions than target columns"));
    }
    // Without a list of columns, missing ones at the end get their defaults.
    if given < wanted && explicit {
        return Err(SqlError::syntax("INSERT has more target columns than expressions"));
    }
    Ok(())
}

/// What is given for a column whose values are not the user's.
fn refuse_generated(column: &ColumnInfo) -> SqlResult<()> {
    refuse(column, |name| format!("cannot insert a non-DEFAULT value into column \"{name}\""))
}

fn refuse_update(column: &ColumnInfo) -> SqlResult<()> {
    refuse(column, |name| format!("column \"{name}\" can only be updated to DEFAULT"))
}

fn refuse(column: &ColumnInfo, message: fn(&str) -> String) -> SqlResult<()> {
    let name = &column.name;
    let why = if column.generated {
        format!("Column \"{name}\" is a generated column.")
    } else if column.identity == Some('a') {
        format!("Column \"{name}\" is an identity column defined as GENERATED ALWAYS.")
    } else {
        return Ok(());
    };
    Err(SqlError::new(sqlstate::GENERATED_ALWAYS, message(name)).detail(why))
}
