//! The tree of running nodes.

use std::borrow::Cow;
use std::sync::Arc;

use sextant_volume::BoxFuture;

use super::Cx;
use super::aggregate::AggregateNode;
use super::distinct::DistinctNode;
use super::join::JoinNode;
use super::lock::LockNode;
use super::scan::Scanner;
use super::set::SetNode;
use super::sort::SortNode;
use super::watched::WatchedNode;
use crate::sql::RowBatch;
use crate::sql::expr::{EvalCx, Expr};
use crate::sql::plan::{Plan, Watch};
use crate::types::key::{self, KeyOrder};
use crate::types::{Datum, SqlError, SqlResult, SqlType, oids, sqlstate};

/// Rows of a batch that a node makes by itself.
pub(super) const BATCH: usize = 256;
/// Such a batch ends behind so many bytes of strings.
const BATCH_BYTES: usize = 1 << 20;

/// A plan being run.
pub(crate) enum Node {
    One(bool),
    Scan(Box<Scanner>),
    Values { rows: Arc<Vec<Vec<Expr>>>, width: usize, at: usize },
    Series(Box<Series>),
    Filter(Box<Node>, Arc<Expr>),
    Project(Box<Projection>),
    Join(Box<JoinNode>),
    Aggregate(Box<AggregateNode>),
    Sort(Box<SortNode>),
    Lock(Box<LockNode>),
    Limit(Box<Limit>),
    Distinct(Box<DistinctNode>),
    DistinctOn(Box<Node>, Arc<Vec<(Expr, SqlType)>>, Option<Vec<u8>>),
    Append(Vec<Node>),
    Set(Box<SetNode>),
    Watched(Box<WatchedNode>),
}

/// Expressions over the rows of a node.
pub(crate) struct Projection {
    input: Node,
    exprs: Arc<Vec<Expr>>,
    /// Where nothing is to be evaluated: which columns these are.
    columns: Option<Vec<usize>>,
    /// The rows at hand, and how many of them are done.
    batch: RowBatch,
    done: usize,
}

/// generate_series being run.
pub(crate) struct Series {
    args: Arc<[Expr; 3]>,
    ty: SqlType,
    /// Next, last, step; `None` before the start.
    state: Option<(Option<i64>, i64, i64)>,
}

/// LIMIT and OFFSET being run.
pub(crate) struct Limit {
    input: Node,
    limit: Option<Arc<Expr>>,
    offset: Option<Arc<Expr>>,
    /// Rows to skip, rows to give; `None` before the start.
    left: Option<(u64, u64)>,
}

impl Node {
    /// A fresh run of a plan.
    pub(crate) fn new(plan: &Plan) -> Node {
        Node::watched(plan, None)
    }

    /// The same, with somebody who wants to know what each part of it does.
    pub(crate) fn watched(plan: &Plan, watch: Option<&Watch>) -> Node {
        let new = |plan: &Plan| Node::watched(plan, watch);
        let boxed = |plan: &Plan| Box::new(new(plan));
        let node = match plan {
            Plan::One => Node::One(false),
            Plan::Scan(scan) => Node::Scan(Box::new(Scanner::new(scan.clone()))),
            Plan::Values(rows, width) => Node::Values { rows: rows.clone(), width: *width, at: 0 },
            Plan::Series(args, ty) => {
                Node::Series(Box::new(Series { args: args.clone(), ty: *ty, state: None }))
            }
            Plan::Filter(input, filter) => Node::Filter(boxed(input), filter.clone()),
            Plan::Project(input, exprs) => {
                return Node::Project(Box::new(Projection::new(new(input), exprs.clone())));
            }
            Plan::Join(left, right, join) => {
                Node::Join(Box::new(JoinNode::new(new(left), new(right), join.clone())))
            }
            Plan::Aggregate(input, aggregation) => {
                Node::Aggregate(Box::new(AggregateNode::new(new(input), aggregation.clone())))
            }
            Plan::Sort(input, keys) => Node::Sort(Box::new(SortNode::new(new(input), keys.clone()))),
            Plan::Lock(input, marks) => {
                Node::Lock(Box::new(LockNode::new(new(input), input.clone(), marks.clone())))
            }
            Plan::Limit(input, limit, offset) => Node::Limit(Box::new(Limit {
                input: new(input),
                limit: limit.clone(),
                offset: offset.clone(),
                left: None,
            })),
            Plan::Distinct(input, types) => {
                Node::Distinct(Box::new(DistinctNode::new(new(input), types.clone())))
            }
            Plan::DistinctOn(input, keys) => Node::DistinctOn(boxed(input), keys.clone(), None),
            // Taken from the back.
            Plan::Append(inputs) => Node::Append(inputs.iter().rev().map(new).collect()),
            Plan::SetOp(left, right, operation, all, types) => {
                Node::Set(Box::new(SetNode::new(new(left), new(right), (*operation, *all), types.clone())))
            }
        };
        match watch {
            Some(watch) => Node::Watched(Box::new(WatchedNode::new(node, watch.of(plan.place())))),
            None => node,
        }
    }

