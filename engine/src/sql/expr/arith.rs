//! Arithmetic and string operators. Nothing wraps: overflow is 22003.

use crate::sql::expr::{Binary, Unary};
use crate::types::{Datum, SqlError, SqlResult, SqlType, TypeClass, oids, sqlstate};

/// A pair of values that the binder promises not to make.
fn mismatch() -> SqlError {
    SqlError::internal("an operator was given values of types it was not bound for")
}

pub(crate) fn checked_float8(f: f64, infinite_ok: bool, zero_ok: bool) -> SqlResult<Datum> {
    float_range(f.is_infinite() && !infinite_ok, f == 0.0 && !zero_ok)?;
    Ok(Datum::Float8(f))
}

pub(crate) fn checked_float4(f: f32, infinite_ok: bool, zero_ok: bool) -> SqlResult<Datum> {
    float_range(f.is_infinite() && !infinite_ok, f == 0.0 && !zero_ok)?;
    Ok(Datum::Float4(f))
}

fn float_range(overflow: bool, underflow: bool) -> SqlResult<()> {
    let what = match (overflow, underflow) {
        (true, _) => "overflow",
        (_, true) => "underflow",
        _ => return Ok(()),
    };
    let message = format!("value out of range: {what}");
    Err(SqlError::new(sqlstate::NUMERIC_OUT_OF_RANGE, message))
}

macro_rules! integer_operator {
    ($name:ident, $symbol:literal, $checked:ident, $float:tt, $numeric:expr, $zero_ok:expr) => {
        pub(crate) static $name: Binary = Binary {
            name: $symbol,
            run: |a, b| {
                let range = SqlError::out_of_range;
                Ok(match (a, b) {
                    (Datum::Int2(a), Datum::Int2(b)) => Datum::Int2(a.$checked(*b).ok_or_else(|| range("smallint"))?),
                    (Datum::Int4(a), Datum::Int4(b)) => Datum::Int4(a.$checked(*b).ok_or_else(|| range("integer"))?),
                    (Datum::Int8(a), Datum::Int8(b)) => Datum::Int8(a.$checked(*b).ok_or_else(|| range("bigint"))?),
                    (Datum::Float8(a), Datum::Float8(b)) => {
                        let infinite = a.is_infinite() || b.is_infinite();
                        let zero_ok: fn(f64, f64) -> bool = $zero_ok;
                        checked_float8(a $float b, infinite, zero_ok(*a, *b))?
                    }
                    (Datum::Float4(a), Datum::Float4(b)) => {
                        let infinite = a.is_infinite() || b.is_infinite();
                        let zero_ok: fn(f64, f64) -> bool = $zero_ok;
                        checked_float4(a $float b, infinite, zero_ok(f64::from(*a), f64::from(*b)))?
                    }
                    (Datum::Numeric(a), Datum::Numeric(b)) => Datum::numeric($numeric(a, b)?),
                    _ => return Err(mismatch()),
                })
            },
        };
    };
}

use crate::types::Numeric;

integer_operator!(ADD, "+", checked_add, +, |a: &Numeric, b: &Numeric| SqlResult::Ok(a.add(b)), |_, _| true);
integer_operator!(SUB, "-", checked_sub, -, |a: &Numeric, b: &Numeric| SqlResult::Ok(a.sub(b)), |_, _| true);
integer_operator!(MUL, "*", checked_mul, *, |a: &Numeric, b: &Numeric| a.mul(b), |a, b| a == 0.0 || b == 0.0);

pub(crate) static DIV: Binary = Binary {
    name: "/",
    run: |a, b| {
        if is_zero(b) {
            return Err(SqlError::division_by_zero());
        }
        let range = SqlError::out_of_range;
        Ok(match (a, b) {
            (Datum::Int2(a), Datum::Int2(b)) => {
                Datum::Int2(a.checked_div(*b).ok_or_else(|| range("smallint"))?)
            }
            (Datum::Int4(a), Datum::Int4(b)) => {
                Datum::Int4(a.checked_div(*b).ok_or_else(|| range("integer"))?)
            }
            (Datum::Int8(a), Datum::Int8(b)) => {
                Datum::Int8(a.checked_div(*b).ok_or_else(|| range("bigint"))?)
            }
            (Datum::Float8(a), Datum::Float8(b)) => {
                checked_float8(a / b, a.is_infinite(), *a == 0.0 || b.is_infinite())?
            }
            (Datum::Float4(a), Datum::Float4(b)) => {
                checked_float4(a / b, a.is_infinite(), *a == 0.0 || b.is_infinite())?
            }
            (Datum::Numeric(a), Datum::Numeric(b)) => Datum::numeric(a.div(b)?),
            _ => return Err(mismatch()),
        })
    },
};

pub(crate) static REM: Binary = Binary {
    name: "%",
    run: |a, b| {
        if is_zero(b) {
            return Err(SqlError::division_by_zero());
        }
        Ok(match (a, b) {
            // The least integer % -1 is 0, not an overflow.
            (Datum::Int2(a), Datum::Int2(b)) => Datum::Int2(a.wrapping_rem(*b)),
            (Datum::Int4(a), Datum::Int4(b)) => Datum::Int4(a.wrapping_rem(*b)),
            (Datum::Int8(a), Datum::Int8(b)) => Datum::Int8(a.wrapping_rem(*b)),
            (Datum::Numeric(a), Datum::Numeric(b)) => Datum::numeric(a.rem(b)?),
            _ => return Err(mismatch()),
        })
    },
};

