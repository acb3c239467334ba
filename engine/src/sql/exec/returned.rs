//! The rows of RETURNING, which are given only when all of the statement is done: in memory as long as they fit `work_mem`, then
//! on the local disk.

use super::Cx;
use super::node::BATCH;
use super::spill::{Spool, StoredRows, budget, held};
use crate::spill::Budget;
use crate::sql::RowBatch;
use crate::types::{Datum, SqlResult};

/// Rows being collected.
pub(crate) struct Returned {
    width: usize,
    rows: Vec<Vec<Datum>>,
    budget: Option<Budget>,
    spool: Option<Spool>,
}

impl Returned {
    pub(super) fn new(width: usize) -> Returned {
        Returned { width, rows: Vec::new(), budget: None, spool: None }
    }

    pub(super) async fn add(&mut self, rows: RowBatch, cx: &Cx<'_>) -> SqlResult<()> {
        let budget = self.budget.get_or_insert_with(|| budget(cx));
        for row in rows.into_rows() {
            if let Some(spool) = &mut self.spool {
                spool.push(&row).await?;
                continue;
            }
            budget.take(held(&row));
            self.rows.push(row);
            if budget.is_full() {
                let spool = self.spool.insert(Spool::new(budget)?);
                for row in std::mem::take(&mut self.rows) {
                    budget.give(held(&row));
                    spool.push(&row).await?;
                }
            }
        }
        Ok(())
    }

    /// All rows are there.
    pub(super) async fn finish(self) -> SqlResult<ReturnedRows> {
        Ok(match (self.spool, self.budget) {
            (Some(spool), Some(budget)) => {
                ReturnedRows::Stored(spool.finish().await?.read(self.width, budget.block()))
            }
            _ => ReturnedRows::Memory { width: self.width, rows: self.rows.into_iter() },
        })
    }
}

/// Rows that were collected, in order.
pub(crate) enum ReturnedRows {
    Memory { width: usize, rows: std::vec::IntoIter<Vec<Datum>> },
    Stored(StoredRows),
}

impl ReturnedRows {
    /// The next rows, never an empty batch; `None` at the end.
    pub(crate) async fn next(&mut self) -> SqlResult<Option<RowBatch>> {
        match self {
            ReturnedRows::Memory { width, rows } => {
                let mut batch = RowBatch::new(*width);
                rows.take(BATCH).for_each(|row| batch.push(row));
                Ok((!batch.is_empty()).then_some(batch))
            }
            ReturnedRows::Stored(rows) => rows.next().await,
        }
    }
}
