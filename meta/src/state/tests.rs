//! Rules of the state machine, by example and over random histories.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;
use sextant_redo::{AzId, ClusterId, Geometry, NodeId, PgId, VolumeEpoch, VolumeId};

use super::*;

mod leftovers;
mod replacing;
mod tails;

const GEOMETRY: Geometry = Geometry { pages_per_pg: 16 };

fn node(uuid: u64, az: u16) -> NodeRecord {
    NodeRecord {
        uuid: format!("uuid-{uuid}"),
        az: AzId(az),
        addr: ([127, 0, 0, 1], 1000 + uuid as u16).into(),
        http: ([127, 0, 0, 1], 2000 + uuid as u16).into(),
    }
}

fn writer(instance: &str) -> WriterInfo {
    WriterInfo {
        instance: instance.to_owned(),
        advertise: "db:5432".to_owned(),
        http: "db:9000".to_owned(),
        epoch: VolumeEpoch(0),
    }
}

/// A cluster of `per_az` nodes in each zone; the index of the next command.
fn cluster(per_az: u64) -> (MetaState, u64) {
    let mut state = MetaState::default();
    let mut index = 1;
    state.apply(index, &Command::InitCluster { cluster: ClusterId(7) }).0.unwrap();
    for uuid in 0..per_az * 3 {
        index += 1;
        let command = Command::RegisterNode { node: node(uuid, (uuid % 3) as u16), cluster: None };
        state.apply(index, &command).0.unwrap();
    }
    (state, index + 1)
}

fn all(state: &MetaState) -> BTreeSet<NodeId> {
    state.nodes.keys().copied().collect()
}

fn create(state: &mut MetaState, index: u64, name: &str) -> Result<VolumeInfo> {
    create_of(state, index, name, Segments::Full)
}

fn create_of(state: &mut MetaState, index: u64, name: &str, segments: Segments) -> Result<VolumeInfo> {
    let (name, alive) = (name.to_owned(), all(state));
    let command = Command::CreateVolume { name, geometry: GEOMETRY, segments, alive };
    match state.apply(index, &command).0? {
        Applied::Volume(volume) => Ok(volume),
        other => panic!("{other:?}"),
    }
}

fn grant(state: &mut MetaState, index: u64, volume: VolumeId, expected: u64) -> Result<VolumeEpoch> {
    let command = Command::Acquire { volume, expected: VolumeEpoch(expected), writer: writer("a") };
    match state.apply(index, &command).0? {
        Applied::Volume(volume) => Ok(volume.epoch),
        other => panic!("{other:?}"),
    }
}

#[test]
fn the_first_cluster_id_counts() {
    let (mut state, index) = cluster(0);
    let second = state.apply(index, &Command::InitCluster { cluster: ClusterId(8) });
    assert_eq!(second.0, Ok(Applied::Cluster(ClusterId(7))));
}

#[test]
fn a_node_keeps_its_id_and_may_move_its_address_but_not_its_zone() {
    let (mut state, index) = cluster(1);
    let mut moved = node(1, 1);
    moved.addr = ([127, 0, 0, 1], 9999).into();
    let again =
        state.apply(index, &Command::RegisterNode { node: moved.clone(), cluster: Some(ClusterId(7)) });
    assert_eq!(again.0, Ok(Applied::Node(ClusterId(7), NodeId(3))));
    assert_eq!(state.nodes[&NodeId(3)].addr, moved.addr);
    moved.az = AzId(2);
    let elsewhere = state.apply(index + 1, &Command::RegisterNode { node: moved, cluster: None });
    assert!(matches!(elsewhere.0, Err(MetaError::Refused { .. })));
}

#[test]
fn a_node_of_another_cluster_or_of_no_zone_is_refused() {
    let (mut state, index) = cluster(1);
    let foreign = Command::RegisterNode { node: node(9, 0), cluster: Some(ClusterId(8)) };
    let refused = state.apply(index, &foreign).0;
    assert_eq!(refused, Err(MetaError::WrongCluster { ours: ClusterId(7), theirs: ClusterId(8) }));
    let nowhere = Command::RegisterNode { node: node(9, 3), cluster: None };
    assert!(matches!(state.apply(index, &nowhere).0, Err(MetaError::Refused { .. })));
    assert_eq!(state.nodes.len(), 3);
}

#[test]
fn a_member_with_another_folder_is_refused() {
    let (mut state, index) = cluster(0);
    let join = |uuid: &str| Command::JoinMember { id: 1, uuid: uuid.to_owned() };
    assert_eq!(state.apply(index, &join("a")).0, Ok(Applied::Done));
    assert_eq!(state.apply(index + 1, &join("a")).0, Ok(Applied::Done));
    assert!(matches!(state.apply(index + 2, &join("b")).0, Err(MetaError::Refused { .. })));
}

