//! Running plans: nodes that are asked for batches of rows, from the top down. Expressions are synchronous; a node
//! awaits only where it reads rows, waits for a lock, or asks the node below.
//!
//! | module | runs |
//! | --- | --- |
//! | `scan`, `range` | tables and indexes |
//! | `node` | filter, project, limit and the like, and the tree itself |
//! | `lock` | rows above joins and sorts |
//! | `join`, `aggregate`, `distinct`, `sort`, `set` | what has to remember rows |
//! | `spill` | rows that do not fit `work_mem` |
//! | `dml`, `copy`, `returned` | changes of rows |
//! | `rules`, `foreign`, `deferred` | what a table's constraints want of them |
//! | `watched` | any of these, under EXPLAIN ANALYZE |
//! | `ddl`, `vacuum` | changes of the catalog, and cleaning up |

mod aggregate;
mod copy;
mod ddl;
mod deferred;
mod distinct;
mod dml;
mod foreign;
mod join;
mod lock;
mod node;
mod range;
mod returned;
mod rules;
mod scan;
mod set;
mod sort;
mod spill;
mod vacuum;
mod watched;

use std::sync::Arc;

pub use copy::CopyIn;
pub use ddl::reindex;
pub(crate) use ddl::{columns_of_view, create_concurrently, drop_concurrently, run as run_ddl};
pub use deferred::{set_constraints, settle};
pub(crate) use dml::Change;
pub(crate) use foreign::{is_there, key_to_ask};
pub(crate) use node::Node;
pub(crate) use returned::ReturnedRows;
pub(crate) use rules::check_row;
pub(crate) use spill::hash_budget;
pub use vacuum::vacuum;

use super::expr::{Answer, EvalCx, Wanted};
use super::{Database, SessionContext};
use crate::spill::Spill;
use crate::table::RowId;
use crate::txn::{Snapshot, Transaction};
use crate::types::{Datum, SqlResult};

/// What a running statement has at hand.
pub(crate) struct Cx<'a> {
    pub(crate) db: &'a Arc<Database>,
    pub(crate) ctx: &'a SessionContext,
    pub(crate) txn: &'a mut Transaction,
    pub(crate) snapshot: &'a Snapshot,
    pub(crate) params: &'a [Datum],
    /// Results of the subqueries that were run before.
    pub(crate) subqueries: &'a [Answer],
    /// Where what does not fit goes.
    pub(crate) spill: &'a Arc<Spill>,
    /// Rows that stand for whole tables while a row that somebody changed is judged again.
    pub(crate) instead: &'a [Instead],
}

/// A version of a row, in place of all that a scan of that name would find; `None` in place of none.
pub(crate) struct Instead {
    pub(crate) alias: String,
    pub(crate) row: Option<(RowId, Vec<u8>)>,
}

/// What an evaluation came to.
enum Attempt<T> {
    Done(T),
    /// This first, then again.
    Wait(Wanted),
}

impl<'a> Cx<'a> {
    /// Of a statement without parameters and subqueries.
    pub(crate) fn plain(
        db: &'a Arc<Database>,
        ctx: &'a SessionContext,
        txn: &'a mut Transaction,
        snapshot: &'a Snapshot,
    ) -> Cx<'a> {
        Cx { db, ctx, txn, snapshot, params: &[], subqueries: &[], spill: &db.spill, instead: &[] }
    }

    /// The same, as seen by a part of the statement.
    pub(crate) fn part(&mut self) -> Cx<'_> {
        Cx {
            db: self.db,
            ctx: self.ctx,
            txn: self.txn,
            snapshot: self.snapshot,
            params: self.params,
            subqueries: self.subqueries,
            spill: self.spill,
            instead: self.instead,
        }
    }

    /// For evaluating expressions; not to be held across an await.
    pub(crate) fn eval(&self) -> EvalCx<'_> {
        EvalCx { subqueries: self.subqueries, ..EvalCx::new(self.db, self.ctx, self.params) }
    }

    fn attempt<T>(&self, f: &mut (dyn FnMut(&EvalCx<'_>) -> SqlResult<T> + Send)) -> SqlResult<Attempt<T>> {
        let cx = self.eval();
        match f(&cx) {
            Ok(value) => Ok(Attempt::Done(value)),
            Err(error) => match cx.wanted.take() {
                Some(wanted) => Ok(Attempt::Wait(wanted)),
                None => Err(error),
            },
        }
    }

    /// Evaluates what may draw values of sequences or take advisory locks; `f` is called again after what it had to wait
    /// for.
    pub(crate) async fn evaluate<T>(
        &self,
        f: &mut (dyn FnMut(&EvalCx<'_>) -> SqlResult<T> + Send),
    ) -> SqlResult<T> {
        loop {
            match self.attempt(f)? {
                Attempt::Done(value) => return Ok(value),
                Attempt::Wait(Wanted::Values(sequence)) => {
                    self.db.catalog.sequences.refill(&sequence).await?
                }
                Attempt::Wait(Wanted::Lock(wish)) => {
                    if let Some(locks) = self.ctx.locks() {
                        locks.wait(wish, self.txn.lock_timeout()).await?;
                    }
                }
            }
        }
    }
}
