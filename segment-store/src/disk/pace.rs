//! How fast a file is made that nobody needs yet: in step with something else, so that the device is never busy with its zeros
//! alone.

use std::io;
use std::sync::Arc;

use parking_lot::{Condvar, Mutex};

/// Shared by a thread that makes a file and by whoever will need it. The file is given up when the last [`Pacer`] is gone.
#[derive(Debug, Default)]
pub struct Pace {
    state: Mutex<State>,
    moved: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// So many bytes should be there by now.
    due: u64,
    /// Whoever makes the file waits, and has made so many.
    waits_at: Option<u64>,
    given_up: bool,
}

/// The side that says how much is due.
#[derive(Debug, Default)]
pub struct Pacer(Arc<Pace>);

impl Pacer {
    /// The other side.
    #[must_use]
    pub fn pace(&self) -> Arc<Pace> {
        Arc::clone(&self.0)
    }

    /// So many bytes should be there by now; what was due stays due. Said with every group of the log, of which many are
    /// due before there is anything to do: nobody is woken for those.
    pub fn due(&self, bytes: u64) {
        let mut state = self.0.state.lock();
        state.due = state.due.max(bytes);
        if state.waits_at.is_some_and(|made| made < state.due) {
            self.0.moved.notify_one();
        }
    }
}

impl Drop for Pacer {
    fn drop(&mut self) {
        self.0.state.lock().given_up = true;
        self.0.moved.notify_one();
    }
}

impl Pace {
    /// Blocks until the bytes behind `made` are due. An error when the file is no longer wanted.
    pub(super) fn wait(&self, made: u64) -> io::Result<()> {
        let mut state = self.state.lock();
        while state.due <= made {
            if state.given_up {
                return Err(io::Error::new(io::ErrorKind::Interrupted, "nobody wants the file any more"));
            }
            state.waits_at = Some(made);
            self.moved.wait(&mut state);
            state.waits_at = None;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_makes_a_file_stays_behind_what_is_due_and_ends_with_who_wants_it() {
        let pacer = Pacer::default();
        let pace = pacer.pace();
        pacer.due(20);
        let maker = std::thread::spawn(move || {
            let mut made = 0;
            while pace.wait(made).is_ok() {
                made += 10;
            }
            made
        });
        // One that asks for nothing new between those that do.
        (20..=30).for_each(|bytes| pacer.due(bytes));
        pacer.due(25);
        drop(pacer);
        assert_eq!(maker.join().expect("no panic"), 30);
    }
}
