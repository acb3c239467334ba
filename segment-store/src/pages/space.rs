//! Space of the device: slots and log files are taken, and come back when no checkpoint names them and no reader looks at
//! them any more.

use crate::NodeError;
use crate::core::Slot;
use crate::disk::FileId;
use crate::log;
use crate::metrics::METRICS;
use crate::node::Node;

use super::keeper::STUCK;
use super::store;

/// Space that a checkpoint no longer names.
#[derive(Debug)]
pub(crate) struct Freed {
    pub(super) slots: Vec<Slot>,
    pub(super) log_files: Vec<(u32, FileId)>,
}

/// A free slot; `None` when the device is full.
pub(super) async fn free_slot(node: &Node) -> Result<Option<(FileId, Slot)>, NodeError> {
    let _turn = node.background.growing.lock().await;
    loop {
        let (file, slots) = {
            let mut pages = node.background.pages.borrow_mut();
            let file = pages.file();
            if let (Some(file), Some(slot)) = (file, pages.take_free()) {
                return Ok(Some((file, slot)));
            }
            (file, pages.grown())
        };
        match store::grow(&*node.disk, file, slots).await? {
            Some(file) => node.background.pages.borrow_mut().set_slots(file, slots),
            None => {
                METRICS.error("disk_full");
                tracing::warn!("no space for page images; the log is kept until space returns");
                node.background.retry_at.set(Some(node.host.now() + STUCK));
                return Ok(None);
            }
        }
    }
}

/// Hands out again what no reader can look at any more.
pub(super) async fn use_again(node: &Node) -> Result<(), NodeError> {
    for freed in node.background.pins.collect() {
        node.background.pages.borrow_mut().release(freed.slots);
        for (number, file) in freed.log_files {
            node.log.borrow_mut().forget_file(number);
            node.background.empty_files.borrow_mut().push((number, file));
        }
    }
    // One is kept for when the active file is full; a log that has shrunk gives the rest back to the device.
    loop {
        let excess = {
            let mut empty = node.background.empty_files.borrow_mut();
            if empty.len() > 1 { empty.pop() } else { None }
        };
        let Some((number, file)) = excess else {
            return Ok(());
        };
        node.disk.close(file);
        let name = log::file_name(number);
        node.disk.delete(&name).await.map_err(NodeError::disk(format!("deleting {name}")))?;
    }
}
