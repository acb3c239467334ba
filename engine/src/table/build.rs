//! Building an index over rows that are there already.

use std::ops::{Bound, ControlFlow};

use super::index::{entry_key, split_entry};
use super::scan::row_of;
use super::values::is_value;
use super::{Index, RowId, Table};
use crate::btree::{Direction, Resume, RunEntry, Tree};
use crate::txn::{Outcome, Transaction, TransactionSystem, TxnError};

/// An entry to be.
struct Entry {
    key: Vec<u8>,
    /// The newest version of its row has this key, and it must be the only one.
    claims: bool,
}

/// Stored entries of one leaf, copied, and where to go on.
pub(super) type Copied = (Vec<(Vec<u8>, Vec<u8>)>, Option<Bound<Vec<u8>>>);

impl TransactionSystem {
    /// Fills a new index with every version of every row that somebody may still see. Returns how many entries it has.
    /// The caller keeps writers out: [`crate::txn::TableLock::Share`] at least. Keys are held in memory and sorted.
    pub async fn build_index(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
    ) -> Result<u64, TxnError> {
        txn.pinned();
        let mut entries = Vec::new();
        let mut from = Some(Bound::Unbounded);
        while let Some(start) = from {
            let (rows, next) = self.copy_rows(&table.tree, start).await?;
            for (key, value) in rows {
                if let Some(row) = row_of(&key) {
                    self.keys_of(index, table, row, &value, &mut entries).await?;
                }
            }
            from = next;
            tokio::task::coop::consume_budget().await;
        }
        entries.sort_unstable_by(|a, b| (&a.key, !a.claims).cmp(&(&b.key, !b.claims)));
        entries.dedup_by(|later, first| later.key == first.key);
        if index.unique {
            refuse_duplicates(index, &entries)?;
        }
        let run: Vec<RunEntry<'_>> = entries.iter().map(|e| (&e.key[..], &[][..])).collect();
        self.put_run(&index.tree, &run).await?;
        Ok(entries.len() as u64)
    }

    async fn keys_of(
        &self,
        index: &Index,
        table: &Table,
        row: RowId,
        value: &[u8],
        out: &mut Vec<Entry>,
    ) -> Result<(), TxnError> {
        let horizon = self.horizon().lsn;
        let found = self
            .pool()
            .run(|| {
                let mut found = Vec::new();
                let mut newest = true;
                self.each_version(&table.tree, row.0, value, |header, outcome, bytes| {
                    let key = match header.deleted {
                        true => None,
                        false => self.key(index, &table.tree, row, header, bytes)?,
                    };
                    if let Some(key) = key {
                        found.push(Entry { key: entry_key(&key.bytes, row), claims: newest && key.distinct });
                    }
                    newest = false;
                    Ok(!matches!(outcome, Outcome::Committed(lsn) if lsn <= horizon))
                })?;
                Ok(found)
            })
            .await?;
        out.extend(found);
        Ok(())
    }

    /// The rows of one leaf of a table's tree; large values lie behind the last of them.
    pub(super) async fn copy_rows(&self, tree: &Tree, from: Bound<Vec<u8>>) -> Result<Copied, TxnError> {
        let (mut rows, mut next) = self.copy_leaf(tree, from).await?;
        let count = rows.partition_point(|(key, _)| !is_value(key));
        if count < rows.len() || matches!(&next, Some(Bound::Included(key)) if is_value(key)) {
            rows.truncate(count);
            next = None;
        }
        Ok((rows, next))
    }

    /// The entries of one leaf of a tree.
    pub(super) async fn copy_leaf(&self, tree: &Tree, from: Bound<Vec<u8>>) -> Result<Copied, TxnError> {
        let (rows, resume) = self
            .pool()
            .run(|| {
                let mut rows = Vec::new();
                let from = from.as_ref().map(Vec::as_slice);
                let resume = tree.scan_leaf(self.pool(), from, Direction::Forward, &mut |key, value| {
                    rows.push((key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                })?;
                Ok((rows, resume))
            })
            .await?;
        let next = match resume {
            Resume::Continue(next) => Some(next),
            Resume::Done | Resume::Stopped => None,
        };
        Ok((rows, next))
    }
}

fn refuse_duplicates(index: &Index, sorted: &[Entry]) -> Result<(), TxnError> {
    let mut last: Option<&[u8]> = None;
    for entry in sorted.iter().filter(|e| e.claims) {
        let Some((key, row)) = split_entry(&entry.key) else {
            continue;
        };
        if last == Some(key) {
            return Err(TxnError::UniqueViolation { index: index.oid, row: row.0 });
        }
        last = Some(key);
    }
    Ok(())
}
