//! All segments of one node: requests in, actions out.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use sextant_redo::wire::{Append, Epochs, Reply, Request, SegmentError};
use sextant_redo::{Batch, Lsn, PageId, RecordAt, SegmentId, SegmentKind};

use super::{
    Admission, CopyPlan, CopyWanted, Entry, LogAddress, MapBlock, PageIndex, PagePlan, PendingRecord,
    Segment, SegmentParts, StoredBatch,
};

/// Who is to be answered: a connection of the shell and the request's id on it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket {
    /// The shell's number for the connection.
    pub connection: u64,
    /// The request's id.
    pub request: u64,
}

/// What to answer once everything admitted so far is durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Answer {
    /// `Appended` with the SCL at that time.
    Appended(SegmentId),
    /// `State` at that time.
    State(SegmentId),
}

/// What part of the log is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wanted {
    /// Record links, at most so many.
    Links(u32),
    /// Whole batches, until so many bytes are reached.
    Batches(u32),
}

/// The batches that answer a `ReadChain` or `ReadLog`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPlan {
    /// Records above this LSN.
    pub after: Lsn,
    /// At or below this LSN, which is at most the SCL.
    pub up_to: Lsn,
    /// Segment complete LSN.
    pub scl: Lsn,
    /// Links or batches.
    pub wanted: Wanted,
    /// Where they are, in chain order; perhaps not all, but enough to make progress.
    pub batches: Vec<StoredBatch>,
}

/// What the shell is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Put the entry into the log, behind everything before it; once all that is durable, apply it and answer.
    /// Without an entry the answer only waits its turn.
    Write(Option<Entry>, Option<(Ticket, Answer)>),
    /// Answer at once.
    Reply(Ticket, Reply),
    /// Make a page and answer with it.
    ReadPage(Ticket, PageWanted, PagePlan),
    /// Read the log and answer from it.
    ReadLog(Ticket, LogPlan),
    /// Pages may be made of more of the log than before.
    Ready,
    /// Plan page images with [`Store::plan_copy`], make them and answer with them.
    CopyPages(Ticket, CopyWanted),
}

/// What page is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PageWanted {
    /// Of which segment.
    pub segment: SegmentId,
    /// Which page.
    pub page: PageId,
    /// As of which LSN.
    pub read_point: Lsn,
}

/// A segment and its pages.
#[derive(Debug, Clone)]
pub struct SegmentSlot {
    /// Epochs and chain.
    pub segment: Segment,
    /// Pages.
    pub pages: PageIndex,
    /// Where in the log it was created. A batch that lies in front of it was an earlier copy's, since dropped.
    pub born: LogAddress,
}

/// See the module.
#[derive(Debug, Clone, Default)]
pub struct Store {
    segments: BTreeMap<SegmentId, SegmentSlot>,
    /// How often log that was there was cut off.
    cuts: u64,
    /// Segments whose drop waits to become durable: nothing is taken for them any more.
    leaving: BTreeSet<SegmentId>,
    /// Maps of segments that were dropped, until their slots are freed.
    dropped: Vec<PageIndex>,
    /// The segment whose map gives up a block next.
    evict_from: Option<SegmentId>,
}

/// Most batches that one `ReadChain` or `ReadLog` looks into.
const PLAN_BATCHES_MAX: usize = 512;
/// Most links in one reply.
const LINKS_MAX: u32 = 256 * 1024;
/// Most bytes of batches in one `Log` reply beyond the batch that reaches the asker's limit.
const LOG_BYTES_MAX: u32 = 2 * 1024 * 1024;

impl Store {
    /// Adds a segment that a checkpoint describes.
    pub fn restore(&mut self, id: SegmentId, parts: SegmentParts, pages: PageIndex, born: LogAddress) {
        let segment = Segment::restore(id, parts);
        self.segments.insert(id, SegmentSlot { segment, pages, born });
    }

    /// Nobody needs this copy any more: from now on nothing is taken for the segment, and the entry makes it go. `None` when it is gone or going.
    pub fn drop_segment(&mut self, id: SegmentId) -> Option<Entry> {
        (self.segments.contains_key(&id) && self.leaving.insert(id)).then_some(Entry::Dropped(id))
    }

