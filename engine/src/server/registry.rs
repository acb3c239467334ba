//! Who is connected: what a CancelRequest looks up, what a stop of the engine tells, and the limit on connections.

use std::collections::BTreeMap;
use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::sync::Arc;

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::metrics;
use crate::session::{End, Interrupt};

struct Entry {
    secret: i32,
    interrupt: Arc<Interrupt>,
}

#[derive(Default)]
struct Inner {
    sessions: BTreeMap<i32, Entry>,
    last: i32,
    /// Set once: whoever connects now is told at once.
    end: Option<End>,
}

/// See the module.
pub(super) struct Registry {
    inner: Mutex<Inner>,
    secrets: RandomState,
    limit: usize,
    emptied: Notify,
}

/// A place in the registry, given back when dropped.
pub(super) struct Ticket {
    registry: Arc<Registry>,
    /// The number that BackendKeyData calls the process.
    pub(super) process: i32,
    /// What a CancelRequest must know.
    pub(super) secret: i32,
    /// How this session is stopped.
    pub(super) interrupt: Arc<Interrupt>,
}

impl Registry {
    pub(super) fn new(limit: usize) -> Arc<Registry> {
        Arc::new(Registry {
            inner: Mutex::default(),
            secrets: RandomState::new(),
            limit,
            emptied: Notify::new(),
        })
    }

    /// A place for one more session; `None` when there are as many as allowed.
    pub(super) fn admit(self: &Arc<Registry>) -> Option<Ticket> {
        let mut inner = self.inner.lock();
        if inner.sessions.len() >= self.limit {
            return None;
        }
        let process = inner.free_number();
        // The hash is keyed by the operating system's randomness (SipHash), which nobody outside can compute.
        let secret = self.secrets.hash_one(process) as i32;
        let interrupt = Arc::new(Interrupt::default());
        if let Some(end) = inner.end {
            interrupt.end(end);
        }
        let entry = Entry { secret, interrupt: Arc::clone(&interrupt) };
        inner.sessions.insert(process, entry);
        metrics::CONNECTIONS.set(inner.sessions.len() as i64);
        Some(Ticket { registry: Arc::clone(self), process, secret, interrupt })
    }

    /// Cancels what `process` runs, if the secret is its own.
    pub(super) fn cancel(&self, process: i32, secret: i32) -> bool {
        match self.inner.lock().sessions.get(&process) {
            Some(entry) if entry.secret == secret => {
                entry.interrupt.cancel();
                true
            }
            _ => false,
        }
    }

    /// Ends every session, and all that come.
    pub(super) fn end(&self, end: End) {
        let mut inner = self.inner.lock();
        inner.end = Some(end);
        for entry in inner.sessions.values() {
            entry.interrupt.end(end);
        }
    }

    /// Sessions now.
    pub(super) fn len(&self) -> usize {
        self.inner.lock().sessions.len()
    }

    /// Resolves when nobody is connected.
    pub(super) async fn emptied(&self) {
        loop {
            let notified = self.emptied.notified();
            tokio::pin!(notified);
            notified.as_mut().enable();
            if self.len() == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Inner {
    fn free_number(&mut self) -> i32 {
        loop {
            self.last = if self.last == i32::MAX { 1 } else { self.last + 1 };
            if !self.sessions.contains_key(&self.last) {
                return self.last;
            }
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        let mut inner = self.registry.inner.lock();
        inner.sessions.remove(&self.process);
        metrics::CONNECTIONS.set(inner.sessions.len() as i64);
        if inner.sessions.is_empty() {
            self.registry.emptied.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_limit_holds_and_places_come_back() {
        let registry = Registry::new(2);
        let one = registry.admit().unwrap();
        let two = registry.admit().unwrap();
        assert!(registry.admit().is_none());
        assert_ne!(one.process, two.process);
        drop(one);
        assert!(registry.admit().is_some());
    }

    #[test]
    fn only_the_right_secret_cancels() {
        let registry = Registry::new(1);
        let ticket = registry.admit().unwrap();
        assert!(!registry.cancel(ticket.process, ticket.secret ^ 1));
        assert!(ticket.interrupt.stopped().is_none());
        assert!(registry.cancel(ticket.process, ticket.secret));
        assert!(ticket.interrupt.stopped().is_some());
    }
}
