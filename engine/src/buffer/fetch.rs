//! Making a page resident.
//!
//! Why a fetch never installs a stale image, whatever races with it:
//! 1. A page is only changed while it is resident, and only its fetcher may make it resident while it is in
//!    `Shard::loading`. So from the moment of that entry to the installation nobody changes the page.
//! 2. The entry is made under the shard's lock when the page is not resident. If it ever was, it left by eviction, under
//!    the same lock, with page LSN <= VDL: all its changes were durable before the entry was made.
//! 3. Storage is asked after that, and answers with the newest image at or below a VDL that is not lower.
//!
//! So the image that comes back holds every change there is. A fetch that fails or is dropped half-way takes its entry
//! away; those who waited for it ask again (or share its error).

use std::time::Duration;

use sextant_redo::{Lsn, PageId, page};
use tokio::sync::watch;

use super::frame::{Claimed, Pinned};
use super::pool::{Counters, Pin, Sweep};
use super::table::Outcome;
use super::{BufferPool, StorageError};
use crate::btree;
use crate::sync::{Instant, sleep, timeout};

/// How long a fetch waits for a frame before it says that the cache is full.
const PATIENCE: Duration = Duration::from_millis(if cfg!(test) { 3_000 } else { 10_000 });
/// The same for a step that holds pins, which may be what others wait for.
const PATIENCE_WITH_PINS: Duration = Duration::from_millis(if cfg!(test) { 50 } else { 100 });
/// Longest single wait before the frames are looked over again.
const NAP: Duration = Duration::from_millis(20);

/// A page's entry in `Shard::loading`; taken away when dropped.
struct Loading<'a> {
    pool: &'a BufferPool,
    page: PageId,
}

impl Loading<'_> {
    fn fail(&self, error: &StorageError) {
        if let Some(sender) = self.pool.table.shard(self.page).loading.get(&self.page) {
            sender.send_replace(Some(error.clone()));
        }
    }
}

impl Drop for Loading<'_> {
    fn drop(&mut self) {
        self.pool.table.shard(self.page).loading.remove(&self.page);
    }
}

enum Turn<'a> {
    Resident(Pinned<'a>),
    Wait(watch::Receiver<Outcome>),
    Lead(Loading<'a>),
}

impl BufferPool {
    /// Makes a page resident, with one request however many ask, and keeps it so until the pin is dropped.
    ///
    /// # Errors
    /// [`StorageError::Volume`] when storage does not answer, [`StorageError::CacheFull`] when no frame came free in
    /// time, [`StorageError::Corrupt`] when storage answers with another page.
    pub async fn fetch(&self, page: PageId) -> Result<Pin<'_>, StorageError> {
        self.fetch_patiently(page, PATIENCE).await
    }

    /// As [`BufferPool::fetch`], for a step that has pins already.
    pub(super) async fn fetch_another(&self, page: PageId) -> Result<Pin<'_>, StorageError> {
        self.fetch_patiently(page, PATIENCE_WITH_PINS).await
    }

    async fn fetch_patiently(&self, page: PageId, patience: Duration) -> Result<Pin<'_>, StorageError> {
        loop {
            match self.turn(page) {
                Turn::Resident(pinned) => return Ok(Pin::new(pinned)),
                Turn::Wait(mut outcome) => {
                    // An error here says that the fetcher is done or has given up: look again.
                    if outcome.changed().await.is_ok()
                        && let Some(error) = outcome.borrow().clone()
                    {
                        return Err(error);
                    }
                }
                Turn::Lead(loading) => {
                    let loaded = self.load(&loading, patience).await;
                    if let Err(error) = &loaded {
                        loading.fail(error);
                    }
                    return loaded.map(Pin::new);
                }
            }
        }
    }

    fn turn(&self, page: PageId) -> Turn<'_> {
        let mut shard = self.table.shard(page);
        if let Some(frame) = shard.frames.get(&page) {
            return Turn::Resident(self.arena.pin(*frame));
        }
        shard.misses += 1;
        if let Some(sender) = shard.loading.get(&page) {
            return Turn::Wait(sender.subscribe());
        }
        shard.loading.insert(page, watch::Sender::new(None));
        Turn::Lead(Loading { pool: self, page })
    }

    async fn load(&self, loading: &Loading<'_>, patience: Duration) -> Result<Pinned<'_>, StorageError> {
        let page = loading.page;
        let image = self.store.read_page(page).await?;
        if image.lsn() != Lsn::ZERO && page::id(&image.0) != page {
            let what = "storage answered with another page";
            return Err(StorageError::Corrupt { page, what });
        }
        btree::verify(&image.0).map_err(|what| StorageError::Corrupt { page, what })?;
        let mut claimed = self.claim_frame(patience).await?;
        claimed.bytes_mut().copy_from_slice(&image.0[..]);
        let mut shard = self.table.shard(page);
        let before = shard.frames.insert(page, claimed.number());
        debug_assert!(before.is_none(), "only the fetcher makes a page resident");
        // Pinned before the shard's lock is let go, so that nobody evicts it in between.
        Ok(claimed.holds(page))
    }

    /// A frame to put a page in, waiting for one: for the VDL to pass the lowest change that is not durable yet, or,
    /// when all is pinned, for a moment.
    async fn claim_frame(&self, patience: Duration) -> Result<Claimed<'_>, StorageError> {
        let mut deadline = None;
        loop {
            let undurable = match self.sweep() {
                Sweep::Found(claimed) => return Ok(claimed),
                Sweep::Undurable(lsn) => Some(lsn),
                Sweep::Pinned => None,
            };
            Counters::add(&self.counters.full_waits, 1);
            if Instant::now() > *deadline.get_or_insert_with(|| Instant::now() + patience) {
                return Err(StorageError::CacheFull { frames: self.arena.len() });
            }
            let Some(lsn) = undurable else {
                sleep(Duration::from_millis(1)).await;
                continue;
            };
            if let Ok(lost) = timeout(NAP, self.store.durable(lsn)).await {
                lost?;
            }
        }
    }
}
