//! Running steps: synchronous code over resident pages, redone until everything that it needs is there. All awaiting
//! is here, between the tries, when no latch is held.

use std::sync::Arc;

use sextant_redo::{Lsn, PageId};
use sextant_volume::{LogStore, Reservation};

use super::pool::Pin;
use super::{BufferPool, Step, Stop, StorageError};
use crate::mtr::MiniTxn;
use crate::sync::yield_now;

/// Log space taken before a step is tried: enough for all but splits, which ask again.
const FIRST_RESERVATION: u64 = 2048;
/// Most pins that a step keeps between tries. A step that ran into so many pages is not coming nearer to its end.
const MAX_PINS: usize = 64;
/// So many pages further than asked for are made sure of at once.
const PAGES_AHEAD: u64 = 64;

/// Log space that goes back when nobody used it.
pub(crate) struct LogSpace<'a> {
    store: &'a Arc<dyn LogStore>,
    reservation: Option<Reservation>,
}

impl LogSpace<'_> {
    /// Bytes of log.
    pub(crate) fn bytes(&self) -> u64 {
        self.reservation.as_ref().map_or(0, |r| r.bytes)
    }

    /// For the append.
    pub(crate) fn take(mut self) -> Option<Reservation> {
        self.reservation.take()
    }
}

impl Drop for LogSpace<'_> {
    fn drop(&mut self) {
        if let Some(reservation) = self.reservation.take() {
            self.store.release(reservation);
        }
    }
}

impl BufferPool {
    /// Runs a step that only reads until it is done, fetching what it misses and keeping that pinned meanwhile.
    pub async fn run<T>(&self, mut step: impl FnMut() -> Step<T> + Send) -> Result<T, StorageError> {
        let mut pins = Vec::new();
        loop {
            let stop = match step() {
                Ok(value) => return Ok(value),
                Err(stop) => stop,
            };
            self.clear_the_way(stop, &mut pins).await?;
        }
    }

    /// Runs a step in a mini-transaction until it is done, and commits that. Answers with the MTR's LSN (its
    /// consistency point), or `Lsn::ZERO` when nothing was staged. Does not wait for that LSN to be durable.
    pub async fn write<T>(
        &self,
        step: impl FnMut(&mut MiniTxn<'_>) -> Step<T> + Send,
    ) -> Result<(T, Lsn), StorageError> {
        self.write_with(step, |_| ()).await
    }

    /// As [`BufferPool::write`]; `on_lsn` runs with the MTR's LSN before any other gets one and before the VDL can reach
    /// it (see [`LogStore::append`]), once, and only when something was staged.
    pub async fn write_with<T>(
        &self,
        mut step: impl FnMut(&mut MiniTxn<'_>) -> Step<T> + Send,
        mut on_lsn: impl FnMut(Lsn) + Send,
    ) -> Result<(T, Lsn), StorageError> {
        let mut pins = Vec::new();
        let mut bytes = FIRST_RESERVATION;
        loop {
            let reservation = match self.store.try_reserve(bytes) {
                Some(reservation) => reservation,
                None => self.store.reserve(bytes).await?,
            };
            let stop = match self.attempt(reservation, &mut step, &mut on_lsn) {
                Ok(done) => return Ok(done),
                Err(stop) => stop,
            };
            match stop {
                Stop::NeedLog(needed) => bytes = needed,
                stop => self.clear_the_way(stop, &mut pins).await?,
            }
        }
    }

    fn attempt<T>(
        &self,
        reservation: Reservation,
        step: &mut impl FnMut(&mut MiniTxn<'_>) -> Step<T>,
        on_lsn: &mut dyn FnMut(Lsn),
    ) -> Step<(T, Lsn)> {
        let space = LogSpace { store: &self.store, reservation: Some(reservation) };
        let mut mtr = MiniTxn::new(self);
        let value = step(&mut mtr)?;
        let lsn = mtr.commit(space, on_lsn)?;
        Ok((value, lsn))
    }

    /// Takes away what stopped a step.
    async fn clear_the_way<'a>(&'a self, stop: Stop, pins: &mut Vec<Pin<'a>>) -> Result<(), StorageError> {
        match stop {
            Stop::Missing(page) => self.fetch_for(page, pins).await,
            Stop::Contended(_) => {
                yield_now().await;
                Ok(())
            }
            Stop::NeedPages(page) => {
                let last = PageId(page.0 + PAGES_AHEAD);
                self.store.ensure_pages(last).await?;
                self.set_ensured(last);
                Ok(())
            }
            Stop::NeedLog(_) => Ok(()),
            Stop::Failed(error) => Err(error),
        }
    }

    async fn fetch_for<'a>(&'a self, page: PageId, pins: &mut Vec<Pin<'a>>) -> Result<(), StorageError> {
        if pins.len() == MAX_PINS {
            pins.clear();
        }
        if pins.is_empty() {
            pins.push(self.fetch(page).await?);
            return Ok(());
        }
        match self.fetch_another(page).await {
            Ok(pin) => pins.push(pin),
            // Perhaps because of our own pins and those of others like us: let go and start over.
            Err(StorageError::CacheFull { .. }) => pins.clear(),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}
