//! The io_uring backend: transfers of the node's one thread, without a hand-over to another.
//!
//! Submitting is one system call; completions make the ring's descriptor readable, which wakes the runtime's epoll like
//! a socket does, and are then taken from shared memory. File operations that io_uring would hand to kernel threads
//! anyway, and that are rare (create, rename, delete), go through [`ThreadDisk`].
//!
//! What must hold: a buffer in flight is owned by the ring's table, not by the future that waits for it, so a future
//! that is dropped early leaves no memory for the kernel to write into; and the table outlives the ring's last
//! completion ([`Ring::drop`] waits for it).

use std::cell::{Cell, OnceCell, RefCell};
use std::io;
use std::os::fd::{AsRawFd, RawFd};
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use io_uring::{IoUring, opcode, squeue, types};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, oneshot};

use super::stream::Stream;
use super::threads::ThreadDisk;
use super::{AlignedBuf, Disk, FileId, Flush, LocalFuture, Pace, Transfer};
use crate::metrics::METRICS;

/// Entries of the submission queue; twice as many completions fit.
const ENTRIES: u32 = 256;

/// How an operation ended, and its buffer if it came back.
type Finished = (io::Result<()>, Option<AlignedBuf>);

/// When the kernel is told of an operation.
#[derive(Debug, Clone, Copy)]
enum When {
    /// At once: somebody's commit waits.
    Now,
    /// With everything else that this turn of the thread brings, so that the device is rung once for many.
    EndOfTurn,
}

/// One operation in flight.
struct InFlight {
    /// The file stays open, the buffer stays where it is, until the kernel is done.
    _file: Arc<std::fs::File>,
    buffer: Option<AlignedBuf>,
    /// Completions still to come: two for a write with a linked flush.
    parts: u8,
    failed: Option<io::Error>,
    done: oneshot::Sender<Finished>,
}

#[derive(Default)]
struct Table {
    slots: Vec<Option<InFlight>>,
    free: Vec<usize>,
}

/// The ring and what is in flight on it.
struct Ring {
    ring: RefCell<IoUring>,
    table: RefCell<Table>,
    in_flight: Cell<usize>,
    /// Something is queued of which the kernel has not been told.
    queued: Notify,
}

/// The ring's descriptor for epoll, with the ring itself so that it stays open.
struct RingFd {
    ring: Rc<Ring>,
    fd: RawFd,
}

impl AsRawFd for RingFd {
    fn as_raw_fd(&self) -> RawFd {
        self.fd
    }
}

/// See the module.
pub struct UringDisk {
    files: ThreadDisk,
    ring: Rc<Ring>,
    driver: tokio::task::JoinHandle<()>,
    /// Started by the first background read; `None` where that failed.
    stream: OnceCell<Option<Stream>>,
}

impl UringDisk {
    /// Over the folder `dir`. Needs a tokio `LocalSet` around it: completions are taken by a task of its own.
    pub fn open(dir: &Path) -> io::Result<Rc<UringDisk>> {
        let files = ThreadDisk::open(dir)?;
        let ring = Rc::new(Ring::new()?);
        let fd = ring.ring.borrow().as_raw_fd();
        let watched = RingFd { ring: ring.clone(), fd };
        // SAFETY: `watched` keeps the ring, and so this very descriptor, open as long as it lives.
        let ready = unsafe { AsyncFd::register_with_interest(watched, Interest::READABLE) }?;
        let driver = tokio::task::spawn_local(async move {
            let ring = &ready.get_ref().ring;
            loop {
                tokio::select! {
                    guard = ready.readable() => match guard {
                        // Cleared first: a completion that arrives while we take others wakes us again.
                        Ok(mut guard) => guard.clear_ready(),
                        Err(_) => return,
                    },
                    () = ring.queued.notified() => {}
                }
                ring.complete();
                if let Err(error) = ring.enter_for_queued() {
                    // Whoever waits for what is queued would wait for ever otherwise: dropping them is an error there.
                    tracing::error!(%error, "the ring takes no more operations");
                    ring.abandon();
                    return;
                }
            }
        });
        Ok(Rc::new(UringDisk { files, ring, driver, stream: OnceCell::new() }))
    }

