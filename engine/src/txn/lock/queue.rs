//! One lock: who holds it, who waits for it. Pure: waking is handed back to the caller as a list.

use std::collections::VecDeque;

use tokio::sync::oneshot;

use super::Mode;
use crate::txn::Owner;

#[derive(Debug)]
struct Holder {
    owner: Owner,
    modes: u8,
}

#[derive(Debug)]
struct Waiter {
    owner: Owner,
    mode: Mode,
    wake: oneshot::Sender<()>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Queue {
    holders: Vec<Holder>,
    waiters: VecDeque<Waiter>,
}

/// Whether a newcomer waits behind those whom it would block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turns {
    /// But for those who wait for what it holds already: they could never go first.
    Kept,
    /// Behind all of them, also those: PostgreSQL refuses NOWAIT on a table or an advisory lock as soon as somebody waits.
    KeptByAll,
    /// It shares with who holds the lock, and those who wait, wait longer: what PostgreSQL does with rows. So who inserts what
    /// refers to a row never waits for one who only waits to take it away.
    Passed,
}

/// What [`Queue::acquire`] says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Acquired {
    /// Granted, and what was held before; `None` when that was as much already.
    Granted(Option<u8>),
    /// Somebody is in the way.
    Blocked,
}

impl Queue {
    fn modes_of(&self, owner: Owner) -> u8 {
        self.holders.iter().find(|h| h.owner == owner).map_or(0, |h| h.modes)
    }

    fn holders_conflict(&self, owner: Owner, mode: Mode) -> bool {
        self.holders.iter().any(|h| h.owner != owner && h.modes & mode.conflicts != 0)
    }

    fn grant(&mut self, owner: Owner, mode: Mode) {
        match self.holders.iter_mut().find(|h| h.owner == owner) {
            Some(holder) => holder.modes |= mode.bit,
            None => self.holders.push(Holder { owner, modes: mode.bit }),
        }
    }

    /// Takes the lock if nobody is in the way: holders, and where `turns` are kept those that wait before it, too.
    pub(super) fn acquire(&mut self, owner: Owner, mode: Mode, turns: Turns) -> Acquired {
        let held = self.modes_of(owner);
        if held & mode.implied_by != 0 {
            return Acquired::Granted(None);
        }
        let overtakes = |w: &Waiter| w.owner != owner && w.mode.bit & mode.conflicts != 0;
        let before = match turns {
            Turns::Kept => self.place(held),
            Turns::KeptByAll => self.waiters.len(),
            Turns::Passed => 0,
        };
        let waits_its_turn = self.waiters.iter().take(before).any(overtakes);
        if waits_its_turn || self.holders_conflict(owner, mode) {
            return Acquired::Blocked;
        }
        self.grant(owner, mode);
        Acquired::Granted(Some(held))
    }

    /// Where one who holds these modes waits: at the end, but before the first one that waits for what it holds.
    fn place(&self, held: u8) -> usize {
        self.waiters.iter().position(|w| w.mode.conflicts & held != 0).unwrap_or(self.waiters.len())
    }

    /// Joins the queue.
    pub(super) fn wait(&mut self, owner: Owner, mode: Mode, wake: oneshot::Sender<()>) {
        let at = self.place(self.modes_of(owner));
        self.waiters.insert(at, Waiter { owner, mode, wake });
    }

    /// Who else holds what `mode` conflicts with.
    pub(super) fn holders_against(&self, owner: Owner, mode: Mode) -> Vec<Owner> {
        let conflicting = self.holders.iter().filter(|h| h.owner != owner && h.modes & mode.conflicts != 0);
        conflicting.map(|h| h.owner).collect()
    }

