//! Building an index over rows that are there already.

use std::ops::{Bound, ControlFlow};

use super::index::{entry_key, split_entry};
use super::scan::row_of;
use super::values::is_value;
use super::{Index, RowBatch, RowId, Table, TableScan};
use crate::btree::{Direction, Resume, RunEntry, Tree};
use crate::spill::{Budget, Payload, Sorted, Sorter};
use crate::txn::{Outcome, Transaction, TransactionSystem, TxnError};
use crate::types::row::has_large;
use crate::types::{SqlError, SqlResult};

/// An entry to be.
struct Entry {
    key: Vec<u8>,
    /// The newest version of its row has this key, and it must be the only one.
    claims: bool,
}

/// Entries written at a time.
const AT_ONCE: usize = 4096;

/// What an entry carries through the sort.
struct Claims(bool);

impl Payload for Claims {
    fn held(&self) -> usize {
        1
    }

    fn encode(&self, out: &mut Vec<u8>) {
        out.push(u8::from(self.0));
    }

    fn decode(bytes: &[u8]) -> SqlResult<Claims> {
        Ok(Claims(bytes == [1]))
    }
}

/// Why an index was not built.
#[derive(Debug)]
pub enum BuildError {
    /// What any work on rows can fail with.
    Txn(TxnError),
    /// The local disk failed, or is full.
    Spill(SqlError),
}

impl From<TxnError> for BuildError {
    fn from(error: TxnError) -> BuildError {
        BuildError::Txn(error)
    }
}

impl From<SqlError> for BuildError {
    fn from(error: SqlError) -> BuildError {
        BuildError::Spill(error)
    }
}

/// Stored entries of one leaf, copied, and where to go on.
pub(super) type Copied = (Vec<(Vec<u8>, Vec<u8>)>, Option<Bound<Vec<u8>>>);

impl TransactionSystem {
    /// Fills a new index with every version of every row that somebody may still see. Returns how many entries it has.
    /// The caller keeps writers out: [`crate::txn::TableLock::Share`] at least. Keys are sorted within `memory` bytes.
    pub async fn build_index(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
        memory: usize,
    ) -> Result<u64, BuildError> {
        txn.pinned();
        let mut sorter = Sorter::new(Budget::new(&self.spill, memory), usize::MAX);
        let mut entries = Vec::new();
        let mut from = Some(Bound::Unbounded);
        while let Some(start) = from {
            let (rows, next) = self.copy_rows(&table.tree, start).await?;
            for (key, value) in rows {
                if let Some(row) = row_of(&key) {
                    self.keys_of(index, table, row, &value, &mut entries).await?;
                }
                for Entry { key, claims } in entries.drain(..) {
                    if sorter.push(key, Claims(claims)) {
                        sorter.make_room().await?;
                    }
                }
            }
            from = next;
            tokio::task::coop::consume_budget().await;
        }
        let mut sorted = sorter.finish().await?;
        let (mut count, mut last, mut claimed) = (0, Vec::new(), None);
        loop {
            let more = fill(index, &mut sorted, &mut entries, &mut last, &mut claimed).await?;
            let run: Vec<RunEntry<'_>> = entries.iter().map(|e| (&e.key[..], &[][..])).collect();
            self.put_run(&index.tree, &run).await?;
            count += run.len() as u64;
            entries.clear();
            if !more {
                return Ok(count);
            }
        }
    }

    /// Enters every version of every row that somebody may still see, one by one, beside writers who keep the index.
    pub(crate) async fn enter_all(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
    ) -> Result<(), TxnError> {
        txn.pinned();
        let mut from = Some(Bound::Unbounded);
        while let Some(start) = from {
            let (rows, next) = self.copy_rows(&table.tree, start).await?;
            let mut entries = Vec::new();
            for (key, value) in rows {
                if let Some(row) = row_of(&key) {
                    self.keys_of(index, table, row, &value, &mut entries).await?;
                }
            }
            for entry in entries {
                self.put_entry(index, &entry.key).await?;
            }
            from = next;
            tokio::task::coop::consume_budget().await;
        }
        Ok(())
    }

    /// Asks of every row whether another has its key, in a unique index that has an entry for each.
    pub(crate) async fn ask_all(
        &self,
        txn: &mut Transaction,
        index: &Index,
        table: &Table,
    ) -> Result<(), TxnError> {
        let mut scan = TableScan::new(table, txn.newest());
        let mut batch = RowBatch::new();
        while scan.next_batch(self, &mut batch).await? {
            for (row, bytes) in batch.iter() {
                let key = match has_large(bytes) {
                    true => {
                        let step = || self.with_key_values(&table.tree, row, bytes, &index.reads);
                        (index.key_of)(&self.pool().run(step).await?)
                    }
                    false => (index.key_of)(bytes),
                };
                if let Some(key) = key.filter(|key| key.distinct) {
                    self.unique_ask(txn, index, table, &key.bytes, row).await?;
                }
            }
            tokio::task::coop::consume_budget().await;
        }
        Ok(())
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

/// The next entries in order, each once; false when there are no more. `last` is the last entry so far, `claimed` the last
/// that a row claims for itself.
async fn fill(
    index: &Index,
    sorted: &mut Sorted<Claims>,
    out: &mut Vec<Entry>,
    last: &mut Vec<u8>,
    claimed: &mut Option<Vec<u8>>,
) -> Result<bool, BuildError> {
    while let Some((key, Claims(claims))) = sorted.next().await? {
        if index.unique && claims {
            claim(index, &key, claimed)?;
        }
        if *last == key {
            continue;
        }
        last.clone_from(&key);
        out.push(Entry { key, claims });
        if out.len() >= AT_ONCE {
            return Ok(true);
        }
    }
    Ok(false)
}

/// A row claims a key for itself. Versions of one row may have the same.
fn claim(index: &Index, entry: &[u8], claimed: &mut Option<Vec<u8>>) -> Result<(), TxnError> {
    let Some((key, row)) = split_entry(entry) else {
        return Ok(());
    };
    if claimed.as_deref().and_then(split_entry).is_some_and(|(other, by)| other == key && by != row) {
        return Err(TxnError::UniqueViolation { index: index.oid, row: row.0 });
    }
    *claimed = Some(entry.to_vec());
    Ok(())
}
