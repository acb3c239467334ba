//! The network: messages take exponential time, get lost, come twice, and overtake one another unless a run keeps them
//! in order. Cuts take nodes off, both ways or one way.

use std::collections::{BTreeMap, BTreeSet};

use sextant_redo::wire::{Reply, Request};
use sextant_segment_store::core::Ticket;

use super::{Event, World};
use crate::profile::Profile;
use crate::rng::Rng;
use crate::schedule::Time;
use crate::writer::Out;

/// Nodes that are cut off.
pub(super) struct Cut {
    pub(super) nodes: BTreeSet<usize>,
    /// Messages to them are lost.
    pub(super) to: bool,
    /// Messages from them are lost.
    pub(super) from: bool,
}

/// Who asks a storage node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Asker {
    Writer(usize),
    Node(usize),
}

impl Asker {
    /// Its connection to every node.
    pub(super) fn connection(self) -> u64 {
        match self {
            Asker::Writer(number) => 2 * number as u64,
            Asker::Node(node) => 2 * node as u64 + 1,
        }
    }

    fn of(connection: u64) -> Asker {
        let number = (connection / 2) as usize;
        if connection.is_multiple_of(2) { Asker::Writer(number) } else { Asker::Node(number) }
    }

    fn node(self) -> Option<usize> {
        match self {
            Asker::Node(node) => Some(node),
            Asker::Writer(_) => None,
        }
    }
}

/// What is lost between writers and the metadata service.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct MetaCut {
    /// Requests.
    pub(super) to: bool,
    /// Answers.
    pub(super) from: bool,
}

/// Requests that a script loses.
pub(crate) type Filter = fn(usize, &Request) -> bool;

pub(super) struct Network {
    pub(super) meta_cut: MetaCut,
    /// A script loses requests to nodes for which it says so.
    pub(super) filter: Option<Filter>,
    /// Storage nodes do not hear one another.
    pub(super) peers_silent: bool,
    pub(super) cuts: BTreeMap<u64, Cut>,
    pub(super) clogged: BTreeSet<usize>,
    next_cut: u64,
    pub(super) loss_ppm: u64,
    pub(super) duplicate_ppm: u64,
    /// When the last message of a link (who asks, whom, direction) arrives.
    last: BTreeMap<(Asker, usize, bool), Time>,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
}

impl Network {
    pub(super) fn new(profile: &Profile) -> Network {
        Network {
            meta_cut: MetaCut::default(),
            filter: None,
            peers_silent: profile.peers_silent,
            cuts: BTreeMap::new(),
            clogged: BTreeSet::new(),
            next_cut: 0,
            loss_ppm: profile.loss_ppm,
            duplicate_ppm: profile.duplicate_ppm,
            last: BTreeMap::new(),
            lost: 0,
            duplicated: 0,
        }
    }

    pub(super) fn cut(&mut self, cut: Cut) -> u64 {
        self.next_cut += 1;
        self.cuts.insert(self.next_cut, cut);
        self.next_cut
    }

    pub(super) fn end_cut(&mut self, cut: u64) {
        self.cuts.remove(&cut);
    }

    pub(super) fn is_cut(&self, node: usize) -> bool {
        self.cuts.values().any(|cut| cut.nodes.contains(&node))
    }

    /// What is cut off together still hears each other.
    fn blocks(&self, from: Option<usize>, to: Option<usize>) -> bool {
        self.cuts.values().any(|cut| {
            let inside = |end: Option<usize>| end.is_some_and(|node| cut.nodes.contains(&node));
            match (inside(from), inside(to)) {
                (true, false) => cut.from,
                (false, true) => cut.to,
                _ => false,
            }
        })
    }

    fn is_clogged(&self, asker: Asker, node: usize) -> bool {
        self.clogged.contains(&node) || asker.node().is_some_and(|asker| self.clogged.contains(&asker))
    }

    pub(super) fn loses(&mut self, rng: &mut Rng) -> bool {
        let lost = rng.ppm(self.loss_ppm);
        self.lost += u64::from(lost);
        lost
    }

    pub(super) fn delay(&self, rng: &mut Rng, profile: &Profile) -> Time {
        30 + rng.exponential(profile.delay)
    }
}

impl World {
    /// How long a message takes; nothing when it is lost.
    fn ways(&mut self, asker: Asker, node: usize, to: bool) -> Vec<Time> {
        let (near, far) = (asker.node(), Some(node));
        let (from, into) = if to { (near, far) } else { (far, near) };
        if self.network.blocks(from, into) || self.network.loses(&mut self.rng) {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.rng.ppm(self.network.duplicate_ppm));
        self.network.duplicated += copies as u64 - 1;
        let slow = if self.network.is_clogged(asker, node) { 30 } else { 1 };
        (0..copies)
            .map(|_| {
                let mut at = self.schedule.now() + slow * self.network.delay(&mut self.rng, &self.profile);
                if !self.profile.reorder {
                    let last = self.network.last.entry((asker, node, to)).or_default();
                    at = at.max(*last + 1);
                    *last = at;
                }
                at
            })
            .collect()
    }

    pub(super) fn reply(&mut self, node: usize, ticket: Ticket, reply: Reply) {
        let (asker, id) = (Asker::of(ticket.connection), ticket.request);
        for at in self.ways(asker, node, false) {
            let reply = reply.clone();
            let event = match asker {
                Asker::Writer(writer) => Event::ToWriter { writer, node, id, reply },
                Asker::Node(asker) => Event::ToAsker { asker, node, id, reply },
            };
            self.schedule.at(at, event);
        }
    }

    /// A request on its way to a node.
    pub(super) fn ask(&mut self, asker: Asker, node: usize, id: u64, request: &Request) {
        for at in self.ways(asker, node, true) {
            let request = request.clone();
            self.schedule.at(at, Event::ToNode { asker, node, id, request });
        }
    }

    /// Carries what a writer sends, sets its alarms.
    pub(super) fn route(&mut self, writer: usize, out: Out) {
        match out {
            Out::ToNode { node, id, request } => {
                if self.network.filter.is_some_and(|loses| loses(node, &request)) {
                    return;
                }
                self.ask(Asker::Writer(writer), node, id, &request);
            }
            Out::ToMeta { id, request } => {
                self.asked.insert((writer, id), self.schedule.now());
                if !self.network.meta_cut.to && !self.network.loses(&mut self.rng) {
                    let after = self.network.delay(&mut self.rng, &self.profile);
                    self.schedule.after(after, Event::ToMeta { writer, id, request });
                }
            }
            Out::Timer { after, timer } => self.schedule.after(after, Event::Alarm { writer, timer }),
            Out::Opened { .. }
            | Out::Logged { .. }
            | Out::Points { .. }
            | Out::Acked { .. }
            | Out::Page { .. }
            | Out::Refused { .. }
            | Out::Broken { .. }
            | Out::Ended { .. } => {}
        }
    }
}
