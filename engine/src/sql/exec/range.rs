//! From an index access and the values of an execution to ranges of keys.

use std::ops::Bound;

use crate::catalog::IndexColumn;
use crate::sql::expr::{EvalCx, Expr};
use crate::sql::plan::IndexAccess;
use crate::types::{Datum, SqlResult, SqlType, key, oids};

/// A range of encoded keys; bounds are prefixes ([`crate::table::IndexScan`]).
pub(super) type KeyRange = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// The byte before every value that is not NULL.
const VALUE: u8 = 1;

/// A value as a key of a column's type.
enum Key {
    Exact(Datum),
    /// Less, or greater, than every value of the column's type.
    Below,
    Above,
    /// NULL: equal to nothing.
    Null,
}

fn to_key(datum: &Datum, ty: SqlType) -> Key {
    let (low, high) = match (ty.oid, datum) {
        (_, Datum::Null) => return Key::Null,
        (oids::INT2, _) => (i64::from(i16::MIN), i64::from(i16::MAX)),
        (oids::INT4, _) => (i64::from(i32::MIN), i64::from(i32::MAX)),
        (oids::INT8, _) => (i64::MIN, i64::MAX),
        _ => return Key::Exact(datum.clone()),
    };
    match datum.as_i64() {
        Some(n) if n < low => Key::Below,
        Some(n) if n > high => Key::Above,
        // In range, so nothing is cut off.
        Some(n) => Key::Exact(match ty.oid {
            oids::INT2 => Datum::Int2(n as i16),
            oids::INT4 => Datum::Int4(n as i32),
            _ => Datum::Int8(n),
        }),
        None => Key::Exact(datum.clone()),
    }
}

/// The ranges to read, in the order of the index or against it; none when nothing can match.
pub(super) fn ranges(access: &IndexAccess, cx: &EvalCx<'_>) -> SqlResult<Vec<KeyRange>> {
    let mut prefixes: Vec<Vec<u8>> = vec![Vec::with_capacity(16)];
    for (alternatives, part) in access.fixed.iter().zip(&access.index.columns) {
        let mut longer = Vec::with_capacity(alternatives.len());
        for value in alternatives {
            let value = value.eval(&[], cx)?;
            let Key::Exact(value) = to_key(&value, part.ty) else { continue };
            for prefix in &prefixes {
                let mut prefix = prefix.clone();
                key::encode(&value, part.ty, part.order, &mut prefix);
                longer.push(prefix);
            }
        }
        prefixes = longer;
    }
    if prefixes.len() > 1 {
        prefixes.sort_unstable();
        prefixes.dedup();
        if access.backward {
            prefixes.reverse();
        }
    }
    let next = access.index.columns.get(access.fixed.len());
    let mut ranges = Vec::with_capacity(prefixes.len());
    for prefix in prefixes {
        match next {
            Some(part) if access.bounds.lower.is_some() || access.bounds.upper.is_some() => {
                ranges.extend(bounded(access, part, &prefix, cx)?);
            }
            _ if prefix.is_empty() => ranges.push((Bound::Unbounded, Bound::Unbounded)),
            _ => ranges.push((Bound::Included(prefix.clone()), Bound::Included(prefix))),
        }
    }
    Ok(ranges)
}

fn bounded(
    access: &IndexAccess,
    part: &IndexColumn,
    prefix: &[u8],
    cx: &EvalCx<'_>,
) -> SqlResult<Option<KeyRange>> {
    let ty = part.ty;
    // Everything that is not NULL.
    let mut all = prefix.to_vec();
    all.push(VALUE);
    let end = |bound: &Option<(Expr, bool)>, beyond: fn(&Key) -> bool| -> SqlResult<Option<Bound<Vec<u8>>>> {
        let Some((value, included)) = bound else { return Ok(Some(Bound::Included(all.clone()))) };
        let value = value.eval(&[], cx)?;
        Ok(match to_key(&value, ty) {
            Key::Null => None,
            Key::Exact(value) => {
                let mut key = prefix.to_vec();
                key::encode(&value, ty, part.order, &mut key);
                Some(if *included { Bound::Included(key) } else { Bound::Excluded(key) })
            }
            // Beyond the type on the near side bounds nothing, on the far side leaves nothing.
            outside if beyond(&outside) => Some(Bound::Included(all.clone())),
            _ => None,
        })
    };
    let lower = end(&access.bounds.lower, |key| matches!(key, Key::Below))?;
    let upper = end(&access.bounds.upper, |key| matches!(key, Key::Above))?;
    let (Some(lower), Some(upper)) = (lower, upper) else { return Ok(None) };
    Ok(Some(if part.order.descending { (upper, lower) } else { (lower, upper) }))
}
