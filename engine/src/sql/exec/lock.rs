//! Locking rows above joins and sorts: what is locked is what the query gives, row by row, no more.
//!
//! A row that somebody changed since the snapshot was taken is made again from the newest versions of its parts (READ
//! COMMITTED; `lock_row` refuses it above): the plan below is run with each of its tables holding that one row. What it
//! no longer gives is left out; what it gives takes the old row's place in the order, as in PostgreSQL.

use std::collections::VecDeque;
use std::sync::Arc;

use super::node::Node;
use super::{Cx, Instead};
use crate::catalog::TableInfo;
use crate::sql::RowBatch;
use crate::sql::bind::{LockMark, RowLocking};
use crate::sql::plan::Plan;
use crate::table::{LockOutcome, RowId};
use crate::txn::{RowLock, TxnError};
use crate::types::{Datum, SqlError, SqlResult, sqlstate};

/// Locks a row, its newest version in `bytes`: true when that is another than the snapshot's. `None` when the row is
/// gone, or is to be skipped.
pub(super) async fn lock_row(
    cx: &mut Cx<'_>,
    table: &TableInfo,
    locking: RowLocking,
    id: RowId,
    bytes: &mut Vec<u8>,
) -> SqlResult<Option<bool>> {
    let txns = &cx.db.txns;
    let locked = match locking.lock {
        RowLock::KeyShare => {
            let keys: Vec<_> = table.indexes.iter().filter(|i| i.is_key()).map(|i| &i.store).collect();
            txns.lock_keys(cx.txn, &table.store, id, &keys, locking.wait, bytes).await
        }
        lock => txns.lock_row(cx.txn, &table.store, id, lock, locking.wait, bytes).await,
    };
    match locked {
        Ok(LockOutcome::Locked) => Ok(Some(false)),
        Ok(LockOutcome::Updated) => Ok(Some(true)),
        Ok(LockOutcome::Gone | LockOutcome::SelfModified) => Ok(None),
        Err(TxnError::LockNotAvailable) if locking.skip_locked => Ok(None),
        Err(TxnError::LockNotAvailable) => Err(SqlError::new(
            sqlstate::LOCK_NOT_AVAILABLE,
            format!("could not obtain lock on row in relation \"{}\"", table.name),
        )),
        Err(error) => Err(error.into()),
    }
}

/// See the module.
pub(crate) struct LockNode {
    plan: Arc<Plan>,
    input: Node,
    marks: Arc<Vec<LockMark>>,
    found: VecDeque<Vec<Datum>>,
}

impl LockNode {
    pub(super) fn new(input: Node, plan: Arc<Plan>, marks: Arc<Vec<LockMark>>) -> LockNode {
        LockNode { input, plan, marks, found: VecDeque::new() }
    }

    /// One row at a time, so that LIMIT locks no more than it returns.
    pub(super) async fn next(&mut self, cx: &mut Cx<'_>) -> SqlResult<Option<RowBatch>> {
        loop {
            while let Some(row) = self.found.pop_front() {
                if let Some(row) = self.lock(row, cx).await? {
                    let mut batch = RowBatch::new(row.len());
                    batch.push(row);
                    return Ok(Some(batch));
                }
            }
            match self.input.next_boxed(cx).await? {
                Some(batch) => self.found.extend(batch.into_rows()),
                None => return Ok(None),
            }
        }
    }

    async fn lock(&self, row: Vec<Datum>, cx: &mut Cx<'_>) -> SqlResult<Option<Vec<Datum>>> {
        let mut parts = Vec::with_capacity(self.marks.len());
        let mut changed = false;
        for mark in self.marks.iter() {
            let mut part = None;
            if let Some(id) = row[mark.column].as_i64().map(|id| RowId(id as u64)) {
                let mut bytes = Vec::new();
                match mark.locking {
                    Some(locking) => match lock_row(cx, &mark.table, locking, id, &mut bytes).await? {
                        Some(is_newer) => changed |= is_newer,
                        None => return Ok(None),
                    },
                    None => {
                        cx.db.txns.get(cx.snapshot, &mark.table.store, id, &mut bytes).await?;
                    }
                }
                part = Some((id, bytes));
            }
            parts.push(Instead { alias: mark.alias.clone(), row: part });
        }
        if changed { self.again(&parts, cx).await } else { Ok(Some(row)) }
    }

    /// The row as its parts make it now.
    async fn again(&self, parts: &[Instead], cx: &mut Cx<'_>) -> SqlResult<Option<Vec<Datum>>> {
        let mut cx = Cx { instead: parts, ..cx.part() };
        let made = Node::new(&self.plan).next_boxed(&mut cx).await?;
        Ok(made.and_then(|batch| batch.into_rows().next()))
    }
}
