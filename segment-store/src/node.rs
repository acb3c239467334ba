//! The node's shell: everything its one thread shares. Tasks on that thread borrow a part, never across an await, so
//! there are no locks; the protocol's rules are in [`crate::core`].

use std::cell::{Cell, Ref, RefCell};
use std::collections::btree_map::Entry;
use std::collections::{BTreeMap, VecDeque};
use std::rc::{Rc, Weak};

use sextant_redo::wire::{Append, Reply, Request, SegmentError};
use sextant_redo::{BatchHeader, Lsn, Page, PageId, SegmentId};
use tokio::sync::{Notify, Semaphore};

use crate::core::{Action, Answer, Entry as LogEntry, ImageReader, LogAddress, Store, Ticket};
use crate::disk::{Disk, FileId, Flush, Pacer};
use crate::health::Health;
use crate::host::Host;
use crate::inflow::{Inflow, Waiting};
use crate::log::{self, HotLog, LogCache, LogIdentity, Queued};
use crate::metrics::METRICS;
use crate::pages::checkpoint::{self, CHECKPOINT_FILE, CheckpointHead};
use crate::pages::keeper::{self, Background};
use crate::pages::saver::SavedList;
use crate::pages::store::{PageStore, damaged_slot};
use crate::pages::{blocks, read};
use crate::recovery::{self, LogStart, RecoveryError};
use crate::server::{ReplySink, logread, pageread};
use crate::{NodeError, appender, spare};

/// Parts of copies that are made for peers at once, two megabytes each.
const GIVING_MAX: usize = 4;

/// What of the configuration the shell needs.
#[derive(Debug, Clone, Copy)]
pub struct NodeOptions {
    /// Bytes of one log file.
    pub log_file_bytes: u64,
    /// Bytes of log above which pages are made from it.
    pub log_budget_bytes: u64,
    /// Bytes of the newest log kept in memory.
    pub log_cache_bytes: u64,
    /// Bytes that may wait for the log.
    pub queue_bytes: u64,
    /// Blocks of the page map in memory, 8 KiB each for 5 MiB of pages.
    pub map_blocks_max: usize,
    /// Records in no page image yet, of which memory holds an entry each: no more log is taken than that, and images are
    /// made from five eighths of it on.
    pub pending_records_max: usize,
}

impl NodeOptions {
    /// Log files that are kept on the device at most, empty ones included, unless the log itself needs more: the budget, a
    /// quarter of it by which log grows while the background frees as much, the file by which it is found to be over the
    /// budget, and a spare one.
    pub(crate) fn log_files_max(&self) -> usize {
        (self.log_budget_bytes / self.log_file_bytes) as usize * 5 / 4 + 2
    }
}

/// See the module.
pub struct Node {
    /// Whose data this is.
    pub identity: LogIdentity,
    pub(crate) options: NodeOptions,
    pub(crate) disk: Rc<dyn Disk>,
    pub(crate) host: Rc<dyn Host>,
    pub(crate) flush: Flush,
    pub(crate) store: RefCell<Store>,
    pub(crate) log: RefCell<HotLog>,
    pub(crate) cache: RefCell<LogCache>,
    pub(crate) background: Background,
    /// Who mends damage, when peers are known.
    pub(crate) health: RefCell<Weak<Health>>,
    /// Parts of copies that are made for peers at once: each holds its images in memory.
    pub(crate) giving: Semaphore,
    pub(crate) queue: RefCell<VecDeque<Queued>>,
    pub(crate) queued_bytes: Cell<u64>,
    /// Log that waits for room in memory.
    pub(crate) inflow: RefCell<Inflow>,
    /// Something waits for the log.
    pub(crate) queued: Notify,
    /// A spare log file is wanted.
    pub(crate) spare_wanted: Notify,
    /// How much is due of the one that is being made.
    pub(crate) spare_pacer: RefCell<Pacer>,
    /// A spare log file is there, or cannot be had.
    pub(crate) spare_settled: Notify,
    pub(crate) device_full: Cell<bool>,
    /// Page reads that wait for the disk.
    pub(crate) page_reads: Cell<usize>,
    pub(crate) connections: RefCell<BTreeMap<u64, Rc<dyn ReplySink>>>,
    actions: RefCell<Vec<Action>>,
    /// Set for good with the first failure.
    dead: Cell<bool>,
    failure: RefCell<Option<NodeError>>,
    failed: Notify,
}

