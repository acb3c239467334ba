//! The background of a node: pages whose chain has grown long get an image, and when the log on disk or the index of
//! pending records in memory grows over its bound, more of them do: those that need the oldest log files, so that a checkpoint
//! can say where the images are and the files are used again; or those on which the most records wait ([`super::digest`]).
//! Memory is looked after from five eighths of its bound on: at the bound log has to wait ([`crate::inflow`]).
//!
//! What must hold:
//! - an image holds only records at or below [`crate::core::Segment::materialise_cap`]: durable for the volume, so no
//!   truncation can undo them, and older than any reader's read point;
//! - log is freed, and a slot used again, only behind a durable checkpoint that no longer needs it, and behind every
//!   read that began before;
//! - foreground first: while appends come in, this takes turns of its own length with pauses of the same length. But who falls
//!   behind never catches up, for what has left memory costs ten times as much: pages whose records are about to leave it
//!   get no pauses, and when log and memory are near or over their bounds it is the foreground that pauses ([`super::brake`]).

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use std::time::Duration;

use sextant_redo::wire::SegmentError;
use sextant_redo::{Batch, BatchError, PageId, SegmentId};
use tokio::sync::{Mutex, Notify};

use crate::NodeError;
use crate::core::{BLOCK_PAGES, Entry, LogAddress, PendingRecord, SegmentSlot};
use crate::disk::FileId;
use crate::host;
use crate::log;
use crate::metrics::METRICS;
use crate::node::{Node, NodeOptions};

use super::blocks;
use super::brake::is_urgent;
use super::brought::PageRecords;
use super::digest::{self, Portion, Share, Wanted};
use super::images::{PAGES_AT_ONCE, PAGES_AT_ONCE_URGENT, materialise, materialise_with_pauses};
use super::pins::Pins;
use super::saver::{self, SavedList, write_checkpoint};
use super::space::{Freed, give_back, use_again};
use super::store::PageStore;

/// Records pending on a page above which it gets an image before they leave memory: a page that is changed all the time
/// gets one for hundreds of records then, not for each sixty-four.
const CHAIN_LONG: usize = 64;
/// Records that a transfer from the disk must bring for an image that nobody waits for: below, the digest of whole log
/// files is cheaper, and comes anyway.
const RECORDS_A_READ: usize = 8;
/// Records pending on a page above which it gets an image at once, whatever that costs: whoever reads it pays it each time.
const CHAIN_TOO_LONG: usize = 512;
/// Pages worked on between two looks at whether there is still no time to lose.
const PAGES_A_LOOK: usize = 4 * PAGES_AT_ONCE_URGENT;
/// Pages with a long chain that are read back from the disk in one round.
const COLD_PAGES: usize = 64;
/// Between two looks at the log's size when nothing else wakes this.
const IDLE: Duration = Duration::from_millis(250);
/// A writer has told by then how far the volume is durable: it does so five times a second.
const TOLD: Duration = Duration::from_millis(500);
/// How long somebody waits for a checkpoint.
const CHECKPOINT_PATIENCE: Duration = Duration::from_secs(60);
/// Before trying again to empty log files that something still needs.
pub(super) const STUCK: Duration = Duration::from_secs(5);

