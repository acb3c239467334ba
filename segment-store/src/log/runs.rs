//! Records that lie close together in the log are read in one go. A transfer of some tens of KiB takes a device hardly longer
//! than one of 4 KiB, and every transfer has its price on the processor besides: a page whose records were written in a
//! row costs a few reads then, not one a record.

use std::borrow::Borrow;
use std::ops::Range;

use crate::core::PendingRecord;

/// What one transfer brings.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Limits {
    /// Bytes between two records that are rather read along than given a transfer of their own.
    pub(crate) gap_bytes: u64,
    /// Bytes of one transfer, unless a single record is larger.
    pub(crate) bytes: u64,
}

/// For one page: small enough not to hold up a write for long.
const OF_A_PAGE: Limits = Limits { gap_bytes: 16 << 10, bytes: 128 << 10 };

/// The records of a page, in the order given, as ranges of those that one read brings.
pub(crate) fn runs(records: &[PendingRecord]) -> Vec<Range<usize>> {
    runs_within(records, OF_A_PAGE)
}

/// The same for any records.
pub(crate) fn runs_within<R: Borrow<PendingRecord>>(records: &[R], limits: Limits) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (at, record) in records.iter().enumerate() {
        match runs.last_mut() {
            Some(run) if goes_on(&records[run.clone()], record.borrow(), limits) => run.end = at + 1,
            _ => runs.push(at..at + 1),
        }
    }
    runs
}

/// True when `record` lies behind the others in the same file, and near.
fn goes_on<R: Borrow<PendingRecord>>(run: &[R], record: &PendingRecord, limits: Limits) -> bool {
    let (Some(first), Some(last)) = (run.first(), run.last()) else { return false };
    let (first, last): (&PendingRecord, &PendingRecord) = (first.borrow(), last.borrow());
    let (start, end) = (first.at().0, last.at().0 + u64::from(last.len));
    let at = record.at().0;
    record.at().file() == first.at().file()
        && at >= end
        && at - end <= limits.gap_bytes
        && at + u64::from(record.len) - start <= limits.bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::record_at as record;

    #[test]
    fn neighbours_are_read_together_and_nothing_else_is() {
        let near = [record(1, 4096, 100), record(1, 4300, 100), record(1, 20_000, 100)];
        assert_eq!(runs(&near), std::slice::from_ref(&(0..3)));
        assert!(runs(&[]).is_empty());
        let far = [record(1, 4096, 100), record(1, 4196 + 16_385, 100)];
        assert_eq!(runs(&far), [0..1, 1..2]);
        assert_eq!(runs(&[record(1, 9000, 100), record(2, 9100, 100)]), [0..1, 1..2], "another file");
        assert_eq!(runs(&[record(1, 9000, 100), record(1, 8000, 100)]), [0..1, 1..2], "not in order");
    }

    #[test]
    fn a_run_is_bounded() {
        let records: Vec<_> = (0..100).map(|n| record(1, 4096 + n * 10_000, 9000)).collect();
        let bounded = runs(&records);
        assert_eq!(bounded.iter().map(ExactSizeIterator::len).sum::<usize>(), 100);
        assert!(bounded.iter().all(|run| run.len() <= 13 && !run.is_empty()), "{bounded:?}");
        let large = [record(1, 4096, 1 << 20), record(1, 4096 + (1 << 20), 10)];
        assert_eq!(runs(&large), [0..1, 1..2], "one that is larger alone");
    }
}
