//! Binary operators: which types they work on (P15 10.2), and the function that does it.

use super::coerce::convert;
use super::{Binder, Typed};
use crate::sql::expr::cast::{self, Context};
use crate::sql::expr::{Comparison, Expr, arith, functions};
use crate::types::{SqlError, SqlResult, SqlType, TypeClass, oids, sqlstate};

impl Binder<'_> {
    /// `left op right` for a comparison.
    pub(super) fn compare(&mut self, op: Comparison, left: Typed, right: Typed) -> SqlResult<Typed> {
        let (left, right, ty) = self.comparable(op.symbol(), left, right)?;
        Ok(Typed { expr: Expr::Compare(op, ty, Box::new((left, right))), ty: SqlType::BOOL })
    }

    /// Brings two values to a type they can be compared in.
    pub(super) fn comparable(
        &mut self,
        symbol: &str,
        left: Typed,
        right: Typed,
    ) -> SqlResult<(Expr, Expr, SqlType)> {
        let (left, right) = self.settle_one(left, right)?;
        let (a, b) = (left.ty, right.ty);
        if is_integer(a) && is_integer(b) {
            // Compared as they are: a conversion would hide the column from its index.
            let wide = if integer_rank(a) >= integer_rank(b) { a } else { b };
            return Ok((left.expr, right.expr, wide));
        }
        let ty = if a.oid == oids::BPCHAR && b.oid == oids::BPCHAR {
            SqlType::BPCHAR
        } else if a.is_string() && b.is_string() {
            SqlType::TEXT
        } else {
            number_type(a, b)
                .or_else(|| functions::common_type(&[a, b]).filter(|_| a.class() == b.class()))
                .or_else(|| oid_and_integer(a, b))
                .or((a.oid == b.oid && a.class() == TypeClass::Other).then_some(a))
                .ok_or_else(|| self.no_operator(symbol, a, b))?
        };
        let ty = SqlType { typmod: -1, ..ty };
        Ok((convert(left, ty, false).expr, convert(right, ty, false).expr, ty))
    }

    /// Gives the unknown side the other's type; both unknown are text.
    fn settle_one(&mut self, left: Typed, right: Typed) -> SqlResult<(Typed, Typed)> {
        let plain = |ty: SqlType| SqlType { typmod: -1, ..ty };
        match (left.ty.oid == oids::UNKNOWN, right.ty.oid == oids::UNKNOWN) {
            (true, true) => Ok((self.known(left)?, self.known(right)?)),
            (true, false) => {
                Ok((self.coerce(left, literal_type(plain(right.ty)), Context::Implicit)?, right))
            }
            (false, true) => {
                let ty = literal_type(plain(left.ty));
                Ok((left, self.coerce(right, ty, Context::Implicit)?))
            }
            (false, false) => Ok((left, right)),
        }
    }

    /// `left op right` for anything but comparisons.
    pub(super) fn arithmetic(&mut self, symbol: &str, left: Typed, right: Typed) -> SqlResult<Typed> {
        if symbol == "||" {
            return self.concatenation(left, right);
        }
        if left.ty.oid == oids::UNKNOWN && right.ty.oid == oids::UNKNOWN {
            return Err(SqlError::new(
                sqlstate::AMBIGUOUS_FUNCTION,
                format!("operator is not unique: unknown {symbol} unknown"),
            )
            .hint("Could not choose a best candidate operator. You might need to add explicit type casts."));
        }
        if let Some(typed) = self.date_arithmetic(symbol, &left, &right) {
            return Ok(typed);
        }
        let none = self.no_operator(symbol, left.ty, right.ty);
        let (left, right) = self.settle_one(left, right)?;
        let Some(ty) = number_type(left.ty, right.ty) else { return Err(none) };
        let Some(operator) = arith::binary(symbol, ty) else { return Err(none) };
        let (left, right) = (convert(left, ty, false).expr, convert(right, ty, false).expr);
        Ok(Typed { expr: Expr::Binary(operator, Box::new((left, right))), ty })
    }

    fn date_arithmetic(&mut self, symbol: &str, left: &Typed, right: &Typed) -> Option<Typed> {
        let small = |ty: SqlType| matches!(ty.oid, oids::INT2 | oids::INT4);
        let (operator, a, b, ty) = match symbol {
            "+" if left.ty.oid == oids::DATE && small(right.ty) => {
                (&arith::DATE_ADD, left, right, SqlType::DATE)
            }
            "+" if right.ty.oid == oids::DATE && small(left.ty) => {
                (&arith::DATE_ADD, right, left, SqlType::DATE)
            }
            "-" if left.ty.oid == oids::DATE && small(right.ty) => {
                (&arith::DATE_SUB, left, right, SqlType::DATE)
            }
            "-" if left.ty.oid == oids::DATE && right.ty.oid == oids::DATE => {
                let pair = (left.expr.clone(), right.expr.clone());
                let expr = Expr::Binary(&arith::DATE_DIFF, Box::new(pair));
                return Some(Typed { expr, ty: SqlType::INT4 });
            }
            _ => return None,
        };
        let days = convert(b.clone(), SqlType::INT4, false).expr;
        let expr = Expr::Binary(operator, Box::new((a.expr.clone(), days)));
        Some(Typed { expr, ty })
    }

    pub(super) fn no_operator(&self, symbol: &str, a: SqlType, b: SqlType) -> SqlError {
        let message = format!("operator does not exist: {} {symbol} {}", self.shown(a), self.shown(b));
        SqlError::new(sqlstate::UNDEFINED_FUNCTION, message).hint(
            "No operator matches the given name and argument types. You might need to add explicit type casts.",
        )
    }

    /// `||`: strings, or a string and anything.
    fn concatenation(&mut self, left: Typed, right: Typed) -> SqlResult<Typed> {
        if left.ty.oid == oids::BYTEA || right.ty.oid == oids::BYTEA {
            let left = self.coerce(left, SqlType::BYTEA, Context::Implicit)?;
            let right = self.coerce(right, SqlType::BYTEA, Context::Implicit)?;
            return Ok(Typed {
                expr: Expr::Binary(&arith::CONCAT, Box::new((left.expr, right.expr))),
                ty: SqlType::BYTEA,
            });
        }
        let stringy = |ty: SqlType| ty.is_string() || ty.oid == oids::UNKNOWN;
        if !stringy(left.ty) && !stringy(right.ty) {
            return Err(self.no_operator("||", left.ty, right.ty));
        }
        let left = self.coerce(left, SqlType::TEXT, Context::Assignment)?;
        let right = self.coerce(right, SqlType::TEXT, Context::Assignment)?;
        Ok(Typed { expr: Expr::Binary(&arith::CONCAT, Box::new((left.expr, right.expr))), ty: SqlType::TEXT })
    }
}

