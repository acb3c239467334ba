//! Conversations of several steps with one segment. The steps are the driver's: create if it never existed, put that on
//! record, open, truncate, read the chain, copy log.

use bytes::Bytes;
use sextant_redo::wire::{Append, Reply, Request, SegmentState};
use sextant_redo::{BatchHeader, Lsn, MembershipEpoch, TruncationRange};
use sextant_volume::recovery::{Action, Event, Place};

use super::{Call, Out, Timer, Writer};
use crate::meta::MetaRequest;
use crate::mutant::Mutant;
use crate::schedule::{MS, Time};

/// Pause after a failure.
const PAUSE: Time = 50 * MS;
/// Log asked for at a time: little, so that copies take several steps.
const COPY_BYTES: u32 = 16 * 1024;
/// Links asked for at a time.
const CHAIN_RECORDS: u32 = 50;

#[derive(Debug, Clone)]
enum Goal {
    /// An action of the opening.
    Opening(Action),
    /// Bring the segment to where batches can be sent to it.
    Join(Place),
    /// Have the segment record the newest membership.
    Record(Place),
}

#[derive(Debug, Clone)]
enum Step {
    Create,
    /// Made under that membership epoch.
    Mark(MembershipEpoch),
    Open,
    Truncate,
    Chain,
    ReadLog {
        from: Place,
        reached: Lsn,
        up_to: Lsn,
    },
    Append {
        from: Place,
        reached: Lsn,
        up_to: Lsn,
        rest: Bytes,
    },
    /// After a failure, until it is tried again or given up.
    Pause,
}

pub(super) struct Task {
    goal: Goal,
    step: Step,
}

impl Task {
    fn place(&self) -> Place {
        match &self.goal {
            Goal::Opening(action) => action.place(),
            Goal::Join(at) | Goal::Record(at) => *at,
        }
    }

    /// True when it holds the index of that member.
    pub(super) fn concerns(&self, at: Place) -> bool {
        let from = match &self.step {
            Step::ReadLog { from, .. } | Step::Append { from, .. } => Some(*from),
            _ => None,
        };
        self.place() == at || from == Some(at)
    }
}

impl Writer {
    pub(super) fn start_action(&mut self, action: Action, out: &mut Vec<Out>) {
        if let Action::Truncate(at, ranges) = &action
            && self.mutant == Some(Mutant::NoAlign)
            && ranges.last().is_none_or(|range| range.epoch < self.epoch)
        {
            return self.pretend_truncated(*at, ranges.clone(), out);
        }
        let step = match &action {
            Action::Open(at) if self.groups[at.group].members[at.member].created => Step::Open,
            Action::Open(_) => Step::Create,
            Action::Truncate(..) => Step::Truncate,
            Action::ReadChain { .. } => Step::Chain,
            Action::Copy { from, after, up_to, .. } => {
                Step::ReadLog { from: *from, reached: *after, up_to: *up_to }
            }
        };
        self.start_task(Goal::Opening(action), step, out);
    }

    pub(super) fn join(&mut self, at: Place, out: &mut Vec<Out>) {
        if !std::mem::replace(&mut self.member(at).joining, true) {
            let step = if self.member(at).created { Step::Open } else { Step::Create };
            self.start_task(Goal::Join(at), step, out);
        }
    }

    pub(super) fn record_members(&mut self, at: Place, out: &mut Vec<Out>) {
        if self.member(at).live {
            self.start_task(Goal::Record(at), Step::Open, out);
        }
    }

    fn start_task(&mut self, goal: Goal, step: Step, out: &mut Vec<Out>) {
        let task = self.next_id;
        self.next_id += 1;
        self.tasks.insert(task, Task { goal, step });
        self.run_step(task, out);
    }

    fn set_step(&mut self, task: u64, step: Step, out: &mut Vec<Out>) {
        if let Some(known) = self.tasks.get_mut(&task) {
            known.step = step;
            self.run_step(task, out);
        }
    }

