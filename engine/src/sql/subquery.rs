//! Sub-queries that do not look at the row they stand in: they are run before their statement.

use super::bind::{Subquery, SubqueryKind};
use super::exec::{Cx, Node, hash_budget};
use super::expr::{Answer, ListBuilder};
use super::plan::{self, Plan};
use crate::types::{Datum, SqlError, SqlResult, SqlType, sqlstate};

/// One of them.
pub(crate) struct PlannedSubquery {
    plan: Plan,
    kind: SubqueryKind,
    /// The type of its column.
    ty: SqlType,
}

impl PlannedSubquery {
    pub(crate) fn new(bound: Subquery) -> PlannedSubquery {
        PlannedSubquery { plan: plan::plan(bound.rel), kind: bound.kind, ty: bound.ty }
    }

    async fn answer(&self, cx: &mut Cx<'_>) -> SqlResult<Answer> {
        let mut node = Node::new(&self.plan);
        Ok(match self.kind {
            SubqueryKind::Exists => Answer::Value(Datum::Bool(node.next(cx).await?.is_some())),
            SubqueryKind::Scalar => Answer::Value(scalar(&mut node, cx).await?),
            SubqueryKind::List => {
                let mut list = ListBuilder::new(hash_budget(cx));
                while let Some(batch) = node.next(cx).await? {
                    for row in batch.rows() {
                        list.add(&row[0], self.ty).await?;
                    }
                }
                Answer::List(list.finish().await?)
            }
        })
    }
}

async fn scalar(node: &mut Node, cx: &mut Cx<'_>) -> SqlResult<Datum> {
    let mut value = None;
    while let Some(batch) = node.next(cx).await? {
        if value.is_some() || batch.len() > 1 {
            return Err(SqlError::new(
                sqlstate::CARDINALITY_VIOLATION,
                "more than one row returned by a subquery used as an expression",
            ));
        }
        value = batch.row(0).first().cloned();
    }
    Ok(value.unwrap_or_default())
}

/// What they come to, in their order: one may have others in it, which come before it.
pub(crate) async fn answers(subqueries: &[PlannedSubquery], cx: &mut Cx<'_>) -> SqlResult<Vec<Answer>> {
    let mut answers = Vec::with_capacity(subqueries.len());
    for subquery in subqueries {
        let mut cx = Cx {
            db: cx.db,
            ctx: cx.ctx,
            txn: cx.txn,
            snapshot: cx.snapshot,
            params: cx.params,
            subqueries: &answers,
            instead: cx.instead,
        };
        let answer = subquery.answer(&mut cx).await?;
        answers.push(answer);
    }
    Ok(answers)
}
