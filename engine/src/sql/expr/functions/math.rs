//! Mathematics.

use super::{Declared, function};
use crate::sql::expr::arith;
use crate::types::{Datum, Numeric, SqlError, SqlResult, sqlstate};

fn float(d: &Datum) -> f64 {
    match d {
        Datum::Float8(f) => *f,
        _ => f64::NAN,
    }
}

fn int(d: &Datum) -> i64 {
    d.as_i64().unwrap_or_default()
}

fn on_numeric(d: &Datum, f: impl FnOnce(&Numeric) -> Numeric) -> SqlResult<Datum> {
    match d {
        Datum::Numeric(n) => Ok(Datum::numeric(f(n))),
        _ => Err(SqlError::internal("a numeric function was given another type")),
    }
}

fn abs_int(d: &Datum) -> SqlResult<Datum> {
    let range = SqlError::out_of_range;
    match d {
        Datum::Int2(n) => n.checked_abs().map(Datum::Int2).ok_or_else(|| range("smallint")),
        Datum::Int4(n) => n.checked_abs().map(Datum::Int4).ok_or_else(|| range("integer")),
        _ => int(d).checked_abs().map(Datum::Int8).ok_or_else(|| range("bigint")),
    }
}

fn real(f: f64, arg: &Datum) -> SqlResult<Datum> {
    arith::checked_float8(f, float(arg).is_infinite(), true)
}

fn domain(message: &str) -> SqlError {
    SqlError::new("2201F", message)
}

fn ln(x: f64) -> SqlResult<f64> {
    let refuse = |message| Err(SqlError::new("2201E", message));
    if x == 0.0 {
        return refuse("cannot take logarithm of zero");
    }
    if x < 0.0 {
        return refuse("cannot take logarithm of a negative number");
    }
    Ok(x.ln())
}

fn sign(f: f64) -> f64 {
    if f == 0.0 || f.is_nan() { f } else { f.signum() }
}

/// Enough for test data, and no more: splitmix64 over a counter and the clock.
fn random() -> f64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static STATE: AtomicU64 = AtomicU64::new(0);
    let step = 0x9e37_79b9_7f4a_7c15_u64;
    let previous = STATE.fetch_add(step, Ordering::Relaxed);
    let seed = if previous == 0 { crate::types::now_micros() as u64 } else { 0 };
    if seed != 0 {
        STATE.fetch_add(seed.wrapping_mul(step), Ordering::Relaxed);
    }
    let mut z = previous.wrapping_add(seed.wrapping_mul(step)).wrapping_add(step);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn digits(d: &Datum) -> i32 {
    int(d) as i32
}