    /// The next rows, never an empty batch; `None` at the end. The frequent shapes are run without boxing a future.
    pub(crate) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        match self {
            Node::Scan(scanner) => scanner.next(cx).await,
            Node::Project(projection) => projection.next(cx).await,
            other => other.next_boxed(cx).await,
        }
    }

    /// As [`Node::next`], for any node.
    pub(super) fn next_boxed<'a>(
        &'a mut self,
        cx: &'a mut Cx<'_>,
    ) -> BoxFuture<'a, SqlResult<Option<RowBatch>>> {
        Box::pin(async move {
            // Work that never waits lets others run from time to time, and can be cancelled there.
            tokio::task::consume_budget().await;
            match self {
                Node::One(done) => {
                    if std::mem::replace(done, true) {
                        return Ok(None);
                    }
                    let mut batch = RowBatch::new(0);
                    batch.push([]);
                    Ok(Some(batch))
                }
                Node::Values { rows, width, at } => values(rows, *width, at, cx).await,
                Node::Series(series) => series.next(cx),
                Node::Filter(input, filter) => {
                    while let Some(mut batch) = input.next_boxed(cx).await? {
                        let eval = cx.eval();
                        batch.retain(|row| filter.is_true(row, &eval))?;
                        if !batch.is_empty() {
                            return Ok(Some(batch));
                        }
                    }
                    Ok(None)
                }
                Node::Join(join) => join.next(cx).await,
                Node::Aggregate(aggregate) => aggregate.next(cx).await,
                Node::Sort(sort) => sort.next(cx, None).await,
                Node::Lock(lock) => lock.next(cx).await,
                Node::Limit(limit) => limit.next(cx).await,
                Node::Distinct(distinct) => distinct.next(cx).await,
                Node::DistinctOn(input, keys, last) => distinct_on(input, keys, last, cx).await,
                Node::Append(inputs) => {
                    while let Some(input) = inputs.last_mut() {
                        if let Some(batch) = input.next_boxed(cx).await? {
                            return Ok(Some(batch));
                        }
                        inputs.pop();
                    }
                    Ok(None)
                }
                Node::Set(set) => set.next(cx).await,
                Node::Watched(node) => node.next(cx, None).await,
                Node::Scan(_) | Node::Project(..) => self.next(cx).await,
            }
        })
    }
}

/// A row's bytes for finding equal rows.
pub(super) fn row_key(row: &[Datum], types: &[SqlType]) -> Vec<u8> {
    let mut key = Vec::with_capacity(16);
    put_row_key(row, types, &mut key);
    key
}

/// The same, over what was in `key`.
pub(super) fn put_row_key(row: &[Datum], types: &[SqlType], key: &mut Vec<u8>) {
    key.clear();
    for (datum, ty) in row.iter().zip(types) {
        key::encode(datum, *ty, KeyOrder::default(), key);
    }
}

impl Projection {
    fn new(input: Node, exprs: Arc<Vec<Expr>>) -> Projection {
        let column = |expr: &Expr| match expr {
            Expr::Column(n) => Some(*n),
            _ => None,
        };
        let columns: Option<Vec<usize>> = exprs.iter().map(column).collect();
        let columns = columns.filter(|all| (1..all.len()).all(|n| !all[..n].contains(&all[n])));
        Projection { input, exprs, columns, batch: RowBatch::new(0), done: 0 }
    }

    async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        if self.done == self.batch.len() {
            let next = match &mut self.input {
                Node::Scan(scanner) => scanner.next(cx).await?,
                other => other.next_boxed(cx).await?,
            };
            let Some(batch) = next else { return Ok(None) };
            if let Some(columns) = &self.columns {
                return Ok(Some(batch.into_columns(columns)));
            }
            (self.batch, self.done) = (batch, 0);
        }
        project(&self.batch, &mut self.done, &self.exprs, cx).await.map(Some)
    }
}

/// Evaluates expressions for the rows behind the first `done`, as long as their values are not too long for one batch.
pub(super) async fn project(
    batch: &RowBatch,
    done: &mut usize,
    exprs: &[Expr],
    cx: &Cx<'_>,
) -> SqlResult<RowBatch> {
    let mut out = RowBatch::new(exprs.len());
    let mut bytes = 0;
    cx.evaluate(&mut |eval| {
        // A row whose sequence ran dry is begun again.
        while *done < batch.len() && bytes < BATCH_BYTES {
            let row = batch.row(*done);
            out.push_with(|data| made(exprs, row, eval, data, &mut bytes))?;
            *done += 1;
            eval.ctx.row_done();
        }
        Ok(())
    })
    .await?;
    Ok(out)
}

