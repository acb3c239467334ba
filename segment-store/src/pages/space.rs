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

/// Runs of slots given back between two looks at what else there is to do.
const GIVEN_BACK_AT_ONCE: usize = 64;

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
        let (file, run, slots) = {
            let mut pages = node.background.pages.borrow_mut();
            let file = pages.file();
            if let (Some(file), Some(slot)) = (file, pages.take_free()) {
                return Ok(Some((file, slot)));
            }
            (file, pages.run_to_reserve(), pages.grown())
        };
        let has_space = match file.zip(run) {
            Some((file, run)) => {
                let reserved = store::reserve(&*node.disk, file, run).await?;
                if reserved {
                    node.background.pages.borrow_mut().reserved(run);
                }
                reserved
            }
            None => {
                let grown = store::grow(&*node.disk, file, slots).await?;
                grown.inspect(|file| node.background.pages.borrow_mut().set_slots(*file, slots)).is_some()
            }
        };
        if !has_space {
            METRICS.error("disk_full");
            tracing::warn!("no space for page images; the log is kept until space returns");
            node.background.no_space(node.host.now() + STUCK);
            return Ok(None);
        }
    }
}

/// Gives the device back what the page store does not use and will not use soon.
pub(super) async fn give_back(node: &Node) -> Result<(), NodeError> {
    // So that nobody makes the file longer meanwhile, and nobody waits long.
    let _turn = node.background.growing.lock().await;
    for _ in 0..GIVEN_BACK_AT_ONCE {
        let (file, run) = {
            let mut pages = node.background.pages.borrow_mut();
            (pages.file(), pages.run_to_give_back())
        };
        let Some((file, run)) = file.zip(run) else { break };
        store::give_back(&*node.disk, file, run).await?;
    }
    Ok(())
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
    // A file used again is one that need not be made. A log that has shrunk gives the rest back, but for one file for when
    // the active one is full.
    loop {
        let excess = {
            let mut empty = node.background.empty_files.borrow_mut();
            let all = node.log.borrow().file_count() + empty.len();
            if all > node.options.log_files_max() && empty.len() > 1 { empty.pop() } else { None }
        };
        let Some((number, file)) = excess else {
            return Ok(());
        };
        node.disk.close(file);
        let name = log::file_name(number);
        node.disk.delete(&name).await.map_err(NodeError::disk(format!("deleting {name}")))?;
    }
}
