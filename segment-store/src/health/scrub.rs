//! Scrubbing: every page image and every sealed log file is read again and again, slowly, and what is damaged is replaced
//! while the peers still have it. Damage that nobody looks for adds up.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use sextant_redo::wire::SegmentError;
use sextant_redo::{PAGE_SIZE, PageId, SegmentId};

use super::{Health, repair};
use crate::core::{BLOCK_PAGES, LogAddress, MapBlock, PageBase};
use crate::disk::{ALIGN, align_up};
use crate::log::layout::{FILE_HEADER, GROUP_HEADER};
use crate::log::{self, GroupHeader, file_name};
use crate::metrics::METRICS;
use crate::pages::{blocks, store};

/// Page images looked at between two pauses.
const PAGES_AT_ONCE: usize = 32;
/// Bytes of log read at once.
const PART_BYTES: usize = 1 << 20;
/// The largest group there can be, with room to spare: a longer one is no group.
const GROUP_MAX: usize = 16 << 20;
/// Between two looks when there is nothing to read.
const IDLE: Duration = Duration::from_secs(1);
/// Longest pause: a node with little to read is through sooner than it must be.
const PAUSE_MAX: Duration = Duration::from_secs(60);

/// Scrubs until the node fails.
pub(super) async fn keep(health: Rc<Health>) {
    let mut bad_files = BTreeSet::new();
    while !health.node.has_failed() {
        let started = health.node.host.now();
        pages(&health).await;
        log_files(&health, &mut bad_files).await;
        METRICS.scrub_passes.inc();
        let left = health.options.scrub_period.saturating_sub(health.node.host.now() - started);
        rest(&health, left.min(IDLE).max(Duration::from_millis(10))).await;
    }
}

async fn rest(health: &Health, time: Duration) {
    health.node.host.sleep(time).await;
}

/// Pauses behind `bytes` that were read: all there is should take the whole period, but no less than the rate allows; and
/// twice as long while appends come in.
async fn pace(health: &Health, bytes: usize, group_before: u64) {
    let node = &health.node;
    let all = node.log.borrow().bytes_used() + node.background.pages.borrow().bytes().0;
    let (rate, period) = (health.options.scrub_bytes_per_s, health.options.scrub_period.as_secs_f64());
    let at_rate = Health::pace(bytes, rate);
    let over_period = Duration::from_secs_f64(period * bytes as f64 / (all as f64).max(bytes as f64));
    let busy = node.log.borrow().position().sequence > group_before;
    let pause = at_rate.max(over_period.min(PAUSE_MAX));
    rest(health, pause * if busy { 2 } else { 1 }).await;
}

/// Looks at every page image, by the blocks of the page map that name them.
async fn pages(health: &Rc<Health>) {
    let node = &health.node;
    let segments: Vec<SegmentId> = node.store.borrow().segments().keys().copied().collect();
    for segment in segments {
        let mut from = Some(PageId(0));
        while let Some(start) = from
            && !node.has_failed()
        {
            let (group, pin) = (node.log.borrow().position().sequence, node.background.pins.pin());
            let next = node.store.borrow().segments().get(&segment).and_then(|slot| {
                let block = start.0 / BLOCK_PAGES;
                slot.pages.map().numbers_from(block).next()
            });
            let Some(number) = next else { break };
            let mut images = images(health, segment, number, start).await;
            images.truncate(PAGES_AT_ONCE);
            for (page, base) in &images {
                look_at(health, segment, *page, *base).await;
            }
            drop(pin);
            from = match images.last() {
                Some((page, _)) if images.len() == PAGES_AT_ONCE => page.0.checked_add(1).map(PageId),
                _ => (number + 1).checked_mul(BLOCK_PAGES).map(PageId),
            };
            pace(health, images.len().max(1) * PAGE_SIZE, group).await;
        }
    }
}