impl Node {
    /// Opens the node's data on `disk`: recovers the log, makes the first file when there is none. Blocks the thread
    /// while it reads; to be called before serving.
    pub async fn open(
        disk: Rc<dyn Disk>,
        host: Rc<dyn Host>,
        flush: Flush,
        identity: LogIdentity,
        options: NodeOptions,
    ) -> Result<Rc<Node>, NodeError> {
        let started = host.now();
        let mut store = Store::default();
        let mut pages = PageStore::open(&*disk)?;
        let saved = load_checkpoint(&*disk, pages.file(), identity, &mut store).await?;
        let start = saved.as_ref().map_or(LogStart::BEGINNING, |head| head.start);
        let mut recovered = recovery::recover(&*disk, identity, start, &mut store).await?;
        recovery::drop_unfinished(&*disk, &mut recovered, options.log_file_bytes).await?;
        // What they named was never counted as used.
        store.take_dropped();
        blocks::settle(&*disk, &mut pages, &mut store, options.map_blocks_max).await?;
        let mut list = None;
        if let Some(head) = saved {
            for piece in &head.list.pieces {
                pages.mark_used(piece.slot)?;
            }
            for (number, sequence) in (start.file..).zip(head.sequences) {
                recovered.first_sequences.entry(number).or_insert(sequence);
            }
            let fresh = !head.list.pieces.is_empty();
            list = fresh.then_some(SavedList { list: head.list, cuts: 0 });
        }
        pages.settled();
        let looking = NodeError::disk("looking through the data folder");
        let empty = left_over(&*disk, start.file, options.log_file_bytes).await.map_err(looking)?;
        let mut files = recovered.files;
        if let Entry::Vacant(first) = files.entry(recovered.next.file) {
            let name = log::file_name(recovered.next.file);
            let made = disk.create(&name, options.log_file_bytes).await;
            first.insert(made.map_err(NodeError::disk(format!("making {name}")))?);
            METRICS.log_files.with_label_values(&["made"]).inc();
        }
        let active = log::file_name(recovered.next.file);
        let active_bytes = disk.len(files[&recovered.next.file]);
        let active_bytes = active_bytes.map_err(NodeError::disk(format!("looking at {active}")))?;
        if let Some(at) = recovered.torn {
            tracing::warn!(
                file = %log::file_name(at.file()), offset = at.offset(),
                "the log ended in a group that was never completed nor acknowledged; it was dropped"
            );
        }
        tracing::info!(
            groups = recovered.groups,
            entries = recovered.entries,
            segments = store.segments().len(),
            elapsed_ms = (host.now() - started).as_millis() as u64,
            "log recovered"
        );
        Ok(Rc::new(Node {
            identity,
            options,
            disk,
            host,
            flush,
            store: RefCell::new(store),
            log: RefCell::new(HotLog::new(
                identity,
                options.log_file_bytes,
                files,
                recovered.first_sequences,
                recovered.next,
                active_bytes,
            )),
            cache: RefCell::new(LogCache::new(options.log_cache_bytes as usize)),
            background: Background::new(pages, empty, list),
            health: RefCell::default(),
            giving: Semaphore::new(GIVING_MAX),
            queue: RefCell::default(),
            queued_bytes: Cell::new(0),
            inflow: RefCell::new(Inflow::new(options.pending_records_max)),
            queued: Notify::new(),
            spare_wanted: Notify::new(),
            spare_pacer: RefCell::default(),
            spare_settled: Notify::new(),
            device_full: Cell::new(false),
            page_reads: Cell::new(0),
            connections: RefCell::default(),
            actions: RefCell::default(),
            dead: Cell::new(false),
            failure: RefCell::default(),
            failed: Notify::new(),
        }))
    }

