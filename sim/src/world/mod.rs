//! The world of a run: it dispatches events, carries messages, and checks.
//!
//! | module | idea |
//! | --- | --- |
//! | `network` | delay, loss, duplication, cuts |
//! | `faults` | the fault atlas: what strikes, what is allowed at once, how it is healed |
//! | `checks` | what a writer tells, against model and invariants |
//! | `replace` | an operator who replaces members |
//! | `phases` | faults, healing, convergence, the comparison at the end |
//! | `stage` | what a script sees and may do |

mod checks;
mod faults;
mod network;
mod phases;
mod replace;
mod stage;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use sextant_meta::MetaError;
use sextant_meta::state::COPIES_PER_AZ;
use sextant_redo::wire::{Reply, Request, SegmentError};
use sextant_redo::{Geometry, Lsn, PAGE_SIZE, PgId};
use sextant_segment_store::core::Ticket;

use crate::clock::Clock;
use crate::disk::{Crash, Reliability};
use crate::invariants::i02_points::Points;
use crate::invariants::i08_membership::Membership;
use crate::invariants::i10_metadata::Asked;
use crate::invariants::{Checked, Violation, i01_durability, i06_no_lie, i11_liveness};
use crate::meta::{Meta, MetaReply, MetaRequest};
use crate::model::Model;
use crate::mutant::Mutant;
use crate::node::peers::Call;
use crate::node::{Lost, NodeOut, StorageNode};
use crate::profile::Profile;
use crate::rng::Rng;
use crate::scenario::Scenario;
use crate::schedule::{MS, SECOND, Schedule, Time};
use crate::stats::Stats;
use crate::writer::{Out, Timer, Writer};
use network::{Asker, MetaCut, Network};
use phases::Phase;
use stage::Stage;

/// A run that found something.
#[derive(Debug, Clone)]
pub struct Failure {
    /// What does not hold.
    pub violation: Violation,
    /// Virtual time.
    pub at: Time,
}

/// What came of a seed.
#[derive(Debug, Clone)]
pub struct Run {
    /// Counts.
    pub stats: Stats,
    /// Hash over all events.
    pub hash: u64,
    /// What was found.
    pub failure: Option<Failure>,
    /// The last events, when traced.
    pub trace: Vec<String>,
}

enum Event {
    ToNode { asker: Asker, node: usize, id: u64, request: Request },
    ToAsker { asker: usize, node: usize, id: u64, reply: Reply },
    ToWriter { writer: usize, node: usize, id: u64, reply: Reply },
    ToMeta { writer: usize, id: u64, request: MetaRequest },
    FromMeta { writer: usize, id: u64, reply: Result<MetaReply, MetaError> },
    Node { node: usize, life: u64, number: u64 },
    Start { node: usize },
    Alarm { writer: usize, timer: Timer },
    Supervise,
    Fault,
    Replace,
    EndCut(u64),
    EndClog(usize),
    EndSlow(usize),
    EndFull(usize),
    EndPause,
    MetaBack,
    EndMetaCut,
    EndDeposed,
    EndStandstill(Clocked),
    Heal,
    Look,
}

/// A process with a clock.
#[derive(Debug, Clone, Copy)]
enum Clocked {
    Meta(usize),
    Writer(usize),
}

/// A writer process and what is known of it from outside.
struct Process {
    writer: Writer,
    clock: Clock,
    points: Points,
    last_ack: Lsn,
}

pub(crate) struct World {
    schedule: Schedule<Event>,
    rng: Rng,
    /// Draws replacements of members.
    operator: Rng,
    profile: Profile,
    mutant: Option<Mutant>,
    nodes: Vec<StorageNode>,
    meta: Meta,
    meta_away: bool,
    /// The next grant is applied, and its answer lost.
    lose_grant: bool,
    /// The current opening dies after so many more answers.
    opening_dies: Option<u64>,
    stage: Stage,
    /// Running writers by number; numbers are not reused.
    writers: BTreeMap<usize, Process>,
    next_writer: usize,
    /// The writer that should be working.
    current: usize,
    network: Network,
    model: Model,
    phase: Phase,
    /// The node whose disk may be bad.
    liar: usize,
    stats: Stats,
    hash: u64,
    last_ack: Time,
    /// When each request to the metadata service left, by writer and id.
    asked: BTreeMap<(usize, u64), Time>,
    /// Events for processes that stand still.
    held: Vec<Event>,
    /// What the metadata service has said of the volume's epoch.
    history: Vec<Asked>,
    /// Members of each group when they last changed.
    memberships: BTreeMap<PgId, Membership>,
    /// Pages that the comparison at the end still waits for.
    pages_left: u64,
    tracing: bool,
    trace: Vec<String>,
    outs: Vec<Out>,
    node_outs: Vec<NodeOut>,
}

