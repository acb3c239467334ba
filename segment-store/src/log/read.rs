//! Reading batches back from the log: from memory when they are new, else from the disk, checked.

use bytes::Bytes;
use sextant_redo::Batch;
use sextant_redo::wire::SegmentError;

use crate::core::LogAddress;
use crate::disk::{AlignedBuf, align_down, align_up};
use crate::log::file_name;
use crate::node::Node;

/// The batch at an address, if it is in memory.
pub(crate) fn cached(node: &Node, at: LogAddress, len: u32) -> Option<Bytes> {
    node.cache.borrow().get(at, len).or_else(|| node.read_cache.borrow().get(at, len))
}

/// The batch at an address; from the disk only if every checksum in it is right.
pub(crate) async fn batch(node: &Node, at: LogAddress, len: u32) -> Result<Bytes, SegmentError> {
    if let Some(bytes) = cached(node, at, len) {
        return Ok(bytes);
    }
    let damaged = |what: String| SegmentError::Damaged {
        what: format!("hot log {} at {}: {what}", file_name(at.file()), at.offset()),
    };
    let file = node.log.borrow().file(at.file()).ok_or_else(|| damaged("the file is gone".into()))?;
    let start = align_down(u64::from(at.offset()));
    let head = (u64::from(at.offset()) - start) as usize;
    let buffer = AlignedBuf::zeroed(align_up(head + len as usize));
    let (result, buffer) = node.disk.read(file, start, buffer).await;
    result.map_err(|error| damaged(error.to_string()))?;
    let bytes = Bytes::from_owner(buffer).slice(head..head + len as usize);
    match Batch::decode(&bytes) {
        Ok(batch) if batch.bytes().len() == len as usize => {
            // A copy of its own: the buffer read may be far larger.
            let bytes = Bytes::copy_from_slice(&bytes);
            node.read_cache.borrow_mut().insert(at, bytes.clone());
            Ok(bytes)
        }
        Ok(_) => Err(damaged("another batch lies there".into())),
        Err(error) => Err(damaged(error.to_string())),
    }
}
