//! The lock table: shards of queues, the graph of who waits for whom, and the wait itself.
//!
//! Deadlocks are found when a wait begins: under the graph's mutex the waiter is entered and the graph searched from
//! it, so of several waits that close a cycle together exactly the last one entered sees it whole. Edges are read from
//! the queues as they are at that moment. Order of mutexes: graph, then one shard.

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasher, RandomState};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::oneshot;

use super::queue::{Acquired, Queue, Turns};
use super::{LockKey, LockWait, Mode};
use crate::txn::metrics::METRICS;
use crate::txn::{Owner, TxId, TxnError};

const SHARDS: usize = 64;

/// A mode that an owner gained on a lock.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Taken {
    /// The lock.
    pub(crate) key: LockKey,
    /// The modes that it held there before.
    pub(crate) before: u8,
}

/// What an owner waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum WaitsFor {
    /// A lock.
    Lock(LockKey),
    /// The end of another's transaction, or subtransaction, that has this id.
    End(Owner, TxId),
    /// That another lets go of a lock, which is not taken then.
    Release(Owner, LockKey, Mode),
}

/// See the module.
pub(crate) struct LockManager {
    shards: Vec<Mutex<HashMap<LockKey, Queue>>>,
    hasher: RandomState,
    graph: Mutex<HashMap<Owner, WaitsFor>>,
}

/// Takes a waiter out of graph and queue however its wait ends, a dropped future included.
struct Waiting<'a> {
    manager: &'a LockManager,
    owner: Owner,
    lock: Option<(LockKey, Mode, u8)>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.manager.graph.lock().remove(&self.owner);
        if let Some((key, mode, held)) = self.lock {
            self.manager.with_queue(key, |queue| queue.give_up(self.owner, mode, held));
        }
    }
}

fn turns(key: LockKey, wait: LockWait) -> Turns {
    match (key, wait) {
        (LockKey::Row(..), _) => Turns::Passed,
        (_, LockWait::Block) => Turns::Kept,
        (_, LockWait::NoWait) => Turns::KeptByAll,
    }
}

impl LockManager {
    pub(crate) fn new() -> LockManager {
        LockManager {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            hasher: RandomState::new(),
            graph: Mutex::default(),
        }
    }

    fn shard(&self, key: LockKey) -> &Mutex<HashMap<LockKey, Queue>> {
        &self.shards[(self.hasher.hash_one(key) % SHARDS as u64) as usize]
    }

    fn with_queue<R>(&self, key: LockKey, f: impl FnOnce(&mut Queue) -> R) -> R {
        let mut shard = self.shard(key).lock();
        let queue = shard.entry(key).or_default();
        let result = f(queue);
        if queue.is_empty() {
            shard.remove(&key);
        }
        result
    }

    /// Takes the lock, waiting if need be. The modes held before; `None` when nothing was gained.
    pub(crate) async fn acquire(
        &self,
        owner: Owner,
        key: LockKey,
        mode: Mode,
        wait: LockWait,
        timeout: Option<Duration>,
    ) -> Result<Option<u8>, TxnError> {
        let attempt = self.with_queue(key, |queue| match queue.acquire(owner, mode, turns(key, wait)) {
            Acquired::Granted(before) => Ok(before),
            Acquired::Blocked => Err((wait == LockWait::Block).then(|| {
                let (wake, woken) = oneshot::channel();
                queue.wait(owner, mode, wake);
                (woken, queue.held(owner))
            })),
        });
        let (woken, held) = match attempt {
            Ok(before) => return Ok(before),
            Err(None) => return Err(TxnError::LockNotAvailable),
            Err(Some(queued)) => queued,
        };
        let mut waiting = Waiting { manager: self, owner, lock: Some((key, mode, held)) };
        self.enter(owner, WaitsFor::Lock(key))?;
        // The sender lives in the queue until the lock is granted or given up by us.
        within(timeout, woken).await?.map_err(|_| TxnError::LockNotAvailable)?;
        waiting.lock = None;
        Ok(Some(held))
    }

