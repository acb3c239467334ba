//! A storage node: the server's own shell (log writer, spare files, background, reads, gossip, scrub and repair) over a
//! simulated host and disk. What is simulated is the machine: when a task goes on, when a disk is done, what a peer
//! answers, when the process dies.

pub(crate) mod agenda;
pub(crate) mod peers;
pub(crate) mod sabotage;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use sextant_redo::wire::{Reply, Request, SegmentError, SegmentState};
use sextant_redo::{Lsn, NodeId, PAGE_SIZE, Page, PageId, SegmentId};
use sextant_segment_store::NodeError;
use sextant_segment_store::core::{Entry, Store, Ticket};
use sextant_segment_store::disk::{Disk, Flush};
use sextant_segment_store::health::{self, HealthOptions};
use sextant_segment_store::host::Host;
use sextant_segment_store::log::LogIdentity;
use sextant_segment_store::node::{Node, NodeOptions};
use sextant_segment_store::server::ReplySink;

use crate::disk::{Crash, SimDisk};
use crate::meta::CLUSTER;
use crate::mutant::Mutant;
use crate::profile::Profile;
use crate::rng::Rng;
use crate::schedule::Time;
use agenda::{Agenda, SimHost};
use peers::{Call, SimPeers};

/// What a node wants done, or has become.
pub(crate) enum NodeOut {
    /// Send a reply.
    Reply(Ticket, Reply),
    /// Ask another node; [`StorageNode::on_answer`] takes what comes.
    Call(Call),
    /// [`StorageNode::on_event`] is to be called so much later.
    Event { number: u64, after: Time },
    /// It has recovered and serves.
    Started(Lost),
    /// It does not start, see [`StorageNode::refuses`].
    Refused,
    /// It has ended itself; the reason, unless the disk had failed a write.
    Ended(Option<String>),
}

/// What a node that started again has lost; `None` when all is well.
pub(crate) type Lost = Option<String>;

/// Bytes that may wait for the log.
const QUEUE_BYTES: u64 = 8 << 20;

type Replies = Rc<RefCell<Vec<(Ticket, Reply)>>>;
type Opened = Rc<RefCell<Option<Result<Rc<Node>, NodeError>>>>;

/// The connection of who asks, a writer or another node: answers leave with the flush, as they do on a socket.
struct Connection {
    id: u64,
    waiting: RefCell<Vec<(Ticket, Reply)>>,
    sent: Replies,
}

impl ReplySink for Connection {
    fn push(&self, request: u64, reply: &Reply) {
        self.waiting.borrow_mut().push((Ticket { connection: self.id, request }, reply.clone()));
    }

    fn flush(&self) {
        self.sent.borrow_mut().append(&mut self.waiting.borrow_mut());
    }
}

/// See the module.
pub(crate) struct StorageNode {
    pub(crate) identity: LogIdentity,
    pub(crate) disk: Rc<SimDisk>,
    /// It serves: neither down nor recovering.
    pub(crate) up: bool,
    /// Counts starts: events of an earlier life are void.
    pub(crate) life: u64,
    /// It stands still until then.
    pub(crate) resume_at: Time,
    /// Its disk is so many times slower.
    pub(crate) slow: u64,
    /// Why it does not start.
    pub(crate) refuses: Option<String>,
    /// The others.
    pub(crate) peers: Rc<SimPeers>,
    options: NodeOptions,
    health: HealthOptions,
    agenda: Rc<Agenda>,
    host: Rc<SimHost>,
    node: Option<Rc<Node>>,
    opened: Opened,
    failed: Rc<RefCell<Option<NodeError>>>,
    replies: Replies,
    /// While it is not up: as it was, which is what its disk must bring back.
    last: Store,
    /// What was being written to the log when it died: durable or not, nobody was told.
    unheard: Vec<Entry>,
    mutant: Option<Mutant>,
    /// Page reads that wait for their answer, for a mutant.
    page_reads: sabotage::Reads,
    /// Most records in no page that it knew of.
    pub(crate) most_pending: usize,
}

