//! Values that are too large for their row. They lie in the table's own tree, behind all rows, cut into chunks:
//!
//! ```text
//! row id with its top bit set, u64 BE ++ writer u64 BE ++ number u32 BE ++ chunk u32 BE -> bytes
//! ```
//!
//! so that whatever befalls the tree befalls them, too. The row says which are its own ([`LargeRef`]).
//!
//! What must hold:
//! - A value is never changed. It is written before the row that refers to it, under a name that no other value of that row
//!   ever had: its writer's id, and a number.
//! - It stays while a version of its row that somebody may see refers to it, or its writer is in progress. Who finds neither,
//!   holding the row's lock, removes it (`sweep`). A value is thus like an index entry: without a row it is garbage and
//!   harms nobody, so neither a rollback nor a crash has anything to undo.

use std::borrow::Cow;
use std::ops::{Bound, ControlFlow};

use super::garbage::{Candidate, What};
use super::{RowId, Table};
use crate::btree::{Direction, Resume, RunEntry, Tree};
use crate::buffer::{Step, Stop, StorageError};
use crate::txn::{Transaction, TransactionSystem, TxId, TxnError};
use crate::types::large::{self, Filling, LargeRef};

/// Bytes of a value in one entry: two fit a leaf, also one that keeps a tenth free.
const CHUNK: usize = 3600;
/// In a table's tree, what is less is a row.
const FIRST: u64 = 1 << 63;
/// Longest value that an index makes keys of.
pub const MAX_KEY_SOURCE: usize = 256 << 10;
/// Most bytes that are set aside for a value before any of it was seen.
const SET_ASIDE: usize = 1 << 20;

/// Where the rows of a table's tree end.
pub(super) fn end_of_rows() -> [u8; 8] {
    FIRST.to_be_bytes()
}

/// Whether a key of a table's tree is behind all rows.
pub(super) fn is_value(key: &[u8]) -> bool {
    key.first().is_some_and(|first| first & 0x80 != 0)
}

/// The row whose value a key of a table's tree belongs to.
pub(super) fn row_of_value(key: &[u8]) -> Option<RowId> {
    let row = u64::from_be_bytes(*key.first_chunk()?);
    (row >= FIRST && key.len() == KEY).then_some(RowId(row & !FIRST))
}

const KEY: usize = 24;

fn chunk_key(row: RowId, writer: u64, number: u32, chunk: u32) -> [u8; KEY] {
    let mut key = [0; KEY];
    key[..8].copy_from_slice(&(row.0 | FIRST).to_be_bytes());
    key[8..16].copy_from_slice(&writer.to_be_bytes());
    key[16..20].copy_from_slice(&number.to_be_bytes());
    key[20..].copy_from_slice(&chunk.to_be_bytes());
    key
}

/// Behind all chunks of all values of a row.
pub(super) fn last_of_row(row: RowId) -> Vec<u8> {
    chunk_key(row, u64::MAX, u32::MAX, u32::MAX).to_vec()
}

/// Writer and number of a value that a key belongs to.
fn name_of(key: &[u8]) -> Option<(u64, u32)> {
    let writer = u64::from_be_bytes(*key.get(8..)?.first_chunk()?);
    Some((writer, u32::from_be_bytes(*key.get(16..)?.first_chunk()?)))
}

fn damaged(tree: &Tree, what: &'static str) -> StorageError {
    StorageError::Corrupt { page: tree.root, what }
}

/// What the row's list of large values says is not so.
pub(super) fn damaged_list(tree: &Tree) -> StorageError {
    damaged(tree, "a row's list of large values does not fit its bytes")
}

/// A value being read.
struct Reading<'v> {
    tree: Tree,
    row: RowId,
    at: LargeRef,
    into: &'v mut Vec<u8>,
    start: usize,
    /// Where the next part is looked for.
    from: Vec<u8>,
}

