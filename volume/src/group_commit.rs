//! Group commit: when the next round of log goes out. No clock here: whoever asks says what time it is.
//!
//! A round costs a request, a flush and an answer on each of six storage nodes whatever is in it, so it takes along as much as
//! it can without keeping anybody waiting in vain (docs/decisions/0016, 0026, 0028):
//! - what nobody waits for gathers for a moment, or until it is much;
//! - a commit waits for company, for two rounds' time at most, while more transactions are open than wait to be durable:
//!   with as many, those who are answered and those who work take turns, and waiting longer would leave both idle;
//! - those whom the round before answered are likely back at once, and are waited for until most are, for one round's time at
//!   most: they are not among the open ones before their next statement has come;
//! - where nobody came, because those who are open are idle or only read, it is not tried again for some rounds, for twice
//!   as many each time.
//!
//! PostgreSQL's `commit_delay` and `commit_siblings` say the same with constants.

use std::time::{Duration, Instant};

use sextant_node::tries::Tries;

/// How long log that nobody waits for gathers. Far below what a replica may lag, far above the time between two commits
/// of a busy engine, whose rounds take it along.
const GATHER: Duration = Duration::from_millis(10);
/// Log that goes out although nobody waits for it. Bytes.
pub(crate) const GATHERED_BYTES: u64 = 64 * 1024;
/// How long a commit waits for open transactions, in rounds' usual time.
const FOR_OPEN: u32 = 2;
/// The same for those whom the round before answered, from its end on. Clients that think are not back by then, and wait little for
/// one another.
const FOR_BACK: u32 = 1;
/// How long a commit waits for company at most, however long rounds take.
const PATIENCE_MAX: Duration = Duration::from_millis(4);
/// Of those whom a round answered and those who waited for the next one then, so many quarters are to wait before that goes out.
/// All of them would wait for the slowest.
const MOST: usize = 3;

/// What there is to send.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Gathered {
    /// Bytes logged since the round before.
    pub(crate) bytes: u64,
    /// How many wait for a record among them to be durable.
    pub(crate) waiting: usize,
    /// Open transactions; those that wait to be durable are none any more.
    pub(crate) open: usize,
}

/// When to send.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Next {
    /// There is nothing.
    Nothing,
    /// Look again then, or when more wait.
    At(Instant),
    Now(Why),
}

/// Why a round goes out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Why {
    /// It is large.
    Much,
    /// Nobody waits for it, and it has gathered long enough.
    Gathered,
    /// As many wait as are at work.
    Together,
    /// More are at work than wait, but that did not help the last time.
    Alone,
    /// Those who wait have waited long enough for others.
    Patient,
}

impl Why {
    /// Its label in metrics.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Why::Much => "much",
            Why::Gathered => "gathered",
            Why::Together => "together",
            Why::Alone => "alone",
            Why::Patient => "patient",
        }
    }
}

/// Waiting for company.
#[derive(Debug)]
struct Wait {
    since: Instant,
    /// How many waited when it began.
    found: usize,
}

/// Those who commit one round after the other.
#[derive(Debug)]
struct Committers {
    /// Most of them: so many are to wait.
    most: usize,
    /// Until then they are waited for.
    until: Instant,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct GroupCommit {
    /// When what gathers goes out although nobody waits for it.
    gather_until: Option<Instant>,
    wait: Option<Wait>,
    /// The round that is on its way: when it was sent, and how many waited for it.
    sent: Option<(Instant, usize)>,
    committers: Option<Committers>,
    /// What a round takes as a rule.
    usual: Option<Duration>,
    /// Waiting for company, which is in vain when nobody comes: a round at a time.
    tries: Tries,
}

impl GroupCommit {
    /// What to do with what there is, while no round is on its way.
    pub(crate) fn next(&mut self, now: Instant, log: Gathered) -> Next {
        if log.bytes >= GATHERED_BYTES {
            return Next::Now(Why::Much);
        }
        if log.waiting == 0 {
            return self.nobody_waits(now, log.bytes);
        }
        let since = self.wait.as_ref().map_or(now, |wait| wait.since);
        let for_open = (log.waiting < log.open).then(|| since + self.patience(FOR_OPEN));
        if self.wait.is_none() {
            self.committers.take_if(|committers| committers.until <= now);
        }
        let for_back = self.committers.as_ref().filter(|of| log.waiting < of.most).map(|of| of.until);
        let Some(until) = for_open.max(for_back) else { return Next::Now(Why::Together) };
        if !self.tries.is_due() {
            return Next::Now(Why::Alone);
        }
        self.wait.get_or_insert(Wait { since, found: log.waiting });
        if until <= now { Next::Now(Why::Patient) } else { Next::At(until) }
    }

