//! `sextant segment`: a storage node.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use serde::Deserialize;
use sextant_node::shutdown;
use sextant_redo::AzId;
use sextant_segment_store::SegmentConfig;

use super::{RoleError, from_file, list, required};

/// Run one storage node: log and pages of its segments. A cluster has at least six, two in each of three zones
#[derive(Debug, Default, Args, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Options {
    /// TOML file with any of the keys below, written with underscores; flags override it
    #[arg(long, value_name = "FILE")]
    #[serde(skip)]
    config: Option<PathBuf>,
    /// Address for engines and other storage nodes. Required
    #[arg(long, value_name = "ADDR:PORT")]
    listen: Option<SocketAddr>,
    /// Address of /metrics and /health. Required: two processes on a machine need two
    #[arg(long, value_name = "ADDR:PORT")]
    http: Option<SocketAddr>,
    /// Address that others reach this node at. Default: --listen; another one behind address translation
    #[arg(long, value_name = "ADDR:PORT")]
    advertise: Option<SocketAddr>,
    /// Data folder; made when missing, refused when another process, role or cluster owns it. Required
    #[arg(long, value_name = "DIR")]
    data: Option<PathBuf>,
    /// Availability zone, a number from 0: the two copies in a zone are the ones lost together. Required
    #[arg(long)]
    az: Option<u16>,
    /// Address of a metadata process; once per member (in the file: a list). Required
    #[arg(long, value_name = "ADDR:PORT")]
    meta: Vec<SocketAddr>,
    /// Bytes of one file of the hot log, a multiple of 4096. Default 67108864 (64 MiB): space is given back in such steps
    #[arg(long, value_name = "BYTES")]
    log_file_bytes: Option<u64>,
    /// Bytes of hot log above which pages are made from it and its oldest files reused. Default 1073741824 (1 GiB): a node
    /// that was away for minutes finds the log it missed at its peers
    #[arg(long, value_name = "BYTES")]
    log_budget_bytes: Option<u64>,
    /// Bytes of memory for what grows with the data: a quarter each for the newest log and for blocks of the page map, half
    /// for records that are in no page image yet. Default 134217728 (128 MiB); queues and replies come on top
    #[arg(long, value_name = "BYTES")]
    memory_bytes: Option<u64>,
    /// Bytes of batches that may wait for the log before senders are told to slow down. Default 67108864 (64 MiB): far
    /// above what a healthy device lets wait
    #[arg(long, value_name = "BYTES")]
    queue_bytes: Option<u64>,
    /// Bytes a second that a segment takes from its peers when it lacks log or pages. Default 67108864 (64 MiB): 10 GiB are
    /// rebuilt in three minutes, and half of a gigabit link stays free
    #[arg(long, value_name = "BYTES")]
    copy_bytes_per_s: Option<u64>,
    /// Most bytes a second that scrubbing reads. Default 16777216 (16 MiB): hardly felt by a device that serves
    #[arg(long, value_name = "BYTES")]
    scrub_bytes_per_s: Option<u64>,
    /// Hours in which everything is read again once by scrubbing, if the rate above allows. Default 168 (a week): damage is
    /// found while the other copies are still good
    #[arg(long, value_name = "HOURS")]
    scrub_period_hours: Option<u64>,
}

impl Options {
    fn resolve(self) -> Result<SegmentConfig, RoleError> {
        let file: Options = from_file(self.config.as_deref())?;
        let meta = list(self.meta, file.meta);
        let defaults = SegmentConfig::new(
            required(self.data.or(file.data), "data")?,
            required(self.listen.or(file.listen), "listen")?,
            required(self.http.or(file.http), "http")?,
            AzId(required(self.az.or(file.az), "az")?),
            required((!meta.is_empty()).then_some(meta), "meta")?,
        );
        Ok(SegmentConfig {
            advertise: self.advertise.or(file.advertise),
            log_file_bytes: self.log_file_bytes.or(file.log_file_bytes).unwrap_or(defaults.log_file_bytes),
            log_budget_bytes: self
                .log_budget_bytes
                .or(file.log_budget_bytes)
                .unwrap_or(defaults.log_budget_bytes),
            memory_bytes: self.memory_bytes.or(file.memory_bytes).unwrap_or(defaults.memory_bytes),
            copy_bytes_per_s: self
                .copy_bytes_per_s
                .or(file.copy_bytes_per_s)
                .unwrap_or(defaults.copy_bytes_per_s),
            scrub_bytes_per_s: self
                .scrub_bytes_per_s
                .or(file.scrub_bytes_per_s)
                .unwrap_or(defaults.scrub_bytes_per_s),
            scrub_period_hours: self
                .scrub_period_hours
                .or(file.scrub_period_hours)
                .unwrap_or(defaults.scrub_period_hours),
            queue_bytes: self.queue_bytes.or(file.queue_bytes).unwrap_or(defaults.queue_bytes),
            ..defaults
        })
    }
}

/// Serves until SIGINT or SIGTERM, on a runtime of its own: a storage node is one thread.
pub(crate) fn run(options: Options) -> Result<(), RoleError> {
    Ok(sextant_segment_store::run(options.resolve()?, shutdown::signal())?)
}