    /// The page indices of segments that were dropped since the last call.
    pub fn take_dropped(&mut self) -> Vec<PageIndex> {
        std::mem::take(&mut self.dropped)
    }

    /// True when log at `at` is of the copy that is here now, and not of an earlier one that was dropped.
    #[must_use]
    pub fn is_of_now(&self, id: SegmentId, at: LogAddress) -> bool {
        self.birth(id).is_some_and(|born| born < at)
    }

    /// Where in the log the copy that is here now begins, which no other one of this segment shares. `None` when there is none,
    /// or it is going.
    #[must_use]
    pub fn birth(&self, id: SegmentId) -> Option<LogAddress> {
        self.segments.get(&id).filter(|_| !self.leaving.contains(&id)).map(|slot| slot.born)
    }

    /// Which images answer a request for them as of now. The inner error names the block of the page map to load first.
    pub fn plan_copy(&self, wanted: CopyWanted) -> Result<Result<CopyPlan, MapBlock>, SegmentError> {
        let unknown = SegmentError::UnknownSegment { segment: wanted.segment };
        let slot = self.segments.get(&wanted.segment).ok_or(unknown)?;
        let point = slot.segment.admit_copy(wanted.epochs, wanted.at)?;
        Ok(CopyPlan::new(slot, point, wanted.from, wanted.max_bytes))
    }

    /// How the page is made now, for who was admitted before: `None` when what it would be made from is newer by now.
    #[must_use]
    pub fn plan_again(&self, wanted: PageWanted) -> Option<PagePlan> {
        let slot = self.segments.get(&wanted.segment)?;
        let may = wanted.read_point >= slot.segment.pgmrpl() && slot.segment.copying().is_none();
        may.then(|| slot.pages.plan(wanted.page, wanted.read_point))
    }

    /// The segments.
    #[must_use]
    pub fn segments(&self) -> &BTreeMap<SegmentId, SegmentSlot> {
        &self.segments
    }

    /// One segment.
    pub fn segment_mut(&mut self, id: SegmentId) -> Option<&mut SegmentSlot> {
        self.segments.get_mut(&id)
    }

    fn slot(&mut self, id: SegmentId) -> Result<&mut SegmentSlot, SegmentError> {
        let here = self.segments.get_mut(&id).filter(|_| !self.leaving.contains(&id));
        here.ok_or(SegmentError::UnknownSegment { segment: id })
    }

    /// Admits a request.
    pub fn on_request(&mut self, ticket: Ticket, request: Request, out: &mut Vec<Action>) {
        if let Err(error) = self.admit(ticket, request, out) {
            out.push(Action::Reply(ticket, Reply::Error(error)));
        }
    }

    /// A newer membership goes into the log in front of what it came with.
    fn take_over(&mut self, request: &Request, out: &mut Vec<Action>) {
        let (id, epochs) = match request {
            Request::Append(append) => (append.segment, append.epochs),
            Request::ReadPage { segment, epochs, .. }
            | Request::ReadChain { segment, epochs, .. }
            | Request::ReadLog { segment, epochs, .. }
            | Request::Truncate { segment, epochs, .. }
            | Request::Advance { segment, epochs, .. } => (*segment, *epochs),
            _ => return,
        };
        let slot = self.slot(id).ok();
        if let Some(epochs) = slot.and_then(|slot| slot.segment.take_over(epochs)) {
            out.push(Action::Write(Some(Entry::Epochs(id, epochs)), None));
        }
    }

