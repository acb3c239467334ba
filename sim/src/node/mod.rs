//! A storage node: the real segment core, hot log and recovery over a simulated disk. What is left to this shell is
//! what the server's shell does too: queue, one group in flight, apply and answer when it is durable.

mod pages;

use std::collections::VecDeque;
use std::collections::btree_map::Entry;
use std::rc::Rc;

use bytes::Bytes;
use sextant_redo::wire::{Append, Reply, Request, SegmentError, SegmentState};
use sextant_redo::{Lsn, NodeId, SegmentId};
use sextant_segment_store::core::{Action, Answer, Entry as LogEntry, Store, Ticket};
use sextant_segment_store::disk::{AlignedBuf, Disk, FileId};
use sextant_segment_store::log::{self, Group, GroupHeader, HotLog, LogCache, LogIdentity, Prepared, Queued};
use sextant_segment_store::recovery::{LogStart, recover};

use crate::disk::{Crash, SimDisk, finish};
use crate::meta::CLUSTER;
use crate::mutant::Mutant;
use crate::profile::Profile;
use crate::rng::Rng;
use crate::schedule::Time;

/// What a node wants done.
pub(crate) enum NodeOut {
    /// Send a reply.
    Reply(Ticket, Reply),
    /// A write has started; it is done some time later.
    Writing,
}

/// Why a node that starts again has lost something; `None` in all is well.
pub(crate) type Lost = Option<String>;

/// See the module.
pub(crate) struct StorageNode {
    pub(crate) identity: LogIdentity,
    pub(crate) disk: Rc<SimDisk>,
    pub(crate) up: bool,
    /// Counts starts: events of an earlier life are void.
    pub(crate) life: u64,
    /// It stands still until then.
    pub(crate) resume_at: Time,
    /// Its disk is so many times slower.
    pub(crate) slow: u64,
    /// Why it does not start.
    pub(crate) refuses: Option<String>,
    /// While it is down: as it was, which is what its disk must bring back.
    pub(crate) store: Store,
    log: Option<HotLog>,
    cache: LogCache,
    cache_bytes: usize,
    file_bytes: u64,
    queue: VecDeque<Queued>,
    flight: Option<Group>,
    mutant: Option<Mutant>,
    actions: Vec<Action>,
}

impl StorageNode {
    pub(crate) fn new(id: NodeId, profile: &Profile, rng: Rng, mutant: Option<Mutant>) -> StorageNode {
        let disk = SimDisk::new(profile.sector, rng);
        disk.set_reliability(profile.reliability);
        if mutant == Some(Mutant::NoSyncAfterRecovery) {
            disk.ignore_sync();
        }
        let mut node = StorageNode {
            identity: LogIdentity { cluster: CLUSTER, node: id },
            disk: Rc::new(disk),
            up: false,
            life: 0,
            resume_at: 0,
            slow: 1,
            refuses: None,
            store: Store::default(),
            log: None,
            cache: LogCache::new(profile.log_cache_bytes),
            cache_bytes: profile.log_cache_bytes,
            file_bytes: profile.log_file_bytes,
            queue: VecDeque::new(),
            flight: None,
            mutant,
            actions: Vec::new(),
        };
        node.start();
        node
    }

    /// Ends the process.
    pub(crate) fn crash(&mut self, crash: Crash) {
        self.up = false;
        self.life += 1;
        self.log = None;
        self.queue.clear();
        self.disk.crash(crash);
    }

    /// Starts the process on what the disk holds. Says what it lost of what it had acknowledged.
    pub(crate) fn start(&mut self) -> Lost {
        if self.mutant == Some(Mutant::IgnoreTornGroup) {
            self.believe_torn_group();
        }
        let mut store = Store::default();
        self.disk.set_reliable_now(true);
        let recovered = finish(recover(&*self.disk, self.identity, LogStart::BEGINNING, &mut store));
        self.disk.set_reliable_now(false);
        let recovered = match recovered {
            Ok(recovered) => recovered,
            Err(error) => {
                self.refuses = Some(error.to_string());
                return self.refuses.clone();
            }
        };
        let mut files = recovered.files;
        if let Entry::Vacant(first) = files.entry(recovered.next.file) {
            // A full device: it does not start now.
            let file = self.make_file(recovered.next.file)?;
            first.insert(file);
        }
        self.refuses = None;
        self.up = true;
        self.life += 1;
        let (sequences, next) = (recovered.first_sequences, recovered.next);
        self.log = Some(HotLog::new(self.identity, self.file_bytes, files, sequences, next));
        self.cache = LogCache::new(self.cache_bytes);
        let lost = lost_since(&self.store, &store, self.flight.take().as_ref());
        self.store = store;
        self.store.check_invariants();
        lost
    }

