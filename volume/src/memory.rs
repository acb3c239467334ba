//! A log store in one process's memory, for tests of engines. It keeps the contract of [`LogStore`], makes its pages
//! from the encoded records by [`sextant_redo::apply()`], as a segment does, and lets a test hold the VDL back.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use parking_lot::Mutex;
use sextant_redo::{
    Batch, BatchBuilder, Lsn, Mtr, Page, PageId, PgId, RecordLinks, SegmentId, VolumeEpoch, VolumeId, apply,
};
use tokio::sync::watch;

use crate::{BoxFuture, LogStore, Reservation, VolumeError};

struct Log {
    next: Lsn,
    last: Lsn,
    builder: BatchBuilder,
    batches: Vec<Bytes>,
    pages: BTreeMap<PageId, Vec<Page>>,
    held: bool,
    bytes: u64,
}

/// See the module.
pub struct MemoryStore {
    log: Mutex<Log>,
    vdl: watch::Sender<Lsn>,
    reads: std::sync::atomic::AtomicU64,
}

impl MemoryStore {
    /// An empty volume.
    #[must_use]
    pub fn new() -> Arc<MemoryStore> {
        let segment = SegmentId { volume: VolumeId(1), pg: PgId(0) };
        let log = Log {
            next: Lsn(1),
            last: Lsn::ZERO,
            builder: BatchBuilder::new(segment, VolumeEpoch(1)),
            batches: Vec::new(),
            pages: BTreeMap::new(),
            held: false,
            bytes: 0,
        };
        let reads = std::sync::atomic::AtomicU64::new(0);
        Arc::new(MemoryStore { log: Mutex::new(log), vdl: watch::Sender::new(Lsn::ZERO), reads })
    }

    /// While held, the VDL stands still and commits wait.
    pub fn hold_vdl(&self, held: bool) {
        let mut log = self.log.lock();
        log.held = held;
        if !held {
            self.vdl.send_replace(log.last);
        }
    }

    /// A copy of what is durable now: what a fresh engine finds after this one was killed. Everything above the VDL
    /// is gone.
    #[must_use]
    pub fn crash(&self) -> Arc<MemoryStore> {
        let copy = MemoryStore::new();
        // The VDL changes under this lock only: an append in between would replace versions that it still stands for.
        let log = self.log.lock();
        let vdl = self.vdl();
        {
            let mut new = copy.log.lock();
            for (id, versions) in &log.pages {
                let kept: Vec<Page> = versions.iter().filter(|p| p.lsn() <= vdl).cloned().collect();
                new.pages.insert(*id, kept);
            }
            new.last = vdl;
            new.next = log.next;
        }
        copy.vdl.send_replace(vdl);
        copy
    }

    /// As [`MemoryStore::crash`], had the engine been killed when the first `count` mini-transactions were durable and no
    /// other was.
    #[must_use]
    pub fn crash_after(&self, count: usize) -> Arc<MemoryStore> {
        let copy = MemoryStore::new();
        let (batches, next) = {
            let log = self.log.lock();
            (log.batches[..count].to_vec(), log.next)
        };
        let mut new = copy.log.lock();
        for bytes in &batches {
            new.apply(bytes);
        }
        new.last = batches.last().map_or(Lsn::ZERO, last_lsn);
        new.next = next;
        copy.vdl.send_replace(new.last);
        drop(new);
        copy
    }

    /// Bytes of log appended so far.
    #[must_use]
    pub fn log_bytes(&self) -> u64 {
        self.log.lock().bytes
    }

    /// Pages read so far.
    #[must_use]
    pub fn page_reads(&self) -> u64 {
        self.reads.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Every batch so far, one a mini-transaction.
    #[must_use]
    pub fn batches(&self) -> Vec<Bytes> {
        self.log.lock().batches.clone()
    }
}

fn last_lsn(batch: &Bytes) -> Lsn {
    let batch = Batch::decode(batch).expect("the builder makes valid batches");
    batch.records().flatten().last().map_or(Lsn::ZERO, |(_, record)| record.links.lsn)
}

impl Log {
    fn append(&mut self, mtr: &mut Mtr) -> Lsn {
        let count = mtr.changes().len();
        for (n, change) in mtr.changes_mut().iter_mut().enumerate() {
            change.lsn = self.next;
            let links = RecordLinks {
                lsn: self.next,
                prev_volume: self.last,
                prev_pg: self.last,
                is_cpl: n + 1 == count,
            };
            self.last = self.next;
            let len = self.builder.push(links, change) as u64;
            self.next = self.next.advance(len);
            self.bytes += len;
        }
        let (_, bytes) = self.builder.seal(Lsn::ZERO, Lsn::ZERO);
        self.apply(&bytes);
        self.batches.push(bytes);
        self.last
    }

    fn apply(&mut self, bytes: &Bytes) {
        let batch = Batch::decode(bytes).expect("the builder makes valid batches");
        for (_, record) in batch.records().flatten() {
            let versions = self.pages.entry(record.page).or_default();
            let mut page = versions.last().cloned().unwrap_or_else(Page::zero);
            apply(&record, &mut page.0).expect("the engine keeps the page chain");
            if !self.held {
                versions.clear();
            }
            versions.push(page);
        }
    }
}

impl LogStore for MemoryStore {
    fn vdl(&self) -> Lsn {
        *self.vdl.borrow()
    }

    fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        Some(Reservation { bytes })
    }

    fn reserve(&self, bytes: u64) -> BoxFuture<'_, Result<Reservation, VolumeError>> {
        Box::pin(std::future::ready(Ok(Reservation { bytes })))
    }

    fn release(&self, _: Reservation) {}

    fn append(&self, reservation: Reservation, mtr: &mut Mtr, on_lsn: &mut dyn FnMut(Lsn)) -> Lsn {
        assert!(
            mtr.max_log_bytes() as u64 <= reservation.bytes,
            "the reservation covers the mini-transaction"
        );
        let mut log = self.log.lock();
        let lsn = log.append(mtr);
        on_lsn(lsn);
        if !log.held {
            self.vdl.send_replace(lsn);
        }
        lsn
    }

    fn durable(&self, lsn: Lsn) -> BoxFuture<'_, Result<(), VolumeError>> {
        let mut vdl = self.vdl.subscribe();
        Box::pin(
            async move { vdl.wait_for(|v| *v >= lsn).await.map(|_| ()).map_err(|_| VolumeError::Closed) },
        )
    }

    fn read_page(&self, page: PageId) -> BoxFuture<'_, Result<Page, VolumeError>> {
        self.reads.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let log = self.log.lock();
        let vdl = self.vdl();
        let image =
            log.pages.get(&page).and_then(|versions| versions.iter().rev().find(|p| p.lsn() <= vdl)).cloned();
        Box::pin(std::future::ready(Ok(image.unwrap_or_else(Page::zero))))
    }

    fn ensure_pages(&self, _: PageId) -> BoxFuture<'_, Result<(), VolumeError>> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn set_read_floor(&self, _: Lsn) {}

    fn lost(&self) -> BoxFuture<'_, VolumeError> {
        Box::pin(std::future::pending())
    }
}
