//! How fast pages are freed. Nobody waits for it, so it gives way: while others write, there is a pause after every
//! mini-transaction; while nobody does, after some of them.

use std::time::Duration;

/// Mini-transactions in a row while nobody else writes.
const RUN: u32 = 8;
const PAUSE: Duration = Duration::from_millis(1);
const PAUSE_BESIDE_WRITERS: Duration = Duration::from_millis(2);

/// See the module.
#[derive(Debug)]
pub(super) struct Pace {
    run: u32,
    begun: u64,
}

impl Pace {
    /// `begun`: how many transactions have begun to write so far.
    pub(super) fn new(begun: u64) -> Pace {
        Pace { run: 0, begun }
    }

    /// How long to pause after a mini-transaction.
    pub(super) fn after(&mut self, begun: u64) -> Option<Duration> {
        let beside_writers = begun != self.begun;
        self.begun = begun;
        self.run += 1;
        if !beside_writers && self.run < RUN {
            return None;
        }
        self.run = 0;
        Some(if beside_writers { PAUSE_BESIDE_WRITERS } else { PAUSE })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_pauses_each_time_while_others_write_and_now_and_then_when_not() {
        let mut pace = Pace::new(7);
        for begun in 8..20 {
            assert_eq!(pace.after(begun), Some(PAUSE_BESIDE_WRITERS));
        }
        for _ in 0..3 {
            for _ in 1..RUN {
                assert_eq!(pace.after(19), None);
            }
            assert_eq!(pace.after(19), Some(PAUSE));
        }
        assert_eq!(pace.after(19), None);
        assert_eq!(pace.after(20), Some(PAUSE_BESIDE_WRITERS));
    }
}
