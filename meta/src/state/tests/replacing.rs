//! Replacing members, by example; and what must hold of it in every history.

use super::*;

const AT: PgId = PgId(0);

/// Aims at members that exist and at what is under way: `old` becomes one of them, and mostly the current epoch is named.
pub(super) fn aim(state: &MetaState, command: &mut Command) {
    let (Command::BeginReplacement { volume, pg, .. }
    | Command::MarkHydrated { volume, pg, .. }
    | Command::FinishReplacement { volume, pg, .. }
    | Command::RevertReplacement { volume, pg, .. }) = &*command
    else {
        return;
    };
    let Ok(group) = state.group((*volume, *pg)) else { return };
    let pending = |pick: NodeId| group.replacements.get(pick.0 as usize % group.replacements.len().max(1));
    match command {
        Command::BeginReplacement { membership, old, .. } => {
            if old.0 % 5 > 0 {
                *membership = group.membership;
            }
            *old = group.members[old.0 as usize % group.members.len()].node;
        }
        Command::MarkHydrated { new, .. } => {
            if let Some(replacement) = pending(*new) {
                *new = replacement.new;
            }
        }
        Command::FinishReplacement { membership, old, new, .. }
        | Command::RevertReplacement { membership, old, new, .. } => {
            if old.0 % 5 > 0 {
                *membership = group.membership;
            }
            if let Some(replacement) = pending(*old) {
                (*old, *new) = (replacement.old, replacement.new);
            }
        }
        _ => {}
    }
}

/// Of one group at any time.
pub(super) fn check(state: &MetaState, group: &PgRecord) {
    assert!(group.replacements.len() <= REPLACEMENTS_MAX);
    let seats: Vec<NodeId> = group.members[..6].iter().map(|member| member.node).collect();
    let successors: Vec<NodeId> = group.members[6..].iter().map(|member| member.node).collect();
    for Replacement { old, new, .. } in &group.replacements {
        assert!(seats.contains(old) && successors.contains(new));
        assert_eq!(state.nodes[old].az, state.nodes[new].az);
    }
    assert!(group.members.iter().all(|member| !group.former.contains(&member.node)));
}

/// Of two states of one group, one command apart.
pub(super) fn check_step(old: &PgRecord, new: &PgRecord) {
    let nodes = |group: &PgRecord| group.members.iter().map(|member| member.node).collect::<Vec<_>>();
    let moved = nodes(old) != nodes(new);
    assert_eq!(new.membership.0 - old.membership.0, u64::from(moved), "one epoch a step, one step an epoch");
    let seats_changed = nodes(old)[..6].iter().zip(&nodes(new)[..6]).filter(|(old, new)| old != new).count();
    let finished = old.replacements.iter().filter(|r| !nodes(new).contains(&r.old)).count();
    assert_eq!(seats_changed, finished);
    for replacement in old.replacements.iter().filter(|r| !nodes(new).contains(&r.old)) {
        assert!(replacement.hydrated, "finished although its successor lacks log");
    }
}

struct Cluster {
    state: MetaState,
    index: u64,
    volume: VolumeId,
    epoch: u64,
}

impl Cluster {
    /// Three nodes a zone, an opened volume whose segments exist.
    fn new() -> Cluster {
        let (mut state, index) = cluster(3);
        let volume = create(&mut state, index, "v").unwrap().id;
        grant(&mut state, index + 1, volume, 0).unwrap();
        let mut cluster = Cluster { state, index: index + 2, volume, epoch: 1 };
        let nodes = cluster.group().members.iter().map(|member| member.node).collect();
        cluster.mark_created(nodes).unwrap();
        cluster
    }

    fn group(&self) -> PgRecord {
        self.state.group((self.volume, AT)).unwrap().clone()
    }

    fn apply(&mut self, command: &Command) -> Result<PgRecord> {
        self.index += 1;
        self.state.apply(self.index, command).0?;
        Ok(self.group())
    }

    fn mark_created(&mut self, nodes: Vec<NodeId>) -> Result<PgRecord> {
        let epoch = VolumeEpoch(self.epoch);
        self.apply(&Command::MarkCreated { volume: self.volume, epoch, pg: AT, membership: None, nodes })
    }

