//! Processes of this machine that we started: signals, and whether they still run.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

/// Sends a signal to a process that this program started.
///
/// # Panics
/// When `pid` is no process of ours for sure: 0, 1 and negative numbers mean others, or many.
pub fn signal(pid: u32, signal: i32) {
    let pid = libc::pid_t::try_from(pid).expect("a process id");
    assert!(pid > 1, "not a process of ours");
    // SAFETY: kill touches no memory.
    unsafe { libc::kill(pid, signal) };
}

/// Whether a process runs; one that ended and was not yet waited for does not. While a thread of it is still on its way
/// out, it holds files and their locks.
#[must_use]
pub fn runs(pid: u32) -> bool {
    let threads = std::fs::read_dir(Path::new("/proc").join(pid.to_string()).join("task"));
    threads.into_iter().flatten().flatten().any(|thread| {
        let stat = std::fs::read_to_string(thread.path().join("stat"));
        stat.is_ok_and(|stat| {
            !stat.rsplit(')').next().unwrap_or_default().trim_start().starts_with(['Z', 'X'])
        })
    })
}

/// One role of a cluster: a command line, and the process that runs it, if any. The kernel ends the process with the
/// thread that started it, so start it from one that lives as long as the cluster.
#[derive(Debug)]
pub struct Role {
    /// Its name in reports, its log and its folder.
    pub name: String,
    program: PathBuf,
    arguments: Vec<String>,
    log: PathBuf,
    child: Option<Child>,
    paused: bool,
}

impl Role {
    /// A role that does not run yet; what it says is appended to `log`.
    #[must_use]
    pub fn new(name: String, program: &Path, arguments: Vec<String>, log: PathBuf) -> Role {
        Role { name, program: program.to_owned(), arguments, log, child: None, paused: false }
    }

    /// Starts it, unless it runs.
    pub fn start(&mut self) -> io::Result<()> {
        if self.child.is_some() {
            return Ok(());
        }
        let log = File::options().create(true).append(true).open(&self.log)?;
        let mut command = Command::new(&self.program);
        command.arg("--supervisor").arg(std::process::id().to_string()).args(&self.arguments);
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        self.child = Some(command.spawn()?);
        self.paused = false;
        Ok(())
    }

    /// Whether it runs as far as we know, paused or not; [`Role::ended`] finds out.
    #[must_use]
    pub fn is_started(&self) -> bool {
        self.child.is_some()
    }

    /// How it ended by itself, once.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = self.child.as_mut()?.try_wait().ok()??;
        self.child = None;
        Some(status)
    }

    /// SIGKILL, if it runs; returns whether it did.
    pub fn kill(&mut self) -> bool {
        self.shoot();
        self.reap()
    }

    /// SIGKILL without waiting, so that many die at once. [`Role::reap`] must follow.
    pub fn shoot(&self) {
        if let Some(child) = &self.child {
            signal(child.id(), libc::SIGKILL);
        }
    }

    /// Waits for a process that was told to end; returns whether there was one.
    pub fn reap(&mut self) -> bool {
        self.child.take().is_some_and(|mut child| child.wait().is_ok())
    }

    /// SIGTERM, and SIGKILL when it takes longer than `patience`.
    pub fn stop(&mut self, patience: Duration) {
        self.resume();
        let Some(child) = &mut self.child else { return };
        signal(child.id(), libc::SIGTERM);
        let deadline = Instant::now() + patience;
        while Instant::now() < deadline {
            if self.ended().is_some() {
                return;
            }
            std::thread::sleep(Duration::from_millis(10));
        }
        self.kill();
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        if let Some(child) = &self.child {
            signal(child.id(), libc::SIGSTOP);
            self.paused = true;
        }
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        if let Some(child) = self.child.as_ref().filter(|_| self.paused) {
            signal(child.id(), libc::SIGCONT);
        }
        self.paused = false;
    }

    /// The last lines of its log.
    #[must_use]
    pub fn last_lines(&self, lines: usize) -> String {
        let log = std::fs::read(&self.log).unwrap_or_default();
        let log = String::from_utf8_lossy(&log);
        let all: Vec<&str> = log.lines().collect();
        all[all.len().saturating_sub(lines)..].join("\n")
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// A role that is a shell script; it does not look at its arguments.
    fn shell(dir: &Path, script: &str) -> Role {
        let path = dir.join("role.sh");
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).expect("script");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).expect("mode");
        Role::new("role".into(), &path, Vec::new(), dir.join("log"))
    }

    #[test]
    fn a_role_starts_pauses_and_dies() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut role = shell(dir.path(), "echo hello; exec sleep 60");
        role.start().expect("starts");
        let pid = role.child.as_ref().expect("runs").id();
        role.pause();
        assert!(runs(pid) && role.ended().is_none());
        role.resume();
        assert!(role.kill());
        assert!(!runs(pid) && !role.is_started() && !role.kill());
    }

    #[test]
    fn one_that_ends_by_itself_tells_how() {
        let dir = tempfile::tempdir().expect("tempdir");
        let mut role = shell(dir.path(), "echo the reason; exit 7");
        role.start().expect("starts");
        let deadline = Instant::now() + Duration::from_secs(10);
        let status = loop {
            if let Some(status) = role.ended() {
                break status;
            }
            assert!(Instant::now() < deadline, "it does not end");
            std::thread::sleep(Duration::from_millis(10));
        };
        assert_eq!(status.code(), Some(7));
        assert_eq!(role.last_lines(1), "the reason");
        assert!(role.ended().is_none(), "told once");
    }
}
