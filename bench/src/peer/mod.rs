//! Systems under test. Each starts on loopback in a folder of its own and is gone when dropped.

mod postgres;
mod sextant;

pub use postgres::{Postgres, Replication};
pub use sextant::SextantCluster;

use crate::pgbench::Target;

/// A running database.
pub trait Peer {
    /// How it is called in reports.
    fn name(&self) -> &'static str;
    /// Its configuration, for the report.
    fn configuration(&self) -> String;
    /// Where it listens.
    fn target(&self) -> Target;
}

/// A block of `count` TCP ports that are free now, so that peers do not meet other servers of the machine.
pub(crate) fn free_ports(count: u16) -> Result<u16, crate::BenchError> {
    let free = |port: u16| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (20_000..30_000u16)
        .step_by(usize::from(count.max(1)))
        .skip(std::process::id() as usize % 50)
        .find(|base| (*base..base + count).all(free))
        .ok_or_else(|| crate::BenchError::Peer(format!("no {count} free ports in a row on 127.0.0.1")))
}
