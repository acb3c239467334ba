//! One process of a development cluster: started, watched, signalled.

use std::fs::{File, OpenOptions};
use std::io::{self, Read, Seek, SeekFrom};
use std::path::Path;
use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use tokio::process::Command;
use tokio::sync::mpsc;

use super::Wishes;
use super::layout::{ChildSpec, Layout};

/// A log that has grown beyond this is set aside (one generation) when its process is started again. Bytes.
const LOG_BYTES_MAX: u64 = 64 << 20;
/// How much of a log's end is searched for its last line. Bytes.
const LOG_TAIL_BYTES: u64 = 4096;
/// First pause before a restart, doubled up to [`BACKOFF_MAX`] as long as the process does not live [`STEADY`].
const BACKOFF_MIN: Duration = Duration::from_millis(100);
const BACKOFF_MAX: Duration = Duration::from_secs(5);
const STEADY: Duration = Duration::from_secs(10);

/// A process has ended.
#[derive(Debug)]
pub(crate) struct Exited {
    /// Its place in the supervisor's list.
    pub(crate) index: usize,
    /// How; an error when the system would not tell.
    pub(crate) status: io::Result<ExitStatus>,
}

/// A place in the cluster and the process that fills it.
#[derive(Debug)]
pub(crate) struct Child {
    pub(crate) spec: ChildSpec,
    pub(crate) pid: Option<u32>,
    pub(crate) restarts: u32,
    started: Instant,
    backoff: Duration,
}

impl Child {
    pub(crate) fn new(spec: ChildSpec) -> Child {
        Child { spec, pid: None, restarts: 0, started: Instant::now(), backoff: BACKOFF_MIN }
    }

    /// Starts the process; its end is told to `exits`. Its log goes on where it was.
    pub(crate) fn start(
        &mut self,
        index: usize,
        layout: &Layout,
        wishes: &Wishes,
        exits: mpsc::Sender<Exited>,
    ) -> io::Result<()> {
        let log = open_log(&self.spec.log)?;
        let mut command = Command::new(std::env::current_exe()?);
        command
            .arg("--supervisor")
            .arg(std::process::id().to_string())
            .args(layout.arguments(&self.spec))
            .args(wishes.log_arguments())
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            // Ctrl-C in a terminal goes to the whole foreground group: the order of stopping is the supervisor's.
            .process_group(0);
        let mut process = command.spawn()?;
        self.pid = process.id();
        self.started = Instant::now();
        tokio::spawn(async move {
            let status = process.wait().await;
            // A closed channel: the supervisor has ended and needs no news.
            let _ = exits.send(Exited { index, status }).await;
        });
        Ok(())
    }

    /// Notes that the process has ended and says how long to wait before the next start.
    pub(crate) fn ended(&mut self) -> Duration {
        self.pid = None;
        if self.started.elapsed() >= STEADY {
            self.backoff = BACKOFF_MIN;
        }
        let pause = self.backoff;
        self.backoff = (pause * 2).min(BACKOFF_MAX);
        pause
    }

    /// Sends `signal` to the process, if it runs.
    pub(crate) fn signal(&self, signal: libc::c_int) {
        let Some(pid) = self.pid.and_then(|pid| libc::pid_t::try_from(pid).ok()) else { return };
        // SAFETY: kill touches no memory. The pid is that of a child whose end was not yet told here.
        unsafe { libc::kill(pid, signal) };
    }
}

fn open_log(path: &Path) -> io::Result<File> {
    if std::fs::metadata(path).is_ok_and(|meta| meta.len() > LOG_BYTES_MAX) {
        std::fs::rename(path, path.with_extension("log.old"))?;
    }
    OpenOptions::new().create(true).append(true).open(path)
}

/// The last line of a log that says something, for the message about a process that ended.
pub(crate) fn last_line(log: &Path) -> Option<String> {
    let mut file = File::open(log).ok()?;
    let len = file.metadata().ok()?.len();
    file.seek(SeekFrom::Start(len.saturating_sub(LOG_TAIL_BYTES))).ok()?;
    let mut tail = Vec::new();
    file.read_to_end(&mut tail).ok()?;
    String::from_utf8_lossy(&tail).lines().rev().find(|line| !line.trim().is_empty()).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn restarts_come_slower_and_slower_up_to_a_limit() {
        let layout = Layout::new(Path::new("d"), 5440, 2).expect("fits");
        let mut child = Child::new(layout.children[0].clone());
        let pauses: Vec<u128> = (0..8).map(|_| child.ended().as_millis()).collect();
        assert_eq!(pauses, [100, 200, 400, 800, 1600, 3200, 5000, 5000]);
    }

    #[test]
    fn the_last_line_of_a_log_is_found() {
        let dir = tempfile::tempdir().expect("tempdir");
        let log = dir.path().join("x.log");
        assert_eq!(last_line(&log), None);
        std::fs::write(&log, format!("{}\nthe reason\n\n", "x".repeat(10_000))).expect("write");
        assert_eq!(last_line(&log).as_deref(), Some("the reason"));
    }
}
