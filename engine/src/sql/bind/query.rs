//! Whole queries: WITH, set operations, VALUES, and the clauses at their end.

use sqlparser::ast::{self, LimitClause, OrderByKind, SetExpr, SetOperator, SetQuantifier};

use super::locking::Locks;
use super::rel::{Rel, SetOperation};
use super::select::{Output, Tail, key_order, sort_key};
use super::{Binder, BoundQuery, Scope, Typed, names};
use crate::sql::expr::cast::Context;
use crate::sql::expr::{Cast, Expr};
use crate::sql::{Column, Locking};
use crate::types::{Datum, SqlError, SqlResult, SqlType, oids, sqlstate};

impl Binder<'_> {
    /// Binds a query.
    pub(crate) fn query(&mut self, query: &ast::Query) -> SqlResult<BoundQuery> {
        let known = self.ctes.len();
        if let Some(with) = &query.with {
            if with.recursive {
                return Err(SqlError::unsupported("WITH RECURSIVE"));
            }
            for cte in &with.cte_tables {
                let name = names::fold(&cte.alias.name);
                self.ctes.push((name, cte.alias.clone(), (*cte.query).clone()));
            }
        }
        let result = self.body(query);
        self.ctes.truncate(known);
        result
    }

    fn body(&mut self, query: &ast::Query) -> SqlResult<BoundQuery> {
        let order: &[ast::OrderByExpr] = match query.order_by.as_ref().map(|o| &o.kind) {
            None => &[],
            Some(OrderByKind::Expressions(list)) => list,
            Some(OrderByKind::All(_)) => return Err(SqlError::unsupported("ORDER BY ALL")),
        };
        let (mut limit, offset) = match &query.limit_clause {
            None => (None, None),
            Some(LimitClause::LimitOffset { limit, offset, .. }) => {
                (limit.as_ref(), offset.as_ref().map(|o| &o.value))
            }
            Some(LimitClause::OffsetCommaLimit { .. }) => {
                return Err(SqlError::syntax("LIMIT #,# syntax is not supported")
                    .hint("Use separate LIMIT and OFFSET clauses."));
            }
        };
        let one = ast::Expr::value(ast::Value::Number("1".to_owned(), false));
        if let Some(fetch) = &query.fetch {
            if fetch.with_ties || fetch.percent {
                return Err(SqlError::unsupported("FETCH with WITH TIES or PERCENT"));
            }
            limit = Some(fetch.quantity.as_ref().unwrap_or(&one));
        }
        let tail = Tail { order, limit, offset, open: false };
        let clauses =
            query.locks.iter().map(crate::sql::parse::locking::read).collect::<SqlResult<Vec<_>>>()?;
        match &*query.body {
            SetExpr::Select(select) => {
                let locks = Locks::of_select(&clauses, select, !order.is_empty())?;
                self.select(select, &tail, &locks)
            }
            other => {
                if let Some(clause) = clauses.first() {
                    let what = Locking::spelled(clause.lock);
                    let with =
                        if matches!(other, SetExpr::Values(_)) { "VALUES" } else { "UNION/INTERSECT/EXCEPT" };
                    let message = format!("{what} is not allowed with {with}");
                    return Err(SqlError::new(sqlstate::FEATURE_NOT_SUPPORTED, message));
                }
                let bound = self.set(other, false)?;
                self.tail(bound, &tail)
            }
        }
    }

    /// `part`: it is a part of a set operation, so its literals are given types by the other parts.
    fn set(&mut self, body: &SetExpr, part: bool) -> SqlResult<BoundQuery> {
        match body {
            SetExpr::Select(select) => {
                let tail = Tail { order: &[], limit: None, offset: None, open: part };
                self.select(select, &tail, &Locks::none())
            }
            SetExpr::Query(query) if part && is_bare(query) => {
                self.nested(|binder| binder.set(&query.body, true))
            }
            SetExpr::Query(query) => self.nested(|binder| binder.query(query)),
            SetExpr::Values(values) => self.values(values),
            SetExpr::SetOperation { .. } => self.set_operations(body),
            SetExpr::Table(table) => {
                let name = table.table_name.clone().unwrap_or_default();
                let text = match &table.schema_name {
                    Some(schema) => format!("SELECT * FROM \"{schema}\".\"{name}\""),
                    None => format!("SELECT * FROM \"{name}\""),
                };
                match crate::sql::parse::query(&text)? {
                    ast::Statement::Query(query) => self.nested(|binder| binder.query(&query)),
                    _ => Err(SqlError::unsupported("this query")),
                }
            }
            _ => Err(SqlError::unsupported("INSERT, UPDATE or DELETE inside a query")),
        }
    }

    /// A chain of set operations is as deep on its left as it is long: it is walked, not descended.
    fn set_operations(&mut self, body: &SetExpr) -> SqlResult<BoundQuery> {
        let mut chain = Vec::new();
        let mut first = body;
        while let SetExpr::SetOperation { left, op, set_quantifier, right } = first {
            let all = match set_quantifier {
                SetQuantifier::All => true,
                SetQuantifier::None | SetQuantifier::Distinct => false,
                _ => return Err(SqlError::unsupported("set operations BY NAME")),
            };
            chain.push((op, all, &**right));
            first = left;
        }
        let mut bound = self.nested(|binder| binder.set(first, true))?;
        for (op, all, right) in chain.into_iter().rev() {
            let right = self.nested(|binder| binder.set(right, true))?;
            bound = self.set_operation(op, all, bound, right)?;
        }
        Ok(bound)
    }

    fn values(&mut self, values: &ast::Values) -> SqlResult<BoundQuery> {
        let width = values.rows.first().map_or(0, |r| r.content.len());
        let mut by_column: Vec<Vec<Typed>> = (0..width).map(|_| Vec::new()).collect();
        for row in &values.rows {
            if row.content.len() != width {
                return Err(SqlError::syntax("VALUES lists must all be the same length"));
            }
            for (n, expr) in row.content.iter().enumerate() {
                by_column[n].push(self.expr(expr, &Scope::default())?);
            }
        }
        let mut columns = Vec::with_capacity(width);
        let mut rows: Vec<Vec<Expr>> = values.rows.iter().map(|_| Vec::with_capacity(width)).collect();
        for (n, column) in by_column.into_iter().enumerate() {
            let (exprs, ty) = self.unify(column, "VALUES")?;
            columns.push(unnamed(&format!("column{}", n + 1), ty));
            for (row, expr) in rows.iter_mut().zip(exprs) {
                row.push(expr);
            }
        }
        Ok(BoundQuery { rel: Rel::Values { rows, width }, columns })
    }

    fn set_operation(
        &mut self,
        op: &SetOperator,
        all: bool,
        left: BoundQuery,
        right: BoundQuery,
    ) -> SqlResult<BoundQuery> {
        let (operation, word) = match op {
            SetOperator::Union => (SetOperation::Union, "UNION"),
            SetOperator::Intersect => (SetOperation::Intersect, "INTERSECT"),
            SetOperator::Except | SetOperator::Minus => (SetOperation::Except, "EXCEPT"),
        };
        if left.columns.len() != right.columns.len() {
            return Err(SqlError::syntax(format!("each {word} query must have the same number of columns")));
        }
        let mut types = Vec::new();
        for (a, b) in left.columns.iter().zip(&right.columns) {
            let ty = crate::sql::expr::functions::common_type(&[a.ty, b.ty]).ok_or_else(|| {
                SqlError::new(
                    sqlstate::DATATYPE_MISMATCH,
                    format!("{word} types {} and {} cannot be matched", self.shown(a.ty), self.shown(b.ty)),
                )
            })?;
            types.push(ty);
        }
        let columns = left.columns.iter().zip(&types).map(|(c, ty)| unnamed(&c.name, *ty)).collect();
        let (left, right) = (self.settled(left, &types)?, self.settled(right, &types)?);
        let (left, right) = (converted(left, &types), converted(right, &types));
        let rel = match operation {
            SetOperation::Union if all => append(left, right),
            SetOperation::Union => Rel::Distinct(Box::new(append(undistinct(left, &types), right)), types),
            _ => Rel::SetOp { operation, all, left: Box::new(left), right: Box::new(right), types },
        };
        Ok(BoundQuery { rel, columns })
    }

    /// The query with types for those of its literals and parameters that have none.
    fn settled(&mut self, mut query: BoundQuery, types: &[SqlType]) -> SqlResult<BoundQuery> {
        let Rel::Project(_, exprs) = &mut query.rel else { return Ok(query) };
        for ((column, expr), ty) in query.columns.iter_mut().zip(exprs).zip(types) {
            if column.ty.oid == oids::UNKNOWN {
                let literal =
                    Typed { expr: std::mem::replace(expr, Expr::Const(Datum::Null)), ty: column.ty };
                *expr = self.coerce(literal, *ty, Context::Implicit)?.expr;
                column.ty = *ty;
            }
        }
        Ok(query)
    }

    /// ORDER BY and LIMIT of a set operation or VALUES: over its columns only.
    fn tail(&mut self, bound: BoundQuery, tail: &Tail<'_>) -> SqlResult<BoundQuery> {
        let outputs: Vec<Output> = bound
            .columns
            .iter()
            .enumerate()
            .map(|(n, c)| Output { typed: Typed { expr: Expr::Column(n), ty: c.ty }, name: c.name.clone() })
            .collect();
        let mut keys = Vec::new();
        for item in tail.order {
            let n = self.output_reference(&item.expr, &outputs, "ORDER BY")?.ok_or_else(|| {
                SqlError::unsupported("ORDER BY an expression on the result of a set operation or VALUES")
            })?;
            keys.push(sort_key(n, outputs[n].typed.ty, key_order(&item.options)?));
        }
        let mut rel = bound.rel;
        if !keys.is_empty() {
            rel = Rel::Sort(Box::new(rel), keys);
        }
        let rel = self.limit(rel, tail)?;
        Ok(BoundQuery { rel, columns: bound.columns })
    }
}

