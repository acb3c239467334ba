//! Expressions, bound and typed: every operator and function is resolved to a Rust function, so evaluation looks
//! nothing up. Evaluation is synchronous and borrows where it can.

mod answer;
pub(crate) mod arith;
pub(crate) mod cast;
mod deparse;
mod domain;
pub(crate) mod functions;
mod like;
mod matching;
mod show;
mod walk;

use std::borrow::Cow;
use std::cell::RefCell;
use std::cmp::Ordering;
use std::sync::Arc;

pub(crate) use answer::{Answer, ListBuilder, ValueList};
pub(crate) use deparse::{deparse, deparse_value, is_call};
pub(crate) use domain::DomainRules;
pub(crate) use like::like;
pub(crate) use matching::matches;

use super::{Database, SessionContext};
use crate::catalog::SequenceInfo;
use crate::txn::Advisory;
use crate::types::{Datum, EnumType, SqlError, SqlResult, SqlType, compare};

/// A strict operator or function of one argument: not called for NULL.
#[derive(Debug)]
pub(crate) struct Unary {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Datum) -> SqlResult<Datum>,
}

/// A strict operator of two arguments.
#[derive(Debug)]
pub(crate) struct Binary {
    pub(crate) name: &'static str,
    pub(crate) run: fn(&Datum, &Datum) -> SqlResult<Datum>,
}

/// A function of any number of arguments.
#[derive(Debug)]
pub(crate) struct Function {
    pub(crate) name: &'static str,
    /// NULL for any NULL argument, without being called.
    pub(crate) strict: bool,
    pub(crate) run: fn(&EvalCx<'_>, &[Datum]) -> SqlResult<Datum>,
}

impl Function {
    /// True for LIKE and regular expressions, which are called by their operator.
    pub(crate) fn is_operator(&self) -> bool {
        self.name.starts_with('~')
    }
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Comparison {
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
}

impl Comparison {
    pub(crate) fn holds(self, order: Ordering) -> bool {
        match self {
            Comparison::Eq => order.is_eq(),
            Comparison::Ne => order.is_ne(),
            Comparison::Lt => order.is_lt(),
            Comparison::Le => order.is_le(),
            Comparison::Gt => order.is_gt(),
            Comparison::Ge => order.is_ge(),
        }
    }

    /// The comparison with its sides exchanged.
    pub(crate) fn mirrored(self) -> Comparison {
        match self {
            Comparison::Lt => Comparison::Gt,
            Comparison::Le => Comparison::Ge,
            Comparison::Gt => Comparison::Lt,
            Comparison::Ge => Comparison::Le,
            same => same,
        }
    }

