//! Dropping volumes and giving copies up, by example; and what must hold of it in every history.

use super::*;

const AT: PgId = PgId(0);

/// Aims at nodes that left a group, mostly under its current epoch.
pub(super) fn aim(state: &MetaState, command: &mut Command) {
    let Command::CopyGone { volume, pg, membership, node } = command else { return };
    let Ok(group) = state.group((*volume, *pg)) else { return };
    if node.0 % 5 > 0 {
        *membership = group.membership;
    }
    if let Some(former) = group.former.iter().nth(node.0 as usize % group.former.len().max(1)) {
        *node = *former;
    }
}

/// Of two states, one command apart.
pub(super) fn check_step(before: &MetaState, after: &MetaState, command: &Command) {
    assert!(before.dropped.is_subset(&after.dropped), "what was dropped stays known as dropped");
    for (id, old) in &before.volumes {
        let Some(new) = after.volumes.get(id) else {
            let told = matches!(command, Command::DropVolume { volume, expected } if (volume, expected) == (id, &old.epoch));
            assert!(told && after.dropped.contains(id), "{id:?} is gone by {command}");
            continue;
        };
        let epoch = old.epoch;
        for (old, new) in old.pgs.iter().zip(&new.pgs) {
            let was_there = |node| old.members.iter().any(|member| member.node == node);
            for member in new.members.iter().filter(|member| !was_there(member.node)) {
                let left = old.left.get(&member.node);
                assert!(left.is_none_or(|left| *left < epoch), "{member:?} left under this very epoch");
            }
            let said = |gone: &NodeId| match command {
                Command::CopyGone { membership, node, .. } => (node, membership) == (gone, &old.membership),
                _ => false,
            };
            assert!(old.former.difference(&new.former).all(said), "taken off by {command}");
        }
    }
    assert!(after.volumes.keys().all(|id| !after.dropped.contains(id)));
}

fn drop_volume(state: &mut MetaState, volume: VolumeId, expected: u64) -> Result<Applied> {
    state.apply(900, &Command::DropVolume { volume, expected: VolumeEpoch(expected) }).0
}

#[test]
fn a_dropped_volume_is_gone_for_good_and_its_name_is_free() {
    let (mut state, index) = cluster(2);
    let volume = create(&mut state, index, "v").unwrap().id;
    grant(&mut state, index + 1, volume, 0).unwrap();
    let fenced = Err(MetaError::Fenced { current: VolumeEpoch(1) });
    assert_eq!(drop_volume(&mut state, volume, 0), fenced, "it was granted meanwhile");
    assert_eq!(drop_volume(&mut state, volume, 1), Ok(Applied::Done));
    assert_eq!(drop_volume(&mut state, volume, 1), Ok(Applied::Done), "idempotent");
    let gone = Err(MetaError::VolumeDropped { id: volume });
    assert_eq!(grant(&mut state, index + 2, volume, 1), gone);
    let add = Command::AddPg { volume, epoch: VolumeEpoch(1), pg: PgId(1), alive: all(&state) };
    assert_eq!(state.apply(index + 3, &add).0.map(|_| VolumeEpoch(0)), gone);
    let unknown = VolumeId(777);
    assert_eq!(drop_volume(&mut state, unknown, 0), Err(MetaError::UnknownVolumeId { id: unknown }));
    let again = create(&mut state, index + 4, "v").unwrap();
    assert_eq!((again.id, again.epoch), (VolumeId(index + 4), VolumeEpoch(0)));
    assert_eq!(drop_volume(&mut state, volume, 1), Ok(Applied::Done));
    assert!(state.volumes.contains_key(&again.id), "the new volume of that name is another one");
}

#[test]
fn a_node_whose_copy_is_gone_can_be_chosen_again_under_another_writer() {
    let (mut state, index) = cluster(3);
    let volume = create(&mut state, index, "v").unwrap().id;
    grant(&mut state, index + 1, volume, 0).unwrap();
    let old = state.group((volume, AT)).unwrap().members[5].node;
    let mut apply = |command: Command| state.apply(900, &command).0.map(|_| ());
    let epoch = VolumeEpoch(1);
    let mark = |node| Command::MarkCreated { volume, epoch, pg: AT, membership: None, nodes: vec![node] };
    let alive: BTreeSet<NodeId> = (0..99).map(NodeId).collect();
    let begin = |old, membership| {
        let (membership, alive) = (MembershipEpoch(membership), alive.clone());
        Command::BeginReplacement { volume, pg: AT, membership, old, automatic: false, alive }
    };
    let gone = |membership| {
        let membership = MembershipEpoch(membership);
        Command::CopyGone { volume, pg: AT, membership, node: old }
    };
    apply(mark(old)).unwrap();
    apply(begin(old, 1)).unwrap();
    let new = state.group((volume, AT)).unwrap().members[6].node;
    let mut apply = |command: Command| state.apply(900, &command).0.map(|_| ());
    apply(mark(new)).unwrap();
    apply(Command::MarkHydrated { volume, epoch, pg: AT, new }).unwrap();
    let membership = MembershipEpoch(2);
    apply(Command::FinishReplacement { volume, pg: AT, membership, old, new }).unwrap();

    let again = begin(new, 3);
    assert!(matches!(apply(again.clone()), Err(MetaError::NotEnoughNodes { .. })), "its copy is still there");
    let stale = Err(MetaError::StaleMembership { current: MembershipEpoch(3) });
    assert_eq!(apply(gone(2)), stale, "what it says is about another time");
    apply(gone(3)).unwrap();
    apply(gone(3)).unwrap();
    let refused = apply(again.clone());
    assert!(
        matches!(refused, Err(MetaError::NotEnoughNodes { .. })),
        "the writer may have missed that it left"
    );
    grant(&mut state, 901, volume, 1).unwrap();
    let epoch = VolumeEpoch(2);
    let mut apply = |command: Command| state.apply(902, &command).0.map(|_| ());
    apply(again).unwrap();
    let group = state.group((volume, AT)).unwrap();
    assert_eq!((group.members[6].node, group.members[6].created, group.former.len()), (old, false, 0));
    let before = state.clone();
    assert_eq!(state.apply(900, &gone(3)).0, Ok(Applied::Done), "of a member it says nothing");
    assert_eq!(state, before);

    // A late word about the copy that is gone says nothing of the one that is not made yet.
    let mark = |membership| {
        let membership = Some(MembershipEpoch(membership));
        Command::MarkCreated { volume, epoch, pg: AT, membership, nodes: vec![old] }
    };
    let stale = Err(MetaError::StaleMembership { current: MembershipEpoch(4) });
    assert_eq!(state.apply(900, &mark(3)).0.map(|_| ()), stale);
    assert_eq!(state, before);
    state.apply(900, &mark(4)).0.unwrap();
    assert!(state.group((volume, AT)).unwrap().members[6].created);
}