    fn begin_at(&mut self, membership: u64, old: NodeId) -> Result<PgRecord> {
        let (alive, membership) = (all(&self.state), MembershipEpoch(membership));
        let (volume, automatic) = (self.volume, false);
        self.apply(&Command::BeginReplacement { volume, pg: AT, membership, old, automatic, alive })
    }

    fn begin(&mut self, old: NodeId) -> Result<Replacement> {
        let group = self.begin_at(self.group().membership.0, old)?;
        Ok(*group.replacement_of(old).unwrap())
    }

    fn hydrated(&mut self, new: NodeId) -> Result<PgRecord> {
        let epoch = VolumeEpoch(self.epoch);
        self.apply(&Command::MarkHydrated { volume: self.volume, epoch, pg: AT, new })
    }

    fn finish(&mut self, Replacement { old, new, .. }: Replacement) -> Result<PgRecord> {
        let (volume, membership) = (self.volume, self.group().membership);
        self.apply(&Command::FinishReplacement { volume, pg: AT, membership, old, new })
    }

    fn revert(&mut self, Replacement { old, new, .. }: Replacement) -> Result<PgRecord> {
        let (volume, membership) = (self.volume, self.group().membership);
        self.apply(&Command::RevertReplacement { volume, pg: AT, membership, old, new })
    }

    fn last(&self) -> NodeId {
        self.group().members[5].node
    }
}

fn refused<T>(answer: Result<T>) -> bool {
    matches!(answer, Err(MetaError::Refused { .. }))
}

#[test]
fn a_member_is_replaced_in_two_epochs() {
    let mut cluster = Cluster::new();
    let old = cluster.last();
    let pending = cluster.begin(old).unwrap();
    assert_eq!(cluster.group().membership, MembershipEpoch(2));
    assert_eq!(
        cluster.group().members[6],
        PgMember { node: pending.new, created: false, since: MembershipEpoch(2), kind: SegmentKind::Full }
    );
    assert_eq!(cluster.state.nodes[&pending.new].az, cluster.state.nodes[&old].az);
    assert!(refused(cluster.finish(pending)), "not hydrated");
    assert!(refused(cluster.hydrated(pending.new)), "never created");
    cluster.mark_created(vec![pending.new]).unwrap();
    cluster.hydrated(pending.new).unwrap();
    let group = cluster.finish(pending).unwrap();
    assert_eq!(group.membership, MembershipEpoch(3));
    let (node, kind) = (pending.new, SegmentKind::Full);
    assert_eq!(group.members[5], PgMember { node, created: true, since: MembershipEpoch(2), kind });
    assert_eq!((group.members.len(), group.replacements.len()), (6, 0));
    assert_eq!(group.former, [old].into());
}

#[test]
fn each_step_may_be_asked_for_again() {
    let mut cluster = Cluster::new();
    let old = cluster.last();
    let pending = cluster.begin(old).unwrap();
    let once = cluster.group();
    assert_eq!(cluster.begin_at(1, old), Ok(once), "under way: the epoch that was named is not looked at");
    cluster.mark_created(vec![pending.new]).unwrap();
    cluster.hydrated(pending.new).unwrap();
    let once = cluster.hydrated(pending.new).unwrap();
    assert_eq!(once, cluster.group());
    let once = cluster.finish(pending).unwrap();
    assert_eq!(cluster.finish(pending), Ok(once.clone()));
    assert_eq!(cluster.hydrated(pending.new), Ok(once));
    assert!(refused(cluster.revert(pending)), "finished");
    let another = cluster.begin(cluster.group().members[0].node).unwrap();
    let once = cluster.revert(another).unwrap();
    assert_eq!(cluster.revert(another), Ok(once));
    assert!(refused(cluster.finish(another)), "reverted");
}

#[test]
fn a_step_decided_on_an_older_membership_is_refused() {
    let mut cluster = Cluster::new();
    let (old, other) = (cluster.last(), cluster.group().members[0].node);
    let pending = cluster.begin(old).unwrap();
    let stale = Err(MetaError::StaleMembership { current: MembershipEpoch(2) });
    assert_eq!(cluster.begin_at(1, other), stale);
    let Replacement { old, new, .. } = pending;
    let (volume, membership) = (cluster.volume, MembershipEpoch(1));
    let revert = Command::RevertReplacement { volume, pg: AT, membership, old, new };
    assert_eq!(cluster.apply(&revert), stale);
}

