//! Running plans: nodes that are asked for batches of rows, from the top down. Expressions are synchronous; a node
//! awaits only where it reads rows, waits for a lock, or asks the node below.
//!
//! | module | runs |
//! | --- | --- |
//! | `scan`, `range` | tables and indexes |
//! | `node` | filter, project, limit and the like, and the tree itself |
//! | `join`, `aggregate`, `sort`, `set` | what has to remember rows |
//! | `dml`, `copy` | changes of rows |
//! | `ddl`, `vacuum` | changes of the catalog, and cleaning up |

mod aggregate;
mod copy;
mod ddl;
mod dml;
mod join;
mod node;
mod range;
mod scan;
mod set;
mod sort;
mod vacuum;

use std::sync::Arc;

pub use copy::CopyIn;
pub(crate) use ddl::run as run_ddl;
pub(crate) use dml::Change;
pub(crate) use node::Node;
pub use vacuum::vacuum;

use super::expr::EvalCx;
use super::{Database, SessionContext};
use crate::catalog::SequenceInfo;
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
    pub(crate) subqueries: &'a [Vec<Datum>],
}

/// What an evaluation came to.
enum Attempt<T> {
    Done(T),
    /// A sequence must reserve more values first.
    Refill(Arc<SequenceInfo>),
}

impl Cx<'_> {
    /// For evaluating expressions; not to be held across an await.
    pub(crate) fn eval(&self) -> EvalCx<'_> {
        EvalCx { subqueries: self.subqueries, ..EvalCx::new(self.db, self.ctx, self.params) }
    }

    fn attempt<T>(&self, f: &mut (dyn FnMut(&EvalCx<'_>) -> SqlResult<T> + Send)) -> SqlResult<Attempt<T>> {
        let cx = self.eval();
        match f(&cx) {
            Ok(value) => Ok(Attempt::Done(value)),
            Err(error) => match cx.wanted.take() {
                Some(sequence) => Ok(Attempt::Refill(sequence)),
                None => Err(error),
            },
        }
    }

    /// Evaluates what may draw values of sequences; `f` is called again after more were reserved.
    pub(crate) async fn evaluate<T>(
        &self,
        f: &mut (dyn FnMut(&EvalCx<'_>) -> SqlResult<T> + Send),
    ) -> SqlResult<T> {
        loop {
            match self.attempt(f)? {
                Attempt::Done(value) => return Ok(value),
                Attempt::Refill(sequence) => self.db.catalog.sequences.refill(&sequence).await?,
            }
        }
    }
}
