//! A disk in memory for tests: what was flushed and what was only written are kept apart, every durable write can be
//! recorded, operations can be made to fail.

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;

use super::{AlignedBuf, Disk, FileId, Flush, LocalFuture, Transfer};

/// A write as the device saw it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct WriteSeen {
    pub(crate) name: String,
    pub(crate) offset: u64,
    pub(crate) bytes: Vec<u8>,
}

/// The files of a folder.
pub(crate) type Image = BTreeMap<String, Vec<u8>>;

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct MemoryDisk {
    files: RefCell<Image>,
    open: RefCell<BTreeMap<FileId, String>>,
    seen: RefCell<Vec<WriteSeen>>,
    /// Countdown to an operation that fails.
    fail_after: Cell<Option<u64>>,
    full: Cell<bool>,
    operations: Cell<u64>,
}

impl MemoryDisk {
    pub(crate) fn from_image(files: Image) -> MemoryDisk {
        MemoryDisk { files: RefCell::new(files), ..MemoryDisk::default() }
    }

    pub(crate) fn image(&self) -> Image {
        self.files.borrow().clone()
    }

    pub(crate) fn take_seen(&self) -> Vec<WriteSeen> {
        self.seen.take()
    }

    /// Puts other bytes in a file's place.
    pub(crate) fn put_file(&self, name: &str, bytes: Vec<u8>) {
        self.files.borrow_mut().insert(name.to_owned(), bytes);
    }

    /// Creating and extending fails for lack of space.
    pub(crate) fn set_full(&self, full: bool) {
        self.full.set(full);
    }

    /// The `n`-th operation from now on fails, counted from 1.
    pub(crate) fn fail_nth(&self, n: u64) {
        self.fail_after.set(Some(n));
    }

    pub(crate) fn operations(&self) -> u64 {
        self.operations.get()
    }

    fn step(&self) -> io::Result<()> {
        self.operations.set(self.operations.get() + 1);
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

    fn step_for_space(&self) -> io::Result<()> {
        self.step()?;
        if self.full.get() { Err(io::ErrorKind::StorageFull.into()) } else { Ok(()) }
    }

    fn name_of(&self, file: FileId) -> io::Result<String> {
        self.open.borrow().get(&file).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn put(&self, file: FileId, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.step()?;
        let name = self.name_of(file)?;
        let mut files = self.files.borrow_mut();
        let content = files.get_mut(&name).ok_or(io::ErrorKind::NotFound)?;
        let end = offset as usize + bytes.len();
        assert!(end <= content.len(), "{name}: a write extends the file");
        content[offset as usize..end].copy_from_slice(bytes);
        self.seen.borrow_mut().push(WriteSeen { name, offset, bytes: bytes.to_vec() });
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
        Ok(self.files.borrow().keys().cloned().collect())
    }

    fn open(&self, name: &str) -> io::Result<FileId> {
        if !self.files.borrow().contains_key(name) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.add(name))
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        Ok(self.files.borrow()[&self.name_of(file)?].len() as u64)
    }

    fn close(&self, file: FileId) {
        self.open.borrow_mut().remove(&file);
    }

    fn create<'a>(&'a self, name: &'a str, len: u64) -> LocalFuture<'a, io::Result<FileId>> {
        ready(self.step_for_space().map(|()| {
            let before = self.files.borrow_mut().insert(name.to_owned(), vec![0; len as usize]);
            assert!(before.is_none(), "{name} exists");
            self.add(name)
        }))
    }

    fn extend<'a>(&'a self, file: FileId, len: u64) -> LocalFuture<'a, io::Result<()>> {
        ready(self.step_for_space().and_then(|()| {
            let name = self.name_of(file)?;
            self.files.borrow_mut().get_mut(&name).ok_or(io::ErrorKind::NotFound)?.resize(len as usize, 0);
            Ok(())
        }))
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> LocalFuture<'a, io::Result<()>> {
        ready(self.step().and_then(|()| {
            let mut files = self.files.borrow_mut();
            let content = files.remove(from).ok_or(io::ErrorKind::NotFound)?;
            files.insert(to.to_owned(), content);
            self.open
                .borrow_mut()
                .values_mut()
                .filter(|name| *name == from)
                .for_each(|name| *name = to.into());
            Ok(())
        }))
    }

    fn delete<'a>(&'a self, name: &'a str) -> LocalFuture<'a, io::Result<()>> {
        ready(self.step().map(|()| {
            self.files.borrow_mut().remove(name);
        }))
    }

    fn replace<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> LocalFuture<'a, io::Result<()>> {
        ready(self.step().map(|()| {
            self.files.borrow_mut().insert(name.to_owned(), bytes);
        }))
    }

    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        Ok(self.files.borrow().get(name).cloned())
    }

    fn append(&self, file: FileId, offset: u64, bytes: AlignedBuf, _: Flush) -> LocalFuture<'_, Transfer> {
        ready((self.put(file, offset, &bytes), bytes))
    }

    fn write(&self, file: FileId, offset: u64, bytes: AlignedBuf) -> LocalFuture<'_, Transfer> {
        ready((self.put(file, offset, &bytes), bytes))
    }

    fn read(&self, file: FileId, offset: u64, mut into: AlignedBuf) -> LocalFuture<'_, Transfer> {
        let result = self.step().and_then(|()| {
            let name = self.name_of(file)?;
            let files = self.files.borrow();
            let content = files.get(&name).ok_or(io::ErrorKind::NotFound)?;
            let end = offset as usize + into.len();
            let from = content.get(offset as usize..end).ok_or(io::ErrorKind::UnexpectedEof)?;
            into.copy_from_slice(from);
            Ok(())
        });
        ready((result, into))
    }

    fn sync(&self, _: FileId) -> LocalFuture<'_, io::Result<()>> {
        ready(self.step())
    }
}
