//! Aggregates and GROUP BY: calls are collected while the select list is bound over the input's columns; then every
//! expression is rewritten over the aggregation's output, which is the group keys followed by the aggregates.

use sqlparser::ast;

use super::call::{aggregate_arguments, is_unknown};
use super::{Binder, Scope, Typed};
use crate::sql::expr::Expr;
use crate::sql::expr::cast::Context;
use crate::types::{SqlError, SqlResult, SqlType, oids, sqlstate};

/// The aggregates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum AggregateKind {
    Count,
    Sum,
    Avg,
    Min,
    Max,
    BoolAnd,
    BoolOr,
    StringAgg,
}

impl AggregateKind {
    pub(super) fn named(name: &str) -> Option<AggregateKind> {
        Some(match name {
            "count" => AggregateKind::Count,
            "sum" => AggregateKind::Sum,
            "avg" => AggregateKind::Avg,
            "min" => AggregateKind::Min,
            "max" => AggregateKind::Max,
            "bool_and" | "every" => AggregateKind::BoolAnd,
            "bool_or" => AggregateKind::BoolOr,
            "string_agg" => AggregateKind::StringAgg,
            _ => return None,
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            AggregateKind::Count => "count",
            AggregateKind::Sum => "sum",
            AggregateKind::Avg => "avg",
            AggregateKind::Min => "min",
            AggregateKind::Max => "max",
            AggregateKind::BoolAnd => "bool_and",
            AggregateKind::BoolOr => "bool_or",
            AggregateKind::StringAgg => "string_agg",
        }
    }

    /// The type that the argument is taken as, and the type of the result.
    fn types(self, arg: SqlType) -> Option<(SqlType, SqlType)> {
        use AggregateKind as K;
        let plain = SqlType { typmod: -1, ..arg };
        let same = Some((plain, plain));
        match self {
            K::Count => Some((arg, SqlType::INT8)),
            K::Sum => match arg.oid {
                oids::INT2 | oids::INT4 => Some((plain, SqlType::INT8)),
                oids::INT8 => Some((plain, SqlType::NUMERIC)),
                oids::NUMERIC | oids::FLOAT4 | oids::FLOAT8 => same,
                _ => None,
            },
            K::Avg => match arg.oid {
                oids::INT2 | oids::INT4 | oids::INT8 | oids::NUMERIC => Some((plain, SqlType::NUMERIC)),
                oids::FLOAT4 | oids::FLOAT8 => Some((SqlType::FLOAT8, SqlType::FLOAT8)),
                _ => None,
            },
            K::Min | K::Max => match arg.oid {
                oids::VARCHAR | oids::NAME => Some((SqlType::TEXT, SqlType::TEXT)),
                oids::BOOL | oids::BYTEA | oids::INT2VECTOR => None,
                _ => same,
            },
            K::BoolAnd | K::BoolOr => (arg.oid == oids::BOOL).then_some((plain, plain)),
            K::StringAgg => arg.is_string().then_some((SqlType::TEXT, SqlType::TEXT)),
        }
    }
}

/// A call of an aggregate.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct AggregateCall {
    pub(crate) kind: AggregateKind,
    /// `None` for count(*).
    pub(crate) arg: Option<Expr>,
    /// The argument's type.
    pub(crate) ty: SqlType,
    /// string_agg's separator.
    pub(crate) separator: Option<Expr>,
    pub(crate) distinct: bool,
    pub(crate) filter: Option<Expr>,
    pub(crate) result: SqlType,
}

