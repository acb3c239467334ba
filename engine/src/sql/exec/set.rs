//! INTERSECT and EXCEPT.

use std::collections::HashMap;
use std::sync::Arc;

use super::Cx;
use super::node::{Node, retain, row_key};
use crate::sql::RowBatch;
use crate::sql::bind::SetOperation;
use crate::types::{SqlResult, SqlType};

/// A set operation being run.
pub(crate) struct SetNode {
    left: Node,
    right: Node,
    operation: SetOperation,
    all: bool,
    types: Arc<Vec<SqlType>>,
    /// How often each row of the right side is left to be matched.
    counts: Option<HashMap<Vec<u8>, u64>>,
}

impl SetNode {
    pub(super) fn new(
        left: Node,
        right: Node,
        (operation, all): (SetOperation, bool),
        types: Arc<Vec<SqlType>>,
    ) -> SetNode {
        SetNode { left, right, operation, all, types, counts: None }
    }

    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        if self.counts.is_none() {
            let mut counts: HashMap<Vec<u8>, u64> = HashMap::new();
            while let Some(batch) = self.right.next_boxed(cx).await? {
                for row in batch.rows() {
                    *counts.entry(row_key(row, &self.types)).or_default() += 1;
                }
            }
            self.counts = Some(counts);
        }
        while let Some(batch) = self.left.next_boxed(cx).await? {
            let Some(counts) = &mut self.counts else { return Ok(None) };
            let (intersect, all) = (self.operation == SetOperation::Intersect, self.all);
            let kept = retain(batch, |row| {
                let key = row_key(row, &self.types);
                Ok(match (counts.get_mut(&key), all) {
                    (Some(left), true) if *left > 0 => {
                        *left -= 1;
                        intersect
                    }
                    (Some(left), false) => {
                        // Each distinct row once: a matched one is used up, and for EXCEPT never comes.
                        let first = *left > 0;
                        *left = 0;
                        intersect && first
                    }
                    (_, true) => !intersect,
                    (None, false) => {
                        counts.insert(key, 0);
                        !intersect
                    }
                })
            })?;
            if !kept.is_empty() {
                return Ok(Some(kept));
            }
        }
        Ok(None)
    }
}
