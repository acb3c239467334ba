//! I1, durability: an acknowledged commit is readable after any recovery while at least three of six copies of each
//! protection group are intact. Source: P17 section 2.1, P18 section 2.4. Three checks: an opening keeps everything
//! acknowledged; what is declared durable stands on a write quorum of disks; a copy that starts again has what it had
//! acknowledged.

use sextant_redo::{Lsn, PgId, SegmentKind, VolumeEpoch};

use super::{Checked, check};
use crate::model::Model;

/// Copies that make a write quorum.
const WRITE_QUORUM: usize = 4;
/// Full copies that do, where the others are tails.
const FULL_QUORUM: usize = 3;

/// An opening under `epoch` came through and found `vdl`.
pub fn opening_keeps_commits(model: &Model, epoch: VolumeEpoch, vdl: Lsn) -> Checked {
    let lost = model.commits.iter().rev().find(|(lsn, commit)| {
        commit.acked && commit.epoch < epoch && **lsn > vdl && model.is_live(commit.epoch, **lsn, epoch)
    });
    check("I1", lost.is_none(), || {
        format!("the opening under {epoch:?} found VDL {vdl}, but {lost:?} was acknowledged")
    })
}

/// A writer of `epoch` declares everything at or below `vdl` durable. `copies` are the kinds of a group's six members and the
/// SCLs on their disks.
pub fn durable_on_a_quorum(
    model: &Model,
    epoch: VolumeEpoch,
    vdl: Lsn,
    pg: PgId,
    copies: &[(SegmentKind, Lsn)],
) -> Checked {
    let last = model.last_record(pg, vdl, epoch);
    check("I1", is_write_quorum(copies, last), || {
        format!(
            "{epoch:?} says {vdl} is durable; {pg:?} ends at {last} there, but its copies stand at {copies:?}"
        )
    })
}

/// Four of any kind, or where there are tails the three full ones.
fn is_write_quorum(copies: &[(SegmentKind, Lsn)], last: Lsn) -> bool {
    let have = copies.iter().filter(|(_, scl)| *scl >= last);
    let full = have.clone().filter(|(kind, _)| kind.is_full()).count();
    let tails = copies.iter().any(|(kind, _)| !kind.is_full());
    have.count() >= WRITE_QUORUM || (tails && full >= FULL_QUORUM)
}

/// A copy has started again; `lost` tells what it had acknowledged and has no more.
pub fn copy_keeps_its_word(node: usize, lost: Option<&String>) -> Checked {
    check("I1", lost.is_none(), || format!("node {node} lost what it had acknowledged: {lost:?}"))
}

/// The writer had called everything up to `vdl` durable before the copies of a group were asked; they stand at `copies`, as
/// many as answered, and `next` is the first record above the highest SCL that could be a write quorum's.
pub fn nothing_durable_is_rare(pg: PgId, vdl: Lsn, next: Option<Lsn>, copies: &[Lsn]) -> Checked {
    check("I1", next.is_none_or(|next| next > vdl), || {
        format!(
            "{vdl} is said to be durable, but of {pg:?} record {next:?} is not on a write quorum: {copies:?}"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn three_tails_are_no_quorum() {
        use SegmentKind::{Full, Tail};
        let at = |scls: [u64; 6]| {
            let kinds = [Full, Tail, Full, Tail, Full, Tail];
            kinds.into_iter().zip(scls.map(Lsn)).collect::<Vec<_>>()
        };
        assert!(is_write_quorum(&at([9, 0, 9, 0, 9, 0]), Lsn(9)));
        assert!(is_write_quorum(&at([9, 9, 0, 9, 0, 9]), Lsn(9)));
        assert!(!is_write_quorum(&at([0, 9, 0, 9, 0, 9]), Lsn(9)));
        assert!(!is_write_quorum(&at([9, 9, 9, 0, 0, 0]), Lsn(9)));
        let full = [Lsn(9), Lsn(9), Lsn(9), Lsn(0), Lsn(0), Lsn(0)].map(|scl| (Full, scl));
        assert!(!is_write_quorum(&full, Lsn(9)), "of six full ones four are needed");
    }

    #[test]
    fn a_durable_record_that_few_copies_have_is_found() {
        let rare = |next| nothing_durable_is_rare(PgId(0), Lsn(100), next, &[Lsn(90), Lsn(110)]);
        assert!(rare(None).is_ok() && rare(Some(Lsn(101))).is_ok());
        assert!(rare(Some(Lsn(100))).is_err());
    }
}
