//! The disk, behind a seam: files of one data folder, named by a string and addressed by a [`FileId`].
//!
//! Fault model. A write that has returned without error is still volatile until a flush behind it has; a crash may
//! keep any part of what was not flushed, torn at 512 bytes. A write or flush that **fails** leaves the disk in a state
//! that nobody knows: it is never retried, the node stops. Reads may fail or bring back wrong bytes; everything that is
//! read is checked by checksums above this seam.
//!
//! | backend | when |
//! | --- | --- |
//! | [`uring`] | always, where the kernel lets us: the node's one thread submits, epoll wakes it for completions |
//! | [`threads`] | where `io_uring_setup` is forbidden: the same calls on tokio's blocking threads |
//! | [`stream`] | background reads of either, on a ring of their own where the kernel lets us |
//!
//! The simulator brings another one of its own.

mod aligned;
mod files;
#[cfg(test)]
pub(crate) mod memory;
mod pace;
mod probe;
mod stream;
mod threads;
mod uring;

use std::future::Future;
use std::io;
use std::path::Path;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::Poll;

pub use aligned::{ALIGN, AlignedBuf, align_down, align_up};
pub use pace::{Pace, Pacer};
pub use probe::choose_flush;
pub use threads::ThreadDisk;
pub use uring::UringDisk;

/// A future of the node's one thread.
pub type LocalFuture<'a, T> = Pin<Box<dyn Future<Output = T> + 'a>>;

/// Waits for all of them, which make progress together.
pub(crate) async fn join_all<T>(futures: Vec<LocalFuture<'_, T>>) -> Vec<T> {
    enum Slot<'a, T> {
        Running(LocalFuture<'a, T>),
        Done(T),
    }
    let mut slots: Vec<Slot<'_, T>> = futures.into_iter().map(Slot::Running).collect();
    std::future::poll_fn(|context| {
        let mut waiting = false;
        for slot in &mut slots {
            if let Slot::Running(future) = slot {
                match future.as_mut().poll(context) {
                    Poll::Ready(value) => *slot = Slot::Done(value),
                    Poll::Pending => waiting = true,
                }
            }
        }
        if waiting { Poll::Pending } else { Poll::Ready(()) }
    })
    .await;
    let done = |slot| match slot {
        Slot::Done(value) => Some(value),
        Slot::Running(_) => None,
    };
    slots.into_iter().filter_map(done).collect()
}

/// A file that was opened or created. Numbers are not reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId(pub u32);

/// How a write is made durable.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// The write itself is durable (RWF_DSYNC).
    DsyncWrite,
    /// The write, and linked behind it an fdatasync.
    LinkedFdatasync,
}

impl Flush {
    /// For logs and metrics.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Flush::DsyncWrite => "dsync",
            Flush::LinkedFdatasync => "write_fdatasync",
        }
    }
}

/// A finished transfer and its buffer.
pub type Transfer = (io::Result<()>, AlignedBuf);

/// The seam. Offsets and lengths of transfers are multiples of [`ALIGN`]. A transfer is whole or an error.
pub trait Disk {
    /// For logs and metrics.
    fn name(&self) -> &'static str;

    /// The names of all files.
    fn list(&self) -> io::Result<Vec<String>>;

    /// Opens a file for transfers.
    fn open(&self, name: &str) -> io::Result<FileId>;

    /// Bytes of a file.
    fn len(&self, file: FileId) -> io::Result<u64>;

    /// Forgets an opened file; what is in flight on it still finishes.
    fn close(&self, file: FileId);

    /// Makes a file of `len` zero bytes, written so that later writes neither extend it nor convert extents, durable
    /// together with its name. A crash leaves the whole file or none of that name. Fails with
    /// [`io::ErrorKind::StorageFull`] when there is no space, leaving nothing behind.
    fn create<'a>(&'a self, name: &'a str, len: u64) -> LocalFuture<'a, io::Result<FileId>>;

    /// The same for a file that is not needed yet: no faster than it becomes due, if the backend takes time at all.
    fn create_in_step<'a>(
        &'a self,
        name: &'a str,
        len: u64,
        _pace: Arc<Pace>,
    ) -> LocalFuture<'a, io::Result<FileId>> {
        self.create(name, len)
    }

    /// Makes a file longer; the new bytes read as zeros.
    fn extend<'a>(&'a self, file: FileId, len: u64) -> LocalFuture<'a, io::Result<()>>;

    /// Gives the space of a part of the file back to the device, if the file system can. Nothing may be written there until
    /// it was reserved again.
    fn release(&self, file: FileId, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>>;

    /// Takes space for a part of the file that was released. Fails with [`io::ErrorKind::StorageFull`] when there is none.
    fn reserve(&self, file: FileId, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>>;

    /// Renames durably.
    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> LocalFuture<'a, io::Result<()>>;

    /// Deletes durably.
    fn delete<'a>(&'a self, name: &'a str) -> LocalFuture<'a, io::Result<()>>;

    /// Replaces a whole file atomically and durably (written beside it, flushed, renamed).
    fn replace<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> LocalFuture<'a, io::Result<()>>;

    /// Reads a whole file that [`Disk::replace`] wrote; `None` when there is none.
    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>>;

    /// Writes and makes durable.
    fn append(&self, file: FileId, offset: u64, bytes: AlignedBuf, flush: Flush)
    -> LocalFuture<'_, Transfer>;

    /// Writes; durable only behind a later [`Disk::sync`].
    fn write(&self, file: FileId, offset: u64, bytes: AlignedBuf) -> LocalFuture<'_, Transfer>;

    /// Fills the buffer from the file.
    fn read(&self, file: FileId, offset: u64, into: AlignedBuf) -> LocalFuture<'_, Transfer>;

    /// Fills the buffer like [`Disk::read`], as part of a long stream that can wait: it stays out of the way of what is
    /// answered to somebody.
    fn read_background(&self, file: FileId, offset: u64, into: AlignedBuf) -> LocalFuture<'_, Transfer> {
        self.read(file, offset, into)
    }

    /// Makes durable what was written to the file.
    fn sync(&self, file: FileId) -> LocalFuture<'_, io::Result<()>>;
}

/// Opens the folder `dir` with the best backend that works here. To be called inside the node's runtime.
pub fn open(dir: &Path) -> io::Result<Rc<dyn Disk>> {
    match UringDisk::open(dir) {
        Ok(disk) => Ok(disk),
        Err(error) => {
            tracing::warn!(
                %error,
                "io_uring is not available here; disk I/O goes through a pool of threads and will be slower"
            );
            Ok(Rc::new(ThreadDisk::open(dir)?))
        }
    }
}