/// Appends the values of a row, and counts the bytes of those that are made here.
fn made(
    exprs: &[Expr],
    row: &[Datum],
    eval: &EvalCx<'_>,
    data: &mut Vec<Datum>,
    bytes: &mut usize,
) -> SqlResult<bool> {
    for expr in exprs {
        let value = expr.eval(row, eval)?;
        if let Cow::Owned(value) = &value {
            *bytes += value.string_bytes();
        }
        data.push(value.into_owned());
    }
    Ok(true)
}

async fn values(
    rows: &[Vec<Expr>],
    width: usize,
    at: &mut usize,
    cx: &Cx<'_>,
) -> SqlResult<Option<RowBatch>> {
    let part = &rows[*at..];
    let (mut out, mut bytes) = (RowBatch::new(width), 0);
    cx.evaluate(&mut |eval| {
        while out.len() < part.len().min(BATCH) && bytes < BATCH_BYTES {
            let exprs = &part[out.len()];
            out.push_with(|data| made(exprs, &[], eval, data, &mut bytes))?;
            eval.ctx.row_done();
        }
        Ok(())
    })
    .await?;
    *at += out.len();
    Ok((!out.is_empty()).then_some(out))
}

impl Series {
    fn next(&mut self, cx: &Cx<'_>) -> SqlResult<Option<RowBatch>> {
        let state = match &mut self.state {
            Some(state) => state,
            None => {
                let eval = cx.eval();
                let mut values = [None; 3];
                for (value, arg) in values.iter_mut().zip(&*self.args) {
                    *value = arg.eval(&[], &eval)?.as_i64();
                }
                let [Some(start), Some(stop), Some(step)] = values else { return Ok(None) };
                if step == 0 {
                    let message = "step size cannot equal zero";
                    return Err(SqlError::new(sqlstate::INVALID_PARAMETER_VALUE, message));
                }
                self.state.insert((Some(start), stop, step))
            }
        };
        let (next, stop, step) = state;
        let mut out = RowBatch::new(1);
        while let Some(value) = *next
            && out.len() < BATCH
        {
            if (*step > 0 && value > *stop) || (*step < 0 && value < *stop) {
                *next = None;
                break;
            }
            out.push([if self.ty.oid == oids::INT4 {
                Datum::Int4(value as i32)
            } else {
                Datum::Int8(value)
            }]);
            *next = value.checked_add(*step);
        }
        Ok((!out.is_empty()).then_some(out))
    }
}

impl Limit {
    async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        let (mut skip, mut give) = match self.left {
            Some(left) => left,
            None => {
                let eval = cx.eval();
                let skip =
                    count(self.offset.as_deref(), &eval, sqlstate::INVALID_ROW_COUNT_IN_OFFSET, "OFFSET")?;
                let give =
                    count(self.limit.as_deref(), &eval, sqlstate::INVALID_ROW_COUNT_IN_LIMIT, "LIMIT")?;
                (skip.unwrap_or(0), give.unwrap_or(u64::MAX))
            }
        };
        while give > 0 {
            let keep = usize::try_from(skip.saturating_add(give)).ok();
            let next = match &mut self.input {
                Node::Sort(sort) => sort.next(cx, keep).await?,
                Node::Watched(node) => node.next(cx, keep).await?,
                other => other.next_boxed(cx).await?,
            };
            let Some(mut batch) = next else { break };
            let skipped = skip.min(batch.len() as u64);
            batch.skip(skipped as usize);
            skip -= skipped;
            batch.truncate(usize::try_from(give).unwrap_or(usize::MAX));
            give -= batch.len() as u64;
            self.left = Some((skip, give));
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
        self.left = Some((0, 0));
        Ok(None)
    }
}

fn count(expr: Option<&Expr>, eval: &EvalCx<'_>, code: &'static str, clause: &str) -> SqlResult<Option<u64>> {
    let Some(expr) = expr else { return Ok(None) };
    let value = expr.eval(&[], eval)?.as_i64();
    value
        .map(|n| u64::try_from(n).map_err(|_| SqlError::new(code, format!("{clause} must not be negative"))))
        .transpose()
}

async fn distinct_on(
    input: &mut Node,
    keys: &[(Expr, SqlType)],
    last: &mut Option<Vec<u8>>,
    cx: &mut Cx<'_>,
) -> SqlResult<Option<RowBatch>> {
    while let Some(mut batch) = input.next_boxed(cx).await? {
        let eval = cx.eval();
        batch.retain(|row| {
            let mut bytes = Vec::new();
            for (expr, ty) in keys {
                key::encode(&*expr.eval(row, &eval)?, *ty, KeyOrder::default(), &mut bytes);
            }
            let is_first = last.as_ref() != Some(&bytes);
            *last = Some(bytes);
            SqlResult::Ok(is_first)
        })?;
        if !batch.is_empty() {
            return Ok(Some(batch));
        }
    }
    Ok(None)
}
