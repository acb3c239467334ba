//! Sending: rounds of batches to all members that are live, again what got lost, and what acknowledgements mean.

use sextant_redo::wire::{Append, Request};
use sextant_redo::{Lsn, SegmentId};
use sextant_volume::recovery::Place;

use super::{Call, Out, Waiting, Writer};
use crate::mutant::Mutant;

/// Rounds on their way at a time, as in the driver.
const ROUNDS_ON_THE_WAY: usize = 2;
/// Batches sent to a member ahead of its SCL.
const WINDOW: u64 = 24;
/// Marks the request ids of batches; the group stands in the bits below.
const BATCH_ID: u64 = 1 << 63;
/// Ticks without progress until a member is sent everything above its SCL again, and until it has to join again.
const STILL: (u32, u32) = (3, 12);

impl Writer {
    /// Publishes what came of an event: acknowledgements to clients, the next round, the next step of opening.
    pub(super) fn settle(&mut self, out: &mut Vec<Out>) {
        if !self.alive {
            return;
        }
        self.pump_opening(out);
        self.acknowledge(out);
        self.pump(out);
        self.send_all(out);
    }

    fn acknowledge(&mut self, out: &mut Vec<Out>) {
        let Some(tracker) = &self.tracker else { return };
        let (vcl, vdl) = (tracker.vcl(), tracker.vdl());
        while self.rounds.pop_front_if(|last| *last <= vcl).is_some() {}
        let durable = |waiting: &mut Waiting| match self.mutant {
            Some(Mutant::AckAtPgcl) if tracker.pgcl(waiting.group) >= waiting.cpl => true,
            Some(Mutant::AckBeforeMtrEnds) => waiting.first <= vcl,
            _ => waiting.cpl <= vdl,
        };
        while let Some(Waiting { cpl, .. }) = self.waiting.pop_front_if(durable) {
            out.push(Out::Acked { cpl });
        }
    }

    fn pump(&mut self, out: &mut Vec<Out>) {
        if self.rounds.len() >= ROUNDS_ON_THE_WAY {
            return;
        }
        let floor = self.floor();
        let (Some(log), Some(tracker)) = (&mut self.log, &mut self.tracker) else { return };
        let Some(round) = log.take(tracker.vdl(), floor) else { return };
        for (sealed, batch) in round.batches {
            let group = &mut self.groups[sealed.group];
            tracker.sealed(sealed);
            group.last = batch.last;
            self.retained += batch.bytes.len();
            group.log.push_back(batch);
        }
        tracker.round_end(round.last);
        self.rounds.push_back(round.last);
        out.push(Out::Points { vcl: tracker.vcl(), vdl: tracker.vdl() });
        self.keep_to_budget();
    }

    /// Drops durable batches over the budget; live members that lack them have to join again.
    fn keep_to_budget(&mut self) {
        let Some(tracker) = &self.tracker else { return };
        for (index, group) in self.groups.iter_mut().enumerate() {
            let durable = tracker.pgcl(index);
            while self.retained > self.profile.retained_bytes
                && let Some(batch) = group.log.pop_front_if(|batch| batch.last <= durable)
            {
                group.log_base += 1;
                self.retained -= batch.bytes.len();
                let base = group.log_base;
                let lacks = |m: &&mut super::Member| m.live && m.next < base && m.scl < batch.last;
                group.members.iter_mut().filter(lacks).for_each(|m| m.live = false);
            }
        }
    }

    pub(super) fn send_all(&mut self, out: &mut Vec<Out>) {
        for group in 0..self.groups.len() {
            for member in 0..self.groups[group].members.len() {
                self.send(Place { group, member }, out);
            }
        }
    }

    fn send(&mut self, at: Place, out: &mut Vec<Out>) {
        let epochs = self.epochs(at.group);
        let group = &mut self.groups[at.group];
        let (base, end) = (group.log_base, group.log_base + group.log.len() as u64);
        let member = &mut group.members[at.member];
        member.next = member.next.max(base);
        let held = group.log.partition_point(|batch| batch.last <= member.scl) as u64;
        while member.live && member.next < end && member.next < base + held + WINDOW {
            let batch = &group.log[(member.next - base) as usize];
            if batch.last > member.scl {
                let append = Append { segment: group.segment, epochs, batch: batch.bytes.clone() };
                let id = BATCH_ID | (at.group as u64) << 31 | (member.next & 0x7fff_ffff);
                out.push(Out::ToNode { node: member.node, id, request: Request::Append(append) });
                member.sent_to = batch.last;
            }
            member.next += 1;
        }
    }

