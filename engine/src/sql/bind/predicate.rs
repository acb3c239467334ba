//! Predicates with a syntax of their own: IS, IN, BETWEEN, LIKE, and regular expressions.

use sqlparser::ast;

use super::{Binder, Scope, SubqueryKind, Typed};
use crate::sql::expr::cast::Context;
use crate::sql::expr::{Comparison, Expr, Function, like, matches};
use crate::types::{Datum, SqlError, SqlResult, SqlType, oids};

impl Binder<'_> {
    pub(super) fn is_null(&mut self, inner: &ast::Expr, not: bool, scope: &Scope) -> SqlResult<Typed> {
        let typed = self.expr(inner, scope)?;
        let typed = self.known(typed)?;
        Ok(Typed { expr: Expr::IsNull(not, Box::new(typed.expr)), ty: SqlType::BOOL })
    }

    pub(super) fn is_bool(
        &mut self,
        inner: &ast::Expr,
        wanted: bool,
        not: bool,
        scope: &Scope,
    ) -> SqlResult<Typed> {
        let typed = self.expr(inner, scope)?;
        let expr = self.condition(typed, if wanted { "IS TRUE" } else { "IS FALSE" })?;
        Ok(Typed { expr: Expr::IsBool(wanted, not, Box::new(expr)), ty: SqlType::BOOL })
    }

    pub(super) fn distinct(
        &mut self,
        a: &ast::Expr,
        b: &ast::Expr,
        not: bool,
        scope: &Scope,
    ) -> SqlResult<Typed> {
        let (a, b) = (self.expr(a, scope)?, self.expr(b, scope)?);
        let (a, b, ty) = self.comparable("IS DISTINCT FROM", a, b)?;
        Ok(Typed { expr: Expr::Distinct(not, ty, Box::new((a, b))), ty: SqlType::BOOL })
    }

    pub(super) fn in_list(
        &mut self,
        needle: &ast::Expr,
        list: &[ast::Expr],
        not: bool,
        scope: &Scope,
    ) -> SqlResult<Typed> {
        let mut needle = self.expr(needle, scope)?;
        let mut items = list.iter().map(|item| self.expr(item, scope)).collect::<SqlResult<Vec<_>>>()?;
        // A literal needle takes the type of the list.
        if needle.ty.oid == oids::UNKNOWN
            && let Some(known) = items.iter().find(|i| i.ty.oid != oids::UNKNOWN).map(|i| i.ty)
        {
            needle = self.coerce(needle, known, Context::Implicit)?;
        }
        let mut bound = Vec::with_capacity(items.len());
        let mut compare_as: Option<(Expr, SqlType)> = None;
        let simple = items.iter().all(|item| {
            item.ty.oid == oids::UNKNOWN
                || item.ty.oid == needle.ty.oid
                || (super::operator::is_integer(item.ty) && super::operator::is_integer(needle.ty))
        });
        if !simple {
            // Different types: as so many comparisons.
            let parts = items
                .drain(..)
                .map(|item| self.compare(Comparison::Eq, needle.clone(), item).map(|t| t.expr))
                .collect::<SqlResult<Vec<_>>>()?;
            let any = Expr::Or(parts);
            let expr = if not { Expr::Not(Box::new(any)) } else { any };
            return Ok(Typed { expr, ty: SqlType::BOOL });
        }
        for item in items {
            let (a, b, ty) = self.comparable("=", needle.clone(), item)?;
            bound.push(b);
            let wider = compare_as.as_ref().is_none_or(|(_, old)| old.len() < ty.len());
            if wider {
                compare_as = Some((a, ty));
            }
        }
        let (needle, ty) = compare_as.ok_or_else(|| SqlError::syntax("syntax error at or near \")\""))?;
        Ok(Typed { expr: Expr::In(Box::new(needle), bound, ty, not), ty: SqlType::BOOL })
    }

    pub(super) fn in_subquery(
        &mut self,
        needle: &ast::Expr,
        query: &ast::Query,
        not: bool,
        scope: &Scope,
    ) -> SqlResult<Typed> {
        let needle = self.expr(needle, scope)?;
        let (n, ty) = self.subquery(query, SubqueryKind::List)?;
        let row = Typed { expr: Expr::Subquery(n), ty };
        let (needle, other, ty) = self.comparable("=", needle, row)?;
        if !matches!(other, Expr::Subquery(_)) {
            return Err(SqlError::unsupported(
                "IN (subquery) with a value of another type: cast one of them",
            ));
        }
        Ok(Typed { expr: Expr::InSubquery(Box::new(needle), n, ty, not), ty: SqlType::BOOL })
    }

    pub(super) fn between(
        &mut self,
        e: &ast::Expr,
        low: &ast::Expr,
        high: &ast::Expr,
        not: bool,
        scope: &Scope,
    ) -> SqlResult<Typed> {
        let value = self.expr(e, scope)?;
        let (low, high) = (self.expr(low, scope)?, self.expr(high, scope)?);
        let (above, below) =
            if not { (Comparison::Lt, Comparison::Gt) } else { (Comparison::Ge, Comparison::Le) };
        let parts =
            vec![self.compare(above, value.clone(), low)?.expr, self.compare(below, value, high)?.expr];
        let expr = if not { Expr::Or(parts) } else { Expr::And(parts) };
        Ok(Typed { expr, ty: SqlType::BOOL })
    }

    pub(super) fn like(
        &mut self,
        text: &ast::Expr,
        pattern: &ast::Expr,
        escape: Option<&ast::Expr>,
        not: bool,
        ignore_case: bool,
        scope: &Scope,
    ) -> SqlResult<Typed> {
        let (text, pattern) = (self.expr(text, scope)?, self.expr(pattern, scope)?);
        let escape = escape.map(|e| self.expr(e, scope)).transpose()?;
        self.like_call(text, pattern, escape, not, ignore_case)
    }

    pub(super) fn like_call(
        &mut self,
        text: Typed,
        pattern: Typed,
        escape: Option<Typed>,
        not: bool,
        ignore_case: bool,
    ) -> SqlResult<Typed> {
        self.pattern_call(if ignore_case { &ILIKE } else { &LIKE }, (text, pattern, escape), not)
    }

    pub(super) fn regex_call(
        &mut self,
        text: Typed,
        pattern: Typed,
        not: bool,
        ignore_case: bool,
    ) -> SqlResult<Typed> {
        self.pattern_call(if ignore_case { &MATCH_ANY_CASE } else { &MATCH }, (text, pattern, None), not)
    }

    fn pattern_call(
        &mut self,
        operator: &'static Function,
        (text, pattern, escape): (Typed, Typed, Option<Typed>),
        not: bool,
    ) -> SqlResult<Typed> {
        if text.ty.is_enum() {
            let symbol = format!("{}{}", if not { "!" } else { "" }, operator.name);
            return Err(self.no_operator(&symbol, text.ty, pattern.ty));
        }
        // char(n) keeps its padding here, as PostgreSQL's bpcharlike does.
        let text = if text.ty.oid == oids::BPCHAR {
            text
        } else {
            self.coerce(text, SqlType::TEXT, Context::Implicit)?
        };
        let mut args = vec![text.expr];
        for arg in [Some(pattern), escape].into_iter().flatten() {
            args.push(self.coerce(arg, SqlType::TEXT, Context::Implicit)?.expr);
        }
        let call = Expr::Call(operator, args);
        let expr = if not { Expr::Not(Box::new(call)) } else { call };
        Ok(Typed { expr, ty: SqlType::BOOL })
    }
}

