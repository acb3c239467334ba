//! Long background reads (scrub, copies of segments) on a thread and a ring of their own, so that a stream of megabytes
//! neither fills the ring of the hot path nor takes turns of the thread that serves it. The runtime is tokio-uring's; it
//! starts with the first read.
//!
//! What must hold: at most [`AT_ONCE`] reads are on their way to the device, whatever is asked for: foreground work finds
//! its queue short.

use std::fs::File;
use std::io;
use std::sync::Arc;

use tokio::sync::{mpsc, oneshot};
use tokio_uring::buf::{IoBuf, IoBufMut};

use super::{AlignedBuf, Transfer};

/// Reads in flight.
const AT_ONCE: usize = 2;
/// Reads that may wait in line.
const WAITING: usize = 64;

/// One read, and who waits for it.
struct Read {
    file: Arc<File>,
    offset: u64,
    into: AlignedBuf,
    done: oneshot::Sender<Transfer>,
}

/// The thread's end of the line.
#[derive(Debug, Clone)]
pub(super) struct Stream {
    line: mpsc::Sender<Read>,
}

/// A buffer that the ring may fill: its memory does not move with it.
struct Owned(AlignedBuf);

// SAFETY: the bytes lie on the heap, at one place until the buffer is dropped, and are initialised from the start.
unsafe impl IoBuf for Owned {
    fn stable_ptr(&self) -> *const u8 {
        self.0.as_ptr()
    }

    fn bytes_init(&self) -> usize {
        self.0.len()
    }

    fn bytes_total(&self) -> usize {
        self.0.len()
    }
}

// SAFETY: as above; all bytes are initialised already, so there is nothing to record.
unsafe impl IoBufMut for Owned {
    fn stable_mut_ptr(&mut self) -> *mut u8 {
        self.0.as_mut_ptr()
    }

    unsafe fn set_init(&mut self, _: usize) {}
}

impl Stream {
    /// Starts the thread. Fails where the kernel gives no ring.
    pub(super) fn start() -> io::Result<Stream> {
        let (line, reads) = mpsc::channel(WAITING);
        let (tell, started) = std::sync::mpsc::channel();
        std::thread::Builder::new().name("background-io".into()).spawn(move || {
            match tokio_uring::Runtime::new(&tokio_uring::builder()) {
                Ok(runtime) => {
                    // Nobody listens when the node is gone already; then the line is closed too.
                    let _ = tell.send(Ok(()));
                    runtime.block_on(serve(reads));
                }
                Err(error) => {
                    let _ = tell.send(Err(error));
                }
            }
        })?;
        started.recv().map_err(io::Error::other)??;
        Ok(Stream { line })
    }

    /// Fills the buffer; an error with the buffer when the thread is gone.
    pub(super) async fn read(&self, file: Arc<File>, offset: u64, into: AlignedBuf) -> Transfer {
        let gone = || io::Error::other("the thread for background reads is gone");
        let (done, waiting) = oneshot::channel();
        match self.line.send(Read { file, offset, into, done }).await {
            Ok(()) => waiting.await.unwrap_or_else(|_| (Err(gone()), AlignedBuf::zeroed(1))),
            Err(refused) => (Err(gone()), refused.0.into),
        }
    }
}

async fn serve(mut reads: mpsc::Receiver<Read>) {
    let slots = Arc::new(tokio::sync::Semaphore::new(AT_ONCE));
    while let Some(read) = reads.recv().await {
        let Ok(slot) = slots.clone().acquire_owned().await else {
            return;
        };
        tokio_uring::spawn(async move {
            let transfer = transfer(&read.file, read.offset, read.into).await;
            // Whoever asked may have given up.
            let _ = read.done.send(transfer);
            drop(slot);
        });
    }
}

async fn transfer(file: &File, offset: u64, into: AlignedBuf) -> Transfer {
    // The runtime closes the descriptor that it is given: it gets one of its own.
    match file.try_clone() {
        Ok(own) => {
            let own = tokio_uring::fs::File::from_std(own);
            let (result, Owned(buffer)) = own.read_exact_at(Owned(into), offset).await;
            let closed = own.close().await;
            (result.and(closed), buffer)
        }
        Err(error) => (Err(error), into),
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::FileExt;

    use super::*;
    use crate::disk::ALIGN;

    #[test]
    fn many_reads_come_back_whole_and_a_short_one_is_an_error() {
        let dir = tempfile::tempdir().expect("folder");
        let path = dir.path().join("file");
        let bytes: Vec<u8> = (0..64 * ALIGN).map(|n| (n / ALIGN) as u8).collect();
        std::fs::write(&path, &bytes).expect("written");
        let file = Arc::new(File::open(&path).expect("opened"));
        let stream = match Stream::start() {
            Ok(stream) => stream,
            // The kernel forbids rings here: the other backend's tests tell about reads.
            Err(error) => return eprintln!("skipped: {error}"),
        };
        crate::testing::block_on(async {
            let reads: Vec<_> = (0..63u64)
                .map(|n| {
                    let (stream, file) = (stream.clone(), file.clone());
                    let into = AlignedBuf::zeroed(2 * ALIGN);
                    tokio::task::spawn_local(async move { stream.read(file, n * ALIGN as u64, into).await })
                })
                .collect();
            for (n, read) in reads.into_iter().enumerate() {
                let (result, buffer) = read.await.expect("no panic");
                result.expect("read");
                let mut expected = vec![0; 2 * ALIGN];
                file.read_exact_at(&mut expected, (n * ALIGN) as u64).expect("read");
                assert_eq!(&buffer[..], &expected[..]);
            }
            let (result, _) = stream.read(file, 63 * ALIGN as u64, AlignedBuf::zeroed(2 * ALIGN)).await;
            assert_eq!(result.expect_err("behind the end").kind(), io::ErrorKind::UnexpectedEof);
        });
    }
}
