//! A writer process: the real volume opening and tracker, and a deterministic twin of the driver's sending, joining and
//! reading. Events go in, [`Out`]s come out; the world performs them.
//!
//! | module | idea |
//! | --- | --- |
//! | `log` | LSNs, links, batches, rounds |
//! | `send` | members, sending, sending again, acknowledgements |
//! | `task` | conversations of several steps with one segment: opening, truncating, copying, joining |
//! | `serve` | acquiring, opening, begin of service, growing |
//! | `members` | following changes of members, and finishing them |
//! | `client` | the workload: mini-transactions and page reads |

mod client;
mod log;
mod members;
mod send;
mod serve;
mod task;

use std::collections::{BTreeMap, VecDeque};

use bytes::Bytes;
use sextant_meta::MetaError;
use sextant_redo::wire::{Reply, Request, SegmentError};
use sextant_redo::{
    Geometry, Lsn, NodeId, Page, PageId, SegmentId, SegmentKind, TruncationRange, VolumeEpoch,
};
use sextant_volume::membership::Membership;
use sextant_volume::quorum::{Quorum, QuorumSet};
use sextant_volume::recovery::{Place, Recovery};
use sextant_volume::tracker::Tracker;

use crate::meta::{MetaReply, MetaRequest};
use crate::mutant::Mutant;
use crate::profile::Profile;
use crate::rng::Rng;
use crate::schedule::{MS, SECOND, Time};

pub(crate) use client::ReadKind;
use client::{Read, Snapshot};
use log::{Log, OutBatch};
use task::Task;

/// How long a request waits for its answer.
const CALL_TIMEOUT: Time = 400 * MS;
/// Between two looks at what stands still.
const TICK: Time = 40 * MS;
/// An opening gives up.
const OPENING_DEADLINE: Time = 20 * SECOND;
/// How long the only segment with some record may be away.
const STUCK: Time = 2 * SECOND;

/// What a writer wants done, or tells.
#[derive(Debug)]
pub(crate) enum Out {
    ToNode {
        node: usize,
        id: u64,
        request: Request,
    },
    ToMeta {
        id: u64,
        request: MetaRequest,
    },
    Timer {
        after: Time,
        timer: Timer,
    },
    /// An opening is through.
    Opened {
        vdl: Lsn,
        base: Lsn,
    },
    /// A mini-transaction stands in the log.
    Logged {
        first: Lsn,
        cpl: Lsn,
        changes: Vec<(PageId, Lsn, u32)>,
    },
    /// The points moved.
    Points {
        vcl: Lsn,
        vdl: Lsn,
    },
    /// The client was told that its commit is durable.
    Acked {
        cpl: Lsn,
    },
    /// A page came.
    Page {
        page: PageId,
        read_point: Lsn,
        image: Bytes,
        kind: ReadKind,
    },
    /// A copy refused a read.
    Refused {
        read_point: Lsn,
        floor: Lsn,
        error: SegmentError,
    },
    /// An answer that breaks the protocol.
    Broken {
        what: String,
    },
    /// The process ends.
    Ended {
        why: String,
    },
}

/// Alarms of a writer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Timer {
    Tick,
    Renew,
    Commit,
    Call(u64),
    Task(u64),
    Acquire,
}

enum Call {
    Task(u64),
    Read(u64),
    Acquire,
    Renew,
    AddPg,
    Mark(u64),
    /// How far the volume is durable and old was told.
    Advance(Place, (Lsn, Lsn)),
    /// What the volume is like, or a step of a replacement that ends with that.
    Members,
}

/// A mini-transaction whose client waits.
struct Waiting {
    /// Its first record.
    first: Lsn,
    /// Its last record, a consistency point.
    cpl: Lsn,
    /// Index of the last record's group.
    group: usize,
}

struct Member {
    node: usize,
    id: NodeId,
    kind: SegmentKind,
    created: bool,
    scl: Lsn,
    live: bool,
    joining: bool,
    /// Joins that failed in a row: the next one copies from another peer.
    join_failures: usize,
    /// Truncation ranges that it was seen to have (only a mutant looks).
    ranges: Vec<TruncationRange>,
    /// Sequence number of the next batch for it.
    next: u64,
    sent_to: Lsn,
    /// SCL at the last tick, and ticks since it moved.
    seen: Lsn,
    still: u32,
    /// VDL and PGMRPL that it is known to have heard by a message of their own, and whether one is on its way.
    told: (Lsn, Lsn),
    telling: bool,
}

struct Group {
    segment: SegmentId,
    membership: Membership,
    /// By the indices of `membership`, with those who were members once.
    members: Vec<Member>,
    log: VecDeque<OutBatch>,
    log_base: u64,
    last: Lsn,
}