    pub(super) fn on_appended(&mut self, node: usize, segment: SegmentId, scl: Lsn, out: &mut Vec<Out>) {
        let index = segment.pg.0 as usize;
        let Some(group) = self.groups.get(index) else {
            let what = format!("an acknowledgement of {segment:?} from node {node}");
            return out.push(Out::Broken { what });
        };
        // Another node was a member when the batch was sent.
        let member = group.membership.members().find(|member| group.members[*member].node == node);
        if let Some(member) = member {
            self.acked(Place { group: index, member }, scl, out);
        }
    }

    fn acked(&mut self, at: Place, scl: Lsn, out: &mut Vec<Out>) {
        let member = self.member(at);
        member.scl = member.scl.max(scl);
        if let Some(tracker) = &mut self.tracker {
            let before = (tracker.vcl(), tracker.vdl());
            tracker.ack(at.group, at.member, scl);
            let (vcl, vdl) = (tracker.vcl(), tracker.vdl());
            if before != (vcl, vdl) {
                out.push(Out::Points { vcl, vdl });
            }
        }
        let group = &mut self.groups[at.group];
        let members = group.membership.members();
        let all = members.map(|member| group.members[member].scl).min().unwrap_or(Lsn::ZERO);
        while let Some(batch) = group.log.pop_front_if(|batch| batch.last <= all) {
            group.log_base += 1;
            self.retained -= batch.bytes.len();
        }
    }

    /// Starts or goes on sending to a segment that is complete to `scl`. False when it lacks log that is not kept.
    pub(super) fn go_live(&mut self, at: Place, scl: Lsn, out: &mut Vec<Out>) -> bool {
        let group = &mut self.groups[at.group];
        let at_batch = group.log.partition_point(|batch| batch.last <= scl);
        let seamless = match group.log.get(at_batch) {
            Some(batch) => batch.prev_pg <= scl,
            None => scl >= group.last,
        };
        let member = &mut group.members[at.member];
        member.scl = scl;
        if seamless {
            (member.live, member.still) = (true, 0);
            member.told = (Lsn::ZERO, Lsn::ZERO);
            member.next = group.log_base + at_batch as u64;
        }
        self.acked(at, scl, out);
        seamless
    }

    /// Tells segments how far their log is durable and old, where no batch tells it.
    pub(super) fn tell_points(&mut self, out: &mut Vec<Out>) {
        if self.tracker.is_none() || self.mutant == Some(Mutant::TellNothing) {
            return;
        }
        let vdl = self.vdl();
        let points = (vdl, self.floor().min(vdl));
        for group in 0..self.groups.len() {
            let (segment, last, epochs) =
                (self.groups[group].segment, self.groups[group].last, self.epochs(group));
            let members: Vec<usize> = self.groups[group].membership.members().collect();
            for member in members {
                let at = Place { group, member };
                let m = self.member(at);
                let knows = m.told == points || m.told.1 >= last;
                if !m.kind.is_full() || m.telling || knows {
                    continue;
                }
                m.telling = true;
                let node = m.node;
                let advance = Request::Advance { segment, epochs, vdl: points.0, pgmrpl: points.1 };
                self.call(node, advance, Call::Advance(at, points), out);
            }
        }
    }

    /// The segment has heard the points, or nobody knows.
    pub(super) fn on_told(&mut self, at: Place, heard: Option<(Lsn, Lsn)>) {
        let member = self.member(at);
        member.telling = false;
        member.told = heard.unwrap_or(member.told);
    }

    /// A batch was refused: the segment joins again.
    pub(super) fn on_refused(&mut self, node: usize, id: u64) {
        if id & BATCH_ID == 0 {
            return;
        }
        let group = ((id & !BATCH_ID) >> 31) as usize;
        if let Some(of) = self.groups.get_mut(group) {
            of.members.iter_mut().filter(|m| m.node == node).for_each(|member| member.live = false);
        }
    }

    /// Looks at what stands still.
    pub(super) fn resend(&mut self, out: &mut Vec<Out>) {
        if self.log.is_none() || self.mutant == Some(Mutant::NoResend) {
            return;
        }
        for group in 0..self.groups.len() {
            for member in 0..self.groups[group].members.len() {
                let at = Place { group, member };
                if !self.groups[group].membership.is_member(member) {
                    continue;
                }
                let m = self.member(at);
                let moved = m.scl > m.seen;
                m.seen = m.scl;
                m.still = if moved || m.sent_to <= m.scl { 0 } else { m.still + 1 };
                if m.live && m.still >= STILL.1 {
                    m.live = false;
                } else if m.live && m.still > 0 && m.still.is_multiple_of(STILL.0) {
                    let (scl, still) = (m.scl, m.still);
                    if self.go_live(at, scl, out) {
                        self.member(at).still = still;
                    } else {
                        self.member(at).live = false;
                    }
                }
                if !self.member(at).live {
                    self.join(at, out);
                }
            }
        }
    }
}
