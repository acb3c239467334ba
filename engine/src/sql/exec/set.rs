//! INTERSECT and EXCEPT: the right rows are counted, and the left ones looked up as they come. When there is no room to count
//! another row, rows of both sides that are not among those that are counted go to partitions, and each pair of partitions is
//! worked on later like the whole.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use super::Cx;
use super::node::{Node, row_key};
use super::spill::{LEVELS, Partitions, Source, Stored, hash_budget, partition_of};
use crate::spill::Budget;
use crate::sql::RowBatch;
use crate::sql::bind::SetOperation;
use crate::types::{SqlResult, SqlType};

/// Bytes of a count beside its row's.
const OVERHEAD: usize = 56;

/// A set operation being run.
pub(crate) struct SetNode {
    operation: Operation,
    pass: Option<Pass>,
    /// What is to be worked on after the pass at hand: left rows, right rows.
    later: Vec<(Rows, Rows)>,
}

/// What it does.
#[derive(Clone)]
struct Operation {
    intersect: bool,
    all: bool,
    types: Arc<Vec<SqlType>>,
}

enum Rows {
    Node(Box<Node>),
    Stored(Stored),
    None,
}

impl SetNode {
    pub(super) fn new(
        left: Node,
        right: Node,
        (operation, all): (SetOperation, bool),
        types: Arc<Vec<SqlType>>,
    ) -> SetNode {
        let operation = Operation { intersect: operation == SetOperation::Intersect, all, types };
        let both = (Rows::Node(Box::new(left)), Rows::Node(Box::new(right)));
        SetNode { operation, pass: None, later: vec![both] }
    }

    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        loop {
            if let Some(pass) = &mut self.pass {
                while let Some(batch) = pass.left.next(cx).await? {
                    let kept = pass.judge_all(batch).await?;
                    if !kept.is_empty() {
                        return Ok(Some(kept));
                    }
                }
            }
            if let Some(pass) = self.pass.take() {
                self.later.extend(Box::pin(pass.finish()).await?);
            }
            let Some((left, right)) = self.later.pop() else { return Ok(None) };
            self.pass = Some(Box::pin(Pass::begin(&self.operation, left, right, cx)).await?);
        }
    }
}

/// Left rows being looked up.
struct Pass {
    operation: Operation,
    level: u32,
    left: Source,
    /// How often each right row is left to be matched. Whether a row that is here, or could still come here, is kept is known.
    counts: HashMap<Vec<u8>, u64>,
    budget: Budget,
    /// The right rows that are not counted.
    right: Vec<Stored>,
    /// The left rows that wait for them.
    waiting: Option<Partitions>,
}

enum Verdict {
    Keep,
    Drop,
    Wait,
}

impl Pass {
    async fn begin(operation: &Operation, left: Rows, right: Rows, cx: &mut Cx<'_>) -> SqlResult<Pass> {
        let (budget, width) = (hash_budget(cx), operation.types.len());
        let level = if let Rows::Stored(stored) = &left { stored.level } else { 0 };
        let mut pass = Pass {
            operation: operation.clone(),
            level,
            left: left.source(width, budget.block()),
            counts: HashMap::new(),
            right: Vec::new(),
            waiting: None,
            budget,
        };
        let mut uncounted = None;
        let mut rows = right.source(width, pass.budget.block());
        while let Some(batch) = rows.next(cx).await? {
            pass.count_all(&batch, &mut uncounted).await?;
        }
        if let Some(partitions) = uncounted {
            pass.right = partitions.finish().await?;
        }
        Ok(pass)
    }

    async fn count_all(&mut self, batch: &RowBatch, uncounted: &mut Option<Partitions>) -> SqlResult<()> {
        for row in batch.rows() {
            let is_full = self.is_full();
            match self.counts.entry(row_key(row, &self.operation.types)) {
                Entry::Occupied(mut count) => *count.get_mut() += 1,
                Entry::Vacant(slot) if !is_full => {
                    self.budget.take(slot.key().len() + OVERHEAD);
                    slot.insert(1);
                }
                Entry::Vacant(slot) => {
                    let partitions = match uncounted {
                        Some(partitions) => partitions,
                        None => uncounted.insert(Partitions::new(&self.budget, self.level)?),
                    };
                    if let Some(n) = partitions.push(slot.key(), row) {
                        partitions.flush(n).await?;
                    }
                }
            }
        }
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.budget.is_full() && self.level < LEVELS
    }

    async fn judge_all(&mut self, batch: RowBatch) -> SqlResult<RowBatch> {
        let mut kept = RowBatch::new(batch.width());
        for row in batch.into_rows() {
            let key = row_key(&row, &self.operation.types);
            match self.judge(&key) {
                Verdict::Keep => kept.push(row),
                Verdict::Drop => {}
                Verdict::Wait => {
                    let partitions = match &mut self.waiting {
                        Some(partitions) => partitions,
                        None => self.waiting.insert(Partitions::new(&self.budget, self.level)?),
                    };
                    if let Some(n) = partitions.push(&key, &row) {
                        partitions.flush(n).await?;
                    }
                }
            }
        }
        Ok(kept)
    }

    fn judge(&mut self, key: &[u8]) -> Verdict {
        let Operation { intersect, all, .. } = self.operation;
        let keep = |it: bool| if it { Verdict::Keep } else { Verdict::Drop };
        if let Some(left) = self.counts.get_mut(key) {
            let is_matched = *left > 0;
            if all {
                *left -= u64::from(is_matched);
                return keep(intersect == is_matched);
            }
            // Each distinct row once: a matched one is used up, and for EXCEPT never comes.
            *left = 0;
            return keep(intersect && is_matched);
        }
        let n = partition_of(self.level, key);
        if self.right.get(n).is_some_and(|right| right.rows() > 0) {
            return Verdict::Wait;
        }
        if intersect || all {
            return keep(!intersect);
        }
        // EXCEPT gives it once, and has to remember that.
        if self.is_full() {
            return Verdict::Wait;
        }
        self.budget.take(key.len() + OVERHEAD);
        self.counts.insert(key.to_vec(), 0);
        Verdict::Keep
    }

    /// There are no more left rows: what is to be worked on later.
    async fn finish(self) -> SqlResult<Vec<(Rows, Rows)>> {
        let Some(waiting) = self.waiting else { return Ok(Vec::new()) };
        drop(self.counts);
        let mut right = self.right.into_iter();
        let mut later = Vec::new();
        for left in waiting.finish().await? {
            let right = right.next().map_or(Rows::None, Rows::Stored);
            if left.rows() > 0 {
                later.push((Rows::Stored(left), right));
            }
        }
        Ok(later)
    }
}

impl Rows {
    fn source(self, width: usize, block: usize) -> Source {
        match self {
            Rows::Node(node) => Source::Node(node),
            Rows::Stored(stored) => Source::Stored(stored.read(width, block)),
            Rows::None => Source::Nothing,
        }
    }
}
