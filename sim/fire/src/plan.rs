//! Which fault strikes next, drawn from a seed within the fault atlas.
//!
//! What must hold ([`Impaired::allows`]): at most two of six storage nodes are impaired while commits must go on, three when
//! only survival is checked; at most one of three metadata members; the engine one way at a time. A node is impaired from
//! the strike until it has what its peers have. Everything may be killed at once when nothing else is going on.
//!
//! The plan is pure; what really happens, and when, also depends on the machine. So a seed draws the same kinds of faults in
//! every run, and not the same run.

use std::fmt;
use std::time::Duration;

use sextant_sim::rng::Rng;

use crate::cluster::{META, NODES, SMALL_NODE};
use crate::proxy::{Fault, Silence};

/// Storage nodes that may be impaired while commits must go on.
pub const IMPAIRED_MAX: usize = 2;

/// What strikes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Strike {
    /// SIGKILL of storage nodes, together; started again at the end.
    KillNodes(Vec<usize>),
    /// SIGSTOP of a storage node, SIGCONT at the end.
    PauseNode(usize),
    /// A fault of the link to a storage node.
    NodeLink(usize, Fault),
    /// The disk of [`SMALL_NODE`] is filled until it refuses log, then has space again.
    FullDisk,
    /// SIGKILL of a metadata member.
    KillMeta(usize),
    /// SIGSTOP of a metadata member.
    PauseMeta(usize),
    /// A fault of the link to a metadata member.
    MetaLink(usize, Fault),
    /// SIGKILL of the engine.
    KillEngine,
    /// SIGSTOP of the engine until another one serves, then SIGCONT: it must end as fenced.
    ReplaceEngine,
    /// SIGKILL of every process at once.
    KillEverything,
}

/// A drawn fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drawn {
    /// What.
    pub strike: Strike,
    /// For how long at least.
    pub lasts: Duration,
}

/// What is impaired now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Impaired {
    /// Storage nodes.
    pub nodes: [bool; NODES],
    /// Metadata members.
    pub meta: [bool; META],
    /// The engine.
    pub engine: bool,
}

impl Impaired {
    /// Storage nodes that are impaired.
    #[must_use]
    pub fn nodes_down(&self) -> usize {
        self.nodes.iter().filter(|impaired| **impaired).count()
    }

    /// Nothing is impaired.
    #[must_use]
    pub fn is_healthy(&self) -> bool {
        *self == Impaired::default()
    }

    /// Whether the atlas allows the strike now.
    #[must_use]
    pub fn allows(&self, strike: &Strike) -> bool {
        let nodes = |more: usize| self.nodes_down() + more <= IMPAIRED_MAX;
        let member = |member: usize| {
            let others = self.meta.iter().enumerate().any(|(other, down)| *down && other != member);
            !others && !self.meta[member]
        };
        match strike {
            // An AZ and one more: nothing is lost, and commits wait. Only from full health.
            Strike::KillNodes(victims) if victims.len() == 3 => self.is_healthy(),
            Strike::KillNodes(victims) => {
                nodes(victims.len()) && victims.iter().all(|victim| !self.nodes[*victim])
            }
            Strike::PauseNode(victim) | Strike::NodeLink(victim, _) => nodes(1) && !self.nodes[*victim],
            Strike::FullDisk => self.nodes_down() == 0 && !self.engine,
            Strike::KillMeta(victim) | Strike::PauseMeta(victim) | Strike::MetaLink(victim, _) => {
                member(*victim)
            }
            Strike::KillEngine | Strike::ReplaceEngine => !self.engine,
            Strike::KillEverything => self.is_healthy(),
        }
    }
}

/// Draws faults.
#[derive(Debug)]
pub struct Plan {
    rng: Rng,
    full_disk: bool,
}

impl Plan {
    /// The plan of a seed; with `full_disk` the small disk is there to be filled.
    #[must_use]
    pub fn new(seed: u64, full_disk: bool) -> Plan {
        Plan { rng: Rng::new(seed), full_disk }
    }

