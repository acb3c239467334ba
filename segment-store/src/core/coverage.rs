//! Which stretches of a segment's log are known, as half-open ranges of LSNs.
//!
//! A batch says: behind the record `prev_pg`, up to and including `last`, these are all the records of this
//! protection group. So it covers `(prev_pg, last]` whole, and the chain has a hole exactly where nothing covers it.

use std::collections::BTreeMap;

use sextant_redo::Lsn;

/// Disjoint ranges `(from, to]` that do not touch each other.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Coverage {
    spans: BTreeMap<Lsn, Lsn>,
}

impl Coverage {
    /// Adds `(from, to]`.
    pub fn insert(&mut self, from: Lsn, to: Lsn) {
        if from >= to {
            return;
        }
        if let Some(mut last) = self.spans.last_entry()
            && *last.key() <= from
            && from <= *last.get()
        {
            let end = (*last.get()).max(to);
            last.insert(end);
            return;
        }
        self.insert_anywhere(from, to);
    }

    fn insert_anywhere(&mut self, mut from: Lsn, mut to: Lsn) {
        if let Some((&start, &end)) = self.spans.range(..=from).next_back()
            && end >= from
        {
            from = start;
            to = to.max(end);
        }
        while let Some((&start, &end)) = self.spans.range(from..=to).next() {
            self.spans.remove(&start);
            to = to.max(end);
        }
        self.spans.insert(from, to);
    }

    /// True when all of `(from, to]` is covered.
    #[must_use]
    pub fn contains(&self, from: Lsn, to: Lsn) -> bool {
        from >= to || self.spans.range(..=from).next_back().is_some_and(|(_, end)| *end >= to)
    }

    /// The end of the range that starts at the beginning of the log: the segment complete LSN.
    #[must_use]
    pub fn complete_to(&self) -> Lsn {
        self.spans.get(&Lsn::ZERO).copied().unwrap_or(Lsn::ZERO)
    }

    /// The end of the range that holds `from`, or `from` itself: what is known without a hole behind it.
    #[must_use]
    pub fn reaches(&self, from: Lsn) -> Lsn {
        self.spans.range(..=from).next_back().map_or(from, |(_, end)| from.max(*end))
    }

    /// The end of the last range.
    #[must_use]
    pub fn highest(&self) -> Lsn {
        self.spans.last_key_value().map_or(Lsn::ZERO, |(_, to)| *to)
    }

    /// The ranges in order.
    pub fn spans(&self) -> impl Iterator<Item = (Lsn, Lsn)> + '_ {
        self.spans.iter().map(|(from, to)| (*from, *to))
    }

    /// How many holes lie below the highest LSN.
    #[must_use]
    pub fn holes(&self) -> usize {
        let first_is_missing = self.spans.first_key_value().is_some_and(|(from, _)| *from > Lsn::ZERO);
        self.spans.len().saturating_sub(1) + usize::from(first_is_missing)
    }

    /// Panics when ranges overlap, touch or are empty.
    pub fn check_invariants(&self) {
        let mut before: Option<Lsn> = None;
        for (from, to) in self.spans() {
            assert!(from < to, "empty range ({from}, {to}]");
            assert!(before.is_none_or(|end| end < from), "ranges touch at {from}");
            before = Some(to);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn ranges_join_where_they_touch() {
        let mut known = Coverage::default();
        known.insert(Lsn(0), Lsn(10));
        known.insert(Lsn(20), Lsn(30));
        assert_eq!((known.complete_to(), known.highest(), known.holes()), (Lsn(10), Lsn(30), 1));
        known.insert(Lsn(10), Lsn(20));
        assert_eq!((known.complete_to(), known.holes()), (Lsn(30), 0));
        assert!(known.contains(Lsn(5), Lsn(25)) && !known.contains(Lsn(5), Lsn(31)));
    }

    proptest! {
        #[test]
        fn it_equals_a_set_of_numbers(ranges in proptest::collection::vec((0u64..40, 0u64..12), 0..20)) {
            let (mut known, mut model) = (Coverage::default(), [false; 64]);
            for (from, len) in ranges {
                known.insert(Lsn(from), Lsn(from + len));
                (from + 1..=from + len).for_each(|n| model[n as usize] = true);
                known.check_invariants();
            }
            for n in 1..64u64 {
                prop_assert_eq!(known.contains(Lsn(n - 1), Lsn(n)), model[n as usize]);
            }
            let complete = (1..64).take_while(|n| model[*n]).count() as u64;
            prop_assert_eq!(known.complete_to(), Lsn(complete));
        }
    }
}
