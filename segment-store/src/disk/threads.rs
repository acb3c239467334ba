//! The backend for places where io_uring is forbidden, and the blocking file operations of every real backend: tokio's
//! blocking threads.

use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;

use super::files::{Files, create_zeroed, release, reserve, sync_parent};
use super::{AlignedBuf, Disk, FileId, Flush, LocalFuture, Pace, Transfer};

/// See the module.
#[derive(Debug)]
pub struct ThreadDisk {
    files: Files,
}

impl ThreadDisk {
    /// Over the folder `dir`.
    pub fn open(dir: &Path) -> io::Result<ThreadDisk> {
        std::fs::metadata(dir)?;
        Ok(ThreadDisk { files: Files::new(dir) })
    }

    pub(super) fn files(&self) -> &Files {
        &self.files
    }

    async fn make(&self, name: &str, len: u64, pace: Option<Arc<Pace>>) -> io::Result<FileId> {
        let path = self.files.path(name);
        let made = blocking(move || create_zeroed(&path, len, pace.as_deref())).await?;
        Ok(self.files.add(made))
    }

    fn transfer(
        &self,
        file: FileId,
        buffer: AlignedBuf,
        work: impl FnOnce(&std::fs::File, &mut AlignedBuf) -> io::Result<()> + Send + 'static,
    ) -> LocalFuture<'_, Transfer> {
        let file = self.files.get(file);
        Box::pin(async move {
            let file = match file {
                Ok(file) => file,
                Err(error) => return (Err(error), buffer),
            };
            let mut buffer = buffer;
            let done = tokio::task::spawn_blocking(move || {
                let result = work(&file, &mut buffer);
                (result, buffer)
            });
            match done.await {
                Ok(done) => done,
                Err(error) => (Err(io::Error::other(error)), AlignedBuf::zeroed(1)),
            }
        })
    }
}

/// Runs `work` on a blocking thread.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)?
}

/// One durable write by one system call.
fn write_dsync(file: &std::fs::File, bytes: &[u8], offset: u64) -> io::Result<()> {
    let part = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    let offset = libc::off_t::try_from(offset).map_err(|_| io::ErrorKind::FileTooLarge)?;
    // SAFETY: one iovec over `bytes`, which outlives the call and is only read; the descriptor is open.
    let written = unsafe { libc::pwritev2(file.as_raw_fd(), &part, 1, offset, libc::RWF_DSYNC) };
    match usize::try_from(written) {
        Ok(written) if written == bytes.len() => Ok(()),
        Ok(_) => Err(io::Error::new(io::ErrorKind::WriteZero, "short write")),
        Err(_) => Err(io::Error::last_os_error()),
    }
}

impl Disk for ThreadDisk {
    fn name(&self) -> &'static str {
        "threads"
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn open(&self, name: &str) -> io::Result<FileId> {
        self.files.open(name)
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        Ok(self.files.get(file)?.metadata()?.len())
    }

    fn close(&self, file: FileId) {
        self.files.close(file);
    }

    fn create<'a>(&'a self, name: &'a str, len: u64) -> LocalFuture<'a, io::Result<FileId>> {
        Box::pin(self.make(name, len, None))
    }

    fn create_in_step<'a>(
        &'a self,
        name: &'a str,
        len: u64,
        pace: Arc<Pace>,
    ) -> LocalFuture<'a, io::Result<FileId>> {
        Box::pin(self.make(name, len, Some(pace)))
    }

    fn extend<'a>(&'a self, file: FileId, len: u64) -> LocalFuture<'a, io::Result<()>> {
        let file = self.files.get(file);
        Box::pin(async move {
            let file = file?;
            blocking(move || {
                reserve(&file, 0, len)?;
                file.sync_all()
            })
            .await
        })
    }

    fn release(&self, file: FileId, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        let file = self.files.get(file);
        Box::pin(async move {
            let file = file?;
            blocking(move || release(&file, offset, len)).await
        })
    }

    fn reserve(&self, file: FileId, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        let file = self.files.get(file);
        Box::pin(async move {
            let file = file?;
            blocking(move || {
                reserve(&file, offset, len)?;
                file.sync_all()
            })
            .await
        })
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> LocalFuture<'a, io::Result<()>> {
        let (from, to) = (self.files.path(from), self.files.path(to));
        Box::pin(blocking(move || {
            std::fs::rename(&from, &to)?;
            sync_parent(&to)
        }))
    }

    fn delete<'a>(&'a self, name: &'a str) -> LocalFuture<'a, io::Result<()>> {
        let path = self.files.path(name);
        Box::pin(blocking(move || {
            std::fs::remove_file(&path)?;
            sync_parent(&path)
        }))
    }

    fn replace<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> LocalFuture<'a, io::Result<()>> {
        let path = self.files.path(name);
        Box::pin(blocking(move || sextant_node::identity::write_atomically(&path, &bytes)))
    }

    fn load(&self, name: &str) -> io::Result<Option<Vec<u8>>> {
        self.files.load(name)
    }

    fn append(
        &self,
        file: FileId,
        offset: u64,
        bytes: AlignedBuf,
        flush: Flush,
    ) -> LocalFuture<'_, Transfer> {
        self.transfer(file, bytes, move |file, bytes| match flush {
            Flush::DsyncWrite => write_dsync(file, bytes, offset),
            Flush::LinkedFdatasync => {
                file.write_all_at(bytes, offset)?;
                file.sync_data()
            }
        })
    }

    fn write(&self, file: FileId, offset: u64, bytes: AlignedBuf) -> LocalFuture<'_, Transfer> {
        self.transfer(file, bytes, move |file, bytes| file.write_all_at(bytes, offset))
    }

    fn read(&self, file: FileId, offset: u64, into: AlignedBuf) -> LocalFuture<'_, Transfer> {
        self.transfer(file, into, move |file, into| file.read_exact_at(into, offset))
    }

    fn sync(&self, file: FileId) -> LocalFuture<'_, io::Result<()>> {
        let file = self.files.get(file);
        Box::pin(async move {
            let file = file?;
            blocking(move || file.sync_data()).await
        })
    }
}
