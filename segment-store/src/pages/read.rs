//! One page as of one read point: its base image, then its pending records, each checked.

use std::rc::Rc;
use std::time::Instant;

use bytes::Bytes;
use sextant_redo::codec::{DecodeError, Reader};
use sextant_redo::record::MAX_RECORD;
use sextant_redo::wire::{Reply, SegmentError};
use sextant_redo::{Lsn, PAGE_SIZE, Page, Record, apply, page};

use crate::core::{PagePlan, PendingRecord, Ticket};
use crate::log;
use crate::metrics::METRICS;
use crate::node::Node;

/// Serves a page: at once when everything is in memory, else by a task of its own.
pub(crate) fn serve(node: &Rc<Node>, ticket: Ticket, plan: PagePlan) {
    let started = Instant::now();
    if plan.base.is_none()
        && let Some(batches) = all_cached(node, &plan)
    {
        let source = if plan.records.is_empty() { "zero" } else { "memory" };
        let made = replay(Page::zero(), &plan, &batches);
        answer(node, ticket, made, source, started);
        return;
    }
    let node = node.clone();
    let pin = node.background.pins.pin();
    tokio::task::spawn_local(async move {
        let (made, source) = make(&node, &plan).await;
        drop(pin);
        answer(&node, ticket, made, source, started);
        node.send(ticket.connection);
    });
}

fn answer(node: &Node, ticket: Ticket, made: Result<Page, SegmentError>, source: &str, started: Instant) {
    match made {
        Ok(mut made) => {
            page::seal(&mut made.0);
            METRICS.page_reads.with_label_values(&[source]).inc();
            METRICS.page_read_seconds.observe(started.elapsed().as_secs_f64());
            node.reply(ticket, &Reply::Page { image: Bytes::copy_from_slice(&made.0[..]) });
        }
        Err(error) => {
            tracing::error!(%error, "a page cannot be served from this copy");
            node.reply(ticket, &Reply::Error(error));
        }
    }
}

/// The batches of the plan's records, one a record, if all are in memory.
fn all_cached(node: &Node, plan: &PagePlan) -> Option<Vec<Bytes>> {
    let cached = |record: &PendingRecord| log::read::cached(node, record.batch, record.batch_len);
    plan.records.iter().map(cached).collect()
}

/// Makes the page, and says the slowest source that it needed. The caller holds a pin taken before the plan was made.
pub(crate) async fn make(node: &Node, plan: &PagePlan) -> (Result<Page, SegmentError>, &'static str) {
    let mut source = "memory";
    let mut base = Page::zero();
    if let Some(image) = plan.base {
        source = "page_store";
        let file = node.background.pages.borrow().file();
        match super::store::read(&*node.disk, file, plan.page, image).await {
            Ok(read) => base = read,
            Err(error) => return (Err(error), source),
        }
    }
    let mut batches: Vec<Bytes> = Vec::with_capacity(plan.records.len());
    for (n, record) in plan.records.iter().enumerate() {
        // Records of one batch come one behind the other: its bytes are read once.
        let same = n > 0 && plan.records[n - 1].batch == record.batch;
        let bytes = match log::read::cached(node, record.batch, record.batch_len) {
            Some(bytes) => bytes,
            None if same => batches[n - 1].clone(),
            None => {
                source = "log";
                match log::read::batch(node, record.batch, record.batch_len).await {
                    Ok(bytes) => bytes,
                    Err(error) => return (Err(error), source),
                }
            }
        };
        batches.push(bytes);
    }
    (replay(base, plan, &batches), source)
}

fn replay(mut target: Page, plan: &PagePlan, batches: &[Bytes]) -> Result<Page, SegmentError> {
    for (pending, batch) in plan.records.iter().zip(batches) {
        let damaged = |what: String| SegmentError::Damaged {
            what: format!("page {}, record {}: {what}", plan.page, pending.lsn),
        };
        let record = record_at(batch, pending).map_err(|error| damaged(error.to_string()))?;
        if record.page != plan.page || record.links.lsn != pending.lsn {
            return Err(damaged("the log holds another record in its place".into()));
        }
        let bytes: &mut [u8; PAGE_SIZE] = &mut target.0;
        apply(&record, bytes).map_err(|error| damaged(error.to_string()))?;
    }
    Ok(target)
}

/// Decodes one record out of its batch. Its LSN is encoded as a distance from the record before it, and only the sum
/// is known here.
fn record_at<'a>(batch: &'a Bytes, pending: &PendingRecord) -> Result<Record<'a>, DecodeError> {
    let start = pending.offset as usize;
    let bytes = batch.get(start..start + pending.len as usize).ok_or(DecodeError::Truncated)?;
    let mut head = Reader::new(Reader::new(bytes).byte_string(MAX_RECORD, "record length")?);
    head.u8()?;
    let distance = head.varint()?;
    let before = pending.lsn.0.checked_sub(distance).ok_or(DecodeError::OutOfRange { what: "record LSN" })?;
    Record::decode(&mut Reader::new(bytes), Lsn(before))
}
