//! Ranges of keys, and bounded sets of them.

use std::collections::BTreeMap;
use std::ops::{Bound, Range};

/// Longer bounds are cut to this many bytes, outwards: what a lock may cost does not depend on how long keys are.
const BOUND_BYTES_MAX: usize = 64;

/// Keys of a tree from `low` on, those from `high` on excluded; without `high`, to the end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyRange {
    low: Vec<u8>,
    high: Option<Vec<u8>>,
}

/// The least key above `key`.
fn after(key: &[u8]) -> Vec<u8> {
    let mut next = key.to_vec();
    next.push(0);
    next
}

/// The least key of few bytes that is at or above `key`; `None` when there is none.
fn cut_upwards(mut key: Vec<u8>) -> Option<Vec<u8>> {
    if key.len() <= BOUND_BYTES_MAX {
        return Some(key);
    }
    key.truncate(BOUND_BYTES_MAX);
    while let Some(last) = key.pop() {
        if last < u8::MAX {
            key.push(last + 1);
            return Some(key);
        }
    }
    None
}

impl KeyRange {
    /// Every key.
    pub(crate) fn all() -> KeyRange {
        KeyRange { low: Vec::new(), high: None }
    }

    /// One key.
    pub(crate) fn key(key: &[u8]) -> KeyRange {
        KeyRange { low: key.to_vec(), high: Some(after(key)) }.cut()
    }

    /// Numbers, as a table keys its rows.
    pub(crate) fn numbers(numbers: Range<u64>) -> KeyRange {
        KeyRange { low: numbers.start.to_be_bytes().to_vec(), high: Some(numbers.end.to_be_bytes().to_vec()) }
    }

    /// Keys between two bounds.
    pub(crate) fn between(low: Bound<&[u8]>, high: Bound<&[u8]>) -> KeyRange {
        let low = match low {
            Bound::Included(key) => key.to_vec(),
            Bound::Excluded(key) => after(key),
            Bound::Unbounded => Vec::new(),
        };
        let high = match high {
            Bound::Included(key) => Some(after(key)),
            Bound::Excluded(key) => Some(key.to_vec()),
            Bound::Unbounded => None,
        };
        KeyRange { low, high }.cut()
    }

    /// What both have.
    pub(crate) fn and(&self, other: &KeyRange) -> KeyRange {
        let low = self.low.clone().max(other.low.clone());
        let high = match (&self.high, &other.high) {
            (Some(a), Some(b)) => Some(a.min(b).clone()),
            (one, None) | (None, one) => one.clone(),
        };
        KeyRange { low, high }
    }

    fn cut(mut self) -> KeyRange {
        self.low.truncate(BOUND_BYTES_MAX);
        self.high = self.high.and_then(cut_upwards);
        self
    }

    fn is_empty(&self) -> bool {
        self.high.as_ref().is_some_and(|high| *high <= self.low)
    }
}

/// Whether a range that ends at `end` reaches `key`.
fn reaches(end: Option<&Vec<u8>>, key: &[u8]) -> bool {
    end.is_none_or(|end| end.as_slice() >= key)
}

/// A set of keys as ranges that neither overlap nor touch. When there are too many it takes in what lies between
/// neighbours: it may grow beyond what was entered, and never loses any of it.
#[derive(Clone, Debug, Default)]
pub(crate) struct RangeSet {
    /// Low bound to high bound.
    ranges: BTreeMap<Vec<u8>, Option<Vec<u8>>>,
}

impl RangeSet {
    /// How many ranges it is made of.
    pub(crate) fn len(&self) -> usize {
        self.ranges.len()
    }

    /// Whether it has a key of `range`.
    pub(crate) fn overlaps(&self, range: &KeyRange) -> bool {
        let upper = match &range.high {
            Some(high) => Bound::Excluded(high.as_slice()),
            None => Bound::Unbounded,
        };
        // Those before this one end before it begins.
        let last = self.ranges.range::<[u8], _>((Bound::Unbounded, upper)).next_back();
        last.is_some_and(|(_, end)| end.as_ref().is_none_or(|end| *end > range.low))
    }