/// What a literal beside a value of this type is read as: a string beside varchar is text.
fn literal_type(ty: SqlType) -> SqlType {
    match ty.oid {
        oids::VARCHAR => SqlType::TEXT,
        _ => ty,
    }
}

pub(crate) fn is_integer(ty: SqlType) -> bool {
    integer_rank(ty).is_some()
}

fn integer_rank(ty: SqlType) -> Option<u8> {
    cast::number_rank(ty.oid).filter(|rank| *rank <= 3)
}

/// The type that two numbers are computed in.
fn number_type(a: SqlType, b: SqlType) -> Option<SqlType> {
    let (x, y) = (cast::number_rank(a.oid)?, cast::number_rank(b.oid)?);
    let is_float4 = |ty: SqlType| ty.oid == oids::FLOAT4;
    if is_float4(a) != is_float4(b) && x.max(y) >= 5 {
        // real with any other number is computed in double precision.
        return Some(SqlType::FLOAT8);
    }
    let wide = if x >= y { a } else { b };
    Some(SqlType { typmod: -1, ..wide })
}

fn oid_and_integer(a: SqlType, b: SqlType) -> Option<SqlType> {
    let is_oid = |ty: SqlType| matches!(ty.oid, oids::OID | oids::REGCLASS | oids::REGPROC | oids::REGTYPE);
    let fits = (is_oid(a) || is_integer(a)) && (is_oid(b) || is_integer(b));
    fits.then_some(SqlType::OID)
}
