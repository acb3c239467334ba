//! The hot log of a node, shared by all its segments: preallocated files of groups. Everything that waits is gathered
//! into one group, written by one direct write and made durable before any of it is answered.
//!
//! What must hold:
//! - one group is in flight at a time, so behind a group that is not valid there is never a later one that was
//!   acknowledged: recovery can tell a torn tail (normal) from damage;
//! - groups have consecutive sequence numbers, over the ends of files too;
//! - a file that is used again is told from its past by file number and sequence.

mod cache;
pub(crate) mod layout;
pub(crate) mod read;
pub(crate) mod runs;
mod writer;

pub use cache::LogCache;
pub use layout::{FileHeader, GroupHeader, LayoutError, LogIdentity};
pub use writer::{Group, HotLog, LogFull, LogPosition, Prepared, Queued};

/// Name of log file `number`.
#[must_use]
pub fn file_name(number: u32) -> String {
    format!("log-{number:06}.sxl")
}

/// Number of the log file called `name`; `None` when it is none.
#[must_use]
pub fn file_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("log-")?.strip_suffix(".sxl")?;
    let number = digits.parse().ok()?;
    (digits.len() >= 6 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(number)
}