#[test]
fn a_volume_needs_six_living_nodes() {
    let (mut state, index) = cluster(2);
    let mut alive = all(&state);
    alive.pop_first();
    let command =
        Command::CreateVolume { name: "v".to_owned(), geometry: GEOMETRY, segments: Segments::Full, alive };
    assert!(matches!(state.apply(index, &command).0, Err(MetaError::NotEnoughNodes { .. })));
    let volume = create(&mut state, index + 1, "v").unwrap();
    assert_eq!(volume.id, VolumeId(index + 1));
    assert_eq!(create(&mut state, index + 2, "v").unwrap(), volume, "idempotent by name");
}

#[test]
fn a_group_is_added_while_a_zone_is_down_but_not_without_a_write_quorum() {
    let (mut state, index) = cluster(2);
    let volume = create(&mut state, index, "v").unwrap().id;
    grant(&mut state, index + 1, volume, 0).unwrap();
    let mut alive: BTreeSet<NodeId> =
        state.nodes.iter().filter(|(_, node)| node.az != AzId(1)).map(|(id, _)| *id).collect();
    let add = |alive: &BTreeSet<NodeId>| Command::AddPg {
        volume,
        epoch: VolumeEpoch(1),
        pg: PgId(1),
        alive: alive.clone(),
    };
    let spare = alive.pop_first().unwrap();
    assert!(matches!(state.apply(index + 2, &add(&alive)).0, Err(MetaError::NotEnoughNodes { .. })));
    alive.insert(spare);
    let Ok(Applied::Volume(grown)) = state.apply(index + 3, &add(&alive)).0 else { panic!("not added") };
    assert_eq!((grown.pgs.len(), grown.geometry_epoch), (2, GeometryEpoch(2)));
    let again = state.apply(index + 4, &add(&alive)).0;
    assert_eq!(again, Ok(Applied::Volume(grown)), "idempotent");
    let gap = Command::AddPg { volume, epoch: VolumeEpoch(1), pg: PgId(3), alive };
    assert!(matches!(state.apply(index + 5, &gap).0, Err(MetaError::Refused { .. })));
}

#[test]
fn of_two_racing_grants_one_wins() {
    let (mut state, index) = cluster(2);
    let volume = create(&mut state, index, "v").unwrap().id;
    assert_eq!(grant(&mut state, index + 1, volume, 0), Ok(VolumeEpoch(1)));
    assert_eq!(grant(&mut state, index + 2, volume, 0), Err(MetaError::Fenced { current: VolumeEpoch(1) }));
}

#[test]
fn an_old_epoch_changes_nothing() {
    let (mut state, index) = cluster(2);
    let volume = create(&mut state, index, "v").unwrap().id;
    grant(&mut state, index + 1, volume, 0).unwrap();
    grant(&mut state, index + 2, volume, 1).unwrap();
    let before = state.clone();
    let old = VolumeEpoch(1);
    let nodes = vec![state.volumes[&volume].pgs[0].members[0].node];
    for command in [
        Command::AddPg { volume, epoch: old, pg: PgId(1), alive: all(&state) },
        Command::MarkCreated { volume, epoch: old, pg: PgId(0), membership: None, nodes },
        Command::Release { volume, instance: "a".to_owned(), epoch: old },
    ] {
        let fenced = Err(MetaError::Fenced { current: VolumeEpoch(2) });
        assert_eq!(state.apply(index + 3, &command).0, fenced, "{command}");
    }
    assert_eq!(state, before);
}

#[test]
fn release_forgets_the_writer_and_keeps_the_epoch() {
    let (mut state, index) = cluster(2);
    let volume = create(&mut state, index, "v").unwrap().id;
    grant(&mut state, index + 1, volume, 0).unwrap();
    let release = Command::Release { volume, instance: "a".to_owned(), epoch: VolumeEpoch(1) };
    assert_eq!(state.apply(index + 2, &release).0, Ok(Applied::Done));
    assert_eq!(state.apply(index + 3, &release).0, Ok(Applied::Done), "idempotent");
    assert_eq!((&state.volumes[&volume].writer, state.volumes[&volume].epoch), (&None, VolumeEpoch(1)));
}