pub(super) static ALL: &[Declared] = &[
    function!("abs", [INT2] -> INT2, |_, a| abs_int(&a[0])),
    function!("abs", [INT4] -> INT4, |_, a| abs_int(&a[0])),
    function!("abs", [INT8] -> INT8, |_, a| abs_int(&a[0])),
    function!("abs", [NUMERIC] -> NUMERIC, |_, a| on_numeric(&a[0], Numeric::abs)),
    function!("abs", [FLOAT8] -> FLOAT8, |_, a| Ok(Datum::Float8(float(&a[0]).abs()))),
    function!("ceil", [NUMERIC] -> NUMERIC, |_, a| on_numeric(&a[0], Numeric::ceil)),
    function!("ceil", [FLOAT8] -> FLOAT8, |_, a| Ok(Datum::Float8(float(&a[0]).ceil()))),
    function!("ceiling", [NUMERIC] -> NUMERIC, |_, a| on_numeric(&a[0], Numeric::ceil)),
    function!("ceiling", [FLOAT8] -> FLOAT8, |_, a| Ok(Datum::Float8(float(&a[0]).ceil()))),
    function!("floor", [NUMERIC] -> NUMERIC, |_, a| on_numeric(&a[0], Numeric::floor)),
    function!("floor", [FLOAT8] -> FLOAT8, |_, a| Ok(Datum::Float8(float(&a[0]).floor()))),
    function!("round", [NUMERIC] -> NUMERIC, |_, a| on_numeric(&a[0], |n| n.round(0))),
    function!("round", [NUMERIC, INT4] -> NUMERIC, |_, a| on_numeric(&a[0], |n| n.round(digits(&a[1])))),
    function!("round", [FLOAT8] -> FLOAT8, |_, a| Ok(Datum::Float8(float(&a[0]).round_ties_even()))),
    function!("trunc", [NUMERIC] -> NUMERIC, |_, a| on_numeric(&a[0], |n| n.trunc(0))),
    function!("trunc", [NUMERIC, INT4] -> NUMERIC, |_, a| on_numeric(&a[0], |n| n.trunc(digits(&a[1])))),
    function!("trunc", [FLOAT8] -> FLOAT8, |_, a| Ok(Datum::Float8(float(&a[0]).trunc()))),
    function!("sign", [FLOAT8] -> FLOAT8, |_, a| Ok(Datum::Float8(sign(float(&a[0]))))),
    function!("mod", [INT2, INT2] -> INT2, |_, a| (arith::REM.run)(&a[0], &a[1])),
    function!("mod", [INT4, INT4] -> INT4, |_, a| (arith::REM.run)(&a[0], &a[1])),
    function!("mod", [INT8, INT8] -> INT8, |_, a| (arith::REM.run)(&a[0], &a[1])),
    function!("mod", [NUMERIC, NUMERIC] -> NUMERIC, |_, a| (arith::REM.run)(&a[0], &a[1])),
    function!("power", [FLOAT8, FLOAT8] -> FLOAT8, |_, a| {
        let (x, y) = (float(&a[0]), float(&a[1]));
        if x == 0.0 && y < 0.0 {
            return Err(domain("zero raised to a negative power is undefined"));
        }
        if x < 0.0 && y.fract() != 0.0 {
            return Err(domain("a negative number raised to a non-integer power yields a complex result"));
        }
        arith::checked_float8(x.powf(y), x.is_infinite() || y.is_infinite(), true)
    }),
    function!("sqrt", [FLOAT8] -> FLOAT8, |_, a| {
        let x = float(&a[0]);
        if x < 0.0 { Err(domain("cannot take square root of a negative number")) } else { real(x.sqrt(), &a[0]) }
    }),
    function!("exp", [FLOAT8] -> FLOAT8, |_, a| real(float(&a[0]).exp(), &a[0])),
    function!("ln", [FLOAT8] -> FLOAT8, |_, a| real(ln(float(&a[0]))?, &a[0])),
    function!("log", [FLOAT8] -> FLOAT8, |_, a| ln(float(&a[0])).and_then(|_| real(float(&a[0]).log10(), &a[0]))),
    function!("pi", [] -> FLOAT8, |_, _| Ok(Datum::Float8(std::f64::consts::PI))),
    function!("random", [] -> FLOAT8, |_, _| Ok(Datum::Float8(random()))),
    function!("sin", [FLOAT8] -> FLOAT8, |_, a| real(float(&a[0]).sin(), &a[0])),
    function!("cos", [FLOAT8] -> FLOAT8, |_, a| real(float(&a[0]).cos(), &a[0])),
    function!("degrees", [FLOAT8] -> FLOAT8, |_, a| real(float(&a[0]).to_degrees(), &a[0])),
    function!("radians", [FLOAT8] -> FLOAT8, |_, a| real(float(&a[0]).to_radians(), &a[0])),
    function!("div", [NUMERIC, NUMERIC] -> NUMERIC, |_, a| match (&a[0], &a[1]) {
        (Datum::Numeric(x), Datum::Numeric(y)) => {
            let rest = x.rem(y)?;
            Ok(Datum::numeric(x.sub(&rest).div(y)?.round(0)))
        }
        _ => Err(SqlError::new(sqlstate::INTERNAL, "div was given another type")),
    }),
];
