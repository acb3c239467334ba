//! What the page cache locks, counts and waits with.
//!
//! The modules of pages (`buffer`, `mtr`, `space`, `btree`) take all of it from here, and nothing else from outside their
//! layer. So `engine/models` can compile the same files over its own `sync`, whose scheduler decides who goes on at each of
//! these operations (decision 22). For everybody else this file is names and no code.

pub(crate) use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
pub(crate) use std::time::Instant;

pub(crate) use parking_lot::{Mutex, MutexGuard, RawRwLock};
pub(crate) use tokio::task::yield_now;
pub(crate) use tokio::time::{sleep, timeout};
