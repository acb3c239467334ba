//! `sextant status`: the cluster on one screen.
//!
//! | module | idea |
//! | --- | --- |
//! | [`collect`] | asks the metadata group, every storage node and the writers |
//! | [`report`] | what was found, as JSON and as text |
//!
//! What must hold: it only asks. A process that does not answer is shown as such and delays the rest by no more than
//! the time-out.

use clap::Args;
use sextant_meta::MetaError;

use crate::target::{Output, Target, TargetError};

pub(crate) mod collect;
pub(crate) mod report;

/// Show members, zones, epochs, the writer, VDL and quorum health of a cluster
#[derive(Debug, Args)]
pub(crate) struct Status {
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Why there is nothing to show. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum StatusError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error("cannot print: {0}")]
    Print(#[from] std::io::Error),
}

/// Asks and prints.
pub(crate) async fn run(status: Status) -> Result<(), StatusError> {
    let report = collect::collect(status.target.meta()?).await?;
    Ok(status.output.print(&report)?)
}
