//! An undo record: how to get from a version to the one before.
//!
//! ```text
//! u16 LE  bytes that follow
//! varint  transaction that wrote the newer version
//! varint  root page of the table's tree      } where the newer version is, for the repair of
//! varint  row id                             } what a rolled-back transaction left behind
//! varint  flags of the older version: bit 0 deleted, bit 1 has an undo record itself, bit 2 large values
//! varint  its command, varint its transaction, [varint undo page, varint offset]
//! varint  bytes that both versions begin with
//! varint  bytes that both versions end with
//! varint  length of what lies between in the older one, and those bytes
//! ```

use sextant_redo::codec::{DecodeError, Reader, put_varint};
use sextant_redo::{PAGE_SIZE, PageId};

use crate::txn::TxId;
use crate::txn::version::{Header, UndoRef};

const DELETED: u64 = 1;
const HAS_UNDO: u64 = 2;
const LARGE: u64 = 4;

/// A decoded record.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct UndoRecord<'a> {
    /// Who wrote the newer version.
    pub(crate) writer: TxId,
    /// Root of the tree that the row is in.
    pub(crate) root: PageId,
    /// The row.
    pub(crate) row: u64,
    /// Header of the older version.
    pub(crate) old: Header,
    prefix: usize,
    suffix: usize,
    middle: &'a [u8],
}

/// What the newer version is, for [`encode`].
#[derive(Clone, Copy, Debug)]
pub(crate) struct Newer<'a> {
    /// Who writes it.
    pub(crate) writer: TxId,
    /// Root of the tree.
    pub(crate) root: PageId,
    /// The row's id.
    pub(crate) row: u64,
    /// Its bytes.
    pub(crate) bytes: &'a [u8],
}

fn common(a: impl Iterator<Item = u8>, b: impl Iterator<Item = u8>) -> usize {
    a.zip(b).take_while(|(x, y)| x == y).count()
}

/// Appends the record that leads from `newer` back to `old` with `old_bytes`.
pub(crate) fn encode(newer: Newer<'_>, old: &Header, old_bytes: &[u8], out: &mut Vec<u8>) {
    let start = out.len();
    out.extend_from_slice(&[0, 0]);
    put_varint(out, newer.writer.0);
    put_varint(out, newer.root.0);
    put_varint(out, newer.row);
    let deleted = if old.deleted { DELETED } else { 0 };
    let large = if old.large { LARGE } else { 0 };
    put_varint(out, deleted | large | if old.undo.is_some() { HAS_UNDO } else { 0 });
    put_varint(out, u64::from(old.command));
    put_varint(out, old.txid.0);
    if let Some(undo) = old.undo {
        put_varint(out, undo.page.0);
        put_varint(out, u64::from(undo.offset));
    }
    let new = newer.bytes;
    let prefix = common(old_bytes.iter().copied(), new.iter().copied());
    let (old_rest, new_rest) = (&old_bytes[prefix..], &new[prefix..]);
    let suffix = common(old_rest.iter().rev().copied(), new_rest.iter().rev().copied());
    let middle = &old_rest[..old_rest.len() - suffix];
    put_varint(out, prefix as u64);
    put_varint(out, suffix as u64);
    put_varint(out, middle.len() as u64);
    out.extend_from_slice(middle);
    let len = u16::try_from(out.len() - start - 2).expect("a row fits a page, and so does its delta");
    out[start..start + 2].copy_from_slice(&len.to_le_bytes());
}

impl<'a> UndoRecord<'a> {
    /// Reads the record at the start of `bytes`, and how long it is.
    pub(crate) fn decode(bytes: &'a [u8]) -> Result<(UndoRecord<'a>, usize), DecodeError> {
        let mut outer = Reader::new(bytes);
        let len = usize::from(outer.u16()?);
        let mut reader = Reader::new(outer.bytes(len)?);
        let writer = TxId(reader.varint()?);
        let root = PageId(reader.varint()?);
        let row = reader.varint()?;
        let flags = reader.varint()?;
        let command = u32::try_from(reader.varint()?)
            .map_err(|_| DecodeError::OutOfRange { what: "command of an undo record" })?;
        let txid = TxId(reader.varint()?);
        let undo = if flags & HAS_UNDO == 0 {
            None
        } else {
            let page = PageId(reader.varint()?);
            let offset = reader.varint_at_most(PAGE_SIZE, "undo offset")?;
            Some(UndoRef { page, offset: offset as u16 })
        };
        let (deleted, large) = (flags & DELETED != 0, flags & LARGE != 0);
        let old = Header { deleted, large, command, txid, undo };
        let prefix = reader.varint_at_most(PAGE_SIZE, "undo prefix")?;
        let suffix = reader.varint_at_most(PAGE_SIZE, "undo suffix")?;
        let middle = reader.byte_string(PAGE_SIZE, "undo bytes")?;
        reader.finish()?;
        let record = UndoRecord { writer, root, row, old, prefix, suffix, middle };
        Ok((record, len + 2))
    }

    /// Turns the newer version's bytes into the older one's. False, and nothing changed, when the record does not fit
    /// these bytes.
    #[must_use]
    pub(crate) fn rebuild(&self, row: &mut Vec<u8>) -> bool {
        if self.prefix + self.suffix > row.len() {
            return false;
        }
        let end = row.len() - self.suffix;
        row.splice(self.prefix..end, self.middle.iter().copied());
        true
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn old_header() -> Header {
        Header {
            deleted: false,
            large: false,
            command: 3,
            txid: TxId(70_000),
            undo: Some(UndoRef { page: PageId(900), offset: 4000 }),
        }
    }

    #[test]
    fn a_small_change_makes_a_small_record() {
        let (mut old, mut new) = (vec![7; 100], vec![7; 100]);
        old[50] = 1;
        new[50] = 2;
        let newer = Newer { writer: TxId(70_100), root: PageId(300), row: 5000, bytes: &new };
        let mut out = Vec::new();
        encode(newer, &old_header(), &old, &mut out);
        assert!(out.len() <= 32, "{} bytes", out.len());
    }

    proptest! {
        #[test]
        fn the_older_version_comes_back(
            old in proptest::collection::vec(0u8..3, 0..40),
            new in proptest::collection::vec(0u8..3, 0..40),
            has_undo: bool,
            deleted: bool,
            large: bool,
        ) {
            let mut header = Header { deleted, large, ..old_header() };
            if !has_undo {
                header.undo = None;
            }
            let newer = Newer { writer: TxId(9), root: PageId(4), row: 11, bytes: &new };
            let mut out = vec![0xEE];
            encode(newer, &header, &old, &mut out);
            let end = out.len();
            out.push(0xFF);
            let (record, len) = UndoRecord::decode(&out[1..]).unwrap();
            prop_assert_eq!(len, end - 1);
            prop_assert_eq!((record.writer, record.root, record.row), (TxId(9), PageId(4), 11));
            prop_assert_eq!(record.old, header);
            let mut row = new.clone();
            prop_assert!(record.rebuild(&mut row));
            prop_assert_eq!(row, old);
        }

        #[test]
        fn any_bytes_decode_without_panic(bytes in proptest::collection::vec(any::<u8>(), 0..64)) {
            if let Ok((record, _)) = UndoRecord::decode(&bytes) {
                let _ = record.rebuild(&mut vec![1, 2, 3]);
            }
        }
    }
}