#[test]
fn created_marks_stay_and_strangers_are_refused() {
    let (mut state, index) = cluster(3);
    let volume = create(&mut state, index, "v").unwrap();
    grant(&mut state, index + 1, volume.id, 0).unwrap();
    let mark = |nodes: Vec<NodeId>| Command::MarkCreated {
        volume: volume.id,
        epoch: VolumeEpoch(1),
        pg: PgId(0),
        membership: None,
        nodes,
    };
    let members: Vec<NodeId> = volume.pgs[0].members.iter().map(|member| member.node).collect();
    state.apply(index + 2, &mark(members[..4].to_vec())).0.unwrap();
    state.apply(index + 3, &mark(members[3..].to_vec())).0.unwrap();
    assert!(state.volumes[&volume.id].pgs[0].members.iter().all(|member| member.created));
    let stranger = all(&state).into_iter().find(|id| !members.contains(id)).unwrap();
    assert!(matches!(state.apply(index + 4, &mark(vec![stranger])).0, Err(MetaError::Refused { .. })));
}

/// Random commands over few names, so that they meet.
fn commands() -> impl Strategy<Value = Vec<Command>> {
    let volume = || (1u64..60).prop_map(VolumeId);
    let epoch = || (0u64..6).prop_map(VolumeEpoch);
    let alive = || proptest::collection::btree_set((1u64..30).prop_map(NodeId), 0..30);
    let one = prop_oneof![
        2 => (1u128..3).prop_map(|id| Command::InitCluster { cluster: ClusterId(id) }),
        1 => (1u64..4, "[ab]").prop_map(|(id, uuid)| Command::JoinMember { id, uuid }),
        8 => (0u64..14, 0u16..4).prop_map(|(uuid, az)| Command::RegisterNode {
            node: node(uuid, if az == 3 { 3 } else { (uuid % 3) as u16 }),
            cluster: None,
        }),
        4 => ("[abc]", alive()).prop_map(|(name, alive)| {
            let segments = if name == "a" { Segments::FullTail } else { Segments::Full };
            Command::CreateVolume { name, geometry: GEOMETRY, segments, alive }
        }),
        4 => (volume(), epoch(), "[xy]")
            .prop_map(|(volume, expected, instance)| Command::Acquire { volume, expected, writer: writer(&instance) }),
        1 => (volume(), "[xy]", epoch())
            .prop_map(|(volume, instance, epoch)| Command::Release { volume, instance, epoch }),
        1 => (volume(), epoch()).prop_map(|(volume, expected)| Command::DropVolume { volume, expected }),
        4 => (volume(), 0u32..2, any::<u8>()).prop_map(|(volume, pg, pick)| {
            let (node, membership) = (NodeId(u64::from(pick)), MembershipEpoch(u64::from(pick % 8)));
            Command::CopyGone { volume, pg: PgId(pg), membership, node }
        }),
        4 => (volume(), epoch(), 0u32..4, alive())
            .prop_map(|(volume, epoch, pg, alive)| Command::AddPg { volume, epoch, pg: PgId(pg), alive }),
        2 => (volume(), epoch(), 0u32..3, proptest::collection::vec((1u64..30).prop_map(NodeId), 0..4))
            .prop_map(|(volume, epoch, pg, nodes)| Command::MarkCreated { volume, epoch, pg: PgId(pg), membership: None, nodes }),
        6 => (volume(), 0u32..2, any::<u8>(), alive(), any::<bool>()).prop_map(|(volume, pg, pick, alive, automatic)| {
            let (old, membership) = (NodeId(u64::from(pick)), MembershipEpoch(u64::from(pick % 8)));
            Command::BeginReplacement { volume, pg: PgId(pg), membership, old, automatic, alive }
        }),
        4 => (volume(), epoch(), 0u32..2, any::<u8>()).prop_map(|(volume, epoch, pg, pick)| {
            Command::MarkHydrated { volume, epoch, pg: PgId(pg), new: NodeId(u64::from(pick)) }
        }),
        4 => (volume(), 0u32..2, any::<u8>(), any::<bool>()).prop_map(|(volume, pg, pick, finish)| {
            let (old, membership) = (NodeId(u64::from(pick)), MembershipEpoch(u64::from(pick % 8)));
            let (pg, new) = (PgId(pg), NodeId(0));
            match finish {
                true => Command::FinishReplacement { volume, pg, membership, old, new },
                false => Command::RevertReplacement { volume, pg, membership, old, new },
            }
        }),
    ];
    proptest::collection::vec(one, 0..200)
}

/// Aims at volumes that exist: ids are log indexes, which random commands rarely hit.
fn aim(state: &MetaState, mut command: Command) -> Command {
    let known: Vec<VolumeId> = state.volumes.keys().copied().collect();
    if let Command::Acquire { volume, .. }
    | Command::Release { volume, .. }
    | Command::DropVolume { volume, .. }
    | Command::CopyGone { volume, .. }
    | Command::AddPg { volume, .. }
    | Command::MarkCreated { volume, .. }
    | Command::BeginReplacement { volume, .. }
    | Command::MarkHydrated { volume, .. }
    | Command::FinishReplacement { volume, .. }
    | Command::RevertReplacement { volume, .. } = &mut command
        && let Some(target) = known.get(volume.0 as usize % (known.len() + 1))
    {
        *volume = *target;
    }
    replacing::aim(state, &mut command);
    leftovers::aim(state, &mut command);
    command
}

