//! The disk of a simulated node, behind the storage server's own seam. Every operation takes virtual time and is in
//! flight until its event comes; a node can die in between.
//!
//! Fault model. A write is pending until it is done, then in the drive's cache, and durable behind a flush that was asked
//! for later (or at once, as the log is written). A **killed process** leaves the cache as it is and any subset of the
//! sectors of a pending write; a **power loss** keeps any subset of both. Files that were being made, renamed, deleted or
//! replaced are old or new; a file that was being made may be shorter than asked. Sectors are of 512 or 4096 bytes.
//!
//! Beyond crashes: reads that fail or flip a bit, a write or flush that fails, a full device; and on at most one disk of a
//! run, bits that rot, writes that are reported done and never happen, writes that land elsewhere.

mod files;
mod operation;

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;
use std::rc::Rc;

use sextant_redo::{PAGE_SIZE, page};
use sextant_segment_store::disk::{AlignedBuf, Disk, FileId, Flush, LocalFuture, Transfer};
use tokio::sync::oneshot;

use crate::mutant::Mutant;
use crate::node::agenda::Agenda;
use crate::rng::Rng;
use crate::schedule::Time;
use files::{Files, Inode};
use operation::Operation;
pub(crate) use operation::PAGES;

/// What ends a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The kernel lives on.
    Kill,
    /// Nothing volatile survives for sure.
    PowerLoss,
}

/// How reliable a disk is, in millionths of operations.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reliability {
    /// Reads that fail.
    pub read_errors_ppm: u64,
    /// Reads that bring a flipped bit.
    pub read_flips_ppm: u64,
    /// Completed writes that never happened.
    pub lost_writes_ppm: u64,
    /// Completed writes that landed elsewhere in their file; at most [`MISDIRECTED_MAX`] a disk.
    pub misdirected_ppm: u64,
}

/// Writes of one disk that land elsewhere, at most.
const MISDIRECTED_MAX: u64 = 2;

/// What a disk has done and suffered.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Reads that failed.
    pub read_errors: u64,
    /// Reads with a flipped bit.
    pub read_flips: u64,
    /// Writes that never happened.
    pub lost_writes: u64,
    /// Writes that landed elsewhere.
    pub misdirected: u64,
    /// Writes of which a crash kept a part.
    pub torn_writes: u64,
    /// Writes and flushes that failed.
    pub write_errors: u64,
    /// Operations refused for lack of space.
    pub refused_full: u64,
    /// Files that were being made, renamed, deleted or replaced when the node died.
    pub interrupted: u64,
    /// Page images written.
    pub images: u64,
    /// Checkpoints written.
    pub checkpoints: u64,
    /// Log files used again or deleted.
    pub log_files_freed: u64,
}

struct Inner {
    files: Files,
    open: BTreeMap<FileId, Inode>,
    next_id: u32,
    flights: BTreeMap<u64, Operation>,
    sector: usize,
    /// Mean time of a write.
    write_time: Time,
    rng: Rng,
    full: bool,
    /// The next write or flush fails.
    failing: bool,
    reliability: Reliability,
    failed: bool,
    failed_append: Option<Vec<u8>>,
    /// Its reads are not made to fail: a node that cannot read its log does not start, which is a crash.
    recovering: bool,
    mutant: Option<Mutant>,
    /// What the last replaced file was before: a mutant's disk goes back to it.
    replaced: Option<(String, Option<Inode>)>,
    counts: DiskCounts,
}

/// See the module.
pub struct SimDisk {
    inner: RefCell<Inner>,
    agenda: Rc<Agenda>,
}

impl SimDisk {
    /// An empty disk, whose operations become events of `agenda`.
    pub(crate) fn new(
        sector: usize,
        write_time: Time,
        rng: Rng,
        mutant: Option<Mutant>,
        agenda: Rc<Agenda>,
    ) -> SimDisk {
        let inner = Inner {
            files: Files::default(),
            open: BTreeMap::new(),
            next_id: 0,
            flights: BTreeMap::new(),
            sector,
            write_time,
            rng,
            full: false,
            failing: false,
            reliability: Reliability::default(),
            failed: false,
            failed_append: None,
            recovering: false,
            mutant,
            replaced: None,
            counts: DiskCounts::default(),
        };
        SimDisk { inner: RefCell::new(inner), agenda }
    }

