//! Answers from the log: the links of the chain for a volume opening, whole batches for who lacks them.

use std::rc::Rc;

use bytes::Bytes;
use sextant_redo::batch::cut_after;
use sextant_redo::wire::{Reply, SegmentError};
use sextant_redo::{Batch, Lsn, RecordLinks};

use crate::core::{LogPlan, StoredBatch, Ticket, Wanted};
use crate::log;
use crate::node::Node;

/// Answers by a task of its own: the log may have to be read from the disk.
pub(crate) fn serve(node: &Rc<Node>, ticket: Ticket, plan: LogPlan) {
    let pin = node.background.pins.pin();
    let task = node.clone();
    node.host.spawn(Box::pin(async move {
        let reply = match plan.wanted {
            Wanted::Links(max) => links(&task, &plan, max as usize).await,
            Wanted::Batches(_) => batches(&task, &plan).await,
        };
        let reply = reply.unwrap_or_else(|error| {
            tracing::error!(%error, "the log cannot be read back");
            Reply::Error(error)
        });
        drop(pin);
        task.reply(ticket, &reply);
        task.send(ticket.connection);
    }));
}

/// Reads a batch back and cuts off what is void, or above `up_to`.
async fn live_batch(node: &Node, stored: &StoredBatch, up_to: Lsn) -> Result<Option<Batch>, SegmentError> {
    let bytes = log::read::batch(node, stored.at, stored.len).await?;
    let damaged = |what: String| SegmentError::Damaged { what };
    let batch = Batch::decode(&bytes).map_err(|error| damaged(error.to_string()))?;
    let last = stored.last.min(up_to);
    if last >= batch.header().last {
        return Ok(Some(batch));
    }
    match cut_after(&batch, last) {
        Some(cut) => Batch::decode(&cut).map(Some).map_err(|error| damaged(error.to_string())),
        None => Ok(None),
    }
}

async fn links(node: &Node, plan: &LogPlan, max: usize) -> Result<Reply, SegmentError> {
    let mut links: Vec<RecordLinks> = Vec::new();
    let mut after = plan.after;
    for stored in &plan.batches {
        let Some(batch) = live_batch(node, stored, plan.up_to).await? else {
            continue;
        };
        let new = batch.records().flatten().map(|(_, record)| record.links).filter(|link| link.lsn > after);
        links.extend(new.take(max - links.len()));
        after = links.last().map_or(after, |link| link.lsn);
        if links.len() == max {
            break;
        }
    }
    let complete = after >= plan.scl;
    Ok(Reply::Chain { links, complete })
}

async fn batches(node: &Node, plan: &LogPlan) -> Result<Reply, SegmentError> {
    let mut parts: Vec<Bytes> = Vec::new();
    let mut last = plan.after;
    for stored in &plan.batches {
        if let Some(batch) = live_batch(node, stored, plan.up_to).await? {
            last = last.max(batch.header().last);
            parts.push(batch.bytes().clone());
        }
    }
    Ok(Reply::Log { batches: Bytes::from(parts.concat()), last })
}
