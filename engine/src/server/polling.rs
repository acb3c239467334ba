//! Polling before sleeping: a session thread with nothing to do looks for something to do for a moment before it sleeps.
//!
//! To wake a thread that sleeps takes the kernel 5 us where its processor is awake, and ten times as many where that is a virtual
//! one that has been given back to its host; a client's next statement takes 10 to 20 us to come. So a thread looks again and
//! again for up to [`WINDOW`], as the kernel itself does in guests that have `guest_halt_poll_ns` set. What must hold:
//! - it takes nothing from anybody: between two looks the processor is offered to others, and once one of them takes it the
//!   thread sleeps;
//! - where it finds nothing, or is in the way, it is tried ever more rarely, down to once in 128 times.
//!
//! Why, and what it brings: docs/decisions/0029.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

use sextant_node::tries::Tries;
use tokio::sync::Notify;

use super::metrics;

/// How long a thread looks for something to do.
const WINDOW: Duration = Duration::from_micros(50);
/// Who offers the processor to others and gets it back later than this has not had it meanwhile.
const OFFERED: Duration = Duration::from_micros(4);

/// What came of polling.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    /// A session had something to do.
    Found,
    /// Others wanted the processor.
    Contended,
    /// Nothing came in time.
    Nothing,
}

impl Outcome {
    /// Its label in metrics.
    fn name(self) -> &'static str {
        match self {
            Outcome::Found => "found",
            Outcome::Contended => "contended",
            Outcome::Nothing => "nothing",
        }
    }
}

/// One for each session thread; see the module.
#[derive(Debug, Default)]
pub(super) struct Poller {
    /// The thread is about to sleep.
    idle: Notify,
    /// It is to sleep now: polling is over until it has slept.
    over: AtomicBool,
    /// How often a session was run.
    runs: AtomicU64,
}

impl Poller {
    /// The runtime is about to sleep. A task that is woken here runs first.
    pub(super) fn before_sleep(&self) {
        if !self.over.load(Relaxed) {
            self.idle.notify_one();
        }
    }

    /// The runtime has slept.
    pub(super) fn after_sleep(&self) {
        self.over.store(false, Relaxed);
    }

    /// A session is run.
    pub(super) fn count_run(&self) {
        self.runs.fetch_add(1, Relaxed);
    }

    /// A task of the thread's runtime, for as long as that lives.
    pub(super) async fn run(&self) {
        let mut tries = Tries::default();
        loop {
            self.idle.notified().await;
            let mut found = false;
            if tries.is_due() {
                let outcome = self.poll().await;
                found = outcome == Outcome::Found;
                tries.learn(found);
                metrics::POLLS.with_label_values(&[outcome.name()]).inc();
            } else {
                tries.pass();
            }
            self.over.store(!found, Relaxed);
        }
    }

    async fn poll(&self) -> Outcome {
        let (start, runs) = (Instant::now(), self.runs.load(Relaxed));
        let mut now = start;
        while now - start < WINDOW {
            std::thread::yield_now();
            let offered = now;
            now = Instant::now();
            if now - offered > OFFERED {
                return Outcome::Contended;
            }
            // The runtime asks the kernel what has come, and runs sessions that it came for.
            tokio::task::yield_now().await;
            if self.runs.load(Relaxed) != runs {
                return Outcome::Found;
            }
            now = Instant::now();
        }
        Outcome::Nothing
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn polling_ends_by_itself_and_finds_what_runs() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            let poller = Poller::default();
            let start = Instant::now();
            assert_ne!(poller.poll().await, Outcome::Found);
            assert!(start.elapsed() < Duration::from_secs(5));
            // Others may be in the way of one try.
            let found = async {
                for _ in 0..1000 {
                    let run = async { poller.count_run() };
                    if tokio::join!(poller.poll(), run).0 == Outcome::Found {
                        return true;
                    }
                }
                false
            };
            assert!(found.await);
        });
    }
}
