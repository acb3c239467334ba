//! The pure part of a storage node: what a segment knows, what it admits, what it answers. No clock, socket, file or
//! randomness; requests and durable log entries go in, [`Action`]s come out, so a simulator can drive it.
//!
//! State moves in two steps, and only the second one changes what readers see:
//! 1. [`Store::on_request`] *admits* a request: epochs are checked and what must be written is handed out as an
//!    [`Action::Write`];
//! 2. [`Store::on_durable`] *applies* an entry once the log holds it durably. Recovery calls the same function with
//!    the entries it finds, so the state after a restart is by construction the fold of the durable log.
//!
//! Applying is idempotent and, for the entries of one segment, independent of how often the log is replayed over a
//! checkpoint.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

mod chain;
mod chains;
mod copying;
mod coverage;
mod entry;
pub mod gossip;
mod image;
mod index;
mod map;
mod segment;
mod store;
pub mod tail;

pub use chain::{Chain, ChainError, Cut, StoredBatch};
pub use copying::{Copied, CopyPlan, CopyWanted, Copying};
pub use coverage::Coverage;
pub use entry::{Entry, EntryError, LogAddress};
pub use image::{ImageError, ImageReader, ImageWriter};
pub use index::{PageBase, PageIndex, PagePlan, PendingRecord, Slot};
pub use map::{BLOCK_PAGES, BlockBytes, BlockOut, Looked, MapBlock, PageMap, WrongBlock};
pub use segment::{Admission, Segment, SegmentParts};
pub use store::{Action, Answer, LogPlan, PageWanted, SegmentSlot, Store, Ticket, Wanted};

#[cfg(test)]
mod tests;
