//! Reading a whole table, a leaf at a time.

use std::ops::{Bound, ControlFlow};

use super::values::is_value;
use super::{RowBatch, RowId, Table};
use crate::btree::{Direction, Resume, Tree};
use crate::txn::version::Header;
use crate::txn::{KeyRange, Snapshot, TransactionSystem, TxnError};

/// A scan in the order of row ids. It sees what its snapshot sees, whatever happens meanwhile.
pub struct TableScan {
    oid: u32,
    tree: Tree,
    snapshot: Snapshot,
    from: Option<Bound<Vec<u8>>>,
    /// Positions in the batch whose version is still to be found.
    unsettled: Vec<usize>,
}

/// A row id from a table's key.
pub(super) fn row_of(key: &[u8]) -> Option<RowId> {
    key.try_into().ok().map(|raw| RowId(u64::from_be_bytes(raw)))
}

impl TableScan {
    /// From the first row on.
    #[must_use]
    pub fn new(table: &Table, snapshot: Snapshot) -> TableScan {
        TableScan {
            oid: table.oid,
            tree: table.tree,
            snapshot,
            from: Some(Bound::Unbounded),
            unsettled: Vec::new(),
        }
    }

    /// The next rows into `out`, those of one leaf. False at the end; a batch may be empty before it.
    pub async fn next_batch(
        &mut self,
        system: &TransactionSystem,
        out: &mut RowBatch,
    ) -> Result<bool, TxnError> {
        let Some(from) = self.from.take() else {
            out.clear();
            return Ok(false);
        };
        let is_tracked = self.snapshot.tracked.is_some();
        if let (Some(tracked), Bound::Unbounded) = (&self.snapshot.tracked, &from) {
            tracked.reads(self.oid, &KeyRange::all())?;
        }
        let (tree, snapshot, unsettled) = (self.tree, &self.snapshot, &mut self.unsettled);
        let resume = system
            .pool()
            .run(|| {
                out.clear();
                unsettled.clear();
                let from = from.as_ref().map(Vec::as_slice);
                tree.scan_leaf(system.pool(), from, Direction::Forward, &mut |key, value| {
                    if is_value(key) {
                        return ControlFlow::Break(());
                    }
                    let (Some(row), Some((header, bytes))) = (row_of(key), Header::split(value)) else {
                        return ControlFlow::Continue(());
                    };
                    match system.sees_at_once(snapshot, &header) {
                        Some(true) if !header.deleted => out.push(row, bytes),
                        Some(true) => {}
                        Some(false) if header.undo.is_none() && !is_tracked => {}
                        _ => {
                            unsettled.push(out.len());
                            out.push(row, value);
                        }
                    }
                    ControlFlow::Continue(())
                })
            })
            .await?;
        self.settle(system, out).await?;
        // A scan of resident pages never waits: let others have the thread now and then.
        tokio::task::coop::consume_budget().await;
        match resume {
            Resume::Continue(Bound::Included(next)) if is_value(&next) => {}
            Resume::Continue(next) => self.from = Some(next),
            Resume::Done | Resume::Stopped => {}
        }
        Ok(true)
    }

    /// Finds the visible versions of rows whose head is not, or not known to be: latches are no longer held.
    async fn settle(&mut self, system: &TransactionSystem, out: &mut RowBatch) -> Result<(), TxnError> {
        let mut gone = Vec::new();
        let mut version = Vec::new();
        for at in self.unsettled.drain(..) {
            let (row, value) = out.get(at);
            let sight = system
                .pool()
                .run(|| system.visible(&self.snapshot, &self.tree, row.0, value, &mut version))
                .await?;
            if let (Some(tracked), Some(by)) = (&self.snapshot.tracked, sight.missed) {
                tracked.missed(self.oid, by)?;
            }
            if sight.seen.is_some() {
                out.replace(at, &version);
            } else {
                gone.push(at);
            }
        }
        if !gone.is_empty() {
            out.remove(&gone);
        }
        Ok(())
    }
}
