//! The load: appends, the log's files filled, freed and used again, an opening with a truncation, rounds of the background
//! with page images, a page store that grows, checkpoints and moved batches; and what it knows to be acknowledged.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use sextant_redo::wire::{Request, SegmentError};
use sextant_redo::{Lsn, PageId, page};

use crate::NodeError;
use crate::disk::memory::MemoryDisk;
use crate::node::{Node, NodeOptions};
use crate::pages::{keeper, read};
use crate::testing::{Clock, SEGMENT, Writer, append, create, epochs, open_with, submit};

/// Pages that are written again and again, and a last one that never is.
pub(super) const PAGES: Range<u64> = 0..9;
/// Pages that are written once: more than the page store has room for when it is made, and in another block of the page
/// map.
pub(super) const ONCE: Range<u64> = 1000..1128;
/// Batches that write them.
const MANY_PAGES: Range<u64> = 5..7;
/// Batches during which a reader holds its read point: what lies above it is moved on when the log is freed.
const HELD_BACK: Range<u64> = 12..22;
/// Batches during which the background does nothing.
const LEFT_ALONE: Range<u64> = 29..41;
/// Between two rounds of the background: long enough for it to try again what it could not do.
const PAUSE: Duration = Duration::from_secs(10);

/// Log files of three groups and room for two of them; one block of the page map in memory.
fn options() -> NodeOptions {
    NodeOptions {
        log_file_bytes: 16 << 10,
        log_budget_bytes: 32 << 10,
        log_cache_bytes: 8 << 10,
        queue_bytes: 1 << 20,
        map_blocks_max: 1,
        pending_records_max: 200,
    }
}

/// What was acknowledged when the disk had seen so many changes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Acknowledged {
    pub(super) operations: usize,
    pub(super) scl: Lsn,
    pub(super) epoch: u64,
    pub(super) truncations: usize,
}

/// What was acknowledged at a moment, and what was on its way.
pub(super) type Moment = (Acknowledged, Option<Acknowledged>);

/// The load, and what it knows.
pub(super) struct Load {
    disk: Rc<MemoryDisk>,
    clock: Clock,
    pub(super) writer: Writer,
    /// The model before the truncation, once there is one.
    pub(super) before: Option<Writer>,
    /// Last LSNs of the batches so far.
    points: Vec<Lsn>,
    /// In the order in which it happened; the first is what holds before anything.
    acknowledged: Vec<Acknowledged>,
    /// What the request under way would make of it.
    sent: Option<Acknowledged>,
    /// Page reads that came back with an error.
    pub(super) refused_reads: usize,
}

/// Opens a node for the load.
pub(super) async fn open(disk: &Rc<MemoryDisk>, clock: &Clock) -> Result<Rc<Node>, NodeError> {
    open_with(disk.clone(), clock, options()).await
}

/// A round of the background, and whatever it puts in line for the log.
pub(super) async fn background(node: &Rc<Node>, clock: &Clock) -> Result<(), NodeError> {
    clock.pass(PAUSE);
    let write_on = async {
        loop {
            tokio::task::yield_now().await;
            submit(node, Vec::new()).await?;
        }
    };
    tokio::select! {
        biased;
        worked = keeper::round(node) => worked,
        failed = write_on => failed,
    }
}

/// True when the page was served, and then it is the model's.
pub(super) async fn read(node: &Rc<Node>, number: u64, point: Lsn, model: &Writer) -> bool {
    let _pin = node.background.pins.pin();
    let (plan, point) = {
        let store = node.store.borrow();
        let slot = &store.segments()[&model.segment];
        let point = point.min(slot.segment.scl());
        (slot.pages.plan(PageId(number), point), point)
    };
    match read::make(node, model.segment, plan).await.0 {
        Ok(mut made) => {
            page::seal(&mut made);
            assert!(made.to_page() == model.page(number, point), "page {number} at {point} is another");
            true
        }
        Err(SegmentError::Damaged { .. }) => false,
        Err(other) => panic!("page {number} at {point}: {other}"),
    }
}

/// What batch `n` changes.
fn changes(n: u64) -> Vec<(u64, u8)> {
    if MANY_PAGES.contains(&n) {
        let share = (ONCE.end - ONCE.start) / (MANY_PAGES.end - MANY_PAGES.start);
        let first = ONCE.start + (n - MANY_PAGES.start) * share;
        return (first..first + share).map(|page| (page, (page % 200) as u8)).collect();
    }
    (0..14).map(|c| ((n * 5 + c) % (PAGES.end - 1), ((n * 3 + c) % 200) as u8)).collect()
}

