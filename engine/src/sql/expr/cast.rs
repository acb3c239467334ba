//! Conversions between types: which there are, when they happen by themselves, and how (pg_cast).

use crate::sql::expr::arith;
use crate::types::{
    Datum, Numeric, SqlError, SqlResult, SqlType, TimeZone, TypeClass, USECS_PER_DAY, coerce_length,
    decode_text, oids, sqlstate, text_of, trim_blanks,
};

/// When a conversion may happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Context {
    /// In any expression.
    Implicit,
    /// When a value is stored in a column.
    Assignment,
    /// Only by CAST.
    Explicit,
}

/// Rank of the numeric types: a smaller one becomes a larger one by itself.
pub(crate) fn number_rank(oid: u32) -> Option<u8> {
    Some(match oid {
        oids::INT2 => 1,
        oids::INT4 => 2,
        oids::INT8 => 3,
        oids::NUMERIC => 4,
        oids::FLOAT4 => 5,
        oids::FLOAT8 => 6,
        _ => return None,
    })
}

fn is_oid(oid: u32) -> bool {
    matches!(oid, oids::OID | oids::REGCLASS | oids::REGPROC | oids::REGTYPE)
}

/// The weakest context in which `from` becomes `to`; `None` when there is no such conversion.
pub(crate) fn context(from: SqlType, to: SqlType) -> Option<Context> {
    use Context as C;
    let (f, t) = (from.oid, to.oid);
    if f == t || f == oids::UNKNOWN {
        return Some(C::Implicit);
    }
    if let (Some(a), Some(b)) = (number_rank(f), number_rank(t)) {
        return Some(if a < b { C::Implicit } else { C::Assignment });
    }
    if is_oid(t) && (number_rank(f).is_some_and(|r| r <= 3) || is_oid(f)) {
        return Some(C::Implicit);
    }
    if is_oid(f) && matches!(t, oids::INT4 | oids::INT8) {
        return Some(C::Assignment);
    }
    match (f, t) {
        (oids::BOOL, oids::INT4) | (oids::INT4, oids::BOOL) => return Some(C::Explicit),
        (oids::DATE, oids::TIMESTAMP | oids::TIMESTAMPTZ) | (oids::TIMESTAMP, oids::TIMESTAMPTZ) => {
            return Some(C::Implicit);
        }
        (oids::TIMESTAMP | oids::TIMESTAMPTZ, oids::DATE) | (oids::TIMESTAMPTZ, oids::TIMESTAMP) => {
            return Some(C::Assignment);
        }
        _ => {}
    }
    match (from.class(), to.class()) {
        (TypeClass::String, TypeClass::String) => {
            // To name and "char" from text only by assignment, as there they are cut.
            let narrow = matches!(t, oids::CHAR) || (t == oids::NAME && f != oids::CHAR);
            Some(if narrow { C::Assignment } else { C::Implicit })
        }
        // Everything has a text form.
        (_, TypeClass::String) => Some(C::Assignment),
        (TypeClass::String, _) => Some(C::Explicit),
        _ => None,
    }
}

/// Converts a value that is not NULL. `explicit` cuts strings that are too long, as CAST does.
pub(crate) fn cast(
    value: &Datum,
    from: SqlType,
    to: SqlType,
    explicit: bool,
    zone: &TimeZone,
) -> SqlResult<Datum> {
    let converted = match (value, to.oid) {
        (Datum::Int2(_) | Datum::Int4(_) | Datum::Int8(_) | Datum::Oid(_), _) if !to.is_string() => {
            let n = value.as_i64().unwrap_or_default();
            from_integer(n, to)?
        }
        (Datum::Float4(_) | Datum::Float8(_), _) if !to.is_string() => from_float(value, to)?,
        (Datum::Numeric(n), _) if !to.is_string() => from_numeric(n, to)?,
        (Datum::Bool(b), oids::INT4) => Datum::Int4(i32::from(*b)),
        (Datum::Date(_) | Datum::Timestamp(_) | Datum::TimestampTz(_), _) if !to.is_string() => {
            from_time(value, to, zone)?
        }
        (Datum::Text(s), _) if to.is_string() => string_to_string(s, from, to),
        (Datum::Text(s), _) => return decode_text(s, to, zone),
        (Datum::Bool(b), _) if to.is_string() => Datum::text(if *b { "true" } else { "false" }),
        (_, _) if to.is_string() => Datum::text(text_of(value, from, zone)),
        (same, _) => same.clone(),
    };
    match to.oid {
        oids::VARCHAR | oids::BPCHAR => coerce_length(converted, to, explicit),
        oids::NAME | oids::CHAR => decode_text(converted.as_str().unwrap_or_default(), to, zone),
        _ => Ok(converted),
    }
}