/// What the background shares with the rest of the node.
#[derive(Debug)]
pub(crate) struct Background {
    pub(crate) pages: RefCell<PageStore>,
    pub(crate) pins: Pins<Freed>,
    /// Log files with nothing in them, to be used again.
    pub(crate) empty_files: RefCell<Vec<(u32, FileId)>>,
    /// Records that were read back to be put into the images of these pages.
    pub(super) brought: RefCell<BTreeMap<(SegmentId, PageId), Rc<PageRecords>>>,
    long: RefCell<BTreeSet<(SegmentId, PageId)>>,
    wake: Notify,
    /// Pages that cannot be made here: not tried again until the next start.
    pub(super) damaged: RefCell<BTreeSet<(SegmentId, PageId)>>,
    pub(super) retry_at: Cell<Option<Duration>>,
    /// The device is full; when to try again.
    full_until: Cell<Option<Duration>>,
    /// Images made since the start.
    pub(super) made: Cell<u64>,
    /// When pages that could not be made are tried again although nobody mended them.
    damaged_again_at: Cell<Duration>,
    /// When log for which there is no room is let in again because the VDL does not move.
    needed_at: Cell<Duration>,
    /// The newest list of pending records on the device.
    pub(crate) list: RefCell<Option<SavedList>>,
    /// The page store grows for one task at a time.
    pub(super) growing: Mutex<()>,
    /// Checkpoints asked for, and how many of these requests have been met.
    asked: Cell<u64>,
    met: Cell<u64>,
    written: Notify,
    /// Log files below this number are to be freed although there is room.
    pub(crate) free_to: Cell<u32>,
}

impl Background {
    pub(crate) fn new(
        pages: PageStore,
        empty_files: Vec<(u32, FileId)>,
        list: Option<SavedList>,
    ) -> Background {
        Background {
            pages: RefCell::new(pages),
            pins: Pins::new(),
            empty_files: RefCell::new(empty_files),
            brought: RefCell::default(),
            long: RefCell::default(),
            wake: Notify::new(),
            damaged: RefCell::default(),
            retry_at: Cell::new(None),
            full_until: Cell::new(None),
            made: Cell::new(0),
            damaged_again_at: Cell::new(Duration::ZERO),
            needed_at: Cell::new(Duration::ZERO),
            list: RefCell::new(list),
            growing: Mutex::new(()),
            asked: Cell::new(0),
            met: Cell::new(0),
            written: Notify::new(),
            free_to: Cell::new(0),
        }
    }

    /// There is something to do.
    pub(crate) fn wake(&self) {
        self.wake.notify_one();
    }

    /// There is no space on the device, so nothing that needs some is tried until then.
    pub(super) fn no_space(&self, until: Duration) {
        self.full_until.set(Some(until));
    }

    /// The page can be made again.
    pub(crate) fn mended(&self, segment: SegmentId, page: PageId) {
        self.damaged.borrow_mut().remove(&(segment, page));
    }

    /// The segment is gone: its space comes back with the next checkpoint, and so do log files below `file`, in which nobody
    /// else has anything.
    pub(crate) fn forget(&self, segment: SegmentId, file: u32) {
        self.damaged.borrow_mut().retain(|(of, _)| *of != segment);
        self.asked.set(self.asked.get() + 1);
        self.free_below(file);
    }

    /// Every page of a block of the page map can be made again.
    pub(crate) fn mended_block(&self, segment: SegmentId, number: u64) {
        self.damaged.borrow_mut().retain(|(of, page)| *of != segment || page.0 / BLOCK_PAGES != number);
    }

    /// Nothing needs the log below this file, and it is not to wait until there is too much log: some of it is damaged, or
    /// a segment was dropped.
    pub(crate) fn free_below(&self, file: u32) {
        self.free_to.set(self.free_to.get().max(file));
        self.wake.notify_one();
    }

    /// A record was added to a page on which `pending` wait now.
    pub(crate) fn chain_grew(&self, segment: SegmentId, page: PageId, pending: usize) {
        if pending >= CHAIN_LONG && pending.is_multiple_of(CHAIN_LONG / 4) {
            self.long.borrow_mut().insert((segment, page));
        }
        if pending >= CHAIN_TOO_LONG && pending.is_multiple_of(CHAIN_TOO_LONG) {
            self.wake.notify_one();
        }
    }
}

/// Works until the node fails.
pub(crate) async fn keep(node: Rc<Node>) {
    while !node.has_failed() {
        host::timeout(&*node.host, IDLE, node.background.wake.notified()).await;
        let made = node.background.made.get();
        if let Err(error) = round(&node).await {
            node.fail(error);
        } else if over_bounds(&node).1 && node.background.made.get() > made {
            // There is more of it.
            node.background.wake();
        }
    }
}

