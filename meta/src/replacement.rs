//! Which silent storage nodes the leader replaces by itself: a pure decision over the state and what the leader has
//! heard. It only begins and reverts replacements; writers bring successors up to date and finish.
//!
//! What must hold:
//! - one replacement at a time in a group, and few in a cluster: copying must not crowd out what still works;
//! - a node that is heard again before its successor is hydrated stays, and the successor goes;
//! - what an operator began is the operator's: it is neither reverted nor counted here.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use sextant_redo::{NodeId, PgId, VolumeId};

use crate::Replacement;
use crate::state::{Command, MetaState, PgRecord};

/// Replacements under way at a time that the leader began by itself.
pub const AUTOMATIC_MAX: usize = 8;

/// What the leader knows of the storage nodes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Nodes that live.
    pub alive: BTreeSet<NodeId>,
    /// How long the others have said nothing while this leader listened.
    pub silent: BTreeMap<NodeId, Duration>,
}

impl Heard {
    /// Judges each node by when it was heard last (if ever), at a leader that listens since `led`.
    #[must_use]
    pub fn judge(
        nodes: impl Iterator<Item = (NodeId, Option<Duration>)>,
        led: Duration,
        now: Duration,
        fresh: Duration,
    ) -> Heard {
        let mut heard = Heard::default();
        for (node, last) in nodes {
            let silence = now.saturating_sub(last.unwrap_or(Duration::ZERO).max(led));
            if last.is_some_and(|last| now.saturating_sub(last) < fresh) {
                heard.alive.insert(node);
            } else {
                heard.silent.insert(node, silence);
            }
        }
        heard
    }

    fn dead(&self, node: NodeId, after: Duration) -> bool {
        self.silent.get(&node).is_some_and(|silence| *silence >= after)
    }
}

/// The steps to take now. Each names the membership epoch that it was decided on, so one that comes late is refused.
#[must_use]
pub fn decide(state: &MetaState, heard: &Heard, after: Duration) -> Vec<Command> {
    let groups = || {
        let numbered = |(id, volume): (&VolumeId, &'_ crate::state::VolumeRecord)| {
            let id = *id;
            (0..volume.pgs.len()).map(move |pg| (id, PgId(pg as u32))).collect::<Vec<_>>()
        };
        state.volumes.iter().flat_map(numbered).filter_map(|at| Some((at, state.group(at).ok()?)))
    };
    let automatic = |group: &PgRecord| group.replacements.iter().filter(|r| r.automatic).count();
    let mut under_way: usize = groups().map(|(_, group)| automatic(group)).sum();
    let mut steps = Vec::new();
    for (at, group) in groups() {
        if let Some(back) = group.replacements.iter().find(|r| is_void(r, heard, after)) {
            steps.push(revert(at, group, back));
        } else if group.replacements.is_empty()
            && under_way < AUTOMATIC_MAX
            && let Some(old) = lost(state, at, group, heard, after)
        {
            under_way += 1;
            steps.push(begin(at, group, old, heard));
        }
    }
    steps
}

/// A replacement that the leader began and that came to nothing: the old node is back, or its successor is gone too.
fn is_void(replacement: &Replacement, heard: &Heard, after: Duration) -> bool {
    let Replacement { old, new, hydrated, automatic } = *replacement;
    automatic && !hydrated && (heard.alive.contains(&old) || heard.dead(new, after))
}

/// A member that is lost and can be succeeded.
fn lost(
    state: &MetaState,
    at: (VolumeId, PgId),
    group: &PgRecord,
    heard: &Heard,
    after: Duration,
) -> Option<NodeId> {
    let dead = group.members.iter().map(|member| member.node).filter(|node| heard.dead(*node, after));
    dead.into_iter().find(|node| state.successor(at, *node, &heard.alive).is_ok())
}

fn begin((volume, pg): (VolumeId, PgId), group: &PgRecord, old: NodeId, heard: &Heard) -> Command {
    let (membership, alive) = (group.membership, heard.alive.clone());
    Command::BeginReplacement { volume, pg, membership, old, automatic: true, alive }
}

fn revert((volume, pg): (VolumeId, PgId), group: &PgRecord, replacement: &Replacement) -> Command {
    let Replacement { old, new, .. } = *replacement;
    Command::RevertReplacement { volume, pg, membership: group.membership, old, new }
}

#[cfg(test)]
mod tests {
    use sextant_redo::{AzId, ClusterId, Geometry, Segments};

    use super::*;
    use crate::state::NodeRecord;

    const AFTER: Duration = Duration::from_secs(300);
    const VOLUME: VolumeId = VolumeId(100);

