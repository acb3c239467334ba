//! The append side: one short lock under which LSNs are allocated, records are encoded into the open batch of their
//! protection group, and the three chains are linked. Nobody waits here.
//!
//! A batch is submitted at its first record and keeps filling until the sender takes it. Taking takes everything that
//! was logged, so what has been taken is always a prefix of the volume's log that ends at a consistency point: whole
//! mini-transactions are appended under the lock.
//!
//! The sender looks at what has gathered ([`Log::gathered`]) when its first record is logged, when somebody waits for one,
//! when it has become much, and when as many wait as are at work and as it expects; but not while a round is on its way, at
//! whose end it looks anyhow. When it takes what is there is for [`crate::group_commit`] to say.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering::SeqCst};

use parking_lot::Mutex;
use sextant_redo::{BatchBuilder, Geometry, Lsn, Mtr, RecordLinks, SegmentId, VolumeEpoch};
use tokio::sync::Notify;

use crate::Reservation;
use crate::group_commit::{GATHERED_BYTES, Gathered};
use crate::metrics::METRICS;
use crate::space::Space;

/// A batch over this size is closed and another one opened. Well below what a segment accepts.
const BATCH_BYTES: usize = 512 * 1024;

pub(crate) struct Log {
    inner: Mutex<Inner>,
    pub(crate) space: Arc<Space>,
    /// Copy of the next LSN, for those who only look.
    next: AtomicU64,
    epoch: VolumeEpoch,
    geometry: Geometry,
    /// Transactions that may commit.
    pub(crate) open: Arc<AtomicUsize>,
    wake: Wake,
}

/// What the sender goes by, between two takes.
struct Wake {
    /// Next LSN at the last take.
    taken: AtomicU64,
    /// How many wait for a record above.
    waiting: AtomicUsize,
    /// With fewer than so many the sender would wait on.
    expected: AtomicUsize,
    /// A round is on its way: the sender looks at its end.
    busy: AtomicBool,
    notify: Notify,
}

struct Inner {
    next: Lsn,
    last: Lsn,
    groups: Vec<Group>,
    /// Groups with an open batch, in the order of its first LSN.
    open: Vec<usize>,
    full: Vec<Filled>,
}

struct Group {
    segment: SegmentId,
    last: Lsn,
    start: Start,
    builder: BatchBuilder,
}

/// Where a batch begins in the volume.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Start {
    pub(crate) first: Lsn,
    /// Volume predecessor of `first`.
    pub(crate) prev_volume: Lsn,
    /// Last consistency point below `first`.
    pub(crate) cpl_before: Lsn,
    /// Segment chain link of `first`.
    pub(crate) prev_pg: Lsn,
}

/// A batch that gets no more records; not sealed yet.
pub(crate) struct Filled {
    pub(crate) group: usize,
    pub(crate) start: Start,
    pub(crate) builder: BatchBuilder,
}

/// Everything logged since the round before.
pub(crate) struct Round {
    /// In the order of first LSNs.
    pub(crate) batches: Vec<Filled>,
    /// Last record of the volume's log; a consistency point.
    pub(crate) last: Lsn,
}

impl Log {
    /// A log whose newest record is `last` and whose next LSN is `next`; LSNs are limited by `base` + `lal`.
    pub(crate) fn new(
        epoch: VolumeEpoch,
        geometry: Geometry,
        last: Lsn,
        next: Lsn,
        base: Lsn,
        lal: u64,
    ) -> Log {
        Log {
            inner: Mutex::new(Inner { next, last, groups: Vec::new(), open: Vec::new(), full: Vec::new() }),
            space: Space::new(next, base, lal),
            next: AtomicU64::new(next.0),
            epoch,
            geometry,
            open: Arc::default(),
            wake: Wake {
                taken: AtomicU64::new(next.0),
                waiting: AtomicUsize::new(0),
                expected: AtomicUsize::new(0),
                busy: AtomicBool::new(false),
                notify: Notify::new(),
            },
        }
    }

    /// Adds the next protection group; its newest record is `last`.
    pub(crate) fn add_group(&self, segment: SegmentId, last: Lsn) {
        let mut inner = self.inner.lock();
        debug_assert_eq!(inner.groups.len(), segment.pg.0 as usize);
        inner.groups.push(Group {
            segment,
            last,
            start: Start::default(),
            builder: BatchBuilder::new(segment, self.epoch),
        });
    }

    /// How many protection groups can be written.
    pub(crate) fn groups(&self) -> usize {
        self.inner.lock().groups.len()
    }

    pub(crate) fn next_lsn(&self) -> Lsn {
        Lsn(self.next.load(SeqCst))
    }

    /// Last record so far.
    pub(crate) fn last(&self) -> Lsn {
        self.inner.lock().last
    }

