//! A page where direct I/O reads and writes it: an image is checked, changed, served and written again in the memory that the
//! device wrote it to. A copy of what the processor has not seen yet costs more than the checksum over it.

use std::ops::{Deref, DerefMut};

use bytes::Bytes;
use sextant_redo::{Lsn, PAGE_SIZE, Page, page};

use crate::disk::AlignedBuf;

/// See the module.
#[derive(Debug)]
pub(crate) struct PageBuf(AlignedBuf);

impl PageBuf {
    /// The zero page.
    pub(crate) fn zero() -> PageBuf {
        PageBuf(AlignedBuf::zeroed(PAGE_SIZE))
    }

    /// The page that a buffer holds; `None` where it is of another length.
    pub(super) fn of(buffer: AlignedBuf) -> Option<PageBuf> {
        (buffer.len() == PAGE_SIZE).then_some(PageBuf(buffer))
    }

    /// LSN of the last record applied.
    pub(crate) fn lsn(&self) -> Lsn {
        page::lsn(self)
    }

    /// A copy that outlives the disk's buffers.
    pub(crate) fn to_page(&self) -> Page {
        Page::copy_of(self)
    }

    pub(super) fn into_buffer(self) -> AlignedBuf {
        self.0
    }

    pub(super) fn into_bytes(self) -> Bytes {
        Bytes::from_owner(self.0)
    }
}

impl Deref for PageBuf {
    type Target = [u8; PAGE_SIZE];

    fn deref(&self) -> &[u8; PAGE_SIZE] {
        self.0.first_chunk().expect("a buffer of a page's length")
    }
}

impl DerefMut for PageBuf {
    fn deref_mut(&mut self) -> &mut [u8; PAGE_SIZE] {
        self.0.first_chunk_mut().expect("a buffer of a page's length")
    }
}
