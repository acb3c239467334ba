//! Sub-queries that do not look at the row they stand in: they are run before their statement.

use super::bind::{Subquery, SubqueryKind};
use super::exec::{Cx, Node, hash_budget};
use super::expr::{Answer, ListBuilder};
use super::plan::{self, Plan, Shown, Watch};
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

    /// As EXPLAIN shows it.
    pub(crate) fn explain(&self, n: usize, shown: &mut Shown<'_>) {
        shown.subquery(n, self.place(), &self.plan);
    }

    /// Where it lies. Not all of it: that may be where its plan lies, too.
    fn place(&self) -> usize {
        std::ptr::from_ref(&self.kind).addr()
    }

    async fn answer(&self, cx: &mut Cx<'_>, watch: Option<&Watch>) -> SqlResult<Answer> {
        let seen = watch.map(|watch| watch.of(self.place()));
        let mut cx = Cx { spill: seen.as_ref().map_or(cx.spill, |seen| seen.spill()), ..cx.part() };
        let cx = &mut cx;
        let mut node = Node::watched(&self.plan, watch);
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
pub(crate) async fn answers(
    subqueries: &[PlannedSubquery],
    cx: &mut Cx<'_>,
    watch: Option<&Watch>,
) -> SqlResult<Vec<Answer>> {
    let mut answers = Vec::with_capacity(subqueries.len());
    for subquery in subqueries {
        let answer = subquery.answer(&mut Cx { subqueries: &answers, ..cx.part() }, watch).await?;
        answers.push(answer);
    }
    Ok(answers)
}