fn string_to_string(s: &std::sync::Arc<str>, from: SqlType, to: SqlType) -> Datum {
    // char(n) loses its padding when it becomes another string type.
    if from.oid == oids::BPCHAR && to.oid != oids::BPCHAR {
        let trimmed = trim_blanks(s);
        if trimmed.len() < s.len() {
            return Datum::text(trimmed);
        }
    }
    Datum::Text(s.clone())
}

fn from_integer(n: i64, to: SqlType) -> SqlResult<Datum> {
    let range = || SqlError::out_of_range(to.name());
    Ok(match to.oid {
        oids::INT2 => Datum::Int2(n.try_into().map_err(|_| range())?),
        oids::INT4 => Datum::Int4(n.try_into().map_err(|_| range())?),
        oids::INT8 => Datum::Int8(n),
        oids::FLOAT4 => Datum::Float4(n as f32),
        oids::FLOAT8 => Datum::Float8(n as f64),
        oids::NUMERIC => numeric(Numeric::from(n), to)?,
        oids::BOOL => Datum::Bool(n != 0),
        _ if is_oid(to.oid) => match (u32::try_from(n), i32::try_from(n)) {
            (Ok(oid), _) => Datum::Oid(oid),
            // An int4 below zero is taken by its bits, as in PostgreSQL.
            (_, Ok(n)) => Datum::Oid(n as u32),
            _ => return Err(SqlError::out_of_range("OID")),
        },
        _ => return Err(cannot(to)),
    })
}

fn numeric(n: Numeric, to: SqlType) -> SqlResult<Datum> {
    Ok(Datum::numeric(match to.precision() {
        Some((p, s)) => n.fit(p, s)?,
        None => n,
    }))
}

fn from_float(value: &Datum, to: SqlType) -> SqlResult<Datum> {
    let f = match value {
        Datum::Float4(f) => f64::from(*f),
        Datum::Float8(f) => *f,
        _ => return Err(cannot(to)),
    };
    let whole = |low: f64, high: f64| {
        let rounded = f.round_ties_even();
        if rounded.is_nan() || rounded < low || rounded >= high {
            Err(SqlError::out_of_range(to.name()))
        } else {
            Ok(rounded as i64)
        }
    };
    Ok(match to.oid {
        oids::INT2 => Datum::Int2(whole(-32_768.0, 32_768.0)? as i16),
        oids::INT4 => Datum::Int4(whole(-2_147_483_648.0, 2_147_483_648.0)? as i32),
        oids::INT8 => Datum::Int8(whole(i64::MIN as f64, -(i64::MIN as f64))?),
        oids::FLOAT8 => Datum::Float8(f),
        oids::FLOAT4 => match value {
            Datum::Float4(f) => Datum::Float4(*f),
            _ => arith::checked_float4(f as f32, f.is_infinite(), f == 0.0)?,
        },
        oids::NUMERIC => match value {
            // Six digits are what a real is good for.
            Datum::Float4(f) => numeric(Numeric::parse(&format!("{:.5e}", f)).map(trim)?, to)?,
            _ => numeric(Numeric::from_f64(f)?, to)?,
        },
        _ => return Err(cannot(to)),
    })
}

fn trim(n: Numeric) -> Numeric {
    let mut scale = n.scale() as i32;
    while scale > 0 && n.round(scale - 1).compare(&n).is_eq() {
        scale -= 1;
    }
    n.round(scale)
}

fn from_numeric(n: &Numeric, to: SqlType) -> SqlResult<Datum> {
    let whole = || {
        if n.is_nan() {
            return Err(SqlError::new(
                sqlstate::FEATURE_NOT_SUPPORTED,
                format!("cannot convert NaN to {}", to.name()),
            ));
        }
        n.to_i64().ok_or_else(|| SqlError::out_of_range(to.name()))
    };
    Ok(match to.oid {
        oids::INT2 | oids::INT4 | oids::INT8 => from_integer(whole()?, to)?,
        // Its digits are read as those of a float, which tells what is out of range.
        oids::FLOAT4 | oids::FLOAT8 => decode_text(&n.to_string(), to, &TimeZone::default())?,
        oids::NUMERIC => numeric(n.clone(), to)?,
        _ => return Err(cannot(to)),
    })
}