    /// Time until the next strike.
    pub fn pause(&mut self) -> Duration {
        Duration::from_millis(self.rng.between(200, 1500))
    }

    /// A strike that the atlas allows now; none when what was drawn is not.
    pub fn draw(&mut self, now: &Impaired) -> Option<Drawn> {
        let drawn = self.any();
        let there = self.full_disk || !drawn.strike.needs_small_disk();
        (there && now.allows(&drawn.strike)).then_some(drawn)
    }

    fn any(&mut self) -> Drawn {
        let node = self.rng.index(NODES);
        let member = self.rng.index(META);
        let (strike, (shortest, longest)) = match self.rng.below(100) {
            0..22 => (Strike::KillNodes(vec![node]), (0, 2_000)),
            22..29 => (Strike::KillNodes(zone(node).to_vec()), (500, 4_000)),
            29..32 => (Strike::KillNodes(zone_and_one_more(node, &mut self.rng)), (500, 2_000)),
            32..42 => (Strike::PauseNode(node), (100, 8_000)),
            42..66 => (Strike::NodeLink(node, self.link_fault()), (1_000, 6_000)),
            66..72 => (Strike::KillMeta(member), (0, 3_000)),
            72..75 => (Strike::PauseMeta(member), (100, 5_000)),
            75..81 => (Strike::MetaLink(member, self.link_fault()), (1_000, 6_000)),
            81..90 => (Strike::KillEngine, (0, 1_000)),
            90..94 => (Strike::ReplaceEngine, (0, 2_000)),
            94..97 => (Strike::FullDisk, (500, 2_000)),
            _ => (Strike::KillEverything, (0, 500)),
        };
        Drawn { strike, lasts: Duration::from_millis(self.rng.between(shortest, longest)) }
    }

    fn link_fault(&mut self) -> Fault {
        let millis = Duration::from_millis;
        match self.rng.below(7) {
            0 => Fault::Delay { mean: millis(self.rng.between(1, 100)) },
            1 => Fault::Loss {
                percent: self.rng.between(1, 30) as u8,
                stall: millis(self.rng.between(200, 2_000)),
            },
            2 => Fault::HalfOpen(*pick(&mut self.rng, &[Silence::ToTarget, Silence::FromTarget])),
            3 => Fault::HalfOpen(Silence::Both),
            4 => Fault::Slow { bytes_per_second: self.rng.between(5_000, 200_000) },
            5 => Fault::Reset,
            _ => Fault::Corrupt { every_bytes: self.rng.between(10_000, 200_000) },
        }
    }
}

/// One of each kind that the short run is to see at least once, in an order that the atlas allows.
#[must_use]
pub fn opening() -> Vec<Drawn> {
    let drawn = |strike, millis| Drawn { strike, lasts: Duration::from_millis(millis) };
    vec![
        drawn(Strike::KillNodes(vec![2]), 300),
        drawn(Strike::NodeLink(0, Fault::Corrupt { every_bytes: 30_000 }), 1_500),
        drawn(Strike::FullDisk, 500),
        drawn(Strike::ReplaceEngine, 300),
        drawn(Strike::KillEverything, 0),
        drawn(Strike::KillMeta(0), 500),
    ]
}

fn zone(node: usize) -> [usize; 2] {
    [node / 2 * 2, node / 2 * 2 + 1]
}

fn zone_and_one_more(node: usize, rng: &mut Rng) -> Vec<usize> {
    let zone = zone(node);
    let others: Vec<usize> = (0..NODES).filter(|other| !zone.contains(other)).collect();
    vec![zone[0], zone[1], *pick(rng, &others)]
}

fn pick<'a, T>(rng: &mut Rng, all: &'a [T]) -> &'a T {
    &all[rng.index(all.len())]
}

