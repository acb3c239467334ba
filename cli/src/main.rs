//! The one binary: every role of a cluster, a whole cluster on a laptop, and the admin verbs.
//!
//! | module | idea |
//! | --- | --- |
//! | [`roles`] | `sextant meta`, `segment`, `engine`: one process of a cluster, from flags or a TOML file |
//! | [`dev`] | `sextant dev`: all of them under one supervisor |
//! | [`status`] | `sextant status`: the cluster on one screen |
//! | [`verify`] | `sextant verify`: the invariants of a live cluster |
//! | [`replace`] | `sextant segment replace` and `revert`: the copies of a lost storage node |
//! | [`volume`] | `sextant volume drop`: a volume goes, and its space comes back |
//! | `sextant_bench` | `sextant bench`: measurements beside peers |
//!
//! What must hold: nothing is decided here that a room below could decide; every error that reaches `main` is printed
//! once, with what to do, and becomes an exit code.

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use sextant_node::{logging, shutdown};
use tokio::runtime::{Builder, Runtime};

mod dev;
mod replace;
mod roles;
mod status;
mod target;
mod verify;
mod volume;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// A relational database whose log is the database: PostgreSQL's protocol over six copies in three zones
#[derive(Debug, Parser)]
#[command(name = "sextant", version)]
struct Cli {
    /// What is logged to stderr: a level (error, warn, info, debug, trace) or levels by module, such as
    /// "info,sextant_volume=debug". RUST_LOG overrides it. Default "info,openraft=warn"
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// End when this process, the parent, ends
    #[arg(long, global = true, hide = true, value_name = "PID")]
    supervisor: Option<u32>,
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    Dev(dev::Dev),
    Status(status::Status),
    Verify(verify::Verify),
    Meta(roles::meta::Options),
    Segment(Segment),
    /// Work on volumes
    #[command(subcommand)]
    Volume(volume::Verb),
    Engine(roles::engine::Options),
    /// Measure this build against PostgreSQL at the same quorum, side by side in one run
    Bench(sextant_bench::BenchArgs),
}

/// Run one storage node, or move copies between storage nodes
#[derive(Debug, clap::Args)]
#[command(args_conflicts_with_subcommands = true)]
struct Segment {
    #[command(flatten)]
    node: roles::segment::Options,
    #[command(subcommand)]
    verb: Option<replace::Verb>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    if let Some(parent) = cli.supervisor
        && !shutdown::die_with_parent(parent)
    {
        return ExitCode::FAILURE;
    }
    logging::init(cli.log.as_deref());
    match cli.verb {
        // On the main thread alone: the kernel ends children with the thread that started them.
        Verb::Dev(dev) => {
            on(Builder::new_current_thread(), |runtime| report(runtime.block_on(dev::run(dev, cli.log))))
        }
        Verb::Status(status) => {
            on(Builder::new_current_thread(), |runtime| report(runtime.block_on(status::run(status))))
        }
        Verb::Verify(verify) => on(Builder::new_current_thread(), |runtime| {
            runtime.block_on(verify::run(verify)).unwrap_or_else(|error| report(Err(error)))
        }),
        // Its disk has a thread of its own; the rest is a few messages a second.
        Verb::Meta(options) => on(Builder::new_current_thread(), |runtime| {
            roles::exit(runtime.block_on(roles::meta::run(options)))
        }),
        Verb::Segment(Segment { verb: Some(verb), .. }) => {
            on(Builder::new_current_thread(), |runtime| report(runtime.block_on(replace::run(verb))))
        }
        Verb::Segment(Segment { node, verb: None }) => roles::exit(roles::segment::run(node)),
        Verb::Volume(verb) => {
            on(Builder::new_current_thread(), |runtime| report(runtime.block_on(volume::run(verb))))
        }
        Verb::Bench(arguments) => report(bench(&arguments)),
        Verb::Engine(options) => on(Builder::new_multi_thread(), |runtime| {
            roles::exit(runtime.block_on(roles::engine::run(options)))
        }),
    }
}

/// The cluster under measurement is run by this same binary.
fn bench(arguments: &sextant_bench::BenchArgs) -> Result<(), Box<dyn std::error::Error>> {
    Ok(sextant_bench::run(arguments, &std::env::current_exe()?)?)
}

fn on(mut builder: Builder, work: impl FnOnce(&Runtime) -> ExitCode) -> ExitCode {
    match builder.enable_all().build() {
        Ok(runtime) => {
            let code = work(&runtime);
            // Tasks that still wait for a peer must not hold the process.
            runtime.shutdown_background();
            code
        }
        Err(error) => report(Err(error)),
    }
}

fn report<E: std::fmt::Display>(outcome: Result<(), E>) -> ExitCode {
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("sextant: {error}");
            ExitCode::FAILURE
        }
    }
}
