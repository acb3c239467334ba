//! A batch of rows (or index entries) in one arena: no allocation per row.

use super::RowId;

#[derive(Debug, Clone, Copy)]
struct Entry {
    row: RowId,
    start: usize,
    end: usize,
}

/// Row ids, each with its row's bytes (or its index key), in the order of the scan.
#[derive(Debug, Default)]
pub struct RowBatch {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

impl RowBatch {
    /// An empty one.
    #[must_use]
    pub fn new() -> RowBatch {
        RowBatch::default()
    }

    /// Empties it and keeps the memory.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }

    /// Rows in it.
    #[must_use]
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// True without rows.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// The `n`-th row. Panics when `n >= len()`, as a slice does.
    #[must_use]
    pub fn get(&self, n: usize) -> (RowId, &[u8]) {
        let entry = self.entries[n];
        (entry.row, &self.bytes[entry.start..entry.end])
    }

    /// The id of the `n`-th row, if there are so many.
    pub(crate) fn id(&self, n: usize) -> Option<RowId> {
        self.entries.get(n).map(|entry| entry.row)
    }

    /// All rows.
    pub fn iter(&self) -> impl Iterator<Item = (RowId, &[u8])> {
        (0..self.len()).map(|n| self.get(n))
    }

    pub(super) fn push(&mut self, row: RowId, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        self.entries.push(Entry { row, start, end });
    }

    /// Replaces the bytes of the `n`-th row.
    pub(super) fn replace(&mut self, n: usize, bytes: &[u8]) {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(bytes);
        let end = self.bytes.len();
        let row = self.entries[n].row;
        self.entries[n] = Entry { row, start, end };
    }

    /// Drops the rows whose positions are in `gone`, which is sorted.
    pub(super) fn remove(&mut self, gone: &[usize]) {
        let mut n = 0;
        self.entries.retain(|_| {
            n += 1;
            gone.binary_search(&(n - 1)).is_err()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_can_be_replaced_and_removed() {
        let mut batch = RowBatch::new();
        for n in 0..4 {
            batch.push(RowId(n), &[n as u8; 3]);
        }
        batch.replace(2, b"other");
        batch.remove(&[0, 3]);
        let rows: Vec<_> = batch.iter().collect();
        assert_eq!(rows, vec![(RowId(1), &[1u8; 3][..]), (RowId(2), &b"other"[..])]);
        batch.clear();
        assert!(batch.is_empty());
    }
}
