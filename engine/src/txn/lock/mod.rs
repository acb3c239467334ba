//! Locks that wait: rows and tables, in memory only. After a crash no lock exists, and no transaction that held one.

mod manager;
mod mode;
mod queue;

pub(crate) use manager::{LockManager, Taken};
pub(crate) use mode::{LockKey, Mode};
pub use mode::{LockWait, RowLock, TableLock};
