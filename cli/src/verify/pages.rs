//! Pages read from every copy at the same read point, and compared byte for byte.
//!
//! The read point is the highest VDL that a copy has heard of; the copies' SCLs are asked for afterwards, so each record at
//! or below the read point is on a write quorum by then, and a copy that is complete to the SCL of that quorum has them
//! all. When the floor of the readers has passed a read point meanwhile, a newer one is taken.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use bytes::Bytes;
use sextant_redo::wire::Epochs;
use sextant_redo::{Batch, Lsn, NodeId, PageId, SegmentId};
use sextant_sim::invariants::{i05_convergence, i06_no_lie, i07_order};
use tokio::time::sleep;

use super::look::{Group, Look, Nodes, groups};
use super::report::Report;

/// Pages compared at one read point.
const BATCH: usize = 64;
/// Read points tried for a batch, and the pause between two.
const ATTEMPTS: u32 = 10;
const PAUSE: Duration = Duration::from_millis(100);
/// Newest log that is looked through for pages that changed. Bytes.
const LOG_BYTES: u32 = 2 << 20;

/// Where pages are read, and what a copy must have.
struct ReadPoint {
    epochs: Epochs,
    at: Lsn,
    required_scl: Lsn,
}

/// Compares up to `pages_max` pages of each protection group.
pub(crate) async fn check(look: &Look, pages_max: usize, report: &mut Report) {
    let mut nodes = Nodes::connect(&look.view).await;
    for group in look.groups() {
        let pages: Vec<PageId> = candidates(&group, &mut nodes, pages_max).await.into_iter().collect();
        let mut asked = answering(&group, &mut nodes, report);
        for batch in pages.chunks(BATCH) {
            compare(look, &group, &mut nodes, &mut asked, batch, report).await;
        }
    }
}

/// The members of a group that can be asked for pages: tails have none.
fn answering(group: &Group<'_>, nodes: &mut Nodes, report: &mut Report) -> Vec<NodeId> {
    let mut asked = Vec::new();
    for member in group.info.members.iter().filter(|member| member.kind.is_full()) {
        match nodes.client(member.node) {
            Some(_) => asked.push(member.node),
            None => report.unchecked("I5", format!("pages on node {}: it does not answer", member.node)),
        }
    }
    asked
}

/// The pages that the newest log changed, then the first ones of the group.
async fn candidates(group: &Group<'_>, nodes: &mut Nodes, pages_max: usize) -> BTreeSet<PageId> {
    let mut pages = BTreeSet::new();
    if let Some((node, state)) = group.best()
        && let Some(client) = nodes.client(*node)
    {
        let after = state.log_start.max(Lsn(state.scl.0.saturating_sub(u64::from(LOG_BYTES))));
        let log = client.read_log(group.segment, state.epochs, (after, state.scl), LOG_BYTES).await;
        let (log, _) = log.unwrap_or_default();
        pages.extend(changed(&log).into_iter().take(pages_max / 2));
    }
    let geometry = group.volume.geometry;
    let first = geometry.first_page(group.info.pg).0;
    for page in (first..first.saturating_add(geometry.pages_per_pg)).map(PageId) {
        if pages.len() >= pages_max {
            break;
        }
        pages.insert(page);
    }
    pages
}

/// Pages of the records of batches that lie one behind the other.
fn changed(log: &Bytes) -> BTreeSet<PageId> {
    let (mut pages, mut at) = (BTreeSet::new(), 0);
    while at < log.len() {
        let Ok(batch) = Batch::decode(&log.slice(at..)) else { break };
        pages.extend(batch.records().flatten().map(|(_, record)| record.page));
        at += batch.bytes().len();
    }
    pages
}

/// Compares a batch of pages of the copies on `asked`. A copy that refuses at every attempt what others serve is taken from
/// there: one that is stranded would cost each further batch all its attempts.
async fn compare(
    look: &Look,
    group: &Group<'_>,
    nodes: &mut Nodes,
    asked: &mut Vec<NodeId>,
    pages: &[PageId],
    report: &mut Report,
) {
    let mut left: Vec<PageId> = pages.to_vec();
    let mut why = BTreeMap::new();
    for attempt in 0..ATTEMPTS {
        if attempt > 0 {
            sleep(PAUSE).await;
        }
        why.clear();
        let Some(point) = read_point(look, group.segment, nodes).await else { continue };
        let mut images: BTreeMap<PageId, Vec<(NodeId, Bytes)>> = BTreeMap::new();
        for node in asked.iter() {
            if let Err(error) = read_all(group, *node, nodes, &left, &point, &mut images).await {
                why.insert(*node, error);
            }
        }
        let settled = attempt + 1 == ATTEMPTS || why.is_empty();
        left.retain(|page| !settle(*page, &point, images.remove(page), settled, report));
        if left.is_empty() {
            break;
        }
    }
    if left.is_empty() {
        asked.retain(|node| !why.contains_key(node));
    }
    for (node, error) in why {
        report.unchecked("I5", format!("pages of group {} on node {node}: {error}", group.info.pg));
    }
    if !left.is_empty() {
        let what = format!("{} pages of group {}: no two copies served them", left.len(), group.info.pg);
        report.unchecked("I5", what);
    }
}

