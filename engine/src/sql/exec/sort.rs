//! Sorting. With a LIMIT above, only as many rows are kept as it can give.

use std::sync::Arc;

use super::Cx;
use super::node::{BATCH, Node};
use super::spill::{Row, budget};
use crate::spill::{Sorted, Sorter};
use crate::sql::RowBatch;
use crate::sql::bind::SortKey;
use crate::types::{SqlResult, key};

/// A sort being run.
pub(crate) struct SortNode {
    input: Node,
    keys: Arc<Vec<SortKey>>,
    sorted: Option<Sorted<Row>>,
    width: usize,
}

impl SortNode {
    pub(super) fn new(input: Node, keys: Arc<Vec<SortKey>>) -> SortNode {
        SortNode { input, keys, sorted: None, width: 0 }
    }

    /// The next rows in order. `keep`: how many are wanted at all.
    pub(super) async fn next(&mut self, cx: &mut Cx<'_>, keep: Option<usize>) -> SqlResult<Option<RowBatch>> {
        let sorted = match &mut self.sorted {
            Some(sorted) => sorted,
            None => {
                let sorted = self.sort(cx, keep.unwrap_or(usize::MAX)).await?;
                self.sorted.insert(sorted)
            }
        };
        let mut out = RowBatch::new(self.width);
        while out.len() < BATCH
            && let Some((_, Row(row))) = sorted.next().await?
        {
            out.push(row);
        }
        Ok((!out.is_empty()).then_some(out))
    }

    async fn sort(&mut self, cx: &mut Cx<'_>, keep: usize) -> SqlResult<Sorted<Row>> {
        let mut sorter = Sorter::new(budget(cx), keep);
        while let Some(batch) = self.input.next_boxed(cx).await? {
            self.width = batch.width();
            let mut rows = batch.into_rows();
            while push_some(&mut sorter, &mut rows, &self.keys, cx)? {
                sorter.make_room().await?;
            }
        }
        sorter.finish().await
    }
}

/// Takes rows until there are no more (false), or there is no room for the next.
fn push_some(
    sorter: &mut Sorter<Row>,
    rows: &mut impl Iterator<Item = Vec<crate::types::Datum>>,
    keys: &[SortKey],
    cx: &Cx<'_>,
) -> SqlResult<bool> {
    let eval = cx.eval();
    let mut usual = 16;
    for row in rows {
        let mut bytes = Vec::with_capacity(usual);
        for sort_key in keys {
            key::encode(&*sort_key.expr.eval(&row, &eval)?, sort_key.ty, sort_key.order, &mut bytes);
        }
        usual = bytes.len();
        if sorter.push(bytes, Row(row)) {
            return Ok(true);
        }
    }
    Ok(false)
}
