//! The task that writes the log: takes everything that waits, writes it as one group, applies it, answers.
//!
//! A group is applied and answered while the next one is on its way to the device: the device waits for nobody's
//! bookkeeping as long as something is there to write.
//!
//! What must hold: between a group's becoming part of the log ([`crate::log::HotLog::written`]) and its being applied nothing
//! else of the node runs, so whoever looks finds store and log position in step.

use std::future::poll_fn;
use std::pin::pin;
use std::rc::Rc;

use sextant_redo::wire::{Reply, SegmentError};

use crate::NodeError;
use crate::core::{Entry, LogAddress, Store};
use crate::disk::AlignedBuf;
use crate::log::{self, Group, LogFull, Prepared, Queued};
use crate::metrics::METRICS;
use crate::node::Node;
use crate::pages::brake::Brake;
use crate::pages::keeper;
use crate::spare;

/// Writes the log until the node fails.
pub(crate) async fn write_log(node: Rc<Node>) {
    let (mut durable, mut brake) = (None, Brake::default());
    while !node.has_failed() {
        if durable.is_none() && node.queue.borrow().is_empty() {
            node.queued.notified().await;
            continue;
        }
        let written = durable.as_ref().map_or(0, |group: &Group| group.buffer.len());
        let pause = brake.pause(&node, written);
        if !pause.is_zero() {
            enter(&node, durable.as_ref());
            settle(&node, durable.take());
            let from = node.host.now();
            node.host.sleep(pause).await;
            brake.waited(node.host.now() - from);
        }
        match step(&node, durable.take()).await {
            Ok(group) => durable = group,
            Err(error) => node.fail(error),
        }
    }
}

/// Takes what waits, as one group, and meanwhile settles the one before, which is durable. The group that is returned is
/// durable and nothing more: the next step, which must come at once, settles it.
pub(crate) async fn step(node: &Node, durable: Option<Group>) -> Result<Option<Group>, NodeError> {
    enter(node, durable.as_ref());
    match prepare(node) {
        Some(Ok(Prepared::Group(group))) => {
            let mut written = pin!(write(node, group));
            let mut durable = durable;
            // The first poll hands the write to the disk.
            poll_fn(|context| {
                let polled = written.as_mut().poll(context);
                settle(node, durable.take());
                polled
            })
            .await
            .map(Some)
        }
        Some(Ok(Prepared::Turns(turns))) => {
            settle(node, durable);
            answer(node, turns.iter());
            Ok(None)
        }
        Some(Err(LogFull)) => {
            settle(node, durable);
            wait_for_space(node).await;
            Ok(None)
        }
        None => {
            settle(node, durable);
            Ok(None)
        }
    }
}

/// What to do with what waits, if something does.
fn prepare(node: &Node) -> Option<Result<Prepared, LogFull>> {
    let mut queue = node.queue.borrow_mut();
    (!queue.is_empty()).then(|| node.log.borrow_mut().prepare(&mut queue))
}

async fn write(node: &Node, mut group: Group) -> Result<Group, NodeError> {
    let started = node.host.now();
    let len = group.buffer.len();
    let buffer = std::mem::replace(&mut group.buffer, AlignedBuf::zeroed(1));
    let (result, buffer) = node.disk.append(group.file, group.offset, buffer, node.flush).await;
    group.buffer = buffer;
    let place =
        || format!("writing the hot log ({}, offset {})", log::file_name(group.start.file()), group.offset);
    result.map_err(|source| NodeError::Disk { what: place(), source })?;
    METRICS.write_seconds.observe((node.host.now() - started).as_secs_f64());
    METRICS.groups.inc();
    METRICS.written_bytes.inc_by(len as u64);
    METRICS.group_bytes.observe(len as f64);
    METRICS.group_entries.observe(group.members.len() as f64);
    Ok(group)
}

/// A durable group is part of the log now, and must be settled before anything else runs.
fn enter(node: &Node, durable: Option<&Group>) {
    if let Some(group) = durable {
        node.log.borrow_mut().written(group);
    }
}

/// Applies what a group holds, and answers.
fn settle(node: &Node, durable: Option<Group>) {
    let Some(group) = durable else { return };
    apply(node, &group);
    let Group { start, buffer, members, .. } = group;
    node.cache.borrow_mut().insert(start, bytes::Bytes::from_owner(buffer));
    answer(node, members.iter().map(|(queued, _)| queued));
    spare::want(node);
}

fn apply(node: &Node, group: &Group) {
    let mut store = node.store.borrow_mut();
    let (mut waited, pending) = (0, store.pending_records());
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
        left_queue(node, entry);
    }
    if (pending + 1..=store.pending_records()).contains(&keeper::memory_is_short_at(&node.options)) {
        node.background.wake();
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

fn left_queue(node: &Node, entry: &Entry) {
    if let Some(header) = entry.batch_header() {
        node.inflow.borrow_mut().left_queue(header);
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
        queued.entry.iter().for_each(|entry| left_queue(node, entry));
        if let Some((ticket, _)) = queued.answer {
            node.reply(ticket, &Reply::Error(SegmentError::DeviceFull));
            node.send(ticket.connection);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use sextant_redo::Lsn;

    use super::*;
    use crate::disk::memory::{Image, MemoryDisk};
    use crate::server::ReplySink;
    use crate::testing::{NOBODY, SEGMENT, Writer, append, block_on, create, open, submit};

    /// How many groups the disk had been given when each answer came.
    struct Answers {
        disk: Rc<MemoryDisk>,
        groups: RefCell<Vec<usize>>,
    }

    fn groups(disk: &MemoryDisk) -> usize {
        disk.asked().iter().filter(|name| **name == "append").count()
    }

    impl ReplySink for Answers {
        fn push(&self, _: u64, reply: &Reply) {
            assert!(matches!(reply, Reply::Appended { .. }), "{reply:?}");
            self.groups.borrow_mut().push(groups(&self.disk));
        }

        fn flush(&self) {}
    }

    #[test]
    fn a_group_is_applied_and_answered_while_the_next_one_is_on_its_way() {
        block_on(async {
            let (node, disk) = open(Image::new()).await.expect("new");
            submit(&node, vec![create(1)]).await.expect("created");
            let answers = Rc::new(Answers { disk: disk.clone(), groups: RefCell::default() });
            node.connect(NOBODY.connection, answers.clone());
            let scl = || node.store.borrow().segments()[&SEGMENT].segment.scl();
            let (mut writer, before) = (Writer::new(1), groups(&disk));
            node.on_request(NOBODY, append(1, writer.batch(&[(1, 1)])));
            let start = node.log_position();
            let first = step(&node, None).await.expect("written");
            assert_eq!((scl(), node.log_position()), (Lsn::ZERO, start), "log and store are in step");
            let last = writer.last;
            node.on_request(NOBODY, append(1, writer.batch(&[(2, 2)])));
            let second = step(&node, first).await.expect("written");
            assert_eq!(scl(), last);
            assert!(node.log_position() > start);
            assert!(step(&node, second).await.expect("settled").is_none());
            assert_eq!(scl(), writer.last);
            assert_eq!(*answers.groups.borrow(), [before + 2, before + 2]);
        });
    }
}