    /// How often reads and writes go wrong from now on.
    pub fn set_reliability(&self, reliability: Reliability) {
        self.inner.borrow_mut().reliability = reliability;
    }

    /// A recovery begins or ends.
    pub fn set_recovering(&self, recovering: bool) {
        self.inner.borrow_mut().recovering = recovering;
    }

    /// A recovery runs.
    #[must_use]
    pub fn is_recovering(&self) -> bool {
        self.inner.borrow().recovering
    }

    /// A write or flush has failed since the process started.
    #[must_use]
    pub fn has_failed(&self) -> bool {
        self.inner.borrow().failed
    }

    /// What takes space fails.
    pub fn set_full(&self, full: bool) {
        self.inner.borrow_mut().full = full;
    }

    /// Lets the next write or flush fail, or no longer.
    pub fn set_failing(&self, failing: bool) {
        self.inner.borrow_mut().failing = failing;
    }

    /// A write is going to fail.
    #[must_use]
    pub fn is_failing(&self) -> bool {
        self.inner.borrow().failing
    }

    /// Counts so far.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.inner.borrow().counts
    }

    /// True when rot, a lost write or a misdirected one has ever taken something.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        self.inner.borrow().files.was_damaged
    }

    /// Ends everything open and in flight, and loses what the crash loses.
    pub fn crash(&self, crash: Crash) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        inner.open.clear();
        for (_, operation) in std::mem::take(&mut inner.flights) {
            inner.interrupt(operation);
        }
        if crash == Crash::PowerLoss {
            inner.files.lose_power(inner.sector, &mut inner.rng);
            if let (Some(Mutant::CheckpointNotDurable), Some((name, before))) =
                (inner.mutant, inner.replaced.take())
            {
                inner.files.name(&name, before);
            }
        }
        inner.replaced = None;
        inner.files.forget_nameless();
        (inner.failing, inner.failed, inner.recovering) = (false, false, false);
        inner.failed_append = None;
    }

    /// The bytes of log writes of which nobody heard that they are durable: in flight, or failed.
    pub(crate) fn unheard_appends(&self) -> Vec<Vec<u8>> {
        let inner = self.inner.borrow();
        let bytes = |operation: &Operation| match operation {
            Operation::Write { durable: true, bytes, .. } => Some(bytes.to_vec()),
            _ => None,
        };
        inner.flights.values().filter_map(bytes).chain(inner.failed_append.clone()).collect()
    }

    /// Does the operation that was in flight under this number, unless the node died meanwhile.
    pub(crate) fn complete(&self, number: u64) {
        let mut inner = self.inner.borrow_mut();
        if let Some(operation) = inner.flights.remove(&number) {
            inner.complete(operation);
        }
    }

    /// Does the oldest operation in flight at once; false when there is none.
    pub(crate) fn complete_one(&self) -> bool {
        let first = self.inner.borrow().flights.keys().next().copied();
        first.map(|number| self.complete(number)).is_some()
    }

    /// See [`Files::rot`].
    pub fn rot(&self) -> bool {
        let inner = &mut *self.inner.borrow_mut();
        inner.files.rot(&mut inner.rng)
    }

    /// Brings back what rot, lost and misdirected writes took: an operator restores the files of a node that does not
    /// start.
    pub fn restore_damage(&self) {
        self.inner.borrow_mut().files.restore_damage();
    }

    /// The bytes of a file as a reader sees them, for mutants that tamper with them.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut [u8])) {
        self.inner.borrow_mut().files.edit(name, edit);
    }

    /// Puts an operation in flight; `cost` is its mean time in hundredths of a write's.
    fn begin<T: 'static>(
        &self,
        cost: Time,
        operation: impl FnOnce(&mut Inner, oneshot::Sender<T>) -> Operation,
    ) -> LocalFuture<'_, T> {
        let mut inner = self.inner.borrow_mut();
        let (tell, done) = oneshot::channel();
        let operation = operation(&mut inner, tell);
        let mean = inner.write_time * cost / 100;
        let time = 20 + inner.rng.exponential(mean);
        let number = self.agenda.disk_event(time);
        inner.flights.insert(number, operation);
        Box::pin(async move {
            match done.await {
                Ok(result) => result,
                // The process ends with its operations.
                Err(_) => std::future::pending().await,
            }
        })
    }

    fn wipe(
        &self,
        file: FileId,
        offset: u64,
        len: u64,
        takes_space: bool,
    ) -> LocalFuture<'_, io::Result<()>> {
        let (offset, len) = (offset as usize, len as usize);
        self.begin(200, |inner, tell| {
            let file = inner.inode(file);
            Operation::Wipe { file, offset, len, takes_space, tell }
        })
    }
}