#[test]
fn a_superseded_writer_cannot_say_that_a_successor_is_hydrated() {
    let mut cluster = Cluster::new();
    let pending = cluster.begin(cluster.last()).unwrap();
    cluster.mark_created(vec![pending.new]).unwrap();
    grant(&mut cluster.state, cluster.index + 1, cluster.volume, 1).unwrap();
    cluster.index += 1;
    assert_eq!(cluster.hydrated(pending.new), Err(MetaError::Fenced { current: VolumeEpoch(2) }));
}

#[test]
fn a_second_member_is_replaced_meanwhile_but_no_third() {
    let mut cluster = Cluster::new();
    let members: Vec<NodeId> = cluster.group().members.iter().map(|member| member.node).collect();
    let first = cluster.begin(members[5]).unwrap();
    let second = cluster.begin(members[3]).unwrap();
    assert_eq!(cluster.group().membership, MembershipEpoch(3));
    assert!(refused(cluster.begin(members[0])));
    assert!(refused(cluster.begin(first.new)), "a successor is reverted, not replaced");
    cluster.mark_created(vec![second.new]).unwrap();
    cluster.hydrated(second.new).unwrap();
    let group = cluster.finish(second).unwrap();
    assert_eq!((group.members[3].node, group.members[6].node), (second.new, first.new));
    let group = cluster.revert(first).unwrap();
    assert_eq!(group.members.iter().map(|m| m.node).collect::<Vec<_>>()[5], members[5]);
    assert_eq!(group.membership, MembershipEpoch(5));
}

#[test]
fn a_node_that_held_a_copy_is_not_chosen_again() {
    let mut cluster = Cluster::new();
    let old = cluster.last();
    let unborn = cluster.begin(old).unwrap();
    cluster.revert(unborn).unwrap();
    let again = cluster.begin(old).unwrap();
    assert_eq!(again.new, unborn.new, "its segment was never created");
    cluster.mark_created(vec![again.new]).unwrap();
    cluster.revert(again).unwrap();
    assert!(matches!(cluster.begin(old), Err(MetaError::NotEnoughNodes { .. })));
    assert!(cluster.begin(cluster.group().members[0].node).is_ok(), "another zone has a spare");
}

#[test]
fn only_a_living_node_of_the_zone_succeeds() {
    let cluster = Cluster::new();
    let old = cluster.last();
    let new = cluster.state.successor((cluster.volume, AT), old, &all(&cluster.state)).unwrap();
    let mut alive = all(&cluster.state);
    alive.remove(&new);
    let nobody = cluster.state.successor((cluster.volume, AT), old, &alive);
    assert!(matches!(nobody, Err(MetaError::NotEnoughNodes { .. })), "{nobody:?}");
    assert!(refused(cluster.state.successor((cluster.volume, AT), new, &alive)), "no member");
}

/// Log entries and a snapshot as they were written before members could be replaced.
#[test]
fn what_was_written_before_is_still_read() {
    let entry = r#"{"AddPg":{"volume":9,"epoch":1,"pg":1,"alive":[2,3,4,5,6,7]}}"#;
    let command: Command = serde_json::from_str(entry).unwrap();
    assert!(matches!(command, Command::AddPg { pg: PgId(1), .. }));
    let group = r#"{"membership":1,"members":[{"node":2,"created":true},{"node":3,"created":false}]}"#;
    let snapshot = format!(
        r#"{{"cluster":"7","members":{{"1":"a"}},"nodes":{{}},"volumes":{{"9":{{"name":"v","geometry":{{"pages_per_pg":16}},
            "geometry_epoch":1,"epoch":1,"writer":null,"pgs":[{group}]}}}}}}"#
    );
    let state: MetaState = serde_json::from_str(&snapshot).unwrap();
    let group = state.group((VolumeId(9), PgId(0))).unwrap();
    assert_eq!((group.members.len(), &group.replacements[..], group.former.len()), (2, &[][..], 0));
    let told = r#"{"pg":0,"membership":1,"members":[]}"#;
    assert!(serde_json::from_str::<crate::PgInfo>(told).unwrap().replacements.is_empty());
}
