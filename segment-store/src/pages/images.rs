//! Page images: made of the newest image and the records behind it, written to a free place, and switched to.
//!
//! What must hold: a page's newest image is one that was written as a whole, and the place of the one before is not used again
//! until a checkpoint names the new one; what cannot be made stays in the log.

use std::collections::VecDeque;
use std::rc::Rc;

use sextant_redo::wire::SegmentError;
use sextant_redo::{Page, PageId, SegmentId};
use tokio::sync::oneshot;

use crate::NodeError;
use crate::core::{PageBase, PagePlan, Slot};
use crate::disk::FileId;
use crate::metrics::METRICS;
use crate::node::Node;

use super::blocks;
use super::brake::is_urgent;
use super::digest::Wanted;
use super::keeper::wants_checkpoint;
use super::saver::write_checkpoint_over_list;
use super::space::{free_slot, use_again};
use super::store;

/// Pages worked on at once.
pub(super) const PAGES_AT_ONCE: usize = 16;
/// The same where there is no time to lose.
pub(super) const PAGES_AT_ONCE_URGENT: usize = 64;

/// The same as [`materialise`], fewer at once, and then a pause as long as that took while the foreground is at work.
pub(super) async fn materialise_with_pauses(
    node: &Rc<Node>,
    pages: &[(SegmentId, PageId)],
    wanted: Wanted<'_>,
) -> Result<(), NodeError> {
    let started = node.host.now();
    let group_before = node.log.borrow().position().sequence;
    materialise(node, pages, PAGES_AT_ONCE, wanted).await?;
    let busy = node.log.borrow().position().sequence > group_before;
    if busy && !is_urgent(node) {
        node.host.sleep(node.host.now() - started).await;
    }
    Ok(())
}

/// Gives images to these pages, so many at once, if `wanted` still holds for what is pending.
pub(super) async fn materialise(
    node: &Rc<Node>,
    pages: &[(SegmentId, PageId)],
    at_once: usize,
    wanted: Wanted<'_>,
) -> Result<(), NodeError> {
    let mut running = VecDeque::with_capacity(at_once);
    for (n, (segment, page)) in pages.iter().copied().enumerate() {
        // Not for each page: a checkpoint that cannot be written now is wanted behind the next one, too.
        if n.is_multiple_of(at_once) && wants_checkpoint(node) {
            // Else the page store would grow by every image made meanwhile, and memory by every block of the page map.
            finish(node, &mut running, 0).await?;
            let oldest = node.log.borrow().first_file();
            write_checkpoint_over_list(node, oldest).await?;
            use_again(node).await?;
        }
        finish(node, &mut running, at_once - 1).await?;
        if node.background.damaged.borrow().contains(&(segment, page)) {
            continue;
        }
        if let Err(error) = blocks::load(node, segment, page).await {
            cannot_make(node, segment, page, &error);
            continue;
        }
        let plan = {
            let store = node.store.borrow();
            let Some(slot) = store.segments().get(&segment) else {
                continue;
            };
            slot.pages.plan(page, slot.segment.materialise_cap())
        };
        let Some(last) = plan.records.last().map(|record| record.lsn) else {
            continue;
        };
        if !wanted(&plan.records) {
            continue;
        }
        let Some((file, slot)) = free_slot(node).await? else {
            break;
        };
        let (tell, done) = oneshot::channel();
        let task = node.clone();
        node.host.spawn(Box::pin(async move {
            let base = PageBase { lsn: last, slot };
            // Nobody listens any more once another image has failed, and with it the node.
            let _ = tell.send(make_image(&task, segment, plan, file, base).await);
        }));
        running.push_back(done);
    }
    finish(node, &mut running, 0).await
}

type Running = VecDeque<oneshot::Receiver<Result<(), NodeError>>>;

/// Waits for the images begun first until only so many are on their way, and lets in what they made room for.
async fn finish(node: &Rc<Node>, running: &mut Running, left: usize) -> Result<(), NodeError> {
    while running.len() > left
        && let Some(first) = running.pop_front()
    {
        first.await.map_err(|error| NodeError::Runtime(std::io::Error::other(error)))??;
        node.let_in();
    }
    Ok(())
}

/// Makes one image and writes it to its slot. What cannot be made stays in the log.
async fn make_image(
    node: &Node,
    segment: SegmentId,
    plan: PagePlan,
    file: FileId,
    base: PageBase,
) -> Result<(), NodeError> {
    let page = plan.page;
    let pin = node.background.pins.pin();
    let made = super::read::make(node, segment, plan).await.0;
    drop(pin);
    let written = match made {
        Ok(image) => {
            store::write_slot(&*node.disk, file, base.slot, image.into_buffer()).await?;
            blocks::switch(node, segment, page, base).await
        }
        Err(error) => Err(error),
    };
    match written {
        Ok(()) => {
            METRICS.materialised.inc();
            node.background.made.set(node.background.made.get() + 1);
        }
        Err(error) => {
            cannot_make(node, segment, page, &error);
            node.background.pages.borrow_mut().release([base.slot]);
        }
    }
    Ok(())
}

/// Puts an image that came from a peer in place, unless a newer one is there.
pub(crate) async fn put_image(
    node: &Rc<Node>,
    segment: SegmentId,
    page: PageId,
    image: &Page,
) -> Result<Result<(), SegmentError>, NodeError> {
    let Some(slot) = write_image(node, image).await? else {
        return Ok(Err(SegmentError::DeviceFull));
    };
    let switched = blocks::switch(node, segment, page, PageBase { lsn: image.lsn(), slot }).await;
    if switched.is_err() {
        node.background.pages.borrow_mut().release([slot]);
    }
    Ok(switched)
}

/// Writes an image to a free slot, of which nobody knows yet. `None` when the device is full.
pub(crate) async fn write_image(node: &Node, image: &Page) -> Result<Option<Slot>, NodeError> {
    let Some((file, slot)) = free_slot(node).await? else {
        return Ok(None);
    };
    store::write(&*node.disk, file, slot, image).await?;
    Ok(Some(slot))
}

fn cannot_make(node: &Node, segment: SegmentId, page: PageId, error: &SegmentError) {
    METRICS.error("materialise");
    tracing::error!(%error, %page, "a page image cannot be made on this node; its log is kept");
    node.background.damaged.borrow_mut().insert((segment, page));
}
