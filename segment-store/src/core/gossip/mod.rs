//! Gossip: how a copy learns from a peer's state what it lacks, and gets it without the writer.
//!
//! Nothing is done here that the volume's own opener or writer could not have done at the same moment:
//! - **Epochs.** A peer that has a higher epoch got it from an opener (or from a peer that did). Recording it here is what
//!   that opener's `OpenSegment` would do; it promises nothing to anybody, and only locks older writers out.
//! - **Truncation list.** A list is taken over only under the very epoch whose opening wrote it, that is when its last
//!   range carries the volume epoch that is recorded here. An opening decides its list once, so this is its own `Truncate`
//!   come by another way, whether or not the opener lives. An older list is never taken under a newer epoch: the opening
//!   that is under way has counted this copy with what it holds, and will say itself what is void. A range that the
//!   newest list does not have belongs to an opening that never completed; it goes as the list comes.
//! - **Log.** Fetched only between copies with equal epochs and equal lists that hold the current opening's range: then both
//!   count the same records as live, and what lies below the peer's SCL is either at or below the VDL which that opening
//!   found, or was written by the current writer for all six. It is admitted as if from the writer, under the epochs
//!   that it was asked for with: if an opener came meanwhile, it is fenced.
//! - **Pages.** See [`super::copying`]. Only where no peer's log reaches back. They come from full segments; a tail, which has
//!   none, begins further on instead ([`super::tail`]).

use std::time::Duration;

use sextant_redo::wire::{Epochs, SegmentState};
use sextant_redo::{Lsn, PageId, SegmentKind, TruncationRange, VolumeEpoch};

use super::{Copying, Segment};

/// Until a copy that lacks something, or seems to, asks again.
pub const SOON: Duration = Duration::from_millis(100);
/// Until a copy with which all is well asks again.
pub const WELL: Duration = Duration::from_secs(2);

/// Until a tail with which all is well asks again: what it hears says how much log it may give up.
pub const TAIL_WELL: Duration = Duration::from_millis(500);

/// Where a copy stands, as it compares itself with a peer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standing {
    /// What it keeps.
    pub kind: SegmentKind,
    /// What it tells others.
    pub state: SegmentState,
    /// It can tell live records from void ones.
    pub cleared: bool,
    /// A copy of pages that is under way.
    pub copying: Option<Copying>,
    /// Log is there without a hole to here, from the SCL on, or from the point of the copy that is under way.
    pub reach: Lsn,
    /// Holes below the highest LSN.
    pub holes: usize,
}

impl Standing {
    /// Where `segment` stands.
    #[must_use]
    pub fn of(segment: &Segment) -> Standing {
        let (state, copying) = (segment.state(), segment.copying());
        let reach = copying.map_or(state.scl, |copying| segment.chain().coverage().reaches(copying.point));
        let holes = segment.chain().coverage().holes();
        Standing { kind: segment.kind(), state, cleared: segment.is_cleared(), copying, reach, holes }
    }

    /// True when something is missing for sure.
    #[must_use]
    pub fn is_wanting(&self) -> bool {
        self.holes > 0 || self.copying.is_some() || !self.cleared
    }
}

/// What to do next.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Step {
    /// The peer has nothing that this copy lacks, or nothing that may be taken now.
    Rest,
    /// Record these epochs, then compare again.
    Record(Epochs),
    /// Take over this truncation list, then compare again.
    TakeList(Vec<TruncationRange>),
    /// Ask for log in `(after, up_to]`.
    Fetch {
        /// Above this LSN.
        after: Lsn,
        /// At or below this LSN.
        up_to: Lsn,
    },
    /// Ask for page images as of `at` (zero: the peer names a point) from `from` on.
    Copy {
        /// The copy's point.
        at: Lsn,
        /// The first page wanted.
        from: PageId,
    },
    /// A tail: begin where all full segments have what lies in front, if that is known.
    Begin,
}

/// What comparing two copies says, without regard to other peers.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Comparison {
    Step(Step),
    /// The peer is ahead, but its log does not reach back to here.
    LogGone,
}

fn newest(list: &[TruncationRange]) -> VolumeEpoch {
    list.last().map_or(VolumeEpoch::default(), |range| range.epoch)
}

fn compare(mine: &Standing, theirs: &SegmentState) -> Comparison {
    let (ours, peers) = (mine.state.epochs, theirs.epochs);
    let both =
        Epochs { volume: ours.volume.max(peers.volume), membership: ours.membership.max(peers.membership) };
    let step = if both != ours {
        Step::Record(both)
    } else if peers != ours {
        Step::Rest
    } else if mine.state.truncations != theirs.truncations {
        let list = &theirs.truncations;
        let is_newest = newest(list) == ours.volume && newest(list) > newest(&mine.state.truncations);
        if is_newest { Step::TakeList(list.clone()) } else { Step::Rest }
    } else if !mine.cleared || theirs.scl <= mine.reach {
        Step::Rest
    } else if theirs.log_start > mine.reach {
        return Comparison::LogGone;
    } else {
        Step::Fetch { after: mine.reach, up_to: theirs.scl }
    };
    Comparison::Step(step)
}

