//! The common language of all rooms: what a log sequence number is, what a redo record says, how records travel
//! and how one is applied to a page. Pure data and pure functions; no clock, socket, file or randomness.
//!
//! | module | idea |
//! | --- | --- |
//! | [`ids`] | newtypes for every number that crosses a crate boundary |
//! | [`page`] | the 8 KiB page and its header: page LSN, page id, CRC32C |
//! | [`patch`] | byte patches of one page: set, move, fill, image, stamp |
//! | [`mtr`] | a mini-transaction under construction: pages and their patches, committed as a whole |
//! | [`record`] | a redo record: LSN, the three back-links, one page, its patches |
//! | [`batch`] | records of one protection group in a row, encoded once: the same bytes on the wire and on disk |
//! | [`mod@apply`] | `apply(record, page)`, total |
//! | [`segments`] | what the copies of a group keep: log and pages, or log alone |
//! | [`truncation`] | ranges of the log that a volume opening declared void |
//! | [`frame`] | the envelope of every message on a Sextant TCP connection |
//! | [`wire`] | requests and replies between the engine (or a peer) and a storage node |
//!
//! Byte-exact layouts are in `docs/formats.md`.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

pub mod apply;
pub mod batch;
pub mod codec;
pub mod frame;
pub mod ids;
pub mod mtr;
pub mod page;
pub mod patch;
pub mod record;
pub mod segments;
pub mod truncation;
pub mod wire;

pub use apply::{ApplyError, apply};
pub use batch::{Batch, BatchBuilder, BatchError, BatchHeader, RecordAt};
pub use codec::DecodeError;
pub use ids::{
    AzId, ClusterId, Geometry, GeometryEpoch, Lsn, MembershipEpoch, NodeId, PageId, PgId, SegmentId,
    VolumeEpoch, VolumeId,
};
pub use mtr::{Mtr, PageChange};
pub use page::{PAGE_BODY, PAGE_HEADER, PAGE_SIZE, Page, PageError};
pub use record::{Record, RecordLinks};
pub use segments::{SegmentKind, Segments};
pub use truncation::{TruncationRange, Truncations};
