//! Left rows looking for the right rows of their key in memory. Where the right rows were divided, left rows of partitions
//! that are on disk go there too.

use std::sync::Arc;

use super::build::Divided;
use super::table::Table;
use super::{PAIRS, Pair, Side};
use crate::sql::RowBatch;
use crate::sql::bind::JoinKind;
use crate::sql::exec::Cx;
use crate::sql::exec::node::BATCH;
use crate::sql::exec::spill::{Partitions, Source, partition_of};
use crate::sql::plan::Join;
use crate::types::SqlResult;

/// See the module.
pub(super) struct Probe {
    join: Arc<Join>,
    left: Source,
    table: Table,
    divided: Option<Divided>,
    partitions: Option<Partitions>,
    /// The left rows at hand, and which of them is looking.
    batch: RowBatch,
    row: usize,
    looking: Option<Looking>,
    key: Vec<u8>,
}

/// How far a row is.
#[derive(Clone, Copy)]
struct Looking {
    candidate: Option<usize>,
    matched: bool,
}

/// Why it stopped.
enum Stop {
    /// There are no more left rows at hand.
    Used,
    /// The batch is full, or many pairs were tried.
    Full,
    /// A partition has to be flushed.
    Flush(usize),
}

impl Probe {
    pub(super) fn new(join: Arc<Join>, left: Source, table: Table, divided: Option<Divided>) -> Probe {
        Probe {
            join,
            left,
            table,
            divided,
            partitions: None,
            batch: RowBatch::default(),
            row: 0,
            looking: None,
            key: Vec::new(),
        }
    }

    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        let mut out = RowBatch::new(self.join.width());
        loop {
            match self.fill(cx, &mut out)? {
                Stop::Full if out.len() >= BATCH => return Ok(Some(out)),
                Stop::Full => tokio::task::consume_budget().await,
                Stop::Flush(n) => {
                    if let Some(partitions) = &mut self.partitions {
                        partitions.flush(n).await?;
                    }
                }
                Stop::Used => match self.left.next(cx).await? {
                    Some(batch) => {
                        self.batch = batch;
                        self.row = 0;
                    }
                    None => return Ok((!out.is_empty()).then_some(out)),
                },
            }
        }
    }

    fn fill(&mut self, cx: &Cx<'_>, out: &mut RowBatch) -> SqlResult<Stop> {
        let eval = cx.eval();
        let mut tried = 0;
        while self.row < self.batch.len() {
            let left = self.batch.row(self.row);
            let mut looking = match self.looking.take() {
                Some(looking) => looking,
                None => {
                    self.key.clear();
                    let has_key = self.join.left_key(left, &eval, &mut self.key)?;
                    if has_key
                        && let Some(divided) = &self.divided
                        && let Some(n) = divided.on_disk(&self.key)
                    {
                        let partitions = match &mut self.partitions {
                            Some(partitions) => partitions,
                            None => {
                                self.partitions.insert(Partitions::new(&self.table.budget, divided.level)?)
                            }
                        };
                        self.row += 1;
                        match partitions.put(n, left) {
                            true => return Ok(Stop::Flush(n)),
                            false => continue,
                        }
                    }
                    let candidate = if has_key { self.table.first(&self.key) } else { None };
                    Looking { candidate, matched: false }
                }
            };
            while let Some(n) = looking.candidate {
                looking.matched |= self.join.pair((left, self.table.row(n)), &eval, out)?;
                looking.candidate = self.table.after(n);
                tried += 1;
                if out.len() >= BATCH || tried >= PAIRS {
                    self.looking = Some(looking);
                    return Ok(Stop::Full);
                }
            }
            if !looking.matched && self.join.kind == JoinKind::Left {
                self.join.alone(left, out);
            }
            self.row += 1;
        }
        Ok(Stop::Used)
    }

    /// No left rows are left: what is still to be joined.
    pub(super) async fn finish(self) -> SqlResult<Vec<Pair>> {
        let (Some(divided), Some(partitions)) = (self.divided, self.partitions) else {
            return Ok(Vec::new());
        };
        // The table is let go of before the next one is made.
        drop(self.table);
        let pairs = divided.right.into_iter().zip(partitions.finish().await?);
        let pairs = pairs.filter(|(_, left)| left.rows() > 0).map(|(right, left)| Pair {
            level: right.level,
            left: Side::Stored(left),
            right: Side::Stored(right),
        });
        Ok(pairs.collect())
    }
}

impl Divided {
    /// The partition of a key, if it is on disk and has right rows.
    fn on_disk(&self, key: &[u8]) -> Option<usize> {
        let n = partition_of(self.level, key);
        (n >= self.resident && self.right.get(n).is_some_and(|right| right.rows() > 0)).then_some(n)
    }
}
