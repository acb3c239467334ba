//! The pool.

use std::marker::PhantomData;
use std::ops::Deref;
use std::sync::Arc;

use sextant_redo::{Lsn, PAGE_SIZE, PageId};
use sextant_volume::LogStore;

use super::{Step, StorageError};
use crate::mtr::MiniTxn;

/// The page cache of one volume.
pub struct BufferPool {
    store: Arc<dyn LogStore>,
}

/// Keeps a page resident, unlatched; may be held across an await.
pub struct Pin<'a> {
    pool: &'a BufferPool,
}

/// A page under a shared latch. Not `Send`: never held across an await.
pub struct ReadGuard<'a> {
    pool: &'a BufferPool,
    not_send: PhantomData<*const ()>,
}

impl Deref for ReadGuard<'_> {
    type Target = [u8; PAGE_SIZE];
    fn deref(&self) -> &Self::Target {
        todo!()
    }
}

impl BufferPool {
    /// A cache of at most `capacity_bytes` of pages.
    pub fn new(store: Arc<dyn LogStore>, capacity_bytes: usize) -> Result<Arc<BufferPool>, StorageError> {
        let _ = capacity_bytes;
        Ok(Arc::new(BufferPool { store }))
    }

    /// The volume.
    #[must_use]
    pub fn store(&self) -> &Arc<dyn LogStore> {
        &self.store
    }

    /// The page under a shared latch, or `Missing`.
    pub fn read(&self, page: PageId) -> Step<ReadGuard<'_>> {
        let _ = page;
        todo!()
    }

    /// Makes a page resident.
    pub async fn fetch(&self, page: PageId) -> Result<Pin<'_>, StorageError> {
        let _ = page;
        todo!()
    }

    /// Redoes a reading step until it is done.
    pub async fn run<T>(&self, step: impl FnMut() -> Step<T> + Send) -> Result<T, StorageError> {
        let _ = step;
        todo!()
    }

    /// Redoes a changing step until it is done and committed.
    pub async fn write<T>(
        &self,
        step: impl FnMut(&mut MiniTxn<'_>) -> Step<T> + Send,
    ) -> Result<(T, Lsn), StorageError> {
        self.write_with(step, |_| ()).await
    }

    /// As [`BufferPool::write`]; `on_lsn` runs with the MTR's LSN before any later LSN is handed out.
    pub async fn write_with<T>(
        &self,
        step: impl FnMut(&mut MiniTxn<'_>) -> Step<T> + Send,
        on_lsn: impl FnMut(Lsn) + Send,
    ) -> Result<(T, Lsn), StorageError> {
        let _ = (step, on_lsn);
        todo!()
    }
}