/// One segment's gossip: whose turn it is to be asked, and what was learnt so far.
#[derive(Debug, Clone, Default)]
pub struct Gossip {
    /// When a peer was last asked.
    asked: Option<Duration>,
    /// How long the last answer makes us wait whatever is missing: the rate of a copy.
    pause: Duration,
    turn: usize,
    /// Under these epochs what follows was learnt.
    under: Epochs,
    /// Some peer was complete to here. What has come since came without us.
    ahead: Lsn,
    /// So many answers in a row offered no log, while some peer is ahead.
    in_vain: usize,
    /// One of these peers is ahead, but has no log that reaches back.
    log_gone: bool,
    /// The last step was to ask for log, or to begin a copy of pages: when something came, the peers are counted anew.
    asks_anew: bool,
    /// While pages are copied, log and pages take turns: the peers free log as time goes by.
    pages_next: bool,
}

impl Gossip {
    /// The first peer to ask is drawn from `seed`, so that not all copies ask the same.
    #[must_use]
    pub fn new(seed: usize) -> Gossip {
        Gossip { turn: seed, ..Gossip::default() }
    }

    /// True when it is time to ask: soon again where something is missing, or seemed to be.
    #[must_use]
    pub fn is_due(&self, now: Duration, mine: &Standing) -> bool {
        let wanting = mine.is_wanting() || self.ahead > mine.reach;
        let well = if mine.kind.is_full() { WELL } else { TAIL_WELL };
        let interval = self.pause.max(if wanting { SOON } else { well });
        self.asked.is_none_or(|asked| now >= asked + interval)
    }

    /// Which of `peers` is to be asked.
    #[must_use]
    pub fn peer(&self, peers: usize) -> usize {
        self.turn % peers.max(1)
    }

    /// What to do now that a peer of this kind, one of `peers`, has told its state.
    pub fn on_state(
        &mut self,
        mine: &Standing,
        theirs: &SegmentState,
        peer: SegmentKind,
        peers: usize,
    ) -> Step {
        if self.under != mine.state.epochs {
            (self.under, self.ahead) = (mine.state.epochs, Lsn::ZERO);
            self.begin_round();
        }
        let step = match compare(mine, theirs) {
            Comparison::LogGone => {
                (self.in_vain, self.log_gone) = (self.in_vain + 1, true);
                self.ahead = self.ahead.max(theirs.scl);
                // Another peer may still have the log, which is far cheaper than all pages.
                match (mine.kind, peer) {
                    _ if self.in_vain < peers => self.copy_on(mine, peer, Step::Rest),
                    (SegmentKind::Tail, _) => Step::Begin,
                    (SegmentKind::Full, SegmentKind::Full) => copy_anew(theirs),
                    (SegmentKind::Full, SegmentKind::Tail) => Step::Rest,
                }
            }
            Comparison::Step(step @ Step::Fetch { .. }) => {
                let known = self.ahead;
                self.ahead = known.max(theirs.scl);
                if mine.copying.is_some() {
                    self.copy_on(mine, peer, step)
                } else if mine.reach < known {
                    step
                } else {
                    // Seen for the first time: most likely the writer's batch is on its way to this copy too.
                    self.begin_round();
                    Step::Rest
                }
            }
            Comparison::Step(Step::Rest) => {
                self.offered_nothing(mine, peers);
                let may_copy = mine.cleared
                    && theirs.epochs == mine.state.epochs
                    && theirs.truncations == mine.state.truncations;
                if may_copy { self.copy_on(mine, peer, Step::Rest) } else { Step::Rest }
            }
            Comparison::Step(step) => step,
        };
        self.pages_next = !matches!(step, Step::Copy { .. });
        self.asks_anew = matches!(step, Step::Fetch { .. } | Step::Copy { at: Lsn::ZERO, .. });
        step
    }

    fn begin_round(&mut self) {
        (self.in_vain, self.log_gone) = (0, false);
    }

    /// The peer is no further on, or cannot be compared with now. It counts as asked while somebody is known to be ahead; when
    /// all were asked and nobody is any more, whoever was is not waited for.
    fn offered_nothing(&mut self, mine: &Standing, peers: usize) {
        self.in_vain += 1;
        if self.ahead <= mine.reach || (self.in_vain >= peers && !self.log_gone) {
            self.ahead = Lsn::ZERO;
            self.begin_round();
        }
    }

    /// Goes on with the copy under way, unless it is the log's turn, or the peer has no pages.
    fn copy_on(&self, mine: &Standing, peer: SegmentKind, otherwise: Step) -> Step {
        match mine.copying.filter(|_| peer.is_full()) {
            Some(Copying { point, next }) if self.pages_next || otherwise == Step::Rest => {
                Step::Copy { at: point, from: next }
            }
            _ => otherwise,
        }
    }

    /// A peer was asked and gave what was wanted: it is asked again after `pause`.
    pub fn on_progress(&mut self, now: Duration, pause: Duration) {
        (self.asked, self.pause) = (Some(now), pause);
        if std::mem::take(&mut self.asks_anew) {
            // Not before: should this peer fail, the next one is asked for its pages at once. Counting to all of them again
            // would lead to the same one. And what a peer says it has of the log counts when it came: it may be damaged, and
            // the other copies of it gone.
            self.begin_round();
        }
    }

    /// A peer was asked and has nothing for us, or cannot give it: the next time it is another one's turn.
    pub fn on_rest(&mut self, now: Duration) {
        (self.asked, self.pause) = (Some(now), Duration::ZERO);
        self.turn = self.turn.wrapping_add(1);
    }
}

fn copy_anew(theirs: &SegmentState) -> Step {
    debug_assert!(theirs.log_start > Lsn::ZERO);
    Step::Copy { at: Lsn::ZERO, from: PageId(0) }
}

#[cfg(test)]
mod tests;