/// Everything that there is to do now.
pub(crate) async fn round(node: &Rc<Node>) -> Result<(), NodeError> {
    use_again(node).await?;
    blocks::free_dropped(node).await;
    shorten_chains(node).await?;
    let (log_over, index_over) = over_bounds(node);
    let not_yet = is_full(node) || is_stuck(node);
    let damaged = node.background.free_to.get() > node.log.borrow().first_file();
    let for_log = (log_over || damaged) && !not_yet;
    // Room in memory may come whatever keeps old files.
    let for_index = index_over && !is_full(node);
    if for_log {
        free_log(node).await?;
    }
    if for_index {
        free_memory(node).await?;
    }
    make_room(node);
    let asked = node.background.asked.get();
    let due = (wants_checkpoint(node) || saver::is_due(node)) && !not_yet;
    if due || asked > node.background.met.get() {
        let oldest = node.log.borrow().first_file();
        if write_checkpoint(node, oldest).await? {
            node.background.met.set(asked);
            node.background.written.notify_waiters();
        }
    }
    use_again(node).await?;
    give_back(node).await?;
    let (bytes, free) = node.background.pages.borrow().bytes();
    METRICS.page_store_bytes.set(bytes as i64);
    METRICS.page_store_free.set(free as i64);
    METRICS.tail_bytes.set(node.store.borrow().tail_bytes() as i64);
    Ok(())
}

/// Lets in what waits. Where no room can come because no page may be made of anything, that is what moves on the point up to
/// which pages may be made; where it cannot because the device is full, nothing.
fn make_room(node: &Rc<Node>) {
    node.let_in();
    if !node.inflow.borrow().is_waited_for() {
        return;
    }
    if is_full(node) {
        node.refuse_waiting();
    } else if !digest::any_ready(node) {
        let patiently = node.host.now() >= node.background.needed_at.get();
        if patiently {
            node.background.needed_at.set(node.host.now() + TOLD);
        }
        node.let_in_needed(patiently);
        try_damaged_again(node);
    }
}

/// Nothing else can be made any more, and log waits for that: perhaps the pages that could not be made can be now, or once
/// a peer has helped.
fn try_damaged_again(node: &Node) {
    let background = &node.background;
    if node.host.now() < background.damaged_again_at.get() {
        return;
    }
    background.damaged_again_at.set(node.host.now() + STUCK);
    for (segment, page) in background.damaged.take() {
        let _ = super::read::repair(node, segment, page);
    }
}

/// Gives images to pages with long chains, first of all to those whose records are still in memory. The records of others
/// are read back where they lie close together.
async fn shorten_chains(node: &Rc<Node>) -> Result<(), NodeError> {
    let (hot, mut cold) = long_chains(node);
    let (log_over, index_over) = over_bounds(node);
    if log_over || index_over {
        // The digest has made or will make them.
        cold.clear();
    } else if cold.len() > COLD_PAGES {
        node.background.long.borrow_mut().extend(cold.drain(COLD_PAGES..));
    }
    for pages in hot.chunks(PAGES_AT_ONCE_URGENT) {
        // Records may have left memory while others had their turn; those are not read back one by one here.
        let in_memory: Pages = pages.iter().copied().filter(|page| is_in_memory(node, *page)).collect();
        materialise(node, &in_memory, PAGES_AT_ONCE_URGENT, &is_long).await?;
    }
    let worth_reading = |records: &[PendingRecord]| {
        let transfers = || log::runs::runs(records).len();
        is_long(records) && (records.len() >= CHAIN_TOO_LONG || transfers() * RECORDS_A_READ <= records.len())
    };
    for pages in cold.chunks(PAGES_AT_ONCE) {
        materialise_with_pauses(node, pages, &worth_reading).await?;
    }
    Ok(())
}