/// The images from `from` on that a block of the page map names. The block on the device is looked at too.
async fn images(
    health: &Rc<Health>,
    segment: SegmentId,
    number: u64,
    from: PageId,
) -> Vec<(PageId, PageBase)> {
    let node = &health.node;
    let (place, in_memory) = {
        let store = node.store.borrow();
        let Some(map) = store.segments().get(&segment).map(|slot| slot.pages.map()) else {
            return Vec::new();
        };
        (map.place(number), map.is_loaded(number).then(|| map.images(number).collect::<Vec<_>>()))
    };
    let begins = from.0 <= number * BLOCK_PAGES;
    let mut images = in_memory.clone().unwrap_or_default();
    if let Some(block) = place.filter(|_| begins || in_memory.is_none()) {
        let file = node.background.pages.borrow().file();
        match blocks::read(&*node.disk, file, block).await {
            Ok(bytes) if in_memory.is_none() => images = bytes.images(number).collect(),
            Ok(_) => {}
            Err(error) => bad_block(health, segment, block, &error).await,
        }
    }
    images.retain(|(page, _)| *page >= from);
    images
}

/// A damaged block is written anew from memory. One that is not there is rebuilt with a peer's pages.
async fn bad_block(health: &Rc<Health>, segment: SegmentId, block: MapBlock, error: &SegmentError) {
    let number = block.number;
    METRICS.scrub_bad.with_label_values(&["map"]).inc();
    let again = {
        let mut store = health.node.store.borrow_mut();
        store.segment_mut(segment).is_some_and(|slot| slot.pages.map_mut().write_again(number))
    };
    if again {
        METRICS.scrub_repaired.with_label_values(&["map"]).inc();
        tracing::warn!(?segment, number, %error, "a damaged block of the page map is written anew");
    } else if let Err(failed) = super::blocks::rebuild(health, segment, block).await {
        METRICS.scrub_unrepairable.inc();
        tracing::error!(
            ?segment, number, %error, %failed,
            "a block of the page map is damaged; its pages are not served here until a peer has helped"
        );
    }
}

async fn look_at(health: &Rc<Health>, segment: SegmentId, page: PageId, base: PageBase) {
    let node = &health.node;
    let file = node.background.pages.borrow().file();
    let read = store::read_background(&*node.disk, file, page, base).await;
    METRICS.scrub_pages.inc();
    let Err(error) = read else { return };
    METRICS.scrub_bad.with_label_values(&["page"]).inc();
    tracing::error!(?segment, %error, "scrubbing found a damaged page; a peer is asked for it");
    if let Some(told) = repair::start(health, (segment, page)) {
        // What it came to is said where it was done.
        let _ = told.await;
    }
}

/// Looks at every log file that is full.
async fn log_files(health: &Rc<Health>, bad: &mut BTreeSet<u32>) {
    let (first, active) = {
        let log = health.node.log.borrow();
        (log.first_file(), log.position().file)
    };
    bad.retain(|number| *number >= first);
    METRICS.damaged_files.set(bad.len() as i64);
    for number in first..active {
        if health.node.has_failed() {
            return;
        }
        let Some(damage) = damage_in(health, number).await else { continue };
        if bad.insert(number) {
            METRICS.damaged_files.set(bad.len() as i64);
            METRICS.scrub_bad.with_label_values(&["log"]).inc();
            tracing::error!(
                file = %file_name(number), offset = damage[0].start,
                "scrubbing found a damaged log file; what is still needed of it is written once more"
            );
        }
        let mut mended = true;
        for range in damage {
            mended &= save(health, number, range).await;
        }
        if mended {
            health.node.background.free_below(number + 1);
        }
    }
}

type Range = std::ops::Range<u32>;

/// What is bad in a log file each time it is read: a read that goes wrong once is no damage.
async fn damage_in(health: &Rc<Health>, number: u32) -> Option<Vec<Range>> {
    let suspected = log_file(health, number).await?;
    if suspected.is_empty() {
        return None;
    }
    let damage = log_file(health, number).await?;
    (!damage.is_empty()).then_some(damage)
}

