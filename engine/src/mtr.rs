//! Mini-transactions.

use sextant_redo::{Lsn, PAGE_SIZE, PageId};

use crate::buffer::{BufferPool, Step};

/// A page latched by a [`MiniTxn`]; valid in that one only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageHandle(u32);

/// A mini-transaction under construction.
pub struct MiniTxn<'a> {
    pool: &'a BufferPool,
}

impl<'a> MiniTxn<'a> {
    /// The cache that it works on.
    #[must_use]
    pub fn pool(&self) -> &'a BufferPool {
        self.pool
    }
    /// Latches a page exclusively until commit or drop.
    pub fn latch(&mut self, page: PageId) -> Step<PageHandle> {
        let _ = page;
        todo!()
    }
    /// Which page this is.
    #[must_use]
    pub fn page(&self, h: PageHandle) -> PageId {
        let _ = h;
        todo!()
    }
    /// Its page LSN.
    #[must_use]
    pub fn page_lsn(&self, h: PageHandle) -> Lsn {
        let _ = h;
        todo!()
    }
    /// The content as it was when latched.
    #[must_use]
    pub fn bytes(&self, h: PageHandle) -> &[u8; PAGE_SIZE] {
        let _ = h;
        todo!()
    }
    /// Overwrites bytes.
    pub fn set(&mut self, h: PageHandle, offset: usize, bytes: &[u8]) {
        let _ = (h, offset, bytes);
    }
    /// Moves bytes.
    pub fn copy_within(&mut self, h: PageHandle, from: usize, to: usize, len: usize) {
        let _ = (h, from, to, len);
    }
    /// Fills bytes.
    pub fn fill(&mut self, h: PageHandle, offset: usize, len: usize, byte: u8) {
        let _ = (h, offset, len, byte);
    }
    /// Replaces the body; what is behind `body` becomes zero.
    pub fn image(&mut self, h: PageHandle, body: &[u8]) {
        let _ = (h, body);
    }
    /// Writes the record's own LSN (8 bytes LE) at `offset`.
    pub fn stamp_lsn(&mut self, h: PageHandle, offset: usize) {
        let _ = (h, offset);
    }
    /// A page of its own; what it held is arbitrary: the first change must be an image.
    pub fn allocate(&mut self) -> Step<PageHandle> {
        todo!()
    }
    /// Gives a page back.
    pub fn free(&mut self, page: PageId) -> Step<()> {
        let _ = page;
        todo!()
    }
}