impl Inner {
    fn add(&mut self, inode: Inode) -> FileId {
        let id = FileId(self.next_id);
        self.next_id += 1;
        self.open.insert(id, inode);
        id
    }

    /// The file behind a handle; one that is closed has no bytes.
    fn inode(&self, file: FileId) -> Inode {
        self.open.get(&file).copied().unwrap_or(Inode::MAX)
    }
}

impl Disk for SimDisk {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner.borrow().files.names())
    }

    fn open(&self, name: &str) -> io::Result<FileId> {
        let mut inner = self.inner.borrow_mut();
        let inode = inner.files.find(name).ok_or(io::ErrorKind::NotFound)?;
        Ok(inner.add(inode))
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        let inner = self.inner.borrow();
        Ok(inner.files.len(inner.inode(file)).ok_or(io::ErrorKind::NotFound)? as u64)
    }

    fn close(&self, file: FileId) {
        self.inner.borrow_mut().open.remove(&file);
    }

    fn create<'a>(&'a self, name: &'a str, len: u64) -> LocalFuture<'a, io::Result<FileId>> {
        self.begin(400, |_, tell| Operation::Create { name: name.to_owned(), len: len as usize, tell })
    }

    fn extend<'a>(&'a self, file: FileId, len: u64) -> LocalFuture<'a, io::Result<()>> {
        self.begin(200, |inner, tell| Operation::Extend { file: inner.inode(file), len: len as usize, tell })
    }

    fn release(&self, file: FileId, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        self.wipe(file, offset, len, false)
    }

    fn reserve(&self, file: FileId, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        self.wipe(file, offset, len, true)
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> LocalFuture<'a, io::Result<()>> {
        self.begin(100, |_, tell| Operation::Rename { from: from.to_owned(), to: to.to_owned(), tell })
    }

    fn delete<'a>(&'a self, name: &'a str) -> LocalFuture<'a, io::Result<()>> {
        self.begin(100, |_, tell| Operation::Delete { name: name.to_owned(), tell })
    }

    fn replace<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> LocalFuture<'a, io::Result<()>> {
        self.begin(200, |_, tell| Operation::Replace { name: name.to_owned(), bytes, tell })
    }

    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.inner.borrow().files.load(name))
    }

    fn append(&self, file: FileId, offset: u64, bytes: AlignedBuf, _: Flush) -> LocalFuture<'_, Transfer> {
        let offset = offset as usize;
        self.begin(100, |inner, tell| Operation::Write {
            file: inner.inode(file),
            offset,
            bytes,
            durable: true,
            tell,
        })
    }

    fn write(&self, file: FileId, offset: u64, bytes: AlignedBuf) -> LocalFuture<'_, Transfer> {
        let offset = offset as usize;
        self.begin(50, |inner, tell| Operation::Write {
            file: inner.inode(file),
            offset,
            bytes,
            durable: false,
            tell,
        })
    }

    fn read(&self, file: FileId, offset: u64, into: AlignedBuf) -> LocalFuture<'_, Transfer> {
        let offset = offset as usize;
        self.begin(25, |inner, tell| Operation::Read { file: inner.inode(file), offset, into, tell })
    }

    fn read_background(&self, file: FileId, offset: u64, into: AlignedBuf) -> LocalFuture<'_, Transfer> {
        let blind = self.inner.borrow().mutant == Some(Mutant::ScrubBlind);
        let read = self.read(file, offset, into);
        Box::pin(async move {
            let (result, mut buffer) = read.await;
            if blind && let Ok(image) = <&mut [u8; PAGE_SIZE]>::try_from(&mut buffer[..]) {
                page::seal(image);
            }
            (result, buffer)
        })
    }

    fn sync(&self, file: FileId) -> LocalFuture<'_, io::Result<()>> {
        self.begin(100, |inner, tell| Operation::Sync {
            file: inner.inode(file),
            writes: inner.files.writes_done(),
            tell,
        })
    }
}
