//! What must hold of a node that starts from what a failure or a crash left.

use std::rc::Rc;

use sextant_redo::wire::{Append, Request};
use sextant_redo::{Lsn, PgId, SegmentId, SegmentKind, VolumeEpoch, VolumeId};

use super::load::{Acknowledged, Load, Moment, ONCE, PAGES, background, open, read};
use crate::NodeError;
use crate::disk::memory::MemoryDisk;
use crate::disk::memory::trace::{Gone, Platter};
use crate::node::Node;
use crate::testing::{Clock, SEGMENT, Writer, epochs, submit};

/// A segment that comes after the start.
const OTHER: SegmentId = SegmentId { volume: VolumeId(8), pg: PgId(0) };

/// Takes more log, so that what was torn is written over, and does its background work.
async fn go_on(node: &Rc<Node>, clock: &Clock) -> Result<Writer, NodeError> {
    let mut writer = Writer::of(OTHER, 1);
    let create = Request::CreateSegment { segment: OTHER, epochs: epochs(1), kind: SegmentKind::Full };
    let batch = writer.batch(&[(1, 1), (2, 2)]);
    let append = Request::Append(Append { segment: OTHER, epochs: epochs(1), batch });
    submit(node, vec![create]).await?;
    submit(node, vec![append]).await?;
    background(node, clock).await?;
    Ok(writer)
}

impl Load {
    /// The node starts, has what was acknowledged, perhaps what was on its way, and nothing else. It goes on; then the power
    /// fails, and the next start has all that again: what was found once is flushed, whoever wrote it.
    pub(super) async fn recovers(&self, mut left: Platter, moment: Moment, what: &str) {
        let failed = |error: NodeError| -> ! { panic!("{what}: {error}") };
        let clock = Clock::default();
        let disk = Rc::new(MemoryDisk::from_image(left.image()));
        let node = open(&disk, &clock).await.unwrap_or_else(|error| failed(error));
        let found = self.check(&node, moment, what).await;
        let other = go_on(&node, &clock).await.unwrap_or_else(|error| failed(error));
        disk.take_seen().iter().for_each(|operation| left.done(operation));
        let disk = Rc::new(MemoryDisk::from_image(left.crash(None, &mut Gone)));
        let node = open(&disk, &clock).await.unwrap_or_else(|error| failed(error));
        self.check(&node, (found, None), &format!("{what}, gone on until the power failed")).await;
        for number in 1..4 {
            assert!(
                read(&node, number, Lsn::MAX, &other).await,
                "{what}: page {number} of the other segment"
            );
        }
    }

    /// Says what of it was found.
    async fn check(&self, node: &Rc<Node>, (held, coming): Moment, what: &str) -> Acknowledged {
        node.store.borrow().check_invariants();
        let state = node.store.borrow().segments().get(&SEGMENT).map(|slot| slot.segment.state());
        let exists = state.is_some();
        let found =
            state.map_or((Lsn::ZERO, VolumeEpoch(0), 0), |s| (s.scl, s.epochs.volume, s.truncations.len()));
        let is = |then: &Acknowledged| found == (then.scl, VolumeEpoch(then.epoch), then.truncations);
        let known = [Some(held), coming].into_iter().flatten().find(is);
        let known =
            known.unwrap_or_else(|| panic!("{what}: {found:?} where {held:?} held, {coming:?} on its way"));
        if !exists {
            return known;
        }
        let model = match &self.before {
            Some(before) if known.truncations == 0 => before,
            _ => &self.writer,
        };
        let floor = node.store.borrow().segments()[&SEGMENT].segment.pgmrpl();
        let pages =
            PAGES.map(|number| (number, floor)).chain(PAGES.chain(ONCE).map(|number| (number, Lsn::MAX)));
        for (number, point) in pages {
            assert!(read(node, number, point, model).await, "{what}: page {number} at {point} is not served");
        }
        known
    }
}
