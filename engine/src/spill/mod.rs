//! Room on the local disk for what a sort or a hash cannot hold in memory. Nothing here outlives its operator: a file has no
//! name from its first moment on, so that neither an error nor a crash leaves anything behind.
//!
//! | file | idea |
//! | --- | --- |
//! | `file` | runs of records in one file: written once, read once or more, in order |
//! | `sorter` | sorting by runs that are merged |
//! | `set` | a set that is asked on disk |
//!
//! What must hold: an operator holds no more than its [`Budget`] and the blocks of the runs that it reads or writes, which
//! are sized so that they take about as much again.

mod file;
mod set;
mod sorter;
#[cfg(test)]
mod tests;

use std::io;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, LazyLock};

use prometheus::{IntCounter, IntGauge, register_int_counter, register_int_gauge};

pub(crate) use file::{Run, RunReader, RunWriter, SpillFile};
pub(crate) use set::{Inserted, KeySet, SetBuilder};
pub(crate) use sorter::{Payload, Sorted, Sorter};

use crate::types::{SqlError, sqlstate};

static BYTES: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Bytes that sorts and hashes wrote to the local disk because they did not fit work_mem";
    register_int_counter!("sextant_sql_spilled_bytes_total", help).expect("registered once")
});

static FILES: LazyLock<IntCounter> = LazyLock::new(|| {
    let help = "Temporary files that were made";
    register_int_counter!("sextant_sql_temp_files_total", help).expect("registered once")
});

static FILES_NOW: LazyLock<IntGauge> = LazyLock::new(|| {
    let help = "Temporary files that there are";
    register_int_gauge!("sextant_sql_temp_files", help).expect("registered once")
});

static BYTES_NOW: LazyLock<IntGauge> = LazyLock::new(|| {
    let help = "Bytes of the temporary files that there are";
    register_int_gauge!("sextant_sql_temp_file_bytes", help).expect("registered once")
});

/// Where files are made.
#[derive(Debug)]
pub struct Spill {
    dir: PathBuf,
    /// What it is a part of, which counts all of it, too.
    whole: Option<Arc<Spill>>,
    /// Most bytes that one operator has held so far.
    peak: AtomicUsize,
    bytes: AtomicUsize,
    /// Files that there are, and their bytes.
    files_now: AtomicUsize,
    bytes_now: AtomicUsize,
    /// In tests a disk that is full after so many bytes.
    #[cfg(test)]
    pub(crate) room: AtomicUsize,
}

impl Spill {
    /// In a directory that exists.
    #[must_use]
    pub fn new(dir: PathBuf) -> Arc<Spill> {
        // Metrics that were never touched would not be shown.
        LazyLock::force(&BYTES);
        LazyLock::force(&FILES);
        LazyLock::force(&FILES_NOW);
        LazyLock::force(&BYTES_NOW);
        Arc::new(Spill::counting(dir, None))
    }

    /// With counts of its own, for one operator.
    pub(crate) fn part(self: &Arc<Spill>) -> Arc<Spill> {
        Arc::new(Spill::counting(self.dir.clone(), Some(self.clone())))
    }

    fn counting(dir: PathBuf, whole: Option<Arc<Spill>>) -> Spill {
        Spill {
            dir,
            whole,
            peak: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            files_now: AtomicUsize::new(0),
            bytes_now: AtomicUsize::new(0),
            #[cfg(test)]
            room: AtomicUsize::new(usize::MAX),
        }
    }

    /// Most bytes that one sort or hash that has ended held in memory.
    #[must_use]
    pub fn peak(&self) -> usize {
        self.peak.load(Ordering::Relaxed)
    }

    /// Bytes written so far.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// Files that there are now, and their bytes.
    #[must_use]
    pub fn now(&self) -> (usize, usize) {
        (self.files_now.load(Ordering::Relaxed), self.bytes_now.load(Ordering::Relaxed))
    }

    fn made(&self) {
        self.files_now.fetch_add(1, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            return whole.made();
        }
        FILES.inc();
        FILES_NOW.inc();
    }

    fn wrote(&self, bytes: usize) {
        self.bytes.fetch_add(bytes, Ordering::Relaxed);
        self.bytes_now.fetch_add(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            return whole.wrote(bytes);
        }
        BYTES.inc_by(bytes as u64);
        BYTES_NOW.add(bytes as i64);
    }

    fn gone(&self, bytes: usize) {
        self.files_now.fetch_sub(1, Ordering::Relaxed);
        self.bytes_now.fetch_sub(bytes, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            return whole.gone(bytes);
        }
        FILES_NOW.dec();
        BYTES_NOW.sub(bytes as i64);
    }

    fn held(&self, most: usize) {
        self.peak.fetch_max(most, Ordering::Relaxed);
        if let Some(whole) = &self.whole {
            whole.held(most);
        }
    }

    /// Whether the disk of a test has room up to a place in a file.
    #[cfg(test)]
    fn has_room(&self, end: u64) -> io::Result<()> {
        match end > self.room.load(Ordering::Relaxed) as u64 {
            true => Err(io::ErrorKind::StorageFull.into()),
            false => Ok(()),
        }
    }
}

/// What one operator may hold in memory, and holds.
#[derive(Debug)]
pub(crate) struct Budget {
    spill: Arc<Spill>,
    limit: usize,
    held: usize,
    /// Most that it has held; told to everybody in the end, for that takes a turn on a line of memory which all share.
    peak: usize,
}

impl Budget {
    pub(crate) fn new(spill: &Arc<Spill>, limit: usize) -> Budget {
        Budget { spill: spill.clone(), limit, held: 0, peak: 0 }
    }

    /// The same limit, with nothing held yet.
    pub(crate) fn another(&self) -> Budget {
        Budget::new(&self.spill, self.limit)
    }

    /// A part of the limit.
    pub(crate) fn part(&self, of: usize) -> Budget {
        Budget::new(&self.spill, self.limit / of)
    }

    pub(crate) fn take(&mut self, bytes: usize) {
        self.held += bytes;
        self.peak = self.peak.max(self.held);
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

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn file(&self) -> Result<SpillFile, SqlError> {
        self.file_of(self.block())
    }

    /// A file with blocks of another size.
    pub(crate) fn file_of(&self, block: usize) -> Result<SpillFile, SqlError> {
        SpillFile::new(&self.spill, block)
    }
}

impl Drop for Budget {
    fn drop(&mut self) {
        self.spill.held(self.peak);
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
