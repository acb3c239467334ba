//! Aggregation: groups by hash, in the order in which their first rows came.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use super::Cx;
use super::node::{BATCH, Node};
use crate::sql::RowBatch;
use crate::sql::bind::{AggregateCall, AggregateKind};
use crate::sql::expr::EvalCx;
use crate::sql::plan::Aggregation;
use crate::types::key::{self, KeyOrder};
use crate::types::{Datum, Numeric, SqlError, SqlResult, compare, oids};

/// An aggregation being run.
pub(crate) struct AggregateNode {
    input: Node,
    plan: Arc<Aggregation>,
    groups: Option<std::vec::IntoIter<Group>>,
}

struct Group {
    keys: Vec<Datum>,
    states: Vec<State>,
}

/// What an aggregate remembers of a group.
struct State {
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
    fn new(call: &AggregateCall) -> State {
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

    /// Takes a value that is not NULL.
    fn add(&mut self, call: &AggregateCall, datum: &Datum, separator: &Datum) -> SqlResult<()> {
        if let Some(seen) = &mut self.seen {
            let mut bytes = Vec::new();
            key::encode(datum, call.ty, KeyOrder::default(), &mut bytes);
            if !seen.insert(bytes) {
                return Ok(());
            }
        }
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
                    *best = datum.clone();
                }
            }
            Value::Text(text) => {
                let part = datum.as_str().unwrap_or_default();
                match text {
                    Some(text) => {
                        text.push_str(separator.as_str().unwrap_or_default());
                        text.push_str(part);
                    }
                    None => *text = Some(part.to_owned()),
                }
            }
        }
        Ok(())
    }

    fn finish(self, call: &AggregateCall) -> SqlResult<Datum> {
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

impl Group {
    fn new(keys: Vec<Datum>, calls: &[AggregateCall]) -> Group {
        Group { keys, states: calls.iter().map(State::new).collect() }
    }

    fn add(&mut self, calls: &[AggregateCall], row: &[Datum], eval: &EvalCx<'_>) -> SqlResult<()> {
        for (state, call) in self.states.iter_mut().zip(calls) {
            if let Some(filter) = &call.filter
                && !filter.is_true(row, eval)?
            {
                continue;
            }
            let separator = match &call.separator {
                Some(separator) => separator.eval(row, eval)?.into_owned(),
                None => Datum::Null,
            };
            match &call.arg {
                None => state.add(call, &Datum::Bool(true), &separator)?,
                Some(arg) => {
                    let value = arg.eval(row, eval)?;
                    if !value.is_null() {
                        state.add(call, &value, &separator)?;
                    }
                }
            }
        }
        Ok(())
    }
}

impl AggregateNode {
    pub(super) fn new(input: Node, plan: Arc<Aggregation>) -> AggregateNode {
        AggregateNode { input, plan, groups: None }
    }

    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        if self.groups.is_none() {
            let groups = self.run(cx).await?;
            self.groups = Some(groups.into_iter());
        }
        let Some(groups) = &mut self.groups else { return Ok(None) };
        let calls = &self.plan.calls;
        let mut out = RowBatch::new(self.plan.keys.len() + calls.len());
        for group in groups.by_ref().take(BATCH) {
            out.push_with(|data| {
                data.extend(group.keys);
                for (state, call) in group.states.into_iter().zip(calls) {
                    data.push(state.finish(call)?);
                }
                Ok::<_, SqlError>(true)
            })?;
        }
        Ok((!out.is_empty()).then_some(out))
    }

    async fn run(&mut self, cx: &mut Cx<'_>) -> SqlResult<Vec<Group>> {
        let plan = self.plan.clone();
        let mut groups: Vec<Group> = Vec::new();
        let mut by_key: HashMap<Vec<u8>, usize> = HashMap::new();
        if plan.keys.is_empty() {
            // Without GROUP BY there is one group, of no rows perhaps.
            groups.push(Group::new(Vec::new(), &plan.calls));
        }
        while let Some(batch) = self.input.next_boxed(cx).await? {
            let eval = cx.eval();
            for row in batch.rows() {
                let n = if plan.keys.is_empty() {
                    0
                } else {
                    group_of(&plan, row, &eval, &mut by_key, &mut groups)?
                };
                groups[n].add(&plan.calls, row, &eval)?;
            }
        }
        Ok(groups)
    }
}

fn group_of(
    plan: &Aggregation,
    row: &[Datum],
    eval: &EvalCx<'_>,
    by_key: &mut HashMap<Vec<u8>, usize>,
    groups: &mut Vec<Group>,
) -> SqlResult<usize> {
    let mut bytes = Vec::with_capacity(16);
    let mut keys = Vec::with_capacity(plan.keys.len());
    for (expr, ty) in &plan.keys {
        let value = expr.eval(row, eval)?;
        key::encode(&value, *ty, KeyOrder::default(), &mut bytes);
        keys.push(value.into_owned());
    }
    if let Some(n) = by_key.get(&bytes) {
        return Ok(*n);
    }
    groups.push(Group::new(keys, &plan.calls));
    by_key.insert(bytes, groups.len() - 1);
    Ok(groups.len() - 1)
}