    pub(crate) fn symbol(self) -> &'static str {
        match self {
            Comparison::Eq => "=",
            Comparison::Ne => "<>",
            Comparison::Lt => "<",
            Comparison::Le => "<=",
            Comparison::Gt => ">",
            Comparison::Ge => ">=",
        }
    }
}

/// A bound expression over the columns of an input row.
#[derive(Debug, Clone)]
pub(crate) enum Expr {
    Const(Datum),
    /// A column of the input row.
    Column(usize),
    /// A parameter, from 0.
    Param(usize),
    /// An aggregate of the query, from 0; replaced by a column before a plan is made.
    Aggregate(usize),
    /// The value of a subquery that was run before (0-based).
    Subquery(usize),
    Unary(&'static Unary, Box<Expr>),
    Binary(&'static Binary, Box<(Expr, Expr)>),
    Compare(Comparison, SqlType, Box<(Expr, Expr)>),
    /// IS [NOT] DISTINCT FROM; true for NOT.
    Distinct(bool, SqlType, Box<(Expr, Expr)>),
    And(Vec<Expr>),
    Or(Vec<Expr>),
    Not(Box<Expr>),
    /// IS [NOT] NULL; true for NOT.
    IsNull(bool, Box<Expr>),
    /// IS [NOT] TRUE, FALSE: the value looked for, and NOT.
    IsBool(bool, bool, Box<Expr>),
    /// Needle, list, type to compare as; true for NOT.
    In(Box<Expr>, Vec<Expr>, SqlType, bool),
    /// Needle IN the rows of a subquery that was run before.
    InSubquery(Box<Expr>, usize, SqlType, bool),
    Case(Vec<(Expr, Expr)>, Box<Expr>),
    Coalesce(Vec<Expr>),
    /// GREATEST (true) and LEAST.
    Extreme(bool, SqlType, Vec<Expr>),
    Cast(Box<Cast>),
    Call(&'static Function, Vec<Expr>),
    NextVal(Arc<SequenceInfo>),
    /// A value that becomes one of a domain.
    Domain(Box<Expr>, Arc<DomainRules>),
}

/// A conversion.
#[derive(Debug, Clone)]
pub(crate) struct Cast {
    pub(crate) expr: Expr,
    pub(crate) from: SqlType,
    pub(crate) to: SqlType,
    pub(crate) explicit: bool,
    /// The enum type whose values it makes.
    pub(crate) of: Option<Arc<EnumType>>,
}

/// What evaluation may look at besides the row.
pub(crate) struct EvalCx<'a> {
    pub(crate) db: Option<&'a Database>,
    pub(crate) ctx: &'a SessionContext,
    pub(crate) params: &'a [Datum],
    /// What the subqueries came to.
    pub(crate) subqueries: &'a [Answer],
    /// What evaluation could not wait for: see to it and evaluate again.
    pub(crate) wanted: RefCell<Option<Wanted>>,
}

/// What an evaluation has to wait for.
#[derive(Debug)]
pub(crate) enum Wanted {
    /// Values of a sequence: those reserved ran out.
    Values(Arc<SequenceInfo>),
    /// An advisory lock that somebody else holds.
    Lock(Advisory),
}

impl<'a> EvalCx<'a> {
    pub(crate) fn new(db: &'a Database, ctx: &'a SessionContext, params: &'a [Datum]) -> EvalCx<'a> {
        EvalCx { db: Some(db), params, ..EvalCx::detached(ctx) }
    }

    /// For expressions that look at nothing but their row.
    pub(crate) fn detached(ctx: &'a SessionContext) -> EvalCx<'a> {
        EvalCx { db: None, ctx, params: &[], subqueries: &[], wanted: RefCell::new(None) }
    }

    pub(crate) fn db(&self) -> SqlResult<&'a Database> {
        self.db.ok_or_else(|| SqlError::internal("an expression of a row looks at the database"))
    }

    /// The values of a sub-query.
    pub(crate) fn list(&self, n: usize) -> SqlResult<&'a ValueList> {
        match self.subqueries.get(n) {
            Some(Answer::List(list)) => Ok(list),
            _ => Err(not_run()),
        }
    }
}

fn not_run() -> SqlError {
    SqlError::internal("a subquery that was not run")
}

fn borrowed(datum: &Datum) -> SqlResult<Cow<'_, Datum>> {
    Ok(Cow::Borrowed(datum))
}

fn owned<'a>(datum: Datum) -> SqlResult<Cow<'a, Datum>> {
    Ok(Cow::Owned(datum))
}

fn boolean<'a>(value: Option<bool>) -> SqlResult<Cow<'a, Datum>> {
    owned(value.map_or(Datum::Null, Datum::Bool))
}

impl Expr {
    /// The value for a row.
    pub(crate) fn eval<'a>(&'a self, row: &'a [Datum], cx: &'a EvalCx<'_>) -> SqlResult<Cow<'a, Datum>> {
        match self {
            Expr::Const(datum) => borrowed(datum),
            Expr::Column(n) => borrowed(&row[*n]),
            Expr::Param(n) => match cx.params.get(*n) {
                Some(value) => borrowed(value),
                None => {
                    let message = format!("there is no parameter ${}", n + 1);
                    Err(SqlError::new(crate::types::sqlstate::UNDEFINED_PARAMETER, message))
                }
            },
            Expr::Aggregate(_) => Err(SqlError::internal("an aggregate outside of an aggregation")),
            Expr::Subquery(n) => match cx.subqueries.get(*n) {
                Some(Answer::Value(value)) => borrowed(value),
                _ => Err(not_run()),
            },
            Expr::Unary(f, arg) => match arg.eval(row, cx)?.as_ref() {
                Datum::Null => owned(Datum::Null),
                value => owned((f.run)(value)?),
            },
            Expr::Binary(f, args) => {
                let (a, b) = (args.0.eval(row, cx)?, args.1.eval(row, cx)?);
                if a.is_null() || b.is_null() { owned(Datum::Null) } else { owned((f.run)(&a, &b)?) }
            }
            Expr::Compare(op, ty, args) => {
                let (a, b) = (args.0.eval(row, cx)?, args.1.eval(row, cx)?);
                boolean(compare(&a, &b, *ty).map(|order| op.holds(order)))
            }
            Expr::Cast(cast) => cast.eval(row, cx),
            Expr::And(parts) => boolean(all(parts, row, cx)?),
            Expr::Or(parts) => boolean(any(parts, row, cx)?),
            _ => self.eval_rare(row, cx),
        }
    }

