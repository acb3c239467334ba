//! The way out: rounds of batches are taken from the log, sealed once, kept for whoever may need them, and written to
//! the connections, many batches in one vectored write.
//!
//! One round is on its way at a time. What is logged meanwhile goes into the next one ([`crate::group_commit`] says when), so
//! one flush of each storage node covers more commits the busier the engine is. Its size is bounded by what is logged in
//! that time alone.
//!
//! There is no queue of batches per node. Each member has a place in its group's kept log and is sent what follows; a
//! slow or dead node just falls behind, and nobody waits for it. When the kept log is over its budget, what is durable
//! is dropped, and members that still lacked it catch up from a peer.

use std::io::{ErrorKind, IoSlice};
use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use sextant_redo::wire::{Append, Epochs, Request};
use sextant_redo::{Lsn, VolumeEpoch, frame};

use super::Driver;
use super::state::{BATCH_HEAD, Core, Group, Link, OutBatch, Outgoing};
use crate::group_commit::Next;
use crate::log::{Filled, Round};
use crate::metrics::METRICS;
use crate::recovery::Place;
use crate::tracker::SealedBatch;

/// Bytes handed to a connection ahead of what its socket has taken.
const OUT_BYTES: usize = 1024 * 1024;
/// Parts of one vectored write.
const SLICES: usize = 64;
/// Marks the request ids of batches, which are the same for all six copies; the group stands in the bits below.
const BATCH_ID: u64 = 1 << 63;

/// The group that the request id of a batch names.
pub(crate) fn batch_group(request: u64) -> Option<usize> {
    (request & BATCH_ID != 0).then_some(((request & !BATCH_ID) >> 31) as usize)
}

impl Driver {
    /// Takes and sends a round, unless one is on the way or it can wait for more.
    pub(crate) fn pump(self: &Rc<Self>) {
        let Some(shared) = self.shared.get() else { return };
        let mut core = self.core.borrow_mut();
        core.look_at = None;
        if core.stopped || core.on_the_way.is_some() {
            return;
        }
        let (now, why, waiting) = loop {
            let (now, gathered) = (Instant::now(), shared.log.gathered());
            match core.commits.next(now, gathered) {
                Next::Nothing => return,
                Next::At(then) => {
                    if !shared.log.expect(core.commits.expected(now)) {
                        return core.look_at = Some(then);
                    }
                }
                Next::Now(why) => break (now, why, gathered.waiting),
            }
        };
        let Some(round) = shared.log.take() else { return };
        core.commits.send(now, waiting);
        shared.log.set_busy(true);
        METRICS.rounds.with_label_values(&[why.name()]).inc();
        core.announce(self, round, shared.read_floor());
        let nodes = core.nodes.len();
        (0..nodes).for_each(|node| core.flush(node));
        let lagging = core.keep_to_budget(self.setup.tuning.retained_bytes);
        drop(core);
        lagging.into_iter().for_each(|at| self.spawn_join(at));
    }
}

impl Core {
    fn announce(&mut self, driver: &Driver, round: Round, read_floor: Lsn) {
        let Some(tracker) = &mut self.tracker else { return };
        let vdl = tracker.vdl();
        let mut grown = Vec::with_capacity(round.batches.len());
        for Filled { group, start, mut builder } in round.batches {
            let (header, bytes) = builder.seal(vdl, read_floor.min(vdl));
            tracker.sealed(SealedBatch {
                group,
                first: start.first,
                prev_volume: start.prev_volume,
                cpl_before: start.cpl_before,
                last: header.last,
            });
            let to = &mut self.groups[group];
            let head = to.batch_head(group, to.log_end(), driver.setup.epoch, &bytes);
            self.retained_bytes += bytes.len();
            METRICS.batches.inc();
            let batch = OutBatch { head, bytes, prev_pg: start.prev_pg, last: header.last };
            to.log.push_back(Rc::new(batch));
            to.last = header.last;
            grown.push(group);
        }
        tracker.round_end(round.last);
        self.on_the_way = Some(round.last);
        for group in grown {
            for member in 0..self.groups[group].members.len() {
                self.queue(Place { group, member });
            }
        }
    }

    /// The members have changed: kept batches go out under the newer epoch from now on.
    pub(crate) fn address_again(&mut self, index: usize, volume: VolumeEpoch) {
        let group = &mut self.groups[index];
        let mut log = std::mem::take(&mut group.log);
        for (seq, batch) in (group.log_base..).zip(&mut log) {
            let OutBatch { ref bytes, prev_pg, last, .. } = **batch;
            let head = group.batch_head(index, seq, volume, bytes);
            *batch = Rc::new(OutBatch { head, bytes: bytes.clone(), prev_pg, last });
        }
        group.log = log;
    }

