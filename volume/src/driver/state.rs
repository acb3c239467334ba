//! The driver's state: groups and their members, nodes and their connections, the log that is kept for those who lack
//! it. Owned by the driver's one thread; nothing here waits.

use std::collections::{HashMap, VecDeque};
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::{Duration, Instant};

use bytes::Bytes;
use prometheus::IntCounter;
use sextant_meta::{Member as MemberInfo, PgInfo};
use sextant_redo::wire::{Append, Epochs, Reply};
use sextant_redo::{AzId, Lsn, NodeId, SegmentId, SegmentKind, TruncationRange, frame};
use tokio::net::TcpStream;
use tokio::sync::{Notify, oneshot};

use super::read::HedgeBudget;
use crate::group_commit::GroupCommit;
use crate::membership::Membership;
use crate::metrics::METRICS;
use crate::quorum::MemberSet;
use crate::recovery::Place;
use crate::tracker::Tracker;

/// Bytes in front of an appended batch: frame header and request prefix, the same for all six copies.
pub(crate) const BATCH_HEAD: usize = frame::FRAME_HEADER + Append::PREFIX;

/// A sealed batch, encoded once for all six copies.
pub(crate) struct OutBatch {
    pub(crate) head: [u8; BATCH_HEAD],
    pub(crate) bytes: Bytes,
    /// Segment chain link of its first record.
    pub(crate) prev_pg: Lsn,
    pub(crate) last: Lsn,
}

/// What waits to be written to a connection.
pub(crate) enum Outgoing {
    Batch(Rc<OutBatch>),
    /// A whole frame in two parts; the second may be empty.
    Frame(Vec<u8>, Bytes),
}

impl Outgoing {
    pub(crate) fn parts(&self) -> (&[u8], &[u8]) {
        match self {
            Outgoing::Batch(batch) => (&batch.head, &batch.bytes),
            Outgoing::Frame(head, body) => (head, body),
        }
    }

    pub(crate) fn len(&self) -> usize {
        let (head, body) = self.parts();
        head.len() + body.len()
    }
}

/// A request that waits for its reply.
pub(crate) struct Call {
    pub(crate) reply: oneshot::Sender<Reply>,
    /// For page reads: when it was sent.
    pub(crate) read_since: Option<Instant>,
}

pub(crate) struct Link {
    pub(crate) stream: Rc<TcpStream>,
    pub(crate) out: VecDeque<Outgoing>,
    pub(crate) out_bytes: usize,
    /// Bytes of the first of `out` that are written.
    pub(crate) written: usize,
    pub(crate) calls: HashMap<u64, Call>,
    /// Somebody should wait until the socket takes more.
    pub(crate) want_write: Rc<Notify>,
    /// The node has said who it is.
    pub(crate) ready: bool,
    pub(crate) broken: bool,
    pub(crate) frames_received: u64,
    pub(crate) frames_seen: u64,
    pub(crate) idle_ticks: u32,
}

impl Link {
    pub(crate) fn new(stream: Rc<TcpStream>, want_write: Rc<Notify>) -> Link {
        Link {
            stream,
            out: VecDeque::new(),
            out_bytes: 0,
            written: 0,
            calls: HashMap::new(),
            want_write,
            ready: false,
            broken: false,
            frames_received: 0,
            frames_seen: 0,
            idle_ticks: 0,
        }
    }
}

pub(crate) struct Node {
    pub(crate) id: NodeId,
    pub(crate) az: AzId,
    pub(crate) addr: SocketAddr,
    /// A task keeps it connected.
    pub(crate) linked: bool,
    pub(crate) link: Option<Link>,
    /// Counts the connections.
    pub(crate) generation: u64,
    /// Groups whose member on this node has batches to be sent.
    pub(crate) dirty: VecDeque<usize>,
    /// Usual time of a page read.
    pub(crate) read_latency: Option<Duration>,
    pub(crate) last_error: Option<String>,
    pub(crate) counters: NodeCounters,
}

/// This node's counters, looked up once.
pub(crate) struct NodeCounters {
    pub(crate) sends: IntCounter,
    pub(crate) sent_bytes: IntCounter,
    pub(crate) writes: IntCounter,
    pub(crate) acks: IntCounter,
    pub(crate) resends: IntCounter,
    pub(crate) reconnects: IntCounter,
}

impl Node {
    fn new(info: &MemberInfo) -> Node {
        let label = info.node.to_string();
        let counters = NodeCounters {
            sends: METRICS.sends.with_label_values(&[&label]),
            sent_bytes: METRICS.sent_bytes.with_label_values(&[&label]),
            writes: METRICS.writes.with_label_values(&[&label]),
            acks: METRICS.acks.with_label_values(&[&label]),
            resends: METRICS.resends.with_label_values(&[&label]),
            reconnects: METRICS.reconnects.with_label_values(&[&label]),
        };
        Node {
            id: info.node,
            az: info.az,
            addr: info.addr,
            linked: false,
            link: None,
            generation: 0,
            dirty: VecDeque::new(),
            read_latency: None,
            last_error: None,
            counters,
        }
    }