    /// How many are to wait because those are expected back who committed in the round before.
    pub(crate) fn expected(&self, now: Instant) -> usize {
        self.committers.as_ref().filter(|of| of.until > now).map_or(0, |of| of.most)
    }

    fn patience(&self, rounds: u32) -> Duration {
        self.usual.map_or(Duration::ZERO, |usual| (rounds * usual).min(PATIENCE_MAX))
    }

    fn nobody_waits(&mut self, now: Instant, bytes: u64) -> Next {
        if bytes == 0 {
            self.gather_until = None;
            return Next::Nothing;
        }
        let until = *self.gather_until.get_or_insert(now + GATHER);
        if until <= now { Next::Now(Why::Gathered) } else { Next::At(until) }
    }

    /// A round goes out, for which so many wait.
    pub(crate) fn send(&mut self, now: Instant, waiting: usize) {
        self.gather_until = None;
        self.sent = Some((now, waiting));
        self.committers = None;
        self.tries.pass();
        if let Some(wait) = self.wait.take() {
            self.tries.learn(waiting > wait.found);
        }
    }

    /// The round that was on its way is durable, and so many wait for the next one.
    pub(crate) fn end(&mut self, now: Instant, waiting: usize) {
        let Some((sent, answered)) = self.sent.take() else { return };
        let took = now.saturating_duration_since(sent);
        self.usual = Some(self.usual.map_or(took, |usual| (usual * 7 + took) / 8));
        let most = ((answered + waiting) * MOST).div_ceil(4);
        self.committers = Some(Committers { most, until: now + self.patience(FOR_BACK) });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    fn gathered(waiting: usize, open: usize) -> Gathered {
        Gathered { bytes: 100, waiting, open }
    }

    /// One whose rounds take `round`, and whose last one is so long ago that nobody is expected back.
    fn used_to(round: Duration, now: Instant) -> GroupCommit {
        let mut commits = GroupCommit::default();
        let sent = now - 100 * round;
        commits.send(sent, 1);
        commits.end(sent + round, 0);
        commits
    }

    #[test]
    fn what_nobody_waits_for_gathers_until_it_is_old_or_much() {
        let (mut commits, now) = (GroupCommit::default(), Instant::now());
        assert_eq!(commits.next(now, Gathered { bytes: 0, ..gathered(0, 5) }), Next::Nothing);
        assert_eq!(commits.next(now, gathered(0, 5)), Next::At(now + GATHER));
        assert_eq!(commits.next(now + 9 * MS, gathered(0, 5)), Next::At(now + GATHER));
        assert_eq!(commits.next(now + GATHER, gathered(0, 5)), Next::Now(Why::Gathered));
        let much = Gathered { bytes: GATHERED_BYTES, ..gathered(0, 5) };
        assert_eq!(commits.next(now, much), Next::Now(Why::Much));
    }

    #[test]
    fn who_is_alone_does_not_wait_for_company() {
        let now = Instant::now();
        let mut commits = used_to(MS, now);
        assert_eq!(commits.next(now, gathered(1, 0)), Next::Now(Why::Together));
        assert_eq!(commits.next(now, gathered(1, 1)), Next::Now(Why::Together), "two take turns");
    }

    #[test]
    fn a_commit_waits_until_half_are_there_or_two_rounds_time_is_over() {
        let now = Instant::now();
        let mut commits = used_to(MS, now);
        assert_eq!(commits.next(now, gathered(1, 15)), Next::At(now + 2 * MS));
        assert_eq!(commits.next(now + MS, gathered(7, 9)), Next::At(now + 2 * MS));
        assert_eq!(commits.next(now + MS, gathered(8, 8)), Next::Now(Why::Together));
        assert_eq!(commits.next(now + 2 * MS, gathered(3, 9)), Next::Now(Why::Patient));
        let mut slow = used_to(50 * MS, now);
        assert_eq!(slow.next(now, gathered(1, 15)), Next::At(now + PATIENCE_MAX));
        let mut first = GroupCommit::default();
        assert_eq!(
            first.next(now, gathered(1, 15)),
            Next::Now(Why::Patient),
            "nobody knows how long a round takes"
        );
    }

    /// How many of `rounds` rounds with these waited.
    fn waits(commits: &mut GroupCommit, now: Instant, rounds: usize, came: usize) -> usize {
        let mut waits = 0;
        for _ in 0..rounds {
            waits += usize::from(matches!(commits.next(now, gathered(1, 9)), Next::At(_)));
            commits.send(now, 1 + came);
            commits.end(now + MS, 0);
        }
        waits
    }

    #[test]
    fn those_who_were_answered_are_waited_for_until_most_are_back() {
        let now = Instant::now();
        let mut commits = used_to(MS, now);
        commits.send(now, 10);
        commits.end(now + MS, 6);
        assert_eq!(commits.expected(now + MS), 12, "of 16");
        assert_eq!(commits.next(now + MS, gathered(6, 0)), Next::At(now + 2 * MS));
        let soon = now + MS + MS / 2;
        assert_eq!(commits.next(soon, gathered(11, 0)), Next::At(now + 2 * MS));
        assert_eq!(commits.next(soon, gathered(12, 0)), Next::Now(Why::Together));
        assert_eq!(commits.next(soon, gathered(12, 13)), Next::At(now + 3 * MS), "more are at work");
        assert_eq!(commits.next(now + 2 * MS, gathered(11, 0)), Next::Now(Why::Patient));
    }

    #[test]
    fn who_commits_long_after_a_round_waits_for_nobody() {
        let now = Instant::now();
        let mut commits = used_to(MS, now);
        commits.send(now, 10);
        commits.end(now + MS, 0);
        assert_eq!(commits.expected(now + 4 * MS), 0);
        assert_eq!(commits.next(now + 4 * MS, gathered(1, 0)), Next::Now(Why::Together));
        commits.send(now + 4 * MS, 1);
        commits.end(now + 5 * MS, 0);
        assert_eq!(commits.next(now + 5 * MS, gathered(1, 0)), Next::Now(Why::Together), "back, and alone");
    }

    #[test]
    fn two_go_together() {
        let now = Instant::now();
        let mut commits = used_to(MS, now);
        commits.send(now, 1);
        commits.end(now + MS, 1);
        assert_eq!(commits.next(now + MS, gathered(1, 0)), Next::At(now + 2 * MS));
        assert_eq!(commits.next(now + MS, gathered(2, 0)), Next::Now(Why::Together));
    }

    #[test]
    fn it_is_tried_ever_more_rarely_while_nobody_comes_and_always_when_somebody_does() {
        let now = Instant::now();
        let mut commits = used_to(MS, now);
        assert_eq!(waits(&mut commits, now, 100, 1), 100);
        assert!((5..=7).contains(&waits(&mut commits, now, 120, 0)), "1 + 2 + 4 + ... rounds between two");
        assert!(waits(&mut commits, now, 1280, 0) <= 12, "and so it stays");
        let until = waits(&mut commits, now, 128, 1);
        assert!(until >= 1, "but it is tried");
        assert_eq!(waits(&mut commits, now, 10, 1), 10);
    }
}