fn from_time(value: &Datum, to: SqlType, zone: &TimeZone) -> SqlResult<Datum> {
    let extreme = |us: i64| match us {
        i64::MAX => Some(i32::MAX),
        i64::MIN => Some(i32::MIN),
        _ => None,
    };
    let day = |us: i64| extreme(us).unwrap_or_else(|| us.div_euclid(USECS_PER_DAY) as i32);
    let midnight = |d: i32| match d {
        i32::MAX => Ok(i64::MAX),
        i32::MIN => Ok(i64::MIN),
        d => i64::from(d)
            .checked_mul(USECS_PER_DAY)
            .ok_or_else(|| SqlError::new(sqlstate::DATETIME_OVERFLOW, "date out of range for timestamp")),
    };
    Ok(match (value, to.oid) {
        (Datum::Date(d), oids::TIMESTAMP) => Datum::Timestamp(midnight(*d)?),
        (Datum::Date(d), oids::TIMESTAMPTZ) => Datum::TimestampTz(zone.to_utc(midnight(*d)?)),
        (Datum::Timestamp(t), oids::TIMESTAMPTZ) => Datum::TimestampTz(zone.to_utc(*t)),
        (Datum::Timestamp(t), oids::DATE) => Datum::Date(day(*t)),
        (Datum::TimestampTz(t), oids::TIMESTAMP) => Datum::Timestamp(zone.to_local(*t)),
        (Datum::TimestampTz(t), oids::DATE) => Datum::Date(day(zone.to_local(*t))),
        (same, _) => same.clone(),
    })
}

fn cannot(to: SqlType) -> SqlError {
    SqlError::new(sqlstate::CANNOT_COERCE, format!("cannot cast to type {}", to.name()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn to(value: Datum, from: SqlType, to: SqlType) -> SqlResult<Datum> {
        cast(&value, from, to, true, &TimeZone::default())
    }

    #[test]
    fn contexts_are_those_of_pg_cast() {
        assert_eq!(context(SqlType::INT4, SqlType::INT8), Some(Context::Implicit));
        assert_eq!(context(SqlType::INT8, SqlType::INT4), Some(Context::Assignment));
        assert_eq!(context(SqlType::INT4, SqlType::TEXT), Some(Context::Assignment));
        assert_eq!(context(SqlType::TEXT, SqlType::INT4), Some(Context::Explicit));
        assert_eq!(context(SqlType::BPCHAR, SqlType::TEXT), Some(Context::Implicit));
        assert_eq!(context(SqlType::BOOL, SqlType::INT8), None);
        assert_eq!(context(SqlType::DATE, SqlType::INT4), None);
    }

    #[test]
    fn numbers_round_and_overflow_as_postgresql_does() {
        assert_eq!(to(Datum::Float8(2.5), SqlType::FLOAT8, SqlType::INT4).unwrap(), Datum::Int4(2));
        let n = Datum::numeric(Numeric::parse("2.5").unwrap());
        assert_eq!(to(n, SqlType::NUMERIC, SqlType::INT4).unwrap(), Datum::Int4(3));
        let e = to(Datum::Int8(1 << 40), SqlType::INT8, SqlType::INT4).unwrap_err();
        assert_eq!(
            (e.sqlstate, e.message.as_str()),
            (sqlstate::NUMERIC_OUT_OF_RANGE, "integer out of range")
        );
        assert!(to(Datum::Float8(9.3e18), SqlType::FLOAT8, SqlType::INT8).is_err());
        assert!(to(Datum::Float8(1e300), SqlType::FLOAT8, SqlType::FLOAT4).is_err());
    }

    #[test]
    fn padding_goes_and_comes() {
        let padded = Datum::text("a  ");
        let char3 = SqlType::BPCHAR.with_length(3);
        assert_eq!(to(padded.clone(), char3, SqlType::TEXT).unwrap(), Datum::text("a"));
        assert_eq!(to(Datum::text("a"), SqlType::TEXT, char3).unwrap(), padded);
        assert_eq!(to(Datum::text("abcd"), SqlType::TEXT, char3).unwrap(), Datum::text("abc"));
    }
}
