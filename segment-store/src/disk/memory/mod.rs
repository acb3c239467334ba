//! A disk in memory for tests. Every operation that changes it is recorded, flushed or not, so that a test can ask what
//! a crash would have left ([`trace`]); any operation can be made to fail.

pub(crate) mod trace;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;

use super::{AlignedBuf, Disk, FileId, Flush, LocalFuture, Transfer};
use trace::{Operation, Write};

/// The files of a folder.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct MemoryDisk {
    files: RefCell<Image>,
    open: RefCell<BTreeMap<FileId, String>>,
    seen: RefCell<Vec<Operation>>,
    /// Countdown to an operation that fails.
    fail_after: Cell<Option<u64>>,
    full: Cell<bool>,
    /// The file of which the next read goes wrong.
    misread: RefCell<Option<String>>,
    /// What was asked for, reads included.
    asked: RefCell<Vec<&'static str>>,
}

impl MemoryDisk {
    pub(crate) fn from_image(files: Image) -> MemoryDisk {
        MemoryDisk { files: RefCell::new(files), ..MemoryDisk::default() }
    }

    pub(crate) fn image(&self) -> Image {
        self.files.borrow().clone()
    }

    /// What has changed the disk so far.
    pub(crate) fn take_seen(&self) -> Vec<Operation> {
        self.seen.take()
    }

    /// How many operations have changed the disk so far.
    pub(crate) fn seen(&self) -> usize {
        self.seen.borrow().len()
    }

    /// Puts other bytes in a file's place.
    pub(crate) fn put_file(&self, name: &str, bytes: Vec<u8>) {
        self.files.borrow_mut().insert(name.to_owned(), bytes);
    }