    /// Whom `owner` waits for here.
    pub(super) fn blockers(&self, owner: Owner) -> Vec<Owner> {
        let Some(at) = self.waiters.iter().position(|w| w.owner == owner) else {
            return Vec::new();
        };
        let conflicts = self.waiters[at].mode.conflicts;
        let holders = self.holders.iter().filter(|h| h.modes & conflicts != 0).map(|h| h.owner);
        let ahead = self.waiters.iter().take(at).filter(|w| w.mode.bit & conflicts != 0).map(|w| w.owner);
        holders.chain(ahead).filter(|o| *o != owner).collect()
    }

    /// Takes `owner` out, as holder and as waiter.
    pub(super) fn remove(&mut self, owner: Owner) {
        self.holders.retain(|h| h.owner != owner);
        self.waiters.retain(|w| w.owner != owner);
        self.wake();
    }

    /// `owner` goes back to what it held before it gained more.
    pub(super) fn reduce(&mut self, owner: Owner, before: u8) {
        if let Some(at) = self.holders.iter().position(|h| h.owner == owner) {
            self.holders[at].modes &= before;
            if self.holders[at].modes == 0 {
                self.holders.swap_remove(at);
            }
        }
        self.wake();
    }

    /// `owner` no longer waits for `mode`. When it was granted in the meantime, it is taken back, unless `held` before.
    pub(super) fn give_up(&mut self, owner: Owner, mode: Mode, held: u8) {
        let waiting = self.waiters.len();
        self.waiters.retain(|w| w.owner != owner);
        if waiting == self.waiters.len()
            && let Some(at) = self.holders.iter().position(|h| h.owner == owner)
        {
            self.holders[at].modes = (self.holders[at].modes & !mode.bit) | held;
            if self.holders[at].modes == 0 {
                self.holders.swap_remove(at);
            }
        }
        self.wake();
    }

    /// What `owner` holds here.
    pub(super) fn held(&self, owner: Owner) -> u8 {
        self.modes_of(owner)
    }

    /// Grants what can be granted, in order: nobody passes one that it conflicts with.
    fn wake(&mut self) {
        let mut blocked = 0u8;
        let mut at = 0;
        while at < self.waiters.len() {
            let (owner, mode) = (self.waiters[at].owner, self.waiters[at].mode);
            if blocked & mode.conflicts != 0 || self.holders_conflict(owner, mode) {
                blocked |= mode.bit;
                at += 1;
                continue;
            }
            self.grant(owner, mode);
            if let Some(waiter) = self.waiters.remove(at) {
                // A receiver that is gone gives the lock up by itself (`give_up`).
                let _ = waiter.wake.send(());
            }
        }
    }

