//! fio on the file system under test: the bar for a storage node.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;

use crate::command::{self, BenchError};

const PACKAGE: &str = "fio";

/// fio on one file.
#[derive(Debug)]
pub(super) struct Fio {
    program: PathBuf,
    file: PathBuf,
}

/// What one run gave.
#[derive(Debug, Clone, Copy)]
pub(super) struct Device {
    pub(super) bytes_per_s: f64,
    pub(super) operations_per_s: f64,
}

impl Fio {
    /// Over a file in `folder`, which must be on the file system of the node's data.
    pub(super) fn find(folder: &Path) -> Result<Fio, BenchError> {
        Ok(Fio { program: command::find("fio", PACKAGE)?, file: folder.join("fio.dat") })
    }

    /// How [`Fio::log_writes`] writes, for the report.
    pub(super) fn log_pattern(flush: &str, bytes: u64) -> String {
        format!(
            "fio: O_DIRECT, io_uring at depth 1, one job, sequential over a written file of {} MiB, {}",
            bytes >> 20,
            sync_of(flush)
        )
    }

    /// Durable sequential writes of `block` bytes over a file of `bytes`, one after the other: what the node's log does.
    pub(super) fn log_writes(
        &self,
        block: u64,
        bytes: u64,
        flush: &str,
        seconds: u32,
    ) -> Result<Device, BenchError> {
        let (block, size) = (format!("--bs={block}"), format!("--size={bytes}"));
        let sync = sync_of(flush);
        let options = ["--rw=write", "--overwrite=1", "--ioengine=io_uring", &size, &block, sync];
        self.run("write", &options, seconds)
    }

    /// Random reads of 8 KiB from `bytes` of file, `depth` at once.
    pub(super) fn random_reads(&self, bytes: u64, depth: u32, seconds: u32) -> Result<Device, BenchError> {
        let (size, depth) = (format!("--size={bytes}"), format!("--iodepth={depth}"));
        let options = ["--rw=randread", "--bs=8k", "--ioengine=io_uring", &size, &depth];
        self.run("read", &options, seconds)
    }

    fn run(&self, side: &str, options: &[&str], seconds: u32) -> Result<Device, BenchError> {
        let mut fio = Command::new(&self.program);
        fio.args(["--name=bench", "--direct=1", "--time_based", "--output-format=json"]);
        fio.arg(format!("--filename={}", self.file.display())).arg(format!("--runtime={seconds}"));
        let output = command::output(fio.args(options))?;
        // fio may print a note in front of the JSON.
        let json = output.stdout.find('{').map_or("", |at| &output.stdout[at..]);
        let parsed: Option<Value> = serde_json::from_str(json).ok();
        let of = |name: &str| parsed.as_ref()?.pointer(&format!("/jobs/0/{side}/{name}"))?.as_f64();
        match (of("bw_bytes"), of("iops")) {
            (Some(bytes_per_s), Some(operations_per_s)) => Ok(Device { bytes_per_s, operations_per_s }),
            _ => Err(output.lacks("bw_bytes and iops", "fio")),
        }
    }

    /// The next run lays its file out anew.
    pub(super) fn forget_file(&self) {
        // It may not be there.
        let _ = std::fs::remove_file(&self.file);
    }
}

/// fio's option for the node's way of making a write durable.
fn sync_of(flush: &str) -> &'static str {
    if flush == "dsync" { "--sync=dsync" } else { "--fdatasync=1" }
}
