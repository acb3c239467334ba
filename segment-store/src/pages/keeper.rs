//! The background of a node: pages whose chain has grown long get an image, and when the log grows over its budget its
//! oldest files are emptied: every page that needs them gets an image, a checkpoint says where the images are, and the
//! files are used again.
//!
//! What must hold:
//! - an image holds only records at or below [`crate::core::Segment::materialise_cap`]: durable for the volume, so no
//!   truncation can undo them, and older than any reader's read point;
//! - log is freed, and a slot used again, only behind a durable checkpoint that no longer needs it, and behind every
//!   read that began before;
//! - foreground first: while appends come in, this takes turns of its own length with pauses of the same length.

use std::cell::{Cell, RefCell};
use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::{Duration, Instant};

use sextant_redo::{PageId, SegmentId, page};
use tokio::sync::Notify;
use tokio::task::JoinSet;

use crate::NodeError;
use crate::core::{LogAddress, PageBase, PendingRecord, Slot};
use crate::disk::FileId;
use crate::log;
use crate::metrics::METRICS;
use crate::node::Node;
use crate::recovery::LogStart;

use super::checkpoint::{self, CHECKPOINT_FILE, CheckpointHead};
use super::pins::Pins;
use super::store::{self, PageStore};

/// Records pending on a page above which it gets an image.
const CHAIN_LONG: usize = 64;
/// Pages worked on at once.
const PAGES_AT_ONCE: usize = 16;
/// Pages looked up at once.
const PAGES_SELECTED: usize = 256;
/// Between two looks at the log's size when nothing else wakes this.
const IDLE: Duration = Duration::from_millis(250);
/// Before trying again to empty log files that something still needs.
const STUCK: Duration = Duration::from_secs(2);

/// Space that a checkpoint no longer names.
#[derive(Debug)]
pub(crate) struct Freed {
    slots: Vec<Slot>,
    log_files: Vec<(u32, FileId)>,
}

/// What the background shares with the rest of the node.
#[derive(Debug)]
pub(crate) struct Background {
    pub(crate) pages: RefCell<PageStore>,
    pub(crate) pins: Pins<Freed>,
    /// Log files with nothing in them, to be used again.
    pub(crate) empty_files: RefCell<Vec<(u32, FileId)>>,
    long: RefCell<BTreeSet<(SegmentId, PageId)>>,
    wake: Notify,
    /// Pages that cannot be made here: not tried again until the next start.
    damaged: RefCell<BTreeSet<(SegmentId, PageId)>>,
    retry_at: Cell<Option<Instant>>,
}

impl Background {
    pub(crate) fn new(pages: PageStore, empty_files: Vec<(u32, FileId)>) -> Background {
        Background {
            pages: RefCell::new(pages),
            pins: Pins::new(),
            empty_files: RefCell::new(empty_files),
            long: RefCell::default(),
            wake: Notify::new(),
            damaged: RefCell::default(),
            retry_at: Cell::new(None),
        }
    }

    /// A record was added to a page on which `pending` wait now.
    pub(crate) fn chain_grew(&self, segment: SegmentId, page: PageId, pending: usize) {
        if pending >= CHAIN_LONG && pending.is_multiple_of(CHAIN_LONG / 4) {
            self.long.borrow_mut().insert((segment, page));
            self.wake.notify_one();
        }
    }
}

/// Works until the node fails.
pub(crate) async fn keep(node: Rc<Node>) {
    while !node.has_failed() {
        let _ = tokio::time::timeout(IDLE, node.background.wake.notified()).await;
        if let Err(error) = round(&node).await {
            node.fail(error);
        }
    }
}

/// Everything that there is to do now.
pub(crate) async fn round(node: &Rc<Node>) -> Result<(), NodeError> {
    use_again(node).await?;
    shorten_chains(node).await?;
    bound_index(node).await?;
    let over = node.log.borrow().bytes_used() > node.options.log_budget_bytes;
    let not_yet = node.background.retry_at.get().is_some_and(|at| Instant::now() < at);
    if over && !not_yet {
        empty_oldest(node).await?;
    } else if node.background.pages.borrow().wants_checkpoint() {
        let first = node.log.borrow().first_file();
        write_checkpoint(node, first).await?;
    }
    use_again(node).await?;
    let (bytes, free) = node.background.pages.borrow().bytes();
    METRICS.page_store_bytes.set(bytes as i64);
    METRICS.page_store_free.set(free as i64);
    Ok(())
}

