//! Changing one node by patches that are as small as the change.
//!
//! Every function reads the page through [`MiniTxn::bytes`] and stages. One that stages in several steps which build on
//! each other first calls [`MiniTxn::follow`], so that it reads what it has staged.

use super::diff::{stage_bytes, stage_value};
use super::node::{CELL_HEAD, COUNT, Cell, ENTRY, HIGH, LOW, Node, RIGHT, SLOT, SLOTS};
use crate::mtr::{MiniTxn, PageHandle};
use sextant_redo::{PAGE_SIZE, PageId};

fn u16_bytes(n: usize) -> [u8; 2] {
    debug_assert!(n <= PAGE_SIZE);
    (n as u16).to_le_bytes()
}

fn slot_at(n: usize) -> usize {
    SLOTS + SLOT * n
}

/// Stages number of entries, heap and garbage, as far as they change.
fn set_counts(mtr: &mut MiniTxn<'_>, h: PageHandle, count: usize, heap: usize, garbage: usize) {
    let mut new = [0; 6];
    for (slot, n) in new.chunks_exact_mut(2).zip([count, heap, garbage]) {
        slot.copy_from_slice(&u16_bytes(n));
    }
    stage_bytes(mtr, h, COUNT, &new);
}

/// Puts an entry in front of entry `n`. The node must have room: [`Node::free`] of at least the entry's size.
pub(super) fn insert(mtr: &mut MiniTxn<'_>, h: PageHandle, n: usize, suffix: &[u8], value: &[u8]) {
    insert_all(mtr, h, n, std::iter::once((suffix, value)));
}

/// Puts several entries, in order, in front of entry `n`: one patch for all cells, one for all slots. The node must have
/// room for all.
pub(super) fn insert_all<'e>(
    mtr: &mut MiniTxn<'_>,
    h: PageHandle,
    n: usize,
    entries: impl Iterator<Item = (&'e [u8], &'e [u8])> + Clone,
) {
    let (mut added, mut cells) = (0, 0);
    for (suffix, value) in entries.clone() {
        added += 1;
        cells += CELL_HEAD + suffix.len() + value.len();
    }
    if Node(mtr.bytes(h)).gap() < cells + SLOT * added {
        compact(mtr, h);
    }
    let node = Node(mtr.bytes(h));
    let (count, garbage, heap) = (node.count(), node.garbage(), node.heap() - cells);
    let (mut bytes, mut slots) = (mtr.take_scratch(), Vec::with_capacity(SLOT * added));
    for (suffix, value) in entries {
        slots.extend_from_slice(&u16_bytes(heap + bytes.len()));
        bytes.extend_from_slice(&u16_bytes(suffix.len()));
        bytes.extend_from_slice(&u16_bytes(value.len()));
        bytes.extend_from_slice(suffix);
        bytes.extend_from_slice(value);
    }
    mtr.set(h, heap, &bytes);
    mtr.return_scratch(bytes);
    if n < count {
        mtr.copy_within(h, slot_at(n), slot_at(n + added), SLOT * (count - n));
    }
    mtr.set(h, slot_at(n), &slots);
    set_counts(mtr, h, count + added, heap, garbage);
}

/// Takes entry `n` out.
pub(super) fn remove(mtr: &mut MiniTxn<'_>, h: PageHandle, n: usize) {
    let node = Node(mtr.bytes(h));
    let (count, heap, garbage) = (node.count(), node.heap(), node.garbage() + node.cell(n).len());
    if n + 1 < count {
        mtr.copy_within(h, slot_at(n + 1), slot_at(n), SLOT * (count - n - 1));
    }
    set_counts(mtr, h, count - 1, heap, garbage);
}

/// Gives entry `n` another value. False when there is no room for it, and then nothing is staged.
pub(super) fn replace(mtr: &mut MiniTxn<'_>, h: PageHandle, n: usize, value: &[u8]) -> bool {
    let node = Node(mtr.bytes(h));
    let old = node.cell(n);
    if value.len() <= old.value {
        replace_in_place(mtr, h, old, value);
        return true;
    }
    let new = CELL_HEAD + old.key + value.len();
    if node.gap() >= new {
        replace_elsewhere(mtr, h, n, old, value);
        return true;
    }
    if node.free() + old.len() < new {
        return false;
    }
    let mut suffix = Vec::with_capacity(old.key);
    suffix.extend_from_slice(node.suffix(n));
    mtr.follow(h);
    remove(mtr, h, n);
    insert(mtr, h, n, &suffix, value);
    true
}

fn replace_in_place(mtr: &mut MiniTxn<'_>, h: PageHandle, old: Cell, value: &[u8]) {
    stage_value(mtr, h, old.value_at(), old.value_at(), old.value, value);
    if value.len() < old.value {
        let node = Node(mtr.bytes(h));
        let (count, heap, garbage) = (node.count(), node.heap(), node.garbage());
        mtr.set(h, old.at + 2, &u16_bytes(value.len()));
        set_counts(mtr, h, count, heap, garbage + old.value - value.len());
    }
}

