//! Staging only what differs.

use crate::mtr::{MiniTxn, PageHandle};

/// A patch costs about this many bytes besides what it writes: equal bytes between two differing ones are written
/// along when they are fewer.
const PATCH_COST: usize = 4;
/// A move costs about this many bytes: shorter ranges are written out.
const MOVE_COST: usize = 8;

/// Calls `f` with the ranges in which `old` and `new`, of equal length, differ; close ones as one.
fn differences(old: &[u8], new: &[u8], mut f: impl FnMut(usize, usize)) {
    let mut run: Option<(usize, usize)> = None;
    for (at, _) in old.iter().zip(new).enumerate().filter(|(_, (a, b))| a != b) {
        run = match run {
            Some((from, to)) if at - to <= PATCH_COST => Some((from, at + 1)),
            Some((from, to)) => {
                f(from, to);
                Some((at, at + 1))
            }
            None => Some((at, at + 1)),
        };
    }
    if let Some((from, to)) = run {
        f(from, to);
    }
}

/// Stages that the bytes from `at` on become `new`, as far as they are not.
pub(super) fn stage_bytes(mtr: &mut MiniTxn<'_>, h: PageHandle, at: usize, new: &[u8]) {
    stage_diff(mtr, h, at, at, new);
}

/// Stages that the bytes from `at` on become `new`, given that they will be what is at `source` now.
fn stage_diff(mtr: &mut MiniTxn<'_>, h: PageHandle, at: usize, source: usize, new: &[u8]) {
    // Two ranges are the most that a typical change has; more go to the heap.
    let mut ranges = Vec::new();
    differences(&mtr.bytes(h)[source..source + new.len()], new, |from, to| ranges.push((from, to)));
    for (from, to) in ranges {
        mtr.set(h, at + from, &new[from..to]);
    }
}

/// Stages the value `new` at `at`, given the value of `old_len` bytes at `source`, which is the same place or does not
/// overlap the new one. What the two have in common at the front and at the end is kept or moved, not written.
pub(super) fn stage_value(
    mtr: &mut MiniTxn<'_>,
    h: PageHandle,
    at: usize,
    source: usize,
    old_len: usize,
    new: &[u8],
) {
    if at == source && old_len == new.len() {
        return stage_bytes(mtr, h, at, new);
    }
    let old = &mtr.bytes(h)[source..source + old_len];
    let most = old_len.min(new.len());
    let tail = old.iter().rev().zip(new.iter().rev()).take(most).take_while(|(a, b)| a == b).count();
    let tail = if tail > MOVE_COST { tail } else { 0 };
    // In front of the tail, `head` bytes have a counterpart in the old value; the rest is written.
    let head = most - tail;
    let rest = &new[head..new.len() - tail];
    if tail > 0 {
        mtr.copy_within(h, source + old_len - tail, at + new.len() - tail, tail);
    }
    if at != source && head > MOVE_COST {
        mtr.copy_within(h, source, at, head);
        stage_diff(mtr, h, at, source, &new[..head]);
    } else if at == source {
        stage_diff(mtr, h, at, source, &new[..head]);
    } else if head > 0 {
        mtr.set(h, at, &new[..head]);
    }
    if !rest.is_empty() {
        mtr.set(h, at + head, rest);
    }
}
