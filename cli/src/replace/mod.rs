//! `sextant segment replace` and `sextant segment revert`: one copy of one protection group moves to another node of its
//! zone, while reads and writes go on.
//!
//! What must hold: the plan is shown before anything is changed; the metadata service chooses the new node; the writer
//! does the work. Ending this program early changes nothing about the replacement.

use std::io::Write;
use std::time::Duration;

use clap::{Args, Subcommand};
use sextant_meta::{ClusterView, MetaClient, MetaError, NodeInfo, PgInfo, Replacement, VolumeInfo};
use sextant_redo::{NodeId, PgId};

use crate::target::{Output, Target, TargetError};
use plan::{Plan, State};

mod plan;

/// Between two looks at a replacement.
const LOOK: Duration = Duration::from_millis(500);

#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    /// Move a copy of a protection group from a node, lost or not, to another one in its zone
    Replace(Replace),
    /// Undo a replacement that is not finished: the old node stays a member
    Revert(Which),
}

#[derive(Debug, Args)]
pub(crate) struct Replace {
    #[command(flatten)]
    which: Which,
    /// Return once the replacement has begun, instead of when the new copy has everything and the old node has left
    #[arg(long)]
    no_wait: bool,
}

/// Which copy.
#[derive(Debug, Args)]
pub(crate) struct Which {
    /// The volume's name
    #[arg(long, value_name = "NAME")]
    volume: String,
    /// The protection group, a number from 0
    #[arg(long, value_name = "N")]
    pg: u32,
    /// The storage node that holds the copy now: its number in `sextant status`
    #[arg(long, value_name = "ID")]
    node: u64,
    /// Show what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,
    #[command(flatten)]
    target: Target,
    /// How to print
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Why a copy was not moved.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub(crate) enum ReplaceError {
    #[error(transparent)]
    Target(#[from] TargetError),
    #[error(transparent)]
    Meta(#[from] MetaError),
    #[error(
        "volume \"{volume}\" has no protection group {pg}; nothing was changed. `sextant status` shows them"
    )]
    NoGroup { volume: String, pg: u32 },
    #[error(
        "no replacement of node {node} is under way in protection group {pg}; nothing was changed. `sextant status` shows \
         which are"
    )]
    NotUnderWay { node: NodeId, pg: PgId },
    #[error(
        "the replacement of node {old} by node {new} was reverted by somebody else; the old node stays a member"
    )]
    Reverted { old: NodeId, new: NodeId },
    #[error("cannot print: {0}")]
    Print(#[from] std::io::Error),
}

/// Runs the verb.
pub(crate) async fn run(verb: Verb) -> Result<(), ReplaceError> {
    match verb {
        Verb::Replace(Replace { which, no_wait }) => replace(which, no_wait).await,
        Verb::Revert(which) => revert(which).await,
    }
}

async fn replace(which: Which, no_wait: bool) -> Result<(), ReplaceError> {
    let asked = Asked::look(which).await?;
    let Asked { client, volume, group, old, .. } = &asked;
    let new = match pending(group, *old) {
        Some(replacement) => replacement.new,
        None => client.successor(volume.id, group.pg, *old).await?,
    };
    let mut plan = asked.plan(State::Planned, new);
    asked.show_plan(&plan)?;
    if asked.dry_run {
        return asked.show_end(&plan);
    }
    let begun = client.begin_replacement(volume.id, group.pg, group.membership, *old).await?;
    plan.follow(&begun, State::Begun);
    if !no_wait {
        asked.wait(&mut plan).await?;
    }
    asked.show_end(&plan)
}

async fn revert(which: Which) -> Result<(), ReplaceError> {
    let asked = Asked::look(which).await?;
    let Asked { client, volume, group, old, .. } = &asked;
    let Some(Replacement { new, .. }) = pending(group, *old) else {
        return Err(ReplaceError::NotUnderWay { node: *old, pg: group.pg });
    };
    let mut plan = asked.plan(State::ToRevert, new);
    asked.show_plan(&plan)?;
    if !asked.dry_run {
        let reverted = client.revert_replacement(volume.id, group.pg, group.membership, (*old, new)).await?;
        plan.follow(&reverted, State::Reverted);
    }
    asked.show_end(&plan)
}

fn pending(group: &PgInfo, old: NodeId) -> Option<Replacement> {
    group.replacements.iter().find(|replacement| replacement.old == old).copied()
}

/// What was asked for, and the cluster as it was then.
struct Asked {
    client: MetaClient,
    view: ClusterView,
    volume: VolumeInfo,
    group: PgInfo,
    old: NodeId,
    dry_run: bool,
    output: Output,
}

impl Asked {
    async fn look(which: Which) -> Result<Asked, ReplaceError> {
        let Which { volume: name, pg, node, dry_run, target, output } = which;
        let client = MetaClient::new(target.meta()?);
        let view = client.cluster().await?;
        let Some(volume) = view.volumes.iter().find(|volume| volume.name == name).cloned() else {
            return Err(MetaError::UnknownVolume { name }.into());
        };
        let Some(group) = volume.pgs.iter().find(|group| group.pg == PgId(pg)).cloned() else {
            return Err(ReplaceError::NoGroup { volume: name, pg });
        };
        Ok(Asked { client, view, volume, group, old: NodeId(node), dry_run, output })
    }

    fn plan(&self, state: State, new: NodeId) -> Plan {
        let node = |id: NodeId| self.view.nodes.iter().find(|node: &&NodeInfo| node.id == id).cloned();
        Plan {
            volume: self.volume.name.clone(),
            pg: self.group.pg,
            membership: self.group.membership,
            old: self.old,
            new,
            old_node: node(self.old),
            new_node: node(new),
            state,
        }
    }

    /// For people only: programs get one JSON value, at the end.
    fn show_plan(&self, plan: &Plan) -> Result<(), ReplaceError> {
        if self.output == Output::Text {
            writeln!(std::io::stdout(), "{plan}")?;
        }
        Ok(())
    }

    fn show_end(&self, plan: &Plan) -> Result<(), ReplaceError> {
        let text = match self.output {
            Output::Text => plan.end().to_owned(),
            Output::Json => serde_json::to_string_pretty(plan).map_err(std::io::Error::from)?,
        };
        Ok(writeln!(std::io::stdout(), "{text}")?)
    }

    /// Until the old node has left. Progress goes to stderr.
    async fn wait(&self, plan: &mut Plan) -> Result<(), ReplaceError> {
        let mut told = None;
        loop {
            let volume = self.client.volume(&self.volume.name).await?;
            let group = volume.pgs.iter().find(|group| group.pg == plan.pg);
            let has = |node| group.is_some_and(|group| group.members.iter().any(|m| m.node == node));
            if !has(plan.old) {
                plan.follow(&volume, State::Finished);
                return Ok(());
            }
            if !has(plan.new) {
                return Err(ReplaceError::Reverted { old: plan.old, new: plan.new });
            }
            let created = group.is_some_and(|g| g.members.iter().any(|m| m.node == plan.new && m.created));
            let hydrated = group.and_then(|g| pending(g, plan.old)).is_some_and(|r| r.hydrated);
            let now = match (created, hydrated) {
                (false, _) => "waiting for the writer to create the new copy",
                (true, false) => "the new copy is being brought up to date",
                (true, true) => "the new copy has everything that is durable",
            };
            if told.replace(now) != Some(now) {
                eprintln!("{now} ...");
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