impl<'v> Reading<'v> {
    fn new(tree: Tree, row: RowId, at: LargeRef, into: &'v mut Vec<u8>) -> Reading<'v> {
        let from = chunk_key(row, at.writer, at.number, 0).to_vec();
        let start = into.len();
        Reading { tree, row, at, into, start, from }
    }

    fn done(&self) -> usize {
        self.into.len() - self.start
    }

    fn is_whole(&self) -> bool {
        self.done() == self.at.len as usize
    }

    /// Reads what one leaf has of it.
    fn step(&mut self, system: &TransactionSystem) -> Step<()> {
        let LargeRef { writer, number, len } = self.at;
        let from = Bound::Included(&self.from[..]);
        let mut fits = true;
        let resume = self.tree.scan_leaf(system.pool(), from, Direction::Forward, &mut |found, bytes| {
            let done = self.into.len() - self.start;
            let expected = CHUNK.min(len as usize - done);
            if found != chunk_key(self.row, writer, number, (done / CHUNK) as u32) || bytes.len() != expected
            {
                fits = false;
                return ControlFlow::Break(());
            }
            self.into.extend_from_slice(bytes);
            if done + expected == len as usize { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        })?;
        match resume {
            _ if fits && self.is_whole() => Ok(()),
            Resume::Continue(Bound::Included(next)) if fits => {
                self.from = next;
                Ok(())
            }
            _ => {
                let what = "a large value lacks a part, or has one of another length";
                Err(Stop::Failed(damaged(&self.tree, what)))
            }
        }
    }
}

impl TransactionSystem {
    /// Writes a value of a row that the transaction is about to insert or update. The row must name it, or it is garbage.
    ///
    /// # Errors
    /// [`StorageError::ValueTooLarge`] above [`large::MAX_VALUE`].
    pub async fn put_value(
        &self,
        txn: &mut Transaction,
        table: &Table,
        row: RowId,
        value: &[u8],
    ) -> Result<LargeRef, TxnError> {
        if value.len() > large::MAX_VALUE {
            let (len, limit) = (value.len(), large::MAX_VALUE);
            return Err(StorageError::ValueTooLarge { len, limit }.into());
        }
        let by = txn.write_id().await?;
        let at = LargeRef { writer: by.0, number: txn.next_value(), len: value.len() as u32 };
        table.shared.garbage.add(Candidate { by, row, what: What::Values });
        // A bounded number of keys at a time.
        for (n, part) in value.chunks(CHUNK * 256).enumerate() {
            let keys: Vec<[u8; KEY]> = (0..part.len().div_ceil(CHUNK))
                .map(|m| chunk_key(row, at.writer, at.number, (n * 256 + m) as u32))
                .collect();
            let run: Vec<RunEntry<'_>> =
                keys.iter().zip(part.chunks(CHUNK)).map(|(key, chunk)| (&key[..], chunk)).collect();
            self.put_run(&table.tree, &run).await?;
        }
        Ok(at)
    }

    /// A row with the values of the wanted columns behind it, as far as it has large ones.
    pub async fn with_values(
        &self,
        table: &Table,
        row: RowId,
        bytes: &[u8],
        wanted: impl Fn(usize) -> bool,
    ) -> Result<Vec<u8>, TxnError> {
        let mut filling = Filling::new(bytes).ok_or_else(|| damaged_list(&table.tree))?;
        for (column, at) in filling.missing() {
            if wanted(column) {
                let start = filling.bytes().len();
                self.read_value(table, row, at, filling.bytes()).await?;
                filling.filled(column, start);
            }
        }
        Ok(filling.finish())
    }

    async fn read_value(
        &self,
        table: &Table,
        row: RowId,
        at: LargeRef,
        into: &mut Vec<u8>,
    ) -> Result<(), TxnError> {
        let end = into.len().saturating_add(at.len as usize);
        if u32::try_from(end).is_err() {
            let (len, limit) = (end, u32::MAX as usize);
            return Err(StorageError::ValueTooLarge { len, limit }.into());
        }
        into.reserve(SET_ASIDE.min(at.len as usize));
        let mut reading = Reading::new(table.tree, row, at, into);
        while !reading.is_whole() {
            tokio::task::coop::consume_budget().await;
            self.pool().run(|| reading.step(self)).await?;
        }
        Ok(())
    }

    /// The same inside a step, for what indexes make keys of.
    pub(super) fn with_key_values<'b>(
        &self,
        tree: &Tree,
        row: RowId,
        bytes: &'b [u8],
        wanted: &[usize],
    ) -> Step<Cow<'b, [u8]>> {
        let mut filling = Filling::new(bytes).ok_or_else(|| damaged_list(tree))?;
        let mut missing = filling.missing();
        missing.retain(|(column, _)| wanted.contains(column));
        if missing.is_empty() {
            return Ok(bytes.into());
        }
        for (column, at) in missing {
            if at.len as usize > MAX_KEY_SOURCE {
                let (len, limit) = (at.len as usize, MAX_KEY_SOURCE);
                return Err(StorageError::KeySourceTooLarge { len, limit }.into());
            }
            let into = filling.bytes();
            let start = into.len();
            let mut reading = Reading::new(*tree, row, at, into);
            while !reading.is_whole() {
                reading.step(self)?;
            }
            filling.filled(column, start);
        }
        Ok(filling.finish().into())
    }

