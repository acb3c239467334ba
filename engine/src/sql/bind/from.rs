//! FROM: tables, subqueries, generate_series, VALUES and joins.

use std::collections::HashSet;

use sqlparser::ast::{self, JoinConstraint, JoinOperator, TableFactor};

use super::locking::Locks;
use super::rel::{JoinKind, Rel};
use super::{Binder, Scope, ScopeColumn, names, undefined_table};
use crate::catalog::Relation;
use crate::sql::expr::cast::Context;
use crate::sql::expr::{Comparison, Expr};
use crate::txn::TableLock;
use crate::types::{Datum, SqlError, SqlResult, SqlType, oids, sqlstate};

/// Relations of one FROM clause: the tree of joins is as deep as that.
const RELATIONS_MAX: usize = 64;

impl Binder<'_> {
    /// The relation that FROM describes, and its columns.
    pub(super) fn from(
        &mut self,
        from: &[ast::TableWithJoins],
        locks: &Locks<'_>,
    ) -> SqlResult<(Rel, Scope)> {
        let count: usize = from.iter().map(|item| 1 + item.joins.len()).sum();
        if count > RELATIONS_MAX {
            let message = format!("a FROM clause can have at most {RELATIONS_MAX} relations");
            return Err(SqlError::new(sqlstate::STATEMENT_TOO_COMPLEX, message));
        }
        let mut result: Option<(Rel, Scope)> = None;
        for item in from {
            let next = self.joins(item, locks)?;
            result = Some(match result {
                None => next,
                Some(left) => cross(left, next)?,
            });
        }
        Ok(result.unwrap_or((Rel::One, Scope::default())))
    }

    fn joins(&mut self, item: &ast::TableWithJoins, locks: &Locks<'_>) -> SqlResult<(Rel, Scope)> {
        let mut left = self.factor(&item.relation, locks)?;
        for join in &item.joins {
            let right = self.factor(&join.relation, locks)?;
            left = self.join(left, right, &join.join_operator, locks)?;
        }
        Ok(left)
    }

    fn join(
        &mut self,
        left: (Rel, Scope),
        right: (Rel, Scope),
        operator: &JoinOperator,
        locks: &Locks<'_>,
    ) -> SqlResult<(Rel, Scope)> {
        use JoinOperator as J;
        let (kind, constraint, swap) = match operator {
            J::Join(c) | J::Inner(c) | J::CrossJoin(c) => (JoinKind::Inner, c, false),
            J::Left(c) | J::LeftOuter(c) => (JoinKind::Left, c, false),
            J::Right(c) | J::RightOuter(c) => (JoinKind::Left, c, true),
            J::FullOuter(_) => return Err(SqlError::unsupported("FULL JOIN")),
            _ => return Err(SqlError::unsupported("this kind of join")),
        };
        if kind == JoinKind::Left {
            locks.refuse_nullable(if swap { &left.1.columns } else { &right.1.columns })?;
        }
        let widths = (left.1.columns.len(), right.1.columns.len());
        let (left_rel, right_rel) = (left.0, right.0);
        let mut scope = joined(left.1, right.1)?;
        let on = self.constraint(constraint, &mut scope, widths.0, swap)?;
        if !swap {
            let rel = Rel::Join { kind, left: Box::new(left_rel), right: Box::new(right_rel), on };
            return Ok((rel, scope));
        }
        // The sides are exchanged below, and put back in order above.
        let (l, r) = widths;
        let on = on.map(|mut on| {
            on.shift_columns(&|n| if n < l { n + r } else { n - l });
            on
        });
        let join = Rel::Join { kind, left: Box::new(right_rel), right: Box::new(left_rel), on };
        let order = (0..l).map(|n| n + r).chain(0..r).map(Expr::Column).collect();
        Ok((Rel::Project(Box::new(join), order), scope))
    }

    fn constraint(
        &mut self,
        constraint: &JoinConstraint,
        scope: &mut Scope,
        left: usize,
        swap: bool,
    ) -> SqlResult<Option<Expr>> {
        let columns: Vec<String> = match constraint {
            JoinConstraint::None => return Ok(None),
            JoinConstraint::On(condition) => {
                let typed = self.expr(condition, scope)?;
                return self.condition(typed, "JOIN/ON").map(Some);
            }
            JoinConstraint::Using(columns) => {
                columns.iter().map(|c| names::qualified(c).map(|(_, name)| name)).collect::<SqlResult<_>>()?
            }
            JoinConstraint::Natural => {
                let of = |side: &[ScopeColumn]| -> HashSet<String> {
                    side.iter().filter(|c| !c.merged).map(|c| c.name.clone()).collect()
                };
                let right = of(&scope.columns[left..]);
                scope.columns[..left]
                    .iter()
                    .filter(|c| !c.merged && right.contains(&c.name))
                    .map(|c| c.name.clone())
                    .collect()
            }
        };
        let mut parts = Vec::new();
        for name in columns {
            let side = |columns: &[ScopeColumn], which: &str| {
                columns.iter().position(|c| c.name == name && !c.merged).ok_or_else(|| {
                    SqlError::new(
                        sqlstate::UNDEFINED_COLUMN,
                        format!(
                            "column \"{name}\" specified in USING clause does not exist in {which} table"
                        ),
                    )
                })
            };
            let a = side(&scope.columns[..left], "left")?;
            let b = side(&scope.columns[left..], "right")? + left;
            let equal = self.compare(Comparison::Eq, scope.typed(a), scope.typed(b))?;
            parts.push(equal.expr);
            [a, b].into_iter().for_each(|n| self.note_column(&scope.columns[n]));
            // The side that a left join keeps gives the value.
            scope.columns[if swap { a } else { b }].merged = true;
        }
        Ok(Expr::and(parts))
    }

    fn factor(&mut self, factor: &TableFactor, locks: &Locks<'_>) -> SqlResult<(Rel, Scope)> {
        match factor {
            TableFactor::Table { name, alias, args: None, .. } => self.named(name, alias.as_ref(), locks),
            TableFactor::Table { name, alias, args: Some(args), with_ordinality: false, .. } => {
                self.table_function(name, &args.args, alias.as_ref(), locks)
            }
            TableFactor::Function { name, args, alias, with_ordinality: false, .. } => {
                self.table_function(name, args, alias.as_ref(), locks)
            }
            TableFactor::Derived { lateral: false, subquery, alias, .. } => {
                let bound = self.nested(|binder| binder.query(subquery))?;
                let name = alias.as_ref().map_or(String::new(), |a| names::fold(&a.name));
                locks.refuse(&name, "a subquery")?;
                let scope = of_columns(&bound.columns, &name);
                renamed((bound.rel, scope), alias.as_ref())
            }
            TableFactor::NestedJoin { table_with_joins, alias } => {
                let (rel, mut scope) = self.joins(table_with_joins, locks)?;
                if let Some(alias) = alias {
                    locks.refuse(&names::fold(&alias.name), "a join with an alias")?;
                    let name = names::fold(&alias.name);
                    scope.columns.iter_mut().for_each(|c| c.table.clone_from(&name));
                }
                renamed((rel, scope), alias.as_ref())
            }
            _ => Err(SqlError::unsupported("this kind of FROM item")),
        }
    }

    fn named(
        &mut self,
        name: &ast::ObjectName,
        alias: Option<&ast::TableAlias>,
        locks: &Locks<'_>,
    ) -> SqlResult<(Rel, Scope)> {
        let (schema, bare) = names::qualified(name)?;
        if schema.is_none()
            && let Some(at) = self.ctes.iter().rposition(|(n, ..)| *n == bare)
        {
            let shown = alias.map_or_else(|| bare.clone(), |a| names::fold(&a.name));
            locks.refuse(&shown, "a WITH query")?;
            return self.common_table(at, alias);
        }
        let found = self.find(name)?.ok_or_else(|| undefined_table(name))?;
        let shown = alias.map_or(bare, |a| names::fold(&a.name));
        if let Relation::View(view) = &found {
            let (rel, mut scope) = self.read_view(view, shown, locks)?;
            self.freeze(view.oid, &mut scope);
            return renamed((rel, scope), alias);
        }
        let is_locked = locks.of(&shown).is_some();
        let table = self.table(name, if is_locked { TableLock::RowShare } else { TableLock::AccessShare })?;
        let (rel, mut scope) = locks.table(table, shown);
        self.freeze(found.oid(), &mut scope);
        renamed((rel, scope), alias)
    }

    /// A WITH query, bound anew where it is used; it sees only the ones before it.
    fn common_table(&mut self, at: usize, alias: Option<&ast::TableAlias>) -> SqlResult<(Rel, Scope)> {
        let (name, declared, query) = self.ctes[at].clone();
        let later = self.ctes.split_off(at);
        let bound = self.nested(|binder| binder.query(&query));
        self.ctes.truncate(at);
        self.ctes.extend(later);
        let bound = bound?;
        let scope = of_columns(&bound.columns, &name);
        let (rel, mut scope) = renamed((bound.rel, scope), Some(&declared))?;
        if let Some(alias) = alias {
            let name = names::fold(&alias.name);
            scope.columns.iter_mut().for_each(|c| c.table.clone_from(&name));
        }
        renamed((rel, scope), alias)
    }

    fn table_function(
        &mut self,
        name: &ast::ObjectName,
        args: &[ast::FunctionArg],
        alias: Option<&ast::TableAlias>,
        locks: &Locks<'_>,
    ) -> SqlResult<(Rel, Scope)> {
        let (_, function) = names::qualified(name)?;
        locks.refuse(alias.map_or("", |a| &a.name.value), "a function")?;
        let mut bound = Vec::new();
        for arg in args {
            let ast::FunctionArg::Unnamed(ast::FunctionArgExpr::Expr(arg)) = arg else {
                return Err(SqlError::unsupported("a named argument in FROM"));
            };
            bound.push(self.expr(arg, &Scope::default())?);
        }
        let types: Vec<SqlType> = bound.iter().map(|t| t.ty).collect();
        if function != "generate_series" || !(2..=3).contains(&bound.len()) {
            return Err(self.undefined_function(&function, &types));
        }
        let wide = types.iter().any(|ty| ty.oid == oids::INT8);
        let ty = if wide { SqlType::INT8 } else { SqlType::INT4 };
        let mut args = bound
            .into_iter()
            .map(|arg| {
                let shown = self.undefined_function(&function, &types);
                self.coerce(arg, ty, Context::Implicit).map(|t| t.expr).map_err(|_| shown)
            })
            .collect::<SqlResult<Vec<_>>>()?
            .into_iter();
        let one = if wide { Datum::Int8(1) } else { Datum::Int4(1) };
        let (start, stop) = (args.next(), args.next());
        let (Some(start), Some(stop)) = (start, stop) else {
            return Err(self.undefined_function(&function, &types));
        };
        let step = args.next().unwrap_or(Expr::Const(one));
        let shown = alias.map_or(function, |a| names::fold(&a.name));
        let column = ScopeColumn {
            table: shown.clone(),
            // A function's one column has the alias's name.
            name: shown,
            ty,
            table_oid: 0,
            attnum: 0,
            merged: false,
        };
        let scope = Scope { columns: vec![column] };
        renamed((Rel::Series { start, stop, step, ty }, scope), alias)
    }
}