/// Judges what the copies served of one page, when all did or this is the last attempt; true when that is done.
fn settle(
    page: PageId,
    point: &ReadPoint,
    images: Option<Vec<(NodeId, Bytes)>>,
    settled: bool,
    report: &mut Report,
) -> bool {
    let images = images.unwrap_or_default();
    if !settled || images.len() < 2 {
        return false;
    }
    for (_, image) in &images {
        match i06_no_lie::page_is_sealed(page, image) {
            Ok(sealed) => {
                report.checked("I6", Ok(()));
                report.checked("I7", i07_order::page_is_not_from_the_future(page, sealed.lsn(), point.at));
            }
            Err(violation) => report.checked("I6", Err(violation)),
        }
    }
    report.checked("I5", i05_convergence::pages_are_equal(page, point.at, &images));
    true
}

/// Reads pages from one copy; stops at the first that it refuses.
async fn read_all(
    group: &Group<'_>,
    node: NodeId,
    nodes: &mut Nodes,
    pages: &[PageId],
    point: &ReadPoint,
    images: &mut BTreeMap<PageId, Vec<(NodeId, Bytes)>>,
) -> Result<(), String> {
    let client = nodes.client(node).ok_or("it does not answer")?;
    for page in pages {
        let image = client.read_page(group.segment, point.epochs, *page, point.at, point.required_scl).await;
        match image {
            Ok(image) => images.entry(*page).or_default().push((node, image)),
            Err(error) => return Err(error.to_string()),
        }
    }
    Ok(())
}

/// A read point of now; none when too few copies answer.
async fn read_point(look: &Look, segment: SegmentId, nodes: &mut Nodes) -> Option<ReadPoint> {
    let first = nodes.states().await;
    let vdl = |group: &Group<'_>| group.copies.iter().map(|(_, state)| state.vdl).max();
    let at = groups(&look.view, &first).find(|group| group.segment == segment).as_ref().and_then(vdl)?;
    let later = nodes.states().await;
    let group = groups(&look.view, &later).find(|group| group.segment == segment)?;
    let epochs = group.copies.iter().map(|(_, state)| state.epochs).max_by_key(|epochs| epochs.volume)?;
    Some(ReadPoint { epochs, at, required_scl: at.min(group.quorum_scl()?) })
}

#[cfg(test)]
mod tests {
    use sextant_redo::{Page, page};

    use super::*;

    fn image(id: PageId, lsn: u64, body: u8) -> Bytes {
        let mut image = Page::zero();
        page::stamp(&mut image.0, id, Lsn(lsn));
        image.0[100] = body;
        page::seal(&mut image.0);
        Bytes::copy_from_slice(&image.0[..])
    }

    fn violations(images: Vec<(NodeId, Bytes)>) -> [usize; 3] {
        let point = ReadPoint { epochs: Epochs::default(), at: Lsn(50), required_scl: Lsn(50) };
        let mut report = Report::default();
        assert!(settle(PageId(7), &point, Some(images), true, &mut report));
        let report = report.finished(sextant_redo::ClusterId(1));
        ["I5", "I6", "I7"].map(|id| {
            let check = report.checks.iter().find(|check| check.invariant == id).expect("listed");
            check.violations.len()
        })
    }

    #[test]
    fn a_copy_that_differs_lies_or_is_ahead_is_found() {
        let good = || image(PageId(7), 40, 1);
        let with = |other: Bytes| violations(vec![(NodeId(1), good()), (NodeId(2), other)]);
        assert_eq!(with(good()), [0, 0, 0]);
        assert_eq!(with(image(PageId(7), 40, 2)), [1, 0, 0], "other bytes");
        assert_eq!(with(image(PageId(8), 40, 1)), [1, 1, 0], "another page");
        assert_eq!(with(image(PageId(7), 60, 1)), [1, 0, 1], "newer than the read point");
        let mut damaged = good().to_vec();
        damaged[5000] ^= 1;
        assert_eq!(with(damaged.into()), [1, 1, 0], "damaged");
    }

    #[test]
    fn one_answer_is_no_comparison() {
        let point = ReadPoint { epochs: Epochs::default(), at: Lsn(50), required_scl: Lsn(50) };
        let alone = Some(vec![(NodeId(1), image(PageId(7), 40, 1))]);
        assert!(!settle(PageId(7), &point, alone, true, &mut Report::default()));
    }
}
