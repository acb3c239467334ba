//! The commit queue: who waits for which LSN to become durable. No thread waits and there is no timer: the move of the
//! VDL wakes exactly those whose LSN it reached (P17 section 4.2.2).
//!
//! No wake-up is lost: a waiter looks at the VDL again after it stands in the queue, and the VDL is stored before the
//! queue is looked at.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Waker};
use std::time::Instant;

use parking_lot::Mutex;
use sextant_redo::Lsn;

use crate::VolumeError;
use crate::metrics::METRICS;

pub(crate) struct CommitQueue {
    vdl: AtomicU64,
    waiting: AtomicUsize,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    waiters: BTreeMap<(Lsn, u64), Waker>,
    next: u64,
    failed: Option<VolumeError>,
}

impl CommitQueue {
    pub(crate) fn new(vdl: Lsn) -> CommitQueue {
        CommitQueue { vdl: AtomicU64::new(vdl.0), waiting: AtomicUsize::new(0), inner: Mutex::default() }
    }

    pub(crate) fn vdl(&self) -> Lsn {
        Lsn(self.vdl.load(SeqCst))
    }

    /// The VDL is `vdl` now: wakes everyone at or below.
    pub(crate) fn advance(&self, vdl: Lsn) {
        self.vdl.fetch_max(vdl.0, SeqCst);
        if self.waiting.load(SeqCst) == 0 {
            return;
        }
        let ready = {
            let mut inner = self.inner.lock();
            let later = inner.waiters.split_off(&(vdl, u64::MAX));
            let ready = std::mem::replace(&mut inner.waiters, later);
            self.waiting.store(inner.waiters.len(), SeqCst);
            ready
        };
        ready.into_values().for_each(Waker::wake);
    }

    /// Nothing above the VDL ever becomes durable through this instance.
    pub(crate) fn fail(&self, error: &VolumeError) {
        let all = {
            let mut inner = self.inner.lock();
            inner.failed.get_or_insert_with(|| error.clone());
            self.waiting.store(0, SeqCst);
            std::mem::take(&mut inner.waiters)
        };
        all.into_values().for_each(Waker::wake);
    }

    /// Resolves when `lsn` is durable, or never will be.
    pub(crate) fn durable(&self, lsn: Lsn) -> Durable<'_> {
        Durable { queue: self, lsn, waiting: None }
    }
}

/// Waits for one LSN.
pub(crate) struct Durable<'a> {
    queue: &'a CommitQueue,
    lsn: Lsn,
    /// Ticket, and since when.
    waiting: Option<(u64, Instant)>,
}

impl Future for Durable<'_> {
    type Output = Result<(), VolumeError>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let queue = self.queue;
        if queue.vdl() >= self.lsn {
            let waited = self.waiting.map_or(0.0, |(_, since)| since.elapsed().as_secs_f64());
            METRICS.commit_wait.observe(waited);
            return Poll::Ready(Ok(()));
        }
        let mut inner = queue.inner.lock();
        let (ticket, _) = *self.waiting.get_or_insert_with(|| {
            inner.next += 1;
            (inner.next, Instant::now())
        });
        inner
            .waiters
            .entry((self.lsn, ticket))
            .and_modify(|w| w.clone_from(cx.waker()))
            .or_insert_with(|| cx.waker().clone());
        queue.waiting.store(inner.waiters.len(), SeqCst);
        let answer = if queue.vdl() >= self.lsn {
            Ok(())
        } else if let Some(error) = &inner.failed {
            Err(error.clone())
        } else {
            return Poll::Pending;
        };
        inner.waiters.remove(&(self.lsn, ticket));
        queue.waiting.store(inner.waiters.len(), SeqCst);
        Poll::Ready(answer)
    }
}

impl Drop for Durable<'_> {
    fn drop(&mut self) {
        if let Some((ticket, _)) = self.waiting {
            let mut inner = self.queue.inner.lock();
            if inner.waiters.remove(&(self.lsn, ticket)).is_some() {
                self.queue.waiting.store(inner.waiters.len(), SeqCst);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn only_those_at_or_below_the_vdl_are_answered() {
        let queue = Arc::new(CommitQueue::new(Lsn(10)));
        assert_eq!(queue.durable(Lsn(10)).await, Ok(()));
        let wait = |lsn| {
            let queue = Arc::clone(&queue);
            tokio::spawn(async move { queue.durable(Lsn(lsn)).await })
        };
        let (a, b, c) = (wait(20), wait(21), wait(30));
        tokio::time::sleep(Duration::from_millis(10)).await;
        queue.advance(Lsn(21));
        assert_eq!(a.await.expect("no panic"), Ok(()));
        assert_eq!(b.await.expect("no panic"), Ok(()));
        assert!(!c.is_finished());
        queue.fail(&VolumeError::Closed);
        assert_eq!(c.await.expect("no panic"), Err(VolumeError::Closed));
        assert_eq!(queue.durable(Lsn(21)).await, Ok(()), "what is durable stays so");
        assert_eq!(queue.durable(Lsn(22)).await, Err(VolumeError::Closed));
    }

    #[tokio::test]
    async fn a_waiter_that_leaves_is_forgotten() {
        let queue = CommitQueue::new(Lsn(0));
        let left = tokio::time::timeout(Duration::from_millis(5), queue.durable(Lsn(1))).await;
        assert!(left.is_err());
        assert_eq!(queue.waiting.load(SeqCst), 0);
        assert!(queue.inner.lock().waiters.is_empty());
    }

    /// Races waiters against the VDL: a lost wake-up would hang one of them.
    #[test]
    fn no_wake_up_is_lost() {
        const LAST: u64 = 20_000;
        let queue = Arc::new(CommitQueue::new(Lsn(0)));
        let mover = std::thread::spawn({
            let queue = Arc::clone(&queue);
            move || (1..=LAST).for_each(|lsn| queue.advance(Lsn(lsn)))
        });
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_time()
            .build()
            .expect("runtime");
        runtime.block_on(async {
            let waiters: Vec<_> = (1..=LAST)
                .step_by(3)
                .map(|lsn| {
                    let queue = Arc::clone(&queue);
                    tokio::spawn(async move { queue.durable(Lsn(lsn)).await })
                })
                .collect();
            for waiter in waiters {
                let answer = tokio::time::timeout(Duration::from_secs(20), waiter).await;
                assert_eq!(answer.expect("woken").expect("no panic"), Ok(()));
            }
        });
        mover.join().expect("no panic");
    }
}