fn of_columns(columns: &[crate::sql::Column], table: &str) -> Scope {
    let columns = columns.iter().map(|c| ScopeColumn {
        table: table.to_owned(),
        name: c.name.clone(),
        ty: c.ty,
        table_oid: c.table_oid,
        attnum: c.attnum,
        merged: false,
    });
    Scope { columns: columns.collect() }
}

/// Gives the columns the names of an alias's list.
pub(super) fn renamed(
    (rel, mut scope): (Rel, Scope),
    alias: Option<&ast::TableAlias>,
) -> SqlResult<(Rel, Scope)> {
    let Some(alias) = alias else { return Ok((rel, scope)) };
    let mut live = scope.columns.iter_mut().filter(|c| !c.merged);
    for column in &alias.columns {
        let Some(target) = live.next() else {
            return Err(SqlError::new(
                sqlstate::INVALID_COLUMN_REFERENCE,
                format!("table \"{}\" has fewer columns available than specified", names::fold(&alias.name)),
            ));
        };
        target.name = names::fold(&column.name);
    }
    Ok((rel, scope))
}

fn joined(left: Scope, right: Scope) -> SqlResult<Scope> {
    let tables: HashSet<&str> = left.columns.iter().map(|c| c.table.as_str()).collect();
    if let Some(twice) =
        right.columns.iter().find(|c| !c.table.is_empty() && tables.contains(c.table.as_str()))
    {
        return Err(SqlError::new(
            sqlstate::DUPLICATE_ALIAS,
            format!("table name \"{}\" specified more than once", twice.table),
        ));
    }
    let mut columns = left.columns;
    columns.extend(right.columns);
    Ok(Scope { columns })
}

fn cross(left: (Rel, Scope), right: (Rel, Scope)) -> SqlResult<(Rel, Scope)> {
    let scope = joined(left.1, right.1)?;
    let rel = Rel::Join { kind: JoinKind::Inner, left: Box::new(left.0), right: Box::new(right.0), on: None };
    Ok((rel, scope))
}
