//! Models of the page cache: who may be evicted, who asks storage, and what comes back.

use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::task::Poll;

use sextant_redo::PageId;
use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle};

use crate::buffer::{BufferPool, Step, StorageError};
use crate::mtr::MiniTxn;
use crate::space;
use crate::store::ModelStore;
use crate::sync::{drawn, point, sleep};

/// Somewhere in a page's body, and far behind.
const FRONT: usize = 100;
const BACK: usize = 8000;

/// A volume and a cache over it.
#[derive(Clone)]
pub(crate) struct World {
    pub(crate) store: Arc<ModelStore>,
    pub(crate) pool: Arc<BufferPool>,
}

impl World {
    /// A cache of `frames` frames; pages 1 to `pages` hold their own number.
    pub(crate) fn new(frames: usize, pages: u64) -> World {
        let store = ModelStore::new();
        let pool = BufferPool::with_frames(store.clone(), frames).expect("a mapping");
        let world = World { store, pool };
        block_on(space::format_if_new(&world.pool)).expect("formatted");
        for page in 1..=pages {
            world.write(|mtr| {
                mtr.pool().check_ensured(PageId(page))?;
                let h = mtr.latch(PageId(page))?;
                mtr.set(h, FRONT, &[page as u8]);
                mtr.set(h, BACK, &[page as u8]);
                Ok(())
            });
        }
        world
    }