async fn shorten_chains(node: &Rc<Node>) -> Result<(), NodeError> {
    let long: Vec<_> = node.background.long.take().into_iter().collect();
    let worth_it = |records: &[PendingRecord]| records.len() >= CHAIN_LONG / 2;
    for pages in long.chunks(PAGES_AT_ONCE) {
        materialise(node, pages, &worth_it).await?;
    }
    Ok(())
}

/// Pending records are kept in memory: when there are too many, the pages with the longest chains get images, then
/// those with shorter ones, until half of the bound is free.
async fn bound_index(node: &Rc<Node>) -> Result<(), NodeError> {
    let max = node.options.pending_records_max;
    let pending = || node.store.borrow().pending_records();
    let not_yet = node.background.retry_at.get().is_some_and(|at| Instant::now() < at);
    if pending() <= max || not_yet {
        return Ok(());
    }
    let mut shortest = CHAIN_LONG;
    while pending() > max / 2 && shortest > 1 {
        shortest /= 4;
        sweep(node, &|records| records.len() >= shortest).await?;
    }
    if pending() > max {
        // Readers hold an old read point, or the chain has a hole: only time helps.
        tracing::debug!(pending = pending(), "more records are pending than memory is meant to hold");
        node.background.retry_at.set(Some(Instant::now() + STUCK));
    }
    Ok(())
}

/// Gives an image to every page for whose pending records `wanted` holds.
async fn sweep(node: &Rc<Node>, wanted: &dyn Fn(&[PendingRecord]) -> bool) -> Result<(), NodeError> {
    let segments: Vec<SegmentId> = node.store.borrow().segments().keys().copied().collect();
    for segment in segments {
        let mut from = Some(PageId(0));
        while let Some(start) = from {
            let (pages, next) = {
                let store = node.store.borrow();
                let slot = &store.segments()[&segment];
                slot.pages.select(start, PAGES_SELECTED, slot.segment.materialise_cap(), wanted)
            };
            from = next;
            let pages: Vec<_> = pages.into_iter().map(|page| (segment, page)).collect();
            for pages in pages.chunks(PAGES_AT_ONCE) {
                materialise(node, pages, wanted).await?;
            }
            // Looking is work too, and on the thread that serves.
            tokio::task::yield_now().await;
        }
    }
    Ok(())
}

/// Gives images to all pages that need the oldest files, so that a quarter of the budget comes free, then frees what
/// can be freed.
async fn empty_oldest(node: &Rc<Node>) -> Result<(), NodeError> {
    let (first, target) = {
        let log = node.log.borrow();
        let files = node.options.log_budget_bytes / 4 / node.options.log_file_bytes;
        let first = log.first_file();
        (first, (first + 1 + files as u32).min(log.position().file))
    };
    let floor = LogAddress::new(target, 0);
    let needs_floor = |records: &[PendingRecord]| records.iter().any(|record| record.batch < floor);
    sweep(node, &needs_floor).await?;
    let needed = node.store.borrow().oldest_needed().map_or(target, |address| address.file().min(target));
    if needed > first {
        node.background.retry_at.set(None);
        write_checkpoint(node, needed).await
    } else {
        // Readers hold an old read point, or the chain has a hole: only time helps.
        tracing::debug!(first, "the oldest log file is still needed");
        node.background.retry_at.set(Some(Instant::now() + STUCK));
        Ok(())
    }
}

/// Gives images to these pages, several at once, if `wanted` still holds for what is pending.
async fn materialise(
    node: &Rc<Node>,
    pages: &[(SegmentId, PageId)],
    wanted: &dyn Fn(&[PendingRecord]) -> bool,
) -> Result<(), NodeError> {
    let started = Instant::now();
    let groups_before = METRICS.groups.get();
    let mut running: JoinSet<Result<(), NodeError>> = JoinSet::new();
    for (segment, page) in pages.iter().copied() {
        let plan = {
            let store = node.store.borrow();
            let Some(slot) = store.segments().get(&segment) else {
                continue;
            };
            slot.pages.plan(page, slot.segment.materialise_cap())
        };
        let Some(last) = plan.records.last().map(|record| record.lsn) else {
            continue;
        };
        if !wanted(&plan.records) || node.background.damaged.borrow().contains(&(segment, page)) {
            continue;
        }
        let Some((file, slot)) = free_slot(node).await? else {
            break;
        };
        let node = node.clone();
        running.spawn_local(async move {
            let pin = node.background.pins.pin();
            let made = super::read::make(&node, &plan).await.0;
            drop(pin);
            let Ok(mut image) = made.inspect_err(|error| {
                METRICS.error("materialise");
                tracing::error!(%error, "a page image cannot be made on this node; its log is kept");
            }) else {
                node.background.damaged.borrow_mut().insert((segment, page));
                node.background.pages.borrow_mut().release([slot]);
                return Ok(());
            };
            page::seal(&mut image.0);
            store::write(&*node.disk, file, slot, &image).await?;
            switch(&node, segment, page, PageBase { lsn: last, slot });
            Ok(())
        });
    }
    while let Some(done) = running.join_next().await {
        done.map_err(|error| NodeError::Runtime(std::io::Error::other(error)))??;
    }
    let busy = METRICS.groups.get() > groups_before;
    let urgent = node.log.borrow().bytes_used() > node.options.log_budget_bytes / 2 * 3;
    if busy && !urgent {
        tokio::time::sleep(started.elapsed()).await;
    }
    Ok(())
}