type Pages = Vec<(SegmentId, PageId)>;

/// The pages with long chains that are to get an image now: those whose first pending record leaves memory soon, or whose
/// chain is too long, and those of which some record has left it. The others stay listed.
fn long_chains(node: &Node) -> (Pages, Pages) {
    let (mut hot, mut cold) = (Pages::new(), Pages::new());
    let (store, cache) = (node.store.borrow(), node.cache.borrow());
    let (oldest, leaving) = (cache.oldest(), cache.leaves_soon());
    node.background.long.borrow_mut().retain(|(segment, page)| {
        let slot = store.segments().get(segment);
        let Some((first, pending)) = slot.and_then(|slot| slot.pages.chain(*page)) else { return false };
        if oldest.is_none_or(|oldest| first < oldest) {
            cold.push((*segment, *page));
        } else if first < leaving || pending >= CHAIN_TOO_LONG {
            hot.push((*segment, *page));
        } else {
            return true;
        }
        false
    });
    (hot, cold)
}

/// True when every pending record of the page is in memory.
fn is_in_memory(node: &Node, (segment, page): (SegmentId, PageId)) -> bool {
    let (store, cache) = (node.store.borrow(), node.cache.borrow());
    let chain = store.segments().get(&segment).and_then(|slot| slot.pages.chain(page));
    chain.zip(cache.oldest()).is_some_and(|((first, _), oldest)| first >= oldest)
}

fn is_long(records: &[PendingRecord]) -> bool {
    records.len() >= CHAIN_LONG / 2
}

/// True when much of the page store, or of the memory for the page map, waits for a checkpoint.
pub(super) fn wants_checkpoint(node: &Node) -> bool {
    let (_, dirty) = node.store.borrow().map_blocks();
    node.background.pages.borrow().wants_checkpoint() || dirty > node.options.map_blocks_max / 2
}

/// With so many pending records on, memory is looked after: before its bound is reached.
pub(crate) fn memory_is_short_at(options: &NodeOptions) -> usize {
    options.pending_records_max / 8 * 5
}

/// What the bounds of space and memory ask for. Every batch in the log takes memory too.
fn over_bounds(node: &Node) -> (bool, bool) {
    let log = node.log.borrow().bytes_used() > node.options.log_budget_bytes
        || node.store.borrow().batches() > node.options.pending_records_max;
    let index = node.store.borrow().pending_records() >= memory_is_short_at(&node.options);
    (log, index || node.inflow.borrow().is_waited_for())
}

/// Puts the oldest log into images, file by file, until a quarter of the log's budget is free; then frees what can be freed.
async fn free_log(node: &Rc<Node>) -> Result<(), NodeError> {
    let (log_over, _) = over_bounds(node);
    let (first, active) = {
        let log = node.log.borrow();
        (log.first_file(), log.position().file)
    };
    let files = node.options.log_budget_bytes / 4 / node.options.log_file_bytes;
    let for_space = if log_over { first + 1 + files as u32 } else { first };
    let goal = for_space.max(node.background.free_to.get()).min(active);
    let mut stuck = false;
    loop {
        let oldest = node.store.borrow().first_file_pending(0).filter(|file| *file < goal);
        let Some(oldest) = oldest.filter(|_| !node.has_failed() && !is_full(node)) else { break };
        digest_file(node, oldest).await?;
        relocate(node, oldest).await?;
        if node.store.borrow().first_file_pending(0).is_some_and(|file| file <= oldest) {
            // Readers hold an old read point, or the chain has a hole: only time helps.
            tracing::debug!(file = oldest, "an old log file is still needed");
            stuck = true;
            break;
        }
    }
    stuck |= move_tails(node, goal).await?;
    let needed = node.store.borrow().oldest_file_needed().unwrap_or(active);
    let free_to = needed.min(goal);
    stuck |= goal > first && free_to <= first;
    node.background.retry_at.set(stuck.then(|| node.host.now() + STUCK));
    if free_to > first {
        write_checkpoint(node, free_to).await?;
    }
    Ok(())
}

