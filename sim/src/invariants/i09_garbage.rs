//! I9, garbage: nothing that an open instance may still read is collected, and a read at or above the floor is never
//! refused for good. Source: P18 section 3.4 (PGMRPL).

use sextant_redo::wire::SegmentError;
use sextant_redo::{Lsn, NodeId};

use super::{Checked, check};

/// A copy has refused a read of the current writer at `read_point`, whose floor is `floor`. Another copy or a later
/// moment must be able to serve it; "too old" and "bad request" never pass.
pub fn refusal_passes(read_point: Lsn, floor: Lsn, error: &SegmentError) -> Checked {
    let for_good = matches!(error, SegmentError::ReadPointTooOld { .. } | SegmentError::BadRequest { .. });
    check("I9", !for_good, || {
        format!("a read at {read_point} was refused for good, while the floor is {floor}: {error}")
    })
}

/// The copy on `node`, of the current opening, collects below `pgmrpl`; its writer still reads at `oldest`.
pub fn floor_spares_readers(node: NodeId, pgmrpl: Lsn, oldest: Lsn) -> Checked {
    check("I9", pgmrpl <= oldest, || {
        format!("the copy on node {node} collects below {pgmrpl}, and is still read at {oldest}")
    })
}