impl Strike {
    /// Its kind, for counting.
    #[must_use]
    pub fn kind(&self) -> String {
        match self {
            Strike::KillNodes(victims) if victims.len() == 1 => "node killed".to_owned(),
            Strike::KillNodes(victims) if victims.len() == 2 => "zone killed".to_owned(),
            Strike::KillNodes(_) => "zone and one more killed".to_owned(),
            Strike::PauseNode(_) => "node paused".to_owned(),
            Strike::NodeLink(_, fault) => format!("node link {}", fault.kind()),
            Strike::FullDisk => "disk filled".to_owned(),
            Strike::KillMeta(_) => "metadata member killed".to_owned(),
            Strike::PauseMeta(_) => "metadata member paused".to_owned(),
            Strike::MetaLink(_, fault) => format!("metadata link {}", fault.kind()),
            Strike::KillEngine => "engine killed".to_owned(),
            Strike::ReplaceEngine => "engine paused and replaced".to_owned(),
            Strike::KillEverything => "everything killed".to_owned(),
        }
    }

    /// Whether it strikes the small disk.
    #[must_use]
    pub fn needs_small_disk(&self) -> bool {
        *self == Strike::FullDisk
    }

    /// Marks what it impairs.
    pub fn impair(&self, now: &mut Impaired, impaired: bool) {
        match self {
            Strike::KillNodes(victims) => victims.iter().for_each(|victim| now.nodes[*victim] = impaired),
            Strike::PauseNode(victim) | Strike::NodeLink(victim, _) => now.nodes[*victim] = impaired,
            Strike::FullDisk => now.nodes[SMALL_NODE] = impaired,
            Strike::KillMeta(victim) | Strike::PauseMeta(victim) | Strike::MetaLink(victim, _) => {
                now.meta[*victim] = impaired;
            }
            Strike::KillEngine | Strike::ReplaceEngine => now.engine = impaired,
            Strike::KillEverything => {}
        }
    }
}

impl fmt::Display for Strike {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Strike::KillNodes(victims) => {
                let names: Vec<String> = victims.iter().map(|victim| (victim + 1).to_string()).collect();
                write!(f, "{}: {}", self.kind(), names.join(", "))
            }
            Strike::PauseNode(victim) | Strike::KillMeta(victim) | Strike::PauseMeta(victim) => {
                write!(f, "{}: {}", self.kind(), victim + 1)
            }
            Strike::NodeLink(victim, fault) => write!(f, "link to node {}: {fault}", victim + 1),
            Strike::MetaLink(victim, fault) => write!(f, "link to metadata member {}: {fault}", victim + 1),
            Strike::KillEngine | Strike::ReplaceEngine | Strike::FullDisk | Strike::KillEverything => {
                f.write_str(&self.kind())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn no_seed_leaves_the_atlas() {
        let mut kinds = BTreeSet::new();
        for seed in 0..50 {
            let (mut plan, mut now, mut active) = (Plan::new(seed, true), Impaired::default(), Vec::new());
            for _ in 0..400 {
                if let Some(drawn) = plan.draw(&now) {
                    kinds.insert(drawn.strike.kind());
                    drawn.strike.impair(&mut now, true);
                    active.push(drawn.strike);
                }
                let three = active.iter().any(|s| matches!(s, Strike::KillNodes(v) if v.len() == 3));
                assert!(now.nodes_down() <= if three { 3 } else { IMPAIRED_MAX }, "{active:?}");
                assert!(now.meta.iter().filter(|down| **down).count() <= 1, "{active:?}");
                if plan.rng.percent(40) && !active.is_empty() {
                    let over = plan.rng.index(active.len());
                    active.swap_remove(over).impair(&mut now, false);
                }
            }
        }
        assert!(kinds.len() >= 24, "every kind is drawn: {kinds:?}");
    }

    #[test]
    fn a_seed_draws_the_same_plan() {
        let draw = |seed| {
            let mut plan = Plan::new(seed, false);
            (0..50).map(|_| plan.draw(&Impaired::default())).collect::<Vec<_>>()
        };
        assert_eq!(draw(7), draw(7));
        assert_ne!(draw(7), draw(8));
        assert!(!draw(7).iter().flatten().any(|drawn| drawn.strike == Strike::FullDisk));
    }

    #[test]
    fn the_opening_is_within_the_atlas() {
        assert!(opening().iter().all(|drawn| Impaired::default().allows(&drawn.strike)));
    }
}
