//! Opening a volume as a pure state machine: [`Recovery::actions`] says what to ask of which segment,
//! [`Recovery::on`] takes the answers (protocol.md, "Opening a volume"; P18 section 2.4). No clock, socket or
//! randomness; whoever drives it repeats what fails.
//!
//! 1. **Open**: record the new volume epoch at every segment that can be reached. From a write quorum of a group on, no
//!    older writer can complete anything there.
//! 2. **Align**: give those segments the newest list of truncation ranges that any of them knows, so that none counts
//!    records that an earlier opening declared void.
//! 3. **Chain**: read the record links above the highest VDL that any segment heard of from each group's most complete
//!    segment; compute VCL, VDL and each group's last record.
//! 4. **Finish**: give segments the list with the own range at its end, and bring those that lag up to their group's
//!    last record, until a write quorum of every group has both. Records that only one copy had may be kept or lost:
//!    nobody was told that they are durable. Once an opening is through, what it kept is durable.
//!
//! What must hold:
//! - A range is decided once per epoch: when it is, nothing is computed again. If the only segment with some record
//!   dies then, whoever drives this opens again under another epoch ([`Recovery::stuck`]).
//! - Only the VDLs in batch headers are known to be durable; the start of a range is not, its opening may have died
//!   before it had copied what it meant to keep.
//! - The newest list of ranges is *the* list: an older range that is missing in it belongs to an opening that never
//!   completed, and what it would void may have been kept since. A segment that has such a range must forget it: a list
//!   replaces, it is not added.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod points;
#[cfg(test)]
mod tests;

use std::cmp::Ordering;

use sextant_redo::wire::SegmentState;
use sextant_redo::{Lsn, RecordLinks, TruncationRange, VolumeEpoch};

use crate::quorum::{MemberSet, QuorumSet};
pub use points::{GroupLog, Points, points};

/// A segment: index of its group, index in the group's members.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// Group.
    pub group: usize,
    /// Member.
    pub member: usize,
}

/// What to ask of a segment. Each gets at most one at a time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Action {
    /// Create the segment if it never existed, then record the epoch. Answer: [`Event::State`].
    Open(Place),
    /// Record these ranges. Answer: [`Event::State`].
    Truncate(Place, Vec<TruncationRange>),
    /// Read record links above `after`. Answer: [`Event::Chain`].
    ReadChain {
        /// From whom.
        from: Place,
        /// Above what.
        after: Lsn,
    },
    /// Copy log in `(after, up_to]`. Answer: [`Event::Copied`].
    Copy {
        /// From whom: it has all of it.
        from: Place,
        /// To whom.
        to: Place,
        /// Above what.
        after: Lsn,
        /// To where.
        up_to: Lsn,
    },
}

impl Action {
    /// The segment that it occupies.
    #[must_use]
    pub fn place(&self) -> Place {
        match self {
            Action::Open(place) | Action::Truncate(place, _) => *place,
            Action::ReadChain { from, .. } => *from,
            Action::Copy { to, .. } => *to,
        }
    }
}

/// What came of an action.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// The segment's state.
    State(Place, SegmentState),
    /// Record links.
    Chain {
        /// From whom.
        from: Place,
        /// As asked: an answer to an older question is none to the current one.
        after: Lsn,
        /// In chain order.
        links: Vec<RecordLinks>,
        /// True when the chain ends here.
        complete: bool,
    },
    /// The segment is complete to there now.
    Copied {
        /// Which.
        to: Place,
        /// Its SCL.
        scl: Lsn,
    },
    /// It did not work: the segment starts again with [`Action::Open`].
    Failed(Place),
    /// A copy from it did not work: it may be gone, so it is asked again before it counts.
    Suspect(Place),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Collect,
    Chain,
    Finish,
    Done,
}

struct Member {
    state: Option<SegmentState>,
    busy: bool,
}

struct Group {
    quorums: QuorumSet,
    members: Vec<Member>,
    /// The most complete segment, whose log is taken.
    source: usize,
    log: GroupLog,
    read: bool,
    /// Its last record at or below the VDL, once known.
    last: Lsn,
}

/// What an opening found and made durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// VCL, VDL, each group's last record.
    pub points: Points,
    /// All ranges, the own one last.
    pub ranges: Vec<TruncationRange>,
}

impl Outcome {
    /// The own range ends here; new LSNs start above.
    #[must_use]
    pub fn base(&self) -> Lsn {
        self.ranges.last().map_or(self.points.vdl, |r| r.to)
    }
}

/// Rules of the protocol that the answers break: damage that must not be hidden.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum RecoveryError {
    /// Two different lists end with the range of one epoch.
    #[error("segments have different truncation ranges from one opening: {a:?} and {b:?}")]
    Conflict {
        /// One list.
        a: Vec<TruncationRange>,
        /// The other.
        b: Vec<TruncationRange>,
    },
}

