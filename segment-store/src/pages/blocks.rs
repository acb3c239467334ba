//! Blocks of the page map, and pieces of the list of pending records, in slots of the page store.
//!
//! What must hold: a plan with a block still to be read is made under a pin, so the block lies where the plan says until it
//! was read; and what it says is the state as of the plan, whatever the map has become since.

use sextant_redo::wire::SegmentError;
use sextant_redo::{PAGE_SIZE, PageId, SegmentId};

use crate::NodeError;
use crate::core::{BlockBytes, BlockOut, Looked, MapBlock, PageBase, PagePlan, Slot, Store, WrongBlock};
use crate::disk::{AlignedBuf, Disk, FileId, LocalFuture, join_all};
use crate::metrics::METRICS;
use crate::node::Node;
use crate::recovery::RecoveryError;

use super::store::PageStore;
use super::{space, store};

/// Blocks written or pieces moved at once.
pub(super) const AT_ONCE: usize = 128;

/// A piece of the list of pending records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    pub(crate) slot: Slot,
    pub(crate) crc: u32,
}

/// Reads a block and checks that it is the one that is meant.
pub(crate) async fn read(
    disk: &dyn Disk,
    file: Option<FileId>,
    block: MapBlock,
) -> Result<BlockBytes, SegmentError> {
    let damaged = |what: String| SegmentError::Damaged {
        what: format!("slot {} of the page store: {what}", block.slot.0),
    };
    let bytes = store::read_slot(disk, file, block.slot).await.map_err(|error| damaged(error.to_string()))?;
    BlockBytes::check(&bytes, block).map_err(|error| damaged(error.to_string()))
}

/// Looks up what the plan could not know. The caller holds a pin taken before the plan was made.
pub(crate) async fn resolve(
    node: &Node,
    segment: SegmentId,
    plan: &mut PagePlan,
) -> Result<(), SegmentError> {
    if let Some(block) = plan.block {
        let file = node.background.pages.borrow().file();
        let bytes = read(&*node.disk, file, block).await?;
        plan.resolve(&bytes);
        keep(node, segment, block, bytes);
    }
    Ok(())
}

/// Holds a block in memory, as far as the budget goes.
fn keep(node: &Node, segment: SegmentId, block: MapBlock, bytes: BlockBytes) {
    let mut store = node.store.borrow_mut();
    // Others go first, so that whoever asked finds the block.
    store.give_up_blocks(node.options.map_blocks_max.saturating_sub(1));
    if let Some(slot) = store.segment_mut(segment) {
        slot.pages.load(block, bytes);
    }
}

/// Brings the block that knows `page` into memory.
pub(crate) async fn load(node: &Node, segment: SegmentId, page: PageId) -> Result<(), SegmentError> {
    let _pin = node.background.pins.pin();
    let looked = {
        let store = node.store.borrow();
        store.segments().get(&segment).map(|slot| slot.pages.map().get(page))
    };
    if let Some(Looked::InBlock(block)) = looked {
        let file = node.background.pages.borrow().file();
        let bytes = read(&*node.disk, file, block).await?;
        keep(node, segment, block, bytes);
    }
    Ok(())
}

/// An image is written: readers find it from now on. One that is older than what came meanwhile is dropped. Fails where
/// the map cannot be read; then nothing has changed.
pub(super) async fn switch(
    node: &Node,
    segment: SegmentId,
    page: PageId,
    base: PageBase,
) -> Result<(), SegmentError> {
    loop {
        let switched = {
            let mut store = node.store.borrow_mut();
            let Some(slot) = store.segment_mut(segment) else {
                node.background.pages.borrow_mut().release([base.slot]);
                return Ok(());
            };
            if let Looked::Known(Some(known)) = slot.pages.map().get(page)
                && known.lsn > base.lsn
            {
                node.background.pages.borrow_mut().release([base.slot]);
                return Ok(());
            }
            slot.pages.materialised(page, base)
        };
        match switched {
            Ok(before) => {
                node.background.pages.borrow_mut().supersede(before.map(|before| before.slot));
                return Ok(());
            }
            Err(_) => load(node, segment, page).await?,
        }
    }
}

/// Writes every changed block of the page maps to a new slot. False when the device is full.
pub(super) async fn write_changed(node: &Node) -> Result<bool, NodeError> {
    loop {
        let changed: Vec<(SegmentId, BlockOut)> = {
            let mut store = node.store.borrow_mut();
            let ids: Vec<SegmentId> = store.segments().keys().copied().collect();
            let mut changed = Vec::new();
            for id in ids {
                let map = store.segment_mut(id).map(|slot| slot.pages.map_mut());
                let blocks = map.map_or_else(Vec::new, |map| map.changed(AT_ONCE - changed.len()));
                changed.extend(blocks.into_iter().map(|block| (id, block)));
            }
            changed
        };
        if changed.is_empty() {
            node.store.borrow_mut().give_up_blocks(node.options.map_blocks_max);
            return Ok(true);
        }
        let bytes: Vec<&[u8]> = changed.iter().map(|(_, block)| &block.bytes.bytes()[..]).collect();
        let Some(slots) = write(node, &bytes).await? else {
            return Ok(false);
        };
        let mut store = node.store.borrow_mut();
        let mut pages = node.background.pages.borrow_mut();
        for ((segment, block), slot) in changed.iter().zip(slots) {
            match store.segment_mut(*segment).map(|found| found.pages.map_mut().written(block, slot)) {
                // Nobody was told of the new slot.
                None => pages.release([slot]),
                Some(Some(unused)) if unused == slot => pages.release([slot]),
                Some(before) => pages.supersede(before),
            }
        }
    }
}