    /// Takes a range in.
    pub(crate) fn insert(&mut self, range: &KeyRange) {
        if range.is_empty() {
            return;
        }
        let (mut low, mut high) = (range.low.clone(), range.high.clone());
        let upto = (Bound::Unbounded, Bound::Included(low.as_slice()));
        if let Some((start, end)) = self.ranges.range::<[u8], _>(upto).next_back()
            && reaches(end.as_ref(), &low)
        {
            if end.is_none() || (high.is_some() && *end >= high) {
                return;
            }
            low = start.clone();
        }
        let touched: Vec<Vec<u8>> = self
            .ranges
            .range::<[u8], _>((Bound::Included(low.as_slice()), Bound::Unbounded))
            .map(|(start, _)| start)
            .take_while(|start| reaches(high.as_ref(), start))
            .cloned()
            .collect();
        for start in touched {
            match (self.ranges.remove(&start).flatten(), &high) {
                (None, _) => high = None,
                (Some(end), Some(reached)) if end > *reached => high = Some(end),
                _ => {}
            }
        }
        self.ranges.insert(low, high);
    }

    /// Half as many ranges, each with what lies between it and its neighbour.
    pub(crate) fn coarsen(&mut self) {
        let before = std::mem::take(&mut self.ranges);
        let mut ranges = before.into_iter();
        while let Some((low, high)) = ranges.next() {
            let high = ranges.next().map_or(high, |(_, end)| end);
            self.ranges.insert(low, high);
        }
    }

    /// All keys.
    pub(crate) fn fill(&mut self) {
        self.ranges.clear();
        self.insert(&KeyRange::all());
    }

    /// Its ranges.
    pub(crate) fn iter(&self) -> impl Iterator<Item = KeyRange> {
        self.ranges.iter().map(|(low, high)| KeyRange { low: low.clone(), high: high.clone() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    /// Keys of the model: two bytes, and every one of them followed by a zero.
    fn universe() -> Vec<Vec<u8>> {
        let pairs = (0..6u8).flat_map(|a| (0..6u8).map(move |b| vec![a, b]));
        pairs.flat_map(|key| [key.clone(), after(&key)]).collect()
    }

    fn bound() -> impl Strategy<Value = Bound<Vec<u8>>> {
        let key = prop_oneof![(0..6u8).prop_map(|a| vec![a]), (0..6u8, 0..6u8).prop_map(|(a, b)| vec![a, b])];
        prop_oneof![
            1 => Just(Bound::Unbounded),
            4 => key.clone().prop_map(Bound::Included),
            4 => key.prop_map(Bound::Excluded),
        ]
    }

    fn range() -> impl Strategy<Value = KeyRange> {
        (bound(), bound()).prop_map(|(a, b)| {
            KeyRange::between(a.as_ref().map(Vec::as_slice), b.as_ref().map(Vec::as_slice))
        })
    }

    fn has(range: &KeyRange, key: &[u8]) -> bool {
        range.low.as_slice() <= key && range.high.as_ref().is_none_or(|high| key < high.as_slice())
    }

    proptest! {
        #[test]
        fn a_set_has_what_was_entered_and_nothing_else(entered in prop::collection::vec(range(), 0..12), asked in range()) {
            let mut set = RangeSet::default();
            let mut model = BTreeSet::new();
            for range in &entered {
                set.insert(range);
                model.extend(universe().into_iter().filter(|key| has(range, key)));
            }
            for key in universe() {
                prop_assert_eq!(set.overlaps(&KeyRange::key(&key)), model.contains(&key));
            }
            if universe().iter().any(|key| has(&asked, key) && model.contains(key)) {
                prop_assert!(set.overlaps(&asked));
            }
            let ranges: Vec<KeyRange> = set.iter().collect();
            for pair in ranges.windows(2) {
                let end = pair[0].high.clone().expect("only the last one has no end");
                prop_assert!(end < pair[1].low, "they neither overlap nor touch");
            }
            set.coarsen();
            prop_assert_eq!(set.len(), ranges.len().div_ceil(2));
            prop_assert!(model.iter().all(|key| set.overlaps(&KeyRange::key(key))));
        }
    }

    #[test]
    fn rows_next_to_each_other_are_one_range() {
        let mut set = RangeSet::default();
        for row in [5, 7, 6, 9] {
            set.insert(&KeyRange::numbers(row..row + 1));
        }
        assert_eq!(set.len(), 2);
        let has = |row: u64| set.overlaps(&KeyRange::key(&row.to_be_bytes()));
        assert_eq!([4, 5, 6, 7, 8, 9, 10].map(has), [false, true, true, true, false, true, false]);
    }

    #[test]
    fn long_bounds_are_cut_outwards() {
        let long = [7; 500];
        let range = KeyRange::key(&long);
        assert!(range.low.len() <= BOUND_BYTES_MAX && range.high.as_ref().unwrap().len() <= BOUND_BYTES_MAX);
        assert!(has(&range, &long));
        assert_eq!(KeyRange::key(&[255; 500]).high, None);
    }
}
