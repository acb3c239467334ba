//! I10, metadata: linearizable, and `apply` is pure and equal on all replicas. Source: P18 section 2.4 (volume epoch),
//! meta/src/state.rs.
//!
//! What is linearized is the volume's epoch: a register that each grant raises. Answers tell it, so in real time it never
//! goes back: whoever asks after an answer was heard is told at least that epoch, and is granted a higher one.
//!
//! On a live cluster: [`is_linearizable`] over what clients asked and heard, on one clock.

use sextant_redo::VolumeEpoch;

use super::{Checked, check};
use crate::schedule::Time;

/// What an answer says of the volume's epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Said {
    /// Granted to whoever asked: nobody had it before.
    Granted(VolumeEpoch),
    /// The current one: a renewal came through under it, or a request of an older one was refused.
    Current(VolumeEpoch),
}

impl Said {
    fn epoch(self) -> VolumeEpoch {
        match self {
            Said::Granted(epoch) | Said::Current(epoch) => epoch,
        }
    }
}

/// A request and its answer, as the client saw them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Asked {
    /// When the request left.
    pub sent: Time,
    /// When the answer came.
    pub answered: Time,
    /// What it says.
    pub said: Said,
}

/// `new` was answered after all of `before`.
pub fn fits(before: &[Asked], new: &Asked) -> Checked {
    let epoch = new.said.epoch();
    let against = before.iter().find(|known| {
        let earlier = known.answered < new.sent;
        match (known.said, new.said) {
            (Said::Granted(a), Said::Granted(b)) if a == b => true,
            (_, Said::Granted(_)) => earlier && known.said.epoch() >= epoch,
            (_, Said::Current(_)) => earlier && known.said.epoch() > epoch,
        }
    });
    check("I10", against.is_none(), || format!("{new:?} does not fit {against:?}, which was answered before"))
}

/// A whole history, in the order of the answers.
pub fn is_linearizable(history: &[Asked]) -> Checked {
    history.iter().enumerate().try_for_each(|(n, asked)| fits(&history[..n], asked))
}

/// Two replicas have applied the same log.
pub fn replicas_are_equal(equal: bool) -> Checked {
    check("I10", equal, || "two replicas that applied the same log differ".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(sent: Time, answered: Time, said: Said) -> Asked {
        Asked { sent, answered, said }
    }

    #[test]
    fn answers_that_cross_may_tell_either() {
        let (one, two) = (VolumeEpoch(1), VolumeEpoch(2));
        let grants = [asked(0, 10, Said::Granted(one)), asked(20, 40, Said::Granted(two))];
        let crossing = asked(30, 50, Said::Current(one));
        assert_eq!(is_linearizable(&[grants[0], grants[1], crossing]), Ok(()));
        let late = asked(41, 50, Said::Current(one));
        assert!(is_linearizable(&[grants[0], grants[1], late]).is_err());
    }

    #[test]
    fn an_epoch_is_granted_once_and_rises() {
        let one = VolumeEpoch(1);
        let twice = [asked(0, 10, Said::Granted(one)), asked(5, 12, Said::Granted(one))];
        assert!(is_linearizable(&twice).is_err());
        let falling = [asked(0, 10, Said::Granted(VolumeEpoch(2))), asked(11, 12, Said::Granted(one))];
        assert!(is_linearizable(&falling).is_err());
        let before_it_was = [asked(0, 10, Said::Current(one)), asked(11, 12, Said::Granted(one))];
        assert!(is_linearizable(&before_it_was).is_err());
    }
}
