//! Joins. The right rows are held in memory by their keys, and the left rows look for theirs as they come; so it stays as long as
//! the right rows fit what the operator may hold. A join without keys is one whose rows all have the same, empty key.
//!
//! When they do not fit, both sides are written to partitions by the hash of their keys, and each pair of partitions is joined
//! like the whole, with another hash. Some partitions stay in memory, fewer and fewer as right rows come. What another hash
//! cannot divide, because it has one key only, is joined in blocks: as many left rows as fit are held, and all right rows pass
//! by from disk, once for each block.
//!
//! | module | idea |
//! | --- | --- |
//! | `table` | rows in memory by key |
//! | `build` | right rows on their way into memory, or to partitions |
//! | `probe` | left rows looking for theirs |
//! | `blocks` | right rows passing by blocks of left rows |
//!
//! What must hold: a left row that finds nothing comes out of a left join once. In `probe` a row sees all right rows of its key
//! in one pass, for equal keys share a partition; in `blocks` the mark of having found one lives as long as the row's block.

mod blocks;
mod build;
mod probe;
mod table;

use std::sync::Arc;

use self::blocks::Blocks;
use self::build::{Build, Fit};
use self::probe::Probe;
use super::Cx;
use super::node::Node;
use super::spill::{LEVELS, Source, Stored, budget, hash_budget};
use crate::sql::RowBatch;
use crate::sql::expr::{EvalCx, Expr};
use crate::sql::plan::Join;
use crate::types::{Datum, SqlResult, SqlType, key};

/// Pairs tried before others may run.
const PAIRS: usize = 10_000;

/// A join being run.
pub(crate) struct JoinNode {
    join: Arc<Join>,
    pass: Option<Pass>,
    /// What is to be joined after the pass at hand.
    later: Vec<Pair>,
}

/// Rows of both sides that have to be joined.
struct Pair {
    left: Side,
    right: Side,
    /// How often they have been partitioned.
    level: u32,
}

enum Side {
    Node(Box<Node>),
    Stored(Stored),
}

enum Pass {
    Probe(Box<Probe>),
    Blocks(Box<Blocks>),
}

impl JoinNode {
    pub(super) fn new(left: Node, right: Node, join: Arc<Join>) -> JoinNode {
        // The empty key cannot be divided.
        let level = if join.keys.is_empty() { LEVELS } else { 0 };
        let (left, right) = (Side::Node(Box::new(left)), Side::Node(Box::new(right)));
        JoinNode { join, pass: None, later: vec![Pair { left, right, level }] }
    }

    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        loop {
            if let Some(pass) = &mut self.pass {
                let batch = match pass {
                    Pass::Probe(probe) => probe.next(cx).await?,
                    Pass::Blocks(blocks) => Box::pin(blocks.next(cx)).await?,
                };
                if batch.is_some() {
                    return Ok(batch);
                }
            }
            if let Some(Pass::Probe(probe)) = self.pass.take() {
                self.later.extend(Box::pin(probe.finish()).await?);
            }
            let Some(pair) = self.later.pop() else { return Ok(None) };
            self.pass = Some(Box::pin(begin(&self.join, pair, cx)).await?);
        }
    }
}

/// Reads the right side; how the pair is joined depends on how much that is.
async fn begin(join: &Arc<Join>, mut pair: Pair, cx: &mut Cx<'_>) -> SqlResult<Pass> {
    let budget = if join.keys.is_empty() { budget(cx) } else { hash_budget(cx) };
    let block = budget.block();
    let mut build = Build::new(join.clone(), budget, pair.level);
    let mut right = pair.right.source(join.right_width, block);
    let mut fit = Fit::Yes;
    while fit == Fit::Yes
        && let Some(batch) = right.next(cx).await?
    {
        fit = build.take(batch, cx).await?;
    }
    let left = pair.left.source(join.left_width, block);
    if fit == Fit::Yes {
        let (table, divided) = build.finish().await?;
        return Ok(Pass::Probe(Box::new(Probe::new(join.clone(), left, table, divided))));
    }
    let (stored, budget) = match pair.right {
        Side::Stored(stored) => (stored, build.into_budget()),
        Side::Node(_) => build.store(right, cx).await?,
    };
    Ok(Pass::Blocks(Box::new(Blocks::new(join.clone(), left, stored, budget))))
}

impl Side {
    /// Its rows; those of a node once, those that were written as often as they are asked for.
    fn source(&mut self, width: usize, block: usize) -> Source {
        match self {
            Side::Node(node) => Source::Node(std::mem::replace(node, Box::new(Node::One(true)))),
            Side::Stored(stored) => Source::Stored(stored.read(width, block)),
        }
    }
}

impl Join {
    /// Columns of what it gives.
    fn width(&self) -> usize {
        self.left_width + self.right_width
    }

    /// Appends the bytes of a left row's key; false when a part of it is NULL, which equals nothing.
    fn left_key(&self, row: &[Datum], eval: &EvalCx<'_>, out: &mut Vec<u8>) -> SqlResult<bool> {
        join_key(self.keys.iter().map(|(left, _, ty)| (left, *ty)), row, eval, out)
    }

    /// The same of a right row's.
    fn right_key(&self, row: &[Datum], eval: &EvalCx<'_>, out: &mut Vec<u8>) -> SqlResult<bool> {
        join_key(self.keys.iter().map(|(_, right, ty)| (right, *ty)), row, eval, out)
    }

    /// Appends two rows side by side, if they pass the rest of the condition.
    fn pair(
        &self,
        (left, right): (&[Datum], &[Datum]),
        eval: &EvalCx<'_>,
        out: &mut RowBatch,
    ) -> SqlResult<bool> {
        out.push_with(|data| {
            let start = data.len();
            data.extend(left.iter().chain(right).cloned());
            match &self.filter {
                Some(filter) => filter.is_true(&data[start..], eval),
                None => Ok(true),
            }
        })
    }

    /// Appends a left row that found nothing.
    fn alone(&self, left: &[Datum], out: &mut RowBatch) {
        let nulls = std::iter::repeat_n(Datum::Null, self.right_width);
        out.push(left.iter().cloned().chain(nulls));
    }
}

fn join_key<'e>(
    keys: impl Iterator<Item = (&'e Expr, SqlType)>,
    row: &[Datum],
    eval: &EvalCx<'_>,
    out: &mut Vec<u8>,
) -> SqlResult<bool> {
    for (expr, ty) in keys {
        let value = expr.eval(row, eval)?;
        if value.is_null() {
            return Ok(false);
        }
        key::encode_equal(&value, ty, out);
    }
    Ok(true)
}
