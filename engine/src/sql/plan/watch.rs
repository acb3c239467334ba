//! What EXPLAIN ANALYZE sees of a plan's run, by the place of each part of the plan.

use std::collections::HashMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::explain::{Field, Value};
use crate::spill::Spill;

/// See the module.
pub(crate) struct Watch {
    timing: bool,
    spill: Arc<Spill>,
    seen: Mutex<HashMap<usize, Arc<Seen>>>,
}

/// What was seen of one part.
pub(crate) struct Seen {
    timing: bool,
    /// What it holds and writes.
    spill: Arc<Spill>,
    began: AtomicBool,
    rows: AtomicU64,
    /// Nanoseconds until the first row, and all.
    first: AtomicU64,
    all: AtomicU64,
}

impl Watch {
    pub(crate) fn new(timing: bool, spill: &Arc<Spill>) -> Watch {
        Watch { timing, spill: spill.clone(), seen: Mutex::default() }
    }

    /// What is seen at a place.
    pub(crate) fn of(&self, place: usize) -> Arc<Seen> {
        let new = || {
            Arc::new(Seen {
                timing: self.timing,
                spill: self.spill.part(),
                began: AtomicBool::new(false),
                rows: AtomicU64::new(0),
                first: AtomicU64::new(0),
                all: AtomicU64::new(0),
            })
        };
        self.seen.lock().entry(place).or_insert_with(new).clone()
    }
}

impl Seen {
    pub(crate) fn spill(&self) -> &Arc<Spill> {
        &self.spill
    }

    /// It is asked for rows.
    pub(crate) fn begin(&self) -> Option<Instant> {
        self.began.store(true, Ordering::Relaxed);
        self.timing.then(Instant::now)
    }

    /// It has given so many.
    pub(crate) fn end(&self, began: Option<Instant>, rows: usize) {
        let before = self.rows.fetch_add(rows as u64, Ordering::Relaxed);
        let Some(took) = began.map(|began| began.elapsed().as_nanos() as u64) else { return };
        let all = self.all.fetch_add(took, Ordering::Relaxed) + took;
        if before == 0 {
            self.first.store(all, Ordering::Relaxed);
        }
    }

    /// Behind the operator's name.
    pub(super) fn actual(&self) -> String {
        if !self.began.load(Ordering::Relaxed) {
            return " (never executed)".to_owned();
        }
        let mut text = String::from(" (actual ");
        if self.timing {
            let of = |nanos: &AtomicU64| millis(Duration::from_nanos(nanos.load(Ordering::Relaxed)));
            // Writing to a String cannot fail.
            let _ = write!(text, "time={}..{} ", of(&self.first), of(&self.all));
        }
        let _ = write!(text, "rows={} loops=1)", self.rows.load(Ordering::Relaxed));
        text
    }

    /// What it held at most, and wrote to the disk.
    pub(super) fn memory(&self) -> Option<String> {
        match self.kilobytes() {
            (0, 0) => None,
            (held, 0) => Some(format!("Memory: {held}kB")),
            (held, written) => Some(format!("Memory: {held}kB  Disk: {written}kB")),
        }
    }

    fn kilobytes(&self) -> (usize, usize) {
        (self.spill.peak().div_ceil(1024), self.spill.bytes().div_ceil(1024))
    }

    /// The same as [`Seen::memory`] in parts.
    pub(super) fn memory_fields(&self) -> Vec<Field> {
        let (held, written) = self.kilobytes();
        let mut fields = Vec::new();
        if held + written > 0 {
            fields.push(("Peak Memory Usage", Value::Bare(held.to_string())));
        }
        if written > 0 {
            fields.push(("Disk Usage", Value::Bare(written.to_string())));
        }
        fields
    }

    /// All that was seen, in parts.
    pub(super) fn fields(&self) -> Vec<Field> {
        let mut fields = Vec::new();
        if self.timing {
            let of = |nanos: &AtomicU64| millis(Duration::from_nanos(nanos.load(Ordering::Relaxed)));
            fields.push(("Actual Startup Time", Value::Bare(of(&self.first))));
            fields.push(("Actual Total Time", Value::Bare(of(&self.all))));
        }
        fields.push(("Actual Rows", Value::Bare(self.rows.load(Ordering::Relaxed).to_string())));
        let loops = u64::from(self.began.load(Ordering::Relaxed));
        fields.push(("Actual Loops", Value::Bare(loops.to_string())));
        fields.extend(self.memory_fields());
        fields
    }
}

/// Milliseconds, as PostgreSQL writes them.
pub(crate) fn millis(time: Duration) -> String {
    format!("{:.3}", time.as_secs_f64() * 1000.0)
}
