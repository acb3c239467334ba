//! The storage driver. Any paged engine can sit on it: it hands out LSNs, sends redo to six segments a protection
//! group, tracks PGCL, VCL and VDL, answers commits, reads pages, and opens (and so fences) volumes.

mod commit;
mod directory;
mod driver;
mod error;
mod group_commit;
mod log;
pub mod membership;
#[cfg(feature = "memory")]
pub mod memory;
mod metrics;
mod open;
pub mod quorum;
pub mod recovery;
mod space;
pub mod status;
mod store;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
pub mod tracker;
mod volume;

pub use error::VolumeError;
pub use open::{LAL_BYTES, OpenOptions, Opened};
pub use store::{BoxFuture, LogStore, OpenTransaction, Reservation};
pub use volume::Volume;
