//! Commands to the metadata state machine, as a program and as JSON.
//!
//! What must hold after every command: two replicas are equal; an error has changed nothing; the state survives its own
//! encoding; groups lie on six distinct known nodes, two a zone; epochs, ids and what a node is never go back.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{Ipv4Addr, SocketAddr};

use sextant_meta::WriterInfo;
use sextant_meta::api::Request;
use sextant_meta::state::{Command, MetaState, NodeRecord};
use sextant_redo::{
    AzId, ClusterId, Geometry, MembershipEpoch, NodeId, PgId, Segments, VolumeEpoch, VolumeId,
};

use crate::input::{Input, noise};

/// A history that a program makes.
pub fn commands(data: &[u8]) {
    let mut input = Input::new(data);
    let mut replicas = [MetaState::default(), MetaState::default()];
    let mut index = 0;
    if input.u8() & 1 == 1 {
        // Zones with room, so that volumes can be made at all.
        for uuid in 0..9 {
            index += 1;
            apply(&mut replicas, index, &register(uuid, (uuid % 3) as u16, None));
        }
    }
    while !input.is_empty() && index < 200 {
        index += 1 + u64::from(input.u8() % 3);
        let command = command(&mut input, &replicas[0]);
        apply(&mut replicas, index, &command);
    }
}

/// A history in JSON, and a client's request in JSON.
pub fn json(data: &[u8]) {
    let _ = serde_json::from_slice::<Request>(data);
    let Ok(commands) = serde_json::from_slice::<Vec<Command>>(data) else { return };
    let mut replicas = [MetaState::default(), MetaState::default()];
    for (at, command) in commands.iter().enumerate().take(200) {
        apply(&mut replicas, at as u64 + 1, command);
    }
}

fn apply([one, two]: &mut [MetaState; 2], index: u64, command: &Command) {
    let before = one.clone();
    let outcome = one.apply(index, command);
    let bytes = serde_json::to_vec(command).expect("a command has an encoding");
    let read: Command = serde_json::from_slice(&bytes).expect("what we encode can be read");
    assert_eq!(read, *command);
    assert_eq!(two.apply(index, &read), outcome);
    assert!(one == two, "two replicas that applied the same log differ");
    if outcome.0.is_err() {
        assert!(*one == before, "an error changed something");
    }
    let state = serde_json::to_vec(one).expect("a state has an encoding");
    assert!(serde_json::from_slice::<MetaState>(&state).expect("what we encode can be read") == *one);
    placement(one);
    growth(&before, one);
}

fn placement(state: &MetaState) {
    let names: BTreeSet<_> = state.volumes.values().map(|volume| &volume.name).collect();
    assert_eq!(names.len(), state.volumes.len(), "a name is given once");
    for group in state.volumes.values().flat_map(|volume| &volume.pgs) {
        let nodes: BTreeSet<NodeId> = group.members.iter().map(|member| member.node).collect();
        let mut zones = BTreeMap::new();
        for member in &group.members[..6] {
            *zones.entry(state.nodes[&member.node].az).or_insert(0) += 1;
        }
        let members = 6 + group.replacements.len();
        assert_eq!((nodes.len(), group.members.len()), (members, members));
        assert!(zones.len() == 3 && zones.values().all(|count| *count == 2), "{zones:?}");
    }
}

fn growth(before: &MetaState, after: &MetaState) {
    assert!(before.cluster.is_none() || before.cluster == after.cluster);
    for (id, node) in &before.nodes {
        assert_eq!((&node.uuid, node.az), (&after.nodes[id].uuid, after.nodes[id].az));
    }
    for (id, old) in &before.volumes {
        let new = &after.volumes[id];
        assert_eq!((&old.name, old.geometry), (&new.name, new.geometry));
        assert!(
            new.epoch >= old.epoch
                && new.geometry_epoch >= old.geometry_epoch
                && new.pgs.len() >= old.pgs.len()
        );
        assert!(old.pgs.iter().zip(&new.pgs).all(|(old, new)| new.membership >= old.membership));
    }
}

fn address(port: u16) -> SocketAddr {
    (Ipv4Addr::LOCALHOST, port).into()
}

fn register(uuid: u64, az: u16, cluster: Option<ClusterId>) -> Command {
    let port = 1000 + uuid as u16;
    let node = NodeRecord {
        uuid: format!("uuid-{uuid}"),
        az: AzId(az),
        addr: address(port),
        http: address(port + 1000),
    };
    Command::RegisterNode { node, cluster }
}

