//! I7, order: readers see commits in commit-LSN order and never beyond their VDL; acknowledgements of one writer come in
//! LSN order. Source: P18 section 3.4; Jepsen's finding of a long fork in a healthy cluster.

use sextant_redo::{Lsn, PageId};

use super::{Checked, check};

/// A page at `lsn` was served to a reader at `read_point`.
pub fn page_is_not_from_the_future(id: PageId, lsn: Lsn, read_point: Lsn) -> Checked {
    check("I7", lsn <= read_point, || format!("{id:?} was read at {read_point} and is of {lsn}"))
}

/// A reader asks at `read_point`, and its VDL is `vdl`.
pub fn reads_stay_at_or_below_vdl(read_point: Lsn, vdl: Lsn) -> Checked {
    check("I7", read_point <= vdl, || format!("a page was read at {read_point}, above the VDL {vdl}"))
}

/// Commit `cpl` is acknowledged behind `before`.
pub fn acks_come_in_order(before: Lsn, cpl: Lsn) -> Checked {
    check("I7", before < cpl, || format!("commit {cpl} was acknowledged behind {before}"))
}