    /// Writes, again as long as the cache is full: its patience ends by a clock that others need not follow.
    pub(crate) fn write<T>(&self, mut step: impl FnMut(&mut MiniTxn<'_>) -> Step<T> + Send) -> T {
        loop {
            match block_on(self.pool.write(&mut step)) {
                Ok((value, _)) => return value,
                Err(StorageError::CacheFull { .. }) => thread::yield_now(),
                Err(error) => panic!("storage does not fail here: {error}"),
            }
        }
    }

    pub(crate) fn spawn(&self, run: impl FnOnce(World) + Send + 'static) -> JoinHandle<()> {
        let world = self.clone();
        thread::spawn(move || run(world))
    }

    /// The page's two marks, with a look away in between.
    fn marks(&self, page: u64) -> Result<(u8, u8), StorageError> {
        block_on(self.pool.run(|| {
            let guard = self.pool.read(PageId(page))?;
            let front = guard[FRONT];
            point();
            Ok((front, guard[BACK]))
        }))
    }

    fn holds_its_number(&self, page: u64) {
        assert_eq!(self.marks(page), Ok((page as u8, page as u8)), "page {page}");
    }

    /// Whatever page a hint leads to now, if to any of those with marks.
    fn is_what_it_says(&self, hint: u64) {
        let Some((page, guard)) = self.pool.read_hinted(hint) else { return };
        let front = guard[FRONT];
        point();
        assert!(page.0 == 0 || (front, guard[BACK]) == (page.0 as u8, page.0 as u8), "page {}", page.0);
    }

    pub(crate) fn ended(self, threads: impl IntoIterator<Item = JoinHandle<()>>) {
        for thread in threads {
            thread.join().expect("a thread ends well");
        }
        self.store.check_ended();
    }
}

/// Three want pages of which too few fit: one that is pinned stays, and one that is not is found to be what it is, or to be
/// missing.
fn crowd(frames: usize, pinning: [&'static [u64]; 2], looking: &'static [u64]) {
    let pages = looking.iter().copied().max().unwrap_or(0);
    let world = World::new(frames, pages);
    let pin = |order: &'static [u64]| {
        world.spawn(move |world| {
            for &page in order {
                let pinned = block_on(world.pool.fetch(PageId(page))).expect("fetched");
                point();
                let Ok(guard) = world.pool.read(PageId(page)) else { panic!("pinned page {page} has left") };
                let front = guard[FRONT];
                point();
                assert_eq!((front, guard[BACK]), (page as u8, page as u8), "page {page}");
                drop(guard);
                drop(pinned);
            }
        })
    };
    let look = world.spawn(|world| looking.iter().for_each(|page| world.holds_its_number(*page)));
    let threads = [pin(pinning[0]), pin(pinning[1]), look];
    world.ended(threads);
}

/// Four pages in two frames.
pub fn pins_and_evictions() {
    crowd(2, [&[1, 2, 3, 4], &[4, 3, 1, 2]], &[2, 4, 1, 3]);
}

/// Three pages in one frame: whoever looks around for room meets the frame that others look at.
pub fn one_frame_for_all() {
    crowd(1, [&[1, 2, 1, 3], &[3, 2, 3, 1]], &[2, 3, 2, 1]);
}

/// Frames are read by hints while their pages come and go: what is read is the page that it is said to be.
pub fn hints_against_evictions() {
    const PAGES: u64 = 3;
    let world = World::new(2, PAGES);
    let follow = |order: [u64; 3]| {
        world.spawn(move |world| {
            for page in order {
                let found = block_on(world.pool.run(|| {
                    let guard = world.pool.read(PageId(page))?;
                    world.pool.leave_hint(page, &guard);
                    Ok(())
                }));
                assert_eq!(found, Ok(()));
                point();
                (1..=PAGES).for_each(|hint| world.is_what_it_says(hint));
            }
        })
    };
    let look = world.spawn(|world| [2, 3, 1, 2].into_iter().for_each(|page| world.holds_its_number(page)));
    let threads = [follow([1, 2, 3]), follow([3, 1, 2]), look];
    world.ended(threads);
}

/// Several want one page at once: one request, and all get it.
pub fn fetches_that_meet() {
    let world = World::new(2, 3);
    // So that page 1 is in no frame.
    world.holds_its_number(2);
    world.holds_its_number(3);
    let before = world.store.reads.load(Ordering::Relaxed);
    let threads = [(); 3].map(|()| world.spawn(|world| world.holds_its_number(1)));
    let store = world.store.clone();
    world.ended(threads);
    assert_eq!(store.reads.load(Ordering::Relaxed), before + 1, "requests for one page");
}

/// Fetches and gives up after a few polls, as a statement that is cancelled does.
async fn fetch_impatiently(pool: &BufferPool, page: PageId) {
    let mut fetch = pin!(pool.fetch(page));
    poll_fn(|cx| match fetch.as_mut().poll(cx) {
        Poll::Ready(_) => Poll::Ready(()),
        Poll::Pending if drawn(3) => Poll::Ready(()),
        Poll::Pending => {
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await;
}

/// Reads fail and fetches are dropped half-way: whoever waits hears of it, or takes over; nobody waits for ever.
pub fn fetches_that_fail_or_are_dropped() {
    let world = World::new(2, 3);
    world.store.failing.store(true, Ordering::Relaxed);
    let stubborn = [1, 2].map(|first| {
        world.spawn(move |world| {
            for page in [first, 3] {
                loop {
                    match world.marks(page) {
                        Ok(marks) => break assert_eq!(marks, (page as u8, page as u8)),
                        Err(error) => assert!(matches!(error, StorageError::Volume(_)), "{error}"),
                    }
                }
            }
        })
    });
    let fickle = [1, 3].map(|page| {
        world.spawn(move |world| {
            block_on(fetch_impatiently(&world.pool, PageId(page)));
            block_on(fetch_impatiently(&world.pool, PageId(page)));
        })
    });
    world.ended(stubborn.into_iter().chain(fickle));
}

/// Pages are counted up while they come and go and durability lags: an image that lacks a change would lose a count.
pub fn no_change_is_lost() {
    const PAGES: u64 = 3;
    let world = World::new(2, 0);
    let count = |order: [u64; 3]| {
        world.spawn(move |world| {
            for page in order {
                world.write(|mtr| {
                    mtr.pool().check_ensured(PageId(page))?;
                    let h = mtr.latch(PageId(page))?;
                    let before = mtr.bytes(h)[FRONT];
                    point();
                    mtr.set(h, FRONT, &[before + 1]);
                    Ok(())
                });
            }
        })
    };
    let lag = world.spawn(|world| {
        for _ in 0..2 {
            world.store.memory.hold_vdl(true);
            (0..20).for_each(|_| point());
            world.store.memory.hold_vdl(false);
            block_on(sleep(std::time::Duration::ZERO));
        }
    });
    let threads = [count([1, 2, 3]), count([2, 3, 1]), count([3, 3, 2]), lag];
    let after = world.clone();
    world.ended(threads);
    let counts: Vec<u8> = (1..=PAGES).map(|page| after.marks(page).expect("read").0).collect();
    assert_eq!(counts, [2, 3, 4], "counts of the pages");
}
