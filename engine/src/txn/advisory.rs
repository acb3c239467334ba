//! Advisory locks: locks on numbers that mean something to the application alone.
//!
//! They are held by a session or by its transaction. Both are one owner in the lock table, so they never stand in each
//! other's way, as in PostgreSQL; how often and by whom each mode is held is counted here.
//!
//! What must hold: a mode is in the lock table exactly while something is counted for it. What a statement had to wait for
//! is kept as a credit, so that the row that asked for it, evaluated again, does not count twice what it already has.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use parking_lot::Mutex;

use super::lock::{Mode, Taken};
use super::{LockKey, LockWait, Owner, TransactionSystem, TxnError};

/// How long an advisory lock is held.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Scope {
    /// Until it is unlocked, as often as it was locked, or the session ends.
    Session,
    /// Until the transaction ends, or is taken back to a savepoint before.
    Transaction,
}

/// A wish for an advisory lock.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Advisory {
    /// The number; two of 32 bits are another space than one of 64.
    pub number: u64,
    /// Given as two.
    pub is_pair: bool,
    /// Shared with others that share.
    pub shared: bool,
    /// How long.
    pub scope: Scope,
}

impl Advisory {
    fn key(&self) -> LockKey {
        LockKey::Advisory(self.is_pair, self.number)
    }

    fn mode(&self) -> Mode {
        Mode::advisory(self.shared)
    }
}

#[derive(Debug, Default)]
struct Counts {
    /// One entry each time that a lock was given, in that order.
    held: Vec<Advisory>,
    /// Given while the row was evaluated that is under way.
    given: Vec<Advisory>,
    /// Given to that row before it had to wait.
    credits: Vec<Advisory>,
}

/// The advisory locks of a session, and what it is in the lock table. What is held ends with it.
pub struct SessionLocks {
    system: Arc<TransactionSystem>,
    owner: Owner,
    counts: Mutex<Counts>,
    /// False until the first lock: who never takes one pays a load.
    used: AtomicBool,
}

impl std::fmt::Debug for SessionLocks {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SessionLocks").field("owner", &self.owner).finish_non_exhaustive()
    }
}

impl SessionLocks {
    pub(super) fn new(system: Arc<TransactionSystem>, owner: Owner) -> SessionLocks {
        SessionLocks { system, owner, counts: Mutex::default(), used: AtomicBool::new(false) }
    }

    pub(super) fn owner(&self) -> Owner {
        self.owner
    }

    /// Takes the lock if nobody is in the way.
    pub fn try_lock(&self, wish: Advisory) -> bool {
        self.used.store(true, Ordering::Relaxed);
        let mut counts = self.counts.lock();
        if let Some(at) = counts.credits.iter().position(|credit| *credit == wish) {
            counts.credits.swap_remove(at);
            counts.given.push(wish);
            return true;
        }
        let is_given = self.system.locks.try_acquire(self.owner, wish.key(), wish.mode());
        if is_given {
            counts.held.push(wish);
            counts.given.push(wish);
        }
        is_given
    }

    /// Waits for a lock that [`SessionLocks::try_lock`] did not get. The row that wants it is to be evaluated again.
    pub async fn wait(&self, wish: Advisory, timeout: Option<Duration>) -> Result<(), TxnError> {
        {
            let mut counts = self.counts.lock();
            let given = std::mem::take(&mut counts.given);
            counts.credits.extend(given);
        }
        let locks = &self.system.locks;
        let got = locks.acquire(self.owner, wish.key(), wish.mode(), LockWait::Block, timeout).await;
        let mut counts = self.counts.lock();
        match got {
            Ok(_) => {
                counts.held.push(wish);
                counts.credits.push(wish);
                Ok(())
            }
            Err(error) => {
                counts.credits.clear();
                Err(error)
            }
        }
    }

    /// A row was evaluated to its end.
    pub fn row_done(&self) {
        if self.used.load(Ordering::Relaxed) {
            let mut counts = self.counts.lock();
            counts.given.clear();
            counts.credits.clear();
        }
    }

    /// Gives a session's lock back; false when there is none.
    pub fn unlock(&self, wish: Advisory) -> bool {
        let mut counts = self.counts.lock();
        let Some(at) = counts.held.iter().rposition(|held| *held == wish) else {
            return false;
        };
        let gone = counts.held.remove(at);
        self.settle(&counts.held, &[gone]);
        true
    }

    /// Gives all of the session's locks back.
    pub fn unlock_all(&self) {
        self.drop_where(|held| held.scope == Scope::Session);
    }

    /// The transaction ends.
    pub(super) fn end_transaction(&self) {
        if self.used.load(Ordering::Relaxed) {
            self.row_done();
            self.drop_where(|held| held.scope == Scope::Transaction);
        }
    }

    /// Where a savepoint is set now: how many of the transaction's locks there are.
    pub(super) fn mark(&self) -> usize {
        match self.used.load(Ordering::Relaxed) {
            true => self.counts.lock().held.iter().filter(|held| held.scope == Scope::Transaction).count(),
            false => 0,
        }
    }

    /// Gives back the transaction's locks since [`SessionLocks::mark`] gave `mark`; the session's stay, as in PostgreSQL.
    pub(super) fn rollback_to(&self, mark: usize) {
        if self.used.load(Ordering::Relaxed) {
            self.row_done();
            let mut seen = 0;
            self.drop_where(|held| {
                seen += usize::from(held.scope == Scope::Transaction);
                held.scope == Scope::Transaction && seen > mark
            });
        }
    }

    fn drop_where(&self, mut gone: impl FnMut(&Advisory) -> bool) {
        let mut counts = self.counts.lock();
        let held = std::mem::take(&mut counts.held);
        let (dropped, kept): (Vec<Advisory>, Vec<Advisory>) = held.into_iter().partition(|held| gone(held));
        counts.held = kept;
        self.settle(&counts.held, &dropped);
    }

    /// Leaves in the lock table, for the locks of `gone`, the modes that are still counted.
    fn settle(&self, held: &[Advisory], gone: &[Advisory]) {
        let left = gone.iter().map(|gone| {
            let same = held.iter().filter(|held| held.key() == gone.key());
            Taken { key: gone.key(), before: same.fold(0, |bits, held| bits | held.mode().bit) }
        });
        self.system.locks.retract(self.owner, &left.collect::<Vec<_>>());
    }
}

impl Drop for SessionLocks {
    fn drop(&mut self) {
        self.drop_where(|_| true);
    }
}
