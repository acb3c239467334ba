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
    pub(super) cuts: BTreeMap<u64, Cut>,
    pub(super) clogged: BTreeSet<usize>,
    next_cut: u64,
    pub(super) loss_ppm: u64,
    pub(super) duplicate_ppm: u64,
    /// When the last message of a link (writer, node, direction) arrives.
    last: BTreeMap<(usize, usize, bool), Time>,
    pub(super) lost: u64,
    pub(super) duplicated: u64,
}

impl Network {
    pub(super) fn new(profile: &Profile) -> Network {
        Network {
            meta_cut: MetaCut::default(),
            filter: None,
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

    fn blocks(&self, node: usize, to: bool) -> bool {
        self.cuts.values().any(|cut| cut.nodes.contains(&node) && if to { cut.to } else { cut.from })
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
    fn ways(&mut self, writer: usize, node: usize, to: bool) -> Vec<Time> {
        if self.network.blocks(node, to) || self.network.loses(&mut self.rng) {
            return Vec::new();
        }
        let copies = 1 + usize::from(self.rng.ppm(self.network.duplicate_ppm));
        self.network.duplicated += copies as u64 - 1;
        let slow = if self.network.clogged.contains(&node) { 30 } else { 1 };
        (0..copies)
            .map(|_| {
                let mut at = self.schedule.now() + slow * self.network.delay(&mut self.rng, &self.profile);
                if !self.profile.reorder {
                    let last = self.network.last.entry((writer, node, to)).or_default();
                    at = at.max(*last + 1);
                    *last = at;
                }
                at
            })
            .collect()
    }

    pub(super) fn reply(&mut self, node: usize, ticket: Ticket, reply: Reply) {
        let writer = ticket.connection as usize;
        for at in self.ways(writer, node, false) {
            let reply = reply.clone();
            self.schedule.at(at, Event::ToWriter { writer, node, id: ticket.request, reply });
        }
    }

    /// Carries what a writer sends, sets its alarms.
    pub(super) fn route(&mut self, writer: usize, out: Out) {
        match out {
            Out::ToNode { node, id, request } => {
                if self.network.filter.is_some_and(|loses| loses(node, &request)) {
                    return;
                }
                for at in self.ways(writer, node, true) {
                    let request = request.clone();
                    self.schedule.at(at, Event::ToNode { writer, node, id, request });
                }
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