/// Events of one run at most: a run that does not end is a fault of its own.
const EVENTS_MAX: u64 = 2_000_000;
/// Trace lines kept.
const TRACE_LINES: usize = 4_000;

/// Runs a seed.
#[must_use]
pub fn run(seed: u64, mutant: Option<Mutant>, tracing: bool) -> Run {
    let mut rng = Rng::new(seed);
    let profile = Profile::of_seed(seed, &mut rng);
    to_end(World::new(seed, rng, profile, mutant, tracing))
}

/// Plays a scenario.
#[must_use]
pub fn play(scenario: &Scenario, mutant: Option<Mutant>, tracing: bool) -> Run {
    let mut profile = Profile::quiet();
    (scenario.profile)(&mut profile);
    let mut world = World::new(0, Rng::new(0), profile, mutant, tracing);
    world.stage.steps = (scenario.steps)().into();
    to_end(world)
}

fn to_end(mut world: World) -> Run {
    let result = catch_unwind(AssertUnwindSafe(|| world.run_to_end()));
    let violation = result.unwrap_or_else(|panic| {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        Err(Violation { invariant: "panic", what: text.unwrap_or_default() })
    });
    world.finish_stats();
    let at = world.schedule.now();
    let failure = violation.err().map(|violation| Failure { violation, at });
    Run { stats: world.stats, hash: world.hash, failure, trace: world.trace }
}

impl World {
    fn new(seed: u64, mut rng: Rng, profile: Profile, mutant: Option<Mutant>, tracing: bool) -> World {
        let geometry = Geometry { pages_per_pg: profile.pages_per_pg };
        let clocks = std::array::from_fn(|_| Clock::ahead(rng.below(SECOND)));
        let shape = (geometry, profile.segments);
        let meta = Meta::new(profile.nodes_per_az, shape, clocks, mutant);
        let nodes: Vec<StorageNode> =
            meta.nodes.iter().map(|id| StorageNode::new(*id, &profile, rng.fork(), mutant)).collect();
        let liar = rng.index(nodes.len());
        let mut world = World {
            schedule: Schedule::default(),
            network: Network::new(&profile),
            rng,
            operator: Rng::new(!seed),
            mutant,
            nodes,
            meta,
            meta_away: false,
            lose_grant: false,
            opening_dies: None,
            stage: Stage::default(),
            writers: BTreeMap::new(),
            next_writer: 0,
            current: 0,
            model: Model::default(),
            phase: Phase::Faults,
            liar,
            stats: Stats { seeds: 1, ..Stats::default() },
            hash: seed,
            last_ack: 0,
            asked: BTreeMap::new(),
            held: Vec::new(),
            history: Vec::new(),
            memberships: BTreeMap::new(),
            pages_left: 0,
            tracing,
            trace: Vec::new(),
            outs: Vec::new(),
            node_outs: Vec::new(),
            profile,
        };
        world.begin();
        world
    }

    fn begin(&mut self) {
        self.nodes[self.liar].disk.set_reliability(Reliability {
            lost_writes_ppm: self.profile.lost_writes_ppm,
            misdirected_ppm: self.profile.misdirected_ppm,
            ..self.profile.reliability
        });
        for node in 0..self.nodes.len() {
            let mut out = std::mem::take(&mut self.node_outs);
            self.nodes[node].run(&mut out);
            self.node_outs = out;
            self.perform_node(node).expect("a new node only waits");
        }
        self.note(|world| format!("{:?}", world.profile));
        self.start_writer(0);
        self.schedule.after(100 * MS, Event::Supervise);
        if !self.profile.faults.is_empty() {
            self.schedule.after(500 * MS, Event::Fault);
        }
        if self.profile.replacements && self.profile.nodes_per_az > COPIES_PER_AZ {
            self.schedule.after(700 * MS, Event::Replace);
        }
        self.schedule.after(self.profile.fault_time, Event::Heal);
    }

