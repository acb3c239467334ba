//! Settings of a storage node. Unknown keys are refused.

use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};
use sextant_redo::{AzId, PAGE_SIZE};

use crate::NodeError;
use crate::node::NodeOptions;

/// Smallest log file: a largest batch must fit with room to spare.
const LOG_FILE_BYTES_MIN: u64 = 8 << 20;
/// Below this the background would do nothing but make images.
const MEMORY_BYTES_MIN: u64 = 4 << 20;
/// Bytes of memory that a record takes while it is in no image: its entry, and its share of the page's list and of the
/// tree that holds the lists. Between 40 on pages with long lists and 190 on pages with one record.
const PENDING_RECORD_BYTES: u64 = 96;

fn log_file_bytes() -> u64 {
    64 << 20
}

fn log_budget_bytes() -> u64 {
    1 << 30
}

fn memory_bytes() -> u64 {
    128 << 20
}

fn queue_bytes() -> u64 {
    64 << 20
}

fn copy_bytes_per_s() -> u64 {
    64 << 20
}

fn scrub_bytes_per_s() -> u64 {
    16 << 20
}

fn scrub_period_hours() -> u64 {
    7 * 24
}

/// Settings of one storage node.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SegmentConfig {
    /// The data folder. Made when missing; belongs to one node of one cluster for ever.
    pub data: PathBuf,
    /// Where engines and peers connect.
    pub listen: SocketAddr,
    /// Where /metrics and /health are served.
    pub http: SocketAddr,
    /// The address that others are told to connect to. Default: `listen`.
    #[serde(default)]
    pub advertise: Option<SocketAddr>,
    /// The availability zone: two copies of each protection group lie in each of three.
    pub az: AzId,
    /// Every member of the metadata service.
    pub meta: Vec<SocketAddr>,
    /// Bytes of one file of the hot log, a multiple of 4096. Default 64 MiB: space is given back in such steps, and a
    /// new one is zeroed in a fraction of a second.
    #[serde(default = "log_file_bytes")]
    pub log_file_bytes: u64,
    /// Bytes of hot log above which pages are made from it so that its oldest files can be used again. Default 1 GiB:
    /// a node that was away for minutes finds the log it missed at its peers.
    #[serde(default = "log_budget_bytes")]
    pub log_budget_bytes: u64,
    /// Bytes of memory for what grows with the data: a quarter each for the newest log (pages asked for were mostly changed
    /// just now) and for blocks of the page map, half for the records that are in no page image yet. Default 128 MiB:
    /// six nodes and an engine fit on a laptop. What waits in queues and replies comes on top.
    #[serde(default = "memory_bytes")]
    pub memory_bytes: u64,
    /// Bytes of batches that may wait for the log before senders are told `Overloaded`. Default 64 MiB: far above what
    /// a healthy device lets wait, far below what would hurt.
    #[serde(default = "queue_bytes")]
    pub queue_bytes: u64,
    /// Bytes a second that a segment takes from its peers when it lacks log or pages. Default 64 MiB: 10 GiB are rebuilt
    /// in three minutes, and half of a gigabit link stays free.
    #[serde(default = "copy_bytes_per_s")]
    pub copy_bytes_per_s: u64,
    /// Most bytes a second that scrubbing reads. Default 16 MiB: hardly felt by a device that serves.
    #[serde(default = "scrub_bytes_per_s")]
    pub scrub_bytes_per_s: u64,
    /// Hours in which everything is read again once, if the rate above allows. Default 168, a week: damage is found while
    /// the other copies are still good. 0 reads as fast as the rate allows, without a pause.
    #[serde(default = "scrub_period_hours")]
    pub scrub_period_hours: u64,
}

impl SegmentConfig {
    /// Settings with all defaults.
    #[must_use]
    pub fn new(data: PathBuf, listen: SocketAddr, http: SocketAddr, az: AzId, meta: Vec<SocketAddr>) -> Self {
        SegmentConfig {
            data,
            listen,
            http,
            advertise: None,
            az,
            meta,
            log_file_bytes: log_file_bytes(),
            log_budget_bytes: log_budget_bytes(),
            memory_bytes: memory_bytes(),
            queue_bytes: queue_bytes(),
            copy_bytes_per_s: copy_bytes_per_s(),
            scrub_bytes_per_s: scrub_bytes_per_s(),
            scrub_period_hours: scrub_period_hours(),
        }
    }

    /// Fails when a setting makes no sense.
    pub fn check(&self) -> Result<(), NodeError> {
        let wrong = |what: String| Err(NodeError::Config { what });
        if self.meta.is_empty() {
            return wrong("`meta` is empty: name the addresses of the metadata service".into());
        }
        if self.copy_bytes_per_s == 0 || self.scrub_bytes_per_s == 0 {
            return wrong("`copy_bytes_per_s` and `scrub_bytes_per_s` must not be 0".into());
        }
        let bytes = self.log_file_bytes;
        if bytes < LOG_FILE_BYTES_MIN || bytes > u64::from(u32::MAX) || !bytes.is_multiple_of(4096) {
            return wrong(format!(
                "`log_file_bytes` is {bytes}; it must be a multiple of 4096 from {LOG_FILE_BYTES_MIN} to 4 GiB"
            ));
        }
        if self.log_budget_bytes < 2 * bytes {
            return wrong(format!(
                "`log_budget_bytes` is {}; it must hold two log files of {bytes} bytes at least",
                self.log_budget_bytes
            ));
        }
        if self.memory_bytes < MEMORY_BYTES_MIN {
            return wrong(format!(
                "`memory_bytes` is {}; it must be {MEMORY_BYTES_MIN} at least",
                self.memory_bytes
            ));
        }
        Ok(())
    }

    /// What the shell needs of it.
    #[must_use]
    pub fn options(&self) -> NodeOptions {
        NodeOptions {
            log_file_bytes: self.log_file_bytes,
            log_budget_bytes: self.log_budget_bytes,
            log_cache_bytes: self.memory_bytes / 4,
            queue_bytes: self.queue_bytes,
            map_blocks_max: (self.memory_bytes / 4 / PAGE_SIZE as u64) as usize,
            pending_records_max: (self.memory_bytes / 2 / PENDING_RECORD_BYTES) as usize,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config() -> SegmentConfig {
        let addr: SocketAddr = "127.0.0.1:1".parse().expect("address");
        SegmentConfig::new("data".into(), addr, addr, AzId(0), vec![addr])
    }

    #[test]
    fn nonsense_is_refused_by_name() {
        assert!(config().check().is_ok());
        type Spoil = fn(&mut SegmentConfig);
        let cases: [(&str, Spoil); 5] = [
            ("copy_bytes_per_s", |c| c.copy_bytes_per_s = 0),
            ("meta", |c| c.meta.clear()),
            ("log_file_bytes", |c| c.log_file_bytes = 5 << 20),
            ("log_budget_bytes", |c| c.log_budget_bytes = 100 << 20),
            ("memory_bytes", |c| c.memory_bytes = 1 << 20),
        ];
        for (key, spoil) in cases {
            let mut config = config();
            spoil(&mut config);
            let error = config.check().expect_err("nonsense").to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
