//! Which pages get an image when space or memory is short, and their records read back together.
//!
//! An image costs a write of 8 KiB whether it holds one record or thirty, so it gets everything that waits on its page, not only
//! what lies in the oldest log. The records lie all over the log, so pages are taken by portions: as many as memory has room for
//! the records of, which are picked out of the log in one walk through it.

use std::borrow::Borrow;
use std::collections::{BTreeMap, BTreeSet};
use std::ops::{Bound, Range};
use std::rc::Rc;

use bytes::Bytes;
use sextant_redo::{PageId, PgId, SegmentId, VolumeId};

use crate::core::{LogAddress, PendingRecord, SegmentSlot};
use crate::disk::{LocalFuture, join_all};
use crate::log;
use crate::log::runs::{Limits, runs_within};
use crate::node::Node;

use super::brought::Gathering;

/// Pages with pending records looked at between two turns of the thread for others.
const PAGES_A_STEP: usize = 1024;
/// What one transfer brings of the log for many pages at once: small enough not to hold up a write for long, which on its way
/// to the device comes behind all reads that are.
const STRETCH: Limits = Limits { gap_bytes: 64 << 10, bytes: 256 << 10 };
/// Transfers at once, and where there is no time to lose.
const STRETCHES_AT_ONCE: usize = 2;
const STRETCHES_AT_ONCE_URGENT: usize = 4;
/// Chains from so many records on count as equally long.
const LONGEST: usize = 256;

/// A page of a segment.
pub(super) type At = (SegmentId, PageId);
/// Says of a page's records that may be in an image whether it is to get one.
pub(super) type Wanted<'a> = &'a dyn Fn(&[PendingRecord]) -> bool;

/// How much is taken at once.
#[derive(Debug, Clone, Copy)]
pub(super) struct Share {
    /// Records that leave memory's index.
    pub(super) records: usize,
    /// Bytes of records to be read back.
    pub(super) bytes: u64,
}

/// Pages that get an image together.
#[derive(Debug, Default)]
pub(super) struct Portion {
    pub(super) pages: Vec<At>,
    /// Those of their records that have left memory, or may do so soon.
    records: Vec<Left>,
    bytes: u64,
    all_records: usize,
}

/// A record that has left memory, or may do so soon.
#[derive(Debug, Clone, Copy)]
struct Left {
    record: PendingRecord,
    /// Which of the portion's pages it is of.
    page: usize,
}

impl Borrow<PendingRecord> for Left {
    fn borrow(&self) -> &PendingRecord {
        &self.record
    }
}

impl Portion {
    fn add(&mut self, page: At, records: &[PendingRecord], in_memory_from: LogAddress) {
        self.all_records += records.len();
        for record in records.iter().filter(|record| record.batch < in_memory_from) {
            self.records.push(Left { record: *record, page: self.pages.len() });
            self.bytes += u64::from(record.len);
        }
        self.pages.push(page);
    }

    fn is_full(&self, share: Share) -> bool {
        self.bytes >= share.bytes || self.all_records >= share.records
    }
}

/// Some pages with pending records, from `from` on: each with those of its records that may be in an image. Says where to go on,
/// if not at the end.
fn step<'a>(
    segments: &'a BTreeMap<SegmentId, SegmentSlot>,
    from: At,
    damaged: &BTreeSet<At>,
    mut each: impl FnMut(At, &'a [PendingRecord]) -> bool,
) -> Option<At> {
    let (segment, slot) = segments.range(from.0..).next()?;
    let start = if *segment == from.0 { from.1 } else { PageId(0) };
    let cap = slot.segment.materialise_cap();
    for (looked_at, (page, chain)) in slot.pages.pending_from(start).enumerate() {
        let at = (*segment, page);
        let ready = &chain[..chain.partition_point(|record| record.lsn <= cap)];
        if looked_at == PAGES_A_STEP {
            return Some(at);
        }
        if !ready.is_empty() && !damaged.contains(&at) && !each(at, ready) {
            return Some(at);
        }
    }
    let behind = segments.range((Bound::Excluded(*segment), Bound::Unbounded)).next();
    behind.map(|(segment, _)| (*segment, PageId(0)))
}

/// True when there is a page that could get an image.
pub(super) fn any_ready(node: &Node) -> bool {
    let (store, damaged) = (node.store.borrow(), node.background.damaged.borrow());
    let (mut found, mut from) = (false, Some(FIRST));
    while let Some(at) = from.filter(|_| !found) {
        from = step(store.segments(), at, &damaged, |_, _| {
            found = true;
            false
        });
    }
    found
}

/// The next pages from `from` on that are `wanted`, and where to go on, if not at the end.
pub(super) async fn portion(
    node: &Node,
    from: At,
    wanted: Wanted<'_>,
    share: Share,
) -> (Portion, Option<At>) {
    let mut portion = Portion::default();
    let in_memory_from = node.cache.borrow().leaves_soon();
    let mut from = Some(from);
    while let Some(at) = from
        && !portion.is_full(share)
    {
        from = {
            let store = node.store.borrow();
            let damaged = node.background.damaged.borrow();
            step(store.segments(), at, &damaged, |page, records| {
                if portion.is_full(share) {
                    return false;
                }
                if wanted(records) {
                    portion.add(page, records, in_memory_from);
                }
                true
            })
        };
        // Looking is work too, and on the thread that serves.
        tokio::task::yield_now().await;
    }
    (portion, from)
}

