//! The page cache, mini-transactions and B+trees of the engine under a scheduler that tries many interleavings.
//!
//! The modules below are the engine's own files, compiled once more over another [`sync`]: their locks, atomics, sleeps and
//! time-outs are shuttle's, which runs all threads as coroutines of one and decides at each such operation who goes on. What
//! a model finds is in the code that users run, and no build of the engine knows of it (decision 22).
//!
//! | file | models |
//! | --- | --- |
//! | `cache` | pins against eviction, fetches that meet, fail or are dropped, images that must not be stale |
//! | `latches` | reading what is being written, latches in opposite order, pages made without asking storage |
//! | `trees` | splits and unlinked leaves under everyone's feet |
//!
//! `store` is the volume below, `explore` runs a model under the schedulers. What a model cannot see: orderings weaker than
//! sequential consistency, and anything inside tokio's and the volume's own channels, whose steps count as one.

#[allow(dead_code, unreachable_pub, unused_imports, reason = "layers above use what the models do not")]
#[path = "../../src/btree/mod.rs"]
mod btree;
#[allow(dead_code, unreachable_pub, unused_imports, reason = "layers above use what the models do not")]
#[path = "../../src/buffer/mod.rs"]
mod buffer;
#[allow(dead_code, unreachable_pub, unused_imports, reason = "layers above use what the models do not")]
#[path = "../../src/mtr.rs"]
mod mtr;
#[allow(dead_code, unreachable_pub, unused_imports, reason = "layers above use what the models do not")]
#[path = "../../src/space.rs"]
mod space;

pub mod cache;
pub mod explore;
pub mod latches;
mod store;
mod sync;
pub mod trees;
