//! PostgreSQL's own pgbench, unmodified, with prepared statements.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{Measured, Target, Workload, buckets};
use crate::BenchArgs;
use crate::command::{self, BenchError, Output};

/// Every so many-th transaction's latency is kept.
const SAMPLED: &str = "0.1";

/// Which of its built-in scripts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Script {
    /// Three updates, a select and an insert.
    TpcB,
    /// A select by primary key.
    SelectOnly,
}

/// pgbench on this machine.
#[derive(Debug, Clone)]
pub struct Pgbench {
    program: PathBuf,
    script: Script,
    scale: u32,
    clients: u32,
}

impl Pgbench {
    /// Finds it.
    pub fn new(script: Script, args: &BenchArgs) -> Result<Pgbench, BenchError> {
        let program = command::find("pgbench", "postgresql-contrib")?;
        Ok(Pgbench { program, script, scale: args.scale, clients: args.clients })
    }

    fn command(&self, target: &Target) -> Command {
        let mut command = Command::new(&self.program);
        command.args(["-h", "127.0.0.1", "-p", &target.port.to_string(), "-U", &target.user]);
        command
    }
}

impl Workload for Pgbench {
    fn title(&self) -> String {
        let script = match self.script {
            Script::TpcB => "pgbench TPC-B",
            Script::SelectOnly => "pgbench select-only",
        };
        format!("{script}, scale {}, {} clients, prepared", self.scale, self.clients)
    }

    fn load(&self, target: &Target) -> Result<(), BenchError> {
        let mut command = self.command(target);
        command.args(["-i", "-q", "-s", &self.scale.to_string(), &target.database]);
        command::output(&mut command).map(|_| ())
    }

    fn run(&self, target: &Target, seconds: u32) -> Result<Measured, BenchError> {
        let script: &[&OsStr] = if self.script == Script::SelectOnly { &[OsStr::new("-S")] } else { &[] };
        self.run_script(target, seconds, script)
    }
}

impl Pgbench {
    /// Runs the script that `script`, options of pgbench, chooses.
    pub(crate) fn run_script(
        &self,
        target: &Target,
        seconds: u32,
        script: &[&OsStr],
    ) -> Result<Measured, BenchError> {
        let logs = tempfile::tempdir().map_err(BenchError::io("cannot make a temporary folder"))?;
        let mut command = self.command(target);
        let (clients, threads) = (self.clients.to_string(), self.clients.min(2).to_string());
        command.args(["-n", "-M", "prepared", "-c", &clients, "-j", &threads, "-T", &seconds.to_string()]);
        command
            .args(["-P", "1", "-l", "--sampling-rate", SAMPLED, "--log-prefix"])
            .arg(logs.path().join("l"));
        let output = command::output(command.args(script).arg(&target.database))?;
        let latencies = logged_latencies(logs.path())?;
        Ok(Measured { latencies: buckets(latencies), ..parse(&output)? })
    }
}

fn parse(output: &Output) -> Result<Measured, BenchError> {
    let number = |what: &'static str, before: &str| {
        let found = output.stdout.lines().find_map(|line| line.trim().strip_prefix(before));
        let word = found.and_then(|rest| rest.split_whitespace().next());
        word.and_then(|word| word.parse::<f64>().ok()).ok_or_else(|| output.lacks(what, "pgbench"))
    };
    let by_second = output.stderr.lines().filter_map(progress).collect();
    Ok(Measured {
        tps: number("transactions per second", "tps =")?,
        latency_ms: number("mean latency", "latency average =")?,
        failed: number("failed transactions", "number of failed transactions:")? as u64,
        by_second,
        ..Measured::default()
    })
}

/// `progress: 1.0 s, 3746.1 tps, lat ...`
fn progress(line: &str) -> Option<f64> {
    let rest = line.strip_prefix("progress:")?.split(',').nth(1)?;
    rest.trim().strip_suffix("tps")?.trim().parse().ok()
}

/// The third column of each line of each log: microseconds.
fn logged_latencies(folder: &Path) -> Result<Vec<f64>, BenchError> {
    let what = || format!("cannot read pgbench's logs in {}", folder.display());
    let mut latencies = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(BenchError::io(what()))? {
        let path = entry.map_err(BenchError::io(what()))?.path();
        let text = std::fs::read_to_string(path).map_err(BenchError::io(what()))?;
        let columns = text.lines().filter_map(|line| line.split(' ').nth(2)?.parse::<f64>().ok());
        latencies.extend(columns.map(|us| us / 1000.0));
    }
    Ok(latencies)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_pgbench_prints() {
        let stdout = "transaction type: <builtin: TPC-B (sort of)>\nscaling factor: 10\n\
            number of failed transactions: 2 (0.010%)\nlatency average = 4.271 ms\n\
            initial connection time = 12.180 ms\ntps = 3746.123456 (without initial connection time)\n";
        let stderr = "pgbench (15.18)\nprogress: 1.0 s, 3700.5 tps, lat 4.2 ms stddev 1.1, 0 failed\n";
        let output = |stdout: &str| Output { stdout: stdout.to_owned(), stderr: stderr.to_owned() };
        let figures = parse(&output(stdout)).expect("complete");
        assert_eq!((figures.tps, figures.latency_ms, figures.failed), (3746.123456, 4.271, 2));
        assert_eq!(figures.by_second, [3700.5]);
        assert!(matches!(parse(&output("tps = x")), Err(BenchError::Unreadable { .. })));
    }
}
