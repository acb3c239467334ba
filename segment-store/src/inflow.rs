//! Back-pressure: log is taken only while memory has room for an entry for each of its records that is in no page yet.
//! What finds no room waits here, counted in bytes, and its sender goes unanswered; reads, openings, truncations and gossip
//! pass it by.
//!
//! What must hold:
//! - records in no page and records on their way into the log are at most `max` together, whatever comes, but for single
//!   batches without which no page could ever be made again ([`Inflow::needed`]), and what an opening brings;
//! - nothing that finds room overtakes what waits for some; log of one segment goes in as it came, but for the batch that the
//!   others wait for;
//! - a batch that comes again while it waits does not wait twice.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::time::Duration;

use sextant_redo::wire::Append;
use sextant_redo::{BatchHeader, SegmentId};

use crate::core::Ticket;

/// Log that waits to be taken.
#[derive(Debug)]
pub(crate) struct Waiting {
    pub(crate) ticket: Ticket,
    pub(crate) append: Append,
    pub(crate) header: BatchHeader,
    /// Since when.
    pub(crate) since: Duration,
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Inflow {
    max: usize,
    /// Records of batches on their way into the log, by segment.
    queued: BTreeMap<SegmentId, usize>,
    queued_records: usize,
    waiting: BTreeMap<SegmentId, VecDeque<Waiting>>,
    waiting_bytes: u64,
    /// Whose turn was last.
    turn: Option<SegmentId>,
}

impl Inflow {
    pub(crate) fn new(max: usize) -> Inflow {
        Inflow {
            max,
            queued: BTreeMap::new(),
            queued_records: 0,
            waiting: BTreeMap::new(),
            waiting_bytes: 0,
            turn: None,
        }
    }

    /// True when there is room for so many records beside the `pending` ones. What is larger than all of the room is taken
    /// when nothing else is there.
    fn has_room(&self, pending: usize, records: usize) -> bool {
        let taken = pending + self.queued_records;
        taken == 0 || taken.saturating_add(records) <= self.max
    }

    /// True when a batch of so many records may go in now.
    pub(crate) fn is_open(&self, pending: usize, records: usize) -> bool {
        self.waiting.is_empty() && self.has_room(pending, records)
    }