impl StorageNode {
    /// A node on an empty disk, which serves.
    pub(crate) fn new(id: NodeId, profile: &Profile, rng: Rng, mutant: Option<Mutant>) -> StorageNode {
        let agenda = Rc::new(Agenda::default());
        let disk = SimDisk::new(profile.sector, profile.write_time, rng, mutant, agenda.clone());
        disk.set_reliability(profile.reliability);
        let host = Rc::new(SimHost::new(agenda.clone()));
        let mut node = StorageNode {
            identity: LogIdentity { cluster: CLUSTER, node: id },
            disk: Rc::new(disk),
            up: false,
            life: 0,
            resume_at: 0,
            slow: 1,
            refuses: None,
            options: NodeOptions {
                log_file_bytes: profile.log_file_bytes,
                log_budget_bytes: profile.log_file_bytes * profile.log_budget_files,
                log_cache_bytes: profile.log_cache_bytes as u64,
                queue_bytes: QUEUE_BYTES,
                map_blocks_max: profile.map_blocks_max,
                pending_records_max: match mutant {
                    Some(Mutant::TakeAllLog) => usize::MAX / 16,
                    _ => profile.pending_records_max,
                },
            },
            health: profile.health,
            peers: Rc::new(SimPeers::new(host.clone(), mutant)),
            host,
            agenda,
            node: None,
            opened: Opened::default(),
            failed: Rc::default(),
            replies: Replies::default(),
            last: Store::default(),
            unheard: Vec::new(),
            mutant,
            page_reads: sabotage::Reads::default(),
            most_pending: 0,
        };
        node.start();
        while !node.up {
            node.host.executor.run();
            node.disk.complete_one();
            node.look_at_opening(&mut Vec::new());
        }
        node
    }

    /// Ends the process.
    pub(crate) fn crash(&mut self, crash: Crash) {
        if let Some(node) = self.node.take() {
            self.last = node.store().clone();
            let pending = self.disk.unheard_appends();
            self.unheard = pending.iter().flat_map(|bytes| sabotage::entries(bytes)).collect();
        }
        self.host.kill();
        self.peers.kill();
        self.opened = Opened::default();
        self.failed = Rc::default();
        self.replies = Replies::default();
        self.page_reads.clear();
        self.up = false;
        self.life += 1;
        self.disk.crash(crash);
    }

    /// True from [`StorageNode::start`] until it serves or refuses.
    pub(crate) fn is_starting(&self) -> bool {
        self.disk.is_recovering()
    }

    /// Starts the process on what the disk holds; [`NodeOut::Started`] or [`NodeOut::Refused`] tells what came of it.
    pub(crate) fn start(&mut self) {
        if self.mutant == Some(Mutant::IgnoreTornGroup) {
            sabotage::believe_torn_group(&self.disk);
        }
        self.life += 1;
        self.disk.set_recovering(true);
        let (disk, host): (Rc<dyn Disk>, Rc<dyn Host>) = (self.disk.clone(), self.host.clone());
        let (identity, options, opened) = (self.identity, self.options, self.opened.clone());
        self.host.executor.spawn(Box::pin(async move {
            let result = Node::open(disk, host, Flush::DsyncWrite, identity, options).await;
            opened.replace(Some(result));
        }));
    }

    fn look_at_opening(&mut self, out: &mut Vec<NodeOut>) {
        let Some(result) = self.opened.take() else { return };
        self.disk.set_recovering(false);
        match result {
            Ok(node) => {
                let lost = lost_since(&self.last, &node.store(), &self.unheard);
                node.store().check_invariants();
                node.start();
                health::start(&node, self.peers.clone(), self.health);
                let (failing, failed) = (node.clone(), self.failed.clone());
                self.host.executor.spawn(Box::pin(async move {
                    let error = failing.failed().await;
                    failed.replace(Some(error));
                }));
                (self.node, self.up, self.refuses) = (Some(node), true, None);
                out.push(NodeOut::Started(lost));
            }
            Err(error) => {
                // A full device is no damage: there is no space for the first log file.
                let full = matches!(&error, NodeError::Disk { source, .. } if source.kind() == std::io::ErrorKind::StorageFull);
                self.refuses = (!full).then(|| error.to_string());
                self.host.kill();
                out.push(NodeOut::Refused);
            }
        }
    }

    /// Takes a request.
    pub(crate) fn on_request(
        &mut self,
        now: Time,
        ticket: Ticket,
        mut request: Request,
        out: &mut Vec<NodeOut>,
    ) {
        let Some(node) = self.node.clone() else { return };
        if let Some(mutant) = self.mutant {
            sabotage::request(mutant, &node.store(), &mut request);
            if sabotage::reads_page(&request) {
                self.page_reads.insert(ticket);
            }
        }
        let (id, sent) = (ticket.connection, self.replies.clone());
        node.connect(id, Rc::new(Connection { id, waiting: RefCell::default(), sent }));
        self.host.set_now(now);
        node.on_request(ticket, request);
        node.send(id);
        self.run(out);
    }

    /// Another node has answered.
    pub(crate) fn on_answer(&mut self, now: Time, id: u64, reply: Reply, out: &mut Vec<NodeOut>) {
        self.host.set_now(now);
        self.peers.answer(id, reply);
        self.run(out);
    }

    /// A timer has run out, or the disk is done with something.
    pub(crate) fn on_event(&mut self, now: Time, number: u64, out: &mut Vec<NodeOut>) {
        self.host.set_now(now);
        if !self.host.fire(number) {
            self.disk.complete(number);
        }
        self.run(out);
    }

