//! The load: PostgreSQL's own pgbench, unmodified.

use std::path::PathBuf;
use std::process::Command;

use serde::Serialize;

use crate::command::{self, BenchError};

/// Where a server listens.
#[derive(Debug, Clone, Serialize)]
pub struct Target {
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Role to log in as.
    pub user: String,
    /// Database.
    pub database: String,
}

/// One run's figures as pgbench reports them.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Figures {
    /// Transactions a second, connections' start not counted.
    pub tps: f64,
    /// Mean latency in milliseconds.
    pub latency_ms: f64,
    /// Failed transactions.
    pub failed: u64,
}

/// pgbench on this machine.
#[derive(Debug, Clone)]
pub struct Pgbench {
    program: PathBuf,
}

impl Pgbench {
    /// Finds it.
    pub fn find() -> Result<Pgbench, BenchError> {
        Ok(Pgbench { program: command::find("pgbench", "postgresql-contrib")? })
    }

    fn command(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-h", "127.0.0.1", "-p", &target.port.to_string(), "-U", &target.user]);
        command
    }

    /// Makes and fills the tables.
    pub fn init(&self, target: &Target, scale: u32) -> Result<(), BenchError> {
        let mut command = self.command(target);
        command.args(["-i", "-q", "-s", &scale.to_string(), &target.database]);
        command::output(&mut command).map(|_| ())
    }

    /// Runs the built-in TPC-B script with prepared statements.
    pub fn tpcb(&self, target: &Target, clients: u32, seconds: u32) -> Result<Figures, BenchError> {
        let mut command = self.command(target);
        let (clients, threads) = (clients.to_string(), clients.min(2).to_string());
        command.args(["-M", "prepared", "-c", &clients, "-j", &threads, "-T", &seconds.to_string()]);
        command.arg(&target.database);
        parse(&command::output(&mut command)?)
    }
}

fn parse(output: &str) -> Result<Figures, BenchError> {
    let number = |what: &'static str, before: &str| {
        let found = output.lines().find_map(|line| line.trim().strip_prefix(before));
        let word = found.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse::<f64>().ok()).ok_or_else(|| BenchError::Unreadable {
            what,
            program: "pgbench",
            output: output.to_owned(),
        })
    };
    Ok(Figures {
        tps: number("transactions per second", "tps =")?,
        latency_ms: number("mean latency", "latency average =")?,
        failed: number("failed transactions", "number of failed transactions:")? as u64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_pgbench_prints() {
        let output = "transaction type: <builtin: TPC-B (sort of)>\nscaling factor: 10\n\
            number of failed transactions: 2 (0.010%)\nlatency average = 4.271 ms\n\
            initial connection time = 12.180 ms\ntps = 3746.123456 (without initial connection time)\n";
        let figures = parse(output).expect("complete");
        assert_eq!(figures, Figures { tps: 3746.123456, latency_ms: 4.271, failed: 2 });
        assert!(matches!(parse("tps = x"), Err(BenchError::Unreadable { .. })));
    }
}
