//! When freed space may really be used again: not before every read that began earlier has ended.
//!
//! A reader takes a pin before it looks places up and drops it behind its last read. Freed places wait behind the pins
//! that were out when they were freed.

use std::cell::RefCell;
use std::collections::VecDeque;
use std::rc::Rc;

/// Held while places that were looked up are read.
#[derive(Debug, Clone)]
pub(crate) struct Pin(#[expect(dead_code, reason = "its count is what matters")] Rc<()>);

/// See the module.
#[derive(Debug)]
pub(crate) struct Pins<T> {
    current: RefCell<Rc<()>>,
    waiting: RefCell<VecDeque<(Rc<()>, T)>>,
}

impl<T> Pins<T> {
    pub(crate) fn new() -> Pins<T> {
        Pins { current: RefCell::new(Rc::new(())), waiting: RefCell::default() }
    }

    /// Keeps what can be looked up now from being used again.
    pub(crate) fn pin(&self) -> Pin {
        Pin(self.current.borrow().clone())
    }

    /// Nothing can look `freed` up from now on.
    pub(crate) fn retire(&self, freed: T) {
        let before = self.current.replace(Rc::new(()));
        self.waiting.borrow_mut().push_back((before, freed));
    }

    /// What may be used again now. Readers of an older generation may still hold what a younger one freed, so places
    /// come back in the order in which they were freed.
    pub(crate) fn collect(&self) -> Vec<T> {
        let mut waiting = self.waiting.borrow_mut();
        let mut free = Vec::new();
        while let Some((pins, freed)) = waiting.pop_front() {
            if Rc::strong_count(&pins) > 1 {
                waiting.push_front((pins, freed));
                break;
            }
            free.push(freed);
        }
        free
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_come_back_when_older_readers_are_gone() {
        let pins = Pins::new();
        let first = pins.pin();
        pins.retire(1);
        let second = pins.pin();
        pins.retire(2);
        drop(second);
        assert!(pins.collect().is_empty(), "the first reader may hold what was freed second");
        drop(first);
        let third = pins.pin();
        assert_eq!(pins.collect(), [1, 2]);
        drop(third);
    }
}
