//! Joins: the right side is read into memory, by the hash of its keys if there are any.

use std::collections::HashMap;
use std::sync::Arc;

use super::Cx;
use super::node::{BATCH, Node};
use crate::sql::RowBatch;
use crate::sql::bind::JoinKind;
use crate::sql::expr::{EvalCx, Expr};
use crate::sql::plan::Join;
use crate::types::key::{self, KeyOrder};
use crate::types::{Datum, SqlResult, SqlType, oids};

/// Pairs tried before others may run.
const PAIRS: usize = 10_000;

/// A join being run.
pub(crate) struct JoinNode {
    left: Node,
    right: Node,
    join: Arc<Join>,
    built: Option<Built>,
    /// The left rows at hand, and where in them.
    batch: RowBatch,
    row: usize,
    /// Which of the row's candidates is next, and whether one has matched.
    candidate: usize,
    matched: bool,
}

struct Built {
    rows: Vec<Vec<Datum>>,
    by_key: HashMap<Vec<u8>, Vec<usize>>,
}

impl JoinNode {
    pub(super) fn new(left: Node, right: Node, join: Arc<Join>) -> JoinNode {
        JoinNode {
            left,
            right,
            join,
            built: None,
            batch: RowBatch::default(),
            row: 0,
            candidate: 0,
            matched: false,
        }
    }

    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        if self.built.is_none() {
            self.built = Some(self.build(cx).await?);
        }
        let mut out = RowBatch::new(self.join.left_width + self.join.right_width);
        loop {
            let more = self.fill(cx, &mut out)?;
            if out.len() >= BATCH {
                return Ok(Some(out));
            }
            if more {
                tokio::task::consume_budget().await;
                continue;
            }
            match self.left.next_boxed(cx).await? {
                Some(batch) => {
                    self.batch = batch;
                    self.row = 0;
                }
                None => return Ok((!out.is_empty()).then_some(out)),
            }
        }
    }

    async fn build(&mut self, cx: &mut Cx<'_>) -> SqlResult<Built> {
        let mut built = Built { rows: Vec::new(), by_key: HashMap::new() };
        while let Some(batch) = self.right.next_boxed(cx).await? {
            let eval = cx.eval();
            for row in batch.into_rows() {
                let keys = self.join.keys.iter().map(|(_, right, ty)| (right, *ty));
                if !self.join.keys.is_empty()
                    && let Some(key) = join_key(keys, &row, &eval)?
                {
                    built.by_key.entry(key).or_default().push(built.rows.len());
                }
                built.rows.push(row);
            }
        }
        Ok(built)
    }

    /// Joins the left rows at hand until they are used up (false), the batch is full, or so many pairs were tried.
    fn fill(&mut self, cx: &Cx<'_>, out: &mut RowBatch) -> SqlResult<bool> {
        let Some(built) = &self.built else { return Ok(false) };
        let eval = cx.eval();
        let mut tried = 0;
        while self.row < self.batch.len() {
            let left = self.batch.row(self.row);
            let keys = self.join.keys.iter().map(|(left, _, ty)| (left, *ty));
            let hashed: Option<&[usize]> = if self.join.keys.is_empty() {
                None
            } else {
                let found = join_key(keys, left, &eval)?.and_then(|key| built.by_key.get(&key));
                Some(found.map_or(&[][..], Vec::as_slice))
            };
            let count = hashed.map_or(built.rows.len(), <[usize]>::len);
            while self.candidate < count {
                let n = hashed.map_or(self.candidate, |of_key| of_key[self.candidate]);
                self.candidate += 1;
                let pair = left.iter().chain(&built.rows[n]).cloned();
                let kept = out.push_with(|data| {
                    let start = data.len();
                    data.extend(pair);
                    match &self.join.filter {
                        Some(filter) => filter.is_true(&data[start..], &eval),
                        None => Ok(true),
                    }
                })?;
                self.matched |= kept;
                tried += 1;
                if out.len() >= BATCH || tried >= PAIRS {
                    return Ok(true);
                }
            }
            if !self.matched && self.join.kind == JoinKind::Left {
                let nulls = std::iter::repeat_n(Datum::Null, self.join.right_width);
                out.push(left.iter().cloned().chain(nulls));
            }
            self.row += 1;
            self.candidate = 0;
            self.matched = false;
        }
        Ok(false)
    }
}

/// The bytes of a row's keys; `None` when one is NULL, which equals nothing.
fn join_key<'e>(
    keys: impl Iterator<Item = (&'e Expr, SqlType)>,
    row: &[Datum],
    eval: &EvalCx<'_>,
) -> SqlResult<Option<Vec<u8>>> {
    let mut bytes = Vec::with_capacity(16);
    for (expr, ty) in keys {
        let value = expr.eval(row, eval)?;
        if value.is_null() {
            return Ok(None);
        }
        // Integers of different sizes must have equal bytes.
        match value.as_i64() {
            Some(n) if ty.oid != oids::OID => {
                key::encode(&Datum::Int8(n), SqlType::INT8, KeyOrder::default(), &mut bytes)
            }
            _ => key::encode(&value, ty, KeyOrder::default(), &mut bytes),
        }
    }
    Ok(Some(bytes))
}