    async fn run(
        &self,
        file: FileId,
        buffer: Option<AlignedBuf>,
        when: When,
        entries: impl FnOnce(types::Fd, *mut u8, u32) -> (squeue::Entry, Option<squeue::Entry>),
    ) -> Finished {
        let submitted = match self.files.files().get(file) {
            Ok(file) => self.ring.submit(file, buffer, when, entries),
            Err(error) => Err(error),
        };
        match submitted {
            Ok(done) => done.await.unwrap_or_else(|_| (Err(io::Error::other("the ring is gone")), None)),
            Err(error) => (Err(error), None),
        }
    }

    fn transfer<'a>(
        &'a self,
        file: FileId,
        buffer: AlignedBuf,
        when: When,
        entries: impl FnOnce(types::Fd, *mut u8, u32) -> (squeue::Entry, Option<squeue::Entry>) + 'a,
    ) -> LocalFuture<'a, Transfer> {
        Box::pin(async move {
            let (result, buffer) = self.run(file, Some(buffer), when, entries).await;
            (result, buffer.unwrap_or_else(|| AlignedBuf::zeroed(1)))
        })
    }
}

impl Drop for UringDisk {
    fn drop(&mut self) {
        self.driver.abort();
    }
}

impl Ring {
    fn new() -> io::Result<Ring> {
        // Completions need no interrupt of a running thread, and one thread alone submits; older kernels know
        // neither and get a plain ring.
        let tuned = IoUring::builder().setup_coop_taskrun().setup_single_issuer().build(ENTRIES);
        let ring = tuned.or_else(|_| IoUring::new(ENTRIES))?;
        Ok(Ring {
            ring: RefCell::new(ring),
            table: RefCell::default(),
            in_flight: Cell::new(0),
            queued: Notify::new(),
        })
    }

    /// Hands an operation to the ring. From the moment its entries are queued the table owns file and buffer until the
    /// completion has come, whatever goes wrong.
    fn submit(
        &self,
        file: Arc<std::fs::File>,
        mut buffer: Option<AlignedBuf>,
        when: When,
        entries: impl FnOnce(types::Fd, *mut u8, u32) -> (squeue::Entry, Option<squeue::Entry>),
    ) -> io::Result<oneshot::Receiver<Finished>> {
        let (pointer, len) = match buffer.as_mut() {
            Some(buffer) => (buffer.as_mut_ptr(), u32::try_from(buffer.len()).unwrap_or(u32::MAX)),
            None => (std::ptr::null_mut(), 0),
        };
        let (first, second) = entries(types::Fd(file.as_raw_fd()), pointer, len);
        let parts = 1 + u8::from(second.is_some());
        let (done, waiting) = oneshot::channel();
        let slot = self.table.borrow_mut().add(InFlight { _file: file, buffer, parts, failed: None, done });
        self.in_flight.set(self.in_flight.get() + 1);
        // The length expected is carried along: a transfer is whole or has failed.
        let data = (slot as u64) << 32 | u64::from(len);
        let first = first.user_data(data);
        let second = second.map(|entry| entry.user_data((slot as u64) << 32));
        if let Err(error) = self.queue(first, second) {
            self.table.borrow_mut().remove(slot);
            self.in_flight.set(self.in_flight.get() - 1);
            return Err(error);
        }
        match when {
            When::Now => self.enter()?,
            When::EndOfTurn => self.queued.notify_one(),
        }
        Ok(waiting)
    }

