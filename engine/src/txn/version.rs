//! The header in front of every row version in a table's tree.
//!
//! ```text
//! 0       flags: bit 0 deleted, bit 1 some of its values lie elsewhere
//! 1..3    offset of the undo record in its page, u16 LE
//! 3..7    command id, u32 LE
//! 7..15   transaction, u64 LE
//! 15..23  undo page, u64 LE (0: no older version)
//! 23..    the row
//! ```
//!
//! Fixed in size, so that an update in place moves nothing and logs only the few bytes that differ.

use sextant_redo::PageId;

use super::TxId;

/// Bytes of a header.
pub const HEADER: usize = 23;

const DELETED: u8 = 1;
const LARGE: u8 = 2;

/// Where the version before lies.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct UndoRef {
    /// The undo page.
    pub page: PageId,
    /// Offset of the record in it.
    pub offset: u16,
}

/// A version's header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Header {
    /// The row ends here: this version says that it was deleted.
    pub deleted: bool,
    /// The row ends with a list of values that lie elsewhere ([`crate::types::large`]).
    pub large: bool,
    /// Which command of its transaction wrote it.
    pub command: u32,
    /// Who wrote it.
    pub txid: TxId,
    /// The version before, if there is one.
    pub undo: Option<UndoRef>,
}

fn take<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at + N)?.try_into().ok()
}

impl Header {
    /// Splits a stored value; `None` when it is too short to be one.
    #[must_use]
    pub fn split(value: &[u8]) -> Option<(Header, &[u8])> {
        let flags = *value.first()?;
        let offset = u16::from_le_bytes(take(value, 1)?);
        let command = u32::from_le_bytes(take(value, 3)?);
        let txid = TxId(u64::from_le_bytes(take(value, 7)?));
        let page = PageId(u64::from_le_bytes(take(value, 15)?));
        let undo = (page.0 != 0).then_some(UndoRef { page, offset });
        let header = Header { deleted: flags & DELETED != 0, large: flags & LARGE != 0, command, txid, undo };
        Some((header, &value[HEADER..]))
    }

    /// Appends the header.
    pub fn put(&self, out: &mut Vec<u8>) {
        let (page, offset) = self.undo.map_or((0, 0), |u| (u.page.0, u.offset));
        let deleted = if self.deleted { DELETED } else { 0 };
        out.push(deleted | if self.large { LARGE } else { 0 });
        out.extend_from_slice(&offset.to_le_bytes());
        out.extend_from_slice(&self.command.to_le_bytes());
        out.extend_from_slice(&self.txid.0.to_le_bytes());
        out.extend_from_slice(&page.to_le_bytes());
    }

    /// Header and row as stored.
    #[must_use]
    pub fn join(&self, row: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEADER + row.len());
        self.put(&mut out);
        out.extend_from_slice(row);
        out
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn headers_round_trip(deleted: bool, large: bool, command: u32, txid: u64, page: u64, offset: u16, row: Vec<u8>) {
            let undo = (page != 0).then_some(UndoRef { page: PageId(page), offset });
            let header = Header { deleted, large, command, txid: TxId(txid), undo };
            let stored = header.join(&row);
            prop_assert_eq!(stored.len(), HEADER + row.len());
            prop_assert_eq!(Header::split(&stored), Some((header, row.as_slice())));
        }

        #[test]
        fn any_bytes_split_without_panic(bytes: Vec<u8>) {
            prop_assert_eq!(Header::split(&bytes).is_some(), bytes.len() >= HEADER);
        }
    }
}
