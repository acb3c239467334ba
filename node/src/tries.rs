//! How often something is tried that may be in vain: every time while it succeeds, and ever more rarely while it does not.

/// After so many tries in a row in vain the pause grows no more: 127 times.
const IN_VAIN_MAX: u32 = 7;

/// After each try in vain it is left out for twice as many times as after the one before, down to one try in 128.
#[derive(Debug, Default)]
pub struct Tries {
    /// Tries in a row that were in vain.
    in_vain: u32,
    /// So many times it is left out.
    pause: u32,
}

impl Tries {
    /// True when it is to be tried this time.
    #[must_use]
    pub fn is_due(&self) -> bool {
        self.pause == 0
    }

    /// One more time has gone by, whether it was tried or not.
    pub fn pass(&mut self) {
        self.pause = self.pause.saturating_sub(1);
    }

    /// It was tried.
    pub fn learn(&mut self, succeeded: bool) {
        self.in_vain = if succeeded { 0 } else { (self.in_vain + 1).min(IN_VAIN_MAX) };
        self.pause = (1 << self.in_vain) - 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// How many of `times` times it is tried with that success.
    fn tried(tries: &mut Tries, times: usize, succeeds: bool) -> usize {
        let due = (0..times).filter(|_| {
            let due = tries.is_due();
            tries.pass();
            if due {
                tries.learn(succeeds);
            }
            due
        });
        due.count()
    }

    #[test]
    fn what_brings_nothing_is_tried_ever_more_rarely() {
        let mut tries = Tries::default();
        assert!((6..=8).contains(&tried(&mut tries, 200, false)), "1 + 2 + 4 + ... between two");
        assert_eq!(tried(&mut tries, 1280, false), 10, "and so it stays");
        assert!(tried(&mut tries, 128, true) >= 1, "but it is tried");
        assert_eq!(tried(&mut tries, 100, true), 100);
    }
}