    fn eval_rare<'a>(&'a self, row: &'a [Datum], cx: &'a EvalCx<'_>) -> SqlResult<Cow<'a, Datum>> {
        match self {
            Expr::Not(arg) => match arg.eval(row, cx)?.as_ref() {
                Datum::Bool(b) => owned(Datum::Bool(!b)),
                _ => owned(Datum::Null),
            },
            Expr::IsNull(not, arg) => owned(Datum::Bool(arg.eval(row, cx)?.is_null() != *not)),
            Expr::IsBool(wanted, not, arg) => {
                let is = matches!(arg.eval(row, cx)?.as_ref(), Datum::Bool(b) if b == wanted);
                owned(Datum::Bool(is != *not))
            }
            Expr::Distinct(not, ty, args) => {
                let (a, b) = (args.0.eval(row, cx)?, args.1.eval(row, cx)?);
                let distinct = match compare(&a, &b, *ty) {
                    Some(order) => order.is_ne(),
                    None => a.is_null() != b.is_null(),
                };
                owned(Datum::Bool(distinct != *not))
            }
            Expr::In(needle, list, ty, not) => {
                let needle = needle.eval(row, cx)?;
                let values = list.iter().map(|item| item.eval(row, cx));
                boolean(is_in(&needle, values, *ty)?.map(|found| found != *not))
            }
            Expr::InSubquery(needle, n, ty, not) => {
                let needle = needle.eval(row, cx)?;
                boolean(cx.list(*n)?.contains(&needle, *ty)?.map(|found| found != *not))
            }
            Expr::Case(whens, otherwise) => {
                for (when, then) in whens {
                    if when.eval(row, cx)?.is_true() {
                        return then.eval(row, cx);
                    }
                }
                otherwise.eval(row, cx)
            }
            Expr::Coalesce(args) => {
                for arg in args {
                    let value = arg.eval(row, cx)?;
                    if !value.is_null() {
                        return Ok(value);
                    }
                }
                owned(Datum::Null)
            }
            Expr::Extreme(greatest, ty, args) => extreme(*greatest, *ty, args, row, cx),
            Expr::Domain(arg, rules) => {
                let value = arg.eval(row, cx)?;
                rules.ask(&value, cx)?;
                Ok(value)
            }
            Expr::Call(f, args) => {
                let values = args
                    .iter()
                    .map(|arg| arg.eval(row, cx).map(Cow::into_owned))
                    .collect::<SqlResult<Vec<Datum>>>()?;
                if f.strict && values.iter().any(Datum::is_null) {
                    return owned(Datum::Null);
                }
                owned((f.run)(cx, &values)?)
            }
            Expr::NextVal(sequence) => match cx.db()?.catalog.sequences.take(sequence) {
                Some(value) => {
                    cx.ctx.remember_value(sequence.oid, value);
                    owned(Datum::Int8(value))
                }
                None => {
                    *cx.wanted.borrow_mut() = Some(Wanted::Values(sequence.clone()));
                    Err(SqlError::internal("a sequence's reserved values ran out"))
                }
            },
            _ => Err(SqlError::internal("an expression that cannot be evaluated")),
        }
    }

    /// True only if the value is TRUE.
    pub(crate) fn is_true(&self, row: &[Datum], cx: &EvalCx<'_>) -> SqlResult<bool> {
        Ok(self.eval(row, cx)?.is_true())
    }
}

/// AND: FALSE wins over NULL.
fn all(parts: &[Expr], row: &[Datum], cx: &EvalCx<'_>) -> SqlResult<Option<bool>> {
    let mut result = Some(true);
    for part in parts {
        match part.eval(row, cx)?.as_ref() {
            Datum::Bool(true) => {}
            Datum::Bool(false) => return Ok(Some(false)),
            _ => result = None,
        }
    }
    Ok(result)
}

/// OR: TRUE wins over NULL.
fn any(parts: &[Expr], row: &[Datum], cx: &EvalCx<'_>) -> SqlResult<Option<bool>> {
    let mut result = Some(false);
    for part in parts {
        match part.eval(row, cx)?.as_ref() {
            Datum::Bool(false) => {}
            Datum::Bool(true) => return Ok(Some(true)),
            _ => result = None,
        }
    }
    Ok(result)
}

fn is_in<'a>(
    needle: &Datum,
    list: impl Iterator<Item = SqlResult<Cow<'a, Datum>>>,
    ty: SqlType,
) -> SqlResult<Option<bool>> {
    let mut result = Some(false);
    for item in list {
        let item = item?;
        match compare(needle, &item, ty) {
            Some(Ordering::Equal) => return Ok(Some(true)),
            Some(_) => {}
            None => result = None,
        }
    }
    Ok(result)
}

fn extreme<'a>(
    greatest: bool,
    ty: SqlType,
    args: &'a [Expr],
    row: &'a [Datum],
    cx: &'a EvalCx<'_>,
) -> SqlResult<Cow<'a, Datum>> {
    let mut best: Cow<'a, Datum> = Cow::Owned(Datum::Null);
    for arg in args {
        let value = arg.eval(row, cx)?;
        if value.is_null() {
            continue;
        }
        let better = match compare(&value, &best, ty) {
            None => true,
            Some(order) => order == if greatest { Ordering::Greater } else { Ordering::Less },
        };
        if better {
            best = value;
        }
    }
    Ok(best)
}

impl Cast {
    fn eval<'a>(&'a self, row: &'a [Datum], cx: &'a EvalCx<'_>) -> SqlResult<Cow<'a, Datum>> {
        let value = self.expr.eval(row, cx)?;
        if value.is_null() {
            return Ok(value);
        }
        if let Some(of) = &self.of {
            return of.read(value.as_str().unwrap_or_default()).map(Cow::Owned);
        }
        let zone = &cx.ctx.session().timezone;
        cast::cast(value.as_ref(), self.from, self.to, self.explicit, zone).map(Cow::Owned)
    }
}
