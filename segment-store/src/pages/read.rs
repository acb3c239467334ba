//! One page as of one read point: its base image, then its pending records, each checked.

use std::ops::Range;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sextant_redo::wire::{Reply, SegmentError};
use sextant_redo::{PageId, Record, SegmentId, apply, page};
use tokio::sync::oneshot;

use crate::core::{PagePlan, PageWanted, PendingRecord, Ticket};
use crate::disk::{LocalFuture, join_all};
use crate::log;
use crate::log::runs::runs;
use crate::metrics::METRICS;
use crate::node::Node;
use crate::{health, host};

use super::brought::PageRecords;
use super::page_buf::PageBuf;

/// How long a reader waits for a page that is being repaired: another copy answers sooner.
const REPAIR_PATIENCE: Duration = Duration::from_millis(500);
/// Transfers from the disk at once for one page.
const READS_AT_ONCE: usize = 32;

/// Serves a page: at once when everything is in memory, else by a task of its own.
pub(crate) fn serve(node: &Rc<Node>, ticket: Ticket, wanted: PageWanted, plan: PagePlan) {
    let started = node.host.now();
    if plan.base.is_none()
        && plan.block.is_none()
        && let Some(records) = in_memory(node, brought(node, wanted.segment, &plan).as_deref(), &plan.records)
    {
        let source = if plan.records.is_empty() { "zero" } else { "memory" };
        let made = replay(PageBuf::zero(), &plan, &records);
        answer(node, ticket, made, source, started);
        return;
    }
    let pin = node.background.pins.pin();
    let task = node.clone();
    node.page_reads.set(node.page_reads.get() + 1);
    node.host.spawn(Box::pin(async move {
        let (mut made, source) = make(&task, wanted.segment, plan).await;
        drop(pin);
        if let Err(SegmentError::Damaged { .. }) = made {
            made = repaired(&task, wanted).await.unwrap_or(made);
        }
        answer(&task, ticket, made, source, started);
        let others = task.page_reads.get() - 1;
        task.page_reads.set(others);
        // One that is alone has nobody to leave with.
        if others == 0 { task.send(ticket.connection) } else { task.send_soon(ticket.connection) }
    }));
}

/// The page once a peer has helped, if it does so soon: else the reader asks another copy, and the repair goes on.
async fn repaired(node: &Rc<Node>, wanted: PageWanted) -> Option<Result<PageBuf, SegmentError>> {
    let told = repair(node, wanted.segment, wanted.page)?;
    if !host::timeout(&*node.host, REPAIR_PATIENCE, told).await?.ok()? {
        return None;
    }
    let pin = node.background.pins.pin();
    let plan = node.store.borrow().plan_again(wanted)?;
    let made = make(node, wanted.segment, plan).await.0;
    drop(pin);
    Some(made)
}

/// Has a page mended that a reader found damaged; `None` when that is under way, or cannot be now.
pub(crate) fn repair(node: &Node, segment: SegmentId, page: PageId) -> Option<oneshot::Receiver<bool>> {
    METRICS.scrub_bad.with_label_values(&["read"]).inc();
    let health = node.health.borrow().upgrade()?;
    health::repair::start(&health, (segment, page))
}

fn answer(node: &Node, ticket: Ticket, made: Result<PageBuf, SegmentError>, source: &str, started: Duration) {
    match made {
        Ok(made) => {
            METRICS.page_reads.with_label_values(&[source]).inc();
            METRICS.page_read_seconds.observe((node.host.now() - started).as_secs_f64());
            node.reply(ticket, &Reply::Page { image: made.into_bytes() });
        }
        Err(error) => {
            tracing::error!(%error, "a page cannot be served from this copy");
            node.reply(ticket, &Reply::Error(error));
        }
    }
}

/// What was read back for the page, if anything was.
fn brought(node: &Node, segment: SegmentId, plan: &PagePlan) -> Option<Rc<PageRecords>> {
    node.background.brought.borrow().get(&(segment, plan.page)).cloned()
}

/// The records, if all of them are in memory and right there: what a long read brought back wrong may be right on the disk.
fn in_memory(node: &Node, brought: Option<&PageRecords>, records: &[PendingRecord]) -> Option<Vec<Bytes>> {
    let (mut all, mut next) = (Vec::with_capacity(records.len()), 0);
    for record in records {
        all.push(match brought.and_then(|brought| brought.get(record, &mut next)) {
            Some(bytes) => log::read::checked(record, bytes).ok()?,
            None => log::read::record_in_memory(node, record)?,
        });
    }
    Some(all)
}

/// Makes the page, sealed, and says the slowest source that it needed. The caller holds a pin taken before the plan was made.
pub(crate) async fn make(
    node: &Node,
    segment: SegmentId,
    mut plan: PagePlan,
) -> (Result<PageBuf, SegmentError>, &'static str) {
    let mut source = "memory";
    if let Err(error) = super::blocks::resolve(node, segment, &mut plan).await {
        return (Err(error), "page_store");
    }
    let brought = brought(node, segment, &plan);
    let records = match in_memory(node, brought.as_deref(), &plan.records) {
        Some(records) => Ok(records),
        None => {
            source = "log";
            read_records(node, brought.as_deref(), &plan).await
        }
    };
    let records = match records {
        Ok(records) => records,
        Err(error) => return (Err(error), source),
    };
    let base = match plan.base {
        None => PageBuf::zero(),
        Some(image) => {
            source = "page_store";
            let file = node.background.pages.borrow().file();
            match super::store::read(&*node.disk, file, plan.page, image).await {
                Ok(read) => read,
                Err(error) => return (Err(error), source),
            }
        }
    };
    (replay(base, &plan, &records), source)
}

/// Reads the records, several at once, so that a page costs hardly more time than one of them.
async fn read_records(
    node: &Node,
    brought: Option<&PageRecords>,
    plan: &PagePlan,
) -> Result<Vec<Bytes>, SegmentError> {
    let mut records = Vec::with_capacity(plan.records.len());
    for runs in runs(&plan.records).chunks(READS_AT_ONCE) {
        let read = |run: &Range<usize>| -> LocalFuture<'_, _> {
            Box::pin(read_run(node, brought, &plan.records[run.clone()]))
        };
        for run in join_all(runs.iter().map(read).collect()).await {
            records.extend(run?);
        }
    }
    Ok(records)
}

/// Records that lie close together: from memory when all of them are there.
async fn read_run(
    node: &Node,
    brought: Option<&PageRecords>,
    records: &[PendingRecord],
) -> Result<Vec<Bytes>, SegmentError> {
    match in_memory(node, brought, records) {
        Some(found) => Ok(found),
        None => log::read::run(node, records).await,
    }
}

fn replay(mut target: PageBuf, plan: &PagePlan, records: &[Bytes]) -> Result<PageBuf, SegmentError> {
    for (pending, bytes) in plan.records.iter().zip(records) {
        let damaged = |what: String| SegmentError::Damaged {
            what: format!("page {}, record {}: {what}", plan.page, pending.lsn),
        };
        let record = Record::decode_alone(bytes, pending.lsn).map_err(|error| damaged(error.to_string()))?;
        if record.page != plan.page {
            return Err(damaged("the log holds another record in its place".into()));
        }
        apply(&record, &mut target).map_err(|error| damaged(error.to_string()))?;
    }
    // An image that nothing was applied to is sealed as it came.
    if plan.base.is_none() || !records.is_empty() {
        page::seal(&mut target);
    }
    Ok(target)
}
