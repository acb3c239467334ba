//! Models of the B+tree: searches that meet splits and leaves that leave the tree, in a cache that is too small for it.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use shuttle::future::block_on;

use crate::btree::{Direction, Edit, Near, Resume, Tree};
use crate::cache::World;
use crate::sync::point;

/// Few entries fill a leaf.
const VALUE_BYTES: usize = 1800;

#[derive(Clone)]
struct Grove {
    world: World,
    tree: Tree,
}

type Entries = BTreeMap<Vec<u8>, Vec<u8>>;

fn key(n: u8) -> Vec<u8> {
    vec![n]
}

fn value(n: u8) -> Vec<u8> {
    vec![n; VALUE_BYTES]
}

impl Grove {
    fn new(frames: usize, keys: impl IntoIterator<Item = u8>) -> Grove {
        let world = World::new(frames, 0);
        let tree = world.write(Tree::create);
        let grove = Grove { world, tree };
        keys.into_iter().for_each(|n| grove.put(n));
        grove
    }

    fn put(&self, n: u8) {
        self.world.write(|mtr| self.tree.edit(mtr, &key(n), |_, _| Ok((Edit::Put(value(n)), ()))));
    }

    fn remove(&self, n: u8) {
        let was =
            self.world.write(|mtr| self.tree.edit(mtr, &key(n), |old, _| Ok((Edit::Remove, old.is_some()))));
        assert!(was, "{n} was there");
    }

    fn get(&self, n: u8) -> Option<Vec<u8>> {
        self.get_near(n, &mut Near::default())
    }

    /// By way of the leaf where the last one was found.
    fn get_near(&self, n: u8, near: &mut Near) -> Option<Vec<u8>> {
        let pool = &self.world.pool;
        let step = || self.tree.lookup_near(pool, &key(n), near, |value| value.map(<[u8]>::to_vec));
        block_on(pool.run(step)).expect("storage does not fail here")
    }

    /// All entries, in the order of the scan.
    fn scan(&self, direction: Direction) -> Vec<(Vec<u8>, Vec<u8>)> {
        let pool = &self.world.pool;
        let (mut all, mut from) = (Vec::new(), Bound::Unbounded);
        loop {
            let step = || {
                let mut leaf = Vec::new();
                let bound = from.as_ref().map(Vec::as_slice);
                let resume = self.tree.scan_leaf(pool, bound, direction, &mut |key, value| {
                    leaf.push((key.to_vec(), value.to_vec()));
                    ControlFlow::Continue(())
                })?;
                Ok((resume, leaf))
            };
            let (resume, leaf) = block_on(pool.run(step)).expect("storage does not fail here");
            all.extend(leaf);
            match resume {
                Resume::Continue(next) => from = next,
                Resume::Done | Resume::Stopped => return all,
            }
            point();
        }
    }

    /// A scan is in order, and `fixed`, which nobody touches, is in it.
    fn scan_and_check(&self, direction: Direction, fixed: &[u8]) {
        let keys: Vec<_> = self.scan(direction).into_iter().map(|(key, _)| key).collect();
        let ordered = match direction {
            Direction::Forward => keys.is_sorted_by(|a, b| a < b),
            Direction::Backward => keys.is_sorted_by(|a, b| a > b),
        };
        assert!(ordered, "{direction:?}: {keys:?}");
        for n in fixed {
            assert!(keys.contains(&key(*n)), "{direction:?}: {n} is missing from {keys:?}");
        }
    }

    fn spawn(&self, run: impl FnOnce(Grove) + Send + 'static) -> shuttle::thread::JoinHandle<()> {
        let grove = self.clone();
        self.world.spawn(move |_| run(grove))
    }

    /// Ends the threads; then the tree holds exactly these keys, whichever way it is read.
    fn ended(
        self,
        threads: impl IntoIterator<Item = shuttle::thread::JoinHandle<()>>,
        keys: impl IntoIterator<Item = u8>,
    ) {
        let after = self.clone();
        self.world.ended(threads);
        let expected: Entries = keys.into_iter().map(|n| (key(n), value(n))).collect();
        let forward = after.scan(Direction::Forward);
        let mut backward = after.scan(Direction::Backward);
        backward.reverse();
        assert!(forward == backward, "both ways show the same");
        assert!(forward.is_sorted_by(|a, b| a.0 < b.0), "in order");
        assert_eq!(forward.iter().map(|(k, _)| k).collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
        assert!(forward.into_iter().eq(expected), "the values are those that were put");
    }
}

/// Two grow neighbouring leaves until they split, the root's too; a third finds what was there before all the time.
pub fn splits_under_readers() {
    let grove = Grove::new(7, [10, 20, 30]);
    let left = grove.spawn(|grove| [11, 12, 13].into_iter().for_each(|n| grove.put(n)));
    let right = grove.spawn(|grove| [29, 28].into_iter().for_each(|n| grove.put(n)));
    let reader = grove.spawn(|grove| {
        for n in [30, 10, 20] {
            assert_eq!(grove.get(n), Some(value(n)), "{n} was there all the time");
        }
        grove.scan_and_check(Direction::Forward, &[10, 20, 30]);
    });
    grove.ended([left, right, reader], [10, 11, 12, 13, 20, 28, 29, 30]);
}

/// So many neighbours that a leaf of them alone is among them.
const GOING: [u8; 8] = [20, 22, 24, 26, 28, 30, 32, 34];

fn with_a_leaf_to_go() -> Grove {
    Grove::new(8, [10, 11].into_iter().chain(GOING).chain([50, 51]))
}

/// One empties a leaf, which leaves the tree, and its page comes back as another leaf; others are on their way to it.
pub fn unlinked_leaves_under_readers() {
    let grove = with_a_leaf_to_go();
    let remover = grove.spawn(|grove| GOING.into_iter().for_each(|n| grove.remove(n)));
    let filler = grove.spawn(|grove| [60, 61, 62, 63].into_iter().for_each(|n| grove.put(n)));
    let reader = grove.spawn(|grove| {
        let mut near = Near::default();
        for n in [11, 10, 50, 51] {
            assert_eq!(grove.get_near(n, &mut near), Some(value(n)), "{n} was there all the time");
        }
        grove.scan_and_check(Direction::Backward, &[10, 11, 50, 51]);
    });
    grove.ended([remover, filler, reader], [10, 11, 50, 51, 60, 61, 62, 63]);
}

/// One puts into a leaf that another one empties, and whose page a third one may get: what was put is there afterwards.
pub fn puts_into_a_leaf_that_goes() {
    let grove = with_a_leaf_to_go();
    let remover = grove.spawn(|grove| GOING.into_iter().for_each(|n| grove.remove(n)));
    let filler = grove.spawn(|grove| [60, 61, 62].into_iter().for_each(|n| grove.put(n)));
    let putter = grove.spawn(|grove| {
        for n in [27, 23] {
            grove.put(n);
            assert_eq!(grove.get(n), Some(value(n)), "{n} was just put");
        }
    });
    grove.ended([remover, filler, putter], [10, 11, 23, 27, 50, 51, 60, 61, 62]);
}
