//! Tests of the page cache.

pub(crate) mod store;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use sextant_redo::{Lsn, Page, PageId, page};
use sextant_volume::{LogStore, VolumeError};

use super::{BufferPool, Step, StorageError};
use crate::mtr::MiniTxn;
use crate::space;
use store::TestStore;

const FRAMES: u64 = 32;

async fn small() -> (Arc<TestStore>, Arc<BufferPool>) {
    let store = TestStore::new();
    let pool = BufferPool::new(store.clone(), FRAMES as usize * 8192).unwrap();
    space::format_if_new(&pool).await.unwrap();
    (store, pool)
}

fn step(page: u64, byte: u8) -> impl FnMut(&mut MiniTxn<'_>) -> Step<()> + Send {
    move |mtr| {
        mtr.pool().check_ensured(PageId(page))?;
        let h = mtr.latch(PageId(page))?;
        mtr.set(h, 100, &[byte]);
        Ok(())
    }
}

async fn byte(pool: &BufferPool, page: u64) -> u8 {
    pool.run(|| Ok(pool.read(PageId(page))?[100])).await.unwrap()
}

#[tokio::test]
async fn many_who_want_a_page_make_one_request() {
    let (store, pool) = small().await;
    let before = store.reads.load(Ordering::Relaxed);
    let mut fetches = tokio::task::JoinSet::new();
    for _ in 0..50 {
        let pool = pool.clone();
        fetches.spawn(async move { pool.fetch(PageId(7)).await.map(drop) });
    }
    while let Some(done) = fetches.join_next().await {
        done.unwrap().unwrap();
    }
    assert_eq!(store.reads.load(Ordering::Relaxed), before + 1);
}

#[tokio::test]
async fn a_fetch_that_is_dropped_half_way_leaves_the_page_to_others() {
    let (store, pool) = small().await;
    let permits = store.gate.forget_permits(usize::MAX);
    let spawn = || {
        let pool = pool.clone();
        tokio::spawn(async move { pool.fetch(PageId(7)).await.map(drop) })
    };
    let (first, second) = (spawn(), spawn());
    tokio::time::sleep(Duration::from_millis(20)).await;
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    store.gate.add_permits(permits);
    second.await.unwrap().unwrap();
    assert_eq!(byte(&pool, 7).await, 0);
}

#[tokio::test]
async fn a_failed_fetch_is_told_to_all_who_wait_and_does_not_stick() {
    let (store, pool) = small().await;
    let permits = store.gate.forget_permits(usize::MAX);
    *store.next_read.lock() = Some(Err(VolumeError::Closed));
    let spawn = || {
        let pool = pool.clone();
        tokio::spawn(async move { pool.fetch(PageId(7)).await.map(drop) })
    };
    let (first, second) = (spawn(), spawn());
    tokio::time::sleep(Duration::from_millis(20)).await;
    store.gate.add_permits(permits);
    let error = Err(StorageError::Volume(VolumeError::Closed));
    assert_eq!((first.await.unwrap(), second.await.unwrap()), (error.clone(), error));
    assert_eq!(byte(&pool, 7).await, 0);
}

