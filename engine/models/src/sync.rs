//! What the engine's `sync` has, for a scheduler that decides who goes on.
//!
//! Time stands still but for whoever sleeps or waits with a time limit; whether a limit runs out is drawn.

use std::cell::Cell;
use std::convert::Infallible;
use std::future::poll_fn;
use std::ops::Add;
use std::pin::pin;
use std::sync::PoisonError;
use std::task::Poll;
use std::time::Duration;

use parking_lot::lock_api;
use shuttle::rand::Rng;
use shuttle::sync::Condvar;

pub(crate) use shuttle::future::yield_now;
pub(crate) use shuttle::sync::MutexGuard;
pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};

/// True once in `n` times.
pub(crate) fn drawn(n: u32) -> bool {
    shuttle::rand::thread_rng().gen_range(0..n) == 0
}

/// Somebody else may go on here.
pub(crate) fn point() {
    AtomicBool::new(false).load(Ordering::SeqCst);
}

thread_local! {
    /// All threads of a model are coroutines of one thread.
    static CLOCK: Cell<Duration> = const { Cell::new(Duration::ZERO) };
}

/// A moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Instant(Duration);

impl Instant {
    pub(crate) fn now() -> Instant {
        Instant(CLOCK.get())
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    fn add(self, later: Duration) -> Instant {
        Instant(self.0 + later)
    }
}

fn pass(time: Duration) {
    CLOCK.set(CLOCK.get() + time);
}

pub(crate) async fn sleep(time: Duration) {
    pass(time);
    yield_now().await;
}

/// The error says that time ran out.
pub(crate) async fn timeout<F: Future>(limit: Duration, future: F) -> Result<F::Output, ()> {
    let mut future = pin!(future);
    poll_fn(|cx| match future.as_mut().poll(cx) {
        Poll::Ready(value) => Poll::Ready(Ok(value)),
        Poll::Pending if drawn(3) => {
            pass(limit);
            Poll::Ready(Err(()))
        }
        Poll::Pending => {
            // Whoever can go on, may: one who only looks at the time again and again is not to be first.
            shuttle::thread::yield_now();
            cx.waker().wake_by_ref();
            Poll::Pending
        }
    })
    .await
}

/// `parking_lot`'s mutex has no poison.
#[derive(Default)]
pub(crate) struct Mutex<T>(shuttle::sync::Mutex<T>);

impl<T> Mutex<T> {
    pub(crate) const fn new(value: T) -> Mutex<T> {
        Mutex(shuttle::sync::Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

struct Holders {
    readers: u32,
    /// Held, or wanted by one who waits for the readers to go: as with `parking_lot`, no reader comes in any more.
    writer: bool,
}

/// A latch with the rules of `parking_lot`'s.
pub(crate) struct RawRwLock {
    holders: Mutex<Holders>,
    freed: Condvar,
}

impl RawRwLock {
    fn wait<'a>(&self, holders: MutexGuard<'a, Holders>) -> MutexGuard<'a, Holders> {
        self.freed.wait(holders).unwrap_or_else(PoisonError::into_inner)
    }

    /// Tries until it works or the time is up.
    fn within(limit: Duration, mut attempt: impl FnMut() -> bool) -> bool {
        loop {
            if attempt() {
                return true;
            }
            if drawn(3) {
                pass(limit);
                return false;
            }
            shuttle::thread::yield_now();
        }
    }
}

// SAFETY: a writer goes on only when it alone has set `writer` and there are no readers; readers come in only while
// `writer` is not set.
unsafe impl lock_api::RawRwLock for RawRwLock {
    #[allow(clippy::declare_interior_mutable_const, reason = "the trait makes locks of it")]
    const INIT: RawRwLock =
        RawRwLock { holders: Mutex::new(Holders { readers: 0, writer: false }), freed: Condvar::new() };

    type GuardMarker = lock_api::GuardNoSend;

    fn lock_shared(&self) {
        let mut holders = self.holders.lock();
        while holders.writer {
            holders = self.wait(holders);
        }
        holders.readers += 1;
    }

    fn try_lock_shared(&self) -> bool {
        let mut holders = self.holders.lock();
        let free = !holders.writer;
        holders.readers += u32::from(free);
        free
    }

    unsafe fn unlock_shared(&self) {
        self.holders.lock().readers -= 1;
        self.freed.notify_all();
    }

    fn lock_exclusive(&self) {
        let mut holders = self.holders.lock();
        while holders.writer {
            holders = self.wait(holders);
        }
        holders.writer = true;
        while holders.readers > 0 {
            holders = self.wait(holders);
        }
    }

    fn try_lock_exclusive(&self) -> bool {
        let mut holders = self.holders.lock();
        let free = !holders.writer && holders.readers == 0;
        holders.writer |= free;
        free
    }

    unsafe fn unlock_exclusive(&self) {
        self.holders.lock().writer = false;
        self.freed.notify_all();
    }
}

// SAFETY: as above; who gives up has taken nothing.
unsafe impl lock_api::RawRwLockTimed for RawRwLock {
    type Duration = Duration;
    /// Nobody waits until a moment.
    type Instant = Infallible;

    fn try_lock_shared_for(&self, limit: Duration) -> bool {
        RawRwLock::within(limit, || lock_api::RawRwLock::try_lock_shared(self))
    }

    fn try_lock_shared_until(&self, moment: Infallible) -> bool {
        match moment {}
    }

    fn try_lock_exclusive_for(&self, limit: Duration) -> bool {
        let claimed = RawRwLock::within(limit, || {
            let mut holders = self.holders.lock();
            let free = !holders.writer;
            holders.writer |= free;
            free
        });
        if claimed && !RawRwLock::within(limit, || self.holders.lock().readers == 0) {
            self.holders.lock().writer = false;
            self.freed.notify_all();
            return false;
        }
        claimed
    }

    fn try_lock_exclusive_until(&self, moment: Infallible) -> bool {
        match moment {}
    }
}
