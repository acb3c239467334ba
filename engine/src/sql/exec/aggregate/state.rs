//! What the aggregates remember of a group.

use std::collections::HashSet;

use crate::sql::bind::{AggregateCall, AggregateKind};
use crate::types::key::{self, KeyOrder};
use crate::types::{Datum, Numeric, SqlError, SqlResult, compare, oids};

/// Bytes of an entry of a hash table beside what it holds.
pub(super) const OVERHEAD: usize = 48;

/// What [`State::admit`] says.
pub(super) enum Admitted {
    /// It counts; bytes taken to remember that.
    Counts(usize),
    Seen,
    /// There is no room to remember it: its key, to find out later whether it comes more than once.
    Later(Vec<u8>),
}

/// What an aggregate remembers of a group.
pub(super) struct State {
    value: Value,
    /// Values seen, for DISTINCT.
    seen: Option<HashSet<Vec<u8>>>,
}

enum Value {
    Count(i64),
    /// Sum and count of integers; 128 bits take 2^64 of the largest.
    Integers(i128, i64),
    Floats(f64, i64),
    Numerics(Numeric, i64),
    /// min, max, bool_and, bool_or: the best so far.
    One(Datum),
    Text(Option<String>),
}

impl State {
    pub(super) fn new(call: &AggregateCall) -> State {
        let value = match call.kind {
            AggregateKind::Count => Value::Count(0),
            AggregateKind::Sum | AggregateKind::Avg => match call.ty.oid {
                oids::FLOAT4 | oids::FLOAT8 => Value::Floats(0.0, 0),
                oids::NUMERIC => Value::Numerics(Numeric::from(0i64), 0),
                _ => Value::Integers(0, 0),
            },
            AggregateKind::StringAgg => Value::Text(None),
            _ => Value::One(Datum::Null),
        };
        State { value, seen: call.distinct.then(HashSet::new) }
    }

    /// Whether a value that is not NULL counts: not when DISTINCT and seen before.
    pub(super) fn admit(&mut self, call: &AggregateCall, datum: &Datum, has_room: bool) -> Admitted {
        let Some(seen) = &mut self.seen else {
            return Admitted::Counts(0);
        };
        let mut bytes = Vec::new();
        key::encode(datum, call.ty, KeyOrder::default(), &mut bytes);
        if seen.contains(&bytes) {
            return Admitted::Seen;
        }
        if !has_room {
            return Admitted::Later(bytes);
        }
        let taken = bytes.len() + OVERHEAD;
        seen.insert(bytes);
        Admitted::Counts(taken)
    }

    /// Takes a value that counts. Bytes that it keeps of it.
    pub(super) fn add(&mut self, call: &AggregateCall, datum: &Datum, separator: &Datum) -> SqlResult<usize> {
        let mut kept = 0;
        match &mut self.value {
            Value::Count(n) => *n += 1,
            Value::Integers(sum, n) => {
                *sum += i128::from(datum.as_i64().unwrap_or_default());
                *n += 1;
            }
            Value::Floats(sum, n) => {
                let f = match datum {
                    Datum::Float4(f) => f64::from(*f),
                    Datum::Float8(f) => *f,
                    _ => 0.0,
                };
                let was_finite = sum.is_finite() && f.is_finite();
                *sum += f;
                *n += 1;
                if was_finite && sum.is_infinite() {
                    return Err(overflow());
                }
            }
            Value::Numerics(sum, n) => {
                if let Datum::Numeric(value) = datum {
                    *sum = sum.add(value);
                }
                *n += 1;
            }
            Value::One(best) => {
                let better = match (call.kind, &*best) {
                    (_, Datum::Null) => true,
                    (AggregateKind::Min, old) => compare(datum, old, call.ty).is_some_and(|o| o.is_lt()),
                    (AggregateKind::Max, old) => compare(datum, old, call.ty).is_some_and(|o| o.is_gt()),
                    (AggregateKind::BoolAnd, _) => !datum.is_true(),
                    (_, _) => datum.is_true(),
                };
                if better {
                    kept = datum.string_bytes().saturating_sub(best.string_bytes());
                    *best = datum.clone();
                }
            }
            Value::Text(text) => {
                let part = datum.as_str().unwrap_or_default();
                kept = part.len();
                match text {
                    Some(text) => {
                        text.push_str(separator.as_str().unwrap_or_default());
                        text.push_str(part);
                    }
                    None => *text = Some(part.to_owned()),
                }
            }
        }
        Ok(kept)
    }

    pub(super) fn finish(self, call: &AggregateCall) -> SqlResult<Datum> {
        let average = call.kind == AggregateKind::Avg;
        Ok(match self.value {
            Value::Count(n) => Datum::Int8(n),
            Value::Integers(_, 0) | Value::Floats(_, 0) | Value::Numerics(_, 0) => Datum::Null,
            Value::Integers(sum, n) if average => Datum::numeric(Numeric::from(sum).div(&Numeric::from(n))?),
            Value::Integers(sum, _) if call.result.oid == oids::INT8 => {
                Datum::Int8(i64::try_from(sum).map_err(|_| SqlError::out_of_range("bigint"))?)
            }
            Value::Integers(sum, _) => Datum::numeric(Numeric::from(sum)),
            Value::Floats(sum, n) if average => Datum::Float8(sum / n as f64),
            Value::Floats(sum, _) if call.result.oid == oids::FLOAT4 => {
                let single = sum as f32;
                if single.is_infinite() && sum.is_finite() {
                    return Err(overflow());
                }
                Datum::Float4(single)
            }
            Value::Floats(sum, _) => Datum::Float8(sum),
            Value::Numerics(sum, n) if average => Datum::numeric(sum.div(&Numeric::from(n))?),
            Value::Numerics(sum, _) => Datum::numeric(sum),
            Value::One(datum) => datum,
            Value::Text(text) => text.map_or(Datum::Null, Datum::text),
        })
    }
}

fn overflow() -> SqlError {
    SqlError::new(crate::types::sqlstate::NUMERIC_OUT_OF_RANGE, "value out of range: overflow")
}
