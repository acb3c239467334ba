//! Walks a tree and checks everything that must hold of it; nobody changes it meanwhile.

use std::collections::{BTreeMap, BTreeSet};

use sextant_redo::{PAGE_SIZE, PageId};

use crate::btree::node::Node;
use crate::btree::{Tree, verify};
use crate::buffer::BufferPool;
use crate::space;

type Page = Box<[u8; PAGE_SIZE]>;

pub(crate) async fn page(pool: &BufferPool, page: PageId) -> Page {
    pool.run(|| Ok(Box::new(*pool.read(page)?))).await.unwrap()
}

/// What a sound tree consists of.
#[derive(Default)]
pub(crate) struct Sound {
    pub(crate) entries: BTreeMap<Vec<u8>, Vec<u8>>,
    pub(crate) pages: BTreeSet<PageId>,
    /// Bytes used of each leaf, in key order.
    pub(crate) leaf_fill: Vec<usize>,
}

/// Panics with what is wrong.
pub(crate) async fn check(pool: &BufferPool, tree: Tree) -> Sound {
    let mut sound = Sound { entries: BTreeMap::new(), pages: BTreeSet::new(), leaf_fill: Vec::new() };
    let root = page(pool, tree.root).await;
    // One level after the other: (page, low fence, high fence) as the level above says.
    let mut level = vec![(tree.root, Vec::new(), None)];
    for expected in (0..=Node(&root).level()).rev() {
        let mut below = Vec::new();
        for (at, (id, low, high)) in level.iter().enumerate() {
            assert!(sound.pages.insert(*id), "{id:?} is in the tree twice");
            let bytes = page(pool, *id).await;
            verify(&bytes).unwrap();
            let node = Node(&bytes);
            assert!(node.is_of(tree.root), "{id:?} is of another tree");
            assert_eq!(node.level(), expected, "{id:?}");
            assert_eq!((node.low(), node.high()), (&low[..], high.as_deref()), "{id:?}");
            assert_eq!(node.right(), level.get(at + 1).map(|(right, ..)| *right), "{id:?}");
            check_keys(*id, node);
            if expected == 0 {
                sound.leaf_fill.push(PAGE_SIZE - super::super::node::SLOTS - node.free());
                sound.entries.extend((0..node.count()).map(|n| (key(node, n), node.value(n).to_vec())));
                continue;
            }
            assert!(node.count() > 0, "{id:?} has no children");
            for n in 0..node.count() {
                let next = if n + 1 < node.count() { Some(key(node, n + 1)) } else { high.clone() };
                below.push((node.child(n).unwrap(), key(node, n), next));
            }
        }
        level = below;
    }
    sound
}

fn key(node: Node<'_>, n: usize) -> Vec<u8> {
    [node.prefix(), node.suffix(n)].concat()
}

fn check_keys(id: PageId, node: Node<'_>) {
    if let Some(high) = node.high() {
        assert!(high.starts_with(node.prefix()), "{id:?}: the prefix is no prefix of the high fence");
    }
    let keys: Vec<_> = (0..node.count()).map(|n| key(node, n)).collect();
    assert!(keys.is_sorted_by(|a, b| a < b), "{id:?}: keys out of order");
    if let (Some(first), Some(last)) = (keys.first(), keys.last()) {
        assert!(&first[..] >= node.low(), "{id:?}: a key below the low fence");
        assert!(node.level() == 0 || first == node.low(), "{id:?}: the first child starts elsewhere");
        assert!(node.high().is_none_or(|high| &last[..] < high), "{id:?}: a key above the high fence");
    }
}

/// Every page of the volume is in one of the trees, free, or the control page.
pub(crate) async fn check_space(pool: &BufferPool, trees: &[&Sound]) {
    let usage = pool.run(|| space::usage(pool)).await.unwrap();
    let mut seen: BTreeSet<PageId> = BTreeSet::from([PageId(0)]);
    for id in trees.iter().flat_map(|t| &t.pages) {
        assert!(seen.insert(*id), "{id:?} is used twice");
    }
    let free = space::tests::free_pages(pool).await;
    assert_eq!(free.len() as u64, usage.free);
    for id in free {
        assert!(seen.insert(id), "{id:?} is free and used, or free twice");
    }
    let all: BTreeSet<PageId> = (0..usage.pages).map(PageId).collect();
    assert_eq!(seen, all, "pages have leaked");
}

/// Every cached page equals what the store makes of its records. Returns how many were compared.
pub(super) async fn check_cache(pool: &BufferPool) -> usize {
    let usage = pool.run(|| space::usage(pool)).await.unwrap();
    let mut compared = 0;
    for id in (0..usage.pages).map(PageId) {
        let Some(cached) = pool.read(id).ok().map(|guard| Box::new(*guard)) else {
            continue;
        };
        let stored = pool.store().read_page(id).await.unwrap();
        assert!(cached == stored.0, "{id:?} differs from its records");
        compared += 1;
    }
    compared
}