/// The slots of segments that were dropped are free behind the next checkpoint, which does not name them. Those named by a
/// block that cannot be read are free at the next start.
pub(super) async fn free_dropped(node: &Node) {
    let dropped = node.store.borrow_mut().take_dropped();
    for pages in dropped {
        let map = pages.map();
        for number in map.numbers_from(0) {
            let place = map.place(number);
            let mut slots: Vec<Slot> = map.images(number).map(|(_, base)| base.slot).collect();
            if let Some(block) = place.filter(|_| !map.is_loaded(number)) {
                let file = node.background.pages.borrow().file();
                match read(&*node.disk, file, block).await {
                    Ok(bytes) => slots.extend(bytes.images(number).map(|(_, base)| base.slot)),
                    Err(error) => {
                        tracing::warn!(%error, "pages of a dropped segment keep their space until a start")
                    }
                }
            }
            slots.extend(place.map(|block| block.slot));
            node.background.pages.borrow_mut().supersede(slots);
        }
    }
}

/// Writes a list of pending records, cut into slots. `None` when the device is full.
pub(super) async fn write_list(node: &Node, list: &[u8]) -> Result<Option<Vec<Piece>>, NodeError> {
    let mut pieces = Vec::new();
    let parts: Vec<&[u8]> = list.chunks(PAGE_SIZE).collect();
    for parts in parts.chunks(AT_ONCE) {
        let Some(slots) = write(node, parts).await? else {
            let slots = pieces.into_iter().map(|piece: Piece| piece.slot);
            node.background.pages.borrow_mut().release(slots);
            return Ok(None);
        };
        let checksums = parts.iter().map(|part| crc32c::crc32c(part));
        pieces.extend(slots.into_iter().zip(checksums).map(|(slot, crc)| Piece { slot, crc }));
    }
    Ok(Some(pieces))
}

/// Writes each of `parts` to a free slot, all at once. `None` when the device is full.
async fn write(node: &Node, parts: &[&[u8]]) -> Result<Option<Vec<Slot>>, NodeError> {
    let (mut slots, mut writes) = (Vec::new(), Vec::new());
    for part in parts {
        let Some((file, slot)) = space::free_slot(node).await? else {
            node.background.pages.borrow_mut().release(slots);
            return Ok(None);
        };
        slots.push(slot);
        let mut buffer = AlignedBuf::zeroed(PAGE_SIZE);
        buffer[..part.len()].copy_from_slice(part);
        let write: LocalFuture<'_, _> = Box::pin(store::write_slot(&*node.disk, file, slot, buffer));
        writes.push(write);
    }
    for written in join_all(writes).await {
        written?;
    }
    Ok(Some(slots))
}

/// Reads back a list of pending records of `len` bytes.
pub(crate) async fn read_list(
    disk: &dyn Disk,
    file: Option<FileId>,
    pieces: &[Piece],
    len: u64,
) -> Result<Vec<u8>, RecoveryError> {
    let mut list = Vec::with_capacity(pieces.len() * PAGE_SIZE);
    for some in pieces.chunks(AT_ONCE) {
        let reads = some.iter().map(|piece| -> LocalFuture<'_, _> {
            Box::pin(async move { (piece, store::read_slot(disk, file, piece.slot).await) })
        });
        for (piece, bytes) in join_all(reads.collect()).await {
            let bytes = bytes.map_err(|source| store::unreadable_slot(piece.slot, source))?;
            let left = len.saturating_sub(list.len() as u64).min(PAGE_SIZE as u64) as usize;
            if crc32c::crc32c(&bytes[..left]) != piece.crc {
                let what = "a piece of the list of pending records has another checksum".into();
                return Err(store::damaged_slot(piece.slot, what));
            }
            list.extend_from_slice(&bytes[..left]);
        }
    }
    Ok(list)
}

fn lost(store: &mut Store, segment: SegmentId, block: MapBlock, error: &WrongBlock) {
    METRICS.scrub_bad.with_label_values(&["map"]).inc();
    tracing::error!(
        ?segment, %error,
        "a block of the page map is damaged; its pages are not served here until it is rebuilt from a peer's"
    );
    if let Some(slot) = store.segment_mut(segment) {
        slot.pages.map_mut().disbelieve(block, error);
    }
}

/// Reads every block of the page maps once, in order: which slots are in use, and which pending records are in images
/// already. As many blocks stay in memory as the budget allows. One that is damaged is left out, and so is what it names.
pub(crate) async fn settle(
    disk: &dyn Disk,
    pages: &mut PageStore,
    store: &mut Store,
    blocks_max: usize,
) -> Result<(), RecoveryError> {
    let ids: Vec<SegmentId> = store.segments().keys().copied().collect();
    let file = pages.file();
    for id in ids {
        let blocks: Vec<MapBlock> = store.segments()[&id].pages.map().blocks().collect();
        for some in blocks.chunks(AT_ONCE) {
            let reads = some.iter().map(|block| -> LocalFuture<'_, _> {
                Box::pin(async move { (*block, store::read_slot(disk, file, block.slot).await) })
            });
            for (block, bytes) in join_all(reads.collect()).await {
                let bytes = bytes.map_err(|source| store::unreadable_slot(block.slot, source))?;
                pages.mark_used(block.slot)?;
                let bytes = match BlockBytes::check(&bytes, block) {
                    Ok(bytes) => bytes,
                    Err(error) => {
                        lost(store, id, block, &error);
                        continue;
                    }
                };
                for (_, base) in bytes.images(block.number) {
                    pages.mark_used(base.slot)?;
                }
                let keep = store.map_blocks().0 < blocks_max;
                if let Some(slot) = store.segment_mut(id) {
                    slot.pages.settle(block, bytes, keep);
                }
            }
        }
    }
    Ok(())
}
