//! Runs of records. All runs of an operator share one file; each knows its blocks, of whole records, in it.

use std::fs::File;
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use tokio::runtime::{Handle, RuntimeFlavor};

use super::{Spill, failed};
use crate::types::{SqlError, SqlResult};

/// A file without a name. It goes with the last run in it that somebody still has.
#[derive(Debug, Clone)]
pub(crate) struct SpillFile {
    inner: Arc<Inner>,
    block: usize,
}

#[derive(Debug)]
struct Inner {
    file: File,
    /// Where the next block goes.
    end: AtomicU64,
    /// Bytes that were written.
    len: AtomicUsize,
    spill: Arc<Spill>,
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.spill.gone(*self.len.get_mut());
    }
}

#[derive(Debug, Clone, Copy)]
struct Block {
    at: u64,
    len: usize,
}

/// Records in order.
#[derive(Debug, Clone, Default)]
pub(crate) struct Run {
    blocks: Vec<Block>,
    records: u64,
}

impl Run {
    /// How many records it has.
    pub(crate) fn records(&self) -> u64 {
        self.records
    }
}

/// Work on the file, away from the threads that run statements.
async fn blocking<T: Send + 'static>(
    what: &'static str,
    f: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> SqlResult<T> {
    match tokio::task::spawn_blocking(f).await {
        Ok(done) => done.map_err(|error| failed(what, &error)),
        Err(_) => Err(SqlError::internal("work on a temporary file was given up")),
    }
}

impl SpillFile {
    pub(super) fn new(spill: &Arc<Spill>, block: usize) -> SqlResult<SpillFile> {
        let file = tempfile::tempfile_in(&spill.dir).map_err(|error| failed("make", &error))?;
        spill.made();
        let inner = Inner { file, end: AtomicU64::new(0), len: AtomicUsize::new(0), spill: spill.clone() };
        Ok(SpillFile { inner: Arc::new(inner), block })
    }

    /// A new run at the end of the file; several may be written at a time.
    pub(crate) fn writer(&self) -> RunWriter {
        RunWriter { file: self.clone(), buffer: Vec::new(), run: Run::default() }
    }

    /// Reads a run from its start.
    pub(crate) fn reader(&self, run: Run) -> RunReader {
        RunReader { file: self.clone(), run, next: 0, buffer: Vec::new(), at: 0 }
    }

    async fn write(&self, bytes: Vec<u8>) -> SqlResult<(Block, Vec<u8>)> {
        let len = bytes.len();
        let at = self.inner.end.fetch_add(len as u64, Ordering::Relaxed);
        let inner = self.inner.clone();
        let write = move || {
            #[cfg(test)]
            inner.spill.has_room(at + len as u64)?;
            inner.file.write_all_at(&bytes, at)?;
            inner.spill.wrote(len);
            inner.len.fetch_add(len, Ordering::Relaxed);
            Ok(bytes)
        };
        Ok((Block { at, len }, blocking("write", write).await?))
    }

    async fn read(&self, block: Block, mut into: Vec<u8>) -> SqlResult<Vec<u8>> {
        let inner = self.inner.clone();
        blocking("read", move || {
            into.resize(block.len, 0);
            inner.file.read_exact_at(&mut into, block.at).map(|()| into)
        })
        .await
    }

    /// A block of a run, for a caller that cannot wait. What the system holds in memory is there at once. If the disk has to be
    /// asked, the thread's other tasks go to other threads, where there are such.
    pub(super) fn read_now(&self, run: &Run, n: usize, into: &mut Vec<u8>) -> SqlResult<()> {
        let block =
            run.blocks.get(n).ok_or_else(|| SqlError::internal("a block that a run does not have"))?;
        into.resize(block.len, 0);
        let file = &self.inner.file;
        if read_cached(file, into, block.at) {
            return Ok(());
        }
        let mut read = || file.read_exact_at(into, block.at);
        let flavor = Handle::try_current().map(|handle| handle.runtime_flavor());
        let done = match flavor {
            Ok(RuntimeFlavor::MultiThread) => tokio::task::block_in_place(read),
            _ => read(),
        };
        done.map_err(|error| failed("read", &error))
    }
}

/// Reads what the system has in memory; false when that is not all of it.
fn read_cached(file: &File, into: &mut [u8], at: u64) -> bool {
    let Ok(at) = libc::off_t::try_from(at) else { return false };
    let part = libc::iovec { iov_base: into.as_mut_ptr().cast(), iov_len: into.len() };
    // SAFETY: the descriptor is open, and the one part is memory that is ours alone while the call lasts.
    let read = unsafe { libc::preadv2(file.as_raw_fd(), &part, 1, at, libc::RWF_NOWAIT) };
    usize::try_from(read).is_ok_and(|read| read == into.len())
}

/// The record at a place of a block, and the place behind it.
pub(super) fn take_record<'b>(block: &'b [u8], at: &mut usize) -> SqlResult<&'b [u8]> {
    let damaged = || SqlError::corrupt("a temporary file is not as it was written");
    let rest = block.get(*at..).ok_or_else(damaged)?;
    let (head, rest) = rest.split_first_chunk().ok_or_else(damaged)?;
    let len = u32::from_le_bytes(*head) as usize;
    let record = rest.get(..len).ok_or_else(damaged)?;
    *at += 4 + len;
    Ok(record)
}

/// A run being written.
pub(crate) struct RunWriter {
    file: SpillFile,
    buffer: Vec<u8>,
    run: Run,
}

impl RunWriter {
    /// Appends a record, which `f` appends to what it gets. True when [`RunWriter::flush`] should be called.
    pub(crate) fn push(&mut self, f: impl FnOnce(&mut Vec<u8>)) -> bool {
        let start = self.buffer.len();
        self.buffer.extend_from_slice(&[0; 4]);
        f(&mut self.buffer);
        let len = (self.buffer.len() - start - 4) as u32;
        self.buffer[start..start + 4].copy_from_slice(&len.to_le_bytes());
        self.run.records += 1;
        self.buffer.len() >= self.file.block
    }

    /// Writes what was appended.
    pub(crate) async fn flush(&mut self) -> SqlResult<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (block, mut buffer) = self.file.write(std::mem::take(&mut self.buffer)).await?;
        self.run.blocks.push(block);
        buffer.clear();
        // A record may have been much larger than a block.
        buffer.shrink_to(2 * self.file.block);
        self.buffer = buffer;
        Ok(())
    }

    /// Ends the run.
    pub(crate) async fn finish(mut self) -> SqlResult<Run> {
        self.flush().await?;
        Ok(self.run)
    }
}

/// A run being read.
pub(crate) struct RunReader {
    file: SpillFile,
    run: Run,
    next: usize,
    buffer: Vec<u8>,
    at: usize,
}

impl RunReader {
    /// The next record.
    pub(crate) async fn next(&mut self) -> SqlResult<Option<&[u8]>> {
        if self.at == self.buffer.len() {
            let Some(block) = self.run.blocks.get(self.next).copied() else {
                return Ok(None);
            };
            self.buffer = self.file.read(block, std::mem::take(&mut self.buffer)).await?;
            self.next += 1;
            self.at = 0;
        }
        take_record(&self.buffer, &mut self.at).map(Some)
    }
}