fn command(input: &mut Input<'_>, state: &MetaState) -> Command {
    let alive = |input: &mut Input<'_>| {
        let mask = input.u16();
        let known =
            state.nodes.keys().enumerate().filter(|(at, _)| mask >> (at % 16) & 1 == 0).map(|(_, id)| *id);
        known.chain((mask & 0x8000 != 0).then_some(NodeId(999))).collect::<BTreeSet<_>>()
    };
    let name = |input: &mut Input<'_>| ["", "a", "b", "c", "a name with blanks"][input.below(5)].to_owned();
    let volume = |input: &mut Input<'_>| {
        let known: Vec<_> = state.volumes.keys().collect();
        match input.below(known.len() + 1) {
            0 => VolumeId(input.number()),
            n => *known[n - 1],
        }
    };
    // The epoch that is current, or any.
    let epoch = |input: &mut Input<'_>, id: VolumeId| match (input.u8() & 3, state.volumes.get(&id)) {
        (1.., Some(volume)) => volume.epoch,
        _ => VolumeEpoch(input.number()),
    };
    let cluster = |input: &mut Input<'_>| match input.u8() & 3 {
        0 => Some(ClusterId(u128::from(input.u8()))),
        1 => state.cluster,
        _ => None,
    };
    match input.u8() % 11 {
        0 => Command::InitCluster { cluster: ClusterId(u128::from(input.u8())) },
        1 => Command::JoinMember { id: input.number() & 3, uuid: name(input) },
        2 => register(u64::from(input.u8() % 16), u16::from(input.u8() % 4), cluster(input)),
        3 => {
            let geometry = Geometry { pages_per_pg: input.number() };
            let segments = if input.u8() & 1 == 0 { Segments::Full } else { Segments::FullTail };
            Command::CreateVolume { name: name(input), geometry, segments, alive: alive(input) }
        }
        4 => {
            let volume = volume(input);
            let text = name(input);
            let (instance, advertise, http) = (text.clone(), text.clone(), text);
            let writer = WriterInfo { instance, advertise, http, epoch: VolumeEpoch(input.number()) };
            Command::Acquire { volume, expected: epoch(input, volume), writer }
        }
        5 => {
            let volume = volume(input);
            Command::Release { volume, instance: name(input), epoch: epoch(input, volume) }
        }
        6 => {
            let volume = volume(input);
            let next = state.volumes.get(&volume).map_or(0, |v| v.pgs.len() as u32);
            let pg = if input.u8() & 3 == 0 { PgId(input.number() as u32) } else { PgId(next) };
            Command::AddPg { volume, epoch: epoch(input, volume), pg, alive: alive(input) }
        }
        7 => {
            let volume = volume(input);
            let pg = PgId(input.number() as u32);
            Command::MarkCreated {
                volume,
                epoch: epoch(input, volume),
                pg,
                membership: None,
                nodes: alive(input).into_iter().collect(),
            }
        }
        _ => {
            let volume = volume(input);
            let pg = PgId(u32::from(input.u8() & 1));
            let (epoch, alive) = (epoch(input, volume), alive(input));
            replacing(input, state, (volume, pg), epoch, alive)
        }
    }
}

/// A step of a replacement: of members that exist, mostly, and decided on the current membership, mostly.
fn replacing(
    input: &mut Input<'_>,
    state: &MetaState,
    (volume, pg): (VolumeId, PgId),
    epoch: VolumeEpoch,
    alive: BTreeSet<NodeId>,
) -> Command {
    let group = state.group((volume, pg)).ok();
    let membership = match (input.u8() & 7, group) {
        (1.., Some(group)) => group.membership,
        _ => MembershipEpoch(input.number()),
    };
    let members: Vec<NodeId> = group.map_or(vec![], |g| g.members.iter().map(|m| m.node).collect());
    let old = match input.below(members.len() + 1) {
        0 => NodeId(input.number()),
        n => members[n - 1],
    };
    let under_way = group.and_then(|group| group.replacements.first());
    let (seat, new) = under_way.map_or((old, old), |under_way| (under_way.old, under_way.new));
    match input.u8() % 5 {
        0 | 1 => {
            let automatic = input.u8() & 1 == 0;
            Command::BeginReplacement { volume, pg, membership, old, automatic, alive }
        }
        2 => Command::MarkHydrated { volume, epoch, pg, new },
        3 => Command::FinishReplacement { volume, pg, membership, old: seat, new },
        _ => Command::RevertReplacement { volume, pg, membership, old: seat, new },
    }
}

/// Programs that begin with a cluster that has room.
#[must_use]
pub fn command_seeds() -> Vec<Vec<u8>> {
    let mut seeds: Vec<_> = (0..6).map(|n| [&[1], &noise(n + 40, 40 << n)[..]].concat()).collect();
    seeds.push(noise(50, 300));
    seeds
}

/// Histories and requests as JSON.
#[must_use]
pub fn json_seeds() -> Vec<Vec<u8>> {
    let histories = command_seeds().into_iter().map(|program| {
        let mut input = Input::new(&program);
        let mut state = MetaState::default();
        let mut history: Vec<_> = (0..6).map(|uuid| register(uuid, (uuid % 3) as u16, None)).collect();
        history.iter().enumerate().for_each(|(at, command)| drop(state.apply(at as u64 + 1, command)));
        for _ in 0..8 {
            let command = command(&mut input, &state);
            history.push(command.clone());
            drop(state.apply(history.len() as u64, &command));
        }
        serde_json::to_vec(&history).expect("commands have an encoding")
    });
    let requests = [
        Request::Cluster,
        Request::Heartbeat { node: NodeId(3) },
        Request::Volume { name: "a".to_owned() },
        Request::Renew { volume: VolumeId(1), instance: "a".to_owned(), epoch: VolumeEpoch(1) },
    ];
    histories
        .chain(requests.iter().map(|r| serde_json::to_vec(r).expect("requests have an encoding")))
        .collect()
}