#[tokio::test]
async fn what_is_not_durable_stays_and_a_full_cache_says_so() {
    let (store, pool) = small().await;
    store.memory.hold_vdl(true);
    let mut refused = None;
    for n in 1..=FRAMES {
        if let Err(error) = pool.write(step(n, 7)).await {
            refused = Some((n, error));
            break;
        }
    }
    // The control page was durable before, so it could go.
    let frames = FRAMES as usize;
    assert_eq!(refused, None);
    let error = pool.write(step(FRAMES + 1, 7)).await.unwrap_err();
    assert_eq!(error, StorageError::CacheFull { frames });
    assert!(error.is_retryable());
    assert!(pool.stats().undurable_skips > 0);
    for n in 1..=FRAMES {
        assert!(pool.read(PageId(n)).is_ok_and(|p| p[100] == 7), "page {n} has left with its changes");
    }
    // A fetch that waits goes on when the VDL moves.
    let waiting = tokio::spawn({
        let pool = pool.clone();
        async move { pool.write(step(FRAMES + 1, 9)).await.map(drop) }
    });
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!waiting.is_finished());
    store.memory.hold_vdl(false);
    waiting.await.unwrap().unwrap();
    for n in 1..=FRAMES + 1 {
        assert_eq!(byte(&pool, n).await, if n > FRAMES { 9 } else { 7 });
    }
    assert_eq!(store.reserved.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn pinned_pages_stay() {
    let (_, pool) = small().await;
    let mut pins = Vec::new();
    for n in 1..=FRAMES {
        pins.push(pool.fetch(PageId(n)).await.unwrap());
    }
    let frames = FRAMES as usize;
    assert_eq!(pool.fetch(PageId(99)).await.err(), Some(StorageError::CacheFull { frames }));
    pins.pop();
    drop(pool.fetch(PageId(99)).await.unwrap());
    for n in 1..FRAMES {
        assert!(pool.read(PageId(n)).is_ok());
    }
}

#[tokio::test]
async fn a_page_that_is_used_outlives_those_that_are_not() {
    let (_, pool) = small().await;
    for n in 1..200 {
        assert_eq!(byte(&pool, 1000).await, 0);
        drop(pool.fetch(PageId(n)).await.unwrap());
    }
    let misses = pool.stats().misses;
    assert_eq!(byte(&pool, 1000).await, 0);
    assert_eq!(pool.stats().misses, misses);
    assert!(pool.stats().evictions > 100);
}

#[tokio::test]
async fn what_storage_answers_is_checked() {
    let (store, pool) = small().await;
    let mut other = Page::zero();
    page::stamp(&mut other.0, PageId(8), Lsn(1));
    *store.next_read.lock() = Some(Ok(other));
    let wrong = pool.fetch(PageId(7)).await.err();
    assert!(matches!(wrong, Some(StorageError::Corrupt { page: PageId(7), .. })));
    let mut damaged = Page::zero();
    page::stamp(&mut damaged.0, PageId(7), Lsn(1));
    damaged.0[space::PAGE_TYPE] = space::page_type::TREE;
    damaged.0[26..30].fill(0xff);
    *store.next_read.lock() = Some(Ok(damaged));
    let damaged = pool.fetch(PageId(7)).await.err();
    assert!(matches!(damaged, Some(StorageError::Corrupt { page: PageId(7), .. })));
    assert_eq!(byte(&pool, 7).await, 0);
}

#[tokio::test]
async fn a_commit_says_its_lsn_once_and_an_empty_one_has_none() {
    let (store, pool) = small().await;
    let mut said = Vec::new();
    let ((), lsn) = pool.write_with(step(3, 1), |lsn| said.push(lsn)).await.unwrap();
    assert_eq!(said, [lsn]);
    assert_eq!(pool.read(PageId(3)).map(|p| page::lsn(&p)).ok(), Some(lsn));
    let latch_only = |mtr: &mut MiniTxn<'_>| mtr.latch(PageId(3)).map(drop);
    let never = |_| unreachable!("nothing was staged");
    assert_eq!(pool.write_with(latch_only, never).await.unwrap().1, Lsn::ZERO);
    let stamp = |mtr: &mut MiniTxn<'_>| {
        let h = mtr.latch(PageId(3))?;
        mtr.stamp_lsn(h, 200);
        Ok(())
    };
    let (_, lsn) = pool.write(stamp).await.unwrap();
    assert_eq!(pool.read(PageId(3)).map(|p| p[200..208].to_vec()).ok(), Some(lsn.0.to_le_bytes().to_vec()));
    assert_eq!(store.reserved.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn a_large_mtr_reserves_again_and_a_too_large_one_is_refused() {
    let (store, pool) = small().await;
    let image = |times: usize| {
        move |mtr: &mut MiniTxn<'_>| {
            let h = mtr.latch(PageId(5))?;
            for _ in 0..times {
                mtr.image(h, &[9; 8000]);
            }
            Ok(())
        }
    };
    pool.write(image(2)).await.unwrap();
    assert_eq!(byte(&pool, 5).await, 9);
    let error = pool.write(image(9)).await.unwrap_err();
    assert!(matches!(error, StorageError::RecordTooLarge { page: PageId(5), .. }));
    assert_eq!(store.reserved.load(Ordering::Relaxed), 0);
}

#[test]
fn latches_in_opposite_order_do_not_block_for_ever() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(4).enable_all().build().unwrap();
    let (store, pool) = runtime.block_on(small());
    let tasks: Vec<_> = (0..4u64)
        .map(|n| {
            let pool = pool.clone();
            runtime.spawn(async move {
                for _ in 0..30 {
                    let both = |mtr: &mut MiniTxn<'_>| {
                        for page in [1 + n % 2, 2 - n % 2] {
                            let h = mtr.latch(PageId(page))?;
                            let count = mtr.bytes(h)[100];
                            mtr.set(h, 100, &[count + 1]);
                            std::thread::sleep(Duration::from_micros(200));
                        }
                        Ok(())
                    };
                    pool.write(both).await.unwrap();
                }
            })
        })
        .collect();
    runtime.block_on(async {
        for task in tasks {
            tokio::time::timeout(Duration::from_secs(60), task).await.unwrap().unwrap();
        }
        assert_eq!((byte(&pool, 1).await, byte(&pool, 2).await), (120, 120));
    });
    assert!(pool.stats().contended > 0);
    assert_eq!(store.reserved.load(Ordering::Relaxed), 0);
    assert_eq!(store.vdl(), runtime.block_on(async { pool.store().vdl() }));
}

