//! Splitting: one MTR changes the full node, its new right sibling and the entry in the parent, and so on upwards
//! as far as parents are full. The root keeps its page: its content moves to two new children.
//!
//! First everything is latched, from the leaf upwards, and decided; then pages are allocated (the control page comes last
//! in the latch order); then all is staged.
//!
//! Where a node is split: in the middle by bytes, but at its end when the new entry goes there, and at its start when it
//! goes there: runs of ascending or descending keys leave full nodes behind, ascending ones at the tree's end nodes with
//! a tenth free ([`super::node::Node::room_at`]).

use sextant_redo::PageId;

use super::Tree;
use super::build::{Entry, Plan, SplitKey, build, common_prefix};
use super::change::{entry_size, insert, remove, set_right, truncate};
use super::descend::Target;
use super::node::{CAPACITY, Node};
use crate::buffer::{Step, StorageError};
use crate::mtr::{MiniTxn, PageHandle};

/// The entry for which a node is split.
pub(super) struct Incoming {
    /// Entry before which it goes, or which it replaces.
    pub(super) at: usize,
    pub(super) replaces: bool,
    pub(super) key: Vec<u8>,
    pub(super) value: Vec<u8>,
}

/// A node as it will be with the incoming entry, were there room.
struct Overfull<'a> {
    node: Node<'a>,
    incoming: &'a Incoming,
}

impl<'a> Overfull<'a> {
    fn count(&self) -> usize {
        self.node.count() + usize::from(!self.incoming.replaces)
    }

    fn entry(&self, n: usize) -> Entry<'a> {
        let (node, incoming) = (self.node, self.incoming);
        let prefix = node.prefix();
        if n == incoming.at {
            let suffix = incoming.key.get(prefix.len()..).unwrap_or(&[]);
            return (SplitKey { prefix, suffix }, &incoming.value);
        }
        let n = if n > incoming.at && !incoming.replaces { n - 1 } else { n };
        let suffix = node.suffix(n);
        (SplitKey { prefix, suffix }, node.value(n))
    }

    /// The least key of the right node when `left` entries stay. Between leaves the shortest that separates; an inner
    /// node's entries are separators already.
    fn separator(&self, left: usize) -> Vec<u8> {
        let mut key = self.entry(left).0.to_vec();
        if self.node.level() == 0 {
            let before = self.entry(left - 1).0.to_vec();
            key.truncate(common_prefix(&before, &key) + 1);
        }
        key
    }

    /// Decides how many entries stay left; with the separator. None when there is no way to split it.
    fn decide(&self) -> Option<(usize, Vec<u8>)> {
        let count = self.count();
        let prefix = self.node.prefix_len();
        let sizes: Vec<usize> = (0..count)
            .map(|n| {
                let (key, value) = self.entry(n);
                entry_size(key.len() - prefix, value.len())
            })
            .collect();
        let total: usize = sizes.iter().sum();
        let (low, high) = (self.node.low().len(), self.node.high().map_or(0, <[u8]>::len));
        let fits = |left: usize, bytes: usize| {
            let separator = self.separator(left).len();
            low + separator + bytes <= CAPACITY && separator + high + total - bytes <= CAPACITY
        };
        // One further entry goes along when the page has no room for the new fence.
        let at_edge = match self.incoming.at {
            _ if self.incoming.replaces => [None, None],
            at if at + 1 == count => [count.checked_sub(1), count.checked_sub(2)],
            0 => [Some(1), Some(2)],
            _ => [None, None],
        };
        for left in at_edge.into_iter().flatten().filter(|left| (1..count).contains(left)) {
            if fits(left, sizes[..left].iter().sum()) {
                return Some((left, self.separator(left)));
            }
        }
        let mut best: Option<(usize, usize)> = None;
        let mut bytes = 0;
        for left in 1..count {
            bytes += sizes[left - 1];
            let skew = bytes.abs_diff(total - bytes);
            if best.is_none_or(|(_, least)| skew < least) && fits(left, bytes) {
                best = Some((left, skew));
            }
        }
        best.map(|(left, _)| (left, self.separator(left)))
    }
}

/// A node that will be split.
struct Cut {
    h: PageHandle,
    incoming: Incoming,
    /// Entries that stay, the incoming one counted.
    left: usize,
    separator: Vec<u8>,
}

/// Where the last separator goes: a parent with room, and the entry in front of which.
struct Place {
    h: PageHandle,
    at: usize,
    separator: Vec<u8>,
}