    /// Creating, extending and reserving fails for lack of space.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.set(full);
    }

    /// The `n`-th operation from now on fails, counted from 1. A write that fails has written its first half.
    pub(crate) fn fail_nth(&self, n: u64) {
        self.fail_after.set(Some(n));
    }

    /// The next read of a file brings a flipped bit in every sector.
    pub(crate) fn misread_once(&self, name: &str) {
        self.misread.replace(Some(name.to_owned()));
    }

    /// True once the read that [`MemoryDisk::misread_once`] announced was made.
    pub(crate) fn has_misread(&self) -> bool {
        self.misread.borrow().is_none()
    }

    /// True once the operation that [`MemoryDisk::fail_nth`] named has failed.
    pub(crate) fn has_failed(&self) -> bool {
        self.fail_after.get().is_none()
    }

    /// How many operations there were so far, reads included.
    pub(crate) fn operations(&self) -> u64 {
        self.asked.borrow().len() as u64
    }

    /// The operations so far by name, reads included.
    pub(crate) fn asked(&self) -> Vec<&'static str> {
        self.asked.borrow().clone()
    }

    fn step(&self, operation: &'static str) -> io::Result<()> {
        self.asked.borrow_mut().push(operation);
        match self.fail_after.get() {
            Some(1) => {
                self.fail_after.set(None);
                Err(io::Error::from_raw_os_error(libc::EIO))
            }
            Some(n) => {
                self.fail_after.set(Some(n - 1));
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn step_for_space(&self, operation: &'static str) -> io::Result<()> {
        self.step(operation)?;
        if self.full.get() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn name_of(&self, file: FileId) -> io::Result<String> {
        self.open.borrow().get(&file).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn note(&self, operation: Operation) {
        self.seen.borrow_mut().push(operation);
    }

    fn put(&self, file: FileId, offset: u64, bytes: &[u8], is_flushed: bool) -> io::Result<()> {
        let done = self.step(if is_flushed { "append" } else { "write" });
        let name = self.name_of(file)?;
        let mut files = self.files.borrow_mut();
        let content = files.get_mut(&name).ok_or(io::ErrorKind::NotFound)?;
        let end = offset as usize + bytes.len();
        assert!(end <= content.len(), "{name}: a write extends the file");
        let bytes = if done.is_ok() { bytes } else { &bytes[..bytes.len() / 2] };
        content[offset as usize..][..bytes.len()].copy_from_slice(bytes);
        let is_flushed = is_flushed && done.is_ok();
        self.note(Operation::Write(Write { name, offset, bytes: bytes.to_vec(), is_flushed }));
        done
    }

    /// A part of a file whose space was given back, or is taken again, holds nothing.
    fn wipe(&self, file: FileId, offset: u64, len: u64) -> io::Result<()> {
        let name = self.name_of(file)?;
        let wipe = Operation::Wipe { name, offset, len };
        trace::change(&mut self.files.borrow_mut(), &wipe);
        self.note(wipe);
        Ok(())
    }

    fn add(&self, name: &str) -> FileId {
        let mut open = self.open.borrow_mut();
        let id = FileId(open.last_key_value().map_or(0, |(id, _)| id.0 + 1));
        open.insert(id, name.to_owned());
        id
    }
}

fn ready<'a, T: 'a>(value: T) -> LocalFuture<'a, T> {
    Box::pin(std::future::ready(value))
}

impl Disk for MemoryDisk {
    fn name(&self) -> &'static str {
        "memory"
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.step("list")?;
        Ok(self.files.borrow().keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<FileId> {
        self.step("open")?;
        if !self.files.borrow().contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.add(name))
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        self.step("len")?;
        Ok(self.files.borrow()[&self.name_of(file)?].len() as u64)
    }

    fn close(&self, file: FileId) {
        self.open.borrow_mut().remove(&file);
    }

    fn create<'a>(&'a self, name: &'a str, len: u64) -> LocalFuture<'a, io::Result<FileId>> {
        ready(self.step_for_space("create").map(|()| {
            let before = self.files.borrow_mut().insert(name.to_owned(), vec![0; len as usize]);
            assert!(before.is_none(), "{name} exists");
            self.note(Operation::Create { name: name.to_owned(), len });
            self.add(name)
        }))
    }

    fn extend<'a>(&'a self, file: FileId, len: u64) -> LocalFuture<'a, io::Result<()>> {
        ready(self.step_for_space("extend").and_then(|()| {
            let name = self.name_of(file)?;
            self.files.borrow_mut().get_mut(&name).ok_or(io::ErrorKind::NotFound)?.resize(len as usize, 0);
            self.note(Operation::Extend { name, len });
            Ok(())
        }))
    }

    fn release(&self, file: FileId, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        ready(self.step("release").and_then(|()| self.wipe(file, offset, len)))
    }

    fn reserve(&self, file: FileId, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        ready(self.step_for_space("reserve").and_then(|()| self.wipe(file, offset, len)))
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> LocalFuture<'a, io::Result<()>> {
        ready(self.step("rename").and_then(|()| {
            let mut files = self.files.borrow_mut();
            let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.insert(to.to_owned(), content);
            let mut open = self.open.borrow_mut();
            open.values_mut().filter(|name| *name == from).for_each(|name| *name = to.into());
            self.note(Operation::Rename { from: from.to_owned(), to: to.to_owned() });
            Ok(())
        }))
    }

    fn delete<'a>(&'a self, name: &'a str) -> LocalFuture<'a, io::Result<()>> {
        ready(self.step("delete").map(|()| {
            self.files.borrow_mut().remove(name);
            self.note(Operation::Delete { name: name.to_owned() });
        }))
    }

    fn replace<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> LocalFuture<'a, io::Result<()>> {
        ready(self.step("replace").map(|()| {
            self.note(Operation::Replace { name: name.to_owned(), bytes: bytes.clone() });
            self.files.borrow_mut().insert(name.to_owned(), bytes);
        }))
    }

    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.step("load")?;
        Ok(self.files.borrow().get(name).cloned())
    }

    fn append(&self, file: FileId, offset: u64, bytes: AlignedBuf, _: Flush) -> LocalFuture<'_, Transfer> {
        ready((self.put(file, offset, &bytes, true), bytes))
    }

    fn write(&self, file: FileId, offset: u64, bytes: AlignedBuf) -> LocalFuture<'_, Transfer> {
        ready((self.put(file, offset, &bytes, false), bytes))
    }

    fn read(&self, file: FileId, offset: u64, mut into: AlignedBuf) -> LocalFuture<'_, Transfer> {
        let result = self.step("read").and_then(|()| {
            let name = self.name_of(file)?;
            let files = self.files.borrow();
            let content = files.get(&name).ok_or(io::ErrorKind::NotFound)?;
            let end = offset as usize + into.len();
            let from = content.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
            into.copy_from_slice(from);
            if self.misread.borrow_mut().take_if(|of| *of == name).is_some() {
                into.iter_mut().step_by(512).for_each(|byte| *byte ^= 0x10);
            }
            Ok(())
        });
        ready((result, into))
    }

    fn sync(&self, file: FileId) -> LocalFuture<'_, io::Result<()>> {
        ready(self.step("sync").and_then(|()| {
            self.note(Operation::Sync { name: self.name_of(file)? });
            Ok(())
        }))
    }
}