/// See the module.
pub struct Recovery {
    epoch: VolumeEpoch,
    lal: u64,
    stage: Stage,
    groups: Vec<Group>,
    /// What every segment should know now.
    ranges: Vec<TruncationRange>,
    low: Lsn,
    points: Points,
}

impl Recovery {
    /// Opens under `epoch` a volume whose writers keep the LSN allocation limit `lal`. One entry a group: quorums and
    /// number of members.
    #[must_use]
    pub fn new(epoch: VolumeEpoch, lal: u64, groups: Vec<(QuorumSet, usize)>) -> Recovery {
        let group = |(quorums, members): (QuorumSet, usize)| Group {
            quorums,
            members: (0..members).map(|_| Member { state: None, busy: false }).collect(),
            source: 0,
            log: GroupLog::default(),
            read: false,
            last: Lsn::ZERO,
        };
        let nothing = Points { vcl: Lsn::ZERO, vdl: Lsn::ZERO, last: Vec::new() };
        Recovery {
            epoch,
            lal,
            stage: Stage::Collect,
            groups: groups.into_iter().map(group).collect(),
            ranges: Vec::new(),
            low: Lsn::ZERO,
            points: nothing,
        }
    }

    /// Takes an answer. Whoever gets an error must give up the opening.
    pub fn on(&mut self, event: Event) -> Result<(), RecoveryError> {
        match event {
            Event::State(place, state) => self.set(place, Some(state)),
            Event::Chain { from, after, links, complete } => self.on_chain(from, after, links, complete),
            Event::Copied { to, scl } => {
                let member = self.member(to);
                member.busy = false;
                if let Some(state) = &mut member.state {
                    state.scl = state.scl.max(scl);
                }
            }
            Event::Suspect(place) => self.member(place).state = None,
            Event::Failed(place) => {
                self.set(place, None);
                let is_source = self.groups[place.group].source == place.member;
                if is_source && self.stage == Stage::Chain {
                    self.stage = Stage::Collect;
                }
            }
        }
        self.advance()
    }

    fn member(&mut self, place: Place) -> &mut Member {
        &mut self.groups[place.group].members[place.member]
    }

    fn set(&mut self, place: Place, state: Option<SegmentState>) {
        *self.member(place) = Member { state, busy: false };
    }

    fn on_chain(&mut self, from: Place, after: Lsn, links: Vec<RecordLinks>, complete: bool) {
        self.member(from).busy = false;
        let low = self.low;
        let group = &mut self.groups[from.group];
        if self.stage != Stage::Chain
            || group.source != from.member
            || group.read
            || group.read_to(low) != after
        {
            return;
        }
        for link in links {
            let linked = match group.log.links.last() {
                Some(before) => link.prev_pg == before.lsn,
                None => link.prev_pg <= low && link.lsn > low,
            };
            if linked {
                group.log.links.push(link);
            }
        }
        group.read = complete;
    }

    fn advance(&mut self) -> Result<(), RecoveryError> {
        if self.stage == Stage::Collect {
            self.ranges = self.known_ranges()?;
            if self.all(|group| group.quorums.write.met(group.who(|s| s.truncations == self.ranges))) {
                self.start_chain();
            }
        }
        if self.stage == Stage::Chain && self.all(|group| group.read) {
            let logs: Vec<GroupLog> = self.groups.iter_mut().map(|g| std::mem::take(&mut g.log)).collect();
            self.points = points(self.low, &logs);
            for (group, last) in self.groups.iter_mut().zip(&self.points.last) {
                group.last = *last;
            }
            let own = self.own_range();
            // What an older range inside it voids, it voids too: openings without a write in between add nothing.
            self.ranges.retain(|r| r.from < own.from || r.to > own.to);
            self.ranges.push(own);
            self.stage = Stage::Finish;
        }
        if self.stage == Stage::Finish && self.all(|group| group.quorums.write.met(self.holders(group))) {
            self.stage = Stage::Done;
        }
        Ok(())
    }

    fn all(&self, group: impl Fn(&Group) -> bool) -> bool {
        self.groups.iter().all(group)
    }

    /// Who has the group's log up to the VDL. A segment that lacks a range may count records that are void.
    fn holders(&self, group: &Group) -> MemberSet {
        group.who(|s| s.scl >= group.last && s.truncations == self.ranges)
    }

    /// The list of the newest opening that truncated anything. It was made from a write quorum, so every range that is
    /// missing in it belongs to an opening that never completed.
    fn known_ranges(&self) -> Result<Vec<TruncationRange>, RecoveryError> {
        let mut newest: &[TruncationRange] = &[];
        let states = self.groups.iter().flat_map(|g| &g.members).filter_map(|m| m.state.as_ref());
        for list in states.map(|s| &s.truncations[..]) {
            let (known, offered) = (newest.last(), list.last());
            match offered.map(|r| r.epoch).cmp(&known.map(|r| r.epoch)) {
                Ordering::Greater => newest = list,
                Ordering::Equal if newest != list => {
                    let (a, b) = (newest.to_vec(), list.to_vec());
                    return Err(RecoveryError::Conflict { a, b });
                }
                _ => {}
            }
        }
        Ok(newest.to_vec())
    }