/// The query of `(SELECT ...)`.
pub(super) fn subquery_of(expr: &ast::Expr) -> Option<&ast::Query> {
    match expr {
        ast::Expr::Subquery(query) => Some(query),
        ast::Expr::Nested(inner) => subquery_of(inner),
        _ => None,
    }
}

fn run_like(a: &[Datum], ignore_case: bool) -> SqlResult<Datum> {
    let text = |n: usize| a.get(n).and_then(Datum::as_str).unwrap_or_default();
    let escape = match a.get(2) {
        None => Some('\\'),
        Some(_) => {
            let mut chars = text(2).chars();
            let first = chars.next();
            if chars.next().is_some() {
                let message = "invalid escape string";
                return Err(
                    SqlError::new("22019", message).hint("Escape string must be empty or one character.")
                );
            }
            first
        }
    };
    like(text(0), text(1), escape, ignore_case).map(Datum::Bool)
}

fn run_matches(a: &[Datum], ignore_case: bool) -> SqlResult<Datum> {
    let text = |n: usize| a.get(n).and_then(Datum::as_str).unwrap_or_default();
    matches(text(0), text(1), ignore_case).map(Datum::Bool)
}

static LIKE: Function = Function { name: "~~", strict: true, run: |_, a| run_like(a, false) };
static ILIKE: Function = Function { name: "~~*", strict: true, run: |_, a| run_like(a, true) };
static MATCH: Function = Function { name: "~", strict: true, run: |_, a| run_matches(a, false) };
static MATCH_ANY_CASE: Function = Function { name: "~*", strict: true, run: |_, a| run_matches(a, true) };
