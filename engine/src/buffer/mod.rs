//! The page cache: 8 KiB frames in one mapped arena, bounded in bytes.

mod error;
mod pool;
mod step;

pub use error::StorageError;
pub use pool::{BufferPool, Pin, ReadGuard};
pub use step::{Step, Stop};
