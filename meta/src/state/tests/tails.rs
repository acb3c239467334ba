//! Volumes of full segments and tails: where they go, who succeeds them, how they are stored.

use super::*;

/// In each zone a full segment and a tail, and so in every choice between members and successors.
pub(super) fn check(state: &MetaState, volume: &VolumeRecord, pg: &PgRecord) {
    let zone = |node: &NodeId| state.nodes[node].az;
    for az in (0..AZS as u16).map(AzId) {
        let seats = pg.members[..6].iter().filter(|member| zone(&member.node) == az);
        let tails = seats.filter(|member| !member.kind.is_full()).count();
        assert_eq!(tails, usize::from(volume.segments == Segments::FullTail), "tails in zone {az}");
    }
    for Replacement { old, new, .. } in &pg.replacements {
        let kind = |node| pg.members.iter().find(|member| member.node == node).map(|member| member.kind);
        assert_eq!(kind(*old), kind(*new), "a successor is of another kind");
    }
}

fn full_nodes(volume: &VolumeInfo) -> Vec<NodeId> {
    let members = volume.pgs.iter().flat_map(|pg| &pg.members);
    members.filter(|member| member.kind.is_full()).map(|member| member.node).collect()
}

#[test]
fn full_segments_take_turns_with_tails() {
    let (mut state, index) = cluster(2);
    let volume = create_of(&mut state, index, "v", Segments::FullTail).unwrap();
    check(&state, &state.volumes[&volume.id], &state.volumes[&volume.id].pgs[0]);
    grant(&mut state, index + 1, volume.id, 0).unwrap();
    let alive = all(&state);
    let add = Command::AddPg { volume: volume.id, epoch: VolumeEpoch(1), pg: PgId(1), alive };
    state.apply(index + 2, &add).0.unwrap();
    let grown = state.volume_info(volume.id).unwrap();
    assert_eq!(full_nodes(&grown).into_iter().collect::<BTreeSet<_>>(), all(&state), "one each");
}

/// A zone may lack one of its nodes while the volume grows: pages are served by those who are there.
#[test]
fn a_node_that_is_away_becomes_the_tail() {
    for away in 0..2 {
        let (mut state, index) = cluster(2);
        let volume = create_of(&mut state, index, "v", Segments::FullTail).unwrap().id;
        grant(&mut state, index + 1, volume, 0).unwrap();
        let lost: Vec<NodeId> = (0..3).map(|az| nodes_in(&state, az)[away]).take(2).collect();
        let alive = all(&state).into_iter().filter(|node| !lost.contains(node)).collect();
        let add = Command::AddPg { volume, epoch: VolumeEpoch(1), pg: PgId(1), alive };
        state.apply(index + 2, &add).0.unwrap();
        let members = &state.volumes[&volume].pgs[1].members;
        let tails: Vec<NodeId> = members.iter().filter(|m| !m.kind.is_full()).map(|m| m.node).collect();
        assert!(lost.iter().all(|node| tails.contains(node)), "{lost:?} {tails:?}");
    }
}

fn nodes_in(state: &MetaState, az: u16) -> Vec<NodeId> {
    state.nodes.iter().filter(|(_, node)| node.az == AzId(az)).map(|(id, _)| *id).collect()
}

#[test]
fn a_tail_is_succeeded_by_a_tail() {
    let (mut state, index) = cluster(3);
    let volume = create_of(&mut state, index, "v", Segments::FullTail).unwrap().id;
    let members = state.volumes[&volume].pgs[0].members.clone();
    // In zones of their own: each has one node to spare.
    let of = |zone: usize, kind| {
        let mut there = members[zone * COPIES_PER_AZ..][..COPIES_PER_AZ].iter();
        there.find(|member| member.kind == kind).map(|member| member.node).unwrap()
    };
    for (step, kind) in (1..).zip([SegmentKind::Tail, SegmentKind::Full]) {
        let membership = MembershipEpoch(step);
        let (pg, old, alive) = (PgId(0), of(step as usize, kind), all(&state));
        let begin = Command::BeginReplacement { volume, pg, membership, old, automatic: false, alive };
        state.apply(index + step, &begin).0.unwrap();
        assert_eq!(state.volumes[&volume].pgs[0].members.last().map(|member| member.kind), Some(kind));
    }
}

/// What was stored and sent before there were tails is read, and what has none is stored and sent as it was then.
#[test]
fn six_full_segments_are_written_as_ever() {
    let old = r#"{"CreateVolume":{"name":"v","geometry":{"pages_per_pg":16},"alive":[1]}}"#;
    let command: Command = serde_json::from_str(old).unwrap();
    assert!(matches!(&command, Command::CreateVolume { segments: Segments::Full, .. }));
    assert_eq!(serde_json::to_string(&command).unwrap(), old);
    let (mut state, index) = cluster(2);
    create(&mut state, index, "v").unwrap();
    let text = serde_json::to_string(&state).unwrap();
    assert!(!text.contains("kind") && !text.contains("segments"), "{text}");
    assert_eq!(serde_json::from_str::<MetaState>(&text).unwrap(), state);
    let tails = create_of(&mut state, index + 1, "w", Segments::FullTail).unwrap();
    let text = serde_json::to_string(&tails).unwrap();
    assert!(text.contains(r#""segments":"full-tail""#) && text.contains(r#""kind":"tail""#), "{text}");
    assert_eq!(serde_json::from_str::<VolumeInfo>(&text).unwrap(), tails);
}
