//! Waiting for a safe snapshot.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use sextant_redo::Lsn;

use super::core::{Deferred, Safety};
use super::tracked::Serializable;

/// A snapshot that is being judged, until dropped.
struct Judging {
    all: Arc<Serializable>,
    id: Deferred,
}

impl Drop for Judging {
    fn drop(&mut self) {
        self.all.core.lock().judge_no_more(self.id);
    }
}

/// Counts as waiting until dropped.
struct Waiting<'a>(&'a Serializable);

impl<'a> Waiting<'a> {
    fn new(all: &'a Serializable) -> Waiting<'a> {
        all.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(all)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Serializable {
    /// The snapshot that `take` gives, once it is known to be safe. The error: it is not, and the next one is taken when
    /// this LSN is durable.
    pub(crate) async fn judge<P>(self: &Arc<Self>, take: impl FnOnce() -> (Lsn, P)) -> Result<P, Lsn> {
        let (judging, pin) = {
            let mut core = self.core.lock();
            let (snapshot, pin) = take();
            (Judging { all: self.clone(), id: core.defer(snapshot) }, pin)
        };
        loop {
            // Made before the look, so that an end right behind it is not missed.
            let ended = self.ended.notified();
            let safety = self.core.lock().safety(judging.id);
            match safety {
                Safety::Safe => return Ok(pin),
                Safety::Unsafe { until } => return Err(until),
                Safety::Open => {
                    let _waiting = Waiting::new(self);
                    ended.await;
                }
            }
        }
    }

    /// How many wait for a safe snapshot now.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }
}
