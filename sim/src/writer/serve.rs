//! The life of a writer: it acquires an epoch, opens the volume, serves, and grows it to the number of groups of the
//! run.

use sextant_meta::{MetaError, PgInfo, VolumeInfo};
use sextant_redo::{Lsn, PgId, SegmentId, VolumeId};
use sextant_volume::membership::Membership;
use sextant_volume::recovery::{Event, Outcome, Place, Recovery};
use sextant_volume::tracker::Tracker;

use super::log::Log;
use super::{Call, Group, Member, OPENING_DEADLINE, Out, STUCK, TICK, Timer, Writer};
use crate::meta::{MetaReply, MetaRequest};
use crate::mutant::Mutant;
use crate::schedule::{MS, Time};

impl Writer {
    /// The process starts.
    pub(crate) fn start(&mut self, out: &mut Vec<Out>) {
        self.acquire(out);
        out.push(Out::Timer { after: TICK, timer: Timer::Tick });
    }

    pub(super) fn acquire(&mut self, out: &mut Vec<Out>) {
        self.call_meta(MetaRequest::Acquire { instance: self.name() }, Call::Acquire, out);
    }

    pub(super) fn on_grant(&mut self, now: Time, reply: Result<MetaReply, MetaError>, out: &mut Vec<Out>) {
        let grant = match reply {
            Ok(MetaReply::Granted(grant)) => grant,
            Err(MetaError::LeaseHeld { remaining_ms, .. }) => {
                let after = (remaining_ms * MS).clamp(20 * MS, 250 * MS);
                return out.push(Out::Timer { after, timer: Timer::Acquire });
            }
            _ => return out.push(Out::Timer { after: 100 * MS, timer: Timer::Acquire }),
        };
        let first = self.epoch.0 == 0;
        self.epoch = grant.epoch;
        self.groups.clear();
        self.tasks.clear();
        for pg in &grant.volume.pgs {
            self.add_group(grant.volume.id, pg);
        }
        let quorums = |group: &Group| self.quorums(group.membership.quorums().clone(), true);
        let groups = self.groups.iter().map(|g| (quorums(g), g.members.len())).collect();
        let lal = if self.mutant == Some(Mutant::ShortRange) { 1 } else { self.profile.lal };
        self.recovery = Some(Recovery::new(grant.epoch, lal, groups));
        (self.opening_since, self.stuck_since) = (now, None);
        if first {
            out.push(Out::Timer { after: 333 * MS, timer: Timer::Renew });
        }
    }

    fn add_group(&mut self, volume: VolumeId, info: &PgInfo) {
        self.groups.push(Group {
            segment: SegmentId { volume, pg: info.pg },
            membership: Membership::new(info),
            members: info.members.iter().map(Member::new).collect(),
            log: std::collections::VecDeque::new(),
            log_base: 0,
            last: Lsn::ZERO,
        });
    }

    pub(super) fn tell_opening(&mut self, event: Event, out: &mut Vec<Out>) {
        let Some(recovery) = &mut self.recovery else { return };
        if let Err(error) = recovery.on(event) {
            out.push(Out::Broken { what: error.to_string() });
            return self.end(error.to_string(), out);
        }
        self.pump_opening(out);
    }

    /// Starts what the opening asks for; begins service once it is through.
    pub(super) fn pump_opening(&mut self, out: &mut Vec<Out>) {
        let Some(recovery) = &mut self.recovery else { return };
        for action in recovery.actions() {
            self.start_action(action, out);
        }
        if let Some(outcome) = self.recovery.as_ref().and_then(Recovery::outcome) {
            self.begin_service(&outcome, out);
        }
    }

    fn begin_service(&mut self, outcome: &Outcome, out: &mut Vec<Out>) {
        let Some(recovery) = self.recovery.take() else { return };
        let vdl = outcome.points.vdl;
        let base = outcome.base();
        let mut log = Log::new(self.epoch, self.geometry, vdl, base, self.profile.lal, self.mutant);
        let mut tracker = Tracker::new(vdl);
        for index in 0..self.groups.len() {
            let last = &outcome.points.last[index];
            let quorums = self.quorums(self.groups[index].membership.quorums().clone(), false);
            let group = &mut self.groups[index];
            group.last = *last;
            tracker.add_group(quorums, group.members.len(), *last);
            log.add_group(group.segment, *last);
        }
        self.tracker = Some(tracker);
        self.log = Some(log);
        self.ranges.clone_from(&outcome.ranges);
        self.tasks.clear();
        out.push(Out::Opened { vdl, base });
        for group in 0..self.groups.len() {
            for member in 0..self.groups[group].members.len() {
                let at = Place { group, member };
                let done = recovery.state(at).filter(|state| state.truncations == self.ranges);
                let scl = done.map(|state| state.scl);
                if let Some(state) = done {
                    self.on_recorded(at, state.epochs.membership, out);
                }
                if !scl.is_some_and(|scl| self.go_live(at, scl, out)) {
                    self.join(at, out);
                }
            }
        }
        out.push(Out::Timer { after: MS, timer: Timer::Commit });
    }

    /// Every so often: openings that stand still, members that lag, growth.
    pub(super) fn tick(&mut self, now: Time, out: &mut Vec<Out>) {
        out.push(Out::Timer { after: TICK, timer: Timer::Tick });
        if let Some(recovery) = &self.recovery {
            if now > self.opening_since + OPENING_DEADLINE {
                return self.end("the opening took too long".into(), out);
            }
            match recovery.stuck() {
                true if *self.stuck_since.get_or_insert(now) + STUCK < now => {
                    self.recovery = None;
                    self.tasks.clear();
                    self.acquire(out);
                }
                true => {}
                false => self.stuck_since = None,
            }
        }
        self.resend(out);
        self.tell_points(out);
        self.grow(out);
        self.follow_members(now, out);
    }

    fn grow(&mut self, out: &mut Vec<Out>) {
        let Some(log) = &mut self.log else { return };
        let writable = log.groups();
        if let Some(next) = self.groups.get(writable) {
            let live = next.members.iter().enumerate().filter(|(_, m)| m.live).map(|(n, _)| n).collect();
            if next.membership.quorums().write.met(live) {
                log.add_group(next.segment, Lsn::ZERO);
            }
        } else if writable < self.profile.groups as usize && !std::mem::replace(&mut self.growing, true) {
            let pg = PgId(writable as u32);
            self.call_meta(MetaRequest::AddPg { epoch: self.epoch, pg }, Call::AddPg, out);
        }
    }

    pub(super) fn on_grown(&mut self, reply: Option<MetaReply>, out: &mut Vec<Out>) {
        self.growing = false;
        let Some(MetaReply::Volume(VolumeInfo { id, pgs, .. })) = reply else { return };
        let index = self.groups.len();
        let Some(info) = pgs.get(index) else { return };
        self.add_group(id, info);
        let group = &self.groups[index];
        let quorums = self.quorums(group.membership.quorums().clone(), false);
        if let Some(tracker) = &mut self.tracker {
            tracker.add_group(quorums, group.members.len(), Lsn::ZERO);
        }
        for member in 0..self.groups[index].members.len() {
            self.join(Place { group: index, member }, out);
        }
    }
}
