//! In place of what is damaged here, the same from a peer: a page image goes to a new slot, a batch to the end of the log,
//! and nothing needs the bad bytes any more.

use std::cell::RefCell;
use std::collections::BTreeSet;
use std::rc::Rc;

use sextant_redo::wire::SegmentError;
use sextant_redo::{Batch, Lsn, NodeId, PAGE_SIZE, PageId, SegmentId};
use tokio::sync::oneshot;

use super::gossip::{Told, next_batch, state_of};
use super::{Failed, Health, blocks, copy, wrong};
use crate::core::{Entry, LogAddress, PagePlan, StoredBatch};
use crate::log;
use crate::metrics::METRICS;
use crate::pages::{blocks as map, store};

/// A page of a segment.
pub(crate) type RepairKey = (SegmentId, PageId);

/// Repairs at once: a device that goes bad as a whole must not flood the peers.
const REPAIRS_MAX: usize = 16;
/// Failed repairs that are remembered.
const HOPELESS_MAX: usize = 1024;

/// Repairs that are under way, and those that came to nothing.
#[derive(Debug, Default)]
pub(super) struct Repairs {
    running: RefCell<BTreeSet<RepairKey>>,
    /// Said once, not at every attempt.
    hopeless: RefCell<BTreeSet<RepairKey>>,
}

impl Repairs {
    /// True when this failure is to be said.
    fn failed(&self, key: RepairKey) -> bool {
        let mut hopeless = self.hopeless.borrow_mut();
        hopeless.len() < HOPELESS_MAX && hopeless.insert(key)
    }
}

/// Mends whatever of the page is damaged, beside the caller, who may wait for the outcome: true when the page can be made
/// now. `None` when somebody else is at it, or too many others are being mended.
pub(crate) fn start(health: &Rc<Health>, key: RepairKey) -> Option<oneshot::Receiver<bool>> {
    {
        let mut running = health.repairs.running.borrow_mut();
        if running.len() >= REPAIRS_MAX || !running.insert(key) {
            return None;
        }
    }
    let (tell, told) = oneshot::channel();
    let task = health.clone();
    health.node.host.spawn(Box::pin(async move {
        let mended = page(&task, key).await;
        task.repairs.running.borrow_mut().remove(&key);
        // Who asked may not have waited.
        let _ = tell.send(mended);
    }));
    Some(told)
}

async fn page(health: &Rc<Health>, key: RepairKey) -> bool {
    let (segment, number) = key;
    match mend(health, segment, number).await {
        Ok(()) => {
            health.repairs.hopeless.borrow_mut().remove(&key);
            health.node.background.mended(segment, number);
            true
        }
        Err(error) => {
            METRICS.scrub_unrepairable.inc();
            if health.repairs.failed(key) {
                tracing::error!(
                    ?segment, page = %number, %error,
                    "a damaged page cannot be repaired yet; it is not served here, other copies have it"
                );
            }
            false
        }
    }
}

async fn mend(health: &Rc<Health>, segment: SegmentId, number: PageId) -> Result<(), Failed> {
    let node = &health.node;
    let pin = node.background.pins.pin();
    for record in plan(health, segment, number).await?.records {
        if log::read::record(node, &record).await.is_err()
            && let Err(error) = batch_at(health, segment, record.batch).await
        {
            tracing::debug!(%error, "log cannot be had from a peer; the page may");
            image(health, segment, number, record.lsn).await?;
        }
    }
    drop(pin);
    let _pin = node.background.pins.pin();
    if let Some(base) = plan(health, segment, number).await?.base {
        let file = node.background.pages.borrow().file();
        if store::read(&*node.disk, file, number, base).await.is_err() {
            image(health, segment, number, base.lsn).await?;
        }
    }
    Ok(())
}

/// What makes the newest version of the page, once the block of the map that knows it is there. The caller holds a pin.
async fn plan(health: &Rc<Health>, segment: SegmentId, number: PageId) -> Result<PagePlan, Failed> {
    let node = &health.node;
    let planned = || {
        let store = node.store.borrow();
        let plan = store.segments().get(&segment).map(|slot| slot.pages.plan(number, Lsn::MAX));
        plan.ok_or(SegmentError::UnknownSegment { segment })
    };
    let mut plan = planned()?;
    let lost = plan.block;
    if map::resolve(node, segment, &mut plan).await.is_err()
        && let Some(lost) = lost
    {
        blocks::rebuild(health, segment, lost).await?;
        plan = planned()?;
        map::resolve(node, segment, &mut plan).await?;
    }
    Ok(plan)
}

