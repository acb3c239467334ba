//! The order of values.

use std::cmp::Ordering;

use super::{Datum, SqlType, oids};

/// The order of two values of the same type (or two integers), `None` when one of them is NULL. Text is compared by bytes (collation
/// "C"), char(n) without its trailing blanks, NaN is greatest.
#[must_use]
pub fn compare(a: &Datum, b: &Datum, ty: SqlType) -> Option<Ordering> {
    Some(match (a, b) {
        (Datum::Null, _) | (_, Datum::Null) => return None,
        (Datum::Int4(a), Datum::Int4(b)) => a.cmp(b),
        (Datum::Int8(a), Datum::Int8(b)) => a.cmp(b),
        (Datum::Int2(a), Datum::Int2(b)) => a.cmp(b),
        (Datum::Text(a), Datum::Text(b)) if ty.oid == oids::BPCHAR => trim_blanks(a).cmp(trim_blanks(b)),
        (Datum::Text(a), Datum::Text(b)) => a.as_bytes().cmp(b.as_bytes()),
        (Datum::Bool(a), Datum::Bool(b)) => a.cmp(b),
        (Datum::Enum(a), Datum::Enum(b)) => a.key.cmp(&b.key),
        (Datum::Oid(a), Datum::Oid(b)) => a.cmp(b),
        (Datum::Float8(a), Datum::Float8(b)) => compare_floats(*a, *b),
        (Datum::Float4(a), Datum::Float4(b)) => compare_floats(f64::from(*a), f64::from(*b)),
        (Datum::Bytea(a), Datum::Bytea(b)) => a.cmp(b),
        (Datum::Date(a), Datum::Date(b)) => a.cmp(b),
        (Datum::Timestamp(a), Datum::Timestamp(b)) | (Datum::TimestampTz(a), Datum::TimestampTz(b)) => {
            a.cmp(b)
        }
        (Datum::Numeric(a), Datum::Numeric(b)) => a.compare(b),
        // Integers of different sizes are compared as they are, so that an index on either side stays usable.
        (a, b) => a.as_i64()?.cmp(&b.as_i64()?),
    })
}

/// Floats with NaN greatest and equal to itself, and -0 equal to 0.
pub(crate) fn compare_floats(a: f64, b: f64) -> Ordering {
    match (a.is_nan(), b.is_nan()) {
        (true, true) => Ordering::Equal,
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (false, false) => a.partial_cmp(&b).unwrap_or(Ordering::Equal),
    }
}

/// A char(n) value without the blanks that pad it.
#[must_use]
pub fn trim_blanks(s: &str) -> &str {
    s.trim_end_matches(' ')
}