/// True for a query that is no more than its body, in parentheses.
fn is_bare(query: &ast::Query) -> bool {
    let ast::Query { with, order_by, limit_clause, fetch, locks, .. } = query;
    with.is_none() && order_by.is_none() && limit_clause.is_none() && fetch.is_none() && locks.is_empty()
}

pub(super) fn unnamed(name: &str, ty: SqlType) -> Column {
    Column { name: name.to_owned(), ty, table_oid: 0, attnum: 0 }
}

/// One list of all that is appended.
fn append(left: Rel, right: Rel) -> Rel {
    match left {
        Rel::Append(mut inputs) => {
            inputs.push(right);
            Rel::Append(inputs)
        }
        left => Rel::Append(vec![left, right]),
    }
}

/// Duplicates that are removed later need not be removed now.
fn undistinct(rel: Rel, types: &[SqlType]) -> Rel {
    match rel {
        Rel::Distinct(input, of) if of == types => *input,
        other => other,
    }
}

/// The query with its columns converted.
fn converted(query: BoundQuery, types: &[SqlType]) -> Rel {
    if query.columns.iter().zip(types).all(|(c, ty)| c.ty.oid == ty.oid) {
        return query.rel;
    }
    let exprs = query
        .columns
        .iter()
        .zip(types)
        .enumerate()
        .map(|(n, (c, ty))| {
            if c.ty.oid == ty.oid {
                return Expr::Column(n);
            }
            Expr::Cast(Box::new(Cast {
                expr: Expr::Column(n),
                from: c.ty,
                to: *ty,
                explicit: false,
                of: None,
            }))
        })
        .collect();
    Rel::Project(Box::new(query.rel), exprs)
}
