//! Right rows passing by blocks of left rows: for right rows that do not fit in memory and cannot be divided. Each block of left
//! rows is as large as memory allows, and costs one reading of all right rows.

use std::sync::Arc;

use super::PAIRS;
use super::table::Table;
use crate::spill::Budget;
use crate::sql::RowBatch;
use crate::sql::bind::JoinKind;
use crate::sql::exec::Cx;
use crate::sql::exec::node::BATCH;
use crate::sql::exec::spill::{Source, Stored, StoredRows};
use crate::sql::plan::Join;
use crate::types::{Datum, SqlResult};

/// See the module.
pub(super) struct Blocks {
    join: Arc<Join>,
    left: Source,
    /// Left rows for which the last block had no room, the first last.
    rest: Vec<Vec<Datum>>,
    right: Stored,
    /// The block, and which of its rows have matched.
    table: Table,
    matched: Vec<bool>,
    phase: Phase,
}

enum Phase {
    /// A block is read.
    Load,
    /// Right rows pass by it.
    Pass(Box<Passing>),
    /// Its rows from here on that found nothing come out.
    Alone(usize),
}

struct Passing {
    rows: StoredRows,
    /// The right rows at hand, and which of them is looking.
    batch: RowBatch,
    row: usize,
    /// Its next candidate in the block; `None` when it did not begin.
    candidate: Option<Option<usize>>,
    key: Vec<u8>,
}

impl Blocks {
    pub(super) fn new(join: Arc<Join>, left: Source, right: Stored, budget: Budget) -> Blocks {
        let (rest, matched) = (Vec::new(), Vec::new());
        Blocks { join, left, rest, right, table: Table::new(budget), matched, phase: Phase::Load }
    }

    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        let mut out = RowBatch::new(self.join.width());
        loop {
            match &mut self.phase {
                Phase::Load => {
                    self.load(cx).await?;
                    if self.table.len() == 0 {
                        return Ok((!out.is_empty()).then_some(out));
                    }
                    self.matched.resize(self.table.len(), false);
                    self.phase = Phase::Pass(Box::new(Passing {
                        rows: self.right.read(self.join.right_width, self.table.budget.block()),
                        batch: RowBatch::default(),
                        row: 0,
                        candidate: None,
                        key: Vec::new(),
                    }));
                }
                Phase::Pass(passing) => {
                    if passing.fill(&self.join, &self.table, &mut self.matched, cx, &mut out)? {
                        if out.len() < BATCH {
                            tokio::task::consume_budget().await;
                        }
                    } else if let Some(batch) = passing.rows.next().await? {
                        passing.batch = batch;
                        passing.row = 0;
                    } else {
                        self.phase = Phase::Alone(0);
                    }
                }
                Phase::Alone(from) => {
                    let mut rows = *from..self.table.len();
                    if self.join.kind == JoinKind::Left {
                        for n in rows.by_ref().filter(|n| !self.matched[*n]).take(BATCH) {
                            self.join.alone(self.table.row(n), &mut out);
                        }
                        *from = rows.start;
                    } else {
                        *from = rows.end;
                    }
                    if *from == self.table.len() {
                        self.phase = Phase::Load;
                    }
                }
            }
            if out.len() >= BATCH {
                return Ok(Some(out));
            }
        }
    }

    /// Reads the next block.
    async fn load(&mut self, cx: &mut Cx<'_>) -> SqlResult<()> {
        self.matched.clear();
        self.table = Table::new(self.table.budget.another());
        loop {
            self.load_rest(cx)?;
            if self.table.budget.is_full() {
                return Ok(());
            }
            let Some(batch) = self.left.next(cx).await? else { return Ok(()) };
            self.rest.extend(batch.into_rows());
            self.rest.reverse();
        }
    }

    /// Takes rows as long as there is room.
    fn load_rest(&mut self, cx: &Cx<'_>) -> SqlResult<()> {
        let eval = cx.eval();
        while !self.table.budget.is_full()
            && let Some(row) = self.rest.pop()
        {
            let mut key = Vec::with_capacity(16);
            let has_key = self.join.left_key(&row, &eval, &mut key)?;
            self.table.push(has_key.then_some(key), row);
        }
        Ok(())
    }
}

impl Passing {
    /// Joins the right rows at hand until they are used up (false), the batch is full, or so many pairs were tried.
    fn fill(
        &mut self,
        join: &Join,
        table: &Table,
        matched: &mut [bool],
        cx: &Cx<'_>,
        out: &mut RowBatch,
    ) -> SqlResult<bool> {
        let eval = cx.eval();
        let mut tried = 0;
        while self.row < self.batch.len() {
            let right = self.batch.row(self.row);
            let mut candidate = match self.candidate.take() {
                Some(candidate) => candidate,
                None => {
                    self.key.clear();
                    let has_key = join.right_key(right, &eval, &mut self.key)?;
                    if has_key { table.first(&self.key) } else { None }
                }
            };
            while let Some(n) = candidate {
                matched[n] |= join.pair((table.row(n), right), &eval, out)?;
                candidate = table.after(n);
                tried += 1;
                if out.len() >= BATCH || tried >= PAIRS {
                    self.candidate = Some(candidate);
                    return Ok(true);
                }
            }
            self.row += 1;
        }
        Ok(false)
    }
}