impl Load {
    pub(super) fn new(disk: &Rc<MemoryDisk>) -> Load {
        let nothing = Acknowledged { operations: 0, scl: Lsn::ZERO, epoch: 0, truncations: 0 };
        Load {
            disk: disk.clone(),
            clock: Clock::default(),
            writer: Writer::new(1),
            before: None,
            points: Vec::new(),
            acknowledged: vec![nothing],
            sent: None,
            refused_reads: 0,
        }
    }

    /// Everything, on a new node, until something fails.
    pub(super) async fn run(&mut self) -> Result<(), NodeError> {
        let clock = self.clock.clone();
        let node = open(&self.disk, &clock).await?;
        self.ask(&node, create(1), self.then(Lsn::ZERO)).await?;
        for n in 0..48 {
            self.append(&node, n).await?;
            if n == 25 {
                self.truncate(&node).await?;
            }
            if n % 3 == 2 && !LEFT_ALONE.contains(&n) {
                background(&node, &clock).await?;
            }
            if n == LEFT_ALONE.end {
                // The log shrinks, and gives files back.
                for _ in 0..5 {
                    background(&node, &clock).await?;
                }
            }
            if n % 8 == 7 {
                self.read_some(&node, n).await;
            }
        }
        background(&node, &clock).await
    }

    fn last(&self) -> Acknowledged {
        self.acknowledged[self.acknowledged.len() - 1]
    }

    /// What will be acknowledged with this SCL, all else as it is.
    fn then(&self, scl: Lsn) -> Acknowledged {
        Acknowledged { scl, epoch: self.writer.epoch, ..self.last() }
    }

    async fn ask(&mut self, node: &Rc<Node>, request: Request, then: Acknowledged) -> Result<(), NodeError> {
        self.sent = Some(then);
        submit(node, vec![request]).await?;
        let scl = node.store.borrow().segments()[&SEGMENT].segment.scl();
        assert_eq!(scl, then.scl, "the SCL that is acknowledged");
        self.acknowledged.push(Acknowledged { operations: self.disk.seen(), ..then });
        self.sent = None;
        Ok(())
    }

    async fn append(&mut self, node: &Rc<Node>, n: u64) -> Result<(), NodeError> {
        self.writer.vdl = self.writer.last;
        if !HELD_BACK.contains(&n) {
            let old = self.points.len().saturating_sub(3);
            self.writer.pgmrpl = self.points.get(old).copied().unwrap_or(Lsn::ZERO).min(self.writer.vdl);
        }
        let batch = self.writer.batch(&changes(n));
        let (epoch, last) = (self.writer.epoch, self.writer.last);
        self.ask(node, append(epoch, batch), self.then(last)).await?;
        self.points.push(last);
        Ok(())
    }

    /// Another opening, which did not count the last batch.
    async fn truncate(&mut self, node: &Rc<Node>) -> Result<(), NodeError> {
        self.before = Some(self.writer.clone());
        let scl = self.writer.last;
        let kept = self.writer.vdl;
        let range = self.writer.reopen(2, kept, 1 << 20);
        self.points.retain(|point| *point <= kept);
        let open = Request::OpenSegment { segment: SEGMENT, epochs: epochs(2) };
        self.ask(node, open, self.then(scl)).await?;
        let truncate = Request::Truncate { segment: SEGMENT, epochs: epochs(2), ranges: vec![range] };
        let then = Acknowledged { truncations: 1, ..self.then(kept) };
        self.ask(node, truncate, then).await
    }

    async fn read_some(&mut self, node: &Rc<Node>, n: u64) {
        for number in PAGES.chain([ONCE.start + n]) {
            let served = read(node, number, Lsn::MAX, &self.writer).await;
            self.refused_reads += usize::from(!served);
        }
    }

    /// What held when the disk had seen `operations` changes, and what was on its way then.
    pub(super) fn at(&self, operations: usize) -> Moment {
        let next = self.acknowledged.iter().position(|then| then.operations > operations);
        match next {
            Some(next) => (self.acknowledged[next - 1], Some(self.acknowledged[next])),
            None => (self.last(), self.sent),
        }
    }
}