    pub(crate) fn connect(&mut self, link: Link) {
        self.generation += 1;
        self.link = Some(link);
    }

    pub(crate) fn is_ready(&self) -> bool {
        self.link.as_ref().is_some_and(|l| l.ready && !l.broken)
    }

    /// Takes a page read's time into account.
    pub(crate) fn took(&mut self, time: Duration) {
        self.read_latency = Some(match self.read_latency {
            Some(usual) => (usual * 7 + time) / 8,
            None => time,
        });
    }
}

pub(crate) struct Member {
    pub(crate) node: usize,
    /// What its segment keeps.
    pub(crate) kind: SegmentKind,
    pub(crate) created: bool,
    pub(crate) scl: Lsn,
    /// New batches are sent to it.
    pub(crate) live: bool,
    /// A task brings it up to date.
    pub(crate) joining: bool,
    /// Sequence number of the next batch for it.
    pub(crate) next: u64,
    /// One above the highest sequence number ever put on a connection.
    pub(crate) sent: u64,
    /// LSN up to which batches were put on the current connection.
    pub(crate) sent_to: Lsn,
    /// It stands in its node's `dirty`.
    pub(crate) queued: bool,
    /// Acknowledgements so far.
    pub(crate) acks: u64,
    /// SCL and acknowledgements at the last look.
    pub(crate) seen: (Lsn, u64),
    /// VDL and PGMRPL that it was last told by a message of their own.
    pub(crate) told: (Lsn, Lsn),
}

pub(crate) struct Group {
    pub(crate) segment: SegmentId,
    pub(crate) membership: Membership,
    /// By the indices of `membership`, with those who were members once; these are never live.
    pub(crate) members: Vec<Member>,
    /// Batches that some member may still need.
    pub(crate) log: VecDeque<Rc<OutBatch>>,
    /// Sequence number of the first of `log`.
    pub(crate) log_base: u64,
    /// Last record sealed.
    pub(crate) last: Lsn,
}

impl Member {
    pub(crate) fn new(node: usize, info: &MemberInfo) -> Member {
        Member {
            node,
            kind: info.kind,
            created: info.created,
            scl: Lsn::ZERO,
            live: false,
            joining: false,
            next: 0,
            sent: 0,
            sent_to: Lsn::ZERO,
            queued: false,
            acks: 0,
            seen: (Lsn::ZERO, 0),
            told: (Lsn::ZERO, Lsn::ZERO),
        }
    }
}

impl Group {
    pub(crate) fn live(&self) -> MemberSet {
        self.members.iter().enumerate().filter(|(_, m)| m.live).map(|(n, _)| n).collect()
    }

    /// The index of the member on a node.
    pub(crate) fn member_on(&self, node: usize) -> Option<usize> {
        self.membership.members().find(|member| self.members[*member].node == node)
    }

    /// One above the newest batch's sequence number.
    pub(crate) fn log_end(&self) -> u64 {
        self.log_base + self.log.len() as u64
    }
}

pub(crate) struct Core {
    pub(crate) groups: Vec<Group>,
    pub(crate) nodes: Vec<Node>,
    /// Present once the volume is open.
    pub(crate) tracker: Option<Tracker>,
    /// All truncation ranges, in the opening's final list.
    pub(crate) ranges: Vec<TruncationRange>,
    /// Last LSN of the round that is not durable as a whole.
    pub(crate) on_the_way: Option<Lsn>,
    pub(crate) commits: GroupCommit,
    /// When to look at the log again; set while something gathers.
    pub(crate) look_at: Option<Instant>,
    pub(crate) retained_bytes: usize,
    /// Nothing is sent any more.
    pub(crate) stopped: bool,
    pub(crate) next_request: u64,
    pub(crate) reads: u64,
    pub(crate) hedges: HedgeBudget,
}

impl Core {
    pub(crate) fn new() -> Core {
        Core {
            groups: Vec::new(),
            nodes: Vec::new(),
            tracker: None,
            ranges: Vec::new(),
            on_the_way: None,
            commits: GroupCommit::default(),
            look_at: None,
            retained_bytes: 0,
            stopped: false,
            next_request: 1,
            reads: 0,
            hedges: HedgeBudget::full(),
        }
    }

    /// Adds a protection group.
    pub(crate) fn add_group(&mut self, segment: SegmentId, info: &PgInfo) {
        let group = Group {
            segment,
            membership: Membership::new(info),
            members: info.members.iter().map(|member| self.new_member(member)).collect(),
            log: VecDeque::new(),
            log_base: 0,
            last: Lsn::ZERO,
        };
        if let Some(tracker) = &mut self.tracker {
            tracker.add_group(group.membership.quorums().clone(), group.members.len(), Lsn::ZERO);
        }
        self.groups.push(group);
    }

