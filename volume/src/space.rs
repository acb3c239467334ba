//! Log space: the LSN allocation limit (LAL) as back-pressure. What must hold at every moment: next LSN + what is
//! reserved <= base + LAL, where base is the VDL or, until the VDL passes it, the end of the opening's truncation range.
//! So no LSN above is ever handed out, and the next opening knows how far a truncation must reach.
//!
//! The usual case is one compare-and-swap. Who must wait stands in a queue, first come first served; while anyone
//! waits, nobody overtakes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering::SeqCst};

use parking_lot::Mutex;
use sextant_redo::Lsn;
use tokio::sync::oneshot;

use crate::{Reservation, VolumeError};

pub(crate) struct Space {
    lal: u64,
    /// Next LSN + bytes reserved.
    used: AtomicU64,
    /// `used` never exceeds it.
    limit: AtomicU64,
    /// Length of the queue; read without the lock.
    waiting: AtomicUsize,
    queue: Mutex<Queue>,
}

#[derive(Default)]
struct Queue {
    waiters: VecDeque<Waiter>,
    failed: Option<VolumeError>,
}

struct Waiter {
    bytes: u64,
    granted: oneshot::Sender<Result<Grant, VolumeError>>,
}

/// A reservation on its way to a waiter; goes back if the waiter has gone.
struct Grant {
    space: Arc<Space>,
    bytes: u64,
}

impl Grant {
    fn take(mut self) -> Reservation {
        Reservation { bytes: std::mem::take(&mut self.bytes) }
    }
}

impl Drop for Grant {
    fn drop(&mut self) {
        if self.bytes > 0 {
            self.space.used.fetch_sub(self.bytes, SeqCst);
            self.space.wake();
        }
    }
}

impl Space {
    /// Space for a log whose next LSN is `next` and whose base is `base`.
    pub(crate) fn new(next: Lsn, base: Lsn, lal: u64) -> Arc<Space> {
        Arc::new(Space {
            lal,
            used: AtomicU64::new(next.0),
            limit: AtomicU64::new(base.advance(lal).0),
            waiting: AtomicUsize::new(0),
            queue: Mutex::default(),
        })
    }

    pub(crate) fn try_reserve(&self, bytes: u64) -> Option<Reservation> {
        (self.waiting.load(SeqCst) == 0 && self.take(bytes)).then_some(Reservation { bytes })
    }

    fn take(&self, bytes: u64) -> bool {
        let limit = self.limit.load(SeqCst);
        self.used
            .try_update(SeqCst, SeqCst, |used| used.checked_add(bytes).filter(|after| *after <= limit))
            .is_ok()
    }

    pub(crate) async fn reserve(self: &Arc<Self>, bytes: u64) -> Result<Reservation, VolumeError> {
        if bytes > self.lal {
            return Err(VolumeError::Protocol(format!(
                "a reservation of {bytes} bytes is over the LSN allocation limit of {}",
                self.lal
            )));
        }
        if let Some(reservation) = self.try_reserve(bytes) {
            return Ok(reservation);
        }
        let wait = {
            let mut queue = self.queue.lock();
            if let Some(error) = &queue.failed {
                return Err(error.clone());
            }
            let (granted, wait) = oneshot::channel();
            queue.waiters.push_back(Waiter { bytes, granted });
            self.waiting.store(queue.waiters.len(), SeqCst);
            // The limit may have moved before it could be seen that someone waits.
            self.serve(&mut queue);
            wait
        };
        match wait.await {
            Ok(answer) => answer.map(Grant::take),
            Err(_) => Err(VolumeError::Closed),
        }
    }

    fn serve(self: &Arc<Self>, queue: &mut Queue) {
        while let Some(first) = queue.waiters.front() {
            if !first.granted.is_closed() && !self.take(first.bytes) {
                break;
            }
            let Some(waiter) = queue.waiters.pop_front() else {
                break;
            };
            if !waiter.granted.is_closed() {
                let grant = Grant { space: Arc::clone(self), bytes: waiter.bytes };
                if let Err(Ok(mut unwanted)) = waiter.granted.send(Ok(grant)) {
                    // Not by dropping it: that would ask for the lock that is held here.
                    self.used.fetch_sub(std::mem::take(&mut unwanted.bytes), SeqCst);
                }
            }
        }
        self.waiting.store(queue.waiters.len(), SeqCst);
    }

