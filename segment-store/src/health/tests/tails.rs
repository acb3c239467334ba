//! Copies 1 and 2 are full, 3 is a tail: what it keeps, what it gives up, and where it begins when it is far behind.

use super::*;

const TAIL: u64 = 3;

async fn group_with_tail() -> (Rc<Group>, Vec<Rc<MemoryDisk>>) {
    let group = Rc::new(Group::default());
    let mut disks = Vec::new();
    for id in 1..=3 {
        disks.push(add(&group, id, Image::new()).await);
        let kind = if id == TAIL { SegmentKind::Tail } else { SegmentKind::Full };
        group.ask(NodeId(id), Request::CreateSegment { segment: SEGMENT, epochs: epochs(1), kind }).await;
    }
    let (members, full) = ((1..=3).map(NodeId).collect(), [NodeId(1), NodeId(2)].into());
    group.told.replace(Some(Membership { epoch: MembershipEpoch(1), members, full }));
    (group, disks)
}

fn log_start(group: &Group, id: u64) -> Lsn {
    group.node(id).store.borrow().segments()[&SEGMENT].segment.chain().log_start()
}

/// Both full copies free log that the tail does not have. Up to where it has it.
async fn leave_tail_behind(group: &Rc<Group>, writer: &mut Writer) -> Lsn {
    group.fill(writer, &[1, 2, 3], 5).await;
    let before = group.scl(TAIL);
    group.fill(writer, &[1, 2], 900).await;
    until("the others have freed log", || log_start(group, 1) > before && log_start(group, 2) > before).await;
    before
}

async fn a_while() {
    tokio::time::sleep(Duration::from_secs(3)).await;
}

#[test]
fn a_tail_keeps_log_until_every_full_segment_has_it() {
    block_on(async {
        let (group, _disks) = group_with_tail().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 5).await;
        let before = group.scl(2);
        group.fill(&mut writer, &[1, 3], 900).await;
        until("the full one has freed log", || log_start(&group, 1) > before).await;
        heal(&group, TAIL);
        a_while().await;
        assert!(log_start(&group, TAIL) <= before, "copy 2 lacks the rest");
        assert!(group.node(TAIL).store.borrow().tail_bytes() > 500_000, "all of it");

        heal(&group, 2);
        until("copy 2 has everything", || group.scl(2) == writer.last).await;
        same_pages(&group, 2, &writer).await;
        // Of the last batch no other one has said that it is durable.
        until("the tail has given log up", || log_start(&group, TAIL) > before).await;
        let used = || group.node(TAIL).log.borrow().bytes_used();
        until("and its files are used again", || used() <= options().log_budget_bytes).await;
        assert_eq!(group.scl(TAIL), writer.last);
    });
}

#[test]
fn a_tail_makes_no_pages_and_serves_none() {
    block_on(async {
        let (group, _disks) = group_with_tail().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 300).await;
        let (segment, epochs) = (SEGMENT, epochs(1));
        let (page, read_point, required_scl) = (PageId(3), writer.last, writer.last);
        let read = Request::ReadPage { segment, epochs, page, read_point, required_scl };
        let copy = Request::CopyPages { segment, epochs, at: Lsn::ZERO, from: PageId(0), max_bytes: 1 << 20 };
        for request in [read, copy] {
            let full = group.ask(NodeId(1), request.clone()).await;
            assert!(matches!(full, Reply::Page { .. } | Reply::Pages(_)), "{full:?}");
            let tail = group.ask(NodeId(TAIL), request).await;
            assert!(matches!(tail, Reply::Error(SegmentError::BadRequest { .. })), "{tail:?}");
        }
        let node = group.node(TAIL);
        assert_eq!(node.store.borrow().pending_records(), 0);
        assert_eq!(node.store.borrow().segments()[&SEGMENT].pages.map().blocks().count(), 0);
    });
}

#[test]
fn a_tail_that_is_too_far_behind_begins_further_on_and_stays_a_tail() {
    block_on(async {
        let (group, disks) = group_with_tail().await;
        let mut writer = Writer::new(1);
        let before = leave_tail_behind(&group, &mut writer).await;
        // As long as one full segment is not heard nobody knows what it has.
        group.down.borrow_mut().insert(NodeId(2));
        heal(&group, TAIL);
        a_while().await;
        assert_eq!(group.scl(TAIL), before);

        group.down.borrow_mut().clear();
        until("the tail is complete", || group.scl(TAIL) == writer.last).await;
        let start = log_start(&group, TAIL);
        assert!(start > before);
        assert!(keeper::checkpointed(&group.node(TAIL)).await);
        let image = disks[2].image();
        assert_eq!(image[CHECKPOINT_FILE][4], 5, "the version that knows tails");
        let _disk = add(&group, TAIL, image).await;
        assert_eq!((group.scl(TAIL), log_start(&group, TAIL) >= start), (writer.last, true));
        assert_eq!(group.node(TAIL).store.borrow().segments()[&SEGMENT].segment.kind(), SegmentKind::Tail);
    });
}

