//! Writes checkpoints: first the list of pending records where it has grown old, then the changed blocks of the page maps,
//! then, over all of that, the small file that names them. The cost is that of what has changed since the one before.
//!
//! What must hold: everything that the file names is flushed before the file is replaced, and between the last look at what
//! has changed and the making of the file's bytes nothing runs.

use std::rc::Rc;

use crate::NodeError;
use crate::core::{ImageWriter, LogAddress};
use crate::log::LogPosition;
use crate::metrics::METRICS;
use crate::node::Node;
use crate::recovery::LogStart;

use super::blocks::{self, Piece};
use super::checkpoint::{self, CHECKPOINT_FILE, CheckpointHead, PendingList};
use super::keeper::STUCK;
use super::space::Freed;

/// Share of the log's budget that may be read again at a start.
const SCAN_SHARE: u64 = 8;
/// Bytes of log that a start may have to read for each byte of list: a long list is not written again for a little log.
const SCAN_PER_LISTED: u64 = 4;
/// Pages listed between two turns of the thread for others.
const PAGES_A_STEP: usize = 2048;

/// The newest list of pending records on the device.
#[derive(Debug, Clone)]
pub(crate) struct SavedList {
    pub(crate) list: PendingList,
    /// [`crate::core::Store::cuts`] when it was made.
    pub(crate) cuts: u64,
}

/// Bytes of log behind `from`.
fn log_behind(node: &Node, from: LogPosition) -> u64 {
    let now = node.log.borrow().position();
    u64::from(now.file - from.file) * node.options.log_file_bytes + now.offset - from.offset.min(now.offset)
}

/// True when a start would have to read too much log.
pub(super) fn is_due(node: &Node) -> bool {
    let (from, listed) = {
        let list = node.background.list.borrow();
        let list = list.as_ref().map(|saved| &saved.list);
        list.map_or((LogStart::BEGINNING.scan, 0), |list| (list.from, list.bytes))
    };
    let little = (node.options.log_budget_bytes / SCAN_SHARE).max(node.options.log_file_bytes);
    log_behind(node, from) > little.max(listed * SCAN_PER_LISTED)
}

/// True when the list must be made anew for a checkpoint that frees the log below file `first`.
fn list_is_old(node: &Node, first: u32) -> bool {
    match &*node.background.list.borrow() {
        None => true,
        Some(saved) => saved.list.from.file < first || saved.cuts != node.store.borrow().cuts(),
    }
}

/// Makes a new list. False when the device is full.
async fn save_list(node: &Rc<Node>) -> Result<bool, NodeError> {
    loop {
        let from = node.log.borrow().position();
        let mut writer = ImageWriter::new(&node.store.borrow());
        while !writer.step(&node.store.borrow(), PAGES_A_STEP) {
            tokio::task::yield_now().await;
        }
        let cuts = node.store.borrow().cuts();
        let Some(bytes) = writer.finish(&node.store.borrow()) else {
            continue;
        };
        let Some(pieces) = blocks::write_list(node, &bytes).await? else {
            return Ok(false);
        };
        let list = PendingList { from, pieces, bytes: bytes.len() as u64 };
        let before = node.background.list.replace(Some(SavedList { list, cuts }));
        let slots = before.into_iter().flat_map(|saved| saved.list.pieces).map(|piece: Piece| piece.slot);
        node.background.pages.borrow_mut().supersede(slots);
        return Ok(true);
    }
}

/// Makes the page map durable; then log files below `first` and superseded slots are free. False when it could not be
/// written now.
pub(super) async fn write_checkpoint(node: &Rc<Node>, first: u32) -> Result<bool, NodeError> {
    let renew = is_due(node);
    write_checkpoint_with(node, first, renew).await
}

/// The same without another list, as long as the newest one is good: to write it takes longer than everything else.
pub(super) async fn write_checkpoint_over_list(node: &Rc<Node>, first: u32) -> Result<bool, NodeError> {
    write_checkpoint_with(node, first, false).await
}

async fn write_checkpoint_with(node: &Rc<Node>, first: u32, mut renew: bool) -> Result<bool, NodeError> {
    if node.log.borrow().first_sequence(first).is_none() {
        return Ok(false);
    }
    let (bytes, superseded) = loop {
        if renew || list_is_old(node, first) {
            renew = false;
            if !save_list(node).await? {
                return full(node);
            }
        }
        if !blocks::write_changed(node).await? {
            return full(node);
        }
        if list_is_old(node, first) {
            continue;
        }
        let Some(head) = head(node, first) else {
            return Ok(false);
        };
        let superseded = node.background.pages.borrow_mut().take_superseded();
        break (checkpoint::encode(&head, &node.store.borrow()), superseded);
    };
    let file = node.background.pages.borrow().file();
    if let Some(file) = file {
        let synced = node.disk.sync(file);
        synced.await.map_err(NodeError::disk("flushing the page store"))?;
    }
    let len = bytes.len() as u64;
    match node.disk.replace(CHECKPOINT_FILE, bytes).await {
        Ok(()) => METRICS.checkpoint_written.inc_by(len),
        Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
            node.background.pages.borrow_mut().supersede(superseded);
            return full(node);
        }
        Err(error) => return Err(NodeError::disk("writing the checkpoint")(error)),
    }
    METRICS.checkpoints.inc();
    let floor = LogAddress::new(first, 0);
    node.store.borrow_mut().forget_below(floor);
    let log_files = node.log.borrow_mut().free_below(first);
    node.background.pins.retire(Freed { slots: superseded, log_files });
    Ok(true)
}

fn full(node: &Node) -> Result<bool, NodeError> {
    METRICS.error("disk_full");
    tracing::warn!("no space for a checkpoint; the log is kept until space returns");
    node.background.no_space(node.host.now() + STUCK);
    Ok(false)
}

/// What the checkpoint says besides its segments; nothing may run between this and the encoding.
fn head(node: &Node, first: u32) -> Option<CheckpointHead> {
    let log = node.log.borrow();
    let position = log.position();
    let applied = LogAddress::new(position.file, position.offset as u32);
    let list = node.background.list.borrow().as_ref()?.list.clone();
    let start = LogStart { file: first, reached: position.sequence - 1, applied, scan: list.from };
    let sequences = (first..=position.file).map_while(|number| log.first_sequence(number)).collect();
    Some(CheckpointHead { identity: node.identity, start, sequences, list })
}
