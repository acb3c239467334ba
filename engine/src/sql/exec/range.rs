//! From an index access and the values of an execution to ranges of keys.

use std::borrow::Cow;
use std::ops::Bound;

use crate::catalog::IndexColumn;
use crate::sql::expr::{EvalCx, Expr};
use crate::sql::plan::{Alternatives, Bounds, IndexAccess};
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
        let values = values(alternatives, cx)?;
        let mut longer = Vec::with_capacity(values.len());
        for value in &values {
            let Key::Exact(value) = to_key(value, part.ty) else { continue };
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
            Some(part) if !access.bounds.is_empty() => {
                let mut of_prefix = Vec::with_capacity(access.bounds.len());
                for bounds in &access.bounds {
                    of_prefix.extend(bounded(bounds, part, &prefix, cx)?);
                }
                if of_prefix.len() > 1 {
                    of_prefix = union(of_prefix);
                }
                if access.backward {
                    of_prefix.reverse();
                }
                ranges.append(&mut of_prefix);
            }
            _ if prefix.is_empty() => ranges.push((Bound::Unbounded, Bound::Unbounded)),
            _ => ranges.push((Bound::Included(prefix.clone()), Bound::Included(prefix))),
        }
    }
    Ok(ranges)
}

fn values<'c>(alternatives: &'c Alternatives, cx: &'c EvalCx<'_>) -> SqlResult<Vec<Cow<'c, Datum>>> {
    match alternatives {
        Alternatives::Values(values) => values.iter().map(|value| value.eval(&[], cx)).collect(),
        Alternatives::Subquery(n) => {
            let few = cx.list(*n)?.few().unwrap_or_default();
            Ok(few.iter().map(Cow::Borrowed).collect())
        }
    }
}

/// The same entries in ranges that do not meet, in the order of the index: no row comes twice.
fn union(ranges: Vec<KeyRange>) -> Vec<KeyRange> {
    let mut spans: Vec<Span> = ranges.into_iter().filter_map(span).collect();
    spans.sort_unstable();
    let mut apart: Vec<Span> = Vec::with_capacity(spans.len());
    for (start, end) in spans {
        match apart.last_mut() {
            Some((_, last)) if last.as_ref().is_none_or(|last| start <= *last) => {
                *last = last.take().zip(end).map(|(last, end)| last.max(end));
            }
            _ => apart.push((start, end)),
        }
    }
    let bounds = |(start, end): Span| (Bound::Included(start), end.map_or(Bound::Unbounded, Bound::Excluded));
    apart.into_iter().map(bounds).collect()
}

/// The first key of a range, and the first one behind it unless there is none.
type Span = (Vec<u8>, Option<Vec<u8>>);

fn span((lower, upper): KeyRange) -> Option<Span> {
    let start = match lower {
        Bound::Included(prefix) => prefix,
        Bound::Excluded(prefix) => key::after_prefix(&prefix)?,
        Bound::Unbounded => Vec::new(),
    };
    let end = match upper {
        Bound::Included(prefix) => key::after_prefix(&prefix),
        Bound::Excluded(prefix) => Some(prefix),
        Bound::Unbounded => None,
    };
    end.as_ref().is_none_or(|end| start < *end).then_some((start, end))
}

fn bounded(
    bounds: &Bounds,
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
    let lower = end(&bounds.lower, |key| matches!(key, Key::Below))?;
    let upper = end(&bounds.upper, |key| matches!(key, Key::Above))?;
    let (Some(lower), Some(upper)) = (lower, upper) else { return Ok(None) };
    Ok(Some(if part.order.descending { (upper, lower) } else { (lower, upper) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_that_meet_are_one() {
        use Bound::{Excluded, Included, Unbounded};
        let range =
            |lower: Bound<&[u8]>, upper: Bound<&[u8]>| (lower.map(<[u8]>::to_vec), upper.map(<[u8]>::to_vec));
        let joined = union(vec![
            range(Included(&[5]), Included(&[6])),
            range(Included(&[1]), Included(&[2])),
            range(Included(&[2, 7]), Excluded(&[3])),
            // Behind 6 is 7.
            range(Included(&[7]), Excluded(&[8])),
            // Nothing.
            range(Excluded(&[20]), Included(&[20])),
            range(Included(&[31]), Included(&[30])),
        ]);
        let wanted = [range(Included(&[1]), Excluded(&[3])), range(Included(&[5]), Excluded(&[8]))];
        assert_eq!(joined, wanted);
        let all = union(vec![
            range(Included(&[4]), Unbounded),
            range(Included(&[5]), Included(&[6])),
            range(Unbounded, Excluded(&[1])),
        ]);
        assert_eq!(all, [range(Included(&[]), Excluded(&[1])), range(Included(&[4]), Unbounded)]);
    }
}