    fn admit(&mut self, ticket: Ticket, request: Request, out: &mut Vec<Action>) -> Result<(), SegmentError> {
        self.take_over(&request, out);
        match request {
            Request::Hello { .. } => {
                Err(SegmentError::BadRequest { what: "Hello comes once, first on a connection".into() })
            }
            Request::Append(append) => self.admit_append(ticket, &append, out),
            Request::ReadPage { segment, epochs, page, read_point, required_scl } => {
                let slot = self.slot(segment)?;
                slot.segment.admit_read(epochs, read_point, required_scl)?;
                let read_point = read_point.min(slot.segment.scl());
                let plan = slot.pages.plan(page, read_point);
                out.push(Action::ReadPage(ticket, PageWanted { segment, page, read_point }, plan));
                Ok(())
            }
            Request::CreateSegment { segment, epochs, kind } => {
                self.admit_create(ticket, segment, (epochs, kind), out)
            }
            Request::OpenSegment { segment, epochs } | Request::Gossip { segment, epochs } => {
                let write = self.slot(segment)?.segment.admit_open(epochs)?;
                let entry = write.then_some(Entry::Epochs(segment, epochs));
                out.push(Action::Write(entry, Some((ticket, Answer::State(segment)))));
                Ok(())
            }
            Request::ReadChain { segment, epochs, after, max_records } => {
                let wanted = Wanted::Links(max_records.clamp(1, LINKS_MAX));
                self.plan_log(ticket, segment, epochs, (after, Lsn::MAX), wanted, out)
            }
            Request::ReadLog { segment, epochs, after, up_to, max_bytes } => {
                let wanted = Wanted::Batches(max_bytes.clamp(1, LOG_BYTES_MAX));
                self.plan_log(ticket, segment, epochs, (after, up_to), wanted, out)
            }
            Request::Truncate { segment, epochs, ranges } => {
                let write = self.slot(segment)?.segment.admit_truncate(epochs, &ranges)?;
                let entry = write.then_some(Entry::Truncations(segment, ranges));
                out.push(Action::Write(entry, Some((ticket, Answer::State(segment)))));
                Ok(())
            }
            Request::CopyPages { segment, epochs, at, from, max_bytes } => {
                self.slot(segment)?.segment.admit_copy(epochs, at)?;
                let wanted = CopyWanted { segment, epochs, at, from, max_bytes };
                out.push(Action::CopyPages(ticket, wanted));
                Ok(())
            }
            Request::Advance { segment, epochs, vdl, pgmrpl } => {
                let slot = self.slot(segment)?;
                if slot.segment.advance(epochs, vdl, pgmrpl)? {
                    out.push(Action::Ready);
                }
                out.push(Action::Reply(ticket, Reply::State(slot.segment.state())));
                Ok(())
            }
            Request::Status => {
                let states = self.segments.values().map(|slot| slot.segment.state()).collect();
                out.push(Action::Reply(ticket, Reply::Status(states)));
                Ok(())
            }
        }
    }

    fn admit_append(
        &mut self,
        ticket: Ticket,
        append: &Append,
        out: &mut Vec<Action>,
    ) -> Result<(), SegmentError> {
        let slot = self.slot(append.segment)?;
        let batch =
            Batch::decode(&append.batch).map_err(|e| SegmentError::BadRequest { what: e.to_string() })?;
        if batch.header().segment != append.segment || batch.bytes().len() != append.batch.len() {
            return Err(SegmentError::BadRequest {
                what: "the batch is of another segment, or has bytes behind it".into(),
            });
        }
        let admission = slot.segment.admit_append(append.epochs, batch.header())?;
        out.push(match admission {
            Admission::Known => Action::Reply(ticket, slot.appended()),
            Admission::Write => {
                Action::Write(Some(Entry::Batch(batch)), Some((ticket, Answer::Appended(append.segment))))
            }
        });
        Ok(())
    }

    fn admit_create(
        &mut self,
        ticket: Ticket,
        id: SegmentId,
        (epochs, kind): (Epochs, SegmentKind),
        out: &mut Vec<Action>,
    ) -> Result<(), SegmentError> {
        // One that is there already is opened: whoever made it is told of the epochs that it is made under now.
        let entry = match self.slot(id).ok() {
            Some(slot) if slot.segment.kind() != kind => {
                let what = format!("the segment is there already and is a {} one", slot.segment.kind());
                return Err(SegmentError::BadRequest { what });
            }
            Some(slot) => slot.segment.admit_open(epochs)?.then_some(Entry::Epochs(id, epochs)),
            None => Some(Entry::Created(id, epochs, kind)),
        };
        out.push(Action::Write(entry, Some((ticket, Answer::State(id)))));
        Ok(())
    }