    /// Takes the lock if nobody is in the way; true when it is held now.
    pub(crate) fn try_acquire(&self, owner: Owner, key: LockKey, mode: Mode) -> bool {
        self.with_queue(key, |queue| {
            queue.acquire(owner, mode, turns(key, LockWait::NoWait)) != Acquired::Blocked
        })
    }

    /// Waits for another's end, which `ended` tells, with the same care for deadlocks.
    pub(crate) async fn wait_for_end(
        &self,
        owner: Owner,
        (other, id): (Owner, TxId),
        ended: impl Future<Output = ()>,
        timeout: Option<Duration>,
    ) -> Result<(), TxnError> {
        let _waiting = Waiting { manager: self, owner, lock: None };
        self.enter(owner, WaitsFor::End(other, id))?;
        within(timeout, ended).await
    }

    fn holders_against(&self, owner: Owner, key: LockKey, mode: Mode) -> Vec<Owner> {
        self.shard(key).lock().get(&key).map(|queue| queue.holders_against(owner, mode)).unwrap_or_default()
    }

    /// Waits until everybody who holds now what `mode` conflicts with has let go of it, and keeps nobody from taking the
    /// lock meanwhile. It is looked for now and then: this is for work that takes long anyway.
    pub(crate) async fn wait_for_holders(
        &self,
        owner: Owner,
        key: LockKey,
        mode: Mode,
        timeout: Option<Duration>,
    ) -> Result<(), TxnError> {
        for other in self.holders_against(owner, key, mode) {
            let _waiting = Waiting { manager: self, owner, lock: None };
            self.enter(owner, WaitsFor::Release(other, key, mode))?;
            let released = async {
                while self.holders_against(owner, key, mode).contains(&other) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            };
            within(timeout, released).await?;
        }
        Ok(())
    }

    /// Enters a wait into the graph unless it closes a cycle: nobody else ever sees the edge of one that is refused, and finds
    /// a cycle through it too.
    fn enter(&self, owner: Owner, what: WaitsFor) -> Result<(), TxnError> {
        METRICS.lock_waits.inc();
        let mut graph = self.graph.lock();
        graph.insert(owner, what);
        let mut seen = BTreeSet::new();
        let mut todo = self.blockers(owner, what);
        while let Some(next) = todo.pop() {
            if next == owner {
                graph.remove(&owner);
                METRICS.deadlocks.inc();
                return Err(TxnError::Deadlock);
            }
            if seen.insert(next)
                && let Some(what) = graph.get(&next)
            {
                todo.extend(self.blockers(next, *what));
            }
        }
        Ok(())
    }

    fn blockers(&self, owner: Owner, what: WaitsFor) -> Vec<Owner> {
        match what {
            WaitsFor::End(other, _) | WaitsFor::Release(other, ..) => vec![other],
            WaitsFor::Lock(key) => {
                self.shard(key).lock().get(&key).map(|queue| queue.blockers(owner)).unwrap_or_default()
            }
        }
    }

    /// How many wait for something that is not over; who was woken and has not run yet does not count.
    pub(crate) fn waiting(&self, runs: impl Fn(TxId) -> bool) -> usize {
        let graph = self.graph.lock();
        let waits = |(owner, what): &(&Owner, &WaitsFor)| match what {
            WaitsFor::End(_, id) => runs(*id),
            WaitsFor::Lock(_) => !self.blockers(**owner, **what).is_empty(),
            WaitsFor::Release(other, key, mode) => self.holders_against(**owner, *key, *mode).contains(other),
        };
        graph.iter().filter(waits).count()
    }

    /// Gives back every mode that `owner` holds on these keys.
    pub(crate) fn release(&self, owner: Owner, keys: impl IntoIterator<Item = LockKey>) {
        for key in keys {
            self.with_held(key, |queue| queue.remove(owner));
        }
    }

