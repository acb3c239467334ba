//! `DIR/cluster.json`: what runs in a development cluster, for scripts, tests and `sextant status`.
//!
//! Written whole by rename whenever something changes, so a reader sees one state or the next, never a mixture. A field
//! is only ever added; readers ignore what they do not know.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use sextant_redo::Segments;

use super::DevError;
use super::layout::Role;

const FILE: &str = "cluster.json";

/// The whole file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterFile {
    /// Where clients connect: a libpq connection URL.
    pub(crate) postgres_url: String,
    /// First port of the cluster's block; kept for the life of the data.
    pub(crate) base_port: u16,
    /// What the segments of the volume are; kept as well.
    #[serde(default)]
    pub(crate) segments: Segments,
    /// Process id of the supervisor; null once it has stopped.
    pub(crate) supervisor_pid: Option<u32>,
    /// Whether SQL connections are answered.
    pub(crate) ready: bool,
    /// Every process.
    pub(crate) children: Vec<Child>,
}

/// One process.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Child {
    /// Unique in the cluster.
    pub(crate) name: String,
    /// What it is.
    pub(crate) role: Role,
    /// Number among its role, from 1.
    pub(crate) id: u64,
    /// Availability zone; null for the engine.
    pub(crate) az: Option<u16>,
    /// Process id; null while it does not run.
    pub(crate) pid: Option<u32>,
    /// Times it was started again since the supervisor's start.
    pub(crate) restarts: u32,
    /// Where it serves its role.
    pub(crate) address: SocketAddr,
    /// Where it serves `/metrics` and `/health`.
    pub(crate) http: SocketAddr,
    /// Its data folder.
    pub(crate) data: PathBuf,
    /// Its log.
    pub(crate) log: PathBuf,
}

impl ClusterFile {
    /// Reads the file under `dir`; `None` when there is none yet.
    pub(crate) fn read(dir: &Path) -> Result<Option<ClusterFile>, DevError> {
        let path = dir.join(FILE);
        let bytes = match std::fs::read(&path) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(DevError::Io { what: "read", path, source }),
        };
        serde_json::from_slice(&bytes).map(Some).map_err(|source| DevError::Io {
            what: "parse",
            path,
            source: source.into(),
        })
    }

    /// Replaces the file under `dir`.
    pub(crate) fn write(&self, dir: &Path) -> Result<(), DevError> {
        let path = dir.join(FILE);
        serde_json::to_vec_pretty(self)
            .map_err(std::io::Error::from)
            .and_then(|bytes| sextant_node::identity::write_atomically(&path, &bytes))
            .map_err(|source| DevError::Io { what: "write", path, source })
    }

    /// Addresses of the metadata processes.
    pub(crate) fn meta(&self) -> Vec<SocketAddr> {
        self.children.iter().filter(|child| child.role == Role::Meta).map(|child| child.address).collect()
    }
}
