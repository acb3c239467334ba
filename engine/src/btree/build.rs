//! Writing a whole node.

use sextant_redo::{PAGE_HEADER, PAGE_SIZE, PageId};

use super::node::{
    CAPACITY, CELL_HEAD, COUNT, ENTRY, HEAP, HIGH, LEVEL, LOW, PREFIX, RIGHT, ROOT, SLOT, SLOTS,
};
use crate::mtr::{MiniTxn, PageHandle};
use crate::space::{PAGE_TYPE, page_type};

/// Bytes that two keys have in common at the front.
pub(super) fn common_prefix(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}

/// What a new node is to be, besides its entries.
pub(super) struct Plan<'a> {
    pub(super) root: PageId,
    pub(super) level: u8,
    pub(super) low: &'a [u8],
    pub(super) high: Option<&'a [u8]>,
    pub(super) right: Option<PageId>,
}

impl Plan<'_> {
    /// What all keys between the fences start with.
    pub(super) fn prefix_len(&self) -> usize {
        self.high.map_or(0, |high| common_prefix(self.low, high))
    }

    /// Bytes for fences.
    pub(super) fn fences(&self) -> usize {
        self.low.len() + self.high.map_or(0, <[u8]>::len)
    }
}

/// A key in two pieces, as a node keeps it: prefix and rest.
#[derive(Clone, Copy)]
pub(super) struct SplitKey<'a> {
    pub(super) prefix: &'a [u8],
    pub(super) suffix: &'a [u8],
}

impl SplitKey<'_> {
    pub(super) fn len(&self) -> usize {
        self.prefix.len() + self.suffix.len()
    }

    pub(super) fn to_vec(self) -> Vec<u8> {
        [self.prefix, self.suffix].concat()
    }

    /// Appends all but the first `skip` bytes.
    fn append_behind(&self, skip: usize, out: &mut Vec<u8>) {
        out.extend_from_slice(self.prefix.get(skip..).unwrap_or(&[]));
        out.extend_from_slice(self.suffix.get(skip.saturating_sub(self.prefix.len())..).unwrap_or(&[]));
    }
}

/// An entry for a new node.
pub(super) type Entry<'a> = (SplitKey<'a>, &'a [u8]);

/// Bytes that a node of these entries takes of [`CAPACITY`].
pub(super) fn size<'a>(plan: &Plan<'_>, entries: impl Iterator<Item = Entry<'a>>) -> usize {
    let prefix = plan.prefix_len();
    plan.fences() + entries.map(|(key, value)| ENTRY + key.len() - prefix + value.len()).sum::<usize>()
}

/// Stages the page as a node with these entries, which are in order and fit. Log: what the node uses, not the gap.
pub(super) fn build<'a>(
    mtr: &mut MiniTxn<'_>,
    h: PageHandle,
    plan: &Plan<'_>,
    entries: impl Iterator<Item = Entry<'a>>,
) {
    let prefix = plan.prefix_len();
    let mut slots: Vec<u8> = Vec::new();
    // Cells from the lowest offset on; the first entry has the lowest.
    let mut cells: Vec<u8> = Vec::new();
    let mut offsets = Vec::new();
    for (key, value) in entries {
        offsets.push(cells.len());
        cells.extend_from_slice(&((key.len() - prefix) as u16).to_le_bytes());
        cells.extend_from_slice(&(value.len() as u16).to_le_bytes());
        key.append_behind(prefix, &mut cells);
        cells.extend_from_slice(value);
    }
    let fences = cells.len();
    cells.extend_from_slice(plan.low);
    cells.extend_from_slice(plan.high.unwrap_or(&[]));
    assert!(
        cells.len() + SLOT * offsets.len() <= CAPACITY,
        "whoever builds a node has seen that its entries fit"
    );
    let heap = PAGE_SIZE - cells.len();
    for offset in &offsets {
        slots.extend_from_slice(&((heap + offset) as u16).to_le_bytes());
    }
    let head = head(plan, offsets.len(), heap, heap + fences);
    let body = [&head[PAGE_HEADER..], &slots[..]].concat();
    mtr.image(h, &body);
    if !cells.is_empty() {
        mtr.set(h, heap, &cells);
    }
}

/// The bytes in front of the slots, counted from the start of the page.
fn head(plan: &Plan<'_>, count: usize, heap: usize, fences: usize) -> [u8; SLOTS] {
    let mut head = [0; SLOTS];
    head[PAGE_TYPE] = page_type::TREE;
    head[LEVEL] = plan.level;
    let mut put = |at: usize, n: usize| head[at..at + 2].copy_from_slice(&(n as u16).to_le_bytes());
    put(COUNT, count);
    put(HEAP, heap);
    put(PREFIX, plan.prefix_len());
    if !plan.low.is_empty() {
        put(LOW, fences);
        put(LOW + 2, plan.low.len());
    }
    if let Some(high) = plan.high {
        put(HIGH, fences + plan.low.len());
        put(HIGH + 2, high.len());
    }
    head[RIGHT..RIGHT + 8].copy_from_slice(&plan.right.map_or(0, |p| p.0).to_le_bytes());
    head[ROOT..ROOT + 8].copy_from_slice(&plan.root.0.to_le_bytes());
    debug_assert_eq!(CELL_HEAD, 4);
    head
}
