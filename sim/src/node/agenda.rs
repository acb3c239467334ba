//! What a process waits for outside itself: timers and operations of its disk, each an event of the world's schedule.
//! With the executor this is the simulated [`Host`].

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use sextant_segment_store::disk::LocalFuture;
use sextant_segment_store::host::Host;
use tokio::sync::oneshot;

use crate::executor::Executor;
use crate::schedule::Time;

/// An event that the world is to bring back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Due {
    pub(crate) number: u64,
    pub(crate) after: Time,
    /// A slow disk takes longer; a timer does not.
    pub(crate) by_disk: bool,
}

/// Events wanted since the world last asked. Numbers are not used again, over all lives of the node.
#[derive(Default)]
pub(crate) struct Agenda {
    next: Cell<u64>,
    wanted: RefCell<Vec<Due>>,
}

impl Agenda {
    fn want(&self, after: Time, by_disk: bool) -> u64 {
        let number = self.next.get();
        self.next.set(number + 1);
        self.wanted.borrow_mut().push(Due { number, after, by_disk });
        number
    }

    /// An operation of the disk that takes so long; its number.
    pub(crate) fn disk_event(&self, after: Time) -> u64 {
        self.want(after, true)
    }

    /// What is new.
    pub(crate) fn take(&self) -> Vec<Due> {
        self.wanted.take()
    }
}

/// The machine under one node.
pub(crate) struct SimHost {
    pub(crate) executor: Executor,
    agenda: Rc<Agenda>,
    timers: RefCell<BTreeMap<u64, oneshot::Sender<()>>>,
    now: Cell<Time>,
}

impl SimHost {
    pub(crate) fn new(agenda: Rc<Agenda>) -> SimHost {
        SimHost { executor: Executor::default(), agenda, timers: RefCell::default(), now: Cell::new(0) }
    }

    pub(crate) fn set_now(&self, now: Time) {
        self.now.set(now);
    }

    /// A timer's event has come; false when it is none of this host's.
    pub(crate) fn fire(&self, number: u64) -> bool {
        let Some(timer) = self.timers.borrow_mut().remove(&number) else { return false };
        // Whoever waited may have stopped waiting.
        let _ = timer.send(());
        true
    }

    /// Ends the process.
    pub(crate) fn kill(&self) {
        self.executor.kill();
        self.timers.borrow_mut().clear();
    }
}

impl Host for SimHost {
    fn now(&self) -> Duration {
        Duration::from_micros(self.now.get())
    }

    fn sleep(&self, time: Duration) -> LocalFuture<'static, ()> {
        let (tell, done) = oneshot::channel();
        let number = self.agenda.want(time.as_micros() as Time, false);
        self.timers.borrow_mut().insert(number, tell);
        Box::pin(async move {
            let _ = done.await;
        })
    }

    fn spawn(&self, task: LocalFuture<'static, ()>) {
        self.executor.spawn(task);
    }
}