    fn note(&mut self, line: impl FnOnce(&World) -> String) {
        if self.tracing {
            let line = format!("{:>10} {}", self.schedule.now(), line(self));
            if self.trace.len() == TRACE_LINES {
                self.trace.drain(..TRACE_LINES / 2);
            }
            self.trace.push(line);
        }
    }

    fn mix(&mut self, value: u64) {
        self.hash = (self.hash ^ value).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    }

    fn run_to_end(&mut self) -> Checked {
        while let Some(event) = self.schedule.pop() {
            self.stats.events += 1;
            if self.stats.events > EVENTS_MAX {
                let what = format!("{EVENTS_MAX} events and no end");
                return Err(Violation { invariant: "I11", what });
            }
            self.mix(self.schedule.now());
            self.dispatch(event)?;
            self.follow_script();
            if self.phase == Phase::Over {
                return Ok(());
            }
        }
        Err(Violation { invariant: "I11", what: "nothing happens any more".into() })
    }

    /// True when the process that the event is for stands still.
    fn is_held(&self, event: &Event) -> bool {
        let resumes = match event {
            Event::ToNode { node, .. } | Event::Node { node, .. } | Event::ToAsker { asker: node, .. } => {
                Some(self.nodes[*node].resume_at)
            }
            Event::ToWriter { writer, .. } | Event::FromMeta { writer, .. } | Event::Alarm { writer, .. } => {
                self.writers.get(writer).map(|process| process.writer.resume_at)
            }
            _ => None,
        };
        resumes.is_some_and(|at| at > self.schedule.now())
    }

    fn dispatch(&mut self, event: Event) -> Checked {
        if self.is_held(&event) {
            self.held.push(event);
            return Ok(());
        }
        match event {
            Event::ToNode { asker, node, id, request } => self.deliver(asker, node, id, request),
            Event::ToAsker { asker, node, id, reply } => self.answer(asker, node, id, reply),
            Event::Node { node, life, number } => self.node_event(node, life, number),
            Event::ToWriter { writer, node, id, reply } => {
                self.mix(id << 8 | u64::from(reply.kind()));
                self.note(|_| format!("writer {writer} <- node {node} #{id:x} {}", brief_reply(&reply)));
                if let Reply::Error(SegmentError::Damaged { what }) = &reply {
                    i06_no_lie::damage_is_real(node, what, self.may_be_damaged(node))?;
                }
                self.with_writer(writer, |w, _, out| w.on_reply(node, id, reply, out))?;
                self.maybe_end_opening(writer);
                Ok(())
            }
            Event::ToMeta { writer, id, request } => self.ask_meta(writer, id, &request),
            Event::FromMeta { writer, id, reply } => {
                self.note(|_| format!("writer {writer} <- meta #{id} {:?}", reply.as_ref().err()));
                self.heard(writer, id, &reply)?;
                self.with_writer(writer, |w, now, out| w.on_meta(now, id, reply, out))
            }
            Event::Alarm { writer, timer } => {
                self.with_writer(writer, |w, now, out| w.on_timer(now, &timer, out))
            }
            Event::Start { node } => self.start_node(node),
            Event::Supervise => self.supervise(),
            Event::Fault => self.fault(),
            Event::Replace => self.replace(),
            Event::EndCut(cut) => {
                self.network.end_cut(cut);
                Ok(())
            }
            Event::EndClog(node) => {
                self.network.clogged.remove(&node);
                Ok(())
            }
            Event::EndSlow(node) => {
                self.nodes[node].slow = 1;
                Ok(())
            }
            Event::EndFull(node) => {
                self.nodes[node].disk.set_full(false);
                Ok(())
            }
            Event::MetaBack => {
                self.meta_away = false;
                Ok(())
            }
            Event::EndMetaCut => {
                self.network.meta_cut = MetaCut::default();
                Ok(())
            }
            Event::EndDeposed => {
                self.meta.end_deposed();
                Ok(())
            }
            Event::EndStandstill(process) => {
                let now = self.schedule.now();
                if let Some(clock) = self.clock(process) {
                    clock.run(now);
                }
                Ok(())
            }
            Event::EndPause => {
                self.release();
                Ok(())
            }
            Event::Heal => self.heal(),
            Event::Look => self.look(),
        }
    }