    fn plan_log(
        &mut self,
        ticket: Ticket,
        id: SegmentId,
        epochs: Epochs,
        (after, up_to): (Lsn, Lsn),
        wanted: Wanted,
        out: &mut Vec<Action>,
    ) -> Result<(), SegmentError> {
        let segment = &self.slot(id)?.segment;
        segment.admit_log_read(epochs, after)?;
        let scl = segment.scl();
        let up_to = up_to.min(scl);
        let mut batches = Vec::new();
        let mut bytes = 0u32;
        for batch in segment.chain().above(after).take_while(|batch| batch.first <= up_to) {
            batches.push(*batch);
            bytes = bytes.saturating_add(batch.len);
            let enough = match wanted {
                Wanted::Links(_) => bytes >= LOG_BYTES_MAX,
                Wanted::Batches(max) => bytes >= max,
            };
            if enough || batches.len() == PLAN_BATCHES_MAX {
                break;
            }
        }
        let plan = LogPlan { after, up_to, scl, wanted, batches };
        out.push(Action::ReadLog(ticket, plan));
        Ok(())
    }

    /// Applies an entry that the log holds durably; `at` is where its bytes start (of a batch: the batch itself).
    /// Entries come in the order of the log. `on_chain` hears how many records are pending on each page touched.
    pub fn on_durable(
        &mut self,
        entry: &Entry,
        at: LogAddress,
        on_chain: &mut dyn FnMut(SegmentId, PageId, usize),
    ) -> Result<(), SegmentError> {
        let id = entry.segment();
        if let Entry::Created(_, epochs, kind) = entry {
            let segment = || Segment::create(id, *epochs, *kind);
            let new = || SegmentSlot { segment: segment(), pages: PageIndex::default(), born: at };
            self.segments.entry(id).or_insert_with(new);
            return Ok(());
        }
        if let Entry::Dropped(_) = entry {
            self.leaving.remove(&id);
            self.dropped.extend(self.segments.remove(&id).map(|slot| slot.pages));
            self.cuts += 1;
            return Ok(());
        }
        let slot = self.segments.get_mut(&id).ok_or(SegmentError::UnknownSegment { segment: id })?;
        match entry {
            Entry::Batch(_) if at < slot.born => {}
            Entry::Batch(batch) => {
                let (live, counts) = slot.segment.apply_batch(batch, at);
                if !slot.segment.kind().is_full() {
                    // A tail makes no pages, so nothing waits for any.
                    return Ok(());
                }
                let batch_len = batch.bytes().len() as u32;
                for RecordAt { lsn, page, start, len, crc } in live.iter().copied() {
                    let pending = PendingRecord { lsn, batch: at, batch_len, offset: start, len, crc };
                    on_chain(id, page, slot.pages.insert(page, pending, counts));
                }
            }
            Entry::Epochs(_, epochs) => slot.segment.apply_epochs(*epochs),
            Entry::Truncations(_, ranges) => {
                let cuts = slot.segment.apply_truncations(ranges)?;
                slot.pages.cut(&cuts);
                self.cuts += 1;
            }
            Entry::Copied(_, copied) => slot.segment.apply_copied(copied),
            Entry::Created(..) | Entry::Dropped(_) => {}
        }
        Ok(())
    }

    /// The answer to give now that everything before it is durable.
    #[must_use]
    pub fn answer(&self, answer: Answer) -> Reply {
        let (Answer::Appended(segment) | Answer::State(segment)) = answer;
        let Some(slot) = self.segments.get(&segment) else {
            return Reply::Error(SegmentError::UnknownSegment { segment });
        };
        match answer {
            Answer::Appended(_) => slot.appended(),
            Answer::State(_) => Reply::State(slot.segment.state()),
        }
    }

    /// What waits to be written was dropped (the device is full).
    pub fn forget_waiting(&mut self) {
        self.leaving.clear();
        self.segments.values_mut().for_each(|slot| slot.segment.forget_waiting());
    }

    /// Changes with every truncation list and every drop: a list of batches and records made before one is of no use behind it.
    #[must_use]
    pub fn cuts(&self) -> u64 {
        self.cuts
    }