    fn make_file(&self, number: u32) -> Option<FileId> {
        finish(self.disk.create(&log::file_name(number), self.file_bytes)).ok()
    }

    /// Mutant: makes the checksum of a torn group right.
    fn believe_torn_group(&self) {
        let mut sequence = 1;
        for number in 1.. {
            let name = log::file_name(number);
            if !self.disk.list().is_ok_and(|names| names.contains(&name)) {
                return;
            }
            self.disk.edit(&name, |bytes| {
                let mut at = 4096;
                while at < bytes.len() {
                    let begun = GroupHeader::looks_begun(&bytes[at..], sequence);
                    let word =
                        |from| u32::from_le_bytes(bytes[from..from + 4].try_into().expect("four bytes"));
                    let (payload, entries) = if begun { (word(at + 4), word(at + 28)) } else { (0, 0) };
                    let group =
                        GroupHeader { payload, sequence, node: self.identity.node, file: number, entries };
                    if !begun || at + group.space() > bytes.len() {
                        return;
                    }
                    group.encode(&mut bytes[at..]);
                    at += group.space();
                    sequence += 1;
                }
            });
        }
    }

    /// Bytes and entries that wait.
    pub(crate) fn queued(&self) -> usize {
        self.queue.len()
    }

    /// True while a write is under way.
    pub(crate) fn is_writing(&self) -> bool {
        self.flight.is_some()
    }

    /// Takes a request.
    pub(crate) fn on_request(&mut self, ticket: Ticket, mut request: Request, out: &mut Vec<NodeOut>) {
        if self.mutant == Some(Mutant::NoEpochCheck) {
            self.forge_epochs(&mut request);
        }
        let mut actions = std::mem::take(&mut self.actions);
        self.store.on_request(ticket, request, &mut actions);
        for action in actions.drain(..) {
            match action {
                Action::Write(entry, answer) => self.queue.push_back(Queued { entry, answer }),
                Action::Reply(ticket, reply) => self.reply(ticket, reply, out),
                Action::ReadPage(ticket, _, plan) => {
                    let reply = self.page(&plan);
                    self.reply(ticket, reply, out);
                }
                Action::ReadLog(ticket, plan) => {
                    let reply = self.read_log(&plan);
                    self.reply(ticket, reply, out);
                }
            }
        }
        self.actions = actions;
        self.write(out);
    }

    fn forge_epochs(&self, request: &mut Request) {
        if let Request::Append(Append { segment, epochs, .. }) = request
            && let Some(slot) = self.store.segments().get(segment)
        {
            *epochs = slot.segment.state().epochs;
        }
    }

    fn reply(&self, ticket: Ticket, mut reply: Reply, out: &mut Vec<NodeOut>) {
        if let (Some(Mutant::AckHighest), Reply::Appended { segment, scl }) = (self.mutant, &mut reply)
            && let Some(slot) = self.store.segments().get(segment)
        {
            *scl = slot.segment.chain().highest();
        }
        out.push(NodeOut::Reply(ticket, reply));
    }

    fn answer(&self, answer: Option<(Ticket, Answer)>, out: &mut Vec<NodeOut>) {
        if let Some((ticket, answer)) = answer {
            self.reply(ticket, self.store.answer(answer), out);
        }
    }

