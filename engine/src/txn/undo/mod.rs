//! Older versions: undo records in pages of their own, appended by one transaction at a time.

mod page;
mod reclaim;
mod record;
mod space;

pub(crate) use page::{append, read_record};
pub(crate) use reclaim::ReclaimReport;
pub(crate) use record::{Newer, encode};
pub(crate) use space::{Slot, UndoSpace};
