//! The task that keeps an empty log file ready for when the active one is full.
//!
//! A new file is written with zeros once, which takes the device some tenths of a second when it is done in one go; log waits
//! for it then, and so do commits, the more so where several nodes share a device and their files fill up together. So it
//! is made in step with the active file.

use std::rc::Rc;
use std::time::Duration;

use crate::NodeError;
use crate::disk::{FileId, Pacer};
use crate::log;
use crate::metrics::METRICS;
use crate::node::Node;

/// How long until space is looked for again on a full device.
const FULL_RETRY: Duration = Duration::from_secs(1);

/// More log was written, or waits for a file: the next one is wanted, or more of it.
pub(crate) fn want(node: &Node) {
    let log = node.log.borrow();
    if log.spares() == 0 {
        node.spare_wanted.notify_one();
        node.spare_pacer.borrow().due(log.spare_due());
    }
}

/// Keeps one empty log file ready until the node fails.
pub(crate) async fn keep_spare(node: Rc<Node>) {
    while !node.has_failed() {
        if node.log.borrow().spares() > 0 {
            node.spare_wanted.notified().await;
            continue;
        }
        let number = node.log.borrow().next_number();
        match next_file(&node, number).await {
            Ok(file) => {
                node.log.borrow_mut().add_spare(number, file);
                if node.device_full.replace(false) {
                    tracing::info!("there is space again: log is accepted");
                }
                node.spare_settled.notify_one();
            }
            Err(error) if error.kind() == std::io::ErrorKind::StorageFull => {
                if !node.device_full.replace(true) {
                    METRICS.error("disk_full");
                    tracing::error!(
                        "the device is full: once the active log file is full no log is accepted; reads go on"
                    );
                }
                node.spare_settled.notify_one();
                node.host.sleep(FULL_RETRY).await;
            }
            Err(error) => node.fail(NodeError::disk(format!("making {}", log::file_name(number)))(error)),
        }
    }
}

/// An empty file under the name of log file `number`: one that was freed, or a new one.
pub(crate) async fn next_file(node: &Node, number: u32) -> std::io::Result<FileId> {
    let name = log::file_name(number);
    let empty = node.background.empty_files.borrow_mut().pop();
    let (file, how) = match empty {
        Some((before, file)) => {
            node.disk.rename(&log::file_name(before), &name).await?;
            (file, "reused")
        }
        None => (make(node, &name).await?, "made"),
    };
    METRICS.log_files.with_label_values(&[how]).inc();
    Ok(file)
}

async fn make(node: &Node, name: &str) -> std::io::Result<FileId> {
    let pacer = Pacer::default();
    pacer.due(node.log.borrow().spare_due());
    let pace = pacer.pace();
    node.spare_pacer.replace(pacer);
    node.disk.create_in_step(name, node.options.log_file_bytes, pace).await
}
