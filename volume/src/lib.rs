//! The storage driver. Any paged engine can sit on it: it hands out LSNs, sends redo to six segments a protection
//! group, tracks PGCL, VCL and VDL, answers commits, reads pages, and opens (and so fences) volumes.

mod error;
#[cfg(feature = "memory")]
pub mod memory;
mod store;

pub use error::VolumeError;
pub use store::{BoxFuture, LogStore, Reservation};
