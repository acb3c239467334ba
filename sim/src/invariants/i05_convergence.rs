//! I5, convergence: once everything is healed, all copies reach equal SCLs and byte-equal pages. Source: P17 section
//! 3.3 (gossip fills holes); the writer brings a copy up to date when it joins it.
//!
//! On a live cluster at rest: [`copies_are_equal`] over the answers of a group's copies to `Status`, and
//! [`pages_are_equal`] over one page as every copy serves it at one read point.

use sextant_redo::wire::SegmentState;
use sextant_redo::{Lsn, NodeId, PageId, PgId};

use super::{Checked, check};

/// The copies of a group whose last record is `last`.
pub fn copies_are_complete(pg: PgId, last: Lsn, scls: &[Lsn]) -> Checked {
    check("I5", scls.iter().all(|scl| *scl == last), || {
        format!("{pg:?} ends at {last}, but after healing its copies stand at {scls:?}")
    })
}

/// The copies of a group at rest: equal epochs, equal SCLs without a hole, equal truncation lists.
pub fn copies_are_equal(pg: PgId, copies: &[(NodeId, SegmentState)]) -> Checked {
    let Some((first, model)) = copies.first() else { return Ok(()) };
    for (node, copy) in copies {
        let equal = copy.scl == model.scl
            && copy.highest == copy.scl
            && copy.epochs == model.epochs
            && copy.truncations == model.truncations;
        check("I5", equal, || {
            format!("{pg:?} is not the same on all nodes: {model:?} on node {first}, {copy:?} on node {node}")
        })?;
    }
    Ok(())
}

/// A while after a copy of the group was complete to `best`, the copy on `node` is complete to `scl`.
pub fn copy_has_caught_up(pg: PgId, node: NodeId, best: Lsn, scl: Lsn) -> Checked {
    check("I5", scl >= best, || {
        format!(
            "the copy of {pg:?} on node {node} stands at {scl} and does not reach {best}, which another one has"
        )
    })
}

/// Page `id` at one read point, as each node has it.
pub fn pages_are_equal<B: AsRef<[u8]>>(id: PageId, read_point: Lsn, images: &[(NodeId, B)]) -> Checked {
    let Some((first, model)) = images.first() else { return Ok(()) };
    let other = images.iter().find(|(_, image)| image.as_ref() != model.as_ref()).map(|(node, _)| *node);
    check("I5", other.is_none(), || {
        format!("{id:?} at {read_point} has other bytes on node {first} than on node {other:?}")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::invariants::tests::state;

    #[test]
    fn copies_that_differ_are_seen() {
        let with = |scl| (NodeId(scl), state(3, scl));
        assert_eq!(copies_are_equal(PgId(0), &[with(100), with(100)]), Ok(()));
        assert!(copies_are_equal(PgId(0), &[with(100), with(90)]).is_err());
        let mut hole = with(100);
        hole.1.highest = Lsn(130);
        assert!(copies_are_equal(PgId(0), &[with(100), hole]).is_err());
        let images = [(NodeId(1), [1u8, 2]), (NodeId(2), [1, 2]), (NodeId(3), [1, 3])];
        assert_eq!(pages_are_equal(PageId(7), Lsn(9), &images[..2]), Ok(()));
        assert!(pages_are_equal(PageId(7), Lsn(9), &images).is_err());
    }
}