/// The pages on which the most records wait: of all that could be chosen these free the most memory for a write.
pub(super) async fn longest(node: &Node, share: Share) -> Portion {
    let mut lengths = Lengths::default();
    let mut from = Some(FIRST);
    while let Some(at) = from {
        from = {
            let store = node.store.borrow();
            let damaged = node.background.damaged.borrow();
            step(store.segments(), at, &damaged, |_, records| {
                lengths.add(records);
                true
            })
        };
        tokio::task::yield_now().await;
    }
    let shortest = lengths.shortest_of(share);
    portion(node, FIRST, &|records| records.len() >= shortest, share).await.0
}

/// Before every page.
pub(super) const FIRST: At = (SegmentId { volume: VolumeId(0), pg: PgId(0) }, PageId(0));

/// How many records and bytes wait in chains of each length.
#[derive(Debug)]
struct Lengths([Share; LONGEST + 1]);

impl Default for Lengths {
    fn default() -> Lengths {
        Lengths([Share { records: 0, bytes: 0 }; LONGEST + 1])
    }
}

impl Lengths {
    fn add(&mut self, chain: &[PendingRecord]) {
        let of = &mut self.0[chain.len().min(LONGEST)];
        of.records += chain.len();
        of.bytes += chain.iter().map(|record| u64::from(record.len)).sum::<u64>();
    }

    /// All chains at least as long as this are a share, or nearly.
    fn shortest_of(&self, share: Share) -> usize {
        let (mut records, mut bytes) = (0, 0);
        for (length, of) in self.0.iter().enumerate().rev() {
            records += of.records;
            bytes += of.bytes;
            if records >= share.records || bytes >= share.bytes {
                return length.max(1);
            }
        }
        1
    }
}

/// Reads the records of a portion that are not in memory. What cannot be read is read record by record later.
pub(super) async fn bring(node: &Rc<Node>, portion: &mut Portion, urgent: bool) {
    let mut records = std::mem::take(&mut portion.records);
    let mut gathered = room_for(portion.pages.len(), &records);
    records.sort_unstable_by_key(|left| left.record.at());
    let at_once = if urgent { STRETCHES_AT_ONCE_URGENT } else { STRETCHES_AT_ONCE };
    for stretches in runs_within(&records, STRETCH).chunks(at_once) {
        let read = |stretch: &Range<usize>| -> LocalFuture<'_, _> {
            let records = &records[stretch.clone()];
            Box::pin(async move { (records, stretch_of(node, records).await) })
        };
        for (records, bytes) in join_all(stretches.iter().map(read).collect()).await {
            if let Some(bytes) = bytes {
                pick(&mut gathered, records, &bytes);
            }
        }
    }
    let pages = portion.pages.iter().copied().zip(gathered);
    let brought = pages.map(|(page, gathering)| (page, Rc::new(gathering.finish()))).collect();
    node.background.brought.replace(brought);
}

/// Room for the records of each page.
fn room_for(pages: usize, records: &[Left]) -> Vec<Gathering> {
    let mut sizes = vec![(0, 0); pages];
    for Left { record, page } in records {
        let (count, bytes) = &mut sizes[*page];
        *count += 1;
        *bytes += record.len as usize;
    }
    sizes.into_iter().map(|(records, bytes)| Gathering::with_capacity(records, bytes)).collect()
}

async fn stretch_of(node: &Node, records: &[Left]) -> Option<Bytes> {
    log::read::stretch(node, &records.first()?.record, &records.last()?.record).await
}

/// Keeps the records out of what lies from the first one's start on, and nothing of what lies between.
fn pick(gathered: &mut [Gathering], records: &[Left], bytes: &Bytes) {
    let Some(start) = records.first().map(|first| first.record.at().0) else { return };
    for Left { record, page } in records {
        let (from, len) = ((record.at().0 - start) as usize, record.len as usize);
        gathered[*page].push(record.at(), &bytes[from..from + len]);
    }
}

#[cfg(test)]
mod tests {
    use sextant_redo::Lsn;

    use super::*;

    fn chain(len: usize) -> Vec<PendingRecord> {
        let record = |n: usize| PendingRecord {
            lsn: Lsn(n as u64 + 1),
            batch: LogAddress::new(1, 4096),
            batch_len: 1000,
            offset: 40,
            len: 10,
            crc: 0,
        };
        (0..len).map(record).collect()
    }

    #[test]
    fn the_longest_chains_make_up_the_share() {
        let mut lengths = Lengths::default();
        for len in [1, 1, 2, 5, 9, 1000] {
            lengths.add(&chain(len));
        }
        let shortest = |records, bytes| lengths.shortest_of(Share { records, bytes });
        assert_eq!(shortest(1, u64::MAX), LONGEST, "all very long ones are one");
        assert_eq!(shortest(1001, u64::MAX), 9);
        assert_eq!(shortest(1010, u64::MAX), 5);
        assert_eq!(shortest(usize::MAX, 10_091), 5, "whichever is reached first");
        assert_eq!(shortest(1018, u64::MAX), 1);
        assert_eq!(shortest(usize::MAX, u64::MAX), 1, "all there are, and none that is empty");
    }
}
