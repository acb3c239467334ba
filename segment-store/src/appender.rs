//! The task that writes the log: takes everything that waits, writes it as one group, applies it, answers.

use std::rc::Rc;

use sextant_redo::wire::{Reply, SegmentError};

use crate::NodeError;
use crate::core::{Entry, LogAddress, Store};
use crate::log::{self, Group, LogFull, Prepared, Queued};
use crate::metrics::METRICS;
use crate::node::Node;
use crate::spare;

/// Writes the log until the node fails.
pub(crate) async fn write_log(node: Rc<Node>) {
    while !node.has_failed() {
        if node.queue.borrow().is_empty() {
            node.queued.notified().await;
        } else if let Err(error) = step(&node).await {
            node.fail(error);
        }
    }
}

/// Takes what waits, as one group.
pub(crate) async fn step(node: &Node) -> Result<(), NodeError> {
    let prepared = node.log.borrow_mut().prepare(&mut node.queue.borrow_mut());
    match prepared {
        Ok(Prepared::Group(group)) => write_group(node, group).await,
        Ok(Prepared::Turns(turns)) => {
            answer(node, turns.iter());
            Ok(())
        }
        Err(LogFull) => {
            wait_for_space(node).await;
            Ok(())
        }
    }
}

async fn write_group(node: &Node, mut group: Group) -> Result<(), NodeError> {
    let started = node.host.now();
    let buffer = std::mem::replace(&mut group.buffer, crate::disk::AlignedBuf::zeroed(1));
    let len = buffer.len();
    let (result, buffer) = node.disk.append(group.file, group.offset, buffer, node.flush).await;
    let place =
        || format!("writing the hot log ({}, offset {})", log::file_name(group.start.file()), group.offset);
    result.map_err(|source| NodeError::Disk { what: place(), source })?;
    METRICS.write_seconds.observe((node.host.now() - started).as_secs_f64());
    METRICS.groups.inc();
    METRICS.written_bytes.inc_by(len as u64);
    METRICS.group_bytes.observe(len as f64);
    METRICS.group_entries.observe(group.members.len() as f64);
    node.log.borrow_mut().written(&group);
    node.cache.borrow_mut().insert(group.start, bytes::Bytes::from_owner(buffer));
    apply(node, &group);
    answer(node, group.members.iter().map(|(queued, _)| queued));
    spare::want(node);
    Ok(())
}

fn apply(node: &Node, group: &Group) {
    let mut store = node.store.borrow_mut();
    let mut waited = 0;
    for (queued, at) in &group.members {
        let Some(entry) = &queued.entry else {
            continue;
        };
        waited += entry.encoded_len() as u64;
        if let Entry::Batch(batch) = entry {
            METRICS.batches.inc();
            METRICS.records.inc_by(u64::from(batch.header().records));
            METRICS.append_bytes.inc_by(batch.bytes().len() as u64);
        }
        apply_entry(node, &mut store, entry, *at);
    }
    drop(store);
    took_from_queue(node, waited);
}

fn apply_entry(node: &Node, store: &mut Store, entry: &Entry, at: LogAddress) {
    let background = &node.background;
    let mut grew = |segment, page, pending| background.chain_grew(segment, page, pending);
    if let Err(error) = store.on_durable(entry, at, &mut grew) {
        // Admitted, overtaken while it waited, and refused now as it will be by every recovery.
        tracing::warn!(segment = ?entry.segment(), %error, "a log entry has no effect");
    }
}

fn took_from_queue(node: &Node, bytes: u64) {
    let left = node.queued_bytes.get().saturating_sub(bytes);
    node.queued_bytes.set(left);
    METRICS.queued_bytes.set(left as i64);
}

/// Answers whoever waited, all answers of one connection by one write.
fn answer<'a>(node: &Node, members: impl Iterator<Item = &'a Queued>) {
    let mut connections = Vec::new();
    let store = node.store.borrow();
    for queued in members {
        if let Some((ticket, answer)) = queued.answer {
            node.reply(ticket, &store.answer(answer));
            if !connections.contains(&ticket.connection) {
                connections.push(ticket.connection);
            }
        }
    }
    drop(store);
    connections.into_iter().for_each(|connection| node.send(connection));
}

/// The active file is full and no other is ready: waits for one, or tells everybody that there is no space.
async fn wait_for_space(node: &Node) {
    spare::want(node);
    if !node.device_full.get() {
        node.spare_settled.notified().await;
    }
    if !node.device_full.get() || node.log.borrow().spares() > 0 {
        return;
    }
    let refused: Vec<Queued> = node.queue.borrow_mut().drain(..).collect();
    node.store.borrow_mut().forget_waiting();
    took_from_queue(node, node.queued_bytes.get());
    for queued in refused {
        if let Some((ticket, _)) = queued.answer {
            node.reply(ticket, &Reply::Error(SegmentError::DeviceFull));
            node.send(ticket.connection);
        }
    }
}
