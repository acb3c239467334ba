//! What the tests of this crate share: a writer that makes batches and knows what every page must look like, and a node
//! on a disk in memory that is driven step by step.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sextant_redo::patch::Patch;
use sextant_redo::wire::{Append, Epochs, Request};
use sextant_redo::{
    Batch, BatchBuilder, ClusterId, Lsn, MembershipEpoch, Mtr, NodeId, Page, PageId, PgId, RecordLinks,
    SegmentId, SegmentKind, TruncationRange, VolumeEpoch, VolumeId, apply,
};

use crate::NodeError;
use crate::core::{LogAddress, PendingRecord, Ticket};
use crate::disk::memory::{Image, MemoryDisk};
use crate::disk::{Disk, Flush, LocalFuture};
use crate::host::{Host, TokioHost};
use crate::log::LogIdentity;
use crate::node::{Node, NodeOptions};
use crate::{appender, spare};

pub(crate) const SEGMENT: SegmentId = SegmentId { volume: VolumeId(7), pg: PgId(2) };
pub(crate) const IDENTITY: LogIdentity = LogIdentity { cluster: ClusterId(0xc1), node: NodeId(5) };
pub(crate) const NOBODY: Ticket = Ticket { connection: 0, request: 0 };

pub(crate) fn epochs(volume: u64) -> Epochs {
    Epochs { volume: VolumeEpoch(volume), membership: MembershipEpoch(1) }
}

pub(crate) fn options() -> NodeOptions {
    NodeOptions {
        log_file_bytes: 256 << 10,
        log_budget_bytes: 1 << 20,
        log_cache_bytes: 64 << 10,
        queue_bytes: 8 << 20,
        map_blocks_max: 4,
        pending_records_max: 8_000,
    }
}

/// A pending record of `len` bytes that starts at `at` in a log file.
pub(crate) fn record_at(file: u32, at: u32, len: u32) -> PendingRecord {
    let batch = LogAddress::new(file, at - 40);
    PendingRecord { lsn: Lsn(1), batch, batch_len: len + 40, offset: 40, len, crc: 0 }
}

/// A volume's writer, and a naive model of its pages.
#[derive(Debug, Clone)]
pub(crate) struct Writer {
    pub(crate) segment: SegmentId,
    pub(crate) epoch: u64,
    pub(crate) next: Lsn,
    pub(crate) last: Lsn,
    pub(crate) vdl: Lsn,
    pub(crate) pgmrpl: Lsn,
    /// Every version of every page, oldest first.
    pub(crate) pages: BTreeMap<PageId, Vec<Page>>,
}

impl Writer {
    pub(crate) fn new(epoch: u64) -> Writer {
        Writer::of(SEGMENT, epoch)
    }

    pub(crate) fn of(segment: SegmentId, epoch: u64) -> Writer {
        let (next, zero) = (Lsn(1), Lsn::ZERO);
        Writer { segment, epoch, next, last: zero, vdl: zero, pgmrpl: zero, pages: BTreeMap::new() }
    }

    /// A batch with one record a change: page and a byte to tell the change by.
    pub(crate) fn batch(&mut self, changes: &[(u64, u8)]) -> Bytes {
        let mut builder = BatchBuilder::new(self.segment, VolumeEpoch(self.epoch));
        let mut mtr = Mtr::new();
        let mut tails = BTreeMap::new();
        for (page, mark) in changes {
            let page = PageId(*page);
            mtr.clear();
            let known =
                self.pages.get(&page).and_then(|versions| versions.last()).map_or(Lsn::ZERO, Page::lsn);
            let before = tails.insert(page, self.next).unwrap_or(known);
            let at = mtr.add_page(page, before);
            let offset = 24 + usize::from(*mark) * 16;
            mtr.patch(at, Patch::Stamp { offset });
            mtr.patch(at, Patch::Set { offset: offset + 8, bytes: &[*mark; 8] });
            let links =
                RecordLinks { lsn: self.next, prev_volume: self.last, prev_pg: self.last, is_cpl: true };
            let len = builder.push(links, &mtr.changes()[0]);
            self.last = self.next;
            self.next = self.next.advance(len as u64);
        }
        let (_, bytes) = builder.seal(self.vdl, self.pgmrpl);
        for (_, record) in Batch::decode(&bytes).expect("valid").records().flatten() {
            let versions = self.pages.entry(record.page).or_default();
            let mut page = versions.last().cloned().unwrap_or_else(Page::zero);
            apply(&record, &mut page.0).expect("the model keeps the chain");
            versions.push(page);
        }
        bytes
    }