fn is_zero(datum: &Datum) -> bool {
    match datum {
        Datum::Float4(f) => *f == 0.0,
        Datum::Float8(f) => *f == 0.0,
        Datum::Numeric(n) => n.is_zero(),
        other => other.as_i64() == Some(0),
    }
}

macro_rules! bit_operator {
    ($name:ident, $symbol:literal, $op:tt) => {
        pub(crate) static $name: Binary = Binary {
            name: $symbol,
            run: |a, b| {
                Ok(match (a, b) {
                    (Datum::Int2(a), Datum::Int2(b)) => Datum::Int2(a $op b),
                    (Datum::Int4(a), Datum::Int4(b)) => Datum::Int4(a $op b),
                    (Datum::Int8(a), Datum::Int8(b)) => Datum::Int8(a $op b),
                    _ => return Err(mismatch()),
                })
            },
        };
    };
}

bit_operator!(BIT_AND, "&", &);
bit_operator!(BIT_OR, "|", |);
bit_operator!(BIT_XOR, "#", ^);

pub(crate) static NEG: Unary = Unary {
    name: "-",
    run: |a| {
        let range = SqlError::out_of_range;
        Ok(match a {
            Datum::Int2(a) => Datum::Int2(a.checked_neg().ok_or_else(|| range("smallint"))?),
            Datum::Int4(a) => Datum::Int4(a.checked_neg().ok_or_else(|| range("integer"))?),
            Datum::Int8(a) => Datum::Int8(a.checked_neg().ok_or_else(|| range("bigint"))?),
            Datum::Float4(a) => Datum::Float4(-a),
            Datum::Float8(a) => Datum::Float8(-a),
            Datum::Numeric(a) => Datum::numeric(a.neg()),
            _ => return Err(mismatch()),
        })
    },
};

pub(crate) static CONCAT: Binary = Binary {
    name: "||",
    run: |a, b| match (a, b) {
        (Datum::Text(a), Datum::Text(b)) => Ok(Datum::text([&**a, &**b].concat())),
        (Datum::Bytea(a), Datum::Bytea(b)) => Ok(Datum::Bytea([&**a, &**b].concat().into())),
        _ => Err(mismatch()),
    },
};

/// date + integer and date - integer.
pub(crate) static DATE_ADD: Binary = Binary {
    name: "+",
    run: |a, b| match (a, b) {
        (Datum::Date(d), Datum::Int4(n)) => days(i64::from(*d) + i64::from(*n)),
        _ => Err(mismatch()),
    },
};

/// date - integer.
pub(crate) static DATE_SUB: Binary = Binary {
    name: "-",
    run: |a, b| match (a, b) {
        (Datum::Date(d), Datum::Int4(n)) => days(i64::from(*d) - i64::from(*n)),
        _ => Err(mismatch()),
    },
};

/// date - date: days.
pub(crate) static DATE_DIFF: Binary = Binary {
    name: "-",
    run: |a, b| match (a, b) {
        (Datum::Date(a), Datum::Date(b)) => {
            a.checked_sub(*b).map(Datum::Int4).ok_or_else(|| SqlError::out_of_range("date"))
        }
        _ => Err(mismatch()),
    },
};

fn days(n: i64) -> SqlResult<Datum> {
    i32::try_from(n)
        .map(Datum::Date)
        .map_err(|_| SqlError::new(sqlstate::DATETIME_OVERFLOW, "date out of range"))
}

/// The operator `symbol` for values of the type, and the type of its result.
pub(crate) fn binary(symbol: &str, ty: SqlType) -> Option<&'static Binary> {
    let number = ty.class() == TypeClass::Number && super::cast::number_rank(ty.oid).is_some();
    let integer = matches!(ty.oid, oids::INT2 | oids::INT4 | oids::INT8);
    Some(match symbol {
        "+" if number => &ADD,
        "-" if number => &SUB,
        "*" if number => &MUL,
        "/" if number => &DIV,
        "%" if integer || ty.oid == oids::NUMERIC => &REM,
        "&" if integer => &BIT_AND,
        "|" if integer => &BIT_OR,
        "#" if integer => &BIT_XOR,
        "||" if ty.is_string() || ty.oid == oids::BYTEA => &CONCAT,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn overflow_is_an_error() {
        let code = |f: &Binary, a, b| (f.run)(&a, &b).unwrap_err().sqlstate;
        assert_eq!(code(&ADD, Datum::Int4(i32::MAX), Datum::Int4(1)), sqlstate::NUMERIC_OUT_OF_RANGE);
        assert_eq!(code(&MUL, Datum::Int8(i64::MIN), Datum::Int8(-1)), sqlstate::NUMERIC_OUT_OF_RANGE);
        assert_eq!(code(&DIV, Datum::Int4(i32::MIN), Datum::Int4(-1)), sqlstate::NUMERIC_OUT_OF_RANGE);
        assert_eq!(code(&DIV, Datum::Int4(1), Datum::Int4(0)), sqlstate::DIVISION_BY_ZERO);
        assert_eq!(code(&MUL, Datum::Float8(1e300), Datum::Float8(1e300)), sqlstate::NUMERIC_OUT_OF_RANGE);
        assert_eq!(code(&MUL, Datum::Float8(1e-300), Datum::Float8(1e-300)), sqlstate::NUMERIC_OUT_OF_RANGE);
        assert_eq!((REM.run)(&Datum::Int4(i32::MIN), &Datum::Int4(-1)).unwrap(), Datum::Int4(0));
        assert_eq!((NEG.run)(&Datum::Int2(i16::MIN)).unwrap_err().message, "smallint out of range");
    }
}
