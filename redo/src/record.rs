//! A redo record: one page, its patches, and the three back-links (P18 section 2.2): to the record before it in the
//! volume, in its protection group (the segment chain, which shows holes) and on its page (the page chain, which
//! materialises one page).
//!
//! Encoding inside a batch, all numbers varints: `length` of all that follows; `flags` (one byte, bit 0: consistency
//! point); `lsn - before.lsn`, where `before` is the record before it in the batch (the batch's first LSN for the
//! first record: 0); `lsn - prev_volume`; `lsn - prev_pg`; `lsn - prev_page` (0: the page's first record); `page`;
//! then the patches to the end.

use crate::codec::{DecodeError, Reader, put_varints, varint_len};
use crate::mtr::PageChange;
use crate::patch::Patches;
use crate::{Lsn, PageId};

const FLAG_CPL: u8 = 1;
/// Most bytes that a record takes besides its patches.
pub const MAX_RECORD_OVERHEAD: usize = 10 * 6 + 1;
/// Longest accepted record, header included. An MTR logs a page at most as one image and some patches.
pub const MAX_RECORD: usize = 64 * 1024;

/// Where a record hangs in the volume and its protection group: enough to find holes and to compute VCL and VDL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct RecordLinks {
    /// The record's own LSN.
    pub lsn: Lsn,
    /// LSN of the record before it in the volume.
    pub prev_volume: Lsn,
    /// LSN of the record before it in its protection group.
    pub prev_pg: Lsn,
    /// True for the last record of a mini-transaction: a consistency point (CPL).
    pub is_cpl: bool,
}

/// A record, its patches still encoded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record<'a> {
    /// LSN, volume link, segment chain link, consistency point.
    pub links: RecordLinks,
    /// LSN of the record before it on its page; `Lsn(0)` for the first.
    pub prev_page: Lsn,
    /// The page it changes.
    pub page: PageId,
    /// Encoded patches.
    pub patches: &'a [u8],
}

impl<'a> Record<'a> {
    /// The patches, decoded one by one.
    #[must_use]
    pub fn patches(&self) -> Patches<'a> {
        Patches::new(self.patches)
    }

    /// Reads the next record of a batch; `before` is the LSN of the record before it there.
    pub fn decode(reader: &mut Reader<'a>, before: Lsn) -> Result<Record<'a>, DecodeError> {
        let body = Reader::new(reader.byte_string(MAX_RECORD, "record length")?);
        Record::decode_body(body, |distance| before.0.checked_add(distance))
    }

    /// Reads a record outside its batch, where its LSN, of which it says only the distance to the record before it, is known.
    pub fn decode_alone(bytes: &'a [u8], lsn: Lsn) -> Result<Record<'a>, DecodeError> {
        let body = Reader::new(Reader::new(bytes).byte_string(MAX_RECORD, "record length")?);
        Record::decode_body(body, |distance| (distance <= lsn.0).then_some(lsn.0))
    }

    /// Reads what is behind the length; `lsn_at` gives the LSN at a distance from the record before it.
    fn decode_body(
        mut body: Reader<'a>,
        lsn_at: impl FnOnce(u64) -> Option<u64>,
    ) -> Result<Record<'a>, DecodeError> {
        let flags = body.u8()?;
        if flags & !FLAG_CPL != 0 {
            return Err(DecodeError::UnknownTag { what: "record flags", tag: u64::from(flags) });
        }
        let lsn = lsn_at(body.varint()?).ok_or(DecodeError::OutOfRange { what: "record LSN" })?;
        let back = |distance: u64, what: &'static str| {
            lsn.checked_sub(distance).map(Lsn).ok_or(DecodeError::OutOfRange { what })
        };
        let prev_volume = back(body.varint()?, "volume back-link")?;
        let prev_pg = back(body.varint()?, "segment back-link")?;
        let prev_page = match body.varint()? {
            0 => Lsn::ZERO,
            distance => back(distance, "page back-link")?,
        };
        let page = PageId(body.varint()?);
        let is_cpl = flags & FLAG_CPL != 0;
        let lsn = Lsn(lsn);
        if lsn == Lsn::ZERO || prev_volume >= lsn || prev_pg >= lsn || prev_page >= lsn {
            return Err(DecodeError::OutOfRange { what: "back-link" });
        }
        let links = RecordLinks { lsn, prev_volume, prev_pg, is_cpl };
        Ok(Record { links, prev_page, page, patches: body.bytes(body.remaining())? })
    }
}

/// Appends the record of `change` with these links and returns its length: by so much the volume's log has grown.
pub(crate) fn encode(out: &mut Vec<u8>, links: RecordLinks, before: Lsn, change: &PageChange) -> usize {
    let lsn = links.lsn;
    let prev_page = if change.prev_page == Lsn::ZERO { 0 } else { lsn.since(change.prev_page) };
    // A flag below 128 is a varint of one byte.
    let flags = u64::from(if links.is_cpl { FLAG_CPL } else { 0 });
    let (in_volume, in_pg) = (lsn.since(links.prev_volume), lsn.since(links.prev_pg));
    let mut numbers = [0, flags, lsn.since(before), in_volume, in_pg, prev_page, change.page.0];
    let head: usize = numbers[1..].iter().map(|n| varint_len(*n)).sum();
    numbers[0] = (head + change.patches.len()) as u64;
    let start = out.len();
    put_varints(out, numbers);
    out.extend_from_slice(&change.patches);
    out.len() - start
}
