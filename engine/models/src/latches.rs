//! Models of latches and mini-transactions: what others see of pages that are being changed.

use sextant_redo::PageId;
use shuttle::future::block_on;

use crate::buffer::Step;
use crate::cache::World;
use crate::mtr::{MiniTxn, PageHandle};
use crate::sync::point;

const MARK: usize = 100;

fn latch(mtr: &mut MiniTxn<'_>, page: u64) -> Step<PageHandle> {
    mtr.pool().check_ensured(PageId(page))?;
    mtr.latch(PageId(page))
}

/// Counts both pages up, latched in this order.
fn count_both(world: &World, pages: [u64; 2]) {
    world.write(|mtr| {
        for page in pages {
            let h = latch(mtr, page)?;
            let before = mtr.bytes(h)[MARK];
            point();
            mtr.set(h, MARK, &[before + 1]);
        }
        Ok(())
    });
}

/// The marks of pages 1 and 2, the first one latched while the second is read.
fn both(world: &World) -> [u8; 2] {
    let step = || {
        let first = world.pool.read(PageId(1))?;
        point();
        let second = world.pool.read_impatiently(PageId(2))?;
        let marks = [first[MARK], second[MARK]];
        point();
        assert_eq!(marks, [first[MARK], second[MARK]], "a page changed under a shared latch");
        Ok(marks)
    };
    block_on(world.pool.run(step)).expect("storage does not fail here")
}

/// Two pages that change in one mini-transaction are never seen half changed.
pub fn mini_transactions_are_seen_whole() {
    let world = World::new(4, 0);
    count_both(&world, [1, 2]);
    let writers = [(); 2].map(|()| world.spawn(|world| count_both(&world, [1, 2])));
    let reader = world.spawn(|world| {
        let mut last = 0;
        for _ in 0..3 {
            let [one, two] = both(&world);
            assert_eq!(one, two, "a mini-transaction was seen half done");
            assert!(one >= last, "it went back from {last} to {one}");
            last = one;
        }
    });
    let after = world.clone();
    world.ended(writers.into_iter().chain([reader]));
    assert_eq!(both(&after), [3, 3]);
}

/// Whoever holds a latch does not wait for another one for ever, so the order in which latches are taken blocks nobody.
pub fn latches_in_opposite_order() {
    let world = World::new(4, 0);
    count_both(&world, [1, 2]);
    let threads = [[1, 2], [2, 1], [1, 2]].map(|pages| world.spawn(move |world| count_both(&world, pages)));
    let after = world.clone();
    world.ended(threads);
    assert_eq!(both(&after), [4, 4]);
}

/// Pages come from the free list, or from the end of the volume without a look at storage, while others ask for the same
/// pages: a page's first content is never overwritten by what storage had before.
pub fn new_pages_against_fetches() {
    let world = World::new(4, 0);
    let allocate = |mark: u8| {
        world.spawn(move |world| {
            let page = world.write(|mtr| {
                let h = mtr.allocate()?;
                mtr.image(h, &[mark; 4000]);
                Ok(mtr.page(h))
            });
            let seen = || Ok(world.pool.read(page)?[MARK]);
            let read = || block_on(world.pool.run(seen)).expect("storage does not fail here");
            assert_eq!(read(), mark, "{page:?} lost its first content");
            // The other one may take it from the free list.
            world.write(|mtr| mtr.free(page));
        })
    };
    let ask = world.spawn(|world| {
        for page in [1, 2, 1] {
            drop(block_on(world.pool.fetch(PageId(page))).expect("fetched"));
        }
    });
    let threads = [allocate(7), allocate(9), ask];
    let after = world.clone();
    world.ended(threads);
    let usage = block_on(after.pool.run(|| crate::space::usage(&after.pool))).expect("read");
    // Whoever came second took what the first one had given back, or a page of its own.
    assert!((2..=3).contains(&usage.pages) && usage.free == usage.pages - 1, "{usage:?}");
}