impl Binder<'_> {
    pub(super) fn aggregate(
        &mut self,
        kind: AggregateKind,
        function: &ast::Function,
        scope: &Scope,
    ) -> SqlResult<Typed> {
        // None inside another aggregate, too.
        let Some(mut calls) = self.aggregates.take() else {
            return Err(SqlError::new(sqlstate::GROUPING_ERROR, self.no_aggregate));
        };
        let outer = std::mem::replace(&mut self.no_aggregate, "aggregate function calls cannot be nested");
        let call = self.aggregate_call(kind, function, scope);
        self.no_aggregate = outer;
        let typed = call.map(|call| {
            let n = calls.iter().position(|c| *c == call).unwrap_or_else(|| {
                calls.push(call.clone());
                calls.len() - 1
            });
            Typed { expr: Expr::Aggregate(n), ty: call.result }
        });
        self.aggregates = Some(calls);
        typed
    }

    fn aggregate_call(
        &mut self,
        kind: AggregateKind,
        function: &ast::Function,
        scope: &Scope,
    ) -> SqlResult<AggregateCall> {
        let (args, distinct) = aggregate_arguments(function)?;
        let filter = match &function.filter {
            None => None,
            Some(filter) => {
                let typed = self.expr(filter, scope)?;
                Some(self.condition(typed, "FILTER")?)
            }
        };
        let wanted = if kind == AggregateKind::StringAgg { 2 } else { 1 };
        if let [None] = args[..]
            && kind == AggregateKind::Count
        {
            return Ok(AggregateCall {
                kind,
                arg: None,
                ty: SqlType::BOOL,
                separator: None,
                distinct: false,
                filter,
                result: SqlType::INT8,
            });
        }
        let mut bound = Vec::new();
        for arg in args {
            let arg = arg.ok_or_else(|| self.undefined_function(kind.name(), &[]))?;
            bound.push(self.expr(arg, scope)?);
        }
        let types: Vec<SqlType> = bound.iter().map(|t| t.ty).collect();
        if bound.len() != wanted {
            return Err(self.undefined_function(kind.name(), &types));
        }
        let separator = match bound.pop().filter(|_| wanted == 2) {
            Some(separator) => Some(self.coerce(separator, SqlType::TEXT, Context::Implicit)?.expr),
            None => None,
        };
        let arg = match bound.pop() {
            Some(arg) => arg,
            None => self.expr(plain(function)?, scope)?,
        };
        let arg = if is_unknown(arg.ty) {
            let as_type = if matches!(kind, AggregateKind::Sum | AggregateKind::Avg) {
                SqlType::FLOAT8
            } else {
                SqlType::TEXT
            };
            self.coerce(arg, as_type, Context::Implicit)?
        } else {
            arg
        };
        let (taken, result) =
            kind.types(arg.ty).ok_or_else(|| self.undefined_function(kind.name(), &types))?;
        let arg = self.coerce(arg, taken, Context::Implicit)?;
        Ok(AggregateCall { kind, arg: Some(arg.expr), ty: taken, separator, distinct, filter, result })
    }
}

fn plain(function: &ast::Function) -> SqlResult<&ast::Expr> {
    let args = aggregate_arguments(function)?.0;
    args.into_iter().flatten().next().ok_or_else(|| SqlError::syntax("an aggregate without an argument"))
}

/// Rewrites an expression over the input into one over the aggregation's output. 42803 for a column that is neither
/// grouped nor aggregated.
pub(super) fn regroup(expr: &mut Expr, keys: &[(Expr, SqlType)], scope: &Scope) -> SqlResult<()> {
    if let Some(n) = keys.iter().position(|(key, _)| key == expr) {
        *expr = Expr::Column(n);
        return Ok(());
    }
    match expr {
        Expr::Aggregate(n) => {
            *expr = Expr::Column(keys.len() + *n);
            Ok(())
        }
        Expr::Column(n) => {
            let column = &scope.columns[*n];
            Err(SqlError::new(
                sqlstate::GROUPING_ERROR,
                format!(
                    "column \"{}.{}\" must appear in the GROUP BY clause or be used in an aggregate function",
                    column.table, column.name
                ),
            ))
        }
        _ => {
            let mut result = Ok(());
            expr.each_part_mut(&mut |part| {
                if result.is_ok() {
                    result = regroup(part, keys, scope);
                }
            });
            result
        }
    }
}
