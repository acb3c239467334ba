//! Expressions.

use sqlparser::ast::{self, BinaryOperator, UnaryOperator, Value};

use super::predicate::subquery_of;
use super::{Binder, Scope, SubqueryKind, Typed, names};
use crate::sql::expr::cast::Context;
use crate::sql::expr::{Comparison, Expr, arith};
use crate::types::{Datum, Numeric, SqlError, SqlResult, SqlType, oids, sqlstate};

/// As many parameters as the protocol can carry.
const PARAMETERS_MAX: usize = 65_535;

impl Binder<'_> {
    /// Binds an expression over the columns of `scope`.
    pub(super) fn expr(&mut self, expr: &ast::Expr, scope: &Scope) -> SqlResult<Typed> {
        use ast::Expr as A;
        match expr {
            A::Nested(inner) => self.expr(inner, scope),
            A::Identifier(ident) => self.identifier(ident, scope),
            A::CompoundIdentifier(parts) => self.compound(parts, scope),
            A::Value(value) => self.value(&value.value),
            A::BinaryOp { left, op, right } => self.binary(left, op, right, scope),
            A::UnaryOp { op, expr } => self.unary(*op, expr, scope),
            A::IsNull(e) => self.is_null(e, false, scope),
            A::IsNotNull(e) => self.is_null(e, true, scope),
            A::IsTrue(e) => self.is_bool(e, true, false, scope),
            A::IsNotTrue(e) => self.is_bool(e, true, true, scope),
            A::IsFalse(e) => self.is_bool(e, false, false, scope),
            A::IsNotFalse(e) => self.is_bool(e, false, true, scope),
            A::IsUnknown(e) => self.is_null(e, false, scope),
            A::IsNotUnknown(e) => self.is_null(e, true, scope),
            A::IsDistinctFrom(a, b) => self.distinct(a, b, false, scope),
            A::IsNotDistinctFrom(a, b) => self.distinct(a, b, true, scope),
            A::InList { expr, list, negated } => self.in_list(expr, list, *negated, scope),
            A::InSubquery { expr, subquery, negated } => self.in_subquery(expr, subquery, *negated, scope),
            A::AnyOp { left, compare_op: BinaryOperator::Eq, right, .. } => match subquery_of(right) {
                Some(query) => self.in_subquery(left, query, false, scope),
                None => Err(SqlError::unsupported("ANY (array)")),
            },
            A::AllOp { left, compare_op: BinaryOperator::NotEq, right } => match subquery_of(right) {
                Some(query) => self.in_subquery(left, query, true, scope),
                None => Err(SqlError::unsupported("ALL (array)")),
            },
            A::Between { expr, negated, low, high } => self.between(expr, low, high, *negated, scope),
            A::Like { negated, expr, pattern, escape_char, any: false } => {
                self.like(expr, pattern, escape_char.as_deref(), *negated, false, scope)
            }
            A::ILike { negated, expr, pattern, escape_char, any: false } => {
                self.like(expr, pattern, escape_char.as_deref(), *negated, true, scope)
            }
            A::Cast {
                kind: ast::CastKind::Cast | ast::CastKind::DoubleColon,
                expr,
                data_type,
                format: None,
            } => {
                let of = self.type_named(data_type)?;
                let typed = self.expr(expr, scope)?;
                let typed = self.coerce(typed, of.ty, Context::Explicit)?;
                let typed = self.fold(typed);
                self.value_of_declared(typed, of.user.as_deref())
            }
            A::TypedString(literal) => {
                let of = self.type_named(&literal.data_type)?;
                let typed = self.value(&literal.value.value)?;
                let typed = self.coerce(typed, of.ty, Context::Explicit)?;
                self.value_of_declared(typed, of.user.as_deref())
            }
            A::Case { operand, conditions, else_result, .. } => {
                self.case(operand.as_deref(), conditions, else_result.as_deref(), scope)
            }
            A::Function(function) => self.function(function, scope),
            A::Exists { subquery, negated } => {
                let (n, _) = self.subquery(subquery, SubqueryKind::Exists)?;
                let exists = Expr::Subquery(n);
                let expr = if *negated { Expr::Not(Box::new(exists)) } else { exists };
                Ok(Typed { expr, ty: SqlType::BOOL })
            }
            A::Subquery(query) => {
                let (n, ty) = self.subquery(query, SubqueryKind::Scalar)?;
                Ok(Typed { expr: Expr::Subquery(n), ty })
            }
            A::Collate { expr, collation } => self.collate(expr, collation, scope),
            other => self.special_form(other, scope),
        }
    }

    fn identifier(&mut self, ident: &ast::Ident, scope: &Scope) -> SqlResult<Typed> {
        let name = names::fold(ident);
        match scope.find(None, &name) {
            Ok(n) => {
                self.note_column(&scope.columns[n]);
                Ok(scope.typed(n))
            }
            Err(error) if ident.quote_style.is_none() => match keyword_function(&name) {
                Some(function) => self.call(function, Vec::new()),
                None => Err(error),
            },
            Err(error) => Err(error),
        }
    }

    fn compound(&mut self, parts: &[ast::Ident], scope: &Scope) -> SqlResult<Typed> {
        let parts: Vec<String> = parts.iter().map(names::fold).collect();
        // schema.table.column names a table of the scope by its table alone.
        let (table, column) = match &parts[..] {
            [table, column] | [_, table, column] => (table, column),
            _ => return Err(SqlError::syntax(format!("improper qualified name: {}", parts.join(".")))),
        };
        let n = scope.find(Some(table), column)?;
        self.note_column(&scope.columns[n]);
        Ok(scope.typed(n))
    }

    /// A literal or a parameter.
    pub(super) fn value(&mut self, value: &Value) -> SqlResult<Typed> {
        let string = |s: &str| Typed { expr: Expr::Const(Datum::text(s)), ty: SqlType::UNKNOWN };
        Ok(match value {
            Value::Number(text, _) => number(text)?,
            Value::SingleQuotedString(s)
            | Value::EscapedStringLiteral(s)
            | Value::UnicodeStringLiteral(s)
            | Value::NationalStringLiteral(s) => string(s),
            Value::DollarQuotedString(s) => string(&s.value),
            Value::Boolean(b) => Typed { expr: Expr::Const(Datum::Bool(*b)), ty: SqlType::BOOL },
            Value::Null => Typed { expr: Expr::Const(Datum::Null), ty: SqlType::UNKNOWN },
            Value::Placeholder(name) => self.parameter(name)?,
            other => return Err(SqlError::unsupported(format!("the literal {other}"))),
        })
    }

    fn parameter(&mut self, name: &str) -> SqlResult<Typed> {
        let number = name.strip_prefix('$').and_then(|n| n.parse::<usize>().ok());
        let n = number.filter(|n| (1..=PARAMETERS_MAX).contains(n)).ok_or_else(|| {
            SqlError::new(sqlstate::UNDEFINED_PARAMETER, format!("there is no parameter {name}"))
        })?;
        if self.params.len() < n {
            self.params.resize(n, None);
        }
        let ty = self.params[n - 1].unwrap_or(SqlType::UNKNOWN);
        let of = self.declared.get(n - 1).cloned().flatten();
        self.value_of_declared(Typed { expr: Expr::Param(n - 1), ty }, of.as_deref())
    }

    fn binary(
        &mut self,
        left: &ast::Expr,
        op: &BinaryOperator,
        right: &ast::Expr,
        scope: &Scope,
    ) -> SqlResult<Typed> {
        use BinaryOperator as B;
        // The left side of a chain is as deep as the chain is long: it is walked, not descended.
        let mut chain = vec![(op, right)];
        let mut first = left;
        while let ast::Expr::BinaryOp { left, op, right } = first {
            chain.push((op, &**right));
            first = left;
        }
        let mut typed = self.expr(first, scope)?;
        let mut parts: Option<(bool, Vec<Expr>)> = None;
        for (op, right) in chain.into_iter().rev() {
            let is_and = match op {
                B::And => true,
                B::Or => false,
                _ => {
                    let left = close(typed, parts.take());
                    let right = self.expr(right, scope)?;
                    typed = self.binary_op(op, left, right)?;
                    continue;
                }
            };
            let clause = if is_and { "AND" } else { "OR" };
            let mut same = match parts.take() {
                Some((kind, same)) if kind == is_and => same,
                other => vec![self.condition(close(typed, other), clause)?],
            };
            let right = self.expr(right, scope)?;
            match self.condition(right, clause)? {
                // Chains become flat.
                Expr::And(inner) if is_and => same.extend(inner),
                Expr::Or(inner) if !is_and => same.extend(inner),
                other => same.push(other),
            }
            typed = constant(Datum::Null, SqlType::BOOL);
            parts = Some((is_and, same));
        }
        Ok(close(typed, parts))
    }

    fn binary_op(&mut self, op: &BinaryOperator, a: Typed, b: Typed) -> SqlResult<Typed> {
        use BinaryOperator as B;
        let comparison = match op {
            B::Eq => Some(Comparison::Eq),
            B::NotEq => Some(Comparison::Ne),
            B::Lt => Some(Comparison::Lt),
            B::LtEq => Some(Comparison::Le),
            B::Gt => Some(Comparison::Gt),
            B::GtEq => Some(Comparison::Ge),
            _ => None,
        };
        if let Some(op) = comparison {
            return self.compare(op, a, b);
        }
        match op {
            B::Plus => self.arithmetic("+", a, b),
            B::Minus => self.arithmetic("-", a, b),
            B::Multiply => self.arithmetic("*", a, b),
            B::Divide => self.arithmetic("/", a, b),
            B::Modulo => self.arithmetic("%", a, b),
            B::BitwiseAnd => self.arithmetic("&", a, b),
            B::BitwiseOr => self.arithmetic("|", a, b),
            B::PGBitwiseXor => self.arithmetic("#", a, b),
            B::StringConcat => self.arithmetic("||", a, b),
            B::PGExp => self.call("power", vec![a, b]),
            B::PGCustomBinaryOperator(name) => self.binary_op(&named(name)?, a, b),
            B::PGRegexMatch => self.regex_call(a, b, false, false),
            B::PGRegexNotMatch => self.regex_call(a, b, true, false),
            B::PGRegexIMatch => self.regex_call(a, b, false, true),
            B::PGRegexNotIMatch => self.regex_call(a, b, true, true),
            B::PGLikeMatch => self.like_call(a, b, None, false, false),
            B::PGNotLikeMatch => self.like_call(a, b, None, true, false),
            B::PGILikeMatch => self.like_call(a, b, None, false, true),
            B::PGNotILikeMatch => self.like_call(a, b, None, true, true),
            other => Err(SqlError::unsupported(format!("operator {other}"))),
        }
    }

    fn unary(&mut self, op: UnaryOperator, inner: &ast::Expr, scope: &Scope) -> SqlResult<Typed> {
        if op == UnaryOperator::Minus
            && let Some(text) = signed_number(inner)
        {
            // The sign belongs to the literal: -2147483648 is an integer although 2147483648 is not.
            return number(&negated(text));
        }
        let typed = self.expr(inner, scope)?;
        match op {
            UnaryOperator::Not => {
                let expr = self.condition(typed, "NOT")?;
                Ok(Typed { expr: Expr::Not(Box::new(expr)), ty: SqlType::BOOL })
            }
            UnaryOperator::Minus | UnaryOperator::Plus => {
                if typed.ty.oid == oids::UNKNOWN {
                    let message = format!("operator is not unique: {op} unknown");
                    return Err(SqlError::new(sqlstate::AMBIGUOUS_FUNCTION, message).hint(
                        "Could not choose a best candidate operator. You might need to add explicit type casts.",
                    ));
                }
                if crate::sql::expr::cast::number_rank(typed.ty.oid).is_none() {
                    let message = format!("operator does not exist: {op} {}", self.shown(typed.ty));
                    return Err(SqlError::new(sqlstate::UNDEFINED_FUNCTION, message));
                }
                if op == UnaryOperator::Plus {
                    return Ok(typed);
                }
                let ty = typed.ty;
                Ok(self.fold(Typed { expr: Expr::Unary(&arith::NEG, Box::new(typed.expr)), ty }))
            }
            UnaryOperator::PGAbs => self.call("abs", vec![typed]),
            UnaryOperator::PGSquareRoot => self.call("sqrt", vec![typed]),
            other => Err(SqlError::unsupported(format!("operator {other}"))),
        }
    }

    fn case(
        &mut self,
        operand: Option<&ast::Expr>,
        conditions: &[ast::CaseWhen],
        otherwise: Option<&ast::Expr>,
        scope: &Scope,
    ) -> SqlResult<Typed> {
        let operand = operand.map(|e| self.expr(e, scope)).transpose()?;
        let mut whens = Vec::with_capacity(conditions.len());
        let mut results = Vec::with_capacity(conditions.len() + 1);
        for case in conditions {
            let when = self.expr(&case.condition, scope)?;
            whens.push(match &operand {
                Some(operand) => self.compare(Comparison::Eq, operand.clone(), when)?.expr,
                None => self.condition(when, "CASE/WHEN")?,
            });
            results.push(self.expr(&case.result, scope)?);
        }
        let otherwise = match otherwise {
            Some(e) => self.expr(e, scope)?,
            None => constant(Datum::Null, SqlType::UNKNOWN),
        };
        // ELSE counts first for the type, as in PostgreSQL.
        results.insert(0, otherwise);
        let (mut results, ty) = self.unify(results, "CASE")?;
        let otherwise = results.remove(0);
        let whens = whens.into_iter().zip(results).collect();
        Ok(Typed { expr: Expr::Case(whens, Box::new(otherwise)), ty })
    }

    fn collate(&mut self, inner: &ast::Expr, collation: &ast::ObjectName, scope: &Scope) -> SqlResult<Typed> {
        let (_, name) = names::qualified(collation)?;
        if !matches!(name.as_str(), "C" | "POSIX" | "default" | "ucs_basic") {
            let message = format!("collation \"{name}\" for encoding \"UTF8\" does not exist");
            return Err(SqlError::new(sqlstate::UNDEFINED_OBJECT, message));
        }
        self.expr(inner, scope)
    }

    /// An expression without columns that must be constant now, as in LIMIT's or DDL's places.
    pub(crate) fn constant(&mut self, expr: &ast::Expr, ty: SqlType) -> SqlResult<Datum> {
        let typed = self.expr(expr, &Scope::default())?;
        let typed = self.coerce(typed, ty, Context::Assignment)?;
        let cx = self.eval_cx();
        typed.expr.eval(&[], &cx).map(std::borrow::Cow::into_owned)
    }
}