fn check_placement(state: &MetaState) {
    for (id, volume) in &state.volumes {
        for (at, pg) in volume.pgs.iter().enumerate() {
            let nodes: BTreeSet<NodeId> = pg.members.iter().map(|member| member.node).collect();
            assert_eq!(nodes.len(), pg.members.len(), "{id:?} pg {at}: distinct nodes");
            assert_eq!(nodes.len(), 6 + pg.replacements.len(), "{id:?} pg {at}: six, and successors");
            let mut per_az = BTreeMap::new();
            for member in &pg.members[..6] {
                *per_az.entry(state.nodes[&member.node].az).or_insert(0) += 1;
            }
            assert_eq!(per_az.values().copied().collect::<Vec<_>>(), [2, 2, 2], "{id:?} pg {at}");
            tails::check(state, volume, pg);
            replacing::check(state, pg);
        }
    }
}

fn check_growth(before: &MetaState, after: &MetaState, command: &Command) {
    assert!(before.cluster.is_none() || before.cluster == after.cluster);
    for (id, node) in &before.nodes {
        assert_eq!((&node.uuid, node.az), (&after.nodes[id].uuid, after.nodes[id].az));
    }
    leftovers::check_step(before, after, command);
    for (id, old) in &before.volumes {
        let Some(new) = after.volumes.get(id) else { continue };
        assert_eq!((&old.name, old.geometry, old.segments), (&new.name, new.geometry, new.segments));
        assert!(new.epoch >= old.epoch && new.geometry_epoch >= old.geometry_epoch);
        assert!(new.writer.as_ref().is_none_or(|writer| writer.epoch == new.epoch));
        for (old, new) in old.pgs.iter().zip(&new.pgs) {
            replacing::check_step(old, new);
        }
    }
}

proptest! {
    #[test]
    fn any_history_keeps_the_rules_and_replays_alike(commands in commands()) {
        let mut state = MetaState::default();
        let mut log = Vec::new();
        for (at, command) in commands.into_iter().enumerate() {
            let index = at as u64 + 1;
            let command = aim(&state, command);
            let before = state.clone();
            let outcome = state.apply(index, &command);
            if outcome.0.is_err() {
                prop_assert_eq!(&state, &before, "an error changed the state: {:?}", command);
            }
            check_growth(&before, &state, &command);
            check_placement(&state);
            let new_ids = state.nodes.keys().filter(|id| !before.nodes.contains_key(id)).map(|id| id.0)
                .chain(state.volumes.keys().filter(|id| !before.volumes.contains_key(id)).map(|id| id.0));
            prop_assert!(new_ids.clone().all(|id| id == index), "ids are log indexes");
            log.push((index, command, outcome));
        }
        // Another replica, through the log's encoding.
        let mut replica = MetaState::default();
        for (index, command, outcome) in &log {
            let bytes = serde_json::to_vec(command).unwrap();
            let decoded: Command = serde_json::from_slice(&bytes).unwrap();
            prop_assert_eq!(&replica.apply(*index, &decoded), outcome);
        }
        prop_assert_eq!(&replica, &state);
        // And through a snapshot.
        let bytes = serde_json::to_vec(&state).unwrap();
        prop_assert_eq!(serde_json::from_slice::<MetaState>(&bytes).unwrap(), state);
    }

    #[test]
    fn segments_spread_evenly(per_az in 2u64..5, groups in 1u32..20) {
        let (mut state, index) = cluster(per_az);
        let volume = create(&mut state, index, "v").unwrap().id;
        grant(&mut state, index + 1, volume, 0).unwrap();
        for pg in 1..groups {
            let alive = all(&state);
            let command = Command::AddPg { volume, epoch: VolumeEpoch(1), pg: PgId(pg), alive };
            state.apply(index + 1 + u64::from(pg), &command).0.unwrap();
        }
        let mut load: BTreeMap<NodeId, u32> = state.nodes.keys().map(|id| (*id, 0)).collect();
        for member in state.volumes[&volume].pgs.iter().flat_map(|pg| &pg.members) {
            *load.get_mut(&member.node).unwrap() += 1;
        }
        let (least, most) = (load.values().min().unwrap(), load.values().max().unwrap());
        prop_assert!(most - least <= 1, "{:?}", load);
    }
}
