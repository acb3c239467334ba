//! Opening a volume as a pure state machine: [`Recovery::actions`] says what to ask of which segment,
//! [`Recovery::on`] takes the answers (protocol.md, "Opening a volume"; P18 section 2.4). No clock, socket or
//! randomness; whoever drives it repeats what fails.
//!
//! 1. **Open**: record the new volume epoch at every segment that can be reached. From a write quorum of a group on, no
//!    older writer can complete anything there.
//! 2. **Align**: give those segments the newest list of truncation ranges that any of them knows, so that none counts
//!    records that an earlier opening declared void.
//! 3. **Chain**: read the record links above the highest point known to be durable from each group's most complete
//!    segment; compute VCL, VDL and each group's last record.
//! 4. **Copy**: bring segments of each group up to that last record until a write quorum has it. Records that only one
//!    copy had may be kept or lost: nobody was told that they are durable. Once kept here, they are.
//! 5. **Truncate**: all known ranges and the own one, at a write quorum of every group that has the data.
//!
//! What must hold:
//! - A range is decided once per epoch: from the first truncation with the own range on, nothing is computed again.
//! - Before any own range is written, a write quorum of every group has its log up to the VDL. So whoever opens next
//!   finds a VDL that is no lower, whether or not it learns of the range.
//! - The newest list of ranges is *the* list: an older range that is missing in it belongs to an opening that never
//!   completed, and what it would void may have been kept since. A segment that has such a range must forget it: a list
//!   replaces, it is not added.

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
    /// It did not work: the segment starts again with [`Action::Open`]. For a copy, both ends are named in turn.
    Failed(Place),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Collect,
    Chain,
    Copy,
    Truncate,
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
            Event::Failed(place) => {
                self.set(place, None);
                let is_source = self.groups[place.group].source == place.member;
                if is_source && (Stage::Chain..Stage::Truncate).contains(&self.stage) {
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
        if self.stage != Stage::Chain || group.source != from.member || group.read || group.read_to(low) != after {
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
            self.stage = Stage::Copy;
        }
        if self.stage == Stage::Copy && self.all_with_log() {
            self.ranges.push(self.own_range());
            self.stage = Stage::Truncate;
        }
        if self.stage == Stage::Truncate && self.all_with_log() {
            self.stage = Stage::Done;
        }
        Ok(())
    }

    fn all(&self, group: impl Fn(&Group) -> bool) -> bool {
        self.groups.iter().all(group)
    }

    /// True when a write quorum of every group has its log up to the VDL and knows the ranges.
    fn all_with_log(&self) -> bool {
        (0..self.groups.len()).all(|group| self.groups[group].quorums.write.met(self.holders(group)))
    }

    /// Who has the group's log up to the VDL. A segment that lacks a range may count records that are void.
    fn holders(&self, group: usize) -> MemberSet {
        let last = self.points.last[group];
        self.groups[group].who(|s| s.scl >= last && s.truncations == self.ranges)
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

    /// Everything at or below is durable: VDLs that an older writer had, and what openings kept.
    fn start_chain(&mut self) {
        let states = self.groups.iter().flat_map(|g| &g.members).filter_map(|m| m.state.as_ref());
        let hints = states.map(|s| s.vdl).max().unwrap_or(Lsn::ZERO);
        let kept = self.ranges.iter().map(|r| r.from).max().unwrap_or(Lsn::ZERO);
        self.low = hints.max(kept);
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
            .flat_map(|group| (0..self.groups[group].members.len()).map(move |member| Place { group, member }))
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
            Stage::Copy | Stage::Truncate => {
                let up_to = self.points.last[place.group];
                if state.scl >= up_to {
                    return None;
                }
                let holder = self.holders(place.group).iter().next()?;
                let from = Place { group: place.group, member: holder };
                Some(Action::Copy { from, to: place, after: state.scl, up_to })
            }
            _ => None,
        }
    }

    /// The result, once everything is durable.
    #[must_use]
    pub fn outcome(&self) -> Option<Outcome> {
        (self.stage == Stage::Done).then(|| Outcome { points: self.points.clone(), ranges: self.ranges.clone() })
    }

    /// The state of a segment, if it answered.
    #[must_use]
    pub fn state(&self, place: Place) -> Option<&SegmentState> {
        self.groups[place.group].members[place.member].state.as_ref()
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
