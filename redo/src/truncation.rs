//! Truncation ranges: what a volume opening declared void for ever (P18 section 2.4).
//!
//! A record written under epoch `e` at LSN `l` is void when some range with a **higher** epoch covers `l`. The rule
//! does not depend on the order in which ranges and records arrive, so a segment that was away can learn both late,
//! and recovering twice changes nothing.

use crate::{Lsn, VolumeEpoch};

/// Everything in `(from, to]` that was written under a lower epoch is void.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TruncationRange {
    /// The epoch of the opening that wrote the range.
    pub epoch: VolumeEpoch,
    /// The VDL found by that opening: the last LSN that stays.
    pub from: Lsn,
    /// VDL + LAL: no older writer can have allocated an LSN above.
    pub to: Lsn,
}

impl TruncationRange {
    /// True when a record of `epoch` at `lsn` is void by this range.
    #[must_use]
    pub fn voids(&self, epoch: VolumeEpoch, lsn: Lsn) -> bool {
        epoch < self.epoch && self.from < lsn && lsn <= self.to
    }
}

/// The ranges that a segment knows, one an epoch, in epoch order.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Truncations {
    ranges: Vec<TruncationRange>,
}

/// Two openings wrote different ranges under one epoch: the epoch rule was broken somewhere.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("two truncation ranges under one epoch: {known:?} and {offered:?}")]
pub struct ConflictingRange {
    /// What was known.
    pub known: TruncationRange,
    /// What came.
    pub offered: TruncationRange,
}

impl Truncations {
    /// True when a record of `epoch` at `lsn` is void.
    #[must_use]
    pub fn voids(&self, epoch: VolumeEpoch, lsn: Lsn) -> bool {
        self.ranges.iter().rev().take_while(|r| r.epoch > epoch).any(|r| r.voids(epoch, lsn))
    }

    /// Learns a range; true when it was new.
    pub fn insert(&mut self, range: TruncationRange) -> Result<bool, ConflictingRange> {
        match self.ranges.binary_search_by_key(&range.epoch, |r| r.epoch) {
            Ok(at) if self.ranges[at] == range => Ok(false),
            Ok(at) => Err(ConflictingRange { known: self.ranges[at], offered: range }),
            Err(at) => {
                self.ranges.insert(at, range);
                Ok(true)
            }
        }
    }

    /// The ranges of `list`, which may name an epoch only once.
    pub fn from_list(list: &[TruncationRange]) -> Result<Truncations, ConflictingRange> {
        let mut known = Truncations::default();
        list.iter().try_for_each(|range| known.insert(*range).map(|_| ()))?;
        Ok(known)
    }

    /// The ranges in epoch order.
    #[must_use]
    pub fn ranges(&self) -> &[TruncationRange] {
        &self.ranges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(epoch: u64, from: u64, to: u64) -> TruncationRange {
        TruncationRange { epoch: VolumeEpoch(epoch), from: Lsn(from), to: Lsn(to) }
    }

    #[test]
    fn only_older_epochs_inside_the_range_are_void() {
        let mut known = Truncations::default();
        assert_eq!(known.insert(range(5, 100, 200)), Ok(true));
        assert_eq!(known.insert(range(5, 100, 200)), Ok(false));
        assert!(known.insert(range(5, 90, 200)).is_err());
        assert!(!known.voids(VolumeEpoch(4), Lsn(100)));
        assert!(known.voids(VolumeEpoch(4), Lsn(101)));
        assert!(known.voids(VolumeEpoch(4), Lsn(200)));
        assert!(!known.voids(VolumeEpoch(4), Lsn(201)));
        assert!(!known.voids(VolumeEpoch(5), Lsn(150)));
    }

    #[test]
    fn ranges_may_be_learnt_in_any_order() {
        let (mut a, mut b) = (Truncations::default(), Truncations::default());
        for (first, second) in [(&mut a, false), (&mut b, true)].map(|(t, flip)| (t, flip)) {
            let mut order = [range(2, 100, 200), range(3, 90, 190)];
            if second {
                order.reverse();
            }
            for r in order {
                first.insert(r).expect("no conflict");
            }
        }
        assert_eq!(a, b);
        assert!(a.voids(VolumeEpoch(2), Lsn(95)));
        assert!(!a.voids(VolumeEpoch(3), Lsn(95)));
    }
}
