//! Sorting. Rows are held in memory; with a LIMIT above only as many as it can give.

use std::sync::Arc;

use super::Cx;
use super::node::{BATCH, Node};
use crate::sql::RowBatch;
use crate::sql::bind::SortKey;
use crate::types::{Datum, SqlResult, key};

/// A sort being run.
pub(crate) struct SortNode {
    input: Node,
    keys: Arc<Vec<SortKey>>,
    sorted: Option<std::vec::IntoIter<(Vec<u8>, Vec<Datum>)>>,
    width: usize,
}

impl SortNode {
    pub(super) fn new(input: Node, keys: Arc<Vec<SortKey>>) -> SortNode {
        SortNode { input, keys, sorted: None, width: 0 }
    }

    /// The next rows in order. `keep`: how many are wanted at all.
    pub(super) async fn next(&mut self, cx: &mut Cx<'_>, keep: Option<usize>) -> SqlResult<Option<RowBatch>> {
        if self.sorted.is_none() {
            let rows = self.sort(cx, keep.unwrap_or(usize::MAX)).await?;
            self.sorted = Some(rows.into_iter());
        }
        let Some(sorted) = &mut self.sorted else { return Ok(None) };
        let mut out = RowBatch::new(self.width);
        for (_, row) in sorted.by_ref().take(BATCH) {
            out.push(row);
        }
        Ok((!out.is_empty()).then_some(out))
    }

    async fn sort(&mut self, cx: &mut Cx<'_>, keep: usize) -> SqlResult<Vec<(Vec<u8>, Vec<Datum>)>> {
        let mut rows: Vec<(Vec<u8>, Vec<Datum>)> = Vec::new();
        while let Some(batch) = self.input.next_boxed(cx).await? {
            self.width = batch.width();
            let eval = cx.eval();
            for row in batch.into_rows() {
                let mut bytes = Vec::with_capacity(16);
                for sort_key in self.keys.iter() {
                    key::encode(&*sort_key.expr.eval(&row, &eval)?, sort_key.ty, sort_key.order, &mut bytes);
                }
                rows.push((bytes, row));
            }
            // Now and then what cannot be among the first is dropped.
            if rows.len() / 2 > keep.saturating_add(BATCH) {
                cut(&mut rows, keep);
            }
        }
        cut(&mut rows, keep);
        Ok(rows)
    }
}

/// Sorts, stably, and keeps the first rows.
fn cut(rows: &mut Vec<(Vec<u8>, Vec<Datum>)>, keep: usize) {
    rows.sort_by(|a, b| a.0.cmp(&b.0));
    rows.truncate(keep);
}
