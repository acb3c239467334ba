//! A node as it lies in its page: reading only. Leaves and inner nodes have one format; in an inner node the value of
//! an entry is the page of the child whose keys start at the entry's key.
//!
//! ```text
//! 24      page type: TREE
//! 25      level, u8: 0 for a leaf
//! 26..28  number of entries, u16 LE (as all numbers)
//! 28..30  heap: offset of the lowest cell
//! 30..32  garbage: bytes at or above the heap that belong to nothing
//! 32..34  prefix: the first so many bytes of the low fence start every key and are left out of the entries
//! 34..38  low fence: offset, length of the least key that may be here; empty: no bound
//! 38..42  high fence: offset, length of the least key that is too great; offset 0: no bound
//! 42..48  zero
//! 48..56  right sibling, u64; 0: none, and then there is no high fence
//! 56..64  root page of the tree, u64
//! 64..    slots: u16 offset of each entry's cell, in key order
//! ..8192  cells and fences, in any order. Cell: u16 key length, u16 value length, key behind the prefix, value
//! ```
//!
//! Reading is total: in a page that no engine wrote, cells that would reach outside the page are empty.

use std::cmp::Ordering;

use sextant_redo::{PAGE_SIZE, PageId};

use crate::space::{PAGE_TYPE, page_type};

pub(super) const LEVEL: usize = 25;
pub(super) const COUNT: usize = 26;
pub(super) const HEAP: usize = 28;
pub(super) const GARBAGE: usize = 30;
pub(super) const PREFIX: usize = 32;
pub(super) const LOW: usize = 34;
pub(super) const HIGH: usize = 38;
pub(super) const RIGHT: usize = 48;
pub(super) const ROOT: usize = 56;
pub(super) const SLOTS: usize = 64;

/// Bytes for slots, cells and fences.
pub(super) const CAPACITY: usize = PAGE_SIZE - SLOTS;
/// Bytes that loading leaves free in a node: the changes that come later would split nearly every full one, and a split
/// logs half a page. A tenth, as PostgreSQL's B-trees keep it.
const SLACK: usize = CAPACITY / 10;
/// Bytes of a slot.
pub(super) const SLOT: usize = 2;
/// Bytes of a cell in front of its key.
pub(super) const CELL_HEAD: usize = 4;
/// Bytes of an entry besides key and value.
pub(super) const ENTRY: usize = SLOT + CELL_HEAD;

/// A node's page.
#[derive(Clone, Copy)]
pub(super) struct Node<'a>(pub(super) &'a [u8; PAGE_SIZE]);

/// Where a cell lies.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Cell {
    /// Offset of its head.
    pub(super) at: usize,
    /// Length of the key behind the prefix.
    pub(super) key: usize,
    /// Length of the value.
    pub(super) value: usize,
}

impl Cell {
    pub(super) fn key_at(&self) -> usize {
        self.at + CELL_HEAD
    }

    pub(super) fn value_at(&self) -> usize {
        self.at + CELL_HEAD + self.key
    }

    /// Bytes that it takes, its slot not counted.
    pub(super) fn len(&self) -> usize {
        CELL_HEAD + self.key + self.value
    }
}

impl<'a> Node<'a> {
    fn u16_at(&self, at: usize) -> usize {
        match self.0.get(at..at + 2) {
            Some(raw) => usize::from(u16::from_le_bytes([raw[0], raw[1]])),
            None => 0,
        }
    }

    fn u64_at(&self, at: usize) -> u64 {
        let mut raw = [0; 8];
        raw.copy_from_slice(&self.0[at..at + 8]);
        u64::from_le_bytes(raw)
    }

