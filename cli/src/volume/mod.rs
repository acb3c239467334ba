//! `sextant volume drop`: a volume goes for good, and its space comes back on every storage node.
//!
//! What must hold: the plan is shown before anything is changed, and nothing is without `--yes`; a volume that somebody writes
//! to stays. The metadata service decides, the storage nodes free their copies by themselves: ending this program early
//! changes nothing about that.

use std::collections::BTreeSet;
use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use sextant_meta::{ClusterView, MetaClient, MetaError, VolumeInfo};
use sextant_redo::{NodeId, VolumeId};

use crate::status::collect::ask_nodes;
use crate::target::{Output, Target, TargetError};
use plan::{Plan, State};

mod plan;

/// Between two looks at the storage nodes.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Drop a volume that no engine has open. Its data is gone for good, and its space comes back
    Drop(Drop),
}

#[derive(Debug, Args)]
pub(crate) struct Drop {
    /// The volume's name
    #[arg(value_name = "NAME")]
    name: String,
    /// Yes, drop it
    #[arg(long, conflicts_with = "dry_run")]
    yes: bool,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    /// Return once the volume is dropped, instead of when the storage nodes that answer have dropped their copies
    #[arg(long)]
    no_wait: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Why a volume was not dropped.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum DropError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Meta(MetaError),
    #[error(
        "volume \"{name}\" is open at {holder}; nothing was changed. Stop that engine first; if it is dead, its lease is over \
         within {remaining_ms} ms: try again then"
    )]
    Open { name: String, holder: String, remaining_ms: u64 },
    #[error("nothing was changed: say --yes to drop volume \"{name}\" and all that is in it for good")]
    NotConfirmed { name: String },
    #[error("cannot print: {0}")]
    Print(#[from] std::io::Error),
}

/// Runs the verb.
pub(crate) async fn run(verb: Verb) -> Result<(), DropError> {
    let Verb::Drop(Drop { name, yes, dry_run, no_wait, target, output }) = verb;
    let client = MetaClient::new(target.meta()?);
    let view = client.cluster().await.map_err(DropError::Meta)?;
    let Some(volume) = view.volumes.iter().find(|volume| volume.name == name) else {
        return Err(DropError::Meta(MetaError::UnknownVolume { name }));
    };
    let mut plan = Plan::of(volume);
    // For people only: programs get one JSON value, at the end.
    if output == Output::Text {
        writeln!(std::io::stdout(), "{plan}")?;
    }
    if dry_run {
        return show_end(&plan, output);
    }
    if !yes {
        return Err(DropError::NotConfirmed { name });
    }
    drop_it(&client, volume).await?;
    plan.state = State::Dropped;
    if !no_wait {
        wait(&view, &mut plan).await;
    }
    show_end(&plan, output)
}

async fn drop_it(client: &MetaClient, volume: &VolumeInfo) -> Result<(), DropError> {
    client.drop_volume(volume.id).await.map_err(|error| match error {
        MetaError::LeaseHeld { holder, remaining_ms } => {
            DropError::Open { name: volume.name.clone(), holder, remaining_ms }
        }
        other => DropError::Meta(other),
    })
}

fn show_end(plan: &Plan, output: Output) -> Result<(), DropError> {
    let text = match output {
        Output::Text => plan.end(),
        Output::Json => serde_json::to_string_pretty(plan).map_err(std::io::Error::from)?,
    };
    Ok(writeln!(std::io::stdout(), "{text}")?)
}

/// Until no node that answers has a copy. Progress goes to stderr.
async fn wait(view: &ClusterView, plan: &mut Plan) {
    let mut told = None;
    loop {
        let (holding, away) = look(view, plan.id).await;
        if holding.is_empty() {
            (plan.state, plan.away) = (State::Freed, away.into_iter().collect());
            return;
        }
        if told.replace(holding.len()) != Some(holding.len()) {
            eprintln!("{} storage nodes still have copies ...", holding.len());
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Nodes with copies of the volume, and members of its groups that do not answer.
async fn look(view: &ClusterView, volume: VolumeId) -> (BTreeSet<NodeId>, BTreeSet<NodeId>) {
    let members = view.volumes.iter().filter(|known| known.id == volume).flat_map(|known| &known.pgs);
    let members: BTreeSet<NodeId> = members.flat_map(|pg| &pg.members).map(|member| member.node).collect();
    let (mut holding, mut away) = (BTreeSet::new(), BTreeSet::new());
    for (node, states) in ask_nodes(view).await {
        match states {
            Ok(states) if states.iter().any(|state| state.segment.volume == volume) => {
                holding.insert(node);
            }
            Err(_) if members.contains(&node) => {
                away.insert(node);
            }
            _ => {}
        }
    }
    (holding, away)
}
