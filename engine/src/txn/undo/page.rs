//! An undo page: records one behind the other.
//!
//! ```text
//! 24..28  mark: page type 17, "UND"
//! 28..30  offset behind the last record, u16 LE
//! 30..32  zero
//! 32..    records (see [`super::record`])
//! ```
//!
//! Records are never changed. The page as a whole is used anew once nobody can need any of them.

use sextant_redo::{PAGE_SIZE, PageId};

use super::Slot;
use super::record::UndoRecord;
use crate::buffer::{BufferPool, Step, Stop, StorageError};
use crate::mtr::{MiniTxn, PageHandle};
use crate::space::{PAGE_TYPE, page_type};
use crate::txn::version::UndoRef;

const MARK_AT: usize = PAGE_TYPE;
const END_AT: usize = 28;
const START: usize = 32;
/// Begins with the page's type.
const MARK: [u8; 4] = [page_type::FIRST_TXN + 1, b'U', b'N', b'D'];

fn corrupt(page: PageId, what: &'static str) -> Stop {
    Stop::Failed(StorageError::Corrupt { page, what })
}

/// Offset behind the last record.
fn end_of(page: PageId, bytes: &[u8; PAGE_SIZE]) -> Step<usize> {
    if bytes[MARK_AT..END_AT] != MARK {
        return Err(corrupt(page, "not an undo page"));
    }
    let end = usize::from(u16::from_le_bytes([bytes[END_AT], bytes[END_AT + 1]]));
    if !(START..=PAGE_SIZE).contains(&end) {
        return Err(corrupt(page, "an undo page ends outside itself"));
    }
    Ok(end)
}

/// Formats a page just allocated.
pub(super) fn format(mtr: &mut MiniTxn<'_>, handle: PageHandle) {
    let mut body = MARK.to_vec();
    body.extend_from_slice(&(START as u16).to_le_bytes());
    mtr.image(handle, &body);
}

/// Appends a record; `None` when the page has no room.
pub(crate) fn append(mtr: &mut MiniTxn<'_>, slot: &Slot, record: &[u8]) -> Step<Option<UndoRef>> {
    let handle = mtr.latch(slot.page)?;
    let at = if slot.is_reused() { START } else { end_of(slot.page, mtr.bytes(handle))? };
    let end = at + record.len();
    if end > PAGE_SIZE {
        return Ok(None);
    }
    mtr.set(handle, at, record);
    mtr.set(handle, END_AT, &(end as u16).to_le_bytes());
    Ok(Some(UndoRef { page: slot.page, offset: at as u16 }))
}

/// Hands the record at `at` to `f`. Takes a shared latch for that long.
pub(crate) fn read_record<R>(
    pool: &BufferPool,
    at: UndoRef,
    f: impl FnOnce(&UndoRecord<'_>) -> Result<R, &'static str>,
) -> Step<R> {
    let bytes = pool.read(at.page)?;
    let end = end_of(at.page, &bytes)?;
    let start = usize::from(at.offset);
    if !(START..end).contains(&start) {
        return Err(corrupt(at.page, "an undo pointer leads outside its page's records"));
    }
    let (record, _) = UndoRecord::decode(&bytes[start..end])
        .map_err(|_| corrupt(at.page, "an undo record cannot be decoded"))?;
    f(&record).map_err(|what| corrupt(at.page, what))
}

/// Calls `f` for each record of the page.
pub(super) fn each_record(pool: &BufferPool, page: PageId, mut f: impl FnMut(&UndoRecord<'_>)) -> Step<()> {
    let bytes = pool.read(page)?;
    let end = end_of(page, &bytes)?;
    let mut at = START;
    while at < end {
        let (record, len) = UndoRecord::decode(&bytes[at..end])
            .map_err(|_| corrupt(page, "an undo record cannot be decoded"))?;
        f(&record);
        at += len;
    }
    Ok(())
}