    /// Starts the node's own tasks: the log's writer, its spare file, the background. They end when the node fails.
    pub fn start(self: &Rc<Node>) {
        self.host.spawn(Box::pin(appender::write_log(self.clone())));
        self.host.spawn(Box::pin(spare::keep_spare(self.clone())));
        self.host.spawn(Box::pin(keeper::keep(self.clone())));
    }

    /// Answers on connection `id` go to `sink` from now on.
    pub fn connect(&self, id: u64, sink: Rc<dyn ReplySink>) {
        self.connections.borrow_mut().insert(id, sink);
    }

    /// Nobody waits for answers on connection `id` any more.
    pub fn disconnect(&self, id: u64) {
        self.connections.borrow_mut().remove(&id);
        self.inflow.borrow_mut().forget(id);
    }

    /// Takes a request. It is answered on the ticket's connection, at once or some time later, in no order. Answers that
    /// are there at once are sent by the next [`Node::send`] alone: many requests may come by one read.
    pub fn on_request(self: &Rc<Node>, ticket: Ticket, request: Request) {
        let append = match &request {
            Request::Append(append) => Some(append.clone()),
            _ => None,
        };
        if let Some(append) = &append
            && self.bytes_in_line() + append.batch.len() as u64 > self.options.queue_bytes
        {
            return self.reply(ticket, &Reply::Error(SegmentError::Overloaded));
        }
        let mut actions = self.admit(ticket, request);
        for action in actions.drain(..) {
            match (action, &append) {
                (Action::Write(Some(LogEntry::Batch(batch)), _), Some(append))
                    if !self.has_room(batch.header()) =>
                {
                    self.wait(ticket, append.clone(), *batch.header());
                }
                (action, _) => self.act(action),
            }
        }
        self.actions.replace(actions);
    }

    /// Bytes of batches that wait for room, or for the log.
    fn bytes_in_line(&self) -> u64 {
        self.queued_bytes.get() + self.inflow.borrow().waiting_bytes()
    }

    fn admit(&self, ticket: Ticket, request: Request) -> Vec<Action> {
        let mut actions = self.actions.take();
        self.store.borrow_mut().on_request(ticket, request, &mut actions);
        actions
    }

    /// True when a batch that was admitted may go on at once. A tail makes no pages, so none of its records waits for one.
    fn has_room(&self, header: &BatchHeader) -> bool {
        let store = self.store.borrow();
        let Some(slot) = store.segments().get(&header.segment) else { return true };
        !slot.segment.kind().is_full()
            || slot.segment.opening_needs(header)
            || self.inflow.borrow().is_open(store.pending_records(), header.records as usize)
    }

    /// True when a segment's log finds room now. Asked before log is fetched.
    pub(crate) fn takes_log(&self, segment: SegmentId) -> bool {
        let store = self.store.borrow();
        let tail = store.segments().get(&segment).is_some_and(|slot| !slot.segment.kind().is_full());
        tail || self.inflow.borrow().is_open(store.pending_records(), 1)
    }

    /// Keeps a batch until there is room for its records. What it tells of the volume is heard at once: pages may be made
    /// because of it.
    fn wait(&self, ticket: Ticket, append: Append, header: BatchHeader) {
        if let Some(slot) = self.store.borrow_mut().segment_mut(header.segment) {
            slot.segment.hear(&header);
        }
        self.inflow.borrow_mut().wait(Waiting { ticket, append, header, since: self.host.now() });
        self.background.wake();
        self.tell_waiting();
    }

    fn tell_waiting(&self) {
        METRICS.append_waiting_bytes.set(self.inflow.borrow().waiting_bytes() as i64);
    }

    /// Lets in what waits, as far as there is room.
    pub(crate) fn let_in(self: &Rc<Node>) {
        loop {
            let pending = self.store.borrow().pending_records();
            let Some(next) = self.inflow.borrow_mut().next(pending) else { break };
            self.take_up(next);
        }
        self.tell_waiting();
    }