    /// Queues one entry or two linked ones; when it fails, none.
    fn queue(&self, first: squeue::Entry, second: Option<squeue::Entry>) -> io::Result<()> {
        let room = || {
            let mut ring = self.ring.borrow_mut();
            let queue = ring.submission();
            queue.capacity() - queue.len()
        };
        if room() < 2 {
            self.enter()?;
            if room() < 2 {
                return Err(io::Error::new(io::ErrorKind::ResourceBusy, "the ring's queue stays full"));
            }
        }
        let mut ring = self.ring.borrow_mut();
        let mut queue = ring.submission();
        for entry in [Some(first), second].iter().flatten() {
            // SAFETY: the entry's buffer and file belong to the table until its completion has come.
            unsafe { queue.push(entry) }.expect("room for two was seen just now, and nobody else queues");
        }
        Ok(())
    }

    /// Tells the kernel of what is queued; where nothing is, and no completion waits for room, it is not troubled.
    fn enter_for_queued(&self) -> io::Result<()> {
        let idle = {
            let mut ring = self.ring.borrow_mut();
            let queue = ring.submission();
            queue.is_empty() && !queue.cq_overflow()
        };
        if idle { Ok(()) } else { self.enter() }
    }

    /// Tells the kernel of everything that is queued.
    fn enter(&self) -> io::Result<()> {
        loop {
            match self.ring.borrow().submit() {
                // What the kernel has not taken now it takes with the next submission.
                Ok(_) => return Ok(()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                // Completions must be taken first; the entries are queued and nothing is lost.
                Err(error) if matches!(error.raw_os_error(), Some(libc::EBUSY | libc::EAGAIN)) => {
                    return Ok(());
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Takes every completion that is there.
    fn complete(&self) {
        loop {
            let next = self.ring.borrow_mut().completion().next();
            let Some(entry) = next else {
                return;
            };
            self.finish(entry.user_data(), entry.result());
        }
    }

    /// Nobody is told anything any more; files and buffers stay with the table.
    fn abandon(&self) {
        for operation in self.table.borrow_mut().slots.iter_mut().flatten() {
            let (nobody, _) = oneshot::channel();
            operation.done = nobody;
        }
    }

    fn finish(&self, data: u64, result: i32) {
        let (slot, expected) = ((data >> 32) as usize, data as u32);
        let mut table = self.table.borrow_mut();
        let Some(operation) = table.slots.get_mut(slot).and_then(Option::as_mut) else {
            return;
        };
        let error = match u32::try_from(result) {
            Err(_) => Some(io::Error::from_raw_os_error(-result)),
            Ok(moved) if moved < expected => Some(short(moved, expected)),
            Ok(_) => None,
        };
        // The first error is the cause; a linked flush behind it is only cancelled.
        operation.failed = operation.failed.take().or(error);
        operation.parts -= 1;
        if operation.parts > 0 {
            return;
        }
        if let Some(finished) = table.remove(slot) {
            drop(table);
            self.in_flight.set(self.in_flight.get() - 1);
            // Nobody waits when the future was dropped.
            let _ = finished.done.send((finished.failed.map_or(Ok(()), Err), finished.buffer));
        }
    }
}

fn short(moved: u32, expected: u32) -> io::Error {
    let what = format!("the device moved {moved} of {expected} bytes");
    io::Error::new(io::ErrorKind::UnexpectedEof, what)
}

impl Drop for Ring {
    fn drop(&mut self) {
        while self.in_flight.get() > 0 {
            self.complete();
            if self.in_flight.get() == 0 {
                return;
            }
            let waited = self.ring.get_mut().submit_and_wait(1);
            if waited.is_err_and(|error| error.kind() != io::ErrorKind::Interrupted) {
                // The kernel may still write into the buffers: better leaked than freed.
                std::mem::forget(std::mem::take(&mut *self.table.borrow_mut()));
                return;
            }
            self.complete();
        }
    }
}

impl Table {
    fn add(&mut self, operation: InFlight) -> usize {
        match self.free.pop() {
            Some(slot) => {
                self.slots[slot] = Some(operation);
                slot
            }
            None => {
                self.slots.push(Some(operation));
                self.slots.len() - 1
            }
        }
    }

    fn remove(&mut self, slot: usize) -> Option<InFlight> {
        let taken = self.slots.get_mut(slot)?.take();
        if taken.is_some() {
            self.free.push(slot);
        }
        taken
    }
}

impl Disk for UringDisk {
    fn name(&self) -> &'static str {
        "io_uring"
    }

    fn list(&self) -> io::Result<Vec<String>> {
        self.files.list()
    }

    fn open(&self, name: &str) -> io::Result<FileId> {
        Disk::open(&self.files, name)
    }

    fn len(&self, file: FileId) -> io::Result<u64> {
        self.files.len(file)
    }

    fn close(&self, file: FileId) {
        self.files.close(file);
    }

    fn create<'a>(&'a self, name: &'a str, len: u64) -> LocalFuture<'a, io::Result<FileId>> {
        self.files.create(name, len)
    }

    fn create_in_step<'a>(
        &'a self,
        name: &'a str,
        len: u64,
        pace: Arc<Pace>,
    ) -> LocalFuture<'a, io::Result<FileId>> {
        self.files.create_in_step(name, len, pace)
    }

    fn extend<'a>(&'a self, file: FileId, len: u64) -> LocalFuture<'a, io::Result<()>> {
        self.files.extend(file, len)
    }