/// See the module.
pub(crate) struct Writer {
    pub(crate) instance: usize,
    pub(crate) alive: bool,
    /// It stands still until then.
    pub(crate) resume_at: Time,
    pub(crate) epoch: VolumeEpoch,
    profile: Profile,
    mutant: Option<Mutant>,
    rng: Rng,
    geometry: Geometry,
    groups: Vec<Group>,
    recovery: Option<Recovery>,
    opening_since: Time,
    stuck_since: Option<Time>,
    tracker: Option<Tracker>,
    log: Option<Log>,
    ranges: Vec<TruncationRange>,
    rounds: VecDeque<Lsn>,
    retained: usize,
    calls: BTreeMap<u64, Call>,
    next_id: u64,
    tasks: BTreeMap<u64, Task>,
    reads: BTreeMap<u64, Read>,
    cache: BTreeMap<PageId, Page>,
    snapshot: Option<Snapshot>,
    /// Mini-transactions that wait for the VDL.
    waiting: VecDeque<Waiting>,
    /// The client logs new mini-transactions.
    pub(crate) working: bool,
    growing: bool,
    /// When the metadata service is asked for the members again.
    ask_members_at: Time,
    /// The step before was refused or not answered: somebody else may have changed the members.
    ask_members_first: bool,
    /// A step of a replacement waits for its answer.
    replacing: bool,
}

impl Writer {
    pub(crate) fn new(instance: usize, profile: &Profile, mutant: Option<Mutant>, rng: Rng) -> Writer {
        Writer {
            instance,
            alive: true,
            resume_at: 0,
            epoch: VolumeEpoch(0),
            profile: profile.clone(),
            mutant,
            rng,
            geometry: Geometry { pages_per_pg: profile.pages_per_pg },
            groups: Vec::new(),
            recovery: None,
            opening_since: 0,
            stuck_since: None,
            tracker: None,
            log: None,
            ranges: Vec::new(),
            rounds: VecDeque::new(),
            retained: 0,
            calls: BTreeMap::new(),
            next_id: 1,
            tasks: BTreeMap::new(),
            reads: BTreeMap::new(),
            cache: BTreeMap::new(),
            snapshot: None,
            waiting: VecDeque::new(),
            working: true,
            growing: false,
            ask_members_at: 0,
            ask_members_first: false,
            replacing: false,
        }
    }

    /// True while it opens the volume.
    pub(crate) fn is_opening(&self) -> bool {
        self.alive && self.recovery.is_some()
    }

    /// True once it can be written.
    pub(crate) fn is_serving(&self) -> bool {
        self.alive && self.log.is_some()
    }

    pub(crate) fn vdl(&self) -> Lsn {
        self.tracker.as_ref().map_or(Lsn::ZERO, Tracker::vdl)
    }

    pub(crate) fn name(&self) -> String {
        format!("engine-{}", self.instance)
    }

    /// The last record of each group, once it serves.
    pub(crate) fn lasts(&self) -> Vec<(SegmentId, Lsn)> {
        self.groups.iter().map(|g| (g.segment, g.last)).collect()
    }

    /// True when nothing waits for a commit, a read or a segment.
    pub(crate) fn is_idle(&self) -> bool {
        self.is_serving() && self.waiting.is_empty() && self.rounds.is_empty() && !self.growing
    }

    /// Most commits and requests that may wait, against what does.
    pub(crate) fn load(&self) -> (usize, usize) {
        (self.waiting.len(), self.calls.len() + self.tasks.len())
    }

    /// The quorums of a group as this writer takes them.
    fn quorums(&self, mut quorums: QuorumSet, opening: bool) -> QuorumSet {
        let of = sextant_volume::quorum::MemberSet::first(6);
        match self.mutant {
            Some(Mutant::AckAtThree) if !opening => {
                quorums.write = Quorum::AtLeast { needed: 3, of };
            }
            Some(Mutant::OpenAtTwo) if opening => {
                quorums.write = Quorum::AtLeast { needed: 2, of };
            }
            Some(Mutant::TailCountsAsFull) if !opening => {
                quorums.write = tails_as_full(quorums.write);
            }
            _ => {}
        }
        quorums
    }

    fn call(&mut self, node: usize, request: Request, what: Call, out: &mut Vec<Out>) {
        let id = self.id(what, out);
        out.push(Out::ToNode { node, id, request });
    }

    fn call_meta(&mut self, request: MetaRequest, what: Call, out: &mut Vec<Out>) {
        let id = self.id(what, out);
        out.push(Out::ToMeta { id, request });
    }

    fn id(&mut self, what: Call, out: &mut Vec<Out>) -> u64 {
        let id = self.next_id;
        self.next_id += 1;
        self.calls.insert(id, what);
        out.push(Out::Timer { after: CALL_TIMEOUT, timer: Timer::Call(id) });
        id
    }