    /// Lets the process go on until all of it waits.
    pub(crate) fn run(&mut self, out: &mut Vec<NodeOut>) {
        self.host.executor.run();
        self.look_at_opening(out);
        self.host.executor.run();
        for (ticket, mut reply) in self.replies.take() {
            if let (Some(mutant), Some(node)) = (self.mutant, &self.node) {
                let reads_page = self.page_reads.remove(&ticket);
                sabotage::reply(mutant, &node.store(), reads_page, &mut reply);
            }
            out.push(NodeOut::Reply(ticket, reply));
        }
        self.most_pending = self.most_pending.max(self.with_store(Store::pending_records));
        out.extend(self.peers.take().into_iter().map(NodeOut::Call));
        for due in self.agenda.take() {
            let after = if due.by_disk { due.after * self.slow } else { due.after };
            out.push(NodeOut::Event { number: due.number, after });
        }
        if let Some(error) = self.failed.take() {
            let by_disk = self.disk.has_failed();
            out.push(NodeOut::Ended((!by_disk).then(|| error.to_string())));
        }
    }

    /// True while a log write is under way.
    pub(crate) fn is_writing(&self) -> bool {
        !self.disk.unheard_appends().is_empty()
    }

    /// Requests that wait.
    pub(crate) fn queued(&self) -> usize {
        self.node.as_ref().map_or(0, |node| node.queue_len())
    }

    /// Panics when a rule of the core is broken.
    pub(crate) fn check_invariants(&self) {
        if let Some(node) = &self.node {
            node.store().check_invariants();
        }
    }

    fn with_store<T>(&self, look: impl FnOnce(&Store) -> T) -> T {
        match &self.node {
            Some(node) => look(&node.store()),
            None => look(&self.last),
        }
    }

    /// A segment's state here and its PGMRPL.
    pub(crate) fn copy(&self, segment: SegmentId) -> Option<(SegmentState, Lsn)> {
        self.with_store(|store| {
            let slot = store.segments().get(&segment)?;
            Some((slot.segment.state(), slot.segment.pgmrpl()))
        })
    }

    /// The SCL of a segment here; zero where there is none.
    pub(crate) fn scl(&self, segment: SegmentId) -> Lsn {
        self.with_store(|store| store.segments().get(&segment).map_or(Lsn::ZERO, |slot| slot.segment.scl()))
    }

    /// True when there is no copy here, and the page store holds nothing but the checkpoint's list of pending records.
    pub(crate) fn is_empty(&self) -> bool {
        let free = |node: &std::rc::Rc<Node>| {
            let (held, free) = node.page_store_bytes();
            held - free <= PAGE_SIZE as u64
        };
        self.with_store(|store| store.segments().is_empty()) && self.node.as_ref().is_some_and(free)
    }

    /// Log of a segment is kept above this LSN.
    pub(crate) fn log_start(&self, segment: SegmentId) -> Lsn {
        self.copy(segment).map_or(Lsn::ZERO, |(state, _)| state.log_start)
    }

    /// The page as this copy has it at `at`, without asking for an epoch: for the comparison of copies.
    pub(crate) fn page_at(&self, segment: SegmentId, page: PageId, at: Lsn) -> Result<Page, SegmentError> {
        let down = || SegmentError::Damaged { what: "the node is not up".into() };
        let node = self.node.clone().ok_or_else(down)?;
        let made = Rc::new(Cell::new(None));
        let tell = made.clone();
        self.host.executor.spawn(Box::pin(async move {
            tell.set(Some(node.page_at(segment, page, at).await));
        }));
        loop {
            self.host.executor.run();
            if let Some(made) = made.take() {
                return made;
            }
            if !self.disk.complete_one() {
                return Err(SegmentError::Damaged { what: "the read waits for nothing".into() });
            }
        }
    }
}

impl Drop for StorageNode {
    fn drop(&mut self) {
        // Tasks hold the node, and the node its host.
        self.node = None;
        self.host.kill();
    }
}

/// What the node had applied (so it was durable) and has no more. `unheard` may have become durable, and may have
/// truncated or dropped a copy.
fn lost_since(before: &Store, after: &Store, unheard: &[Entry]) -> Lost {
    for (id, slot) in before.segments() {
        let dropped = unheard.iter().any(|e| matches!(e, Entry::Dropped(segment) if segment == id));
        let Some(now) = after.segments().get(id) else {
            if dropped {
                continue;
            }
            return Some(format!("segment {id:?} is gone"));
        };
        let (was, is) = (slot.segment.state(), now.segment.state());
        let truncated = unheard.iter().any(|e| matches!(e, Entry::Truncations(segment, _) if segment == id));
        if is.epochs.volume < was.epochs.volume {
            return Some(format!("{id:?} was at {:?} and is at {:?}", was.epochs, is.epochs));
        }
        if !truncated && (is.scl < was.scl || is.highest < was.highest || is.truncations != was.truncations) {
            return Some(format!("{id:?} was {was:?} and is {is:?}"));
        }
    }
    None
}
