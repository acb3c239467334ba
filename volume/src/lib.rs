//! The storage driver. Any paged engine can sit on it: it hands out LSNs, sends redo to six segments a protection
//! group, tracks PGCL, VCL and VDL, answers commits, reads pages, and opens (and so fences) volumes.

mod commit;
mod error;
mod log;
#[cfg(feature = "memory")]
pub mod memory;
mod metrics;
pub mod quorum;
pub mod recovery;
mod space;
mod store;
pub mod tracker;

pub use error::VolumeError;
pub use store::{BoxFuture, LogStore, Reservation};