    /// A storage node has answered.
    pub(crate) fn on_reply(&mut self, node: usize, id: u64, reply: Reply, out: &mut Vec<Out>) {
        match &reply {
            Reply::Appended { segment, scl } => self.on_appended(node, *segment, *scl, out),
            Reply::Error(SegmentError::Fenced { current }) if *current > self.epoch => {
                return self.end(format!("fenced by {current:?}"), out);
            }
            Reply::Error(SegmentError::StaleMembership { .. })
                if self.recovery.is_some() && self.calls.contains_key(&id) =>
            {
                // Another writer recorded a change that this opening's grant does not know.
                self.recovery = None;
                self.tasks.clear();
                self.acquire(out);
            }
            Reply::Error(error) => {
                if matches!(error, SegmentError::StaleMembership { .. }) {
                    self.ask_members_at = 0;
                }
                self.on_refused(node, id);
            }
            _ => {}
        }
        match self.calls.remove(&id) {
            Some(Call::Task(task)) => self.on_task_reply(task, Some(reply), out),
            Some(Call::Read(read)) => self.on_read_reply(read, Some(reply), out),
            Some(Call::Advance(at, points)) => {
                let heard = matches!(reply, Reply::State(_));
                self.on_told(at, heard.then_some(points));
            }
            _ => {}
        }
        self.settle(out);
    }

    /// The metadata service has answered.
    pub(crate) fn on_meta(
        &mut self,
        now: Time,
        id: u64,
        reply: Result<MetaReply, MetaError>,
        out: &mut Vec<Out>,
    ) {
        let Some(call) = self.calls.remove(&id) else { return };
        if let (Err(MetaError::Fenced { current }), false) = (&reply, matches!(call, Call::Acquire)) {
            return self.end(format!("the metadata service is at {current:?}"), out);
        }
        if matches!(reply, Err(MetaError::VolumeDropped { .. })) {
            return self.end("the volume was dropped".to_owned(), out);
        }
        match call {
            Call::Acquire => self.on_grant(now, reply, out),
            Call::Renew => out.push(Out::Timer { after: 333 * MS, timer: Timer::Renew }),
            Call::AddPg => self.on_grown(reply.ok(), out),
            Call::Mark(task) => self.on_marked(task, reply.is_ok(), out),
            Call::Members => self.on_members(reply.ok(), out),
            Call::Task(_) | Call::Read(_) | Call::Advance(..) => {}
        }
        self.settle(out);
    }

    /// An alarm.
    pub(crate) fn on_timer(&mut self, now: Time, timer: &Timer, out: &mut Vec<Out>) {
        match timer {
            Timer::Tick => self.tick(now, out),
            Timer::Renew => {
                let request = MetaRequest::Renew { instance: self.name(), epoch: self.epoch };
                self.call_meta(request, Call::Renew, out);
            }
            Timer::Commit => self.client(out),
            Timer::Acquire => self.acquire(out),
            Timer::Task(task) => self.on_task_pause_over(*task, out),
            Timer::Call(id) => match self.calls.remove(id) {
                None => {}
                Some(Call::Task(task)) => self.on_task_reply(task, None, out),
                Some(Call::Mark(task)) => self.on_marked(task, false, out),
                Some(Call::Read(read)) => self.on_read_reply(read, None, out),
                Some(Call::Acquire) => self.acquire(out),
                Some(Call::Renew) => out.push(Out::Timer { after: 50 * MS, timer: Timer::Renew }),
                Some(Call::AddPg) => self.growing = false,
                Some(Call::Advance(at, _)) => self.on_told(at, None),
                Some(Call::Members) => self.on_members(None, out),
            },
        }
        self.settle(out);
    }

    fn end(&mut self, why: String, out: &mut Vec<Out>) {
        if std::mem::take(&mut self.alive) {
            out.push(Out::Ended { why });
        }
    }

    fn node_of(&self, at: Place) -> usize {
        self.groups[at.group].members[at.member].node
    }

    fn member(&mut self, at: Place) -> &mut Member {
        &mut self.groups[at.group].members[at.member]
    }

    fn epochs(&self, group: usize) -> sextant_redo::wire::Epochs {
        sextant_redo::wire::Epochs { volume: self.epoch, membership: self.groups[group].membership.epoch() }
    }
}

/// A mutant's quorum: three tails are as good as three full segments.
fn tails_as_full(quorum: Quorum) -> Quorum {
    match quorum {
        Quorum::All(parts) => Quorum::All(parts.into_iter().map(tails_as_full).collect()),
        Quorum::Any(mut parts) => {
            if let [Quorum::AtLeast { of: members, .. }, Quorum::AtLeast { needed, of: full }] = parts[..] {
                let of = members.iter().filter(|member| !full.contains(*member)).collect();
                parts.push(Quorum::AtLeast { needed, of });
            }
            Quorum::Any(parts)
        }
        plain => plain,
    }
}
