//! `sextant dev`: a whole cluster on this machine, as real processes under one supervisor.
//!
//! | module | idea |
//! | --- | --- |
//! | [`layout`] | which processes there are, their ports and folders |
//! | [`cluster_file`] | `cluster.json`, the one place where others look these up |
//! | [`child`] | one process: start, watch, signal |
//! | [`supervisor`] | the loop over all of them |
//! | [`detach`] | `--detach` and `dev stop` |
//!
//! What must hold: one supervisor per data folder; no process outlives it; the engine stops before storage and storage
//! before metadata, so that a clean stop is one.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use sextant_node::identity::{DataDir, IdentityError};
use sextant_node::net::BindError;
use sextant_redo::Segments;

mod child;
pub(crate) mod cluster_file;
mod detach;
pub(crate) mod layout;
mod supervisor;

use cluster_file::ClusterFile;
use layout::{DEFAULT_BASE_PORT, Layout, NODES_PER_AZ, NODES_PER_AZ_MAX, Role};

/// Data folder when none is given.
pub(crate) const DEFAULT_DATA: &str = "./sextant-data";

/// Run a whole cluster on this machine: 3 metadata processes, 6 storage nodes in 3 zones, 1 writer
#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct Dev {
    #[command(flatten)]
    start: Start,
    #[command(subcommand)]
    verb: Option<Verb>,
}

#[derive(Debug, Args)]
struct Start {
    /// Folder of all data, logs and cluster.json; made when missing. A later start finds the data again.
    #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
    data: PathBuf,
    /// Port of SQL; the other processes use fixed ports in the 60 above it. Default 5440, beside PostgreSQL's own 5432,
    /// or what the folder was first started with: the members of the cluster know each other by these addresses.
    #[arg(long, value_name = "PORT")]
    base_port: Option<u16>,
    /// Storage nodes in each of the three zones, 2 or 3. Default 2, which hold the six copies, or what the folder has
    /// already; with a third one a copy that is lost can be replaced. Never fewer than the folder has
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(i64::from(NODES_PER_AZ)..=i64::from(NODES_PER_AZ_MAX)))]
    nodes_per_az: Option<u16>,
    /// What the segments of the volume are: full, six with log and pages, the default; or full-tail, three of them and three
    /// with log alone. Chosen at the first start; another choice later is refused.
    #[arg(long, value_name = "KIND")]
    segments: Option<Segments>,
    /// Leave a process that ended as it is, for tests and post-mortems. Otherwise it is started again.
    #[arg(long)]
    no_restart: bool,
    /// Return once SQL is answered, and leave the cluster running until `sextant dev stop`.
    #[arg(long)]
    detach: bool,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Stop a cluster: the engine first, then storage, then metadata
    Stop {
        /// The folder it was started with.
        #[arg(long, value_name = "DIR", default_value = DEFAULT_DATA)]
        data: PathBuf,
    },
}

/// How to run the processes.
#[derive(Debug)]
struct Wishes {
    /// Start again what ended.
    restart: bool,
    /// Log filter for every process.
    log: Option<String>,
}

impl Wishes {
    /// The command line that gives the log filter to another process.
    fn log_arguments(&self) -> impl Iterator<Item = &str> {
        self.log.iter().flat_map(|filter| ["--log", filter.as_str()])
    }
}

/// Why a development cluster did not start, or ended. Its data is as the roles left it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DevError {
    #[error("base port {base_port} does not leave room for the cluster's ports; use 1 to {}", u16::MAX - layout::PORTS)]
    BasePort { base_port: u16 },
    #[error(
        "the cluster in {dir} was created with base port {kept}, and its members know each other by those ports; start it \
         without --base-port, or give {wanted} another folder"
    )]
    OtherBasePort { dir: PathBuf, kept: u16, wanted: u16 },
    #[error(
        "the volume in {dir} was made with segments \"{kept}\", which cannot be changed; start it without --segments, or give \
         \"{wanted}\" another folder"
    )]
    OtherSegments { dir: PathBuf, kept: Segments, wanted: Segments },
    #[error(transparent)]
    Folder(#[from] IdentityError),
    #[error(transparent)]
    Port(#[from] BindError),
    #[error("cannot start {name}: {source}")]
    Spawn { name: String, source: std::io::Error },
    #[error("cannot {what} {path}: {source}")]
    Io { what: &'static str, path: PathBuf, source: std::io::Error },
    #[error("the cluster did not start: {reason}")]
    NotStarted { reason: String },
    #[error("the cluster in {dir} runs but does not answer SQL after {seconds} s; it was left running. See {dir}/logs, or stop it with `sextant dev stop --data {dir}`", dir = .dir.display())]
    NotReady { dir: PathBuf, seconds: u64 },
    #[error("the supervisor {pid} did not stop within {seconds} s; its children were asked to. See the logs")]
    NotStopped { pid: u32, seconds: u64 },
}

/// Runs the verb. Must be called on the main thread: children watch the thread that started them.
pub(crate) async fn run(dev: Dev, log: Option<String>) -> Result<(), DevError> {
    match dev.verb {
        Some(Verb::Stop { data }) => detach::stop(&data).await,
        None => start(dev.start, log).await,
    }
}

async fn start(start: Start, log: Option<String>) -> Result<(), DevError> {
    let lock = DataDir::open(&start.data, "dev")?;
    let dir = absolute(&start.data)?;
    let layout = layout(&dir, ClusterFile::read(&dir)?, &start)?;
    let wishes = Wishes { restart: !start.no_restart, log };
    if start.detach {
        // The supervisor to be takes the lock itself.
        drop(lock);
        return detach::start(&dir, &layout, &wishes).await;
    }
    supervisor::run(&dir, layout, wishes, lock).await
}

/// The cluster that is wished for, as far as it agrees with what the folder `kept`.
fn layout(dir: &Path, kept: Option<ClusterFile>, start: &Start) -> Result<Layout, DevError> {
    let kept = kept.as_ref();
    let segments = agreed(kept.map(|file| file.segments), start.segments)
        .map_err(|(kept, wanted)| DevError::OtherSegments { dir: dir.to_owned(), kept, wanted })?;
    let base_port = agreed(kept.map(|file| file.base_port), start.base_port)
        .map_err(|(kept, wanted)| DevError::OtherBasePort { dir: dir.to_owned(), kept, wanted })?;
    // Storage nodes that hold data must be there again.
    let nodes_per_az = kept.map_or(0, in_first_zone).max(start.nodes_per_az.unwrap_or(NODES_PER_AZ));
    let layout = Layout::new(dir, base_port.unwrap_or(DEFAULT_BASE_PORT), nodes_per_az)?;
    Ok(Layout { segments: segments.unwrap_or_default(), ..layout })
}

/// What the folder keeps wins over a default and must agree with a wish; else both are handed back.
fn agreed<T: Copy + PartialEq>(kept: Option<T>, wanted: Option<T>) -> Result<Option<T>, (T, T)> {
    match (kept, wanted) {
        (Some(kept), Some(wanted)) if kept != wanted => Err((kept, wanted)),
        (kept, wanted) => Ok(kept.or(wanted)),
    }
}

fn in_first_zone(file: &ClusterFile) -> u16 {
    file.children.iter().filter(|child| child.role == Role::Segment && child.az == Some(0)).count() as u16
}

fn absolute(dir: &Path) -> Result<PathBuf, DevError> {
    dir.canonicalize().map_err(|source| DevError::Io { what: "use", path: dir.to_owned(), source })
}
