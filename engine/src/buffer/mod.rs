//! The page cache: 8 KiB frames in one mapped arena, bounded in bytes. Pages are read and changed in place by
//! synchronous steps; what a step misses is fetched between its tries, when no latch is held.
//!
//! | file | idea |
//! | --- | --- |
//! | `frame` | the arena, latches, pins, claims: who may touch which bytes; all `unsafe` |
//! | `table` | page -> frame, sharded; which pages are being fetched |
//! | `pool` | look-up, latching, CLOCK eviction of durable pages |
//! | `fetch` | one request a page however many ask; why no stale image is ever installed |
//! | `hints` | where searches ended, for the next one |
//! | `run` | steps redone until done; log space; commit |
//! | `step`, `error`, `metrics` | why a step stopped; what can go wrong; figures |

mod error;
mod fetch;
mod frame;
mod hints;
mod metrics;
mod pool;
mod run;
mod step;
mod table;
#[cfg(test)]
pub(crate) mod tests;

pub use error::StorageError;
pub(crate) use frame::Exclusive;
pub use metrics::PoolStats;
pub use pool::{BufferPool, Pin, ReadGuard};
pub(crate) use pool::{Spot, Wait};
pub(crate) use run::LogSpace;
pub use step::{Step, Stop};