    fn deliver(&mut self, asker: Asker, node: usize, id: u64, request: Request) -> Checked {
        self.mix(id << 8 | u64::from(request.kind()));
        if !self.nodes[node].up {
            return Ok(());
        }
        self.note(|_| format!("node {node} <- {asker:?} #{id:x} {}", brief_request(&request)));
        let mut out = std::mem::take(&mut self.node_outs);
        let ticket = Ticket { connection: asker.connection(), request: id };
        self.nodes[node].on_request(self.schedule.now(), ticket, request, &mut out);
        self.node_outs = out;
        i11_liveness::queues_are_bounded("a storage node", self.nodes[node].queued())?;
        self.perform_node(node)
    }

    /// A node hears what another one answers.
    fn answer(&mut self, asker: usize, node: usize, id: u64, reply: Reply) -> Checked {
        self.mix(id << 8 | u64::from(reply.kind()));
        if !self.nodes[asker].up {
            return Ok(());
        }
        self.note(|_| format!("node {asker} <- node {node} #{id:x} {}", brief_reply(&reply)));
        match &reply {
            Reply::Error(SegmentError::Damaged { what }) => {
                i06_no_lie::damage_is_real(node, what, self.may_be_damaged(node))?;
            }
            Reply::Pages(part) => self.stats.pages_given += (part.images.len() / PAGE_SIZE) as u64,
            Reply::Log { batches, .. } => self.stats.log_given += batches.len() as u64,
            _ => {}
        }
        let mut out = std::mem::take(&mut self.node_outs);
        self.nodes[asker].on_answer(self.schedule.now(), id, reply, &mut out);
        self.node_outs = out;
        i11_liveness::queues_are_bounded("a storage node", self.nodes[asker].queued())?;
        self.perform_node(asker)
    }

    fn node_event(&mut self, node: usize, life: u64, number: u64) -> Checked {
        if self.nodes[node].life != life {
            return Ok(());
        }
        let mut out = std::mem::take(&mut self.node_outs);
        self.nodes[node].on_event(self.schedule.now(), number, &mut out);
        self.node_outs = out;
        if self.stats.events.is_multiple_of(256) {
            self.nodes[node].check_invariants();
        }
        self.perform_node(node)
    }

    fn perform_node(&mut self, node: usize) -> Checked {
        let mut outs = std::mem::take(&mut self.node_outs);
        for out in outs.drain(..) {
            match out {
                NodeOut::Reply(ticket, reply) => self.reply(node, ticket, reply),
                NodeOut::Call(_) if self.network.peers_silent => {}
                NodeOut::Call(Call { id, to, request }) => {
                    if let Some(peer) = self.meta.nodes.iter().position(|id| *id == to) {
                        self.ask(Asker::Node(node), peer, id, &request);
                    }
                }
                NodeOut::Event { number, after } => {
                    let life = self.nodes[node].life;
                    self.schedule.after(after, Event::Node { node, life, number });
                }
                NodeOut::Started(lost) => self.node_started(node, lost)?,
                NodeOut::Refused => self.node_refused(node)?,
                NodeOut::Ended(why) => self.node_ended(node, why)?,
            }
        }
        self.node_outs = outs;
        Ok(())
    }

    fn node_started(&mut self, node: usize, lost: Lost) -> Checked {
        self.note(|_| format!("node {node} serves again, lost {lost:?}"));
        let damaged = self.nodes[node].disk.is_damaged();
        i01_durability::copy_keeps_its_word(node, lost.as_ref().filter(|_| !damaged))
    }

    fn node_refused(&mut self, node: usize) -> Checked {
        self.note(|world| format!("node {node} does not start: {:?}", world.nodes[node].refuses));
        let damaged = self.nodes[node].disk.is_damaged();
        i06_no_lie::intact_node_starts(node, self.nodes[node].refuses.as_ref(), damaged)?;
        // Full, or its log is damaged: it is tried again, which helps once space is back or the log restored.
        self.schedule.after(SECOND / 2, Event::Start { node });
        Ok(())
    }

    /// A node has ended itself: because a write failed, or for no reason that it should have.
    fn node_ended(&mut self, node: usize, why: Option<String>) -> Checked {
        self.note(|_| format!("node {node} ends itself"));
        self.nodes[node].crash(Crash::Kill);
        let time = self.repair_time();
        self.schedule.after(time, Event::Start { node });
        i11_liveness::nodes_run(node, why.as_ref())
    }

