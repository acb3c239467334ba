//! Which cluster an admin verb speaks to.

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde::Serialize;

use crate::dev::cluster_file::ClusterFile;
use crate::dev::{DEFAULT_DATA, DevError};

/// Where the metadata group is.
#[derive(Debug, Args)]
pub(crate) struct Target {
    /// Folder of a cluster started by `sextant dev`, whose cluster.json names the metadata processes
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA, conflicts_with = "meta")]
    data: PathBuf,
    /// Address of a metadata process; once per member, or separated by commas
    #[arg(long, value_name = "ADDR:PORT", value_delimiter = ',')]
    meta: Vec<SocketAddr>,
}

/// How an admin verb prints.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Output {
    /// For people
    Text,
    /// For programs
    Json,
}

impl Output {
    /// Prints to stdout: `Display` for people, the structure for programs.
    pub(crate) fn print(self, report: &(impl Serialize + std::fmt::Display)) -> std::io::Result<()> {
        use std::io::Write;
        let text = match self {
            Output::Text => report.to_string(),
            Output::Json => serde_json::to_string_pretty(report)?,
        };
        writeln!(std::io::stdout(), "{}", text.trim_end())
    }
}

/// Why there is no cluster to speak to. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum TargetError {
    #[error(transparent)]
    File(#[from] DevError),
    #[error("there is no cluster in {dir}: it has no cluster.json. Give --data or --meta", dir = .dir.display())]
    NoCluster { dir: PathBuf },
}

impl Target {
    /// Addresses of metadata processes.
    pub(crate) fn meta(self) -> Result<Vec<SocketAddr>, TargetError> {
        if !self.meta.is_empty() {
            return Ok(self.meta);
        }
        match ClusterFile::read(&self.data)? {
            Some(file) => Ok(file.meta()),
            None => Err(TargetError::NoCluster { dir: self.data }),
        }
    }
}