/// Pages counted up by many tasks in a cache that holds few of them, with a VDL that lags: an image that lacks a change
/// would lose a count.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_change_is_lost_between_eviction_and_fetch() {
    let (store, pool) = small().await;
    // By a task of its own: all of those that count may be waiting for a page that can be evicted.
    let of_lag = store.clone();
    let lag = tokio::spawn(async move {
        for held in [true, false].into_iter().cycle() {
            of_lag.memory.hold_vdl(held);
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    });
    let mut tasks = tokio::task::JoinSet::new();
    for task in 0..8u64 {
        let pool = pool.clone();
        tasks.spawn(async move {
            for n in 0..1000u64 {
                let page = PageId(1 + (n * 37 + task * 11) % 90);
                let count = |mtr: &mut MiniTxn<'_>| {
                    mtr.pool().check_ensured(page)?;
                    let h = mtr.latch(page)?;
                    let mut raw = [0; 8];
                    raw.copy_from_slice(&mtr.bytes(h)[200..208]);
                    mtr.set(h, 200, &(u64::from_le_bytes(raw) + 1).to_le_bytes());
                    Ok(())
                };
                pool.write(count).await.unwrap();
            }
        });
    }
    while let Some(done) = tasks.join_next().await {
        done.unwrap();
    }
    lag.abort();
    assert!(lag.await.unwrap_err().is_cancelled());
    store.memory.hold_vdl(false);
    let mut sum = 0;
    for page in 1..=90 {
        let count = pool.run(|| Ok(pool.read(PageId(page))?[200..208].to_vec())).await.unwrap();
        sum += u64::from_le_bytes(count.try_into().unwrap());
    }
    assert_eq!(sum, 8000);
    assert!(pool.stats().evictions > 1000, "{:?}", pool.stats());
    assert_eq!(store.reserved.load(Ordering::Relaxed), 0);
}

#[tokio::test]
async fn the_figures_are_exported() {
    let (_, pool) = small().await;
    assert_eq!(byte(&pool, 9).await, 0);
    let families = prometheus::gather();
    let value = |name: &str| {
        let family = families.iter().find(|f| f.name() == name);
        family.unwrap_or_else(|| panic!("{name} is missing")).get_metric()[0].clone()
    };
    assert!(value("sextant_cache_misses_total").get_counter().get_value() >= 1.0);
    assert!(value("sextant_cache_frames").get_gauge().get_value() >= FRAMES as f64);
}