/// Makes images of the pages on which the most records wait, until half of the index is free: of as many as memory allows at a
/// time, so that what waits is let in, and until something else is to be done.
async fn free_memory(node: &Rc<Node>) -> Result<(), NodeError> {
    let max = node.options.pending_records_max;
    loop {
        let pending = node.store.borrow().pending_records();
        let waited_for = node.inflow.borrow().is_waited_for();
        // What waits may be larger than what is free then.
        let records = pending.saturating_sub(max / 2).max(if waited_for { max / 4 } else { 0 });
        if records == 0 || node.has_failed() || is_full(node) {
            return Ok(());
        }
        shorten_chains(node).await?;
        let made = node.background.made.get();
        let chosen = digest::longest(node, share(node, records)).await;
        make_portion(node, chosen).await?;
        let for_log = over_bounds(node).0 && !is_stuck(node);
        if made == node.background.made.get() || for_log || is_asked(node) {
            return Ok(());
        }
        if saver::is_due(node) && !is_stuck(node) {
            // This may go on for as long as log comes in.
            let oldest = node.log.borrow().first_file();
            write_checkpoint(node, oldest).await?;
        }
    }
}

/// A portion of so many records at most: of those read back there are no more in memory than a log file holds, and for small ones
/// no more than half as many as there is room for.
fn share(node: &Node, records: usize) -> Share {
    let records = records.min(node.options.pending_records_max / 2).max(1);
    Share { records, bytes: node.options.log_file_bytes }
}

/// Old log files are known to be needed still.
fn is_stuck(node: &Node) -> bool {
    node.background.retry_at.get().is_some_and(|at| node.host.now() < at)
}

/// Somebody waits for a checkpoint.
fn is_asked(node: &Node) -> bool {
    node.background.asked.get() > node.background.met.get()
}

pub(super) fn is_full(node: &Node) -> bool {
    node.background.full_until.get().is_some_and(|at| node.host.now() < at)
}

/// Moves what tails have in log files below `goal` to the end of the log, where it is little. True when something is left: a
/// full segment of the group does not have it yet, or cannot be heard.
async fn move_tails(node: &Rc<Node>, goal: u32) -> Result<bool, NodeError> {
    loop {
        let oldest = node.store.borrow().oldest_file_needed().filter(|file| *file < goal);
        let Some(oldest) = oldest.filter(|_| !node.has_failed()) else { return Ok(false) };
        relocate(node, oldest).await?;
        if node.store.borrow().oldest_file_needed().is_some_and(|file| file <= oldest) {
            return Ok(true);
        }
    }
}

/// Gives an image to every page that needs one log file.
async fn digest_file(node: &Rc<Node>, number: u32) -> Result<(), NodeError> {
    let floor = LogAddress::new(number + 1, 0);
    // A page may have nothing pending any more when its turn comes: its block of the page map shows it when it is read, or a
    // truncation came in between.
    let starts_there = |records: &[PendingRecord]| records.first().is_some_and(|first| first.batch < floor);
    sweep(node, &starts_there).await?;
    if node.store.borrow().first_file_pending(0).is_some_and(|file| file <= number) {
        // Records that arrived out of order: the page needs what came before them in its chain, wherever that lies.
        let needs_it = |records: &[PendingRecord]| records.iter().any(|record| record.batch < floor);
        sweep(node, &needs_it).await?;
    }
    Ok(())
}