    fn release(&self, file: FileId, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        self.files.release(file, offset, len)
    }

    fn reserve(&self, file: FileId, offset: u64, len: u64) -> LocalFuture<'_, io::Result<()>> {
        self.files.reserve(file, offset, len)
    }

    fn rename<'a>(&'a self, from: &'a str, to: &'a str) -> LocalFuture<'a, io::Result<()>> {
        self.files.rename(from, to)
    }

    fn delete<'a>(&'a self, name: &'a str) -> LocalFuture<'a, io::Result<()>> {
        self.files.delete(name)
    }

    fn replace<'a>(&'a self, name: &'a str, bytes: Vec<u8>) -> LocalFuture<'a, io::Result<()>> {
        self.files.replace(name, bytes)
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
        self.transfer(file, bytes, When::Now, move |fd, pointer, len| {
            let write = opcode::Write::new(fd, pointer, len).offset(offset);
            match flush {
                Flush::DsyncWrite => (write.rw_flags(libc::RWF_DSYNC).build(), None),
                Flush::LinkedFdatasync => {
                    let sync = opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build();
                    (write.build().flags(squeue::Flags::IO_LINK), Some(sync))
                }
            }
        })
    }

    fn write(&self, file: FileId, offset: u64, bytes: AlignedBuf) -> LocalFuture<'_, Transfer> {
        self.transfer(file, bytes, When::EndOfTurn, move |fd, pointer, len| {
            (opcode::Write::new(fd, pointer, len).offset(offset).build(), None)
        })
    }

    fn read(&self, file: FileId, offset: u64, into: AlignedBuf) -> LocalFuture<'_, Transfer> {
        self.transfer(file, into, When::EndOfTurn, move |fd, pointer, len| {
            (opcode::Read::new(fd, pointer, len).offset(offset).build(), None)
        })
    }

    fn read_background(&self, file: FileId, offset: u64, into: AlignedBuf) -> LocalFuture<'_, Transfer> {
        let stream = self.stream.get_or_init(|| {
            let started = Stream::start().inspect_err(|error| {
                METRICS.error("background_ring");
                tracing::warn!(%error, "no ring for background reads; they go through a pool of threads");
            });
            started.ok()
        });
        match (stream, self.files.files().get(file)) {
            (Some(stream), Ok(file)) => Box::pin(stream.read(file, offset, into)),
            _ => self.files.read(file, offset, into),
        }
    }

    fn sync(&self, file: FileId) -> LocalFuture<'_, io::Result<()>> {
        Box::pin(async move {
            let sync = |fd, _, _| (opcode::Fsync::new(fd).flags(types::FsyncFlags::DATASYNC).build(), None);
            self.run(file, None, When::Now, sync).await.0
        })
    }
}
