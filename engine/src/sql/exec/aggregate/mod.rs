//! Aggregation: groups by hash, in the order in which their first rows came. When there is no room for another group, rows of
//! groups that are not there yet go to partitions, which are aggregated one after the other behind what is there. What
//! DISTINCT has no room to remember is sorted.

mod state;

use std::collections::HashMap;
use std::sync::Arc;

use self::state::{Admitted, OVERHEAD, State};
use super::Cx;
use super::node::{BATCH, Node};
use super::spill::{LEVELS, Partitions, Row, Stored, StoredRows, hash_budget, held};
use crate::spill::{Budget, Sorter};
use crate::sql::RowBatch;
use crate::sql::bind::AggregateCall;
use crate::sql::expr::EvalCx;
use crate::sql::plan::Aggregation;
use crate::types::key::{self, KeyOrder};
use crate::types::{Datum, SqlError, SqlResult};

/// An aggregation being run.
pub(crate) struct AggregateNode {
    input: Option<Node>,
    plan: Arc<Aggregation>,
    groups: std::vec::IntoIter<Group>,
    /// Rows whose groups come later, and their width.
    stored: Vec<Stored>,
    width: usize,
}

struct Group {
    keys: Vec<Datum>,
    states: Vec<State>,
}

impl Group {
    fn new(keys: Vec<Datum>, calls: &[AggregateCall]) -> Group {
        Group { keys, states: calls.iter().map(State::new).collect() }
    }
}

impl AggregateNode {
    pub(super) fn new(input: Node, plan: Arc<Aggregation>) -> AggregateNode {
        let groups = Vec::new().into_iter();
        AggregateNode { input: Some(input), plan, groups, stored: Vec::new(), width: 0 }
    }

    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        loop {
            let calls = &self.plan.calls;
            let mut out = RowBatch::new(self.plan.keys.len() + calls.len());
            for group in self.groups.by_ref().take(BATCH) {
                out.push_with(|data| {
                    data.extend(group.keys);
                    for (state, call) in group.states.into_iter().zip(calls) {
                        data.push(state.finish(call)?);
                    }
                    Ok::<_, SqlError>(true)
                })?;
            }
            if !out.is_empty() {
                return Ok(Some(out));
            }
            let mut pass = Pass::new(self.plan.clone(), hash_budget(cx))?;
            if let Some(mut input) = self.input.take() {
                while let Some(batch) = input.next_boxed(cx).await? {
                    self.width = batch.width();
                    pass.take(&batch, cx).await?;
                }
            } else if let Some(stored) = self.stored.pop() {
                pass.level = stored.level;
                let mut rows: StoredRows = stored.read(self.width, pass.budget.block());
                while let Some(batch) = rows.next().await? {
                    pass.take(&batch, cx).await?;
                }
            } else {
                return Ok(None);
            }
            let (groups, later) = pass.finish().await?;
            self.groups = groups.into_iter();
            self.stored.extend(later.into_iter().filter(|stored| stored.rows() > 0));
        }
    }
}

/// What has to be done before the next row.
enum Need {
    Flush(usize),
    Room,
}

/// Rows going to groups as long as there is room for these.
struct Pass {
    plan: Arc<Aggregation>,
    budget: Budget,
    level: u32,
    groups: Vec<Group>,
    by_key: HashMap<Vec<u8>, usize>,
    partitions: Option<Partitions>,
    /// Values for DISTINCT that come up for the first time perhaps: by group, call and value.
    distinct: Sorter<Row>,
}

impl Pass {
    fn new(plan: Arc<Aggregation>, budget: Budget) -> SqlResult<Pass> {
        let mut groups = Vec::new();
        if plan.keys.is_empty() {
            // Without GROUP BY there is one group, of no rows perhaps.
            groups.push(Group::new(Vec::new(), &plan.calls));
        }
        let distinct = Sorter::new(budget.another(), usize::MAX);
        Ok(Pass { plan, budget, level: 0, groups, by_key: HashMap::new(), partitions: None, distinct })
    }

    async fn take(&mut self, batch: &RowBatch, cx: &Cx<'_>) -> SqlResult<()> {
        let mut at = 0;
        while let Some(need) = self.take_some(batch, &mut at, cx)? {
            match (need, &mut self.partitions) {
                (Need::Flush(n), Some(partitions)) => partitions.flush(n).await?,
                (Need::Flush(_), None) => {}
                (Need::Room, _) => self.distinct.make_room().await?,
            }
        }
        Ok(())
    }