    /// Pages can be made of nothing any more: lets in what moves the point up to which they may be made, and what has lost its
    /// segment. `patiently`: not so soon after the last time that the writer could not have told how far it has come since.
    pub(crate) fn let_in_needed(self: &Rc<Node>, patiently: bool) {
        let needed = {
            let store = self.store.borrow();
            self.inflow.borrow_mut().needed(|header| {
                store.segments().get(&header.segment).is_none_or(|slot| slot.segment.needs(header, patiently))
            })
        };
        needed.into_iter().for_each(|waiting| self.take_up(waiting));
        self.tell_waiting();
    }

    /// Takes a batch that has waited. An opener may have come meanwhile, so it is admitted anew.
    fn take_up(self: &Rc<Node>, waiting: Waiting) {
        METRICS.append_wait_seconds.observe((self.host.now() - waiting.since).as_secs_f64());
        let mut actions = self.admit(waiting.ticket, Request::Append(waiting.append));
        actions.drain(..).for_each(|action| self.act(action));
        self.actions.replace(actions);
        self.send(waiting.ticket.connection);
    }

    /// There is no space on the device to make room with: whatever waits is told so.
    pub(crate) fn refuse_waiting(&self) {
        let refused = self.inflow.borrow_mut().drain();
        for Waiting { ticket, .. } in refused {
            self.reply(ticket, &Reply::Error(SegmentError::DeviceFull));
            self.send(ticket.connection);
        }
        self.tell_waiting();
    }

    /// Does what the core decided.
    pub(crate) fn act(self: &Rc<Node>, action: Action) {
        match action {
            Action::Reply(ticket, reply) => {
                if matches!(reply, Reply::Appended { .. }) {
                    METRICS.duplicates.inc();
                }
                self.reply(ticket, &reply);
            }
            Action::ReadPage(ticket, wanted, plan) => read::serve(self, ticket, wanted, plan),
            Action::ReadLog(ticket, plan) => logread::serve(self, ticket, plan),
            Action::CopyPages(ticket, wanted) => pageread::serve(self, ticket, wanted),
            Action::Ready => {
                if self.inflow.borrow().is_waited_for() {
                    self.background.wake();
                }
            }
            Action::Write(entry, answer) => self.enqueue(entry, answer),
        }
    }

    /// What the node knows of its segments.
    #[must_use]
    pub fn store(&self) -> Ref<'_, Store> {
        self.store.borrow()
    }

    /// The page as this copy has it at `at`, sealed, whatever epoch asks: for the comparison of copies. At or above the
    /// PGMRPL and
    /// at or below the SCL; an older page is gone.
    pub async fn page_at(&self, segment: SegmentId, page: PageId, at: Lsn) -> Result<Page, SegmentError> {
        let _pin = self.background.pins.pin();
        let plan = {
            let store = self.store.borrow();
            let slot = store.segments().get(&segment).ok_or(SegmentError::UnknownSegment { segment })?;
            slot.pages.plan(page, at)
        };
        read::make(self, segment, plan).await.0.map(|made| made.to_page())
    }

    /// Bytes that the page store holds of the device, and those of them that nothing is in.
    #[must_use]
    pub fn page_store_bytes(&self) -> (u64, u64) {
        self.background.pages.borrow().bytes()
    }

    /// Requests that wait for the log.
    #[must_use]
    pub fn queue_len(&self) -> usize {
        self.queue.borrow().len()
    }

    /// Ends the node: nothing more is written or answered.
    pub(crate) fn fail(&self, error: NodeError) {
        METRICS.error("node_failed");
        self.dead.set(true);
        self.failure.borrow_mut().get_or_insert(error);
        self.failed.notify_one();
    }

    /// True once the node has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.dead.get()
    }

    /// Resolves when the node has failed.
    pub async fn failed(&self) -> NodeError {
        loop {
            if let Some(error) = self.failure.borrow_mut().take() {
                return error;
            }
            self.failed.notified().await;
        }
    }

    /// Puts something in line for the log.
    pub(crate) fn enqueue(&self, entry: Option<LogEntry>, answer: Option<(Ticket, Answer)>) {
        let bytes = entry.as_ref().map_or(0, |entry| entry.encoded_len() as u64);
        self.queued_bytes.set(self.queued_bytes.get() + bytes);
        if let Some(header) = entry.as_ref().and_then(LogEntry::batch_header) {
            self.inflow.borrow_mut().queued(header);
        }
        self.queue.borrow_mut().push_back(Queued { entry, answer });
        self.queued.notify_one();
    }

    /// Queues a reply on the ticket's connection, if it is still there.
    pub(crate) fn reply(&self, ticket: Ticket, reply: &Reply) {
        if let Reply::Error(error) = reply {
            METRICS.error(error_kind(error));
        }
        if let Some(sink) = self.connections.borrow().get(&ticket.connection) {
            sink.push(ticket.request, reply);
        }
    }

    /// Sends what was queued on a connection.
    pub fn send(&self, connection: u64) {
        if let Some(sink) = self.connections.borrow().get(&connection) {
            sink.flush();
        }
    }

    /// The same, together with what else comes up in this turn of the thread.
    pub(crate) fn send_soon(&self, connection: u64) {
        if let Some(sink) = self.connections.borrow().get(&connection) {
            sink.flush_soon();
        }
    }

    /// Where the log stands, for /health.
    #[must_use]
    pub fn log_position(&self) -> LogAddress {
        let position = self.log.borrow().position();
        LogAddress::new(position.file, position.offset as u32)
    }
}

