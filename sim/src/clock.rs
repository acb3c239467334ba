//! A process's monotonic clock. It starts anywhere, runs like the others', leaps ahead (a suspended machine, a live
//! migration) or stands still for a while, and never goes back: that much every kernel keeps. No two are compared.

use crate::schedule::Time;

/// See the module.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Clock {
    /// What it shows at `since`, and before that.
    base: Time,
    /// It runs from then on.
    since: Time,
}

impl Clock {
    /// A clock that shows `base` when a run begins.
    pub(crate) fn ahead(base: Time) -> Clock {
        Clock { base, since: 0 }
    }

    /// What it shows.
    pub(crate) fn read(&self, now: Time) -> Time {
        self.base + now.saturating_sub(self.since)
    }

    /// It leaps ahead.
    pub(crate) fn leap(&mut self, now: Time, by: Time) {
        *self = Clock { base: self.read(now) + by, since: self.since.max(now) };
    }

    /// It stands still for so long.
    pub(crate) fn stop(&mut self, now: Time, length: Time) {
        *self = Clock { base: self.read(now), since: now + length };
    }

    /// It runs again.
    pub(crate) fn run(&mut self, now: Time) {
        *self = Clock { base: self.read(now), since: now };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_leaps_and_stands_still_but_never_goes_back() {
        let mut clock = Clock::ahead(500);
        assert_eq!(clock.read(100), 600);
        clock.leap(100, 50);
        assert_eq!(clock.read(100), 650);
        clock.stop(200, 1000);
        assert_eq!((clock.read(200), clock.read(900), clock.read(1201)), (750, 750, 751));
        clock.stop(1300, 1000);
        clock.run(1400);
        assert_eq!(clock.read(1410), 860);
    }
}
