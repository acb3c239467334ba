//! `sextant verify`: the invariants of a live cluster, checked from outside.
//!
//! | module | idea |
//! | --- | --- |
//! | [`look`] | the cluster at one moment: the metadata service's view, every copy's state |
//! | [`states`] | what must hold of such looks |
//! | [`pages`] | pages read from several copies at the same read point, and compared |
//! | [`report`] | what was checked, and what does not hold |
//!
//! The checks are the simulator's (`sextant_sim::invariants`). What must hold: it only asks, and a cluster that is written
//! meanwhile is not accused: each check allows for the time between two answers. What could not be asked is said, and
//! is no violation.

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use sextant_meta::{MetaClient, MetaError};

use crate::target::{Output, Target, TargetError};
use report::Report;

mod look;
mod pages;
mod report;
mod states;

/// How long any one process may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);
/// How long the metadata group may take to answer: it may be electing.
const META_PATIENCE: Duration = Duration::from_secs(10);

/// Check the invariants of a running cluster: durability, fencing, convergence, page checksums, equal pages on all copies.
/// Exit code 1 when one is violated
#[derive(Debug, Args)]
pub(crate) struct Verify {
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
    /// Pages to compare in each protection group: those changed by the newest log, then from the group's first page on.
    /// Default 1000, some seconds of reading
    #[arg(long, value_name = "PAGES", default_value_t = 1000)]
    pages: usize,
    /// Seconds that a copy may take until it has what the most complete one had at the start. Default 60: the
    /// convergence deadline that the simulator holds the protocol to
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    patience: u64,
}

/// Why nothing can be said. Nothing was changed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum VerifyError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error("cannot print: {0}")]
    Print(#[from] std::io::Error),
}

/// Checks and prints; failure when an invariant does not hold.
pub(crate) async fn run(verify: Verify) -> Result<ExitCode, VerifyError> {
    let meta = MetaClient::new(verify.target.meta()?).with_deadline(META_PATIENCE);
    let mut report = Report::default();
    let last = states::check(&meta, Duration::from_secs(verify.patience), &mut report).await?;
    pages::check(&last, verify.pages, &mut report).await;
    let report = report.finished(last.view.cluster);
    verify.output.print(&report)?;
    Ok(if report.ok { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
