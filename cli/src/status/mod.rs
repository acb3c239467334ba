//! `sextant status`: the cluster on one screen.
//!
//! | module | idea |
//! | --- | --- |
//! | [`collect`] | asks the metadata group, every storage node and the writers |
//! | [`report`] | what was found, as JSON and as text |
//! | [`http`] | the little of HTTP that reading `/health` takes |
//!
//! What must hold: it only asks. A process that does not answer is shown as such and delays the rest by no more than
//! the time-out.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use sextant_meta::MetaError;

use crate::dev::cluster_file::ClusterFile;
use crate::dev::{DEFAULT_DATA, DevError};

mod collect;
mod http;
mod report;

/// Show members, zones, epochs, the writer, VDL and quorum health of a cluster
#[derive(Debug, Args)]
pub(crate) struct Status {
    /// Folder of a cluster started by `sextant dev`, whose cluster.json names the metadata processes
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA, conflicts_with = "meta")]
    data: PathBuf,
    /// Address of a metadata process; once per member, or separated by commas
    #[arg(long, value_name = "ADDR:PORT", value_delimiter = ',')]
    meta: Vec<SocketAddr>,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

/// Why there is nothing to show. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StatusError {
    #[error(transparent)]
    File(#[from] DevError),
    #[error("there is no cluster in {dir}: it has no cluster.json. Give --data or --meta", dir = .dir.display())]
    NoCluster { dir: PathBuf },
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error("cannot print: {0}")]
    Print(#[from] std::io::Error),
}

/// Asks and prints.
pub(crate) async fn run(status: Status) -> Result<(), StatusError> {
    let meta = match status.meta.is_empty() {
        false => status.meta,
        true => match ClusterFile::read(&status.data)? {
            Some(file) => file.meta(),
            None => return Err(StatusError::NoCluster { dir: status.data }),
        },
    };
    let report = collect::collect(meta).await?;
    let text = match status.output {
        Output::Text => report.to_string(),
        Output::Json => serde_json::to_string_pretty(&report).map_err(std::io::Error::from)?,
    };
    use std::io::Write;
    writeln!(std::io::stdout(), "{}", text.trim_end())?;
    Ok(())
}