    /// Drops batches over the budget that are durable in their group; says which live members lacked them.
    fn keep_to_budget(&mut self, budget: usize) -> Vec<Place> {
        let mut lagging = Vec::new();
        let Some(tracker) = &self.tracker else { return lagging };
        for (index, group) in self.groups.iter_mut().enumerate() {
            let durable = tracker.pgcl(index);
            while self.retained_bytes > budget
                && let Some(batch) = group.log.pop_front_if(|b| b.last <= durable)
            {
                group.log_base += 1;
                self.retained_bytes -= batch.bytes.len();
                for (member, m) in group.members.iter_mut().enumerate() {
                    if m.live && m.next < group.log_base && m.scl < batch.last {
                        m.live = false;
                        lagging.push(Place { group: index, member });
                    }
                }
            }
        }
        lagging
    }

    /// Hands batches to the connection as far as its queue is short.
    fn refill(&mut self, node: usize) {
        let Core { nodes, groups, .. } = self;
        let node_state = &mut nodes[node];
        let Some(link) = node_state.link.as_mut().filter(|l| l.ready) else { return };
        while link.out_bytes < OUT_BYTES
            && let Some(&index) = node_state.dirty.front()
        {
            let group = &mut groups[index];
            let (base, end) = (group.log_base, group.log_end());
            let Some(member) = group.members.iter_mut().find(|m| m.node == node) else {
                node_state.dirty.pop_front();
                continue;
            };
            // What was dropped meanwhile is on the segment: it came from a peer.
            member.next = member.next.max(base);
            if !member.live || member.next >= end {
                member.queued = false;
                node_state.dirty.pop_front();
                continue;
            }
            let batch = &group.log[(member.next - base) as usize];
            if batch.last > member.scl {
                link.push(Outgoing::Batch(Rc::clone(batch)));
                member.sent_to = batch.last;
                node_state.counters.sends.inc();
                if member.next < member.sent {
                    node_state.counters.resends.inc();
                }
            }
            member.next += 1;
            member.sent = member.sent.max(member.next);
        }
    }

    /// Writes what waits for a node, as much as its socket takes.
    pub(crate) fn flush(&mut self, node: usize) {
        loop {
            self.refill(node);
            let node = &mut self.nodes[node];
            let Some(link) = node.link.as_mut().filter(|l| !l.broken && !l.out.is_empty()) else { return };
            match link.write() {
                Ok(written) => {
                    node.counters.writes.inc();
                    node.counters.sent_bytes.inc_by(written as u64);
                    link.wrote(written);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    link.want_write.notify_one();
                    return;
                }
                Err(error) => {
                    node.last_error = Some(error.to_string());
                    link.broken = true;
                    link.want_write.notify_one();
                    return;
                }
            }
        }
    }
}

impl Group {
    /// What goes in front of the batch with that sequence number, for every member alike.
    fn batch_head(&self, index: usize, seq: u64, volume: VolumeEpoch, bytes: &Bytes) -> [u8; BATCH_HEAD] {
        let id = BATCH_ID | (index as u64) << 31 | (seq & 0x7fff_ffff);
        let prefix = Append::prefix(self.segment, Epochs { volume, membership: self.membership.epoch() });
        let mut head = [0; BATCH_HEAD];
        head[..frame::FRAME_HEADER].copy_from_slice(&frame::header(Request::APPEND, id, &[&prefix, bytes]));
        head[frame::FRAME_HEADER..].copy_from_slice(&prefix);
        head
    }
}

impl Link {
    pub(crate) fn push(&mut self, outgoing: Outgoing) {
        self.out_bytes += outgoing.len();
        self.out.push_back(outgoing);
    }

    fn write(&self) -> std::io::Result<usize> {
        let mut slices = [IoSlice::new(&[]); SLICES];
        let mut used = 0;
        let mut skip = self.written;
        let parts = self.out.iter().flat_map(|o| <[&[u8]; 2]>::from(o.parts()));
        for part in parts {
            let rest = part.get(skip..).unwrap_or(&[]);
            skip -= part.len() - rest.len();
            if !rest.is_empty() {
                slices[used] = IoSlice::new(rest);
                used += 1;
            }
            if used == SLICES {
                break;
            }
        }
        self.stream.try_write_vectored(&slices[..used])
    }

    fn wrote(&mut self, written: usize) {
        self.out_bytes -= written;
        self.written += written;
        while let Some(done) = self.out.pop_front_if(|o| o.len() <= self.written) {
            self.written -= done.len();
        }
    }
}