    fn start_chain(&mut self) {
        let states = self.groups.iter().flat_map(|g| &g.members).filter_map(|m| m.state.as_ref());
        self.low = states.map(|s| s.vdl).max().unwrap_or(Lsn::ZERO);
        for group in &mut self.groups {
            let ranges = &self.ranges;
            let aligned = group.who(|s| s.truncations == *ranges);
            let most = aligned.iter().max_by_key(|m| group.members[*m].state.as_ref().map(|s| s.scl));
            group.source = most.unwrap_or(0);
            let end = group.members[group.source].state.as_ref().map_or(Lsn::ZERO, |s| s.scl);
            group.read = end <= self.low;
            group.log = GroupLog { links: Vec::new(), end };
        }
        self.stage = Stage::Chain;
    }

    fn own_range(&self) -> TruncationRange {
        let from = self.points.vdl;
        let base = self.ranges.iter().map(|r| r.to).max().unwrap_or(from).max(from);
        TruncationRange { epoch: self.epoch, from, to: base.advance(self.lal) }
    }

    /// What to ask now. Each action is handed out once.
    pub fn actions(&mut self) -> Vec<Action> {
        if self.stage == Stage::Done {
            return Vec::new();
        }
        let places: Vec<Place> = (0..self.groups.len())
            .flat_map(|group| {
                (0..self.groups[group].members.len()).map(move |member| Place { group, member })
            })
            .collect();
        let mut actions = Vec::new();
        for place in places {
            if !self.member(place).busy
                && let Some(action) = self.action(place)
            {
                self.member(place).busy = true;
                actions.push(action);
            }
        }
        actions
    }

    fn action(&self, place: Place) -> Option<Action> {
        let group = &self.groups[place.group];
        let Some(state) = &group.members[place.member].state else {
            return Some(Action::Open(place));
        };
        if state.truncations != self.ranges {
            return Some(Action::Truncate(place, self.ranges.clone()));
        }
        match self.stage {
            Stage::Chain if group.source == place.member && !group.read => {
                Some(Action::ReadChain { from: place, after: group.read_to(self.low) })
            }
            Stage::Finish => {
                let up_to = group.last;
                if state.scl >= up_to {
                    return None;
                }
                // One whose log reaches back, if there is one: full segments free log that tails still keep.
                let holders = self.holders(group);
                let reaches = |holder: &usize| {
                    let known = group.members[*holder].state.as_ref();
                    known.is_some_and(|holder| holder.log_start <= state.scl)
                };
                let holder = holders.iter().find(reaches).or_else(|| holders.iter().next())?;
                let from = Place { group: place.group, member: holder };
                Some(Action::Copy { from, to: place, after: state.scl, up_to })
            }
            _ => None,
        }
    }

    /// The result, once everything is durable.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        (self.stage == Stage::Done)
            .then(|| Outcome { points: self.points.clone(), ranges: self.ranges.clone() })
    }

    /// The state of a segment, if it answered.
    #[must_use]
    pub fn state(&self, place: Place) -> Option<&SegmentState> {
        self.groups[place.group].members[place.member].state.as_ref()
    }

    /// A group that cannot be finished although enough of its segments answer: nobody there has the records that were
    /// chosen. It may pass when a segment comes back; opening again under another epoch chooses again.
    #[must_use]
    pub fn stuck(&self) -> bool {
        let lost = |group: &Group| {
            let told = group.who(|s| s.truncations == self.ranges);
            group.quorums.write.met(told) && self.holders(group).is_empty()
        };
        self.stage == Stage::Finish && self.groups.iter().any(lost)
    }

    /// The first group that holds the opening up: its index, how many segments answered, how many are needed.
    #[must_use]
    pub fn lacking(&self) -> Option<(usize, usize, usize)> {
        self.groups.iter().enumerate().find_map(|(index, group)| {
            let answered = group.who(|_| true);
            (!group.quorums.write.met(answered)).then(|| (index, answered.len(), group.quorums.write.size()))
        })
    }
}

impl Group {
    fn read_to(&self, low: Lsn) -> Lsn {
        self.log.links.last().map_or(low, |l| l.lsn)
    }

    fn who(&self, is: impl Fn(&SegmentState) -> bool) -> MemberSet {
        let answered = |(n, m): (usize, &Member)| m.state.as_ref().filter(|s| is(s)).map(|_| n);
        self.members.iter().enumerate().filter_map(answered).collect()
    }
}