impl Tree {
    /// Splits `h` for an entry that it has no room for.
    pub(super) fn split(&self, mtr: &mut MiniTxn<'_>, h: PageHandle, incoming: Incoming) -> Step<()> {
        let (cuts, parent) = self.latch_and_decide(mtr, h, incoming)?;
        let mut rights = Vec::with_capacity(cuts.len());
        for _ in &cuts {
            rights.push(mtr.allocate()?);
        }
        let root_left = match parent {
            Some(_) => None,
            None => Some(mtr.allocate()?),
        };
        // The page of the new right node, as the value of the parent's entry.
        let mut child = None;
        for (mut cut, right) in cuts.into_iter().zip(rights) {
            if let Some(page) = child {
                cut.incoming.value = u64::to_le_bytes(page).to_vec();
            }
            child = Some(mtr.page(right).0);
            match root_left {
                Some(left) if mtr.page(cut.h) == self.root => self.cut_root(mtr, &cut, left, right),
                _ => self.cut_node(mtr, &cut, right),
            }
        }
        if let (Some(Place { h, at, separator }), Some(child)) = (parent, child) {
            let suffix = separator.get(Node(mtr.bytes(h)).prefix_len()..).unwrap_or(&[]).to_vec();
            insert(mtr, h, at, &suffix, &child.to_le_bytes());
        }
        Ok(())
    }

    /// Decides the splits from `h` upwards, and where in which parent with room the last separator goes: none when the
    /// root is split.
    fn latch_and_decide(
        &self,
        mtr: &mut MiniTxn<'_>,
        h: PageHandle,
        incoming: Incoming,
    ) -> Step<(Vec<Cut>, Option<Place>)> {
        let (mut h, mut incoming) = (h, incoming);
        let mut cuts = Vec::new();
        loop {
            let node = Node(mtr.bytes(h));
            let level = node.level();
            let overfull = Overfull { node, incoming: &incoming };
            let (left, separator) = overfull.decide().ok_or_else(|| no_way(&incoming))?;
            cuts.push(Cut { h, incoming, left, separator: separator.clone() });
            if mtr.page(h) == self.root {
                return Ok((cuts, None));
            }
            h = self.find_to_change(mtr, Target::At(&separator), level + 1, true)?;
            let parent = Node(mtr.bytes(h));
            let at = match parent.search(&separator) {
                Err(at) => at,
                Ok(_) => return Err(self.damaged().into()),
            };
            if entry_size(separator.len() - parent.prefix_len(), 8) <= parent.free() {
                return Ok((cuts, Some(Place { h, at, separator })));
            }
            incoming = Incoming { at, replaces: false, key: separator, value: vec![0; 8] };
        }
    }

    /// Moves the right part of a node to `right`.
    fn cut_node(&self, mtr: &mut MiniTxn<'_>, cut: &Cut, right: PageHandle) {
        let page = mtr.page(right);
        mtr.follow(cut.h);
        let copy = *mtr.bytes(cut.h);
        let node = Node(&copy);
        let overfull = Overfull { node, incoming: &cut.incoming };
        let plan = Plan {
            root: self.root,
            level: node.level(),
            low: &cut.separator,
            high: node.high(),
            right: node.right(),
        };
        let moved = (cut.left..overfull.count()).map(|n| overfull.entry(n));
        build(mtr, right, &plan, moved);
        self.keep_left(mtr, cut, page, node);
    }

    fn keep_left(&self, mtr: &mut MiniTxn<'_>, cut: &Cut, right: PageId, node: Node<'_>) {
        let Incoming { at, replaces, ref key, ref value } = cut.incoming;
        let stays = at < cut.left;
        if replaces {
            remove(mtr, cut.h, at);
        }
        truncate(mtr, cut.h, cut.left - usize::from(stays));
        set_right(mtr, cut.h, right, &cut.separator);
        if stays {
            insert(mtr, cut.h, at, key.get(node.prefix_len()..).unwrap_or(&[]), value);
        }
    }

    /// Moves the root's content to two new children.
    fn cut_root(&self, mtr: &mut MiniTxn<'_>, cut: &Cut, left: PageHandle, right: PageHandle) {
        let copy = *mtr.bytes(cut.h);
        let node = Node(&copy);
        let overfull = Overfull { node, incoming: &cut.incoming };
        let (left_page, right_page) = (mtr.page(left), mtr.page(right));
        let separator = &cut.separator[..];
        let mut plan = Plan {
            root: self.root,
            level: node.level(),
            low: &[],
            high: Some(separator),
            right: Some(right_page),
        };
        build(mtr, left, &plan, (0..cut.left).map(|n| overfull.entry(n)));
        plan = Plan { low: separator, high: None, right: None, ..plan };
        build(mtr, right, &plan, (cut.left..overfull.count()).map(|n| overfull.entry(n)));
        plan = Plan { level: node.level() + 1, low: &[], ..plan };
        let children = [(&[][..], left_page.0.to_le_bytes()), (separator, right_page.0.to_le_bytes())];
        let entries = children.iter().map(|(key, value)| {
            let (prefix, suffix) = (&[][..], *key);
            (SplitKey { prefix, suffix }, &value[..])
        });
        build(mtr, cut.h, &plan, entries);
    }
}

/// Only entries of very different sizes in one tree can lead here: see [`super::max_value`].
fn no_way(incoming: &Incoming) -> StorageError {
    StorageError::ValueTooLarge { len: incoming.value.len(), limit: super::max_value(super::MAX_KEY) }
}