    /// Takes back what `owner` gained, the last first.
    pub(crate) fn retract(&self, owner: Owner, taken: &[Taken]) {
        for Taken { key, before } in taken.iter().rev() {
            self.with_held(*key, |queue| queue.reduce(owner, *before));
        }
    }

    /// On the lock's queue, if it has one.
    fn with_held(&self, key: LockKey, f: impl FnOnce(&mut Queue)) {
        let mut shard = self.shard(key).lock();
        if let Some(queue) = shard.get_mut(&key) {
            f(queue);
            if queue.is_empty() {
                shard.remove(&key);
            }
        }
    }
}

async fn within<T>(timeout: Option<Duration>, what: impl Future<Output = T>) -> Result<T, TxnError> {
    match timeout {
        None => Ok(what.await),
        Some(limit) => tokio::time::timeout(limit, what).await.map_err(|_| TxnError::LockTimeout),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::txn::RowLock;

    const X: LockKey = LockKey::Row(1, 1);
    const Y: LockKey = LockKey::Row(1, 2);

    async fn take(manager: &LockManager, owner: u64, key: LockKey, lock: RowLock) -> Result<bool, TxnError> {
        let taken = manager.acquire(Owner(owner), key, lock.into(), LockWait::Block, None).await?;
        Ok(taken == Some(0))
    }

    async fn until_waiting(manager: &LockManager, owner: u64) {
        while !manager.graph.lock().contains_key(&Owner(owner)) {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test]
    async fn who_closes_the_cycle_is_the_victim_and_the_other_goes_on() {
        let manager = Arc::new(LockManager::new());
        take(&manager, 1, X, RowLock::Update).await.unwrap();
        take(&manager, 2, Y, RowLock::Update).await.unwrap();
        let first = {
            let manager = manager.clone();
            tokio::spawn(async move { take(&manager, 1, Y, RowLock::Update).await })
        };
        until_waiting(&manager, 1).await;
        let second = take(&manager, 2, X, RowLock::Update).await;
        assert!(matches!(second, Err(TxnError::Deadlock)));
        manager.release(Owner(2), [Y]);
        assert!(first.await.unwrap().unwrap());
        assert!(manager.graph.lock().is_empty());
    }

    #[tokio::test]
    async fn waiting_for_an_end_counts_in_a_cycle() {
        let manager = Arc::new(LockManager::new());
        take(&manager, 1, X, RowLock::Update).await.unwrap();
        let waits = {
            let manager = manager.clone();
            tokio::spawn(async move {
                let never = std::future::pending();
                manager.wait_for_end(Owner(1), (Owner(2), TxId(7)), never, None).await
            })
        };
        until_waiting(&manager, 1).await;
        let closes = take(&manager, 2, X, RowLock::Share).await;
        assert!(matches!(closes, Err(TxnError::Deadlock)));
        waits.abort();
    }

    #[tokio::test]
    async fn a_timeout_and_a_dropped_wait_leave_nothing_behind() {
        let manager = Arc::new(LockManager::new());
        take(&manager, 1, X, RowLock::Update).await.unwrap();
        let limit = Some(Duration::from_millis(10));
        let late = manager.acquire(Owner(2), X, RowLock::Share.into(), LockWait::Block, limit).await;
        assert!(matches!(late, Err(TxnError::LockTimeout)));
        let dropped = {
            let manager = manager.clone();
            tokio::spawn(async move { take(&manager, 3, X, RowLock::Share).await })
        };
        until_waiting(&manager, 3).await;
        dropped.abort();
        assert!(dropped.await.unwrap_err().is_cancelled());
        manager.release(Owner(1), [X]);
        assert!(manager.graph.lock().is_empty());
        assert!(manager.shards.iter().all(|s| s.lock().is_empty()));
        let busy = manager.acquire(Owner(4), X, RowLock::Update.into(), LockWait::NoWait, None);
        assert_eq!(busy.await.unwrap(), Some(0));
    }
}
