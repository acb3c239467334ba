//! Acknowledgements as they come: how many, each client's last, and the longest time without any.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::CLIENTS_MAX;

/// Shared by all clients of a load, and by whoever watches it.
#[derive(Debug)]
pub struct Pace {
    acks: AtomicU64,
    errors: AtomicU64,
    /// By client: the last sequence number that was acknowledged.
    latest: [AtomicI64; CLIENTS_MAX as usize],
    gaps: Mutex<Gaps>,
}

#[derive(Debug)]
struct Gaps {
    last: Instant,
    /// Since when commits must go on; none while they need not.
    due_since: Option<Instant>,
    longest: Duration,
    longest_due: Duration,
}

impl Gaps {
    fn due(&self, now: Instant) -> Duration {
        self.due_since.map_or(Duration::ZERO, |since| now.duration_since(self.last.max(since)))
    }

    fn note(&mut self, now: Instant) {
        self.longest = self.longest.max(now.duration_since(self.last));
        self.longest_due = self.longest_due.max(self.due(now));
    }
}

impl Default for Pace {
    fn default() -> Pace {
        let now = Instant::now();
        let gaps =
            Gaps { last: now, due_since: Some(now), longest: Duration::ZERO, longest_due: Duration::ZERO };
        Pace {
            acks: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            latest: std::array::from_fn(|_| AtomicI64::new(0)),
            gaps: Mutex::new(gaps),
        }
    }
}

impl Pace {
    /// Transfers acknowledged so far.
    #[must_use]
    pub fn acks(&self) -> u64 {
        self.acks.load(Ordering::SeqCst)
    }

    /// Statements, connections or waits of the clients that failed so far.
    #[must_use]
    pub fn errors(&self) -> u64 {
        self.errors.load(Ordering::SeqCst)
    }

    /// Says whether commits must go on from now, so that the time without one counts.
    pub fn expect_commits(&self, expected: bool) {
        let mut gaps = self.gaps();
        let now = Instant::now();
        gaps.longest_due = gaps.longest_due.max(gaps.due(now));
        gaps.due_since = expected.then(|| gaps.due_since.unwrap_or(now));
    }

    /// How long now no commit has come although one was due.
    #[must_use]
    pub fn overdue(&self) -> Duration {
        self.gaps().due(Instant::now())
    }

    /// The longest time without a commit, and the longest while commits had to go on.
    #[must_use]
    pub fn longest(&self) -> (Duration, Duration) {
        let gaps = self.gaps();
        (gaps.longest, gaps.longest_due)
    }

    pub(super) fn failed(&self) {
        self.errors.fetch_add(1, Ordering::SeqCst);
    }

    pub(super) fn acknowledged(&self, client: i32, seq: i64) {
        self.acks.fetch_add(1, Ordering::SeqCst);
        self.latest[client as usize].fetch_max(seq, Ordering::SeqCst);
        let mut gaps = self.gaps();
        let now = Instant::now();
        gaps.note(now);
        gaps.last = now;
    }

    /// By client: what a snapshot that is taken from now on must contain.
    pub(super) fn latest(&self) -> Vec<i64> {
        self.latest.iter().map(|seq| seq.load(Ordering::SeqCst)).collect()
    }

    fn gaps(&self) -> MutexGuard<'_, Gaps> {
        self.gaps.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_time_in_which_commits_are_due_counts_as_overdue() {
        let pace = Pace::default();
        pace.acknowledged(3, 7);
        pace.expect_commits(false);
        std::thread::sleep(Duration::from_millis(60));
        assert_eq!(pace.overdue(), Duration::ZERO);
        pace.expect_commits(true);
        std::thread::sleep(Duration::from_millis(20));
        assert!(pace.overdue() >= Duration::from_millis(20));
        let overdue = pace.overdue();
        pace.acknowledged(3, 8);
        let (longest, longest_due) = pace.longest();
        assert!(longest >= Duration::from_millis(80), "{longest:?}");
        assert!(longest_due >= overdue && longest_due < longest, "{longest_due:?}");
        assert_eq!((pace.acks(), pace.latest()[3]), (2, 8));
    }
}
