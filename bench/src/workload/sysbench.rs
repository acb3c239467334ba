//! sysbench's scripts for databases, unmodified.

use std::path::PathBuf;
use std::process::Command;

use super::{Measured, Target, Workload};
use crate::command::{self, BenchError, Output};
use crate::{BenchArgs, BenchName};

/// A script of sysbench with its tables.
#[derive(Debug, Clone)]
pub struct Sysbench {
    program: PathBuf,
    script: &'static str,
    tables: u32,
    rows: u32,
    threads: u32,
}

impl Sysbench {
    /// Finds it.
    pub fn new(name: BenchName, args: &BenchArgs) -> Result<Sysbench, BenchError> {
        let program = command::find("sysbench", "sysbench")?;
        let script = name
            .script()
            .ok_or_else(|| BenchError::Peer(format!("{} is no script of sysbench", name.short())))?;
        // Those two know one table only.
        let tables = if script.starts_with("select_random") { 1 } else { args.tables };
        Ok(Sysbench { program, script, tables, rows: args.rows(), threads: args.clients })
    }

    fn call(&self, target: &Target, verb: &str, options: &[String]) -> Result<Output, BenchError> {
        let mut command = Command::new(&self.program);
        command.args(["--db-driver=pgsql", "--pgsql-host=127.0.0.1"]);
        command.arg(format!("--pgsql-port={}", target.port));
        command.arg(format!("--pgsql-user={}", target.user)).arg(format!("--pgsql-db={}", target.database));
        command.arg(format!("--tables={}", self.tables)).arg(format!("--table-size={}", self.rows));
        command.arg(format!("--threads={}", self.threads)).args(options);
        command::output(command.arg(self.script).arg(verb))
    }
}

impl Workload for Sysbench {
    fn title(&self) -> String {
        let Sysbench { script, tables, rows, threads, .. } = self;
        format!("sysbench {script}, {tables} x {rows} rows, {threads} threads")
    }

    fn load(&self, target: &Target) -> Result<(), BenchError> {
        // Nothing there yet is no error to sysbench.
        self.call(target, "cleanup", &[])?;
        self.call(target, "prepare", &[]).map(|_| ())
    }

    fn run(&self, target: &Target, seconds: u32) -> Result<Measured, BenchError> {
        let time = format!("--time={seconds}");
        let options = [time, "--report-interval=1".into(), "--histogram=on".into()];
        parse(&self.call(target, "run", &options)?)
    }
}

fn parse(output: &Output) -> Result<Measured, BenchError> {
    let lines = || output.stdout.lines().map(str::trim);
    let word = |what: &'static str, before: &str, nth: usize| {
        let found = lines().find_map(|line| line.strip_prefix(before));
        let word = found.and_then(|rest| rest.split_whitespace().nth(nth));
        let number = word.and_then(|word| word.trim_start_matches('(').parse::<f64>().ok());
        number.ok_or_else(|| output.lacks(what, "sysbench"))
    };
    Ok(Measured {
        tps: word("transactions per second", "transactions:", 1)?,
        latency_ms: word("mean latency", "avg:", 0)?,
        // What sysbench ignores it has rolled back and tried again; anything else ends it.
        failed: 0,
        by_second: lines().filter_map(interval).collect(),
        latencies: lines().filter_map(bucket).collect(),
        ..Measured::default()
    })
}

/// `[ 1s ] thds: 16 tps: 1934.52 qps: ...`
fn interval(line: &str) -> Option<f64> {
    let rest = line.strip_prefix('[')?;
    rest.split("tps:").nth(1)?.split_whitespace().next()?.parse().ok()
}

/// `0.054 |**************** 123`
fn bucket(line: &str) -> Option<(f64, u64)> {
    let (bound, rest) = line.split_once('|')?;
    Some((bound.trim().parse().ok()?, rest.trim_start_matches('*').trim().parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_are_read_from_what_sysbench_prints() {
        let stdout = "[ 1s ] thds: 4 tps: 790.32 qps: 4759.81 (r/w/o: 0.00/3169.22/1590.59) lat (ms,95%): 12.30\n\
            Latency histogram (values are in milliseconds)\n       value  ------------- distribution ------------- count\n\
            \x20      0.054 |*** 3\n       1.304 |                                         1\n\
            SQL statistics:\n    transactions:                        2380   (792.44 per sec.)\n\
            Latency (ms):\n         min:    1.00\n         avg:    5.03\n";
        let output = Output { stdout: stdout.to_owned(), stderr: String::new() };
        let figures = parse(&output).expect("complete");
        assert_eq!((figures.tps, figures.latency_ms), (792.44, 5.03));
        assert_eq!(figures.by_second, [790.32]);
        assert_eq!(figures.latencies, [(0.054, 3), (1.304, 1)]);
    }
}