    /// Sends the request of the task's step.
    fn run_step(&mut self, task: u64, out: &mut Vec<Out>) {
        let Some(known) = self.tasks.get(&task) else { return };
        let at = known.place();
        let (segment, epochs) = (self.groups[at.group].segment, self.epochs(at.group));
        let mut node = self.node_of(at);
        let request = match &known.step {
            Step::Create => {
                let kind = self.groups[at.group].members[at.member].kind;
                Request::CreateSegment { segment, epochs, kind }
            }
            Step::Open => Request::OpenSegment { segment, epochs },
            Step::Truncate => Request::Truncate {
                segment,
                epochs,
                ranges: self.forged(at, self.wanted_ranges(&known.goal)),
            },
            Step::Chain => {
                let Goal::Opening(Action::ReadChain { after, .. }) = known.goal else { return };
                if self.mutant == Some(Mutant::LaggingChain) {
                    let members = &self.groups[at.group].members;
                    node = members[(at.member + 1) % members.len()].node;
                }
                Request::ReadChain { segment, epochs, after, max_records: CHAIN_RECORDS }
            }
            Step::ReadLog { from, reached, up_to } => {
                node = self.node_of(*from);
                let (after, up_to) = (*reached, *up_to);
                Request::ReadLog { segment, epochs, after, up_to, max_bytes: COPY_BYTES }
            }
            Step::Append { rest, .. } => match next_batch(rest) {
                Some(batch) => Request::Append(Append { segment, epochs, batch }),
                None => return self.fail_task(task, out),
            },
            Step::Mark(membership) => {
                let node = self.groups[at.group].members[at.member].id;
                let (epoch, pg, membership) = (self.epoch, segment.pg, *membership);
                let request = MetaRequest::MarkCreated { epoch, pg, membership, node };
                return self.call_meta(request, Call::Mark(task), out);
            }
            Step::Pause => return,
        };
        self.call(node, request, Call::Task(task), out);
    }

    /// Mutants: the opening believes that a copy knows these ranges.
    fn pretend_truncated(&mut self, at: Place, ranges: Vec<TruncationRange>, out: &mut Vec<Out>) {
        if let Some(state) = self.recovery.as_ref().and_then(|recovery| recovery.state(at)) {
            let state = SegmentState { truncations: ranges, ..state.clone() };
            self.tell_opening(Event::State(at, state), out);
        }
    }

    fn wanted_ranges(&self, goal: &Goal) -> Vec<TruncationRange> {
        match goal {
            Goal::Opening(Action::Truncate(_, ranges)) => ranges.clone(),
            _ => self.ranges.clone(),
        }
    }

    /// Mutants: ranges that void nothing; ranges that are added to those of the copy.
    fn forged(&self, at: Place, mut ranges: Vec<TruncationRange>) -> Vec<TruncationRange> {
        match self.mutant {
            Some(Mutant::NoTruncation) => ranges.iter_mut().for_each(|range| range.from = range.to),
            Some(Mutant::MergeRanges) => {
                let own = &self.groups[at.group].members[at.member].ranges;
                ranges.extend(own.iter().copied());
                ranges.sort_unstable();
                ranges.dedup();
            }
            _ => {}
        }
        ranges
    }

    fn fail_task(&mut self, task: u64, out: &mut Vec<Out>) {
        if let Some(known) = self.tasks.get_mut(&task) {
            known.step = Step::Pause;
            let after = PAUSE + self.rng.exponential(PAUSE);
            out.push(Out::Timer { after, timer: Timer::Task(task) });
        }
    }

    pub(super) fn on_task_pause_over(&mut self, task: u64, out: &mut Vec<Out>) {
        let Some(known) = self.tasks.remove(&task) else { return };
        let at = known.place();
        match known.goal {
            Goal::Join(_) => {
                let member = self.member(at);
                member.joining = false;
                member.join_failures += 1;
            }
            // It joins again.
            Goal::Record(_) => self.member(at).live = false,
            Goal::Opening(Action::Open(_)) => self.start_action(Action::Open(at), out),
            Goal::Opening(_) => self.tell_opening(Event::Failed(at), out),
        }
    }

    pub(super) fn on_marked(&mut self, task: u64, done: bool, out: &mut Vec<Out>) {
        let Some(at) = self.tasks.get(&task).map(Task::place) else { return };
        if done {
            self.member(at).created = true;
            self.set_step(task, Step::Open, out);
        } else {
            self.fail_task(task, out);
        }
    }

    /// The answer to the task's request; `None` when none came in time.
    pub(super) fn on_task_reply(&mut self, task: u64, reply: Option<Reply>, out: &mut Vec<Out>) {
        let Some(known) = self.tasks.get(&task) else { return };
        match (known.step.clone(), reply) {
            (Step::Create, Some(Reply::State(state))) => {
                self.set_step(task, Step::Mark(state.epochs.membership), out)
            }
            (Step::Open | Step::Truncate, Some(Reply::State(state))) => self.on_state(task, state, out),
            (Step::Chain, Some(Reply::Chain { links, complete })) if complete || !links.is_empty() => {
                if let Some(Goal::Opening(Action::ReadChain { from, after })) = self.finish_task(task) {
                    self.tell_opening(Event::Chain { from, after, links, complete }, out);
                }
            }
            (Step::ReadLog { from, reached, up_to }, Some(Reply::Log { batches, .. }))
                if !batches.is_empty() =>
            {
                self.set_step(task, Step::Append { from, reached, up_to, rest: batches }, out);
            }
            (Step::Append { from, reached, up_to, rest }, Some(Reply::Appended { scl, .. })) => {
                let len = BatchHeader::decode(&rest).map_or(rest.len(), |header| header.total_len());
                self.on_copied(task, (from, reached.max(scl), up_to, rest.slice(len..)), out);
            }
            (Step::Truncate, None) if self.mutant == Some(Mutant::TruncateUnheard) => {
                match self.finish_task(task) {
                    Some(Goal::Opening(Action::Truncate(at, ranges))) => {
                        self.pretend_truncated(at, ranges, out)
                    }
                    Some(Goal::Join(at)) => self.member(at).joining = false,
                    _ => {}
                }
            }
            _ => self.fail_task(task, out),
        }
    }