/// The stretches of a full log file that are no good; `None` when the file is gone.
async fn log_file(health: &Rc<Health>, number: u32) -> Option<Vec<Range>> {
    let node = &health.node;
    let (mut sequence, end_sequence) = {
        let log = node.log.borrow();
        (log.first_sequence(number)?, log.first_sequence(number + 1)?)
    };
    let len = node.options.log_file_bytes as usize;
    let (mut at, mut damage, mut bad_from) = (FILE_HEADER, Vec::new(), None);
    let mut window = (at, Bytes::new());
    while sequence < end_sequence && at < len {
        let need = needed(&window, at, len);
        if at + need > window.0 + window.1.len() || at < window.0 {
            let group = node.log.borrow().position().sequence;
            let size = need.max(PART_BYTES).min(len - at);
            // The file may be freed while this waits.
            node.log.borrow().first_sequence(number)?;
            let pin = node.background.pins.pin();
            let read = log::read::part(node, LogAddress::new(number, at as u32), size).await;
            drop(pin);
            METRICS.scrub_log_bytes.inc_by(size as u64);
            let Some(bytes) = read else {
                // The device gives nothing: all of it counts as bad.
                bad_from.get_or_insert(at);
                at += size;
                window = (at, Bytes::new());
                continue;
            };
            window = (at, bytes);
            pace(health, size, group).await;
            if needed(&window, at, len) > window.1.len() {
                continue;
            }
        }
        let rest = window.1.slice(at - window.0..);
        match GroupHeader::decode(&rest) {
            Ok(group)
                if group.file == number && group.sequence >= sequence && group.sequence < end_sequence =>
            {
                if let Some(from) = bad_from.take() {
                    damage.push(from as u32..at as u32);
                }
                sequence = group.sequence + 1;
                at += group.space();
            }
            _ => {
                bad_from.get_or_insert(at);
                at += ALIGN;
            }
        }
    }
    if let Some(from) = bad_from {
        damage.push(from as u32..len as u32);
    }
    node.log.borrow().first_sequence(number)?;
    Some(damage)
}

/// How many bytes must be at hand at `at` to judge what starts there.
fn needed(window: &(usize, Bytes), at: usize, len: usize) -> usize {
    let head = at.checked_sub(window.0).and_then(|from| window.1.get(from..from + GROUP_HEADER));
    let payload = head.map_or(0, |head| u32::from_le_bytes([head[4], head[5], head[6], head[7]]) as usize);
    let space = align_up(GROUP_HEADER + payload);
    if space > GROUP_MAX || at + space > len { ALIGN } else { space }
}

/// Writes the batches that lie in a bad stretch once more: those that are whole from here, the others from a peer. True when
/// nothing needs the stretch any more.
async fn save(health: &Rc<Health>, number: u32, range: Range) -> bool {
    let (from, to) = (LogAddress::new(number, range.start), LogAddress::new(number, range.end));
    let batches: Vec<(SegmentId, LogAddress, u32)> = {
        let store = health.node.store.borrow();
        let inside = |at: LogAddress| from <= at && at < to;
        let of = |(id, slot): (&SegmentId, &crate::core::SegmentSlot)| {
            let lying = slot.segment.chain().batches().filter(|batch| inside(batch.at));
            lying.map(|batch| (*id, batch.at, batch.len)).collect::<Vec<_>>()
        };
        store.segments().iter().flat_map(of).collect()
    };
    let mut saved = true;
    for (segment, at, len) in batches {
        let here = log::read::batch(&health.node, at, len).await.ok();
        if !health.node.store.borrow().is_of_now(segment, at) {
            continue;
        }
        let whole = here.and_then(|bytes| sextant_redo::Batch::decode(&bytes).ok());
        let written = match whole {
            Some(batch) => {
                let entry = crate::core::Entry::Batch(batch);
                health.own.write(&health.node, entry).await.map(|_| ()).map_err(super::Failed::from)
            }
            None => match repair::batch_at(health, segment, at).await {
                Ok(()) => Ok(()),
                Err(error) => repair::pages_of(health, segment, at).await.map_err(|_| error),
            },
        };
        if let Err(error) = written {
            saved = false;
            METRICS.scrub_unrepairable.inc();
            tracing::error!(?segment, %error, "damaged log cannot be replaced yet; the next pass tries again");
        }
    }
    saved
}
