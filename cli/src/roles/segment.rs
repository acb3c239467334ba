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
}

impl Options {
    fn resolve(self) -> Result<SegmentConfig, RoleError> {
        let file: Options = from_file(self.config.as_deref())?;
        let meta = list(self.meta, file.meta);
        Ok(SegmentConfig {
            data: required(self.data.or(file.data), "data")?,
            listen: required(self.listen.or(file.listen), "listen")?,
            http: required(self.http.or(file.http), "http")?,
            advertise: self.advertise.or(file.advertise),
            az: AzId(required(self.az.or(file.az), "az")?),
            meta: required((!meta.is_empty()).then_some(meta), "meta")?,
        })
    }
}

/// Serves until SIGINT or SIGTERM.
pub(crate) async fn run(options: Options) -> Result<(), RoleError> {
    Ok(sextant_segment_store::run(options.resolve()?, shutdown::signal()).await?)
}