    fn bytes(&self, at: usize, len: usize) -> &'a [u8] {
        self.0.get(at..at + len).unwrap_or(&[])
    }

    /// True when this page is a node of the tree at `root`.
    pub(super) fn is_of(&self, root: PageId) -> bool {
        self.0[PAGE_TYPE] == page_type::TREE && self.u64_at(ROOT) == root.0
    }

    pub(super) fn level(&self) -> u8 {
        self.0[LEVEL]
    }

    pub(super) fn count(&self) -> usize {
        self.u16_at(COUNT)
    }

    pub(super) fn heap(&self) -> usize {
        self.u16_at(HEAP)
    }

    pub(super) fn garbage(&self) -> usize {
        self.u16_at(GARBAGE)
    }

    pub(super) fn prefix_len(&self) -> usize {
        self.u16_at(PREFIX)
    }

    /// What every key here starts with.
    pub(super) fn prefix(&self) -> &'a [u8] {
        self.low().get(..self.prefix_len()).unwrap_or(&[])
    }

    pub(super) fn low(&self) -> &'a [u8] {
        self.bytes(self.u16_at(LOW), self.u16_at(LOW + 2))
    }

    pub(super) fn high(&self) -> Option<&'a [u8]> {
        match self.u16_at(HIGH) {
            0 => None,
            at => Some(self.bytes(at, self.u16_at(HIGH + 2))),
        }
    }

    /// Offset and length of low and high fence; both 0 where there is none.
    pub(super) fn fences(&self) -> ((usize, usize), (usize, usize)) {
        let fence = |at: usize| (self.u16_at(at), self.u16_at(at + 2));
        (fence(LOW), fence(HIGH))
    }

    pub(super) fn right(&self) -> Option<PageId> {
        match self.u64_at(RIGHT) {
            0 => None,
            page => Some(PageId(page)),
        }
    }

    /// Bytes between slots and heap.
    pub(super) fn gap(&self) -> usize {
        self.heap().saturating_sub(SLOTS + SLOT * self.count())
    }

    /// Bytes that a compacted page would have between slots and heap.
    pub(super) fn free(&self) -> usize {
        self.gap() + self.garbage()
    }

    /// Bytes that a new entry in front of entry `n` may take. The end of the tree, where runs of ascending keys go, keeps
    /// [`SLACK`] back.
    pub(super) fn room_at(&self, n: usize) -> usize {
        let ends_tree = n > 0 && n == self.count() && self.right().is_none();
        self.free().saturating_sub(if ends_tree { SLACK } else { 0 })
    }

    pub(super) fn cell(&self, n: usize) -> Cell {
        let at = self.u16_at(SLOTS + SLOT * n);
        Cell { at, key: self.u16_at(at), value: self.u16_at(at + 2) }
    }

    /// The key of entry `n` behind the prefix.
    pub(super) fn suffix(&self, n: usize) -> &'a [u8] {
        let cell = self.cell(n);
        self.bytes(cell.key_at(), cell.key)
    }

    pub(super) fn value(&self, n: usize) -> &'a [u8] {
        let cell = self.cell(n);
        self.bytes(cell.value_at(), cell.value)
    }

    /// The child of entry `n` of an inner node; None in a damaged one.
    pub(super) fn child(&self, n: usize) -> Option<PageId> {
        let raw = <[u8; 8]>::try_from(self.value(n)).ok()?;
        Some(PageId(u64::from_le_bytes(raw)))
    }

    /// True when entry `n` is there and has this key.
    pub(super) fn has_key(&self, n: usize, key: &[u8]) -> bool {
        n < self.count() && key.strip_prefix(self.prefix()) == Some(self.suffix(n))
    }

    /// The entry with this key, or where it would go.
    pub(super) fn search(&self, key: &[u8]) -> Result<usize, usize> {
        let prefix = self.prefix_len();
        // A key between the fences starts with the prefix; only a damaged page or the high fence's own kin do not.
        let suffix = match key.get(..prefix).map(|start| start.cmp(self.prefix())) {
            Some(Ordering::Equal) => &key[prefix..],
            Some(Ordering::Greater) => return Err(self.count()),
            Some(Ordering::Less) => return Err(0),
            None if key > self.prefix() => return Err(self.count()),
            None => return Err(0),
        };
        let (from, to) = self.bracket(suffix);
        self.search_between(suffix, from, to)
    }

    /// Binary search among the entries `from..to`, given that those in front are less and those behind greater.
    fn search_between(&self, suffix: &[u8], mut from: usize, mut to: usize) -> Result<usize, usize> {
        while from < to {
            let middle = (from + to) / 2;
            match self.suffix(middle).cmp(suffix) {
                Ordering::Less => from = middle + 1,
                Ordering::Greater => to = middle,
                Ordering::Equal => return Ok(middle),
            }
        }
        Err(from)
    }

    /// A small range outside of which the entry cannot be. Every entry looked at is likely a miss of the processor's
    /// cache, and keys are often evenly spaced numbers: so guess from first and last key where it is, then widen.
    fn bracket(&self, suffix: &[u8]) -> (usize, usize) {
        let count = self.count();
        if count < 8 {
            return (0, count);
        }
        let (first, last) = (self.suffix(0), self.suffix(count - 1));
        if suffix > last {
            return (count, count);
        }
        if suffix <= first {
            return (0, 1);
        }
        let skip = first.iter().zip(last).take_while(|(a, b)| a == b).count();
        let (low, high, wanted) = (window(first, skip), window(last, skip), window(suffix, skip));
        // Only a guess: rounding does no harm, nor do keys that differ behind the window.
        let share = wanted.saturating_sub(low) as f64 / high.saturating_sub(low) as f64;
        let guess = ((share * (count - 1) as f64) as usize).min(count - 1);
        self.widen(suffix, guess)
    }

    /// Doubles steps away from `guess` until the entry is enclosed.
    fn widen(&self, suffix: &[u8], guess: usize) -> (usize, usize) {
        let (count, mut step) = (self.count(), 1);
        match self.suffix(guess).cmp(suffix) {
            Ordering::Equal => (guess, guess + 1),
            Ordering::Less => {
                let mut from = guess + 1;
                while from + step <= count {
                    if self.suffix(from + step - 1) >= suffix {
                        return (from, from + step);
                    }
                    from += step;
                    step *= 2;
                }
                (from, count)
            }
            Ordering::Greater => {
                let mut to = guess;
                while step <= to {
                    if self.suffix(to - step) <= suffix {
                        return (to - step, to);
                    }
                    to -= step;
                    step *= 2;
                }
                (0, to)
            }
        }
    }
}

/// Eight bytes of a key from `skip` on as a number, zeros behind its end.
fn window(key: &[u8], skip: usize) -> u64 {
    let rest = key.get(skip..).unwrap_or(&[]);
    let mut raw = [0; 8];
    let len = rest.len().min(8);
    raw[..len].copy_from_slice(&rest[..len]);
    u64::from_be_bytes(raw)
}