/// Gets an image with every record at or below `at` from the first peer that has a good one.
async fn image(health: &Rc<Health>, segment: SegmentId, number: PageId, at: Lsn) -> Result<(), Failed> {
    let peers = health.full_in_turn(segment);
    let peer =
        health.with_a_peer(peers, async |peer| image_of(health, segment, number, at, peer).await).await?;
    METRICS.scrub_repaired.with_label_values(&["page"]).inc();
    tracing::warn!(?segment, page = %number, %peer, "a damaged page was replaced by a peer's");
    Ok(())
}

async fn image_of(
    health: &Rc<Health>,
    segment: SegmentId,
    number: PageId,
    at: Lsn,
    peer: NodeId,
) -> Result<(), Failed> {
    let Some(mine) = health.standing(segment) else { return Err(Failed::Stopping) };
    let of = (segment, mine.state.epochs);
    let (came, pages) = copy::ask(health, peer, of, (at, number), PAGE_SIZE as u32).await?;
    let Some((_, image)) = pages.into_iter().next().filter(|(n, image)| *n == number && image.lsn() >= at)
    else {
        return Err(wrong(peer, format!("it has no image of page {number} at {at} or newer")));
    };
    copy::put(health, segment, &came, vec![(number, image)]).await
}

/// Writes the batch that lies damaged at `at` once more, as a peer has it.
pub(super) async fn batch_at(health: &Rc<Health>, segment: SegmentId, at: LogAddress) -> Result<(), Failed> {
    let stored = {
        let store = health.node.store.borrow();
        let slot = store.segments().get(&segment);
        slot.and_then(|slot| slot.segment.chain().batches().find(|batch| batch.at == at).copied())
    };
    // Somebody else was faster: another copy of it counts now.
    let Some(stored) = stored else { return Ok(()) };
    let peers = health.in_turn(segment);
    let peer = health.with_a_peer(peers, async |peer| batch_of(health, segment, &stored, peer).await).await?;
    METRICS.scrub_repaired.with_label_values(&["log"]).inc();
    tracing::warn!(
        ?segment, first = %stored.first, last = %stored.last, %peer,
        "damaged log was replaced by a peer's"
    );
    Ok(())
}

async fn batch_of(
    health: &Rc<Health>,
    segment: SegmentId,
    stored: &StoredBatch,
    peer: NodeId,
) -> Result<(), Failed> {
    let Some(mine) = health.standing(segment) else { return Err(Failed::Stopping) };
    let epochs = mine.state.epochs;
    let alike = match state_of(health, peer, segment, epochs).await? {
        Told::State(theirs) => {
            theirs.epochs == epochs && theirs.truncations == mine.state.truncations && mine.cleared
        }
        Told::Newer(_) => false,
    };
    if !alike {
        return Err(wrong(peer, "its copy is under another opening"));
    }
    let mut batches = health.log_of(peer, (segment, epochs), (stored.prev, stored.last), 1).await?;
    let bytes = next_batch(&mut batches).map_err(|what| wrong(peer, what))?.unwrap_or_default();
    let batch = Batch::decode(&bytes).map_err(|error| wrong(peer, error.to_string()))?;
    let header = batch.header();
    if header.segment != segment || (header.first, header.last) != (stored.first, stored.last) {
        return Err(wrong(peer, "it holds that log in other batches"));
    }
    // It came with the epochs that it was asked for with: an opener may have been faster.
    if health.standing(segment).is_none_or(|now| now.state.epochs != epochs) {
        return Err(wrong(peer, "the epoch has changed meanwhile"));
    }
    health.own.write(&health.node, Entry::Batch(batch)).await?;
    Ok(())
}

/// No peer has the log that lies damaged at `at` any more, so every record of it is old: the pages that still wait for one
/// get their images from a peer.
pub(super) async fn pages_of(health: &Rc<Health>, segment: SegmentId, at: LogAddress) -> Result<(), Failed> {
    let waiting = {
        let store = health.node.store.borrow();
        store.segments().get(&segment).map_or_else(Vec::new, |slot| slot.pages.waiting_for(at))
    };
    for (page, lsn) in waiting {
        image(health, segment, page, lsn).await?;
    }
    Ok(())
}
