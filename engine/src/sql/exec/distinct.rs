//! SELECT DISTINCT and UNION: each row once, as it comes. When there is no room to remember another row, those that were not
//! seen yet go to partitions, whose rows come last.

use std::collections::HashSet;
use std::sync::Arc;

use super::Cx;
use super::node::{Node, put_row_key};
use super::spill::{LEVELS, Partitions, Source, Stored, hash_budget};
use crate::spill::Budget;
use crate::sql::RowBatch;
use crate::types::{Datum, SqlResult, SqlType};

/// Bytes of an entry of the set beside the row's.
const OVERHEAD: usize = 48;

/// See the module.
pub(crate) struct DistinctNode {
    source: Source,
    types: Arc<Vec<SqlType>>,
    seen: HashSet<Box<[u8]>>,
    key: Vec<u8>,
    budget: Option<Budget>,
    level: u32,
    partitions: Option<Partitions>,
    stored: Vec<Stored>,
    width: usize,
}

impl DistinctNode {
    pub(super) fn new(input: Node, types: Arc<Vec<SqlType>>) -> DistinctNode {
        DistinctNode {
            source: Source::Node(Box::new(input)),
            types,
            seen: HashSet::new(),
            key: Vec::new(),
            budget: None,
            level: 0,
            partitions: None,
            stored: Vec::new(),
            width: 0,
        }
    }

    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        loop {
            let Some(mut batch) = self.source.next(cx).await? else {
                if !self.next_pass(cx).await? {
                    return Ok(None);
                }
                continue;
            };
            self.width = batch.width();
            let mut fresh = Vec::with_capacity(batch.len());
            for row in batch.rows() {
                fresh.push(self.is_fresh(row, cx).await?);
            }
            let mut fresh = fresh.into_iter();
            batch.retain(|_| SqlResult::Ok(fresh.next() == Some(true)))?;
            if !batch.is_empty() {
                return Ok(Some(batch));
            }
        }
    }

    /// True when a row is to be given now: it is the first of its kind. One that nobody knows whether it is goes to the
    /// partitions.
    async fn is_fresh(&mut self, row: &[Datum], cx: &Cx<'_>) -> SqlResult<bool> {
        put_row_key(row, &self.types, &mut self.key);
        let key = self.key.as_slice();
        let budget = self.budget.get_or_insert_with(|| hash_budget(cx));
        if !budget.is_full() || self.level >= LEVELS {
            let first = self.seen.insert(key.into());
            if first {
                budget.take(key.len() + OVERHEAD);
            }
            return Ok(first);
        }
        if self.seen.contains(key) {
            return Ok(false);
        }
        let partitions = match &mut self.partitions {
            Some(partitions) => partitions,
            None => self.partitions.insert(Partitions::new(budget, self.level)?),
        };
        if let Some(n) = partitions.push(key, row) {
            partitions.flush(n).await?;
        }
        Ok(false)
    }

    /// Begins another pass; false when there is nothing left.
    async fn next_pass(&mut self, cx: &Cx<'_>) -> SqlResult<bool> {
        if let Some(partitions) = self.partitions.take() {
            self.stored.extend(partitions.finish().await?.into_iter().filter(|stored| stored.rows() > 0));
        }
        let fresh = hash_budget(cx);
        self.seen.clear();
        let next = self.stored.pop();
        if let Some(stored) = &next {
            self.level = stored.level;
            self.source = Source::Stored(stored.read(self.width, fresh.block()));
        }
        self.budget = Some(fresh);
        Ok(next.is_some())
    }
}