    /// A volume of `groups` groups over `per_az` nodes in each zone, whose ids are 10 times the zone plus a number.
    fn state(per_az: u64, groups: u32) -> MetaState {
        let mut state = MetaState::default();
        let mut apply = |index, command| state.apply(index, &command).0.expect("applies");
        apply(1, Command::InitCluster { cluster: ClusterId(7) });
        for az in 0..3u16 {
            for n in 0..per_az {
                let index = u64::from(az + 1) * 10 + n;
                let addr = ([127, 0, 0, 1], index as u16).into();
                let node = NodeRecord { uuid: format!("disk-{index}"), az: AzId(az), addr, http: addr };
                apply(index, Command::RegisterNode { node, cluster: None });
            }
        }
        let alive: BTreeSet<NodeId> = (0..100).map(NodeId).collect();
        let geometry = Geometry { pages_per_pg: 16 };
        apply(
            VOLUME.0,
            Command::CreateVolume {
                name: "v".to_owned(),
                geometry,
                segments: Segments::Full,
                alive: alive.clone(),
            },
        );
        for pg in 1..groups {
            let epoch = sextant_redo::VolumeEpoch(0);
            let add = Command::AddPg { volume: VOLUME, epoch, pg: PgId(pg), alive: alive.clone() };
            apply(VOLUME.0 + u64::from(pg), add);
        }
        state
    }

    fn heard(state: &MetaState, silent: &[(u64, u64)]) -> Heard {
        let silent: BTreeMap<NodeId, Duration> =
            silent.iter().map(|(node, seconds)| (NodeId(*node), Duration::from_secs(*seconds))).collect();
        let alive = state.nodes.keys().filter(|node| !silent.contains_key(node)).copied().collect();
        Heard { alive, silent }
    }

    fn take(state: &mut MetaState, heard: &Heard) -> usize {
        let steps = decide(state, heard, AFTER);
        for (at, step) in steps.iter().enumerate() {
            state.apply(1000 + at as u64, step).0.expect("what was decided can be done");
        }
        steps.len()
    }

    #[test]
    fn a_node_is_replaced_once_it_was_silent_for_long_enough() {
        let mut state = state(3, 1);
        let soon = heard(&state, &[(30, 299)]);
        assert_eq!(take(&mut state, &soon), 0);
        let late = heard(&state, &[(30, 300)]);
        assert_eq!(take(&mut state, &late), 1);
        let group = state.group((VOLUME, PgId(0))).expect("there");
        let (old, new) = (NodeId(30), NodeId(32));
        assert_eq!(group.replacements, [Replacement { old, new, hydrated: false, automatic: true }]);
        assert_eq!(take(&mut state, &late), 0, "it is under way");
    }

    #[test]
    fn one_at_a_time_in_a_group() {
        let mut state = state(3, 1);
        let two = heard(&state, &[(30, 400), (20, 400)]);
        assert_eq!(take(&mut state, &two), 1);
        assert_eq!(take(&mut state, &two), 0);
    }

    #[test]
    fn a_node_that_returns_first_stays() {
        let mut state = state(3, 1);
        let gone = heard(&state, &[(30, 400)]);
        take(&mut state, &gone);
        let back = heard(&state, &[]);
        assert_eq!(take(&mut state, &back), 1);
        let group = state.group((VOLUME, PgId(0))).expect("there");
        assert!(group.replacements.is_empty() && group.members.iter().any(|m| m.node == NodeId(30)));
        assert_eq!(take(&mut state, &back), 0);
    }

    #[test]
    fn a_hydrated_successor_stays_and_a_lost_one_is_given_up() {
        let mut state = state(4, 1);
        let gone = heard(&state, &[(30, 400)]);
        take(&mut state, &gone);
        let both = heard(&state, &[(30, 900), (32, 400)]);
        assert_eq!(take(&mut state, &both), 1, "the successor is lost: reverted");
        assert_eq!(take(&mut state, &both), 1, "and another one chosen");
        let pending = state.group((VOLUME, PgId(0))).expect("there").replacements.clone();
        assert_eq!((pending[0].old, pending[0].new), (NodeId(30), NodeId(33)));
        state.volumes.get_mut(&VOLUME).expect("there").pgs[0].replacements[0].hydrated = true;
        let back = heard(&state, &[]);
        assert_eq!(take(&mut state, &back), 0);
    }

    #[test]
    fn what_an_operator_began_is_left_alone() {
        let mut state = state(3, 1);
        let all = heard(&state, &[]);
        let (volume, pg, old) = (VOLUME, PgId(0), NodeId(30));
        let membership = state.group((volume, pg)).expect("there").membership;
        let alive = all.alive.clone();
        let begin = Command::BeginReplacement { volume, pg, membership, old, automatic: false, alive };
        state.apply(1000, &begin).0.expect("begins");
        assert_eq!(take(&mut state, &all), 0);
    }

    #[test]
    fn without_a_spare_node_nothing_is_tried() {
        let mut state = state(2, 1);
        let gone = heard(&state, &[(30, 4000)]);
        assert_eq!(take(&mut state, &gone), 0);
    }

    #[test]
    fn few_are_under_way_in_a_cluster() {
        let mut state = state(3, 40);
        let gone = heard(&state, &[(30, 400)]);
        assert_eq!(take(&mut state, &gone), AUTOMATIC_MAX);
        assert_eq!(take(&mut state, &gone), 0);
    }

    #[test]
    fn a_new_leader_counts_silence_from_its_own_beginning() {
        let s = Duration::from_secs;
        let nodes = [(NodeId(1), Some(s(5))), (NodeId(2), None), (NodeId(3), Some(s(99)))];
        let heard = Heard::judge(nodes.into_iter(), s(90), s(100), s(3));
        assert_eq!(heard.alive, [NodeId(3)].into());
        assert_eq!(heard.silent, [(NodeId(1), s(10)), (NodeId(2), s(10))].into());
    }
}