    /// Starts the next write, unless one is in flight.
    fn write(&mut self, out: &mut Vec<NodeOut>) {
        if self.mutant == Some(Mutant::EpochNotDurable) {
            self.forget_epochs();
        }
        while self.flight.is_none() && !self.queue.is_empty() {
            let Some(log) = &mut self.log else { return };
            if log.spares() == 0 {
                let number = log.next_number();
                if let Ok(file) = finish(self.disk.create(&log::file_name(number), self.file_bytes)) {
                    log.add_spare(number, file);
                }
            }
            match log.prepare(&mut self.queue) {
                Ok(Prepared::Group(group)) => self.start_write(group, out),
                Ok(Prepared::Turns(turns)) => turns.iter().for_each(|turn| self.answer(turn.answer, out)),
                Err(log::LogFull) => {
                    let refused: Vec<Queued> = self.queue.drain(..).collect();
                    self.store.forget_waiting();
                    for (ticket, _) in refused.into_iter().filter_map(|queued| queued.answer) {
                        self.reply(ticket, Reply::Error(SegmentError::DeviceFull), out);
                    }
                }
            }
        }
    }

    /// Mutant: epochs are taken over without being written.
    fn forget_epochs(&mut self) {
        for queued in &mut self.queue {
            if matches!(queued.entry, Some(LogEntry::Epochs(..)))
                && let Some(entry) = queued.entry.take()
            {
                let _ = self.store.on_durable(&entry, Default::default(), &mut |_, _, _| {});
            }
        }
    }

    fn start_write(&mut self, group: Group, out: &mut Vec<NodeOut>) {
        self.disk.begin(group.file, group.offset, &group.buffer);
        out.push(NodeOut::Writing);
        if self.mutant == Some(Mutant::ReplyBeforeFlush) {
            self.apply(&group, out);
        }
        self.flight = Some(group);
    }

    fn apply(&mut self, group: &Group, out: &mut Vec<NodeOut>) {
        for (queued, at) in &group.members {
            if let Some(entry) = &queued.entry {
                // A refusal is what the server's shell logs and every recovery repeats.
                let _ = self.store.on_durable(entry, *at, &mut |_, _, _| {});
            }
        }
        for (queued, _) in &group.members {
            self.answer(queued.answer, out);
        }
    }

    /// The write in flight is durable.
    pub(crate) fn written(&mut self, out: &mut Vec<NodeOut>) {
        let Some(mut group) = self.flight.take() else { return };
        self.disk.finish();
        if let Some(log) = &mut self.log {
            log.written(&group);
        }
        let buffer = std::mem::replace(&mut group.buffer, AlignedBuf::zeroed(1));
        self.cache.insert(group.start, Bytes::from_owner(buffer));
        if self.mutant != Some(Mutant::ReplyBeforeFlush) {
            self.apply(&group, out);
        }
        self.write(out);
    }

    /// A segment's state here and its PGMRPL.
    pub(crate) fn copy(&self, segment: SegmentId) -> Option<(SegmentState, Lsn)> {
        let slot = self.store.segments().get(&segment)?;
        Some((slot.segment.state(), slot.segment.pgmrpl()))
    }

    /// The SCL of a segment here; zero where there is none.
    pub(crate) fn scl(&self, segment: SegmentId) -> Lsn {
        self.store.segments().get(&segment).map_or(Lsn::ZERO, |slot| slot.segment.scl())
    }
}

/// What the node had applied (so it was durable) and has no more. The group that was in flight may have become durable
/// unheard, and may have truncated.
fn lost_since(before: &Store, after: &Store, flight: Option<&Group>) -> Lost {
    let entries =
        || flight.iter().flat_map(|group| &group.members).filter_map(|(queued, _)| queued.entry.as_ref());
    for (id, slot) in before.segments() {
        let Some(now) = after.segments().get(id) else {
            return Some(format!("segment {id:?} is gone"));
        };
        let (was, is) = (slot.segment.state(), now.segment.state());
        let truncated = entries().any(|e| matches!(e, LogEntry::Truncations(segment, _) if segment == id));
        if is.epochs.volume < was.epochs.volume {
            return Some(format!("{id:?} was at {:?} and is at {:?}", was.epochs, is.epochs));
        }
        if !truncated && (is.scl < was.scl || is.highest < was.highest || is.truncations != was.truncations) {
            return Some(format!("{id:?} was {was:?} and is {is:?}"));
        }
    }
    None
}
