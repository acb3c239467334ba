//! The disk of a simulated node, behind the storage server's own seam.
//!
//! Fault model. A file has durable bytes and dirty ones over them (written, not flushed). One write may be in flight;
//! when it completes it is durable (the log writes with DSYNC). A **killed process** leaves dirty bytes in the kernel
//! and any subset of the sectors of the write in flight; a **power loss** keeps any subset of all that. Sectors are of
//! 512 or 4096 bytes. Beyond crashes: reads that fail or flip a bit, a full device, and, on at most one disk of a run,
//! bits that rot and writes that are reported done and never happen.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io;

use sextant_segment_store::disk::{AlignedBuf, Disk, FileId, Flush, LocalFuture, Transfer};

use crate::rng::Rng;

/// What ends a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crash {
    /// The kernel lives on.
    Kill,
    /// Nothing volatile survives for sure.
    PowerLoss,
}

#[derive(Debug, Default)]
struct File {
    durable: Vec<u8>,
    dirty: Vec<Write>,
}

#[derive(Debug, Clone)]
struct Write {
    offset: usize,
    bytes: Vec<u8>,
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
}

struct Inner {
    files: BTreeMap<String, File>,
    open: BTreeMap<FileId, String>,
    next_id: u32,
    sector: usize,
    rng: Rng,
    flight: Option<(String, Write)>,
    full: bool,
    reliability: Reliability,
    /// Reads of a recovery are not made to fail: a node that cannot read its log does not start, which is a crash.
    reliable_now: bool,
    sync_is_ignored: bool,
    /// What rot and lost writes took: file, place, the true bytes.
    damage: Vec<(String, Write)>,
    /// Faults that happened: failed reads, flipped reads, lost writes, torn writes.
    counts: DiskCounts,
}

/// Faults that a disk has had.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct DiskCounts {
    /// Reads that failed.
    pub read_errors: u64,
    /// Reads with a flipped bit.
    pub read_flips: u64,
    /// Writes that never happened.
    pub lost_writes: u64,
    /// Writes of which a crash kept a part.
    pub torn_writes: u64,
}

/// See the module.
pub struct SimDisk {
    inner: RefCell<Inner>,
}