/// The operator that OPERATOR(pg_catalog.~) and the like mean.
fn named(name: &[String]) -> SqlResult<BinaryOperator> {
    use BinaryOperator as B;
    let of_system = match name {
        [symbol] => Some(symbol),
        [schema, symbol] if schema == "pg_catalog" => Some(symbol),
        _ => None,
    };
    Ok(match of_system.map_or("", String::as_str) {
        "=" => B::Eq,
        "<>" => B::NotEq,
        "<" => B::Lt,
        "<=" => B::LtEq,
        ">" => B::Gt,
        ">=" => B::GtEq,
        "+" => B::Plus,
        "-" => B::Minus,
        "*" => B::Multiply,
        "/" => B::Divide,
        "%" => B::Modulo,
        "||" => B::StringConcat,
        "~" => B::PGRegexMatch,
        "!~" => B::PGRegexNotMatch,
        "~*" => B::PGRegexIMatch,
        "!~*" => B::PGRegexNotIMatch,
        "~~" => B::PGLikeMatch,
        "!~~" => B::PGNotLikeMatch,
        "~~*" => B::PGILikeMatch,
        "!~~*" => B::PGNotILikeMatch,
        _ => return Err(SqlError::unsupported(format!("OPERATOR({})", name.join(".")))),
    })
}