    fn wake(self: &Arc<Self>) {
        if self.waiting.load(SeqCst) > 0 {
            self.serve(&mut self.queue.lock());
        }
    }

    /// A reservation has been turned into `used` bytes of log (or into none).
    pub(crate) fn settle(self: &Arc<Self>, reservation: &Reservation, used: u64) {
        debug_assert!(used <= reservation.bytes);
        if reservation.bytes > used {
            self.used.fetch_sub(reservation.bytes - used, SeqCst);
            self.wake();
        }
    }

    /// The VDL is `vdl` now.
    pub(crate) fn advance(self: &Arc<Self>, vdl: Lsn) {
        self.limit.fetch_max(vdl.advance(self.lal).0, SeqCst);
        self.wake();
    }

    /// No space any more, for ever.
    pub(crate) fn fail(&self, error: &VolumeError) {
        let mut queue = self.queue.lock();
        self.limit.store(0, SeqCst);
        queue.failed.get_or_insert_with(|| error.clone());
        for waiter in queue.waiters.drain(..) {
            let _ = waiter.granted.send(Err(error.clone()));
        }
        self.waiting.store(0, SeqCst);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn nothing_is_handed_out_above_the_limit() {
        let space = Space::new(Lsn(100), Lsn(99), 50);
        let first = space.try_reserve(40).expect("free");
        assert!(space.try_reserve(10).is_none(), "100 + 40 + 10 > 149");
        assert!(space.try_reserve(9).is_some());
        space.settle(&first, 30);
        assert!(space.try_reserve(10).is_some());
        assert!(space.try_reserve(1).is_none());
    }

    #[tokio::test]
    async fn waiters_are_served_in_order_as_the_vdl_moves() {
        let space = Space::new(Lsn(1), Lsn(0), 100);
        let _held = space.try_reserve(99).expect("free");
        let big = tokio::spawn({
            let space = Arc::clone(&space);
            async move { space.reserve(80).await }
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        space.advance(Lsn(40));
        assert!(space.try_reserve(1).is_none(), "nobody overtakes");
        assert!(!big.is_finished());
        space.advance(Lsn(80));
        assert_eq!(big.await.expect("no panic").expect("granted").bytes, 80);
    }

    #[tokio::test]
    async fn a_waiter_that_leaves_holds_nobody_up() {
        let space = Space::new(Lsn(1), Lsn(0), 100);
        let held = space.try_reserve(99).expect("free");
        let left = tokio::time::timeout(Duration::from_millis(10), space.reserve(90)).await;
        assert!(left.is_err());
        let small = tokio::spawn({
            let space = Arc::clone(&space);
            async move { space.reserve(20).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        space.settle(&held, 79);
        assert_eq!(small.await.expect("no panic").expect("granted").bytes, 20);
        assert!(space.try_reserve(1).is_none(), "used: 80 + 20");
    }

    #[tokio::test]
    async fn failure_reaches_waiters_and_later_callers() {
        let space = Space::new(Lsn(1), Lsn(0), 10);
        let _held = space.try_reserve(9).expect("free");
        let waiter = tokio::spawn({
            let space = Arc::clone(&space);
            async move { space.reserve(5).await }
        });
        tokio::time::sleep(Duration::from_millis(10)).await;
        space.fail(&VolumeError::Closed);
        assert_eq!(waiter.await.expect("no panic").map(|_| ()), Err(VolumeError::Closed));
        assert!(space.try_reserve(0).is_none());
        assert_eq!(space.reserve(1).await.map(|_| ()), Err(VolumeError::Closed));
        assert!(matches!(space.reserve(11).await, Err(VolumeError::Protocol(_))));
    }
}