    /// See [`crate::LogStore::append`].
    pub(crate) fn append(&self, reservation: Reservation, mtr: &mut Mtr, on_lsn: &mut dyn FnMut(Lsn)) -> Lsn {
        assert!(
            !mtr.is_empty() && mtr.max_log_bytes() as u64 <= reservation.bytes,
            "the reservation covers the mini-transaction"
        );
        let (lsn, gathered, bytes) = {
            let mut inner = self.inner.lock();
            let before = inner.next;
            let gathered = before.since(Lsn(self.wake.taken.load(SeqCst)));
            inner.append(self.geometry, self.epoch, mtr);
            self.next.store(inner.next.0, SeqCst);
            let lsn = inner.last;
            on_lsn(lsn);
            (lsn, gathered, inner.next.since(before))
        };
        self.space.settle(&reservation, bytes);
        METRICS.log_bytes.inc_by(bytes);
        METRICS.mtrs.inc();
        if gathered == 0 || (gathered < GATHERED_BYTES && gathered + bytes >= GATHERED_BYTES) {
            self.tell();
        }
        lsn
    }

    /// Somebody waits for `lsn`.
    pub(crate) fn want(&self, lsn: Lsn) {
        if lsn.0 < self.wake.taken.load(SeqCst) {
            return;
        }
        let waiting = self.wake.waiting.fetch_add(1, SeqCst) + 1;
        if waiting == 1 || self.is_company(waiting) {
            self.tell();
        }
    }

    fn is_company(&self, waiting: usize) -> bool {
        waiting >= self.open.load(SeqCst) && waiting >= self.wake.expected.load(SeqCst)
    }

    /// The sender waits until so many wait, and as many as transactions are open. True when they may have come while they took
    /// it to wait for more: it looks again.
    pub(crate) fn expect(&self, waiting: usize) -> bool {
        let before = self.wake.expected.swap(waiting, SeqCst);
        before > waiting && self.is_company(self.wake.waiting.load(SeqCst))
    }

    /// What has gathered is worth a look. Whoever changes it does so before the sender is found to be busy, and the sender
    /// looks after it has said that it is not: one of them sees the other.
    fn tell(&self) {
        if !self.wake.busy.load(SeqCst) {
            self.look_again();
        }
    }

    /// Says whether a round is on its way; to be followed by a look when none is any more.
    pub(crate) fn set_busy(&self, busy: bool) {
        self.wake.busy.store(busy, SeqCst);
    }

    /// Has whoever waits in [`Log::logged`] look at the log.
    pub(crate) fn look_again(&self) {
        self.wake.notify.notify_one();
    }

    /// Resolves when the first record since the last take was logged, and when what was logged has become due.
    pub(crate) async fn logged(&self) {
        self.wake.notify.notified().await;
    }

    /// What there is to take.
    pub(crate) fn gathered(&self) -> Gathered {
        let taken = Lsn(self.wake.taken.load(SeqCst));
        let bytes = self.next_lsn().since(taken);
        Gathered { bytes, waiting: self.wake.waiting.load(SeqCst), open: self.open.load(SeqCst) }
    }

    /// Takes everything that was logged; `None` when there is nothing.
    pub(crate) fn take(&self) -> Option<Round> {
        // Before the lock: whoever wants a record has logged it before, so it is taken now.
        self.wake.waiting.store(0, SeqCst);
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        for group in std::mem::take(&mut inner.open) {
            inner.full.push(inner.groups[group].close(group, self.epoch));
        }
        let mut batches = std::mem::take(&mut inner.full);
        batches.sort_unstable_by_key(|b| b.start.first);
        self.wake.taken.store(inner.next.0, SeqCst);
        (!batches.is_empty()).then_some(Round { batches, last: inner.last })
    }
}

impl Inner {
    fn append(&mut self, geometry: Geometry, epoch: VolumeEpoch, mtr: &mut Mtr) {
        let cpl_before = self.last;
        let count = mtr.changes().len();
        let groups = self.groups.len();
        assert!(
            mtr.changes().iter().all(|c| (geometry.pg_of(c.page).0 as usize) < groups),
            "every page of a mini-transaction has a protection group: ensure_pages comes first"
        );
        for (n, change) in mtr.changes_mut().iter_mut().enumerate() {
            let index = geometry.pg_of(change.page).0 as usize;
            let group = &mut self.groups[index];
            change.lsn = self.next;
            let links = RecordLinks {
                lsn: self.next,
                prev_volume: self.last,
                prev_pg: group.last,
                is_cpl: n + 1 == count,
            };
            if group.builder.is_empty() {
                group.start = Start {
                    first: links.lsn,
                    prev_volume: links.prev_volume,
                    cpl_before,
                    prev_pg: links.prev_pg,
                };
                self.open.push(index);
            }
            let len = group.builder.push(links, change);
            (group.last, self.last) = (links.lsn, links.lsn);
            self.next = links.lsn.advance(len as u64);
            if group.builder.len() >= BATCH_BYTES {
                self.full.push(group.close(index, epoch));
                self.open.retain(|open| *open != index);
            }
        }
    }
}

impl Group {
    /// Not sealed here: that checksums the batch, which is not for under the lock.
    fn close(&mut self, index: usize, epoch: VolumeEpoch) -> Filled {
        let empty = BatchBuilder::new(self.segment, epoch);
        Filled { group: index, start: self.start, builder: std::mem::replace(&mut self.builder, empty) }
    }
}