fn put(target: &mut [u8], write: &Write) {
    let end = (write.offset + write.bytes.len()).min(target.len());
    if write.offset < end {
        target[write.offset..end].copy_from_slice(&write.bytes[..end - write.offset]);
    }
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new(sector: usize, rng: Rng) -> SimDisk {
        let inner = Inner {
            files: BTreeMap::new(),
            open: BTreeMap::new(),
            next_id: 0,
            sector,
            rng,
            flight: None,
            full: false,
            reliability: Reliability::default(),
            reliable_now: false,
            sync_is_ignored: false,
            damage: Vec::new(),
            counts: DiskCounts::default(),
        };
        SimDisk { inner: RefCell::new(inner) }
    }

    /// How often reads and writes go wrong from now on.
    pub fn set_reliability(&self, reliability: Reliability) {
        self.inner.borrow_mut().reliability = reliability;
    }

    /// Turns read faults off for as long as a recovery runs.
    pub fn set_reliable_now(&self, reliable: bool) {
        self.inner.borrow_mut().reliable_now = reliable;
    }

    /// Creating files fails for lack of space.
    pub fn set_full(&self, full: bool) {
        self.inner.borrow_mut().full = full;
    }

    /// A mutant's disk: flushes do nothing.
    pub fn ignore_sync(&self) {
        self.inner.borrow_mut().sync_is_ignored = true;
    }

    /// Faults so far.
    #[must_use]
    pub fn counts(&self) -> DiskCounts {
        self.inner.borrow().counts
    }

    /// True when rot or a lost write has taken something.
    #[must_use]
    pub fn is_damaged(&self) -> bool {
        !self.inner.borrow().damage.is_empty()
    }

    /// Starts a write that becomes durable with [`SimDisk::finish`]. One at a time.
    pub fn begin(&self, file: FileId, offset: u64, bytes: &[u8]) {
        let mut inner = self.inner.borrow_mut();
        let name = inner.open[&file].clone();
        assert!(inner.flight.is_none(), "one group is in flight at a time");
        inner.flight = Some((name, Write { offset: offset as usize, bytes: bytes.to_vec() }));
    }

    /// The write in flight is done.
    pub fn finish(&self) {
        let mut inner = self.inner.borrow_mut();
        let Some((name, write)) = inner.flight.take() else { return };
        let lost = inner.reliability.lost_writes_ppm;
        if inner.rng.ppm(lost) {
            inner.counts.lost_writes += 1;
            inner.damage.push((name, write));
            return;
        }
        if let Some(file) = inner.files.get_mut(&name) {
            put(&mut file.durable, &write);
        }
    }

    /// The write in flight is done, but stands only in the drive's cache (a mutant's disk).
    pub fn finish_volatile(&self) {
        let mut inner = self.inner.borrow_mut();
        let Some((name, write)) = inner.flight.take() else { return };
        if let Some(file) = inner.files.get_mut(&name) {
            file.dirty.push(write);
        }
    }

    /// Ends everything open, and loses what the crash loses.
    pub fn crash(&self, crash: Crash) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        inner.open.clear();
        if let Some((name, write)) = inner.flight.take() {
            let kept = torn(&write, inner.sector, &mut inner.rng);
            inner.counts.torn_writes += u64::from(!kept.is_empty());
            if let Some(file) = inner.files.get_mut(&name) {
                file.dirty.extend(kept);
            }
        }
        if crash == Crash::PowerLoss {
            for file in inner.files.values_mut() {
                for write in std::mem::take(&mut file.dirty) {
                    for part in torn(&write, inner.sector, &mut inner.rng) {
                        put(&mut file.durable, &part);
                    }
                }
            }
        }
    }

    /// Flips a bit of a durable byte that is not zero, in the last log file or another; false when there is none.
    pub fn rot(&self) -> bool {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        let names: Vec<String> = inner.files.keys().cloned().collect();
        if names.is_empty() {
            return false;
        }
        let name = &names[inner.rng.index(names.len())];
        let Some(file) = inner.files.get_mut(name) else { return false };
        for _ in 0..64 {
            let at = inner.rng.index(file.durable.len().max(1));
            if file.durable.get(at).is_some_and(|byte| *byte != 0) {
                let truth = Write { offset: at, bytes: vec![file.durable[at]] };
                file.durable[at] ^= 1 << inner.rng.below(8);
                inner.damage.push((name.clone(), truth));
                return true;
            }
        }
        false
    }

    /// Brings back what rot and lost writes took: an operator restores the file of a node that does not start.
    pub fn restore_damage(&self) {
        let mut inner = self.inner.borrow_mut();
        let inner = &mut *inner;
        for (name, truth) in inner.damage.drain(..) {
            if let Some(file) = inner.files.get_mut(&name) {
                put(&mut file.durable, &truth);
            }
        }
    }

    /// The bytes of a file as a reader sees them, for mutants that tamper with them.
    pub fn edit(&self, name: &str, edit: impl FnOnce(&mut [u8])) {
        if let Some(file) = self.inner.borrow_mut().files.get_mut(name) {
            for write in std::mem::take(&mut file.dirty) {
                put(&mut file.durable, &write);
            }
            edit(&mut file.durable);
        }
    }
}

/// What a crash leaves of a write: nothing, all, a prefix or any subset of its sectors.
fn torn(write: &Write, sector: usize, rng: &mut Rng) -> Vec<Write> {
    let sectors = write.bytes.len().div_ceil(sector);
    let prefix = match rng.below(5) {
        0 => return Vec::new(),
        1 => return vec![write.clone()],
        2 | 3 => Some(rng.index(sectors.max(1))),
        _ => None,
    };
    let mut kept = Vec::new();
    for n in 0..sectors {
        if prefix.map_or_else(|| rng.percent(50), |prefix| n < prefix) {
            let bytes = &write.bytes[n * sector..((n + 1) * sector).min(write.bytes.len())];
            kept.push(Write { offset: write.offset + n * sector, bytes: bytes.to_vec() });
        }
    }
    kept
}