    /// A member on a node that may be new.
    pub(crate) fn new_member(&mut self, info: &MemberInfo) -> Member {
        let known = self.nodes.iter().position(|n| n.id == info.node);
        let node = known.unwrap_or_else(|| {
            self.nodes.push(Node::new(info));
            self.nodes.len() - 1
        });
        Member::new(node, info)
    }

    /// True when a node has a member.
    pub(crate) fn is_used(&self, node: usize) -> bool {
        !self.places_on(node).is_empty()
    }

    /// The nodes that have a member and that nothing keeps connected; somebody does from now on.
    pub(crate) fn unlinked(&mut self) -> Vec<usize> {
        let idle: Vec<usize> =
            (0..self.nodes.len()).filter(|node| !self.nodes[*node].linked && self.is_used(*node)).collect();
        idle.iter().for_each(|node| self.nodes[*node].linked = true);
        idle
    }

    pub(crate) fn member(&mut self, at: Place) -> &mut Member {
        &mut self.groups[at.group].members[at.member]
    }

    pub(crate) fn node_of(&self, at: Place) -> usize {
        self.groups[at.group].members[at.member].node
    }

    /// The members on a node.
    pub(crate) fn places_on(&self, node: usize) -> Vec<Place> {
        let on_node = |(group, g): (usize, &Group)| Some(Place { group, member: g.member_on(node)? });
        self.groups.iter().enumerate().filter_map(on_node).collect()
    }

    /// The request that a reply belongs to, if somebody waits for it.
    pub(crate) fn take_call(&mut self, node: usize, request: u64) -> Option<Call> {
        let node = &mut self.nodes[node];
        let link = node.link.as_mut()?;
        link.frames_received += 1;
        let call = link.calls.remove(&request)?;
        if let Some(since) = call.read_since {
            node.took(since.elapsed());
        }
        Some(call)
    }

    /// An acknowledgement. Fails when there is no such segment.
    pub(crate) fn on_appended(&mut self, node: usize, segment: SegmentId, scl: Lsn) -> Result<(), String> {
        self.nodes[node].counters.acks.inc();
        let group = segment.pg.0 as usize;
        let Some(known) = self.groups.get(group).filter(|g| g.segment == segment) else {
            return Err(format!("an acknowledgement of {segment:?}, which is no segment of this volume"));
        };
        // It may have been a member when the batch was sent.
        let Some(member) = known.member_on(node) else { return Ok(()) };
        self.groups[group].members[member].acks += 1;
        self.acked(Place { group, member }, scl);
        Ok(())
    }

    /// A segment has answered with its SCL.
    pub(crate) fn acked(&mut self, at: Place, scl: Lsn) {
        let member = self.member(at);
        member.scl = member.scl.max(scl);
        if let Some(tracker) = &mut self.tracker {
            tracker.ack(at.group, at.member, scl);
        }
        let group = &mut self.groups[at.group];
        let members = group.membership.members();
        let all = members.map(|m| group.members[m].scl).min().unwrap_or(Lsn::ZERO);
        while let Some(batch) = group.log.pop_front_if(|b| b.last <= all) {
            group.log_base += 1;
            self.retained_bytes -= batch.bytes.len();
        }
    }

    /// Starts or goes on sending to a segment that is complete to `scl`. False when it lacks log that is not kept.
    pub(crate) fn go_live(&mut self, at: Place, scl: Lsn) -> bool {
        let group = &mut self.groups[at.group];
        let at_batch = group.log.partition_point(|b| b.last <= scl);
        let seamless = match group.log.get(at_batch) {
            Some(batch) => batch.prev_pg <= scl,
            None => scl >= group.last,
        };
        let member = &mut group.members[at.member];
        member.scl = scl;
        if seamless {
            member.live = true;
            member.told = (Lsn::ZERO, Lsn::ZERO);
            member.next = group.log_base + at_batch as u64;
        }
        self.acked(at, scl);
        if seamless {
            // The acknowledgement may have dropped batches, but none that this member lacks.
            self.queue(at);
        }
        seamless
    }

    /// Puts a member among those of its node that have something to be sent.
    pub(crate) fn queue(&mut self, at: Place) {
        let end = self.groups[at.group].log_end();
        let member = self.member(at);
        if member.live && !member.queued && member.next < end {
            member.queued = true;
            let node = member.node;
            self.nodes[node].dirty.push_back(at.group);
        }
    }

    /// A segment gets nothing more until it has joined again.
    pub(crate) fn set_away(&mut self, at: Place) {
        let member = self.member(at);
        member.live = false;
        member.sent_to = Lsn::ZERO;
    }

    pub(crate) fn epochs(&self, group: usize, volume: sextant_redo::VolumeEpoch) -> Epochs {
        Epochs { volume, membership: self.groups[group].membership.epoch() }
    }
}
