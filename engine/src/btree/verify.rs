//! What every node that comes from storage must fulfil. Checked once, when it enters the cache, so that the code that
//! changes nodes may rely on it: sizes add up, nothing reaches outside the page.

use sextant_redo::PAGE_SIZE;

use super::node::{CAPACITY, Node, SLOT, SLOTS};
use crate::space::{PAGE_TYPE, page_type};

/// Says what is wrong with a page that claims to be a node of a tree. Other pages pass.
pub(crate) fn verify(page: &[u8; PAGE_SIZE]) -> Result<(), &'static str> {
    if page[PAGE_TYPE] != page_type::TREE {
        return Ok(());
    }
    let node = Node(page);
    let count = node.count();
    if SLOT * count > CAPACITY || node.heap() < SLOTS + SLOT * count || node.heap() > PAGE_SIZE {
        return Err("a tree node's slots run into its cells");
    }
    let inside = |at: usize, len: usize| at >= node.heap() && at + len <= PAGE_SIZE;
    let (low, high) = node.fences();
    for (at, len) in [low, high] {
        if at != 0 && !inside(at, len) {
            return Err("a tree node's fence lies outside its heap");
        }
    }
    if node.prefix_len() > low.1 || (high.0 == 0) != node.right().is_none() {
        return Err("a tree node's fences contradict its prefix or its right link");
    }
    let mut used = low.1 + high.1;
    for n in 0..count {
        let cell = node.cell(n);
        if !inside(cell.at, cell.len()) || (node.level() > 0 && cell.value != 8) {
            return Err("a tree node's cell lies outside its heap or is no child's");
        }
        used += cell.len();
    }
    if used + node.garbage() != PAGE_SIZE - node.heap() {
        return Err("a tree node's sizes do not add up");
    }
    Ok(())
}