    /// True while something waits.
    pub(crate) fn is_waited_for(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Bytes that wait.
    pub(crate) fn waiting_bytes(&self) -> u64 {
        self.waiting_bytes
    }

    /// Something waits from now on. Who sent the same before is answered no more, but it keeps its place.
    pub(crate) fn wait(&mut self, new: Waiting) {
        let line = self.waiting.entry(new.header.segment).or_default();
        let of = |header: &BatchHeader| (header.epoch, header.prev_pg, header.first, header.last);
        match line.iter_mut().find(|known| of(&known.header) == of(&new.header)) {
            Some(known) => (known.ticket, known.append.epochs) = (new.ticket, new.append.epochs),
            None => {
                self.waiting_bytes += new.append.batch.len() as u64;
                line.push_back(new);
            }
        }
    }

    /// The next one for which there is room. The segments take turns.
    pub(crate) fn next(&mut self, pending: usize) -> Option<Waiting> {
        let from = self.turn.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.waiting.range((from, Bound::Unbounded)).next();
        let (segment, line) = behind.or_else(|| self.waiting.first_key_value())?;
        let (segment, records) = (*segment, line.front()?.header.records as usize);
        if !self.has_room(pending, records) {
            return None;
        }
        self.turn = Some(segment);
        self.take(segment, 0)
    }

    /// There is nothing of which a page could be made, so no room comes of itself: the first batch of each segment for which
    /// `needs` holds, unless the segment has something on its way. One batch moves the point up to which pages may be made.
    pub(crate) fn needed(&mut self, needs: impl Fn(&BatchHeader) -> bool) -> Vec<Waiting> {
        let free = self.waiting.iter().filter(|(segment, _)| !self.queued.contains_key(*segment));
        let find = |line: &VecDeque<Waiting>| line.iter().position(|waiting| needs(&waiting.header));
        let found: Vec<(SegmentId, usize)> =
            free.filter_map(|(segment, line)| Some((*segment, find(line)?))).collect();
        found.into_iter().filter_map(|(segment, at)| self.take(segment, at)).collect()
    }

    fn take(&mut self, segment: SegmentId, at: usize) -> Option<Waiting> {
        let line = self.waiting.get_mut(&segment)?;
        let taken = line.remove(at)?;
        if line.is_empty() {
            self.waiting.remove(&segment);
        }
        self.waiting_bytes -= taken.append.batch.len() as u64;
        Some(taken)
    }

    /// Everything that waits, which does so no more.
    pub(crate) fn drain(&mut self) -> Vec<Waiting> {
        self.waiting_bytes = 0;
        std::mem::take(&mut self.waiting).into_values().flatten().collect()
    }

    /// Nobody waits for answers on the connection any more: its log will be sent again.
    pub(crate) fn forget(&mut self, connection: u64) {
        self.waiting.retain(|_, line| {
            line.retain(|waiting| waiting.ticket.connection != connection);
            !line.is_empty()
        });
        let bytes = self.waiting.values().flatten().map(|waiting| waiting.append.batch.len() as u64);
        self.waiting_bytes = bytes.sum();
    }

    /// A batch goes into the queue for the log.
    pub(crate) fn queued(&mut self, header: &BatchHeader) {
        self.queued_records += header.records as usize;
        *self.queued.entry(header.segment).or_default() += header.records as usize;
    }

    /// It has left the queue: it was applied, or refused.
    pub(crate) fn left_queue(&mut self, header: &BatchHeader) {
        let records = header.records as usize;
        self.queued_records -= records;
        if let Some(left) = self.queued.get_mut(&header.segment) {
            *left -= records;
            if *left == 0 {
                self.queued.remove(&header.segment);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;
    use sextant_redo::{Lsn, PgId, VolumeEpoch, VolumeId};

    use super::*;
    use crate::testing::epochs;

    fn segment(pg: u32) -> SegmentId {
        SegmentId { volume: VolumeId(1), pg: PgId(pg) }
    }

    fn header(pg: u32, first: u64, records: u32) -> BatchHeader {
        BatchHeader {
            segment: segment(pg),
            epoch: VolumeEpoch(1),
            prev_pg: Lsn(first - 1),
            first: Lsn(first),
            last: Lsn(first + u64::from(records) - 1),
            vdl: Lsn::ZERO,
            pgmrpl: Lsn::ZERO,
            records,
            body_len: 0,
        }
    }

    fn waiting(connection: u64, header: BatchHeader) -> Waiting {
        let ticket = Ticket { connection, request: header.first.0 };
        let batch = Bytes::from(vec![0; 100]);
        let append = Append { segment: header.segment, epochs: epochs(1), batch };
        Waiting { ticket, append, header, since: Duration::ZERO }
    }

    fn firsts(waiting: &[Waiting]) -> Vec<u64> {
        waiting.iter().map(|waiting| waiting.header.first.0).collect()
    }

    #[test]
    fn records_in_no_page_and_those_on_their_way_share_the_room() {
        let mut inflow = Inflow::new(10);
        assert!(inflow.is_open(4, 6) && !inflow.is_open(4, 7));
        inflow.queued(&header(1, 1, 3));
        assert!(inflow.is_open(4, 3) && !inflow.is_open(4, 4));
        inflow.left_queue(&header(1, 1, 3));
        assert!(inflow.is_open(4, 6));
        assert!(inflow.is_open(0, 11), "it would never be taken");
        assert!(!inflow.is_open(1, 11));
    }

    #[test]
    fn nothing_overtakes_and_segments_take_turns() {
        let mut inflow = Inflow::new(10);
        for of in [header(1, 1, 5), header(1, 6, 2), header(2, 1, 2), header(3, 1, 1)] {
            inflow.wait(waiting(1, of));
        }
        assert!(!inflow.is_open(0, 1), "others came first");
        assert_eq!(inflow.waiting_bytes(), 400);
        assert!(inflow.next(6).is_none(), "the third would fit, but it is not its turn");
        let order = std::iter::from_fn(|| inflow.next(5)).map(|w| (w.header.segment.pg.0, w.header.first.0));
        assert_eq!(order.collect::<Vec<_>>(), [(1, 1), (2, 1), (3, 1), (1, 6)]);
        assert!(inflow.is_open(0, 1) && inflow.waiting_bytes() == 0);
    }

    #[test]
    fn what_comes_again_does_not_wait_twice_and_the_later_one_is_answered() {
        let mut inflow = Inflow::new(10);
        inflow.wait(waiting(1, header(1, 1, 5)));
        inflow.wait(waiting(1, header(1, 6, 5)));
        inflow.wait(waiting(2, header(1, 1, 5)));
        assert_eq!(inflow.waiting_bytes(), 200);
        let first = inflow.next(0).expect("room");
        assert_eq!((first.header.first, first.ticket.connection), (Lsn(1), 2));
        inflow.forget(1);
        assert!(!inflow.is_waited_for() && inflow.waiting_bytes() == 0);
    }

    #[test]
    fn what_is_needed_is_taken_without_room_once_a_segment() {
        let mut inflow = Inflow::new(10);
        for of in [header(1, 9, 5), header(1, 1, 5), header(2, 1, 5), header(3, 1, 5)] {
            inflow.wait(waiting(1, of));
        }
        inflow.queued(&header(3, 50, 1));
        let needs = |header: &BatchHeader| header.first == Lsn(1);
        let taken = inflow.needed(needs);
        assert_eq!(firsts(&taken), [1, 1], "not the third: one of its batches is on the way");
        assert!(inflow.needed(needs).is_empty());
        assert_eq!(firsts(&inflow.drain()), [9, 1]);
    }
}
