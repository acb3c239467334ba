//! How old the oldest snapshot is, without a look at the clock whenever one is taken: the background pass notes now and
//! then which numbers have been given out. Pure.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// Notes kept; beyond that every other one is forgotten, so that what is old is known less exactly.
const NOTES: usize = 256;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ages {
    /// When it was, and the number that the next registration got then; the oldest first.
    notes: VecDeque<(Instant, u64)>,
}

impl Ages {
    /// Takes a note of `next`; at least how long registration `oldest` has been in use.
    pub(super) fn observe(&mut self, now: Instant, oldest: Option<u64>, next: u64) -> Duration {
        let Some(oldest) = oldest else {
            self.notes.clear();
            return Duration::ZERO;
        };
        if self.notes.back().is_none_or(|(_, number)| *number < next) {
            self.notes.push_back((now, next));
        }
        // Registered before the first note that is above it.
        while self.notes.len() > 1 && self.notes[0].1 <= oldest {
            self.notes.pop_front();
        }
        if self.notes.len() > NOTES {
            let mut n = 0;
            self.notes.retain(|_| {
                n += 1;
                n == 1 || n % 2 == 0
            });
        }
        match self.notes.front() {
            Some((at, number)) if *number > oldest => now.saturating_duration_since(*at),
            _ => Duration::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_age_is_counted_from_the_first_note_that_saw_it() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut ages = Ages::default();
        assert_eq!(ages.observe(at(0), None, 5), Duration::ZERO);
        assert_eq!(ages.observe(at(250), Some(5), 7), Duration::ZERO);
        assert_eq!(ages.observe(at(500), Some(5), 9), Duration::from_millis(250));
        assert_eq!(ages.observe(at(750), Some(8), 9), Duration::from_millis(250), "seen at 500");
        assert_eq!(ages.observe(at(1000), Some(9), 10), Duration::ZERO);
        for n in 0..10_000 {
            ages.observe(at(1000 + n), Some(9), 10 + n);
        }
        assert_eq!(ages.observe(at(11_000), Some(9), 20_000), Duration::from_secs(10));
        assert!(ages.notes.len() <= NOTES);
        assert_eq!(ages.observe(at(11_250), None, 20_000), Duration::ZERO);
    }
}