    /// Takes rows until there are no more, or something is needed.
    fn take_some(&mut self, batch: &RowBatch, at: &mut usize, cx: &Cx<'_>) -> SqlResult<Option<Need>> {
        let eval = cx.eval();
        while *at < batch.len() {
            let row = batch.row(*at);
            *at += 1;
            let need = match self.group_of(row, &eval)? {
                Ok(n) => self.add(n, row, &eval)?.then_some(Need::Room),
                Err(key) => {
                    let partitions = match &mut self.partitions {
                        Some(partitions) => partitions,
                        None => self.partitions.insert(Partitions::new(&self.budget, self.level)?),
                    };
                    partitions.push(&key, row).map(Need::Flush)
                }
            };
            if need.is_some() {
                return Ok(need);
            }
        }
        Ok(None)
    }

    /// The row's group; its key when that is not there and there is no room for it.
    fn group_of(&mut self, row: &[Datum], eval: &EvalCx<'_>) -> SqlResult<Result<usize, Vec<u8>>> {
        let plan = &self.plan;
        if plan.keys.is_empty() {
            return Ok(Ok(0));
        }
        let mut bytes = Vec::with_capacity(16);
        let mut keys = Vec::with_capacity(plan.keys.len());
        for (expr, ty) in &plan.keys {
            let value = expr.eval(row, eval)?;
            key::encode(&value, *ty, KeyOrder::default(), &mut bytes);
            keys.push(value.into_owned());
        }
        if let Some(n) = self.by_key.get(&bytes) {
            return Ok(Ok(*n));
        }
        if self.budget.is_full() && self.level < LEVELS && !self.groups.is_empty() {
            return Ok(Err(bytes));
        }
        self.budget.take(bytes.len() + held(&keys) + plan.calls.len() * size_of::<State>() + OVERHEAD);
        self.groups.push(Group::new(keys, &plan.calls));
        self.by_key.insert(bytes, self.groups.len() - 1);
        Ok(Ok(self.groups.len() - 1))
    }

    /// Adds a row to its group. True when the values that are to be sorted need room.
    fn add(&mut self, group: usize, row: &[Datum], eval: &EvalCx<'_>) -> SqlResult<bool> {
        let mut is_full = false;
        for (n, call) in self.plan.calls.iter().enumerate() {
            let state = &mut self.groups[group].states[n];
            if let Some(filter) = &call.filter
                && !filter.is_true(row, eval)?
            {
                continue;
            }
            let separator = match &call.separator {
                Some(separator) => separator.eval(row, eval)?.into_owned(),
                None => Datum::Null,
            };
            let Some(arg) = &call.arg else {
                state.add(call, &Datum::Bool(true), &separator)?;
                continue;
            };
            let value = arg.eval(row, eval)?;
            if value.is_null() {
                continue;
            }
            match state.admit(call, &value, !self.budget.is_full()) {
                Admitted::Counts(taken) => {
                    let kept = state.add(call, &value, &separator)?;
                    self.budget.take(taken + kept);
                }
                Admitted::Seen => {}
                Admitted::Later(bytes) => {
                    let mut key = (group as u64).to_be_bytes().to_vec();
                    key.extend_from_slice(&(n as u32).to_be_bytes());
                    key.extend_from_slice(&bytes);
                    is_full |= self.distinct.push(key, Row(vec![value.into_owned(), separator]));
                }
            }
        }
        Ok(is_full)
    }

    /// The groups that had room, and the rows of the others.
    async fn finish(mut self) -> SqlResult<(Vec<Group>, Vec<Stored>)> {
        if !self.distinct.is_empty() {
            let (mut sorted, mut last) = (self.distinct.finish().await?, Vec::new());
            while let Some((key, Row(values))) = sorted.next().await? {
                if key == last {
                    continue;
                }
                let damaged = || SqlError::internal("a value of an aggregate lost its group");
                let (group, rest) = key.split_first_chunk().ok_or_else(damaged)?;
                let (n, _) = rest.split_first_chunk().ok_or_else(damaged)?;
                let (group, n) = (u64::from_be_bytes(*group) as usize, u32::from_be_bytes(*n) as usize);
                let state = self.groups.get_mut(group).and_then(|group| group.states.get_mut(n));
                let (Some(state), [value, separator]) = (state, &values[..]) else { return Err(damaged()) };
                state.add(&self.plan.calls[n], value, separator)?;
                last = key;
            }
        }
        let stored = match self.partitions {
            Some(partitions) => partitions.finish().await?,
            None => Vec::new(),
        };
        Ok((self.groups, stored))
    }
}