/// Reads the checkpoint, if there is one, and the list that it names; the blocks of the page maps are not read yet.
async fn load_checkpoint(
    disk: &dyn Disk,
    page_file: Option<FileId>,
    identity: LogIdentity,
    store: &mut Store,
) -> Result<Option<CheckpointHead>, RecoveryError> {
    let io = |source| RecoveryError::Io { file: CHECKPOINT_FILE.into(), source };
    let Some(bytes) = disk.load(CHECKPOINT_FILE).map_err(io)? else {
        return Ok(None);
    };
    let head = checkpoint::decode(&bytes, identity, store)?;
    if let Some(first) = head.list.pieces.first() {
        let list = blocks::read_list(disk, page_file, &head.list.pieces, head.list.bytes).await?;
        let floor = LogAddress::new(head.start.file, 0);
        let read = ImageReader::new(&list, floor).read(store);
        read.map_err(|error| damaged_slot(first.slot, error.to_string()))?;
    }
    Ok(Some(head))
}

/// Log files below the first one kept: freed, but not used again before the last stop. One of another length, made under
/// another setting, is of no use: log written to it would end too early, or make it longer.
async fn left_over(disk: &dyn Disk, first: u32, file_bytes: u64) -> std::io::Result<Vec<(u32, FileId)>> {
    let names = disk.list()?;
    let mut empty = Vec::new();
    for number in names.iter().filter_map(|name| log::file_number(name)).filter(|number| *number < first) {
        let name = log::file_name(number);
        let file = disk.open(&name)?;
        if disk.len(file)? == file_bytes {
            empty.push((number, file));
        } else {
            disk.close(file);
            disk.delete(&name).await?;
        }
    }
    Ok(empty)
}

/// The label of an error in metrics.
pub(crate) fn error_kind(error: &SegmentError) -> &'static str {
    match error {
        SegmentError::Fenced { .. } => "fenced",
        SegmentError::StaleMembership { .. } => "stale_membership",
        SegmentError::UnknownSegment { .. } => "unknown_segment",
        SegmentError::NotComplete { .. } => "not_complete",
        SegmentError::ReadPointTooOld { .. } => "read_point_too_old",
        SegmentError::Damaged { .. } => "damaged",
        SegmentError::DeviceFull => "device_full",
        SegmentError::Overloaded => "overloaded",
        SegmentError::BadRequest { .. } => "bad_request",
        SegmentError::WrongCluster { .. } => "wrong_cluster",
        SegmentError::WrongNode { .. } => "wrong_node",
        SegmentError::Stopping { .. } => "stopping",
        _ => "other",
    }
}
