//! The storage server: one process, one thread for the hot path. It takes batches of redo, makes them durable in a hot
//! log that all its segments share, tells how far each segment's chain is whole, and makes pages from the log.
//!
//! | module | idea |
//! | --- | --- |
//! | [`core`] | pure state machines: segment chain, epochs, truncation, page index; requests in, actions out |
//! | [`log`] | the hot log's files, groups and newest bytes |
//! | [`recovery`] | from the disk back to the state that was acknowledged |
//! | [`pages`] | pages at a read point, and page images made in the background |
//! | [`disk`] | the seam to the device: io_uring, or threads where that is forbidden |
//! | [`host`] | the seam to the machine: time and tasks |
//! | `inflow` | back-pressure: log waits at the door while memory has no room for its records |
//! | [`server`] | connections, replies |
//! | [`health`] | gossip, copies of segments, scrubbing and repair, with the help of peers |
//! | [`peers`] | the seam to the other copies |
//! | [`node`] | what the tasks of the one thread share |
//! | [`admin`] | a client for tools that look at a node from outside |
//!
//! The life of an append: frame read -> epochs and checksums checked -> room for its records, or it waits -> queued -> one group of all that waits, one
//! durable write -> applied to chain and page index -> answered with the SCL. Nothing is applied or answered before it
//! is durable, and recovery applies the same entries by the same code.

pub mod admin;
mod appender;
mod config;
pub mod core;
pub mod disk;
mod error;
#[cfg(test)]
mod faults;
pub mod health;
pub mod host;
mod inflow;
pub mod log;
mod membership;
mod metrics;
pub mod node;
pub mod pages;
pub mod peers;
pub mod recovery;
mod run;
pub mod server;
mod spare;
#[cfg(test)]
mod testing;

pub use config::SegmentConfig;
pub use error::NodeError;
pub use run::run;