fn ready<'a, T: 'a>(value: T) -> LocalFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Inner {
    fn add(&mut self, name: &str) -> FileId {
        let id = FileId(self.next_id);
        self.next_id += 1;
        self.open.insert(id, name.to_owned());
        id
    }

    fn file(&mut self, id: FileId) -> io::Result<&mut File> {
        let name = self.open.get(&id).ok_or(io::ErrorKind::NotFound)?;
        self.files.get_mut(name).ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn read(&mut self, id: FileId, offset: u64, into: &mut [u8]) -> io::Result<()> {
        let Reliability { read_errors_ppm, read_flips_ppm, .. } = self.reliability;
        if !self.reliable_now && self.rng.ppm(read_errors_ppm) {
            self.counts.read_errors += 1;
            return Err(io::Error::other("the simulated disk failed a read"));
        }
        let (start, len) = (offset as usize, into.len());
        let file = self.file(id)?;
        into.copy_from_slice(file.durable.get(start..start + len).ok_or(io::ErrorKind::UnexpectedEof)?);
        for write in &file.dirty {
            let (from, to) = (write.offset.max(start), (write.offset + write.bytes.len()).min(start + len));
            if from < to {
                into[from - start..to - start]
                    .copy_from_slice(&write.bytes[from - write.offset..to - write.offset]);
            }
        }
        if !self.reliable_now && self.rng.ppm(read_flips_ppm) {
            self.counts.read_flips += 1;
            let at = self.rng.index(len);
            into[at] ^= 1 << self.rng.below(8);
        }
        Ok(())
    }

    fn sync(&mut self, id: FileId) -> io::Result<()> {
        if self.sync_is_ignored {
            return Ok(());
        }
        let file = self.file(id)?;
        for write in std::mem::take(&mut file.dirty) {
            put(&mut file.durable, &write);
        }
        Ok(())
    }

    fn create(&mut self, name: &str, len: u64) -> io::Result<FileId> {
        if self.full {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.files.insert(name.to_owned(), File { durable: vec![0; len as usize], dirty: Vec::new() });
        Ok(self.add(name))
    }
}

impl Disk for SimDisk {
    fn name(&self) -> &'static str {
        "simulated"
    }

    fn list(&self) -> io::Result<Vec<String>> {
        Ok(self.inner.borrow().files.keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<FileId> {
        let mut inner = self.inner.borrow_mut();
        if !inner.files.contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(inner.add(name))
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        Ok(self.inner.borrow_mut().file(file)?.durable.len() as u64)
    }

    fn close(&self, file: FileId) {
        self.inner.borrow_mut().open.remove(&file);
    }

    fn create<'a>(&'a self, name: &'a str, len: u64) -> LocalFuture<'a, io::Result<FileId>> {
        ready(self.inner.borrow_mut().create(name, len))
    }

    fn extend<'a>(&'a self, file: FileId, len: u64) -> LocalFuture<'a, io::Result<()>> {
        let mut inner = self.inner.borrow_mut();
        let full = inner.full;
        let result = inner.file(file).and_then(|file| {
            if full {
                return Err(io::ErrorKind::StorageFull.into());
            }
            file.durable.resize(len as usize, 0);
            Ok(())
        });
        ready(result)
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> LocalFuture<'a, io::Result<()>> {
        let mut inner = self.inner.borrow_mut();
        let moved = inner.files.remove(from).ok_or(io::ErrorKind::NotFound);
        let result = moved.map(|file| {
            inner.files.insert(to.to_owned(), file);
            inner.open.values_mut().filter(|name| *name == from).for_each(|name| *name = to.to_owned());
        });
        ready(result.map_err(io::Error::from))
    }

    fn delete<'a>(&'a self, name: &'a str) -> LocalFuture<'a, io::Result<()>> {
        self.inner.borrow_mut().files.remove(name);
        ready(Ok(()))
    }

    fn replace<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> LocalFuture<'a, io::Result<()>> {
        self.inner.borrow_mut().files.insert(name.to_owned(), File { durable: bytes, dirty: Vec::new() });
        ready(Ok(()))
    }

    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.inner.borrow().files.get(name).map(|file| file.durable.clone()))
    }

    fn append(&self, file: FileId, offset: u64, bytes: AlignedBuf, _: Flush) -> LocalFuture<'_, Transfer> {
        let write = Write { offset: offset as usize, bytes: bytes.to_vec() };
        let result = self.inner.borrow_mut().file(file).map(|file| put(&mut file.durable, &write));
        ready((result, bytes))
    }

    fn write(&self, file: FileId, offset: u64, bytes: AlignedBuf) -> LocalFuture<'_, Transfer> {
        let write = Write { offset: offset as usize, bytes: bytes.to_vec() };
        let result = self.inner.borrow_mut().file(file).map(|file| file.dirty.push(write));
        ready((result, bytes))
    }

    fn read(&self, file: FileId, offset: u64, mut into: AlignedBuf) -> LocalFuture<'_, Transfer> {
        let result = self.inner.borrow_mut().read(file, offset, &mut into);
        ready((result, into))
    }

    fn sync(&self, file: FileId) -> LocalFuture<'_, io::Result<()>> {
        ready(self.inner.borrow_mut().sync(file))
    }
}

/// Runs a future over simulated disks to its end: their operations are done at once.
pub fn finish<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => unreachable!("operations of the simulated disk are done at once"),
    }
}
