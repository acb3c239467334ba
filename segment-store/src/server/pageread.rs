//! Answers with page images, for a peer's copy of a segment or in place of an image that went bad there.

use std::rc::Rc;

use bytes::Bytes;
use sextant_redo::wire::{PagesReply, Reply, SegmentError};
use sextant_redo::{PAGE_SIZE, PageId};

use crate::core::{BLOCK_PAGES, CopyPlan, CopyWanted, Ticket};
use crate::node::Node;
use crate::pages::{blocks, read};

/// Answers by a task of its own: the images have to be read from the disk.
pub(crate) fn serve(node: &Rc<Node>, ticket: Ticket, wanted: CopyWanted) {
    let task = node.clone();
    node.host.spawn(Box::pin(async move {
        let reply = images(&task, wanted).await.unwrap_or_else(|error| {
            tracing::warn!(%error, "pages cannot be given to a peer");
            Reply::Error(error)
        });
        task.reply(ticket, &reply);
        task.send(ticket.connection);
    }));
}

/// Whole or not at all: a part with a page missing would be taken for one in which it was never written.
async fn images(node: &Rc<Node>, wanted: CopyWanted) -> Result<Reply, SegmentError> {
    let stopping = |_| SegmentError::Stopping { what: "the node is being closed".into() };
    let _turn = node.giving.acquire().await.map_err(stopping)?;
    let _pin = node.background.pins.pin();
    let CopyPlan { point, vdl, pgmrpl, pages, next } = plan(node, wanted).await?;
    let mut images = Vec::with_capacity(pages.len() * PAGE_SIZE);
    for plan in pages {
        let number = plan.page;
        let made = read::make(node, wanted.segment, plan).await.0;
        if let Err(SegmentError::Damaged { .. }) = made {
            // The peer asks another one meanwhile.
            let _ = read::repair(node, wanted.segment, number);
        }
        images.extend_from_slice(&made?[..]);
    }
    Ok(Reply::Pages(PagesReply { point, vdl, pgmrpl, next, images: Bytes::from(images) }))
}

/// Which pages, as soon as the block of the page map that knows them is in memory.
async fn plan(node: &Node, wanted: CopyWanted) -> Result<CopyPlan, SegmentError> {
    loop {
        let planned = node.store.borrow().plan_copy(wanted)?;
        match planned {
            Ok(plan) => return Ok(plan),
            Err(block) => blocks::load(node, wanted.segment, PageId(block.number * BLOCK_PAGES)).await?,
        }
    }
}