/// Writes the batches that old log is still needed for once more, at its end, when they are few: the last ones of a volume that
/// is idle, of which no later batch said that they are durable and old, must not keep all log behind them. Out of a damaged
/// file all of them go, however many: nothing else gets rid of it while the writer is dead.
async fn relocate(node: &Rc<Node>, number: u32) -> Result<(), NodeError> {
    let batches: BTreeMap<LogAddress, (SegmentId, u32)> = {
        let store = node.store.borrow();
        if store.oldest_file_needed().is_none_or(|file| file > number) {
            return Ok(());
        }
        let needed = |(id, slot): (&SegmentId, &SegmentSlot)| {
            let batches = slot.batches_needed(number).into_iter();
            batches.map(|(at, len)| (at, (*id, len))).collect::<Vec<_>>()
        };
        store.segments().iter().flat_map(needed).collect()
    };
    let bytes: u64 = batches.values().map(|(_, len)| u64::from(*len)).sum();
    let damaged = number < node.background.free_to.get();
    if !damaged && bytes > node.options.log_file_bytes / 4 {
        return Ok(());
    }
    for (at, (segment, len)) in batches {
        let moved = log::read::batch(node, at, len).await.and_then(|bytes| {
            let damaged = |error: BatchError| SegmentError::Damaged { what: error.to_string() };
            Batch::decode(&bytes).map_err(damaged)
        });
        match moved {
            Ok(_) if !node.store.borrow().is_of_now(segment, at) => {}
            Ok(batch) => node.enqueue(Some(Entry::Batch(batch)), None),
            Err(error) => {
                METRICS.error("relocate");
                tracing::error!(%error, "a batch cannot be moved; the log in front of it is kept");
                // It keeps the file: there is nothing to wait for.
                return Ok(());
            }
        }
    }
    // Not done in time when the device is slow or full: then the old copies still count. Log that waits for room is not kept
    // waiting for this.
    let deadline = node.host.now() + STUCK;
    while node.store.borrow().oldest_file_needed().is_some_and(|file| file <= number)
        && node.host.now() < deadline
        && !node.inflow.borrow().is_waited_for()
    {
        node.host.sleep(Duration::from_millis(2)).await;
    }
    Ok(())
}

/// Gives an image to every page for whose pending records `wanted` holds.
async fn sweep(node: &Rc<Node>, wanted: Wanted<'_>) -> Result<(), NodeError> {
    let mut from = Some(digest::FIRST);
    while let Some(at) = from
        && !node.has_failed()
        && !is_full(node)
    {
        // Their records would have to be read back otherwise.
        shorten_chains(node).await?;
        let chosen;
        (chosen, from) = digest::portion(node, at, wanted, share(node, usize::MAX)).await;
        make_portion(node, chosen).await?;
    }
    Ok(())
}

/// Gives images to pages whose records are read back together.
async fn make_portion(node: &Rc<Node>, mut chosen: Portion) -> Result<(), NodeError> {
    digest::bring(node, &mut chosen, is_urgent(node)).await;
    let mut done = Ok(());
    let mut pages = &chosen.pages[..];
    while done.is_ok() && !pages.is_empty() {
        let urgent = is_urgent(node);
        let some;
        (some, pages) = pages.split_at(if urgent { PAGES_A_LOOK } else { PAGES_AT_ONCE }.min(pages.len()));
        let all: Wanted<'_> = &|_| true;
        done = if urgent {
            materialise(node, some, PAGES_AT_ONCE_URGENT, all).await
        } else {
            materialise_with_pauses(node, some, all).await
        };
    }
    node.background.brought.take();
    done
}

/// Waits for a checkpoint that holds everything of now. False when there is no space for it, or the node fails.
pub(crate) async fn checkpointed(node: &Node) -> bool {
    let background = &node.background;
    let wanted = background.asked.get() + 1;
    background.asked.set(wanted);
    background.wake.notify_one();
    let deadline = node.host.now() + CHECKPOINT_PATIENCE;
    while background.met.get() < wanted && !node.has_failed() && node.host.now() < deadline {
        host::timeout(&*node.host, IDLE, background.written.notified()).await;
    }
    background.met.get() >= wanted
}
