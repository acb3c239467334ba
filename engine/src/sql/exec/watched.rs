//! Operators under EXPLAIN ANALYZE: each tells what it gave, how long that took, and what it held and wrote. Otherwise there are
//! no such nodes.

use std::sync::Arc;

use super::Cx;
use super::node::Node;
use crate::sql::RowBatch;
use crate::sql::plan::Seen;
use crate::types::SqlResult;

/// An operator being watched.
pub(crate) struct WatchedNode {
    node: Node,
    seen: Arc<Seen>,
}

impl WatchedNode {
    pub(super) fn new(node: Node, seen: Arc<Seen>) -> WatchedNode {
        WatchedNode { node, seen }
    }

    /// The next rows. `keep`: of a sort, how many are wanted at all.
    pub(super) async fn next(&mut self, cx: &mut Cx<'_>, keep: Option<usize>) -> SqlResult<Option<RowBatch>> {
        let mut cx = Cx { spill: self.seen.spill(), ..cx.part() };
        let next = async {
            match &mut self.node {
                Node::Sort(sort) => sort.next(&mut cx, keep).await,
                other => other.next_boxed(&mut cx).await,
            }
        };
        measured(Some(&self.seen), next).await
    }
}

/// Tells of a batch, if somebody wants to know.
pub(super) async fn measured(
    seen: Option<&Seen>,
    next: impl Future<Output = SqlResult<Option<RowBatch>>>,
) -> SqlResult<Option<RowBatch>> {
    let Some(seen) = seen else { return next.await };
    let began = seen.begin();
    let batch = next.await?;
    seen.end(began, batch.as_ref().map_or(0, RowBatch::len));
    Ok(batch)
}