/// Writes the entry's cell anew below the heap, copying what stays the same.
fn replace_elsewhere(mtr: &mut MiniTxn<'_>, h: PageHandle, n: usize, old: Cell, value: &[u8]) {
    let node = Node(mtr.bytes(h));
    let (count, garbage) = (node.count(), node.garbage());
    let new = Cell { at: node.heap() - (CELL_HEAD + old.key + value.len()), value: value.len(), ..old };
    mtr.copy_within(h, old.at, new.at, CELL_HEAD + old.key);
    stage_value(mtr, h, new.value_at(), old.value_at(), old.value, value);
    mtr.set(h, new.at + 2, &u16_bytes(value.len()));
    mtr.set(h, slot_at(n), &u16_bytes(new.at));
    set_counts(mtr, h, count, new.at, garbage + old.len());
}

/// Moves all cells and fences to the end of the page, so that all free bytes are in one piece. Costs a few bytes of log
/// for each run of cells that moves together, not an image.
pub(super) fn compact(mtr: &mut MiniTxn<'_>, h: PageHandle) {
    mtr.follow(h);
    let node = Node(mtr.bytes(h));
    let count = node.count();
    // (offset, length, index: of the entry, or `count` for the low and `count + 1` for the high fence)
    let mut pieces: Vec<(usize, usize, usize)> = Vec::with_capacity(count + 2);
    pieces.extend((0..count).map(|n| (node.cell(n).at, node.cell(n).len(), n)));
    let (low, high) = node.fences();
    pieces.extend((low.0 != 0).then_some((low.0, low.1, count)));
    pieces.extend((high.0 != 0).then_some((high.0, high.1, count + 1)));
    pieces.sort_unstable_by(|a, b| b.cmp(a));
    let mut slots = node.0[slot_at(0)..slot_at(count)].to_vec();
    let mut fences = [node.0[LOW], node.0[LOW + 1], node.0[HIGH], node.0[HIGH + 1]];
    let mut to = PAGE_SIZE;
    // The run of neighbours that move by the same distance: its first byte, its length, the distance.
    let mut run = (PAGE_SIZE, 0, 0);
    for (at, len, index) in pieces {
        to -= len;
        if run.2 == to - at && run.0 == at + len {
            run = (at, run.1 + len, run.2);
        } else {
            move_run(mtr, h, run);
            run = (at, len, to - at);
        }
        let place = match index.checked_sub(count) {
            None => &mut slots[SLOT * index..SLOT * index + 2],
            Some(fence) => &mut fences[2 * fence..2 * fence + 2],
        };
        place.copy_from_slice(&u16_bytes(to));
    }
    move_run(mtr, h, run);
    stage_bytes(mtr, h, slot_at(0), &slots);
    stage_bytes(mtr, h, LOW, &fences[..2]);
    stage_bytes(mtr, h, HIGH, &fences[2..]);
    set_counts(mtr, h, count, to, 0);
}

fn move_run(mtr: &mut MiniTxn<'_>, h: PageHandle, (at, len, distance): (usize, usize, usize)) {
    if len > 0 && distance > 0 {
        mtr.copy_within(h, at, at + distance, len);
    }
}

/// Leaves only the first `keep` entries.
pub(super) fn truncate(mtr: &mut MiniTxn<'_>, h: PageHandle, keep: usize) {
    let node = Node(mtr.bytes(h));
    let dropped: usize = (keep..node.count()).map(|n| node.cell(n).len()).sum();
    let (heap, garbage) = (node.heap(), node.garbage());
    set_counts(mtr, h, keep, heap, garbage + dropped);
}

/// Sets right sibling and high fence. The node must have room for the fence when the old one is gone.
pub(super) fn set_right(mtr: &mut MiniTxn<'_>, h: PageHandle, right: PageId, high: &[u8]) {
    mtr.follow(h);
    let node = Node(mtr.bytes(h));
    let (count, heap) = (node.count(), node.heap());
    let garbage = node.garbage() + node.high().map_or(0, <[u8]>::len);
    stage_bytes(mtr, h, RIGHT, &right.0.to_le_bytes());
    // No fence for the moment, so that a compaction drops the old one.
    stage_bytes(mtr, h, HIGH, &[0; 4]);
    set_counts(mtr, h, count, heap, garbage);
    if Node(mtr.bytes(h)).gap() < high.len() {
        compact(mtr, h);
    }
    let node = Node(mtr.bytes(h));
    let (garbage, at) = (node.garbage(), node.heap() - high.len());
    mtr.set(h, at, high);
    let mut fence = [0; 4];
    fence[..2].copy_from_slice(&u16_bytes(at));
    fence[2..].copy_from_slice(&u16_bytes(high.len()));
    stage_bytes(mtr, h, HIGH, &fence);
    set_counts(mtr, h, count, at, garbage);
}

/// Bytes that an entry takes.
pub(super) fn entry_size(suffix: usize, value: usize) -> usize {
    ENTRY + suffix + value
}
