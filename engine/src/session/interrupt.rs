//! How a statement that runs is stopped from outside: a CancelRequest, the engine's end, the loss of the volume.
//!
//! A request for cancellation that arrives while nothing runs is forgotten, as PostgreSQL does: the next statement
//! clears it. An end is never forgotten. Stopping drops the statement's future where it waits; a commit whose record is
//! already in the log is not stopped by a cancellation (its outcome is the log's to say).

use std::sync::atomic::{AtomicU8, Ordering};

use tokio::sync::Notify;

use super::codes;
use crate::types::{SqlError, sqlstate};

const CANCEL: u8 = 1;
const DRAIN: u8 = 2;
const STOP: u8 = 4;
const LOST: u8 = 8;

/// Why a session must end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// The engine stops. While a statement runs it may finish.
    Drain,
    /// The engine stops now.
    Stop,
    /// The volume is lost to this engine: nothing can be committed any more.
    Lost,
}

impl End {
    /// What the client is told.
    #[must_use]
    pub fn error(self) -> SqlError {
        match self {
            End::Drain | End::Stop => {
                SqlError::new(codes::ADMIN_SHUTDOWN, "terminating connection due to administrator command")
            }
            End::Lost => SqlError::new(
                codes::ADMIN_SHUTDOWN,
                "terminating connection because this engine no longer owns its volume",
            )
            .hint("Commits that were acknowledged are safe. Reconnect to the current writer."),
        }
    }
}

/// See the module. Shared between a session and whoever may stop it.
#[derive(Debug, Default)]
pub struct Interrupt {
    state: AtomicU8,
    notify: Notify,
}

impl Interrupt {
    fn raise(&self, flag: u8) {
        self.state.fetch_or(flag, Ordering::Release);
        self.notify.notify_waiters();
    }

    /// Cancels what runs now.
    pub fn cancel(&self) {
        self.raise(CANCEL);
    }

    /// Ends the session.
    pub fn end(&self, end: End) {
        self.raise(match end {
            End::Drain => DRAIN,
            End::Stop => STOP,
            End::Lost => LOST,
        });
    }

    /// Something new is about to run: forgets an old cancellation.
    pub fn clear_cancel(&self) {
        // A load is cheaper than a write, and there is next to never something to clear.
        if self.state.load(Ordering::Relaxed) & CANCEL != 0 {
            self.state.fetch_and(!CANCEL, Ordering::AcqRel);
        }
    }

    /// Why the session must end, if it must; asked while nothing runs.
    #[must_use]
    pub fn ended(&self) -> Option<End> {
        let state = self.state.load(Ordering::Acquire);
        [(LOST, End::Lost), (STOP, End::Stop), (DRAIN, End::Drain)]
            .into_iter()
            .find(|(flag, _)| state & flag != 0)
            .map(|(_, end)| end)
    }

    /// Why a running statement must stop, if it must.
    #[must_use]
    pub fn stopped(&self) -> Option<SqlError> {
        match self.state.load(Ordering::Acquire) {
            0 | DRAIN => None,
            state if state & LOST != 0 => Some(End::Lost.error()),
            state if state & STOP != 0 => Some(End::Stop.error()),
            _ => Some(SqlError::new(sqlstate::QUERY_CANCELED, "canceling statement due to user request")),
        }
    }

    async fn until<T>(&self, mut found: impl FnMut() -> Option<T>) -> T {
        loop {
            let notified = self.notify.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if let Some(value) = found() {
                return value;
            }
            notified.await;
        }
    }

    /// Resolves when a running statement must stop.
    pub async fn wait_stopped(&self) -> SqlError {
        self.until(|| self.stopped()).await
    }

    /// Resolves when an idle session must end.
    pub async fn wait_ended(&self) -> End {
        self.until(|| self.ended()).await
    }

    /// Resolves when the volume is lost or the engine will wait no longer: what a commit's wait listens to.
    pub async fn wait_forced(&self) -> End {
        self.until(|| self.ended().filter(|end| *end != End::Drain)).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cancellation_is_forgotten_and_an_end_is_not() {
        let interrupt = Interrupt::default();
        interrupt.cancel();
        assert_eq!(interrupt.stopped().unwrap().sqlstate, "57014");
        interrupt.clear_cancel();
        assert!(interrupt.stopped().is_none());
        interrupt.end(End::Drain);
        assert!(interrupt.stopped().is_none(), "what runs may finish");
        assert_eq!(interrupt.ended(), Some(End::Drain));
        interrupt.end(End::Lost);
        interrupt.clear_cancel();
        assert_eq!(interrupt.stopped().unwrap().sqlstate, "57P01");
    }
}