    /// The page as it must be at `lsn`, sealed.
    pub(crate) fn page(&self, page: u64, lsn: Lsn) -> Page {
        let versions = self.pages.get(&PageId(page)).map_or(&[][..], |v| &v[..]);
        sealed(versions.iter().rev().find(|p| p.lsn() <= lsn).cloned().unwrap_or_else(Page::zero))
    }

    /// A new opening that found `vdl`: everything above it is gone from the model, and LSNs go on above the range.
    pub(crate) fn reopen(&mut self, epoch: u64, vdl: Lsn, lal: u64) -> TruncationRange {
        let range = TruncationRange { epoch: VolumeEpoch(epoch), from: vdl, to: vdl.advance(lal) };
        for versions in self.pages.values_mut() {
            versions.retain(|page| page.lsn() <= vdl);
        }
        let last = self.pages.values().flatten().map(Page::lsn).max().unwrap_or(Lsn::ZERO);
        (self.epoch, self.last, self.next, self.vdl) = (epoch, last, range.to.advance(1), vdl);
        range
    }
}

pub(crate) fn append(epoch: u64, batch: Bytes) -> Request {
    Request::Append(Append { segment: SEGMENT, epochs: epochs(epoch), batch })
}

pub(crate) fn create(epoch: u64) -> Request {
    Request::CreateSegment { segment: SEGMENT, epochs: epochs(epoch), kind: SegmentKind::Full }
}

/// Admits requests, then writes until nothing waits.
pub(crate) async fn submit(node: &Rc<Node>, requests: Vec<Request>) -> Result<(), NodeError> {
    let mut actions = Vec::new();
    for request in requests {
        node.store.borrow_mut().on_request(NOBODY, request, &mut actions);
        actions.drain(..).for_each(|action| node.act(action));
    }
    let mut durable = None;
    while durable.is_some() || !node.queue.borrow().is_empty() {
        if node.log.borrow().spares() == 0 {
            let number = node.log.borrow().next_number();
            let made = spare::next_file(node, number).await;
            let made = made.map_err(NodeError::disk(format!("making {}", crate::log::file_name(number))))?;
            node.log.borrow_mut().add_spare(number, made);
        }
        durable = appender::step(node, durable).await?;
    }
    node.store.borrow().check_invariants();
    Ok(())
}

/// A node over an image of a disk.
pub(crate) async fn open(image: Image) -> Result<(Rc<Node>, Rc<MemoryDisk>), NodeError> {
    let disk = Rc::new(MemoryDisk::from_image(image));
    let node = open_on(disk.clone()).await?;
    Ok((node, disk))
}

pub(crate) async fn open_on(disk: Rc<MemoryDisk>) -> Result<Rc<Node>, NodeError> {
    let seam: Rc<dyn Disk> = disk;
    Node::open(seam, Rc::new(TokioHost::new()), Flush::DsyncWrite, IDENTITY, options()).await
}

/// A node in virtual time.
pub(crate) async fn open_with(
    disk: Rc<MemoryDisk>,
    clock: &Clock,
    options: NodeOptions,
) -> Result<Rc<Node>, NodeError> {
    let seam: Rc<dyn Disk> = disk;
    Node::open(seam, Rc::new(clock.clone()), Flush::DsyncWrite, IDENTITY, options).await
}

/// A host whose time passes only when somebody sleeps, at once: every run is the same.
#[derive(Debug, Clone, Default)]
pub(crate) struct Clock(Rc<Cell<Duration>>);

impl Clock {
    pub(crate) fn pass(&self, time: Duration) {
        self.0.set(self.0.get() + time);
    }
}

impl Host for Clock {
    fn now(&self) -> Duration {
        self.0.get()
    }

    fn sleep(&self, time: Duration) -> LocalFuture<'static, ()> {
        let clock = self.clone();
        Box::pin(async move {
            clock.pass(time);
            tokio::task::yield_now().await;
        })
    }

    fn spawn(&self, task: LocalFuture<'static, ()>) {
        tokio::task::spawn_local(task);
    }
}

/// Runs a test's future to its end on one thread with local tasks.
pub(crate) fn block_on<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    tokio::task::LocalSet::new().block_on(&runtime, future)
}

/// The checksum is kept up to date only where a page is stored or sent.
fn sealed(mut page: Page) -> Page {
    sextant_redo::page::seal(&mut page.0);
    page
}

/// The page that the node serves, sealed.
pub(crate) async fn read(node: &Rc<Node>, page: u64, read_point: Lsn) -> Page {
    let _pin = node.background.pins.pin();
    let plan = {
        let store = node.store.borrow();
        let slot = &store.segments()[&SEGMENT];
        slot.pages.plan(PageId(page), read_point.min(slot.segment.scl()))
    };
    sealed(crate::pages::read::make(node, SEGMENT, plan).await.0.expect("a good page").to_page())
}
