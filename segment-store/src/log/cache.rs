//! The newest groups of the log, kept in memory as they were written: most pages asked for were changed just now.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::core::LogAddress;

/// Groups by where they start, the oldest leaving first.
#[derive(Debug)]
pub struct LogCache {
    groups: BTreeMap<LogAddress, Bytes>,
    bytes: usize,
    budget: usize,
}

impl LogCache {
    /// Holds at most `budget` bytes.
    #[must_use]
    pub fn new(budget: usize) -> LogCache {
        LogCache { groups: BTreeMap::new(), bytes: 0, budget }
    }

    /// Adds a group.
    pub fn insert(&mut self, at: LogAddress, group: Bytes) {
        self.bytes += group.len();
        self.groups.insert(at, group);
        while self.bytes > self.budget
            && let Some((_, oldest)) = self.groups.pop_first()
        {
            self.bytes -= oldest.len();
        }
    }

    /// `len` bytes at `at`, if they are here.
    #[must_use]
    pub fn get(&self, at: LogAddress, len: u32) -> Option<Bytes> {
        let (start, group) = self.groups.range(..=at).next_back()?;
        let from = usize::try_from(at.0 - start.0).ok()?;
        let end = from.checked_add(len as usize)?;
        (end <= group.len()).then(|| group.slice(from..end))
    }

    /// Everything behind this address is here.
    #[must_use]
    pub fn oldest(&self) -> Option<LogAddress> {
        self.groups.first_key_value().map(|(at, _)| *at)
    }

    /// What lies below this address is in the oldest quarter: it leaves with the next quarter of the budget that comes.
    #[must_use]
    pub fn leaves_soon(&self) -> LogAddress {
        let mut left = self.bytes.saturating_sub(self.budget / 4 * 3);
        for (at, group) in &self.groups {
            if left == 0 {
                return *at;
            }
            left = left.saturating_sub(group.len());
        }
        LogAddress(u64::MAX)
    }

    /// Bytes held.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_leave_first_and_ranges_stay_inside_a_group() {
        let mut cache = LogCache::new(10);
        cache.insert(LogAddress::new(1, 100), Bytes::from_static(b"abcdef"));
        assert_eq!(cache.get(LogAddress::new(1, 102), 3), Some(Bytes::from_static(b"cde")));
        assert_eq!(cache.get(LogAddress::new(1, 102), 5), None);
        assert_eq!(cache.get(LogAddress::new(1, 99), 1), None);
        cache.insert(LogAddress::new(2, 0), Bytes::from_static(b"ghijkl"));
        assert_eq!(cache.get(LogAddress::new(1, 102), 3), None);
        assert_eq!(cache.bytes(), 6);
    }

    #[test]
    fn only_the_oldest_quarter_leaves_soon() {
        let at = |n: u32| LogAddress::new(1, n * 10);
        let mut cache = LogCache::new(40);
        assert_eq!(cache.leaves_soon(), LogAddress(u64::MAX), "an empty one holds nothing that could stay");
        for n in 0..3 {
            cache.insert(at(n), Bytes::from_static(b"0123456789"));
            assert_eq!(cache.leaves_soon(), at(0), "there is room");
        }
        cache.insert(at(3), Bytes::from_static(b"0123456789"));
        assert_eq!(cache.leaves_soon(), at(1));
        cache.insert(at(4), Bytes::from_static(b"0123456789"));
        assert_eq!((cache.oldest(), cache.leaves_soon()), (Some(at(1)), at(2)));
    }
}