    /// Writer and number of each value that lies in the tree for a row.
    pub(super) async fn values_of(&self, table: &Table, row: RowId) -> Result<Vec<(TxId, u32)>, TxnError> {
        let mut found = Vec::new();
        let mut from = Bound::Included(chunk_key(row, 0, 0, 0).to_vec());
        while let Some(key) = self.first_behind(&table.tree, from).await? {
            let (true, Some((writer, number))) = (row_of_value(&key) == Some(row), name_of(&key)) else {
                break;
            };
            found.push((TxId(writer), number));
            from = Bound::Excluded(chunk_key(row, writer, number, u32::MAX).to_vec());
        }
        Ok(found)
    }

    /// The next row, from a key on, that has values in the tree.
    pub(super) async fn next_with_values(
        &self,
        table: &Table,
        from: Bound<Vec<u8>>,
    ) -> Result<Option<RowId>, TxnError> {
        Ok(self.first_behind(&table.tree, from).await?.and_then(|key| row_of_value(&key)))
    }

    async fn first_behind(&self, tree: &Tree, from: Bound<Vec<u8>>) -> Result<Option<Vec<u8>>, TxnError> {
        let mut from = from;
        loop {
            let step = || {
                let mut first = None;
                let bound = from.as_ref().map(Vec::as_slice);
                let resume = tree.scan_leaf(self.pool(), bound, Direction::Forward, &mut |key, _| {
                    first = Some(key.to_vec());
                    ControlFlow::Break(())
                })?;
                Ok((first, resume))
            };
            match self.pool().run(step).await? {
                (Some(key), _) => return Ok(Some(key)),
                (None, Resume::Continue(next)) => from = next,
                (None, _) => return Ok(None),
            }
        }
    }

    /// The keys of a value's chunks that are there, some of them.
    pub(super) async fn some_chunks(
        &self,
        table: &Table,
        row: RowId,
        (writer, number): (TxId, u32),
    ) -> Result<Vec<Vec<u8>>, TxnError> {
        let from = Bound::Included(chunk_key(row, writer.0, number, 0).to_vec());
        let Some(first) = self.first_behind(&table.tree, from).await? else {
            return Ok(Vec::new());
        };
        let step = || {
            let mut keys = Vec::new();
            let from = Bound::Included(&first[..]);
            table.tree.scan_leaf(self.pool(), from, Direction::Forward, &mut |key, _| {
                if row_of_value(key) != Some(row) || name_of(key) != Some((writer.0, number)) {
                    return ControlFlow::Break(());
                }
                keys.push(key.to_vec());
                ControlFlow::Continue(())
            })?;
            Ok(keys)
        };
        Ok(self.pool().run(step).await?)
    }
}