    /// True when it can be forgotten.
    pub(super) fn is_empty(&self) -> bool {
        self.holders.is_empty() && self.waiters.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::txn::{RowLock, TableLock};

    const A: Owner = Owner(1);
    const B: Owner = Owner(2);
    const C: Owner = Owner(3);

    fn wait(queue: &mut Queue, owner: Owner, lock: RowLock) -> oneshot::Receiver<()> {
        let (wake, woken) = oneshot::channel();
        assert_eq!(queue.acquire(owner, lock.into(), Turns::Kept), Acquired::Blocked);
        queue.wait(owner, lock.into(), wake);
        woken
    }

    #[test]
    fn waiters_are_served_in_order_and_sharers_together() {
        let mut queue = Queue::default();
        assert_eq!(queue.acquire(A, RowLock::Update.into(), Turns::Kept), Acquired::Granted(Some(0)));
        assert_eq!(queue.acquire(A, RowLock::Share.into(), Turns::Kept), Acquired::Granted(None));
        let mut b = wait(&mut queue, B, RowLock::Share);
        let mut c = wait(&mut queue, C, RowLock::KeyShare);
        assert!(b.try_recv().is_err());
        queue.remove(A);
        assert!(b.try_recv().is_ok() && c.try_recv().is_ok());
        queue.remove(B);
        queue.remove(C);
        assert!(queue.is_empty());
    }

    #[test]
    fn a_newcomer_does_not_overtake_one_that_it_would_block() {
        let mut queue = Queue::default();
        queue.acquire(A, RowLock::Share.into(), Turns::Kept);
        let mut b = wait(&mut queue, B, RowLock::Update);
        let mut c = wait(&mut queue, C, RowLock::Share);
        assert_eq!(queue.blockers(C), vec![B]);
        queue.remove(A);
        assert!(b.try_recv().is_ok() && c.try_recv().is_err());
        queue.remove(B);
        assert!(c.try_recv().is_ok());
    }

    #[test]
    fn where_turns_are_passed_a_newcomer_waits_for_holders_only() {
        let mut queue = Queue::default();
        queue.acquire(A, RowLock::Share.into(), Turns::Passed);
        let mut b = wait(&mut queue, B, RowLock::Update);
        assert_eq!(queue.acquire(C, RowLock::Share.into(), Turns::Kept), Acquired::Blocked);
        assert_eq!(queue.acquire(C, RowLock::Share.into(), Turns::Passed), Acquired::Granted(Some(0)));
        assert_eq!(queue.blockers(B), vec![A, C]);
        queue.remove(A);
        assert!(b.try_recv().is_err());
        queue.remove(C);
        assert!(b.try_recv().is_ok());
    }

    #[test]
    fn giving_up_lets_those_behind_through() {
        let mut queue = Queue::default();
        queue.acquire(A, RowLock::Share.into(), Turns::Kept);
        let _b = wait(&mut queue, B, RowLock::Update);
        let mut c = wait(&mut queue, C, RowLock::Share);
        queue.give_up(B, RowLock::Update.into(), 0);
        assert!(c.try_recv().is_ok());
        assert_eq!(queue.held(B), 0);
    }

    #[test]
    fn an_upgrade_waits_for_the_other_holder_only() {
        let mut queue = Queue::default();
        queue.acquire(A, RowLock::KeyShare.into(), Turns::Kept);
        queue.acquire(B, RowLock::KeyShare.into(), Turns::Kept);
        let _c = wait(&mut queue, C, RowLock::Update);
        let mut a = wait(&mut queue, A, RowLock::Update);
        assert_eq!(queue.blockers(A), vec![B]);
        queue.remove(B);
        assert!(a.try_recv().is_ok());
    }

    #[test]
    fn a_holder_passes_only_those_who_wait_for_what_it_holds() {
        let table = |lock: TableLock| Mode::from(lock);
        let mut queue = Queue::default();
        for (owner, lock) in [(A, TableLock::AccessShare), (B, TableLock::RowExclusive)] {
            assert_eq!(queue.acquire(owner, table(lock), Turns::Kept), Acquired::Granted(Some(0)));
        }
        let (wake, mut c) = oneshot::channel();
        queue.wait(C, table(TableLock::Share), wake);
        // C does not wait for A, but for B.
        assert_eq!(queue.acquire(A, table(TableLock::RowExclusive), Turns::Kept), Acquired::Blocked);
        let mode = table(TableLock::ShareRowExclusive);
        assert_eq!(queue.acquire(B, mode, Turns::KeptByAll), Acquired::Blocked);
        let got = queue.acquire(B, mode, Turns::Kept);
        assert!(matches!(got, Acquired::Granted(Some(_))), "{got:?}");
        queue.remove(B);
        assert!(c.try_recv().is_ok());
    }

    #[test]
    fn going_back_to_a_weaker_mode_lets_others_through() {
        let mut queue = Queue::default();
        queue.acquire(A, RowLock::KeyShare.into(), Turns::Kept);
        let before = Mode::from(RowLock::KeyShare).bit;
        assert_eq!(queue.acquire(A, RowLock::Update.into(), Turns::Kept), Acquired::Granted(Some(before)));
        let mut b = wait(&mut queue, B, RowLock::Share);
        queue.reduce(A, before);
        assert!(b.try_recv().is_ok());
        assert_eq!(queue.held(A), before);
        queue.reduce(A, 0);
        assert_eq!(queue.held(A), 0);
    }
}