/// Ends a run of ANDs or ORs; without one it is the value so far.
fn close(typed: Typed, parts: Option<(bool, Vec<Expr>)>) -> Typed {
    let expr = match parts {
        None => return typed,
        Some((true, parts)) => Expr::And(parts),
        Some((false, parts)) => Expr::Or(parts),
    };
    Typed { expr, ty: SqlType::BOOL }
}

pub(super) fn constant(datum: Datum, ty: SqlType) -> Typed {
    Typed { expr: Expr::Const(datum), ty }
}

/// The text of a number, perhaps with signs and parentheses around it.
fn signed_number(expr: &ast::Expr) -> Option<String> {
    match expr {
        ast::Expr::Value(value) => match &value.value {
            Value::Number(text, _) => Some(text.clone()),
            _ => None,
        },
        ast::Expr::Nested(inner) => signed_number(inner),
        ast::Expr::UnaryOp { op: UnaryOperator::Minus, expr } => signed_number(expr).map(negated),
        _ => None,
    }
}

fn negated(text: String) -> String {
    match text.strip_prefix('-') {
        Some(rest) => rest.to_owned(),
        None => format!("-{text}"),
    }
}

fn number(text: &str) -> SqlResult<Typed> {
    if let Ok(n) = text.parse::<i32>() {
        return Ok(constant(Datum::Int4(n), SqlType::INT4));
    }
    if let Ok(n) = text.parse::<i64>() {
        return Ok(constant(Datum::Int8(n), SqlType::INT8));
    }
    let n = Numeric::parse(text).map_err(|e| {
        if e.sqlstate == sqlstate::INVALID_TEXT {
            SqlError::syntax(format!("syntax error at or near \"{text}\""))
        } else {
            e
        }
    })?;
    Ok(constant(Datum::numeric(n), SqlType::NUMERIC))
}

/// Words that are functions without parentheses.
pub(super) fn keyword_function(name: &str) -> Option<&'static str> {
    Some(match name {
        "current_timestamp" => "now",
        "localtimestamp" => "localtimestamp",
        "current_date" => "current_date",
        "current_user" | "current_role" => "current_user",
        "session_user" => "session_user",
        "user" => "user",
        "current_catalog" => "current_catalog",
        "current_schema" => "current_schema",
        _ => return None,
    })
}
