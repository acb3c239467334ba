//! Writer leases as the leader sees them: a pure core, in memory only.
//!
//! A lease says how long nobody else is *granted* the volume. It fences nothing: a writer whose lease lapsed goes on
//! until a newer epoch reaches storage, and a lapsed lease that nobody took is simply renewed. So what is kept here may
//! be lost at any time, clocks of two members are never compared, and a pause of any length breaks no rule.
//!
//! Time is a monotonic [`Moment`] of one process, passed in. A new leader knows nothing about renewals before its term,
//! so it holds every lease as renewed at the moment its term began: a lease can last longer than its holder was told,
//! never shorter.

#![deny(clippy::disallowed_methods, clippy::disallowed_types)]

use std::collections::BTreeMap;
use std::time::Duration;

use sextant_redo::{VolumeEpoch, VolumeId};

/// Monotonic time since some moment of this process's choice.
pub type Moment = Duration;

/// Renewals of the current term.
#[derive(Debug)]
pub struct Leases {
    length: Duration,
    term: Option<Term>,
}

#[derive(Debug)]
struct Term {
    number: u64,
    began: Moment,
    renewed: BTreeMap<VolumeId, (VolumeEpoch, Moment)>,
}

impl Leases {
    /// No term yet.
    #[must_use]
    pub fn new(length: Duration) -> Leases {
        Leases { length, term: None }
    }

    /// Full length of a lease.
    #[must_use]
    pub fn length(&self) -> Duration {
        self.length
    }

    /// This process leads `term`. Saying it again changes nothing, nor does a late word about an older term.
    pub fn lead(&mut self, term: u64, now: Moment) {
        if self.term.as_ref().is_none_or(|known| known.number < term) {
            self.term = Some(Term { number: term, began: now, renewed: BTreeMap::new() });
        }
    }

    /// This process no longer leads.
    pub fn step_down(&mut self) {
        self.term = None;
    }

    /// `epoch` was granted or renewed at `now`. An older epoch than the known one is ignored.
    pub fn renewed(&mut self, volume: VolumeId, epoch: VolumeEpoch, now: Moment) {
        let Some(term) = &mut self.term else { return };
        let entry = term.renewed.entry(volume).or_insert((epoch, now));
        if epoch > entry.0 {
            *entry = (epoch, now);
        } else if epoch == entry.0 {
            entry.1 = entry.1.max(now);
        }
    }

    /// How long the holder of `epoch` keeps others from a grant; zero when the lease has lapsed. Full length when this
    /// process does not lead: it cannot know.
    #[must_use]
    pub fn remaining(&self, volume: VolumeId, epoch: VolumeEpoch, now: Moment) -> Duration {
        let Some(term) = &self.term else { return self.length };
        let renewed = term.renewed.get(&volume).filter(|(known, _)| *known == epoch).map(|(_, at)| *at);
        let since = renewed.unwrap_or(term.began).max(term.began);
        (since + self.length).saturating_sub(now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const V: VolumeId = VolumeId(9);
    const E: VolumeEpoch = VolumeEpoch(4);

    fn ms(ms: u64) -> Moment {
        Duration::from_millis(ms)
    }

    fn leading() -> Leases {
        let mut leases = Leases::new(ms(1000));
        leases.lead(3, ms(500));
        leases
    }

    #[test]
    fn a_new_leader_starts_every_lease_afresh() {
        let leases = leading();
        assert_eq!(leases.remaining(V, E, ms(500)), ms(1000));
        assert_eq!(leases.remaining(V, E, ms(1499)), ms(1));
        assert_eq!(leases.remaining(V, E, ms(1500)), ms(0));
    }

    #[test]
    fn a_renewal_gives_the_full_length_again() {
        let mut leases = leading();
        leases.renewed(V, E, ms(1400));
        assert_eq!(leases.remaining(V, E, ms(1500)), ms(900));
        assert_eq!(leases.remaining(V, E, ms(9000)), ms(0));
    }

    #[test]
    fn a_lapsed_lease_that_nobody_took_is_renewed() {
        let mut leases = leading();
        leases.renewed(V, E, ms(9000));
        assert_eq!(leases.remaining(V, E, ms(9000)), ms(1000));
    }

    #[test]
    fn renewals_of_an_older_epoch_do_not_count() {
        let mut leases = leading();
        leases.renewed(V, VolumeEpoch(5), ms(1000));
        leases.renewed(V, E, ms(8000));
        assert_eq!(leases.remaining(V, VolumeEpoch(5), ms(8000)), ms(0));
        assert_eq!(leases.remaining(V, E, ms(8000)), ms(0));
    }

    #[test]
    fn the_same_term_does_not_start_twice_and_a_new_one_forgets() {
        let mut leases = leading();
        leases.renewed(V, E, ms(600));
        leases.lead(3, ms(1200));
        leases.lead(2, ms(1200));
        assert_eq!(leases.remaining(V, E, ms(1200)), ms(400));
        leases.lead(4, ms(1200));
        assert_eq!(leases.remaining(V, E, ms(1200)), ms(1000));
    }

    #[test]
    fn who_does_not_lead_grants_nothing() {
        let mut leases = leading();
        leases.step_down();
        leases.renewed(V, E, ms(9000));
        assert_eq!(leases.remaining(V, E, ms(99_000)), ms(1000));
    }
}