/// The tail is asked for the log that a full segment lacks, and not for pages.
#[test]
fn a_full_segment_that_is_behind_gets_log_from_a_tail() {
    block_on(async {
        let (group, _disks) = group_with_tail().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2, 3], 5).await;
        group.fill(&mut writer, &[1, 3], 900).await;
        until("the other full one has freed log", || log_start(&group, 1) > group.scl(2)).await;
        heal(&group, 2);
        until("copy 2 has everything", || group.scl(2) == writer.last).await;
        same_pages(&group, 2, &writer).await;
        let copying = group.node(2).store.borrow().segments()[&SEGMENT].segment.copying();
        assert_eq!(copying, None);
    });
}

/// A writer that was superseded long ago asked for a tail, and its request arrives when the node is to hold a full copy.
#[test]
fn a_copy_of_another_kind_than_the_seat_makes_room() {
    block_on(async {
        let (group, _disks) = group_with_tail().await;
        let mut writer = Writer::new(1);
        group.fill(&mut writer, &[1, 2], 5).await;
        let members: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let told = |epoch, full| Membership { epoch: MembershipEpoch(epoch), members: members.clone(), full };
        let wanted = Request::CreateSegment { segment: SEGMENT, epochs: epochs(1), kind: SegmentKind::Full };
        // What is told of an older membership says nothing about the copy.
        group.told.replace(Some(told(0, members.clone())));
        heal(&group, TAIL);
        a_while().await;
        let refused = group.ask(NodeId(TAIL), wanted.clone()).await;
        assert!(matches!(refused, Reply::Error(SegmentError::BadRequest { .. })), "{refused:?}");

        group.told.replace(Some(told(1, members.clone())));
        until("the tail is gone", || !group.has_copy(TAIL)).await;
        let made = group.ask(NodeId(TAIL), wanted).await;
        assert!(matches!(made, Reply::State(_)), "{made:?}");
        until("the full copy is complete", || group.scl(TAIL) == writer.last).await;
        same_pages(&group, TAIL, &writer).await;
    });
}

/// A tail finds where to begin while it is being dropped and the next copy on this node, a full one, is being made: that one
/// does not take what was found out for a tail for pages of its own.
#[test]
fn what_a_dropped_tail_found_out_says_nothing_of_the_full_copy_behind_it() {
    block_on(async {
        let (group, _disks) = group_with_tail().await;
        let mut writer = Writer::new(1);
        leave_tail_behind(&group, &mut writer).await;
        group.down.borrow_mut().extend([1, 2].map(NodeId));
        heal(&group, TAIL);
        let node = group.node(TAIL);
        let health = node.health.borrow().upgrade().expect("healing");
        let mine = health.standing(SEGMENT).expect("a tail");
        for full in [1, 2] {
            let theirs = group.node(full).store.borrow().segments()[&SEGMENT].segment.state();
            super::super::tail::hear(&health, SEGMENT, &mine, NodeId(full), &theirs);
        }

        let entry = node.store.borrow_mut().drop_segment(SEGMENT).expect("here");
        let dropped = health.own.write(&node, entry);
        let full = Request::CreateSegment { segment: SEGMENT, epochs: epochs(1), kind: SegmentKind::Full };
        let made = health.own.ask(&node, full);
        let begun = super::super::tail::begin(&health, SEGMENT, &mine).await;
        assert!(begun.is_err(), "there is no tail any more");
        let nodes: Vec<NodeId> = (1..=3).map(NodeId).collect();
        let told = Membership { epoch: MembershipEpoch(1), members: nodes.clone(), full: nodes };
        group.told.replace(Some(told));
        let _ = dropped.await;
        made.await.expect("made");
        assert_eq!(group.scl(TAIL), Lsn::ZERO);
        group.down.borrow_mut().clear();
        until("the full copy is complete", || group.scl(TAIL) == writer.last).await;
        same_pages(&group, TAIL, &writer).await;
    });
}
