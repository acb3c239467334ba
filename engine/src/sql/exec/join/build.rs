//! Right rows on their way into memory. When there is no more room some partitions are written to disk, with those of their
//! rows that are here and all that come.

use std::sync::Arc;

use super::table::Table;
use crate::spill::Budget;
use crate::sql::RowBatch;
use crate::sql::exec::Cx;
use crate::sql::exec::spill::{LEVELS, PARTITIONS, Partitions, Source, Spool, Stored, partition_of};
use crate::sql::plan::Join;
use crate::types::{Datum, SqlResult};

/// Whether rows have been seen to fit, in memory or by being divided.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Fit {
    Yes,
    /// There is no more room, and no use in dividing them.
    No,
}

/// What has to be done before the next row.
enum Need {
    Flush(usize),
    Room,
}

/// Rows that are divided: the first `resident` partitions are in memory.
struct Dividing {
    resident: usize,
    partitions: Partitions,
}

/// Right rows that were divided.
pub(super) struct Divided {
    pub(super) level: u32,
    pub(super) resident: usize,
    /// All partitions; those in memory are empty here.
    pub(super) right: Vec<Stored>,
}

/// See the module.
pub(super) struct Build {
    join: Arc<Join>,
    table: Table,
    level: u32,
    /// Rows that have keys.
    rows: u64,
    dividing: Option<Dividing>,
    /// Rows of the batch at hand that are still to be taken.
    rest: Vec<Vec<Datum>>,
}

impl Build {
    pub(super) fn new(join: Arc<Join>, budget: Budget, level: u32) -> Build {
        Build { join, table: Table::new(budget), level, rows: 0, dividing: None, rest: Vec::new() }
    }

    pub(super) async fn take(&mut self, batch: RowBatch, cx: &Cx<'_>) -> SqlResult<Fit> {
        let mut rows = batch.into_rows();
        while let Some(need) = self.take_some(&mut rows, cx)? {
            match need {
                Need::Flush(n) => {
                    if let Some(dividing) = &mut self.dividing {
                        dividing.partitions.flush(n).await?;
                    }
                }
                Need::Room if self.level < LEVELS => self.divide().await?,
                Need::Room => {
                    self.rest = rows.collect();
                    return Ok(Fit::No);
                }
            }
        }
        Ok(Fit::Yes)
    }

    /// Takes rows until there are no more, or something is needed.
    fn take_some(
        &mut self,
        rows: &mut impl Iterator<Item = Vec<Datum>>,
        cx: &Cx<'_>,
    ) -> SqlResult<Option<Need>> {
        let eval = cx.eval();
        for row in rows {
            let mut key = Vec::with_capacity(16);
            if !self.join.right_key(&row, &eval, &mut key)? {
                continue;
            }
            self.rows += 1;
            if let Some(dividing) = &mut self.dividing {
                let n = partition_of(self.level, &key);
                if n >= dividing.resident {
                    match dividing.partitions.put(n, &row) {
                        true => return Ok(Some(Need::Flush(n))),
                        false => continue,
                    }
                }
            }
            self.table.push(Some(key), row);
            if self.table.budget.is_full() {
                return Ok(Some(Need::Room));
            }
        }
        Ok(None)
    }

    /// Writes half of the partitions that are in memory.
    async fn divide(&mut self) -> SqlResult<()> {
        let dividing = match &mut self.dividing {
            Some(dividing) => dividing,
            None => self.dividing.insert(Dividing {
                resident: PARTITIONS,
                partitions: Partitions::new(&self.table.budget, self.level)?,
            }),
        };
        dividing.resident /= 2;
        let mut drain = self.table.drain();
        while let Some((key, row)) = drain.next(&mut self.table.budget) {
            let n = partition_of(self.level, key);
            if n < dividing.resident {
                self.table.push(Some(key.to_vec()), row);
            } else if dividing.partitions.put(n, &row) {
                dividing.partitions.flush(n).await?;
            }
        }
        Ok(())
    }

    /// All rows were taken.
    pub(super) async fn finish(self) -> SqlResult<(Table, Option<Divided>)> {
        let Some(Dividing { resident, partitions }) = self.dividing else {
            return Ok((self.table, None));
        };
        let mut right = partitions.finish().await?;
        for stored in &mut right {
            // All rows in one partition: most likely they have one key, and no hash divides them.
            if stored.rows() == self.rows {
                stored.level = LEVELS;
            }
        }
        Ok((self.table, Some(Divided { level: self.level, resident, right })))
    }

    /// Rows that do not fit and are on disk anyway are let go of.
    pub(super) fn into_budget(self) -> Budget {
        self.table.budget.another()
    }

    /// Rows that do not fit are written, with all that come from `right`.
    pub(super) async fn store(mut self, mut right: Source, cx: &mut Cx<'_>) -> SqlResult<(Stored, Budget)> {
        let mut spool = Spool::new(&self.table.budget)?;
        let mut drain = self.table.drain();
        while let Some((_, row)) = drain.next(&mut self.table.budget) {
            spool.push(&row).await?;
        }
        for row in self.rest.drain(..) {
            spool.push(&row).await?;
        }
        while let Some(batch) = right.next(cx).await? {
            for row in batch.rows() {
                spool.push(row).await?;
            }
        }
        Ok((spool.finish().await?, self.into_budget()))
    }
}
