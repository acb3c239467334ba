//! Virtual time: a heap of events by time, and by order of creation among those of one moment.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

/// Microseconds since the start of a run.
pub type Time = u64;
/// One millisecond.
pub const MS: Time = 1000;
/// One second.
pub const SECOND: Time = 1000 * MS;

struct Entry<E> {
    key: Reverse<(Time, u64)>,
    event: E,
}

impl<E> PartialEq for Entry<E> {
    fn eq(&self, other: &Self) -> bool {
        self.key == other.key
    }
}

impl<E> Eq for Entry<E> {}

impl<E> PartialOrd for Entry<E> {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl<E> Ord for Entry<E> {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.key.cmp(&other.key)
    }
}

/// See the module.
pub struct Schedule<E> {
    heap: BinaryHeap<Entry<E>>,
    now: Time,
    created: u64,
}

impl<E> Default for Schedule<E> {
    fn default() -> Self {
        Schedule { heap: BinaryHeap::new(), now: 0, created: 0 }
    }
}

impl<E> Schedule<E> {
    /// The moment of the last event taken.
    #[must_use]
    pub fn now(&self) -> Time {
        self.now
    }

    /// Lets `event` happen at `at`, or now if that is past.
    pub fn at(&mut self, at: Time, event: E) {
        self.created += 1;
        self.heap.push(Entry { key: Reverse((at.max(self.now), self.created)), event });
    }

    /// Lets `event` happen `after` from now.
    pub fn after(&mut self, after: Time, event: E) {
        self.at(self.now + after, event);
    }

    /// The next event; time moves to it.
    pub fn pop(&mut self) -> Option<E> {
        let entry = self.heap.pop()?;
        self.now = entry.key.0.0;
        Some(entry.event)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_come_by_time_and_then_in_order() {
        let mut schedule = Schedule::default();
        schedule.at(5, "c");
        schedule.at(1, "a");
        schedule.at(5, "d");
        schedule.at(2, "b");
        let order: Vec<_> = std::iter::from_fn(|| schedule.pop()).collect();
        assert_eq!(order, ["a", "b", "c", "d"]);
        assert_eq!(schedule.now(), 5);
    }
}
