//! I9, garbage: nothing that an open instance may still read is collected, and a read at or above the floor is never
//! refused for good. Source: P18 section 3.4 (PGMRPL). A tail gives up no log that a full segment of its group lacks:
//! decision 23.

use sextant_redo::wire::{SegmentError, SegmentState};
use sextant_redo::{Lsn, NodeId, SegmentKind};

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

/// The copies of a group, of which `kinds` says what they keep: without successors, which have nothing yet.
pub fn tails_spare_full_segments(
    kinds: &[(NodeId, SegmentKind)],
    copies: &[(NodeId, SegmentState)],
) -> Checked {
    let of = |wanted: SegmentKind| {
        copies.iter().filter(move |(node, _)| kinds.iter().any(|(n, kind)| n == node && *kind == wanted))
    };
    for (tail, theirs) in of(SegmentKind::Tail) {
        let lacking = of(SegmentKind::Full).find(|(_, full)| full.scl < theirs.log_start);
        check("I9", lacking.is_none(), || {
            format!(
                "the tail on node {tail} has log from {} on only; {lacking:?} lacks more",
                theirs.log_start
            )
        })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::state;

    #[test]
    fn a_tail_that_gave_up_too_much_is_seen() {
        let kinds = [(NodeId(1), SegmentKind::Full), (NodeId(2), SegmentKind::Tail)];
        let copies = |scl, log_start| {
            let tail = SegmentState { log_start: Lsn(log_start), ..state(1, 100) };
            [(NodeId(1), state(1, scl)), (NodeId(2), tail), (NodeId(3), state(1, 10))]
        };
        assert_eq!(tails_spare_full_segments(&kinds, &copies(50, 50)), Ok(()), "node 3 is a successor");
        assert!(tails_spare_full_segments(&kinds, &copies(49, 50)).is_err());
    }
}