    fn finish_task(&mut self, task: u64) -> Option<Goal> {
        self.tasks.remove(&task).map(|known| known.goal)
    }

    fn on_state(&mut self, task: u64, mut state: SegmentState, out: &mut Vec<Out>) {
        let Some(known) = self.tasks.get(&task) else { return };
        let (goal, step, at) = (known.goal.clone(), known.step.clone(), known.place());
        self.on_recorded(at, state.epochs.membership, out);
        let wanted = self.wanted_ranges(&goal);
        if self.mutant == Some(Mutant::MergeRanges) {
            self.member(at).ranges.clone_from(&state.truncations);
        }
        if state.truncations == self.forged(at, wanted.clone()) {
            state.truncations.clone_from(&wanted);
        }
        let told = state.truncations == wanted;
        match (&goal, &step) {
            (Goal::Opening(Action::Open(_)), _) => {
                self.finish_task(task);
                self.tell_opening(Event::State(at, state), out);
            }
            (Goal::Opening(_), _) if told => {
                self.finish_task(task);
                self.tell_opening(Event::State(at, state), out);
            }
            (Goal::Record(_), _) => {
                self.finish_task(task);
            }
            (Goal::Join(_), Step::Open) if !told => self.set_step(task, Step::Truncate, out),
            (Goal::Join(_), _) if told => self.catch_up(task, at, state.scl, out),
            _ => self.fail_task(task, out),
        }
    }

    /// Goes live, or copies what the kept log does not reach from the most complete peer.
    fn catch_up(&mut self, task: u64, at: Place, scl: Lsn, out: &mut Vec<Out>) {
        let membership = &self.groups[at.group].membership;
        if !membership.is_member(at.member) || !membership.has_recorded(at.member) {
            // The members changed meanwhile: it starts again, if it still is one.
            return self.fail_task(task, out);
        }
        if self.go_live(at, scl, out) {
            self.finish_task(task);
            let member = self.member(at);
            (member.joining, member.join_failures) = (false, 0);
            return;
        }
        let members = self.groups[at.group].members.iter().enumerate();
        let peers = members.filter(|(n, m)| m.live && *n != at.member && m.scl > scl);
        let mut peers: Vec<(usize, Lsn)> = peers.map(|(n, m)| (n, m.scl)).collect();
        peers.sort_by_key(|(_, theirs)| std::cmp::Reverse(*theirs));
        let failures = match self.mutant {
            Some(Mutant::SamePeer) => 0,
            _ => self.groups[at.group].members[at.member].join_failures,
        };
        match peers.get(failures % peers.len().max(1)) {
            Some(&(member, up_to)) => {
                let from = Place { group: at.group, member };
                self.set_step(task, Step::ReadLog { from, reached: scl, up_to }, out);
            }
            None => self.fail_task(task, out),
        }
    }

    fn on_copied(
        &mut self,
        task: u64,
        (from, reached, up_to, rest): (Place, Lsn, Lsn, Bytes),
        out: &mut Vec<Out>,
    ) {
        let Some(known) = self.tasks.get(&task) else { return };
        if !rest.is_empty() {
            return self.set_step(task, Step::Append { from, reached, up_to, rest }, out);
        }
        match known.goal {
            Goal::Join(at) => self.catch_up(task, at, reached, out),
            Goal::Record(_) => {}
            Goal::Opening(_) if reached < up_to => {
                self.set_step(task, Step::ReadLog { from, reached, up_to }, out);
            }
            Goal::Opening(_) => {
                let to = known.place();
                self.finish_task(task);
                self.tell_opening(Event::Copied { to, scl: reached }, out);
            }
        }
    }
}

fn next_batch(rest: &Bytes) -> Option<Bytes> {
    let header = BatchHeader::decode(rest).ok()?;
    (rest.len() >= header.total_len()).then(|| rest.slice(..header.total_len()))
}