    fn ask_meta(&mut self, writer: usize, id: u64, request: &MetaRequest) -> Checked {
        self.mix(id);
        if self.meta_away {
            return Ok(());
        }
        self.note(|_| format!("meta <- writer {writer} #{id} {request:?}"));
        if self.meta.has_deposed() && (self.stage.all_ask_the_deposed || self.rng.percent(50)) {
            return match self.meta.on_deposed(request) {
                Some(reply) => self.answer_from_meta(writer, id, reply),
                None => Ok(()),
            };
        }
        let up = |node: &usize| self.nodes[*node].up;
        let alive = (0..self.nodes.len()).filter(up).map(|node| self.meta.nodes[node]).collect();
        let reply = self.meta.on(self.schedule.now(), request, alive);
        self.memberships_are_sound()?;
        if matches!(reply, Ok(MetaReply::Granted(_))) && std::mem::take(&mut self.lose_grant) {
            return Ok(());
        }
        self.answer_from_meta(writer, id, reply)
    }

    fn answer_from_meta(&mut self, writer: usize, id: u64, reply: Result<MetaReply, MetaError>) -> Checked {
        let after = self.network.delay(&mut self.rng, &self.profile);
        if !self.network.meta_cut.from && !self.network.loses(&mut self.rng) {
            self.schedule.after(after, Event::FromMeta { writer, id, reply });
        }
        Ok(())
    }

    fn start_node(&mut self, node: usize) -> Checked {
        if self.nodes[node].up || self.nodes[node].is_starting() {
            return Ok(());
        }
        self.stats.restarts += 1;
        self.note(|_| format!("node {node} starts"));
        let mut out = std::mem::take(&mut self.node_outs);
        self.nodes[node].start();
        self.nodes[node].run(&mut out);
        self.node_outs = out;
        self.perform_node(node)
    }

    fn start_writer(&mut self, instance: usize) {
        let number = self.next_writer;
        self.next_writer += 1;
        self.current = number;
        let mut writer = Writer::new(instance, &self.profile, self.mutant, self.rng.fork());
        writer.working = self.phase != Phase::Compare;
        let mut out = Vec::new();
        writer.start(&mut out);
        self.stats.writers += 1;
        self.note(|_| format!("writer {number} (engine-{instance}) starts"));
        let clock = Clock::ahead(self.rng.below(SECOND));
        let process = Process { writer, clock, points: Points::default(), last_ack: Lsn::ZERO };
        self.writers.insert(number, process);
        for out in out {
            self.route(number, out);
        }
    }

    fn with_writer(&mut self, number: usize, act: impl FnOnce(&mut Writer, Time, &mut Vec<Out>)) -> Checked {
        let now = self.schedule.now();
        let Some(process) = self.writers.get_mut(&number) else { return Ok(()) };
        let mut outs = std::mem::take(&mut self.outs);
        act(&mut process.writer, process.clock.read(now), &mut outs);
        let (commits, calls) = process.writer.load();
        let alive = process.writer.alive;
        let mut checked = Ok(());
        for out in outs.drain(..) {
            if checked.is_ok() {
                checked = self.told(number, &out);
            }
            self.route(number, out);
        }
        self.outs = outs;
        if !alive {
            self.writers.remove(&number);
        }
        checked?;
        i11_liveness::queues_are_bounded("a writer", commits + calls)
    }
}

fn brief_request(request: &Request) -> String {
    match request {
        Request::Append(append) => {
            let header = sextant_redo::BatchHeader::decode(&append.batch);
            let range = header.map(|h| (h.epoch, h.prev_pg, h.first, h.last, h.vdl));
            format!("append {:?} {:?} {range:?}", append.segment.pg, append.epochs)
        }
        other => format!("{other:?}"),
    }
}

fn brief_reply(reply: &Reply) -> String {
    match reply {
        Reply::Page { image } => format!("page of {} bytes", image.len()),
        Reply::Log { batches, last } => format!("log of {} bytes to {last}", batches.len()),
        Reply::Pages(part) => {
            let count = part.images.len() / PAGE_SIZE;
            format!("{count} pages as of {}, PGMRPL {}, next {:?}", part.point, part.pgmrpl, part.next)
        }
        other => format!("{other:?}"),
    }
}
