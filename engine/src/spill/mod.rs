//! Room on the local disk for what a sort or a hash cannot hold in memory. Nothing here outlives its operator: a file has no
//! name from its first moment on, so that neither an error nor a crash leaves anything behind.
//!
//! | file | idea |
//! | --- | --- |
//! | `file` | runs of records in one file: written once, read once or more, in order |
//! | `sorter` | sorting by runs that are merged |
//!
//! What must hold: an operator holds no more than its [`Budget`] and the blocks of the runs that it reads or writes, which
//! are sized so that they take about as much again.

mod file;
mod sorter;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use prometheus::{IntCounter, register_int_counter};

pub(crate) use file::{Run, RunReader, RunWriter, SpillFile};
pub(crate) use sorter::{Payload, Sorted, Sorter};

use crate::types::{SqlError, sqlstate};

static BYTES: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Bytes that sorts and hashes wrote to the local disk because they did not fit work_mem";
    register_int_counter!("sextant_sql_spilled_bytes_total", help).expect("registered once")
});

/// Where files are made.
#[derive(Debug)]
pub struct Spill {
    dir: PathBuf,
    /// Most bytes that one operator has held so far.
    peak: AtomicUsize,
    bytes: AtomicUsize,
}

impl Spill {
    /// In a directory that exists.
    #[must_use]
    pub fn new(dir: PathBuf) -> Arc<Spill> {
        Arc::new(Spill { dir, peak: AtomicUsize::new(0), bytes: AtomicUsize::new(0) })
    }

    /// Most bytes that one sort or hash has held in memory so far.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    fn wrote(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        BYTES.inc_by(bytes as u64);
    }
}

/// What one operator may hold in memory, and holds.
#[derive(Debug, Clone)]
pub(crate) struct Budget {
    spill: Arc<Spill>,
    limit: usize,
    held: usize,
}

impl Budget {
    pub(crate) fn new(spill: &Arc<Spill>, limit: usize) -> Budget {
        Budget { spill: spill.clone(), limit, held: 0 }
    }

    /// The same limit, with nothing held yet.
    pub(crate) fn another(&self) -> Budget {
        Budget { held: 0, ..self.clone() }
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.held += bytes;
        self.spill.peak.fetch_max(self.held, Ordering::Relaxed);
    }

    pub(crate) fn give(&mut self, bytes: usize) {
        self.held = self.held.saturating_sub(bytes);
    }

    pub(crate) fn is_full(&self) -> bool {
        self.held >= self.limit
    }

    /// Bytes of a run that are written or read at a time.
    pub(crate) fn block(&self) -> usize {
        (self.limit / 16).clamp(4 << 10, 64 << 10)
    }

    /// Runs that are read at a time.
    pub(crate) fn fan_in(&self) -> usize {
        (self.limit / self.block()).clamp(2, 64)
    }

    pub(crate) fn file(&self) -> Result<SpillFile, SqlError> {
        SpillFile::new(&self.spill, self.block())
    }
}

/// What the disk's answer means for a statement.
fn failed(what: &str, error: &io::Error) -> SqlError {
    let full = matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded);
    let code = if full { sqlstate::DISK_FULL } else { sqlstate::IO_ERROR };
    let said = SqlError::new(code, format!("could not {what} a temporary file: {error}"));
    match full {
        true => said.hint(
            "The statement needs more local disk than there is: free some, set temp_dir to a larger one, or raise work_mem.",
        ),
        false => said,
    }
}
