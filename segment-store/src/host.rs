//! The machine under a node, behind a seam: time that passes, tasks that run. With [`crate::disk::Disk`] this is all that
//! a node's tasks ask for, so a simulator can run the very same tasks in virtual time.
//!
//! What must hold: between the seams nothing depends on a clock, a thread or chance. What a task waits for is either a
//! future of one of the two seams, or something that another task of the same node does (`tokio::sync`, which needs no
//! runtime).

use std::future::Future;
use std::pin::pin;
use std::task::Poll;
use std::time::{Duration, Instant};

use crate::disk::LocalFuture;

/// The seam.
pub trait Host {
    /// Time since some moment in the past, always the same one for a host; never goes back.
    fn now(&self) -> Duration;

    /// Resolves when `time` has passed.
    fn sleep(&self, time: Duration) -> LocalFuture<'static, ()>;

    /// Runs a task to its end beside the others, on the same thread. It does not run before the caller waits.
    fn spawn(&self, task: LocalFuture<'static, ()>);
}

/// The real one: tokio's clock and the `LocalSet` that the caller runs in.
#[derive(Debug)]
pub struct TokioHost {
    started: Instant,
}

impl TokioHost {
    /// A host whose time starts now.
    #[must_use]
    pub fn new() -> TokioHost {
        TokioHost { started: Instant::now() }
    }
}

impl Default for TokioHost {
    fn default() -> Self {
        TokioHost::new()
    }
}

impl Host for TokioHost {
    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    fn sleep(&self, time: Duration) -> LocalFuture<'static, ()> {
        Box::pin(tokio::time::sleep(time))
    }

    fn spawn(&self, task: LocalFuture<'static, ()>) {
        tokio::task::spawn_local(task);
    }
}

/// Waits for `future`, at most for `time`; `None` when that was too short.
pub async fn timeout<F: Future>(host: &dyn Host, time: Duration, future: F) -> Option<F::Output> {
    let (mut future, mut late) = (pin!(future), host.sleep(time));
    std::future::poll_fn(|context| match future.as_mut().poll(context) {
        Poll::Ready(value) => Poll::Ready(Some(value)),
        Poll::Pending => late.as_mut().poll(context).map(|()| None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::block_on;

    #[test]
    fn a_timeout_gives_what_came_in_time() {
        block_on(async {
            let host = TokioHost::new();
            let started = host.now();
            assert_eq!(timeout(&host, Duration::from_secs(60), std::future::ready(7)).await, Some(7));
            assert_eq!(timeout(&host, Duration::from_millis(5), std::future::pending::<u8>()).await, None);
            assert!(host.now() >= started + Duration::from_millis(5));
        });
    }
}
