//! Runs the tasks of one process: those that are awake in the order in which they woke, each until it waits, all on the
//! caller's thread. What a task waits for is an event of the schedule or another task, so a seed means one order.

use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Wake, Waker};

use sextant_segment_store::disk::LocalFuture;

type Task = LocalFuture<'static, ()>;

/// Tasks that are awake. Wakers must be able to cross threads, though these never do.
#[derive(Default)]
struct Awake(Mutex<VecDeque<u64>>);

impl Awake {
    fn push(&self, task: u64) {
        let mut queue = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if !queue.contains(&task) {
            queue.push_back(task);
        }
    }

    fn pop(&self) -> Option<u64> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
    }
}

struct TaskWaker {
    task: u64,
    awake: Arc<Awake>,
}

impl Wake for TaskWaker {
    fn wake(self: Arc<Self>) {
        self.awake.push(self.task);
    }
}

/// See the module.
#[derive(Default)]
pub(crate) struct Executor {
    tasks: RefCell<BTreeMap<u64, (Task, Waker)>>,
    next: Cell<u64>,
    awake: Arc<Awake>,
}

impl Executor {
    /// Adds a task, which runs with the next [`Executor::run`].
    pub(crate) fn spawn(&self, task: Task) {
        let number = self.next.get();
        self.next.set(number + 1);
        let waker = Waker::from(Arc::new(TaskWaker { task: number, awake: self.awake.clone() }));
        self.tasks.borrow_mut().insert(number, (task, waker));
        self.awake.push(number);
    }

    /// Runs until every task waits.
    pub(crate) fn run(&self) {
        while let Some(number) = self.awake.pop() {
            // Taken out while it runs: it may spawn others.
            let Some((mut task, waker)) = self.tasks.borrow_mut().remove(&number) else { continue };
            if task.as_mut().poll(&mut Context::from_waker(&waker)).is_pending() {
                self.tasks.borrow_mut().insert(number, (task, waker));
            }
        }
    }

    /// Ends the process: every task stops where it waits.
    pub(crate) fn kill(&self) {
        drop(self.tasks.take());
        while self.awake.pop().is_some() {}
    }
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    #[test]
    fn tasks_run_in_the_order_in_which_they_woke_and_die_together() {
        let (executor, seen) = (Rc::new(Executor::default()), Rc::new(RefCell::new(Vec::new())));
        let gate = Rc::new(tokio::sync::Notify::new());
        for n in 0..3 {
            let (seen, gate) = (seen.clone(), gate.clone());
            executor.spawn(Box::pin(async move {
                seen.borrow_mut().push(n);
                gate.notified().await;
                seen.borrow_mut().push(10 + n);
            }));
        }
        executor.run();
        gate.notify_one();
        executor.run();
        assert_eq!(*seen.borrow(), [0, 1, 2, 10]);
        executor.kill();
        assert_eq!(Rc::strong_count(&seen), 1);
        gate.notify_one();
        executor.run();
        assert_eq!(*seen.borrow(), [0, 1, 2, 10]);
    }
}
