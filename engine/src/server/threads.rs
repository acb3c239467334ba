//! Session threads: as many as processors, each with a runtime of its own. A session stays on the thread that it was given to.
//!
//! A runtime that hands tasks from thread to thread wakes a second thread for nearly every message, to look whether there is
//! more; on a machine with few processors that costs as much as a short statement. Sessions share their thread fairly, because
//! whatever runs long lets others in between (`consume_budget`, every hundred rows or so).

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle};
use tokio::sync::oneshot;

use super::polling::Poller;

/// See the module. Dropping it ends the threads, and the sessions on them.
pub(super) struct Threads {
    threads: Vec<Thread>,
}

struct Thread {
    runtime: Handle,
    poller: Arc<Poller>,
    sessions: Arc<AtomicUsize>,
    /// Dropped when the thread is to end.
    _lives: oneshot::Sender<()>,
}

impl Threads {
    /// Starts them.
    ///
    /// # Errors
    /// The operating system gives no thread, or none of what a runtime takes.
    pub(super) fn start() -> std::io::Result<Threads> {
        let count = std::thread::available_parallelism().map_or(1, Into::into);
        Ok(Threads { threads: (0..count).map(Thread::start).collect::<std::io::Result<_>>()? })
    }

    /// Runs a session on the thread that has the fewest.
    ///
    /// # Errors
    /// The socket cannot be handed over: it is closed then.
    pub(super) fn spawn<S: Future<Output = ()> + Send>(
        &self,
        stream: TcpStream,
        session: impl FnOnce(TcpStream) -> S + Send + 'static,
    ) -> std::io::Result<()> {
        let fewest = self.threads.iter().min_by_key(|thread| thread.sessions.load(Relaxed));
        fewest.map_or(Ok(()), |thread| thread.spawn(stream, session))
    }
}

impl Thread {
    fn start(number: usize) -> std::io::Result<Thread> {
        let poller = Arc::new(Poller::default());
        let (before, after, task) = (Arc::clone(&poller), Arc::clone(&poller), Arc::clone(&poller));
        let runtime = Builder::new_current_thread()
            .enable_all()
            .on_thread_park(move || before.before_sleep())
            .on_thread_unpark(move || after.after_sleep())
            .build()?;
        let handle = runtime.handle().clone();
        let (_lives, ended) = oneshot::channel::<()>();
        std::thread::Builder::new().name(format!("sessions-{number}")).spawn(move || {
            // A task, not what the runtime waits for: to wake that takes a call to the kernel.
            runtime.spawn(async move { task.run().await });
            // Nothing is ever sent.
            let _ = runtime.block_on(ended);
            // Reads and writes of spill files may still be on their way.
            runtime.shutdown_background();
        })?;
        Ok(Thread { runtime: handle, poller, sessions: Arc::default(), _lives })
    }

    fn spawn<S: Future<Output = ()> + Send>(
        &self,
        stream: TcpStream,
        session: impl FnOnce(TcpStream) -> S + Send + 'static,
    ) -> std::io::Result<()> {
        // It was accepted by another runtime, which must no longer look at it.
        let stream = stream.into_std()?;
        let (poller, counted) = (Arc::clone(&self.poller), Counted::one_of(&self.sessions));
        self.runtime.spawn(async move {
            let _counted = counted;
            match TcpStream::from_std(stream) {
                Ok(stream) => {
                    let mut session = pin!(session(stream));
                    poll_fn(|context| {
                        poller.count_run();
                        session.as_mut().poll(context)
                    })
                    .await;
                }
                Err(error) => tracing::warn!("a connection cannot be served: {error}"),
            }
        });
        Ok(())
    }
}

/// Counts itself among a thread's sessions until it is dropped.
struct Counted(Arc<AtomicUsize>);

impl Counted {
    fn one_of(sessions: &Arc<AtomicUsize>) -> Counted {
        sessions.fetch_add(1, Relaxed);
        Counted(Arc::clone(sessions))
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::mpsc;
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn sessions_are_spread_evenly_stay_where_they_are_and_end_with_their_threads() {
        let threads = Threads::start().expect("threads");
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let addr = listener.local_addr().expect("bound");
        let (say, said) = mpsc::channel();
        let mut clients = Vec::new();
        let count = 3 * threads.threads.len();
        for _ in 0..count {
            clients.push(TcpStream::connect(addr).await.expect("connects"));
            let (stream, _) = listener.accept().await.expect("accepted");
            let say = say.clone();
            let serve = async move |stream: TcpStream| {
                let first = std::thread::current().id();
                tokio::time::sleep(Duration::from_millis(1)).await;
                say.send((first, std::thread::current().id())).expect("heard");
                stream.readable().await.expect("the client goes");
            };
            threads.spawn(stream, serve).expect("handed over");
        }
        let mut on = BTreeMap::new();
        for _ in 0..count {
            let (first, then) = said.recv_timeout(Duration::from_secs(20)).expect("served");
            assert_eq!(first, then);
            *on.entry(format!("{first:?}")).or_insert(0) += 1;
        }
        assert!(on.values().all(|sessions| *sessions == 3), "{on:?}");
        drop(say);
        drop(threads);
        assert_eq!(said.recv_timeout(Duration::from_secs(20)), Err(mpsc::RecvTimeoutError::Disconnected));
    }
}