/// The image is written: readers find it from now on.
fn switch(node: &Node, segment: SegmentId, page: PageId, base: PageBase) {
    let mut store = node.store.borrow_mut();
    let Some(slot) = store.segment_mut(segment) else {
        return;
    };
    if let Some(before) = slot.pages.materialised(page, base) {
        node.background.pages.borrow_mut().supersede(before.slot);
    }
    METRICS.materialised.inc();
}

/// A free slot; `None` when the device is full.
async fn free_slot(node: &Node) -> Result<Option<(FileId, Slot)>, NodeError> {
    loop {
        let (file, slots) = {
            let mut pages = node.background.pages.borrow_mut();
            let file = pages.file();
            if let (Some(file), Some(slot)) = (file, pages.take_free()) {
                return Ok(Some((file, slot)));
            }
            (file, pages.grown())
        };
        match store::grow(&*node.disk, file, slots).await? {
            Some(file) => node.background.pages.borrow_mut().set_slots(file, slots),
            None => {
                METRICS.error("disk_full");
                tracing::warn!("no space for page images; the log is kept until space returns");
                node.background.retry_at.set(Some(Instant::now() + STUCK));
                return Ok(None);
            }
        }
    }
}

/// Makes the page map durable; then log files below `first` and superseded slots are free.
async fn write_checkpoint(node: &Rc<Node>, first: u32) -> Result<(), NodeError> {
    let (bytes, superseded) = {
        let log = node.log.borrow();
        let position = log.position();
        let Some(sequence) = log.first_sequence(first) else {
            return Ok(());
        };
        let applied = LogAddress::new(position.file, position.offset as u32);
        let start = LogStart { file: first, sequence, reached: position.sequence - 1, applied };
        let head = CheckpointHead { identity: node.identity, start };
        (
            checkpoint::encode(&head, &node.store.borrow()),
            node.background.pages.borrow_mut().take_superseded(),
        )
    };
    let file = node.background.pages.borrow().file();
    if let Some(file) = file {
        let synced = node.disk.sync(file);
        synced.await.map_err(NodeError::disk("flushing the page store"))?;
    }
    match node.disk.replace(CHECKPOINT_FILE, bytes).await {
        Ok(()) => {}
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            METRICS.error("disk_full");
            tracing::warn!("no space for a checkpoint; the log is kept until space returns");
            node.background.pages.borrow_mut().give_back(superseded);
            node.background.retry_at.set(Some(Instant::now() + STUCK));
            return Ok(());
        }
        Err(error) => return Err(NodeError::disk("writing the checkpoint")(error)),
    }
    METRICS.checkpoints.inc();
    let floor = LogAddress::new(first, 0);
    node.store.borrow_mut().forget_below(floor);
    let log_files = node.log.borrow_mut().free_below(first);
    node.background.pins.retire(Freed { slots: superseded, log_files });
    Ok(())
}

/// Hands out again what no reader can look at any more.
async fn use_again(node: &Node) -> Result<(), NodeError> {
    for freed in node.background.pins.collect() {
        node.background.pages.borrow_mut().release(freed.slots);
        for (number, file) in freed.log_files {
            node.log.borrow_mut().forget_file(number);
            node.background.empty_files.borrow_mut().push((number, file));
        }
    }
    // One is kept for when the active file is full; a log that has shrunk gives the rest back to the device.
    loop {
        let excess = {
            let mut empty = node.background.empty_files.borrow_mut();
            if empty.len() > 1 { empty.pop() } else { None }
        };
        let Some((number, file)) = excess else {
            return Ok(());
        };
        node.disk.close(file);
        let name = log::file_name(number);
        node.disk.delete(&name).await.map_err(NodeError::disk(format!("deleting {name}")))?;
    }
}
