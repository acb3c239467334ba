//! Systems under test. Each starts on loopback in a folder of its own and is gone when dropped.

mod postgres;
mod sextant;

pub use postgres::{Postgres, Replication};
pub use sextant::SextantCluster;

use std::process::Command;
use std::time::Instant;

use crate::command::{self, BenchError};
use crate::cpu::Process;
use crate::workload::Target;

/// What a server has written since its start.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Written {
    /// Bytes of log (redo, WAL), counted once however many copies there are.
    pub log_bytes: f64,
    /// Requests with log to each copy, where the system counts them.
    pub requests: Option<f64>,
}

impl Written {
    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Written) -> Written {
        let requests = self.requests.zip(before.requests).map(|(now, then)| now - then);
        Written { log_bytes: self.log_bytes - before.log_bytes, requests }
    }
}

/// A running database.
pub trait Peer {
    /// How it is called in reports.
    fn name(&self) -> &'static str;
    /// Its configuration, for the report.
    fn configuration(&self) -> String;
    /// Where it listens.
    fn target(&self) -> Target;
    /// Its processes, by role.
    fn processes(&self) -> Result<Vec<Process>, BenchError>;
    /// What it has written so far.
    fn written(&self) -> Result<Written, BenchError>;
    /// Pages of dropped tables that were given back so far, where that goes on in the background.
    fn freed_pages(&self) -> Result<Option<f64>, BenchError> {
        Ok(None)
    }
}

/// A database whose server can be killed under load.
pub trait Crash: Peer {
    /// The process that clients talk to.
    fn server(&self) -> Result<u32, BenchError>;
    /// Puts the database into the state from which the log is counted that a start has to deal with.
    fn settle(&self) -> Result<(), BenchError>;
    /// Kills the server; another is on its way when this returns. The moment of the kill.
    fn crash(&self) -> Result<Instant, BenchError>;
}

/// Sends a signal, as in `-KILL`, to all of the processes; an error when one of them was gone before. When it was sent.
fn signal(name: &str, pids: &[u32]) -> Result<Instant, BenchError> {
    let at = Instant::now();
    let pids = pids.iter().map(u32::to_string);
    command::output(Command::new("kill").arg(name).args(pids)).map(|_| at)
}

/// A block of `count` TCP ports that are free now, so that peers do not meet other servers of the machine.
pub(crate) fn free_ports(count: u16) -> Result<u16, BenchError> {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (20_000..30_000u16)
        .step_by(usize::from(count.max(1)))
        .skip(std::process::id() as usize % 50)
        .find(|base| (*base..base + count).all(free))
        .ok_or_else(|| BenchError::Peer(format!("no {count} free ports in a row on 127.0.0.1")))
}