    /// Blocks of the page maps in memory, and how many of them differ from the device.
    #[must_use]
    pub fn map_blocks(&self) -> (usize, usize) {
        let maps = self.segments.values().map(|slot| slot.pages.map());
        maps.fold((0, 0), |(all, dirty), map| (all + map.cached_blocks(), dirty + map.dirty_blocks()))
    }

    /// Gives up blocks of the page maps until at most `max` are in memory, or only such that must be written first. The
    /// segments take turns.
    pub fn give_up_blocks(&mut self, max: usize) {
        let (mut cached, _) = self.map_blocks();
        let mut fruitless = 0;
        while cached > max && fruitless <= self.segments.len() {
            let from = self.evict_from.map_or(Bound::Unbounded, Bound::Excluded);
            let Some((id, slot)) = self.segments.range_mut((from, Bound::Unbounded)).next() else {
                self.evict_from = None;
                fruitless += 1;
                continue;
            };
            self.evict_from = Some(*id);
            if slot.pages.map_mut().give_up_one() {
                cached -= 1;
                fruitless = 0;
            } else {
                fruitless += 1;
            }
        }
    }

    /// Batches in the log and records in no image, all segments together: what memory holds an entry each of.
    #[must_use]
    pub fn batches(&self) -> usize {
        self.segments.values().map(|slot| slot.segment.chain().batch_count()).sum()
    }

    /// How many records are in no page image yet.
    #[must_use]
    pub fn pending_records(&self) -> usize {
        self.segments.values().map(|slot| slot.pages.pending_records()).sum()
    }

    /// The first log file from `from` on that some pending record needs.
    #[must_use]
    pub fn first_file_pending(&self, from: u32) -> Option<u32> {
        self.segments.values().filter_map(|slot| slot.pages.first_file_needed(from)).min()
    }

    /// The first log file that must be kept: for a record that is in no page, or for a tail.
    #[must_use]
    pub fn oldest_file_needed(&self) -> Option<u32> {
        let of_tails = self.segments.values().filter_map(SegmentSlot::oldest_file_of_tail);
        of_tails.chain(self.first_file_pending(0)).min()
    }

    /// Bytes of log that tails keep, until they know that every full segment of their groups has it.
    #[must_use]
    pub fn tail_bytes(&self) -> u64 {
        let tails = self.segments.values().filter(|slot| !slot.segment.kind().is_full());
        tails.flat_map(|slot| slot.segment.chain().batches()).map(|batch| u64::from(batch.len)).sum()
    }

    /// The first log file in which some segment has a batch, needed or kept for peers.
    #[must_use]
    pub fn oldest_file_held(&self) -> Option<u32> {
        let batches = |slot: &SegmentSlot| slot.segment.chain().batches().map(|batch| batch.at.file()).min();
        self.segments.values().filter_map(batches).min()
    }

    /// The log below `floor` is being freed.
    pub fn forget_below(&mut self, floor: LogAddress) {
        self.segments.values_mut().for_each(|slot| slot.segment.forget_below(floor));
    }

    /// Panics when a rule is broken.
    pub fn check_invariants(&self) {
        for (id, slot) in &self.segments {
            assert_eq!(slot.segment.state().segment, *id);
            slot.segment.check_invariants();
            slot.pages.check_invariants();
        }
    }
}

impl SegmentSlot {
    /// The first log file in which a tail has anything: all of it is needed.
    fn oldest_file_of_tail(&self) -> Option<u32> {
        match self.segment.kind() {
            SegmentKind::Full => None,
            SegmentKind::Tail => self.segment.chain().batches().map(|batch| batch.at.file()).min(),
        }
    }

    /// The batches in log files up to `file` that must be kept, with their lengths.
    #[must_use]
    pub fn batches_needed(&self, file: u32) -> BTreeMap<LogAddress, u32> {
        match self.segment.kind() {
            SegmentKind::Full => self.pages.batches_needed(file),
            SegmentKind::Tail => {
                let old = self.segment.chain().batches().filter(|batch| batch.at.file() <= file);
                old.map(|batch| (batch.at, batch.len)).collect()
            }
        }
    }

    fn appended(&self) -> Reply {
        let state = self.segment.state();
        Reply::Appended { segment: state.segment, scl: state.scl }
    }
}
